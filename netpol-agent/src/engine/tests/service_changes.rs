//! Changes of Services: every way in is old or new wherever the agent stops, and nothing is left behind.

use std::collections::BTreeMap;

use netpol_common::net::proto;

use super::{Bed, WayIn, normal_form, pod};
use crate::{
    dataplane::{Dataplane, Frontend, Op, fake::Fake},
    engine::Engine,
};

fn service(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: {name}}}, spec: {spec}}}\n---\n"
    )
}

/// What does not change: pods here and elsewhere, of two kinds.
fn ground() -> String {
    [("a-0", "node1", "a", 10), ("a-1", "node2", "a", 1), ("b-0", "node1", "b", 11), ("b-1", "node2", "b", 2)]
        .map(|(name, node, app, place)| {
            let addresses = [format!("10.0.0.{place}"), format!("fd00::{place}")];
            let addresses = [addresses[0].as_str(), addresses[1].as_str()];
            pod(&format!("shop/{name}"), node, &format!("{{app: {app}}}"), &addresses, "")
        })
        .concat()
        + "{apiVersion: v1, kind: Node, metadata: {name: node1}, status: {addresses: \
           [{type: InternalIP, address: 172.18.0.1}, {type: InternalIP, address: 'fd00:172::1'}]}}\n---\n"
}

/// States of the cluster's Services that differ in every way that matters.
fn states() -> Vec<String> {
    let one = |spec: &str| service("one", spec);
    let balanced = |spec: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: one}}, spec: {spec}, \
             status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}, {{ip: '2001:db8:1::1'}}]}}}}}}\n---\n"
        )
    };
    let maglev = |spec: &str| {
        one(spec).replace("name: one}", "name: one, annotations: {netpol.dev/load-balancing: maglev}}")
    };
    vec![
        one("{clusterIPs: [10.96.0.1, 'fd00:96::1'], selector: {app: a}, ports: [{port: 80}]}"),
        one("{clusterIPs: [10.96.0.1, 'fd00:96::1'], selector: {app: b}, ports: [{port: 80}]}"),
        one("{clusterIP: 10.96.0.2, selector: {app: a}, ports: [{port: 80, targetPort: 8080}]}"),
        one("{clusterIP: 10.96.0.1, internalTrafficPolicy: Local, selector: {app: a}, ports: [{port: 80}]}"),
        one("{clusterIP: 10.96.0.1, sessionAffinity: ClientIP, selector: {app: b}, ports: [{port: 80}]}"),
        one(
            "{clusterIP: 10.96.0.1, selector: {app: a}, ports: [{port: 80, protocol: UDP, name: u}, {port: 80, name: t}]}",
        ),
        one("{clusterIP: 10.96.0.1, selector: {app: b}, ports: [{port: 80, protocol: UDP}]}"),
        one("{clusterIP: 10.96.0.1, selector: {app: nobody}, ports: [{port: 80}]}"),
        // Another Service takes the address over.
        service(
            "other",
            "{clusterIP: 10.96.0.1, sessionAffinity: ClientIP, selector: {app: b}, ports: [{port: 80}]}",
        ),
        service("other", "{clusterIP: 10.96.0.1, selector: {app: a}, ports: [{port: 80}]}")
            + &one("{clusterIP: 10.96.0.2, selector: {app: b}, ports: [{port: 80}]}"),
        one(
            "{type: NodePort, clusterIP: 10.96.0.1, selector: {app: a}, ports: [{port: 80, nodePort: 30080}]}",
        ),
        one(
            "{type: NodePort, clusterIP: 10.96.0.1, selector: {app: b}, ports: [{port: 80, nodePort: 30080}], \
             externalTrafficPolicy: Local, internalTrafficPolicy: Local}",
        ),
        balanced(
            "{type: LoadBalancer, clusterIPs: [10.96.0.1, 'fd00:96::1'], selector: {app: a}, externalTrafficPolicy: Local, \
             ports: [{port: 80, nodePort: 30081}], loadBalancerSourceRanges: [192.0.2.0/24]}",
        ),
        balanced(
            "{type: LoadBalancer, clusterIP: 10.96.0.1, selector: {app: a}, sessionAffinity: ClientIP, \
             ports: [{port: 80}], loadBalancerSourceRanges: [198.51.100.0/24, 2001:db8::/32]}",
        ),
        balanced(
            "{type: LoadBalancer, clusterIP: 10.96.0.1, selector: {app: b}, ports: [{port: 80, protocol: UDP}]}",
        ),
        maglev(
            "{type: NodePort, clusterIPs: [10.96.0.1, 'fd00:96::1'], selector: {app: a}, ports: [{port: 80, nodePort: 30080}]}",
        ),
        maglev(
            "{type: NodePort, clusterIP: 10.96.0.1, selector: {app: b}, ports: [{port: 80, nodePort: 30080}], \
             externalTrafficPolicy: Local, sessionAffinity: ClientIP}",
        ),
        String::new(),
    ]
}

fn cluster(state: &str) -> Bed {
    let mut bed = Bed::new();
    bed.apply(&(ground() + state));
    bed
}

/// Exchanges the Services of one state for those of another, without acting on it.
fn exchange(bed: &mut Bed, state: &str) {
    for name in ["one", "other"] {
        if ![",", "}"].iter().any(|end| state.contains(&format!("name: {name}{end}"))) {
            bed.engine.delete(&crate::model::ObjectRef {
                kind: "Service".into(),
                namespace: "shop".into(),
                name: name.into(),
            });
        }
    }
    bed.feed(state);
}

/// Ways in without what may be there a little longer than what names it.
fn ways(fake: &Fake) -> BTreeMap<Frontend, WayIn> {
    let all = normal_form(fake).1.into_iter();
    all.map(|(frontend, way)| (frontend, WayIn { members: Vec::new(), ranges: Vec::new(), ..way })).collect()
}

/// Whoever may be asked about is a member, as long as a set names it.
fn check_members(fake: &Fake, what: &str) {
    for (frontend, way) in normal_form(fake).1 {
        if frontend.proto == proto::UDP || way.affinity > 0 {
            for backend in way.near.2.iter().chain(&way.far.2) {
                assert!(way.members.contains(backend), "{what}: {backend:?} answers for {frontend:?}");
            }
        }
    }
}

/// Settles; every way in goes from old to new once, in at most three steps: its two sets and itself.
fn settle_watched(bed: &mut Bed, ends: [&BTreeMap<Frontend, WayIn>; 2], what: &str) {
    let [old, new] = ends;
    let mut steps: BTreeMap<Frontend, Vec<Option<WayIn>>> = BTreeMap::new();
    let refusals = bed.settle_with(|op, fake| {
        check_members(fake, &format!("{what} after {op:?}"));
        let now = ways(fake);
        for frontend in old.keys().chain(new.keys()) {
            let found = now.get(frontend).cloned();
            let allowed = [old.get(frontend), new.get(frontend)];
            match &found {
                Some(way) => {
                    let some = allowed.iter().flatten();
                    let near = some.clone().any(|known| known.near == way.near);
                    let far = some.clone().any(|known| known.far == way.far);
                    let how = some.clone().any(|k| (k.flags, k.affinity) == (way.flags, way.affinity));
                    assert!(
                        near && far && how,
                        "{what} after {op:?}: {frontend:?} is {way:?}, none of {allowed:?}"
                    );
                }
                None => assert!(allowed.contains(&None), "{what} after {op:?}: {frontend:?} is gone"),
            }
            let seen = steps.entry(*frontend).or_default();
            if seen.last() != Some(&found) {
                assert!(!seen.contains(&found), "{what} after {op:?}: {frontend:?} goes back");
                seen.push(found);
            }
        }
    });
    assert_eq!(refusals, [], "{what}");
}

#[test]
fn every_state_may_follow_every_other_and_leaves_nothing_behind() {
    let states = states();
    let rows: Vec<_> = states.iter().map(|state| normal_form(&cluster(state).fake)).collect();
    let seen: Vec<_> = states.iter().map(|state| ways(&cluster(state).fake)).collect();
    for (i, from) in states.iter().enumerate() {
        for (j, to) in states.iter().enumerate() {
            let mut bed = cluster(from);
            exchange(&mut bed, to);
            let what = format!("{i} → {j}");
            settle_watched(&mut bed, [&seen[i], &seen[j]], &what);
            assert_eq!(normal_form(&bed.fake), rows[j], "{what}");
            if i == j {
                assert!(bed.fake.take_counts().is_empty() || i == 0, "{what} writes nothing");
            }
        }
    }
}

#[test]
fn a_change_that_stops_anywhere_is_completed_by_the_same_and_by_a_new_agent() {
    let states = states();
    let seen: Vec<_> = states.iter().map(|state| ways(&cluster(state).fake)).collect();
    for (i, j) in (0..states.len()).map(|i| (i, (i * 3 + 4) % states.len())).filter(|(i, j)| i != j) {
        let rows = normal_form(&cluster(&states[j]).fake);
        for restarts in [false, true] {
            for stop in 0.. {
                let mut bed = cluster(&states[i]);
                exchange(&mut bed, &states[j]);
                let ops = bed.engine.plan().ops;
                for op in ops.iter().take(stop) {
                    bed.fake.apply(op).expect("an operation");
                    bed.engine.applied(op);
                }
                if restarts {
                    let rows = bed.fake.read().expect("rows");
                    bed.engine = Engine::new("node1", super::ROOMY, rows);
                    bed.feed(&(ground() + &states[j]));
                    bed.engine.synced();
                }
                let what = format!("{i} → {j} stopped at {stop} of {}, restarts: {restarts}", ops.len());
                settle_watched(&mut bed, [&seen[i], &seen[j]], &what);
                assert_eq!(normal_form(&bed.fake), rows, "{what}");
                if stop >= ops.len() {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_new_agent_finds_the_numbers_again() {
    for state in states() {
        let mut bed = cluster(&state);
        let before = bed.fake.rows().clone();
        bed.restart();
        bed.feed(&(ground() + &state));
        bed.engine.synced();
        assert_eq!(bed.engine.plan().ops, [], "{state}");
        assert_eq!(*bed.fake.rows(), before);
    }
}

#[test]
fn the_api_server_keeps_its_last_backends() {
    let api = |selector: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: kubernetes}}, spec: {{clusterIP: 10.96.0.1, \
             selector: {{app: {selector}}}, ports: [{{port: 443, targetPort: 6443}}]}}}}\n---\n"
        )
    };
    let mut bed = Bed::new();
    let server = pod("default/api", "node2", "{app: api}", &["10.0.1.1"], "");
    bed.apply(&(server.clone() + &api("api")));
    let answers = |bed: &Bed| bed.backends("10.96.0.1", 443, proto::TCP).expect("a service");
    assert_eq!(answers(&bed), ["10.0.1.1:6443"]);
    bed.delete("Pod", "default", "api");
    assert_eq!(answers(&bed), ["10.0.1.1:6443"]);
    bed.restart();
    bed.feed(&api("api"));
    bed.engine.synced();
    bed.settle();
    assert_eq!(answers(&bed), ["10.0.1.1:6443"], "a new agent as well");
    bed.apply(&server.replace("10.0.1.1", "10.0.1.2"));
    assert_eq!(answers(&bed), ["10.0.1.2:6443"]);
}

#[test]
fn nobody_at_all_is_refused_and_nobody_here_is_dropped() {
    let mut bed = cluster(&states()[3]);
    let row = |bed: &Bed| {
        let frontend = Frontend { addr: super::ip("10.96.0.1"), port: 80, proto: proto::TCP };
        bed.fake.rows().services[&bed.fake.rows().frontends[&frontend].near]
    };
    assert_eq!(row(&bed).n_all(), 1);
    bed.delete("Pod", "shop", "a-0");
    assert_eq!(row(&bed), netpol_common::service::ServiceRow::DROP);
    bed.delete("Pod", "shop", "a-1");
    assert_eq!(row(&bed), netpol_common::service::ServiceRow::REFUSE);
    assert!(matches!(bed.engine.plan().ops[..], [] | [Op::AwaitGrace]));
}
