use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use netpol_agent::dataplane::{
    Backend, ClusterRow, Dataplane, Frontend, Member, Op, Rows, SourceRange,
    kernel::{Maps, Sizes, connections, of_node},
};
use netpol_common::{
    cluster::kind,
    conntrack::CtEntry,
    endpoint::EndpointRow,
    names,
    peer::{CidrRow, PeerRow},
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, PortSetId, RuleId, SlotId},
    service::{FrontendRow, ServiceRow},
};
use netpol_tests::bed::{Bed, ClusterSpec};

use crate::node::{open, pin_dir};

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One row of each kind and family, and more rows of one map than are read at once.
fn rows() -> Rows {
    let policy = |class| {
        (
            PolicyKey { slot: SlotId(7), class: ClassId(class) },
            PolicyRow { tcp: 1 << 16, ..PolicyRow::default() },
        )
    };
    let port = |port| {
        (PortKey { ports: PortSetId(3), port, proto: 6, prefix: 16, pad: 0 }, RuleId(RuleId::HASHED | 1))
    };
    let frontend = |text, svc| {
        (
            Frontend { addr: addr(text), port: 80, proto: 6 },
            FrontendRow { svc, near: svc, far: svc, ..FrontendRow::default() },
        )
    };
    let backends = |texts: [&str; 2]| texts.map(|text| Backend { addr: addr(text), port: 8080 }).to_vec();
    Rows {
        ports: (0..3000).map(port).collect(),
        policy: [policy(0), policy(9)].into(),
        cidrs: [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("fd00::/8", 3), ("0.0.0.0/0", 4), ("::1/128", 5)]
            .map(|(net, class)| (net.parse().unwrap(), CidrRow { class: ClassId(class) }))
            .into(),
        peers: [("10.0.0.1", 1), ("fd00::1", 2)]
            .map(|(text, class)| (addr(text), PeerRow { class: ClassId(class), ifindex: 4, flags: 0 }))
            .into(),
        endpoints: BTreeMap::from([(4, EndpointRow { slot_in: SlotId(7), ..EndpointRow::default() })]),
        frontends: [frontend("10.96.0.1", 1), frontend("fd00:96::1", 2)].into(),
        services: [(1, ServiceRow::new(100, 1, 2).unwrap()), (2, ServiceRow::new(8190, 0, 2).unwrap())]
            .into(),
        backends: [(1, backends(["10.0.0.1", "10.0.0.2"])), (2, backends(["fd00::1", "fd00::2"]))].into(),
        members: ["10.0.0.1", "fd00::1"]
            .map(|text| Member { svc: 7, backend: Backend { addr: addr(text), port: 53 } })
            .into(),
        ranges: ["198.51.100.0/24", "0.0.0.0/0", "2001:db8::/32"]
            .map(|net| SourceRange { svc: 7, net: net.parse().unwrap() })
            .into(),
        service_nets: ["10.96.0.0/16", "fd00:96::/112"].map(|net| net.parse().unwrap()).into(),
        cluster: [("0.0.0.0", "172.18.0.1"), ("172.18.0.2", "172.18.0.1"), ("fd00:172::2", "fd00:172::1")]
            .map(|(key, said)| (addr(key), ClusterRow { kind: kind::NODE, addr: Some(addr(said)) }))
            .into_iter()
            .chain(
                [("10.0.0.1", kind::POD), ("fd00::1", kind::POD)]
                    .map(|(key, kind)| (addr(key), ClusterRow { kind, addr: None })),
            )
            .collect(),
        given: BTreeMap::new(),
    }
}

fn puts(rows: &Rows) -> Vec<Op> {
    let mut ops = Vec::new();
    ops.extend(rows.ports.iter().map(|(key, rule)| Op::PutPort(*key, *rule)));
    ops.extend(rows.policy.iter().map(|(key, row)| Op::PutPolicy(*key, *row)));
    ops.extend(rows.cidrs.iter().map(|(net, row)| Op::PutCidr(*net, *row)));
    ops.extend(rows.peers.iter().map(|(addr, row)| Op::PutPeer(*addr, *row)));
    ops.extend(rows.endpoints.iter().map(|(ifindex, row)| Op::PutEndpoint(*ifindex, *row)));
    for (row, service) in &rows.services {
        ops.push(Op::WriteBackends { base: service.base(), backends: rows.backends[row].as_slice().into() });
        ops.push(Op::PutService(*row, *service));
    }
    ops.extend(rows.frontends.iter().map(|(frontend, row)| Op::PutFrontend(*frontend, *row)));
    ops.extend(rows.cluster.iter().map(|(addr, row)| Op::PutCluster(*addr, *row)));
    ops.extend(rows.members.iter().copied().map(Op::PutMember));
    ops.extend(rows.ranges.iter().copied().map(Op::PutRange));
    ops.extend(rows.service_nets.iter().copied().map(Op::PutServiceNet));
    ops.extend([Op::AwaitGrace, Op::AdvanceEpoch]);
    ops
}

fn deletes(rows: &Rows) -> Vec<Op> {
    let mut ops = Vec::new();
    ops.extend(rows.frontends.keys().map(|frontend| Op::DeleteFrontend(*frontend)));
    ops.extend(rows.members.iter().copied().map(Op::DeleteMember));
    ops.extend(rows.ranges.iter().copied().map(Op::DeleteRange));
    ops.extend(rows.service_nets.iter().copied().map(Op::DeleteServiceNet));
    ops.extend(rows.cluster.keys().map(|addr| Op::DeleteCluster(*addr)));
    ops.extend(rows.endpoints.keys().map(|ifindex| Op::DeleteEndpoint(*ifindex)));
    ops.extend(rows.peers.keys().map(|addr| Op::DeletePeer(*addr)));
    ops.extend(rows.cidrs.keys().map(|net| Op::DeleteCidr(*net)));
    ops.extend(rows.policy.keys().map(|key| Op::DeletePolicy(*key)));
    ops.extend(rows.ports.keys().map(|key| Op::DeletePort(*key)));
    ops
}

#[test]
fn rows_outlive_the_agent_and_are_read_back_as_written() {
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let rows = rows();
    let mut kernel = open(&bed, "node1", None);
    assert_eq!(kernel.maps.read().unwrap(), Rows::default());
    for op in puts(&rows) {
        kernel.maps.apply(&op).unwrap_or_else(|error| panic!("{op:?}: {error}: {}", error.source));
    }
    let epoch = kernel.maps.epoch();
    assert_eq!(epoch, 1);
    drop(kernel);

    let mut kernel = open(&bed, "node1", None);
    assert_eq!(kernel.maps.read().unwrap(), rows);
    assert_eq!(kernel.maps.epoch(), epoch);
    for op in deletes(&rows).iter().chain(&deletes(&rows)) {
        kernel.maps.apply(op).unwrap_or_else(|error| panic!("{op:?}, also of what is gone: {error}"));
    }
    assert_eq!(kernel.maps.read().unwrap(), Rows::default());
}

/// Carries all of them out, and says how many at a time.
fn carry_out(maps: &mut Maps, ops: &[Op]) -> Vec<usize> {
    let (mut left, mut together) = (ops, Vec::new());
    while let Some(op) = left.first() {
        let done = maps.apply_first(left).unwrap_or_else(|error| panic!("{op:?}: {error}: {}", error.source));
        left = &left[done..];
        together.push(done);
    }
    together
}

/// Addresses of other nodes' pods: the same IPv4 and IPv6 ones for each number.
fn peers(numbers: std::ops::Range<u32>) -> Vec<(IpAddr, PeerRow)> {
    let row = |n| PeerRow { class: ClassId(u64::from(n) + 1), ifindex: 0, flags: 0 };
    let v4 = numbers.clone().map(|n| (Ipv4Addr::from(0x0a00_0000 + n).into(), row(n)));
    let v6 = numbers.map(|n| (Ipv6Addr::from((0xfd << 120) + u128::from(n)).into(), row(n)));
    v4.chain(v6).collect()
}

#[test]
fn operations_of_one_kind_are_carried_out_together_and_those_of_rows_that_are_gone_are_passed_over() {
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let mut kernel = open(&bed, "node1", None);
    let mut rows = rows();
    rows.peers.extend(peers(0..1500));
    let together = carry_out(&mut kernel.maps, &puts(&rows));
    assert_eq!(together[..3], [1024, 1024, 952], "np_port: {together:?}");
    assert!(together.len() < 60, "{together:?}");
    assert_eq!(kernel.maps.read().unwrap(), rows);

    // Another one in the place of each, and what is written twice counts as it was written last.
    let other = |class| PeerRow { class: ClassId(class), ifindex: 0, flags: 0 };
    let addresses: Vec<IpAddr> = rows.peers.keys().copied().collect();
    let twice = addresses.iter().flat_map(|addr| [5, 6].map(|class| Op::PutPeer(*addr, other(class))));
    carry_out(&mut kernel.maps, &twice.collect::<Vec<_>>());
    assert!(kernel.maps.read().unwrap().peers.values().all(|row| *row == other(6)));

    for addr in addresses.iter().step_by(7) {
        kernel.maps.apply(&Op::DeletePeer(*addr)).unwrap();
    }
    carry_out(&mut kernel.maps, &deletes(&rows));
    assert_eq!(kernel.maps.read().unwrap(), Rows::default());
}

#[test]
fn of_operations_that_go_together_those_before_the_one_that_finds_no_room_are_carried_out() {
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let mut kernel = open(&bed, "node1", None);
    let room = u32::try_from(kernel.maps.capacity().peers).unwrap();
    let put = |(addr, row)| Op::PutPeer(addr, row);
    let v4 = |numbers| peers(numbers).into_iter().filter(|(addr, _)| addr.is_ipv4()).map(put);
    carry_out(&mut kernel.maps, &v4(0..room - 10).collect::<Vec<_>>());
    let more: Vec<Op> = v4(room - 10..room + 10).chain([Op::AdvanceEpoch]).collect();
    assert_eq!(kernel.maps.apply_first(&more).unwrap(), 10);
    let error = kernel.maps.apply_first(&more[10..]).unwrap_err();
    assert_eq!((error.map.as_str(), error.call), (names::PEER4, "bpf_map_update_elem"));
    let held = kernel.maps.read().unwrap().peers;
    assert_eq!(held.len(), room as usize);
    assert!(
        peers(room - 10..room)
            .iter()
            .filter(|(addr, _)| addr.is_ipv4())
            .all(|(addr, row)| held.get(addr) == Some(row))
    );
}

#[test]
fn rows_past_the_end_of_the_arena_are_refused() {
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let mut kernel = open(&bed, "node1", None);
    let capacity = kernel.maps.capacity();
    let Sizes { backends, services, .. } = Sizes::small();
    assert_eq!((capacity.backends, capacity.services), (backends as usize, services as usize));
    let two: Arc<[Backend]> = [Backend { addr: addr("10.0.0.1"), port: 1 }; 2].into();
    assert!(kernel.maps.apply(&Op::WriteBackends { base: backends - 2, backends: two.clone() }).is_ok());
    assert!(kernel.maps.apply(&Op::WriteBackends { base: backends - 1, backends: two }).is_err());
    assert!(kernel.maps.apply(&Op::PutService(services, ServiceRow::default())).is_err());
}

#[test]
fn every_map_tells_its_memory_and_pinned_connection_tables_keep_their_size() {
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let pins = pin_dir(bed.node("node1").unwrap());
    let by_memory = connections(&pins);
    assert!(by_memory.is_power_of_two() && by_memory >= 65_536, "{by_memory}");
    let kernel = open(&bed, "node1", None);
    let memory = kernel.memory.read().unwrap();
    assert_eq!(memory.len(), names::PINNED.len());
    let rows = u64::from(Sizes::small().ct);
    assert!(memory[names::CT4] >= rows * size_of::<CtEntry>() as u64, "{memory:?}");
    assert!(memory.values().sum::<u64>() < of_node().unwrap(), "{memory:?}");
    assert_eq!(connections(&pins), Sizes::small().ct);
}
