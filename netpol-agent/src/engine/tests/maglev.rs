//! Maglev tables: which Services have them, and that nodes agree.

use netpol_common::service::flags;

use super::{Bed, ROOMY, ip, pod};
use crate::{
    dataplane::{Backend, Capacity, Dataplane, Frontend, Rows, fake::Fake},
    engine::Engine,
    index::ServiceSettings,
    model::LoadBalancing,
};

const TCP: u8 = netpol_common::net::proto::TCP;

fn service(annotation: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: web, annotations: {{{annotation}}}}}, \
         spec: {{selector: {{app: web}}, clusterIP: 10.96.0.1, {spec}}}}}\n---\n"
    )
}

const ASKED: &str = "netpol.dev/load-balancing: maglev";
const DECLINED: &str = "netpol.dev/load-balancing: random";
const INSIDE: &str = "ports: [{port: 80}]";
const OUTSIDE: &str = "type: NodePort, ports: [{port: 80, nodePort: 30080}]";

/// Two nodes, and pods on both.
fn ground() -> String {
    let nodes = ["node1", "node2"].map(|name| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, status: {{addresses: \
             [{{type: InternalIP, address: 172.18.0.{}}}]}}}}\n---\n",
            &name[4..]
        )
    });
    let pods = (1..=5).map(|n| {
        let node = if n % 2 == 0 { "node2" } else { "node1" };
        pod(&format!("shop/web-{n}"), node, "{app: web}", &[&format!("10.0.0.{n}")], "")
    });
    nodes.into_iter().chain(pods).collect()
}

/// Whom a node has for clients inside or outside, by their hashes; empty without a table.
fn chosen(fake: &Fake, addr: &str, port: u16, outside: bool) -> Vec<Backend> {
    let row = fake.rows().frontends[&Frontend { addr: ip(addr), port, proto: TCP }];
    let number = if outside { row.far } else { row.near };
    (0..256u32).filter_map(|n| fake.chosen(number, true, n << 24)).collect()
}

#[test]
fn nodes_agree_whatever_is_local_to_them() {
    let mut here = Bed::new();
    let capacity = ROOMY;
    let mut there = Bed::new();
    there.engine = Engine::new("node2", capacity, Rows::default());
    there.engine.synced();
    for bed in [&mut here, &mut there] {
        bed.apply(&(ground() + &service(ASKED, OUTSIDE)));
    }
    let all = chosen(&here.fake, "10.96.0.1", 80, false);
    assert_eq!(all.len(), 256);
    let places = |fake: &Fake| fake.rows().backends.clone();
    assert_ne!(places(&here.fake), places(&there.fake), "each has its own pods first");
    assert_eq!(all, chosen(&there.fake, "10.96.0.1", 80, false));
    assert_eq!(all, chosen(&here.fake, "172.18.0.1", 30080, true), "by every way in");
    assert_eq!(all, chosen(&there.fake, "172.18.0.2", 30080, true));
    // Under a policy of Local each has its own.
    for bed in [&mut here, &mut there] {
        bed.apply(&service(ASKED, &format!("{OUTSIDE}, externalTrafficPolicy: Local")));
    }
    let ends = |backends: Vec<Backend>| {
        let last = |b: Backend| b.addr.to_string().as_bytes().last().map(|digit| digit % 2);
        backends.into_iter().map(last).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(ends(chosen(&here.fake, "172.18.0.1", 30080, true)), [Some(1)].into());
    assert_eq!(ends(chosen(&there.fake, "172.18.0.2", 30080, true)), [Some(0)].into());
}

#[test]
fn a_table_is_there_for_whoever_asks_and_for_traffic_from_outside_if_the_agent_is_told() {
    let told = |how| ServiceSettings { external_load_balancing: how, ..ServiceSettings::default() };
    let mut bed = Bed::new();
    bed.apply(&ground());
    for (annotation, spec, by_default, wanted) in [
        ("", OUTSIDE, LoadBalancing::Random, false),
        (ASKED, INSIDE, LoadBalancing::Random, true),
        (ASKED, OUTSIDE, LoadBalancing::Random, true),
        ("", INSIDE, LoadBalancing::Maglev, false),
        ("", OUTSIDE, LoadBalancing::Maglev, true),
        (DECLINED, OUTSIDE, LoadBalancing::Maglev, false),
        (ASKED, OUTSIDE, LoadBalancing::Maglev, true),
    ] {
        bed.engine.configure(told(by_default));
        bed.apply(&service(annotation, spec));
        let what = format!("{annotation:?}, {spec}, {by_default:?}");
        assert_eq!(!chosen(&bed.fake, "10.96.0.1", 80, false).is_empty(), wanted, "{what}");
        if spec == OUTSIDE {
            let way = Frontend { addr: ip("172.18.0.1"), port: 30080, proto: TCP };
            let flag = bed.fake.rows().frontends[&way].flags & flags::MAGLEV != 0;
            assert_eq!(flag, wanted, "{what}");
            let view = bed.engine.services();
            let shown = view[0].frontends.iter().find(|f| f.kind == "node").expect("a node port");
            assert_eq!((shown.maglev, shown.ready), (wanted, true), "{what}");
        }
    }
}

#[test]
fn one_backend_needs_no_table_and_a_table_that_does_not_fit_is_refused_by_itself() {
    // Five backends and their table need 5 + 4096 rows; two and theirs 2 + 1024.
    let mut bed = Bed::with(Capacity { backends: 3_000, ..ROOMY });
    bed.apply(&ground());
    bed.feed(&service(ASKED, INSIDE));
    let refusals = bed.settle_with(|_, _| ());
    assert_eq!(
        refusals.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "Service shop/web port 80 TCP IPv4 does not fit: np_be4 has room for 3000 rows, 4101 are needed; it stays as it was"
        ]
    );
    let gone = |bed: &mut Bed, n: u8| {
        bed.engine.delete(&crate::model::ObjectRef {
            kind: "Pod".into(),
            namespace: "shop".into(),
            name: format!("web-{n}"),
        });
    };
    (3..=5).for_each(|n| gone(&mut bed, n));
    bed.settle();
    assert_eq!(chosen(&bed.fake, "10.96.0.1", 80, false).len(), 256);
    gone(&mut bed, 2);
    bed.settle();
    assert_eq!(chosen(&bed.fake, "10.96.0.1", 80, false), []);
    assert_eq!(bed.backends("10.96.0.1", 80, TCP).expect("a service"), ["10.0.0.1:80"]);
    // Over and over, so that a row that is not given back would be missed.
    for n in [2, 2, 2, 2] {
        bed.apply(&pod(&format!("shop/web-{n}"), "node2", "{app: web}", &[&format!("10.0.0.{n}")], ""));
        assert_eq!(chosen(&bed.fake, "10.96.0.1", 80, false).len(), 256);
        gone(&mut bed, n);
        bed.settle();
    }
    // And a new agent knows which rows are taken.
    bed.apply(&pod("shop/web-2", "node2", "{app: web}", &["10.0.0.2"], ""));
    let before = bed.fake.read().expect("rows");
    bed.restart();
    bed.feed(&(ground() + &service(ASKED, INSIDE)));
    (3..=5).for_each(|n| gone(&mut bed, n));
    bed.engine.synced();
    bed.settle();
    assert_eq!(bed.fake.read().expect("rows"), before, "it has nothing to write");
    bed.apply(&pod("shop/web-3", "node1", "{app: other}", &["10.0.0.3"], ""));
    assert_eq!(chosen(&bed.fake, "10.96.0.1", 80, false).len(), 256);
}
