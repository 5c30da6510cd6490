use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use netpol_agent::dataplane::kernel::{Jiffies, Kernel, Progress, Timeouts};
use netpol_tests::{
    bed::{Bed, ClusterSpec},
    eventually,
    probe::{Attempt, Outcome, Protocol},
};

use crate::node::{PATIENCE, await_pod, open_pod, options, pod};

fn now(kernel: &mut Kernel, since: Instant) -> Jiffies {
    let mut found = None;
    eventually(PATIENCE, "the length of a jiffy", || {
        found = kernel.clock.now(since.elapsed()).unwrap();
        found.is_some()
    });
    found.unwrap()
}

/// Walks through both tables; the entries found.
fn walk(kernel: &mut Kernel, since: Instant) -> usize {
    let now = now(kernel, since);
    while kernel.conntrack.slice(now).unwrap() == Progress::Underway {}
    kernel.conntrack.fill().iter().map(|fill| fill.entries).sum()
}

#[test]
fn a_connection_is_forgotten_when_it_has_had_its_time_and_not_before() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.apply(&[pod("a", "node1"), pod("b", "node1")]).unwrap();
    let node = bed.node("node1").unwrap();
    let timeout = Duration::from_secs(1);
    let mut options = options(node, None);
    options.timeouts = Timeouts { udp_answered: timeout, ..Timeouts::default() };
    let mut kernel = node.netns.enter(|| Ok(Kernel::open(&options)?)).unwrap();
    for name in ["t/a", "t/b"] {
        let interface = await_pod(&bed, &mut kernel, name);
        open_pod(&mut kernel, &interface);
    }
    let since = Instant::now();
    assert_eq!(walk(&mut kernel, since), 0);
    let from = bed.pod("t/a").unwrap().netns.clone();
    // Not after the exchanges: the last of them is by TCP, and takes its time as well.
    let spoken = Instant::now();
    for addr in bed.pod("t/b").unwrap().addresses.clone() {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let port = if protocol == Protocol::Udp { 53 } else { 80 };
            let to = SocketAddr::new(addr, port);
            let attempt =
                Attempt { from: from.clone(), protocol, to, size: 17, timeout: Duration::from_secs(2) };
            let outcome = bed.runtime().block_on(attempt.make()).1;
            assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
        }
    }
    let entries = walk(&mut kernel, since);
    assert_eq!(entries, 4, "two protocols, two families: {:?}", kernel.conntrack.fill());
    // A slice reports what it found before it removed anything: so the next but one shows it.
    eventually(PATIENCE, "only TCP is left", || walk(&mut kernel, since) == 2);
    assert!(spoken.elapsed() >= timeout, "forgotten after {:?}", spoken.elapsed());
    assert_eq!(walk(&mut kernel, since), 2);
}
