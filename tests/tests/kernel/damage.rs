//! Pins that are not what they should be: they are put aside and made anew, and nothing is open meanwhile that was closed.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use netpol_agent::dataplane::{
    Dataplane, Frontend, Op,
    kernel::{Kernel, KernelOptions, OpenError, PinError, cleanup},
};
use netpol_common::{service::FrontendRow, version::ABI_VERSION};
use netpol_tests::bed::{Bed, ClusterSpec, Netns, Node};
use socket2::{Domain, Type};

use crate::node::{await_pod, open_pod, options, pin_dir, pinned_interfaces, pod, v4};

/// What is left of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    /// All but what was damaged: what was open goes on.
    Policy,
    /// Nothing: everything is closed until it is written.
    Nothing,
}

struct Damage {
    what: &'static str,
    /// Done to the folder of pins of this version.
    make: fn(&Path),
    /// Pins that are named, below that folder.
    named: &'static [&'static str],
    why: &'static str,
    left: Left,
}

const DAMAGES: &[Damage] = &[
    Damage {
        what: "a map has another's shape",
        make: |pins| {
            fs::remove_file(pins.join("np_stats")).unwrap();
            fs::rename(pins.join("np_frag4"), pins.join("np_stats")).unwrap();
        },
        named: &["np_stats", "np_frag4"],
        why: "has type LruHash, this agent (maps version",
        left: Left::Policy,
    },
    Damage {
        what: "a table of connections is something else",
        make: |pins| {
            fs::remove_file(pins.join("np_ct4")).unwrap();
            symlink(a_link(pins), pins.join("np_ct4")).unwrap();
        },
        named: &["np_ct4", "np_ct6", "np_quota"],
        why: "is a link, not a map",
        left: Left::Policy,
    },
    Damage {
        what: "the table of addresses is a folder",
        make: |pins| {
            fs::remove_file(pins.join("np_peer4")).unwrap();
            fs::create_dir(pins.join("np_peer4")).unwrap();
        },
        named: &["np_peer4", "np_ep", "np_config", "np_ct4"],
        why: "cannot be opened",
        left: Left::Nothing,
    },
    Damage {
        what: "a pin leads nowhere",
        make: |pins| {
            fs::remove_file(pins.join("np_policy")).unwrap();
            symlink("nothing", pins.join("np_policy")).unwrap();
        },
        named: &["np_policy", "np_ep"],
        why: "cannot be opened",
        left: Left::Nothing,
    },
    Damage {
        what: "the pins are cut short",
        make: |pins| fs::remove_file(pins.join("np_config")).unwrap(),
        named: &["np_config", "np_ct4", "np_ep"],
        why: "is missing",
        left: Left::Nothing,
    },
    Damage {
        what: "links that are none",
        make: |pins| {
            fs::create_dir(pins.join("links/90001-from_pod")).unwrap();
            symlink("../np_ep", pins.join("links/90002-to_pod")).unwrap();
            symlink("nothing", pins.join("links/90003-to_pod")).unwrap();
            fs::create_dir(pins.join("links/precious")).unwrap();
            symlink("np_ep", pins.join("xdp")).unwrap();
            fs::remove_dir_all(pins.join("layouts")).unwrap();
            symlink("np_ep", pins.join("layouts")).unwrap();
        },
        named: &[
            "links/90001-from_pod",
            "links/90002-to_pod",
            "links/90003-to_pod",
            "links/precious",
            "xdp",
            "layouts",
        ],
        why: "is a map, not a link",
        left: Left::Policy,
    },
];

fn a_link(pins: &Path) -> PathBuf {
    let name = fs::read_dir(pins.join("links")).unwrap().next().unwrap().unwrap().file_name();
    Path::new("links").join(name)
}

pub(crate) fn pins(node: &Node) -> PathBuf {
    pin_dir(node).join(format!("v{ABI_VERSION}"))
}

pub(crate) struct Lab {
    pub(crate) bed: Bed,
}

impl Lab {
    /// Two pods that may talk, and one that nobody may talk to.
    pub(crate) fn new() -> Self {
        let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
        bed.apply(&[pod("a", "node1"), pod("b", "node1"), pod("closed", "node1")]).unwrap();
        Self { bed }
    }

    pub(crate) fn node(&self) -> &Node {
        self.bed.node("node1").unwrap()
    }

    pub(crate) fn open_with(&self, options: &KernelOptions) -> Kernel {
        self.node().netns.enter(|| Ok(Kernel::open(options)?)).unwrap()
    }

    pub(crate) fn open(&self) -> Kernel {
        self.open_with(&options(self.node(), None))
    }

    pub(crate) fn write_rows(&self, kernel: &mut Kernel) {
        for name in ["t/a", "t/b"] {
            let interface = await_pod(&self.bed, kernel, name);
            open_pod(kernel, &interface);
        }
        kernel.maps.apply(&Op::AdvanceEpoch).unwrap();
    }

    fn address(&self, pod: &str) -> SocketAddr {
        SocketAddr::new(v4(&self.bed.pod(pod).unwrap().addresses), 53)
    }

    /// How many of five requests from `a` to `b` are answered.
    pub(crate) fn exchange(&self) -> usize {
        let client = &self.bed.pod("t/a").unwrap().netns;
        let socket: UdpSocket = client.socket(Domain::IPV4, Type::DGRAM, None).unwrap().into();
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        socket.connect(self.address("t/b")).unwrap();
        let mut buffer = [0; 2048];
        let answered = |number: &u32| {
            socket.send(format!("n{number:015}\n").as_bytes()).unwrap();
            socket.recv(&mut buffer).is_ok()
        };
        (0..5).filter(answered).count()
    }
}

/// Asks all the time until told to stop. How often there was an answer.
fn knock(client: &Netns, to: SocketAddr, stop: &AtomicBool) -> (usize, usize) {
    let mut buffer = [0; 2048];
    let (mut asked, mut answered) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        // Each time another connection.
        let socket: UdpSocket = client.socket(Domain::IPV4, Type::DGRAM, None).unwrap().into();
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        socket.connect(to).unwrap();
        socket.send(b"let me in\n").unwrap();
        asked += 1;
        answered += usize::from(socket.recv(&mut buffer).is_ok());
    }
    (asked, answered)
}

/// Also when a check fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn pins_that_are_not_what_they_should_be_are_put_aside_and_nothing_opens() {
    let lab = Lab::new();
    let mut kernel = lab.open();
    assert_eq!(kernel.found, []);
    lab.write_rows(&mut kernel);
    drop(kernel);
    let links = pinned_interfaces(lab.node());
    assert_eq!(links.len(), 6);
    let stop = AtomicBool::new(false);
    let closed = lab.address("t/closed");
    let client = lab.bed.pod("t/a").unwrap().netns.clone();
    let (asked, answered) = thread::scope(|scope| {
        let knocking = scope.spawn(|| knock(&client, closed, &stop));
        let stops = StopOnDrop(&stop);
        for Damage { what, make, named, why, left } in DAMAGES {
            assert_eq!(lab.exchange(), 5, "before: {what}");
            make(&pins(lab.node()));
            assert_eq!(lab.exchange(), 5, "what is attached has its maps: {what}");
            let mut kernel = lab.open();
            for name in *named {
                let path = pins(lab.node()).join(name);
                let found = kernel.found.iter().find(|found| found.path == path);
                let found = found.unwrap_or_else(|| panic!("{what}: {name} is not among {:?}", kernel.found));
                assert!(
                    found.to.as_ref().is_none_or(|to| fs::symlink_metadata(to).is_ok()),
                    "{what}: {found:?}"
                );
            }
            assert!(kernel.found.iter().any(|found| found.why.contains(why)), "{what}: {:?}", kernel.found);
            assert_eq!(pinned_interfaces(lab.node()), links, "{what}");
            assert_eq!(lab.exchange(), if *left == Left::Policy { 5 } else { 0 }, "{what}");
            lab.write_rows(&mut kernel);
            assert_eq!(lab.exchange(), 5, "written anew: {what}");
            drop(kernel);
            // The next one finds nothing to complain of.
            assert_eq!(lab.open().found, [], "{what}");
        }
        drop(stops);
        knocking.join().unwrap()
    });
    assert!(asked > 100, "{asked} asked");
    assert_eq!(answered, 0, "of {asked}");
    let node = lab.node();
    node.netns.enter(|| Ok(cleanup(&pin_dir(node))?)).unwrap();
    assert!(!pin_dir(node).exists(), "what was put aside goes with the rest");
}

#[test]
fn other_sizes_cost_the_connections_alone() {
    let lab = Lab::new();
    let mut kernel = lab.open();
    lab.write_rows(&mut kernel);
    drop(kernel);
    let mut other = options(lab.node(), None);
    other.sizes.ct *= 2;
    let kernel = lab.open_with(&other);
    let said: Vec<_> = kernel.found.iter().map(|found| found.why.clone()).collect();
    let room = format!("has room for 8192, this agent (maps version {ABI_VERSION}) needs 16384");
    assert_eq!(said, [room.clone(), room, "goes with np_ct4".to_owned()]);
    assert_eq!(lab.exchange(), 5);
}

#[test]
fn rows_that_name_what_is_not_there_are_written_anew() {
    let lab = Lab::new();
    let mut kernel = lab.open();
    lab.write_rows(&mut kernel);
    let way = Frontend { addr: "10.96.0.1".parse().unwrap(), port: 80, proto: 6 };
    let row = FrontendRow { svc: 1, near: 4_000_000, far: 4_000_000, ..FrontendRow::default() };
    kernel.maps.apply(&Op::PutFrontend(way, row)).unwrap();
    drop(kernel);
    let mut kernel = lab.open();
    assert!(kernel.found.iter().all(|found| found.why.contains("np_svc row 4000000")), "{:?}", kernel.found);
    assert!(!kernel.found.is_empty() && kernel.rows.frontends.is_empty());
    assert_eq!(lab.exchange(), 0);
    lab.write_rows(&mut kernel);
    assert_eq!(lab.exchange(), 5);
}

#[test]
fn a_second_agent_is_refused_whatever_its_pin_directory() {
    let lab = Lab::new();
    let node = lab.node();
    let kernel = lab.open();
    let again = options(node, None);
    let elsewhere = KernelOptions { pin_dir: node.folder.join("bpf").join("other"), ..again.clone() };
    for options in [&again, &elsewhere] {
        let error = node.netns.enter(|| Ok(Kernel::open(options).map(drop))).unwrap().unwrap_err();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(error, OpenError::Pin(PinError::Second { pid }) if pid == own), "{error}");
        assert!(error.to_string().contains(&format!("(process {own}) serves this node already")), "{error}");
    }
    // From elsewhere the pins are still one agent's alone, and an agent of another version has them too.
    let other = lab.bed.node("node2").unwrap();
    let error = other.netns.enter(|| Ok(Kernel::open(&again).map(drop))).unwrap().unwrap_err();
    assert!(matches!(error, OpenError::Pin(PinError::InUse { .. })), "{error}");
    let error = node.netns.enter(|| Ok(cleanup(&pin_dir(node)))).unwrap().unwrap_err();
    assert!(matches!(error, OpenError::Pin(PinError::InUse { .. })), "{error}");
    drop(kernel);
    drop(lab.open());
}
