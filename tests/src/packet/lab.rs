mod timing;

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Error, Result, ensure};
use netpol_agent::dataplane::{
    Dataplane, Op, Rows,
    kernel::{
        Connections, LoadError, LoadOptions, Maps, NoPods, Object, Ring, RunContext, Sizes, Stats, Switch,
        Told, Untold, Uplinks, XdpCounter, XdpTable,
    },
};
use netpol_common::{
    direction::Direction,
    event::PacketEvent,
    names,
    reason::DropReason,
    stats::{self, Extra},
};

pub(crate) use self::timing::asked;
use crate::bed::Netns;

/// Why a packet that came in by an interface cannot be tried on an old kernel. `cargo xtask vm` looks for it.
pub const NO_INGRESS: &str = "this kernel's BPF_PROG_TEST_RUN takes no ingress_ifindex";

/// The programs, loaded in a network namespace of their own with an interface per pod, and nothing attached.
pub struct Lab {
    /// Programs.
    pub object: Object,
    /// Maps that the agent writes.
    pub maps: Maps,
    /// Entries of the connection tables.
    pub connections: Connections,
    /// Interface indexes of the pods.
    pub pods: Vec<u32>,
    /// Interface index of an uplink: the only one of which it is known that it leads to no pod.
    pub uplink: u32,
    /// Interface index of something that has just come.
    pub newcomer: u32,
    /// Which interfaces lead to no pod.
    pub no_pods: NoPods,
    /// What is known of uplinks.
    pub uplinks: Uplinks,
    /// Where frames are seen before the kernel has a buffer for them.
    pub xdp: XdpTable,
    /// How many of them were sent on.
    pub xdp_sent: XdpCounter,
    /// The mark that packets come with.
    pub mark: u32,
    stats: Stats,
    drops: Ring,
    flows: Ring,
    told: Told,
}

/// Which program sees the packet, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// Sent by the pod behind this interface.
    FromPod(u32),
    /// About to be received by the pod behind the first interface, having come in by the second (0: made on the node).
    ToPod(u32, u32),
}

/// Which program of an uplink sees the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uplink {
    /// Come in by this interface.
    FromNetdev(u32),
    /// The same, before the kernel has a buffer for it. 0: by loopback, which kernels before 5.15 know alone.
    FromWire(u32),
    /// Made on the node and about to leave by this interface.
    ToNetdev(u32),
}

/// Which program sees the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// One of a pod's.
    Pod(Hook),
    /// One of an uplink's.
    Uplink(Uplink),
}

impl Place {
    /// The program, and what it is told.
    fn program(self) -> (&'static str, RunContext) {
        let context = |ifindex| RunContext { ifindex, ingress_ifindex: 0, repeat: 1, mark: 0 };
        match self {
            Self::Pod(hook) => run_context(hook),
            Self::Uplink(Uplink::FromNetdev(ifindex)) => (names::FROM_NETDEV, context(ifindex)),
            Self::Uplink(Uplink::FromWire(ifindex)) => (names::FROM_WIRE, context(ifindex)),
            Self::Uplink(Uplink::ToNetdev(ifindex)) => (names::TO_NETDEV, context(ifindex)),
        }
    }
}

impl From<Hook> for Place {
    fn from(hook: Hook) -> Self {
        Self::Pod(hook)
    }
}

impl From<Uplink> for Place {
    fn from(uplink: Uplink) -> Self {
        Self::Uplink(uplink)
    }
}

/// What the program said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// On its usual way.
    Pass,
    /// Handed to the other pod.
    HandOver,
    /// Dropped.
    Drop,
}

impl Verdict {
    fn of(program: &str, action: i32) -> Option<Self> {
        match (program, action) {
            // `XDP_PASS`, `XDP_TX`, `XDP_REDIRECT`. The program drops nothing.
            (names::FROM_WIRE, 2) => Some(Self::Pass),
            (names::FROM_WIRE, 3 | 4) => Some(Self::HandOver),
            (names::FROM_WIRE, _) => None,
            _ => [Self::Pass, Self::Drop, Self::HandOver].into_iter().find(|of| of.action() == action),
        }
    }

    /// The TC action: `TC_ACT_UNSPEC`, `TC_ACT_REDIRECT`, `TC_ACT_SHOT`.
    #[must_use]
    pub const fn action(self) -> i32 {
        match self {
            Self::Pass => -1,
            Self::HandOver => 7,
            Self::Drop => 2,
        }
    }
}

/// Counters that grew, by name and direction (`opened` for new connections).
pub type Counted = BTreeMap<String, u64>;

/// Everything that is to be seen of one packet.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// The verdict.
    pub verdict: Verdict,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// Counters that changed. What is not listed did not.
    pub counted: Counted,
    /// Events written, drops first.
    pub events: Vec<PacketEvent>,
}

/// The lab of the last run and its namespace: verifying the programs takes longer than all that is done with them, most of
/// all in an emulated machine.
static LAST: Mutex<Option<(Netns, Lab)>> = Mutex::new(None);

/// Runs `f` inside the network namespace of a lab with at least `pods` interfaces and nothing in its maps. One at a time.
///
/// # Errors
/// If the namespace or an interface cannot be made, the programs do not load, or `f` fails.
pub fn in_lab<T: Send>(pods: usize, f: impl FnOnce(&mut Lab) -> Result<T> + Send) -> Result<T> {
    // Poisoned is a lab that was in use when its test panicked: it is gone, and nothing else is behind the lock.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let (netns, mut lab) = match last.take() {
        Some((netns, lab)) if lab.pods.len() >= pods => (netns, lab),
        _ => lab_of(pods, Sizes::small(), |_| Ok(()))?,
    };
    let result = netns.enter(|| {
        lab.clear()?;
        f(&mut lab)
    });
    // Whoever was stopped by the kernel has done no harm; of the others nobody knows.
    let impossible = |error: &Error| error.chain().any(|cause| cause.to_string() == NO_INGRESS);
    if result.as_ref().err().is_none_or(impossible) {
        *last = Some((netns, lab));
    }
    result
}

/// Loads programs that not every lab has.
type More = fn(&mut Object) -> Result<(), LoadError>;

/// A lab with tables of these sizes, and the network namespace in which it is to be used.
pub(crate) fn lab_of(pods: usize, sizes: Sizes, more: More) -> Result<(Netns, Lab)> {
    let netns = anonymous_namespace()?;
    let lab = netns.enter(|| Lab::new(pods, sizes, more))?;
    Ok((netns, lab))
}

/// A network namespace that ends with this process, whatever ends it: nothing but its descriptor holds it.
fn anonymous_namespace() -> Result<Netns> {
    let folder = tempfile::Builder::new().prefix("netpol-lab-").tempdir_in("/run")?;
    let netns = Netns::create("lab", &folder.path().join("netns"))?;
    netns.delete().context("unbinding the lab's network namespace")?;
    Ok(netns)
}

impl Lab {
    fn new(pods: usize, sizes: Sizes, more: More) -> Result<Self> {
        let mut batch =
            ["up", "new"].map(|name| format!("link add {name}0 type veth peer name {name}1\n")).concat();
        for pod in 0..pods {
            batch += &format!("link add pod{pod} type veth peer name eth{pod}\n");
        }
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), batch)?;
        let output =
            Command::new("ip").arg("-batch").arg(file.path()).output().context("ip (package iproute2)")?;
        ensure!(output.status.success(), "ip -batch: {}", String::from_utf8_lossy(&output.stderr));
        // From the namespace's own socket table: /sys shows the namespace it was mounted in.
        let index =
            |name: &str| rustix::net::netdevice::name_to_index(&socket()?, name).context("interface index");
        let mut object = Object::load(&LoadOptions { pin_dir: None, sizes })?;
        object.load_wire_program()?;
        // Programs name maps by descriptor: before any is taken out of the object.
        more(&mut object)?;
        let uplink = index("up0")?;
        let mut no_pods = NoPods::new(&mut object)?;
        no_pods.set(uplink, true)?;
        Ok(Self {
            pods: (0..pods).map(|pod| index(&format!("pod{pod}"))).collect::<Result<_>>()?,
            uplink,
            newcomer: index("new0")?,
            no_pods,
            uplinks: Uplinks::new(&mut object)?,
            xdp: XdpTable::new(&mut object)?,
            xdp_sent: XdpCounter::new(&mut object)?,
            mark: 0,
            maps: Maps::new(&mut object)?,
            connections: Connections::new(&mut object)?,
            stats: Stats::new(&mut object)?,
            drops: Ring::new(&mut object, names::DROP)?,
            flows: Ring::new(&mut object, names::FLOW)?,
            told: Told::new(&mut object)?,
            object,
        })
    }

    /// Empties the maps.
    fn clear(&mut self) -> Result<()> {
        let rows = self.maps.read()?;
        let Rows { ports, policy, cidrs, peers, endpoints, frontends, .. } = rows;
        let Rows { members, ranges, service_nets, cluster, .. } = rows;
        self.write(frontends.into_keys().map(Op::DeleteFrontend))?;
        self.write(members.into_iter().map(Op::DeleteMember))?;
        self.write(ranges.into_iter().map(Op::DeleteRange))?;
        self.write(service_nets.into_iter().map(Op::DeleteServiceNet))?;
        self.write(cluster.into_keys().map(Op::DeleteCluster))?;
        self.write(endpoints.into_keys().map(Op::DeleteEndpoint))?;
        self.write(peers.into_keys().map(Op::DeletePeer))?;
        self.write(cidrs.into_keys().map(Op::DeleteCidr))?;
        self.write(policy.into_keys().map(Op::DeletePolicy))?;
        self.write(ports.into_keys().map(Op::DeletePort))?;
        self.maps.set_flags(u32::MAX, Switch::Off);
        self.write([Op::AdvanceEpoch])?;
        self.maps.limit_connections(u32::MAX);
        self.maps.limit_outside(u32::MAX)?;
        self.maps.switches().forget_shortage();
        self.connections.clear()?;
        self.xdp.delete(self.uplink)?;
        self.untold()?;
        self.drain();
        Ok(())
    }

    /// Carries out operations as the agent would.
    ///
    /// # Errors
    /// If one fails.
    pub fn write(&mut self, ops: impl IntoIterator<Item = Op>) -> Result<()> {
        let ops: Vec<Op> = ops.into_iter().collect();
        let mut left = &ops[..];
        while let Some(op) = left.first() {
            left = &left[self.maps.apply_first(left).with_context(|| format!("{op:?}"))?..];
        }
        Ok(())
    }

    /// Asks for drops that made no event, after which everything makes one again.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn untold(&mut self) -> Result<Untold> {
        Ok(self.told.ask()?)
    }

    /// Throws away what is in the rings.
    pub fn drain(&mut self) {
        while !self.drops.drain(1024).events.is_empty() || !self.flows.drain(1024).events.is_empty() {}
    }

    /// Runs one packet and reports all that changed. Its drop makes an event, whatever was dropped before.
    ///
    /// # Errors
    /// If the kernel does not take the packet, or a map cannot be read.
    pub fn send(&mut self, place: impl Into<Place>, packet: &[u8]) -> Result<Seen> {
        self.untold()?;
        self.send_on(place, packet)
    }

    /// As [`Lab::send`], but a drop like one before it makes no event.
    ///
    /// # Errors
    /// As [`Lab::send`].
    pub fn send_on(&mut self, place: impl Into<Place>, packet: &[u8]) -> Result<Seen> {
        let before = self.stats.read()?;
        let (program, context) = place.into().program();
        let context = RunContext { mark: self.mark, ..context };
        let outcome = self.object.test_run(program, packet, context).map_err(|error| {
            let takes = |context| self.object.test_run(names::EMPTY, packet, context).is_ok();
            let error = Error::from(error);
            let no_frames = program == names::FROM_WIRE && context.ifindex != 0;
            let takes_frames = || {
                let without = RunContext { ifindex: 0, ..context };
                self.object.test_run(program, packet, without).is_ok()
            };
            match !takes(context) && takes(RunContext { ingress_ifindex: 0, ..context })
                || no_frames && takes_frames()
            {
                true => error.context(NO_INGRESS),
                false => error,
            }
        })?;
        let stats = self.stats.read()?;
        let mut counted = Counted::new();
        let grown = |row: u32| stats[row as usize].packets - before[row as usize].packets;
        for direction in [Direction::Ingress, Direction::Egress] {
            let reasons = DropReason::ALL.iter().map(|reason| (*reason as u8, reason.name()));
            for (number, name) in reasons.chain([(0, "opened")]) {
                let count = grown(stats::index(number, direction));
                if count != 0 {
                    counted.insert(format!("{name} {}", direction.name()), count);
                }
            }
        }
        for extra in Extra::ALL {
            let count = grown(extra.index());
            if count != 0 {
                counted.insert(extra.name().to_owned(), count);
            }
        }
        let mut events = self.drops.drain(16).events;
        events.extend(self.flows.drain(16).events);
        let verdict = Verdict::of(program, outcome.action)
            .with_context(|| format!("{program} returned {}", outcome.action))?;
        let mut after = outcome.packet;
        if program == names::FROM_WIRE {
            // Some kernels show what the program has left before the frame, whose length it does not change.
            after.drain(..after.len().saturating_sub(packet.len()));
        }
        Ok(Seen { verdict, packet: after, counted, events })
    }
}

/// Program and context of a hook.
pub(crate) fn run_context(hook: Hook) -> (&'static str, RunContext) {
    match hook {
        // `from_pod` does not ask where a packet came in: it is on the way in. So kernels without that field can run it.
        Hook::FromPod(ifindex) => {
            (names::FROM_POD, RunContext { ifindex, ingress_ifindex: 0, repeat: 1, mark: 0 })
        }
        Hook::ToPod(ifindex, ingress_ifindex) => {
            (names::TO_POD, RunContext { ifindex, ingress_ifindex, repeat: 1, mark: 0 })
        }
    }
}

fn socket() -> Result<socket2::Socket> {
    Ok(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?)
}
