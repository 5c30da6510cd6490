//! Services that do not fit are refused, each by itself.

use std::net::IpAddr;

use super::{Bed, ROOMY, pod};
use crate::{compile::PortOfService, dataplane::Capacity, engine::tests::capacity::small, plan::Refusal};

#[test]
fn services_that_do_not_fit_are_refused_and_the_others_stay() {
    let mut bed = small(Capacity { backends: 4, ..ROOMY });
    let service = |name: &str, addr: &str, app: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: {name}}}, spec: {{clusterIP: {addr}, selector: {{app: {app}}}, ports: [{{port: 80}}]}}}}\n---\n"
        )
    };
    bed.apply(&service("web", "10.96.0.1", "web"));
    for i in 0..4 {
        bed.feed(&pod(&format!("shop/many-{i}"), "node2", "{app: many}", &[&format!("10.0.4.{i}")], ""));
    }
    bed.feed(&service("many", "10.96.0.2", "many"));
    let refusals = bed.settle_with(|_, _| ());
    let [refusal] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!(
        refusal.to_string(),
        "Service shop/many port 80 TCP IPv4 does not fit: np_be4 has room for 4 rows, 5 are needed; it stays as it was"
    );
    assert_eq!(bed.backends("10.96.0.1", 80, 6).expect("a service"), ["10.0.1.1:80"]);
    assert_eq!(bed.backends("10.96.0.2", 80, 6), None);
    bed.engine.delete(&crate::model::ObjectRef {
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: "many-3".into(),
    });
    bed.settle();
    assert_eq!(bed.backends("10.96.0.2", 80, 6).expect("a service").len(), 3);
}

#[test]
fn a_service_that_does_not_fit_stays_as_it_was_and_gives_up_what_is_another_s() {
    let service = |name: &str, addr: &str, app: &str, more: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: {name}}}, spec: {{clusterIP: {addr}, \
             selector: {{app: {app}}}, {more} ports: [{{port: 80}}]}}}}\n---\n"
        )
    };
    for (capacity, map) in [
        (Capacity { members: 1, ..ROOMY }, "np_member4"),
        (Capacity { services: 1, ..ROOMY }, "np_svc"),
        (Capacity { frontends: 2, ..ROOMY }, "np_fe4"),
        (Capacity { backends: 2, ..ROOMY }, "np_be4"),
    ] {
        let mut bed = small(capacity);
        bed.apply(&service("a", "10.96.0.1", "web", "sessionAffinity: ClientIP,"));
        let before = bed.fake.rows().clone();
        bed.feed(&pod("shop/b-1", "node2", "{app: b}", &["10.0.4.1"], ""));
        bed.feed(&pod("shop/b-2", "node2", "{app: b}", &["10.0.4.2"], ""));
        bed.feed(&service("b", "10.96.0.2", "b", "sessionAffinity: ClientIP,"));
        let refusals = bed.settle_with(|_, _| ());
        assert!(refusals.iter().any(|r| r.shortage().is_some_and(|s| s.map == map)), "{map}: {refusals:?}");
        let rows = bed.fake.rows();
        assert_eq!((&rows.members, &rows.services), (&before.members, &before.services), "{map}");
        assert_eq!(bed.backends("10.96.0.2", 80, 6), None, "{map}: nothing of it is there");
        assert_eq!(bed.backends("10.96.0.1", 80, 6).expect("a"), ["10.0.1.1:80"], "{map}");
        // The first Service goes, and there is room.
        bed.engine.delete(&crate::model::ObjectRef {
            kind: "Service".into(),
            namespace: "shop".into(),
            name: "a".into(),
        });
        let left = bed.settle_with(|_, _| ());
        assert_eq!(bed.backends("10.96.0.1", 80, 6), None, "{map}");
        assert_eq!(left.is_empty(), map != "np_member4", "{map}: two members do not fit into one row");
    }
}

/// A Service with rows in each table of Services, in both families.
fn everywhere(number: u8, app: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: {app}}}, spec: {{type: LoadBalancer, \
         clusterIP: 10.96.1.{number}, clusterIPs: [10.96.1.{number}, 'fd00:96::{number}'], selector: {{app: {app}}}, \
         sessionAffinity: ClientIP, loadBalancerSourceRanges: [192.0.{number}.0/24, '2001:db8:{number}::/64'], \
         ports: [{{port: 80}}]}}, status: {{loadBalancer: {{ingress: [{{ip: 198.18.0.{number}}}, {{ip: '2001:db8::{number}'}}]}}}}}}\n---\n"
    )
}

fn addresses(number: u8) -> [(IpAddr, String); 2] {
    [format!("10.96.1.{number}"), format!("fd00:96::{number}")]
        .map(|text| (text.parse().expect("an address"), text))
}

#[test]
fn whatever_table_is_full_the_port_is_named_and_nothing_else_is_lost() {
    for (capacity, maps) in [
        (Capacity { frontends: 4, ..ROOMY }, ["np_fe4", "np_fe6"]),
        (Capacity { services: 3, ..ROOMY }, ["np_svc", "np_svc"]),
        (Capacity { backends: 3, ..ROOMY }, ["np_be4", "np_be6"]),
        (Capacity { members: 2, ..ROOMY }, ["np_member4", "np_member6"]),
        (Capacity { ranges: 1, ..ROOMY }, ["np_range4", "np_range6"]),
    ] {
        let mut bed = Bed::with(capacity);
        bed.up(10, &["10.0.0.10"]).apply(&pod("shop/client", "node1", "{app: client}", &["10.0.0.10"], ""));
        bed.feed(&pod("shop/a-1", "node2", "{app: a}", &["10.0.1.1", "fd00::11"], ""));
        bed.apply(&everywhere(1, "a"));
        let before = bed.fake.rows().clone();
        for n in 1..4 {
            bed.feed(&pod(
                &format!("shop/b-{n}"),
                "node2",
                "{app: b}",
                &[&format!("10.0.2.{n}"), &format!("fd00::2{n}")],
                "",
            ));
        }
        bed.feed(&everywhere(2, "b"));
        let refusals = bed.settle_with(|_, _| ());
        assert!(!refusals.is_empty(), "{maps:?}");
        let mut refused = 0;
        for refusal in &refusals {
            if let Refusal::Address { addr, shortage } = refusal {
                assert!(addresses(2).iter().any(|(its, _)| its == addr), "{refusal}");
                assert_eq!(shortage.map, maps[usize::from(addr.is_ipv6())]);
                continue;
            }
            let Refusal::Service { port: PortOfService { service, port, v4, .. }, shortage } = refusal else {
                panic!("{maps:?}: {refusal}")
            };
            assert_eq!((service.to_string().as_str(), port), ("shop/b", &80), "{maps:?}");
            assert_eq!(shortage.map, maps[usize::from(!v4)]);
            refused += 1;
            let (_, text) = addresses(2).into_iter().find(|(addr, _)| addr.is_ipv4() == *v4).expect("both");
            assert_eq!(bed.backends(&text, 80, 6), None, "{maps:?}: nothing of it is there");
        }
        assert!(refused > 0, "{maps:?}: {refusals:?}");
        let rows = bed.fake.rows();
        for (frontend, row) in &before.frontends {
            assert_eq!(rows.frontends.get(frontend), Some(row), "{maps:?}");
        }
        assert!(before.members.is_subset(&rows.members) && before.ranges.is_subset(&rows.ranges), "{maps:?}");
        for (_, text) in addresses(1) {
            assert_eq!(bed.backends(&text, 80, 6).expect("a").len(), 1, "{maps:?}");
        }
        let cidr = "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: c}, spec: {cidrs: [10.96.0.0/16]}}";
        bed.feed(cidr);
        let room = bed.settle_with(|_, _| ());
        assert_eq!(room.len(), refusals.len(), "{maps:?}: another table has room: {room:?}");
        // A port that does fit comes all the same, and so does one of the same Service once the others are gone.
        bed.engine.delete(&crate::model::ObjectRef {
            kind: "Service".into(),
            namespace: "shop".into(),
            name: "a".into(),
        });
        bed.engine.delete(&crate::model::ObjectRef {
            kind: "Pod".into(),
            namespace: "shop".into(),
            name: "b-1".into(),
        });
        assert_eq!(bed.settle_with(|_, _| ()), [], "{maps:?}");
        for (_, text) in addresses(2) {
            assert_eq!(bed.backends(&text, 80, 6).expect("b").len(), 2, "{maps:?}");
        }
    }
}

#[test]
fn ranges_of_services_that_do_not_fit_are_named_and_come_when_others_go() {
    let mut bed = Bed::with(Capacity { service_nets: 1, ..ROOMY });
    let cidr = |name: &str, net: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {{name: {name}}}, spec: {{cidrs: [{net}]}}}}"
        )
    };
    bed.apply(&cidr("first", "10.96.0.0/16"));
    bed.feed(&cidr("second", "10.97.0.0/16"));
    let refusals: Vec<String> = bed.settle_with(|_, _| ()).iter().map(ToString::to_string).collect();
    assert_eq!(
        refusals,
        [
            "the ServiceCIDR 10.97.0.0/16 does not fit: np_svcnet4 has room for 1 rows, 2 are needed; its addresses that no \
          Service has are like any others"
        ]
    );
    bed.delete("ServiceCIDR", "", "first");
    let nets: Vec<String> = bed.fake.rows().service_nets.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.97.0.0/16"]);
}
