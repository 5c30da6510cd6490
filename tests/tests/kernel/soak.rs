//! The connection table at work: many entries that have had their time, among them a few that are in use.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use netpol_agent::dataplane::{
    Backend, Dataplane, Frontend, Op,
    kernel::{
        ConnectionKey, Connections, Jiffies, Kernel, LoadOptions, Object, Progress, RunContext, Sizes,
        Switch, Timeouts,
    },
};
use netpol_common::{
    config,
    conntrack::{CtEntry, CtKey4, Tuple, flags},
    names,
    net::{Address, Be16, V4, proto},
    service::{FrontendRow, ServiceRow},
    version::ABI_VERSION,
};
use netpol_tests::{
    bed::{Bed, ClusterSpec, Netns},
    eventually,
};

use crate::node::{PATIENCE, await_pod, open_pod, options, pin_dir, pod, v4};

const TIMEOUT: Duration = Duration::from_secs(10);
/// What is in use is used this often: seldom, but well within its time.
const PACE: Duration = Duration::from_millis(1500);
/// Two timeouts and more.
const ROUNDS: u32 = 16;
const LIVE: u16 = 60;
const OLD: u32 = 200_000;
const PAIRS: u32 = 1_000;
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 9);
const PORT: u16 = 7000;

/// Who speaks after a connection was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speaks {
    Both,
    /// Only the front entry is touched.
    Client,
    /// Only the back entry is touched.
    Server,
}

struct Live {
    speaks: Speaks,
    client: UdpSocket,
    from: SocketAddr,
}

/// Connections in use.
struct Traffic {
    server: UdpSocket,
    live: Vec<Live>,
}

impl Traffic {
    fn open(client: &Netns, server: &Netns, address: IpAddr) -> Self {
        let socket = |netns: &Netns, port: u16| {
            let socket = netns.enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        };
        let server = socket(server, PORT);
        let mut live = Vec::new();
        for number in 0..3 * LIVE {
            let (speaks, to) = match number % 3 {
                0 => (Speaks::Both, address),
                1 => (Speaks::Client, SERVICE.into()),
                _ => (Speaks::Server, SERVICE.into()),
            };
            let client = socket(client, 0);
            client.connect((to, PORT)).unwrap();
            client.send(b"?").unwrap();
            let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
            server.send_to(b"!", from).unwrap();
            client.recv(&mut [0; 8]).unwrap();
            live.push(Live { speaks, client, from });
        }
        Self { server, live }
    }

    /// One packet each way that is spoken, each of which arrives.
    fn round(&self) {
        for Live { speaks, client, from } in &self.live {
            if *speaks != Speaks::Server {
                client.send(b"?").unwrap();
                self.server.recv_from(&mut [0; 8]).unwrap();
            }
            if *speaks != Speaks::Client {
                self.server.send_to(b"!", from).unwrap();
                client.recv(&mut [0; 8]).unwrap();
            }
        }
    }
}

/// The keys of a client's entries: of what it sends, and of what arrives where that is something else.
fn keys(live: &Live, server: Ipv4Addr) -> (ConnectionKey, Option<ConnectionKey>) {
    let IpAddr::V4(client) = live.from.ip() else { unreachable!("an IPv4 socket") };
    let to = |addr| key(client, live.from.port(), addr);
    match live.speaks {
        Speaks::Both => (to(server), None),
        Speaks::Client | Speaks::Server => (to(SERVICE), Some(to(server))),
    }
}

fn key(src: Ipv4Addr, sport: u16, dst: Ipv4Addr) -> ConnectionKey {
    ConnectionKey::V4(CtKey4::of(&tuple(src, sport, dst)))
}

fn tuple(src: Ipv4Addr, sport: u16, dst: Ipv4Addr) -> Tuple<V4> {
    Tuple {
        src: src.into(),
        dst: dst.into(),
        sport: Be16::from_host(sport),
        dport: Be16::from_host(PORT),
        proto: proto::UDP,
    }
}

/// Jiffies now, and how many of them are a span of time.
pub(crate) fn jiffies(object: &Object, now: Jiffies, span: Duration) -> (u32, u32) {
    let context = RunContext { ifindex: 0, ingress_ifindex: 0, repeat: 1, mark: 0 };
    let raw = object.test_run(names::CLOCK, &[0; 64], context).unwrap().action.cast_unsigned();
    let thousand = now.age(raw.wrapping_sub(1000)).as_secs_f64();
    (raw, (span.as_secs_f64() * 1000.0 / thousand) as u32)
}

/// An entry of a connection `age` jiffies after its last packet. Addresses that nobody has.
fn old(number: u32, kind: u32, now: u32, age: u32) -> (ConnectionKey, CtEntry) {
    let client = Ipv4Addr::from(0x0a63_0000 + (number >> 12));
    let [service, backend] = [Ipv4Addr::new(10, 97, 0, 1), Ipv4Addr::new(10, 97, 0, 2)];
    let (to, other) = if kind == flags::BACK { (backend, service) } else { (service, backend) };
    let tuple = tuple(client, 1 + (number & 0xfff) as u16, to);
    let entry = CtEntry {
        flags: flags::REPLIED | kind | tuple.order(),
        last_seen: now.wrapping_sub(age),
        nat_addr: if kind == 0 { [0; 4] } else { V4::from(other).to_words() },
        nat_port: Be16::from_host(if kind == 0 { 0 } else { PORT }),
        ..CtEntry::default()
    };
    (ConnectionKey::V4(CtKey4::of(&tuple)), entry)
}

/// A pair whose halves were used at different times.
fn pair(number: u32, now: u32, timeout: u32) -> [(ConnectionKey, CtEntry); 2] {
    let number = OLD + number;
    let ages = [number.wrapping_mul(7919) % (2 * timeout), number.wrapping_mul(104_729) % (2 * timeout)];
    [old(number, flags::FRONT, now, ages[0]), old(number, flags::BACK, now, ages[1])]
}

/// No pair has lost one of its halves. One that is being removed may be met without its front entry for a moment.
fn assert_whole(table: &Connections, now: u32, timeout: u32) {
    for number in 0..PAIRS {
        let there = || pair(number, now, timeout).map(|(key, _)| table.get(key).unwrap().is_some());
        if there()[0] != there()[1] {
            eventually(PATIENCE, "a pair goes as a whole", || matches!(there(), [false, false]));
        }
    }
}

#[test]
fn of_two_hundred_thousand_connections_those_in_use_stay_and_all_others_go() {
    let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
    bed.apply(&[pod("a", "node1"), pod("b", "node1")]).unwrap();
    let node = bed.node("node1").unwrap();
    let sizes = Sizes { ct: 220_000, ..Sizes::small() };
    let mut options = options(node, None);
    options.sizes = sizes;
    options.timeouts = Timeouts { udp_answered: TIMEOUT, ..Timeouts::default() };
    let mut kernel = node.netns.enter(|| Ok(Kernel::open(&options)?)).unwrap();
    let pins = pin_dir(node).join(format!("v{ABI_VERSION}"));
    let mut object = Object::load(&LoadOptions { pin_dir: Some(pins), sizes }).unwrap();
    let server = v4(&bed.pod("t/b").unwrap().addresses);
    for name in ["t/a", "t/b"] {
        let interface = await_pod(&bed, &mut kernel, name);
        open_pod(&mut kernel, &interface);
    }
    kernel.maps.set_flags(config::flags::FAST_PATH, Switch::On);
    let backends = [Backend { addr: server, port: PORT }].into();
    let frontend = Frontend { addr: SERVICE.into(), port: PORT, proto: proto::UDP };
    for op in [
        Op::WriteBackends { base: 0, backends },
        Op::PutService(1, ServiceRow::new(0, 1, 1).unwrap()),
        Op::PutFrontend(frontend, FrontendRow { svc: 1, near: 1, far: 1, ..FrontendRow::default() }),
    ] {
        kernel.maps.apply(&op).unwrap();
    }

    let since = Instant::now();
    let mut moment = None;
    eventually(PATIENCE, "the length of a jiffy", || {
        moment = kernel.clock.now(since.elapsed()).unwrap();
        moment.is_some()
    });
    let (begun, timeout) = jiffies(&object, moment.unwrap(), TIMEOUT);
    let mut table = Connections::new(&mut object).unwrap();
    let pods = ["t/a", "t/b"].map(|name| bed.pod(name).unwrap().netns.clone());
    let traffic = Traffic::open(&pods[0], &pods[1], server);
    for (key, entry) in (0..PAIRS).flat_map(|number| pair(number, begun, timeout)) {
        table.put(key, entry).unwrap();
    }

    let (filling, speaking, rounds) = (AtomicBool::new(true), AtomicBool::new(true), AtomicU32::new(0));
    let mut walks = 0;
    let (written, longest) = thread::scope(|scope| {
        let _ends = [Ends(&filling), Ends(&speaking)];
        let filler = scope.spawn(|| {
            let mut object = Object::load(&LoadOptions {
                pin_dir: Some(pin_dir(node).join(format!("v{ABI_VERSION}"))),
                sizes,
            })
            .unwrap();
            let (mut written, mut now) = (0u64, begun);
            let mut table = Connections::new(&mut object).unwrap();
            while filling.load(Ordering::Relaxed) {
                for number in 0..OLD {
                    // A third of the entries are pairs' halves.
                    let kinds: &[u32] = if number % 5 == 0 { &[flags::BACK, flags::FRONT] } else { &[0] };
                    for kind in kinds {
                        let (key, entry) = old(number, *kind, now, number.wrapping_mul(7919) % (2 * timeout));
                        // Full: the walk is behind for a moment.
                        written += u64::from(table.put(key, entry).is_ok());
                    }
                }
                now = jiffies(&object, moment.unwrap(), TIMEOUT).0;
            }
            written
        });
        let speaker = scope.spawn(|| {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while speaking.load(Ordering::Relaxed) {
                traffic.round();
                longest = longest.max(last.elapsed());
                last = Instant::now();
                rounds.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PACE);
            }
            longest
        });
        let mut walk = |kernel: &mut Kernel| {
            let now = kernel.clock.now(since.elapsed()).unwrap().unwrap();
            while kernel.conntrack.slice(now).unwrap() == Progress::Underway {}
            assert_whole(&table, begun, timeout);
            walks += 1;
            kernel.conntrack.fill()[0].entries
        };
        let mut most = 0;
        while rounds.load(Ordering::Relaxed) < ROUNDS && !speaker.is_finished() {
            most = most.max(walk(&mut kernel));
        }
        assert!(most > OLD as usize / 4, "{most} entries at once prove little");
        filling.store(false, Ordering::Relaxed);
        let written = filler.join().unwrap();
        // What was written last is used up after one timeout; a walk tells what it found before it removed any.
        let filled = Instant::now();
        while filled.elapsed() < TIMEOUT && !speaker.is_finished() {
            walk(&mut kernel);
        }
        walk(&mut kernel);
        assert_eq!(walk(&mut kernel), usize::from(LIVE) * 5, "a direct connection has one entry, others two");
        speaking.store(false, Ordering::Relaxed);
        (written, speaker.join().unwrap())
    });

    assert!(longest < TIMEOUT, "this machine let {longest:?} pass between two rounds: that proves nothing");
    eprintln!("{written} entries written, {walks} walks, {longest:?} between two rounds at most");
    let packets = u64::from(rounds.load(Ordering::Relaxed)) + 1;
    let IpAddr::V4(server) = server else { unreachable!("asked for") };
    for live in &traffic.live {
        let (sent, received) = keys(live, server);
        // An entry that had been removed and made anew would have counted fewer.
        let counted = |key| table.get(key).unwrap().map(|entry| entry.packets);
        match live.speaks {
            Speaks::Both => assert_eq!(counted(sent), Some([packets; 2])),
            Speaks::Client => assert_eq!(counted(sent).map(|[asked, _]| asked), Some(packets)),
            Speaks::Server => {
                assert_eq!(received.and_then(counted).map(|[_, answered]| answered), Some(packets));
            }
        }
    }
}

/// Clears the flag when it goes, also where an assertion fails: whoever works while it is set ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
