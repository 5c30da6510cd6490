//! A connection whose packets are found by way of another one's entry.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use netpol_agent::dataplane::kernel::{
    ConnectionKey, Connections, Kernel, LoadOptions, Object, Progress, Sizes, Timeouts,
};
use netpol_common::{
    conntrack::{CtEntry, CtKey4, Tuple, flags},
    net::{Address, Be16, V4, proto},
    version::ABI_VERSION,
};
use netpol_tests::{
    bed::{Bed, ClusterSpec},
    eventually,
};

use crate::{
    node::{PATIENCE, options, pin_dir},
    soak::jiffies,
};

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 99, 0, 1), 40_000);
const GIVEN_OUT: (Ipv4Addr, u16) = (CLIENT.0, 61_000);
const SERVICE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 97, 0, 1), 53);
const BACKEND: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 97, 0, 2), 5353);

type End = (Ipv4Addr, u16);

/// One of the two entries of a connection.
fn entry(kind: u32, (src, dst): (End, End), (nat_src, nat_dst): (End, End)) -> (CtKey4, CtEntry) {
    let tuple = Tuple {
        src: V4::from(src.0),
        dst: V4::from(dst.0),
        sport: Be16::from_host(src.1),
        dport: Be16::from_host(dst.1),
        proto: proto::UDP,
    };
    let entry = CtEntry {
        flags: flags::REPLIED | flags::SNAT | kind | tuple.order(),
        nat_addr: V4::from(nat_dst.0).to_words(),
        nat_port: Be16::from_host(nat_dst.1),
        nat_saddr: V4::from(nat_src.0).to_words(),
        nat_sport: Be16::from_host(nat_src.1),
        ..CtEntry::default()
    };
    (CtKey4::of(&tuple), entry)
}

#[test]
fn an_entry_that_another_connection_stands_beside_is_kept_as_long_as_that_one() {
    let bed = Bed::build(&ClusterSpec::default()).unwrap();
    let node = bed.node("node1").unwrap();
    let mut options = options(node, None);
    options.timeouts = Timeouts { udp_answered: Duration::from_secs(3600), ..Timeouts::default() };
    let mut kernel = node.netns.enter(|| Ok(Kernel::open(&options)?)).unwrap();
    let pins = pin_dir(node).join(format!("v{ABI_VERSION}"));
    let mut object = Object::load(&LoadOptions { pin_dir: Some(pins), sizes: Sizes::small() }).unwrap();
    let since = Instant::now();
    let mut moment = None;
    eventually(PATIENCE, "the length of a jiffy", || {
        moment = kernel.clock.now(since.elapsed()).unwrap();
        moment.is_some()
    });
    let (now, hundred_seconds) = jiffies(&object, moment.unwrap(), Duration::from_secs(100));
    let old = now.wrapping_sub(100 * hundred_seconds);
    let through_service = [
        entry(flags::FRONT, (CLIENT, SERVICE), (CLIENT, BACKEND)),
        entry(flags::BACK, (CLIENT, BACKEND), (CLIENT, SERVICE)),
    ];
    let (key, front) = entry(flags::FRONT | flags::BESIDE, (CLIENT, BACKEND), (GIVEN_OUT, BACKEND));
    let direct =
        [(key.beside(), front), entry(flags::BACK | flags::BESIDE, (GIVEN_OUT, BACKEND), (CLIENT, BACKEND))];
    let mut table = Connections::new(&mut object).unwrap();
    let mut put = |entries: [(CtKey4, CtEntry); 2], last_seen| {
        for (key, entry) in entries {
            table.put(ConnectionKey::V4(key), CtEntry { last_seen, ..entry }).unwrap();
        }
    };
    let walk = |kernel: &mut Kernel| {
        let now = kernel.clock.now(since.elapsed()).unwrap().unwrap();
        while kernel.conntrack.slice(now).unwrap() == Progress::Underway {}
        kernel.conntrack.fill()[0].entries
    };
    put(through_service, old);
    put(direct, now);
    // A walk tells what it found before it removed any.
    assert_eq!([walk(&mut kernel), walk(&mut kernel), walk(&mut kernel)], [4; 3]);
    put(direct, old);
    let found = [walk(&mut kernel), walk(&mut kernel), walk(&mut kernel)];
    assert!(found[0] == 4 && [2, 0].contains(&found[1]) && found[2] == 0, "{found:?}");
}
