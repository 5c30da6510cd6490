//! From nothing, or from what an agent left behind, to a working dataplane.

use std::path::{Path, PathBuf};

use netpol_common::names;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    AcrossChoice, AcrossStates, AttachMode, Change, Clock, Conntrack, LinkError, LoadError, LoadOptions,
    MapMemory, Maps, NodeServices, NodeServicesState, Object, PinError, PutAside, Ring, RunError, Sizes,
    Stats, Timeouts, Told, Unpoliced, UplinkOptions, Uplinks, WatchError, XdpCounter, XdpStates,
    across::Across,
    carry,
    clock::ClockProgram,
    links::{self, Links},
    pins::{self, Pins},
    sockets::{self, Sockets},
    stale::{self, Wake},
    takeover::Start,
    watch::{self, Look, Running, Started},
    xdp::Xdp,
};
use crate::dataplane::{self, Dataplane, Rows};

/// What the kernel side is opened with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelOptions {
    /// Where maps and links are pinned, in a folder per version.
    pub pin_dir: PathBuf,
    /// Where the pods' network namespaces have their names.
    pub netns_dir: PathBuf,
    /// Capacities. They must be those of maps that are pinned already.
    pub sizes: Sizes,
    /// How programs are attached; `None`: the best that the kernel has.
    pub attach: Option<AttachMode>,
    /// Whether the node's own processes reach Services.
    pub node_services: NodeServices,
    /// How long connections are remembered.
    pub timeouts: Timeouts,
    /// Entries of the connection tables that one pod may fill.
    pub quota: u32,
    /// Entries of the connection tables that clients outside may fill with connections to no pod of this node.
    pub outside_quota: u32,
    /// Where clients from outside come in.
    pub uplinks: UplinkOptions,
    /// Whether packets between this node's pods and others' may go past its own forwarding.
    pub across: AcrossChoice,
}

/// The kernel side, part by part, each for the task that needs it. Dropping all of it leaves the dataplane at work.
pub struct Kernel {
    /// Pins that were not what they should be.
    pub found: Vec<PutAside>,
    /// What an agent before left in the maps.
    pub rows: Rows,
    /// The maps that hold it.
    pub maps: Maps,
    /// The pods' interfaces that are there, all closed or with a row from before.
    pub known: Vec<Change>,
    /// What comes and goes after that.
    pub changes: UnboundedReceiver<Change>,
    /// Has it look at once.
    pub look: Look,
    /// Pods that cannot be policed.
    pub unpoliced: Unpoliced,
    /// Events of dropped packets.
    pub drops: Ring,
    /// Dropped packets that made no event.
    pub told: Told,
    /// Events of forwarded connections.
    pub flows: Ring,
    /// The counters.
    pub stats: Stats,
    /// The connections.
    pub conntrack: Conntrack,
    /// The kernel's time.
    pub clock: Clock,
    /// What the maps take of the node's memory.
    pub memory: MapMemory,
    /// How programs are attached.
    pub mode: AttachMode,
    /// Whether the node's own processes reach Services.
    pub node_services: NodeServicesState,
    /// What became of XDP on the uplinks.
    pub xdp: XdpStates,
    /// What it has translated.
    pub xdp_sent: XdpCounter,
    /// Whether packets between nodes go past the node's own forwarding.
    pub across: AcrossStates,
    /// Keeps other agents off the pin directory.
    pub lock: Lock,
}

/// Held as long as this agent may write the maps, or put programs on interfaces: dropping it ends discovery first.
pub struct Lock {
    discovery: Running,
    sockets: Option<Sockets>,
    stale: Option<Wake>,
    pins: Pins,
}

/// The kernel side cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The pin directory.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The object.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The programs' links.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Discovery of the pods' interfaces.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A map.
    #[error(transparent)]
    Map(#[from] dataplane::Error),
    /// What is in the maps, also after they were made anew.
    #[error("cannot read the rows in the maps")]
    Rows(#[source] dataplane::Error),
    /// The kernel's clock.
    #[error(transparent)]
    Clock(#[from] RunError),
    /// A map that was pinned a moment ago.
    #[error("cannot open the pinned maps to ask for their memory")]
    Memory(#[source] std::io::Error),
}

impl Kernel {
    /// Takes over what an agent before left in the pin directory, or makes it; puts this agent's programs on every pod's
    /// interface. Programs that are there already are replaced without a packet in between.
    ///
    /// # Errors
    ///
    /// If anything of it fails. What enforced before does so still.
    ///
    /// What was left and is not what it should be is put aside and made anew ([`Kernel::found`] names it): pods are closed, not open,
    /// until it is there again.
    pub fn open(options: &KernelOptions) -> Result<Self, OpenError> {
        let mut pins = Pins::open(&options.pin_dir)?;
        for folder in pins.other_versions()? {
            tracing::warn!(
                path = %folder.display(),
                "pins of another version: their programs stay until all of this agent's policy is in force"
            );
        }
        match Self::over(options, &mut pins) {
            Ok(parts) => Ok(parts.with(pins)),
            // Rows that name what is not there. All that was done so far has closed interfaces.
            Err(OpenError::Rows(error)) => {
                pins.put_all_aside(&format!("holds rows that make no sense: {error}: {}", error.source))?;
                Ok(Self::over(options, &mut pins)?.with(pins))
            }
            Err(error) => Err(error),
        }
    }

    fn over(options: &KernelOptions, pins: &mut Pins) -> Result<Parts, OpenError> {
        let KernelOptions {
            pin_dir: _,
            netns_dir,
            sizes,
            attach,
            node_services,
            timeouts,
            quota,
            outside_quota,
            uplinks,
            across,
        } = options;
        let others = pins.other_versions()?;
        pins.put_aside(sizes)?;
        let carried = carry::take(&others, pins.maps(), sizes);
        let mut object = Object::load(&LoadOptions { pin_dir: Some(pins.maps().into()), sizes: *sizes })?;
        carry::sign(pins.maps())?;
        // Before any program of this version meets an entry.
        carried.date(pins.maps())?;
        #[cfg(feature = "bpf-log")]
        super::bpf_log::forward(&mut object);
        // Programs are loaded before maps are taken out of the object: they name them by descriptor.
        let others_have = |folder| others.iter().map(|other| other.join(folder)).collect();
        let (node_services, sockets) =
            sockets::open(&mut object, pins.sockets(), others_have(pins::SOCKETS), node_services);
        let links = Links::open(&mut object, pins.links(), others_have(pins::LINKS), *attach)?;
        let mode = links.mode();
        let clock = ClockProgram::of(&mut object)?;
        let start = Start { now: clock.jiffies()?, quota: *quota };
        let xdp = Xdp::open(&mut object, pins.maps(), &others, uplinks.xdp)?;
        let xdp_states = xdp.states();
        let uplinks = Uplinks::open(pins.maps(), uplinks.clone(), xdp)?;
        let mut maps = Maps::new(&mut object)?;
        let across = Across::new(*across, maps.switches(), mode, pins.links());
        let across_states = across.states();
        let Started { known, changes, look, unpoliced, running } =
            watch::start(netns_dir, pins.maps(), links, (uplinks, across), start)?;
        maps.limit_connections(*quota);
        maps.limit_outside(*outside_quota)?;
        let mut stale = None;
        if matches!(node_services, NodeServicesState::On(_)) {
            // Sockets that another version has told of backends: which of these are there is not known yet.
            let wake = stale::start(pins.maps(), !others.is_empty());
            maps.tell_of_members(wake.clone());
            stale = Some(wake);
        }
        let xdp_sent = XdpCounter::new(&mut object)?;
        let mut rows = maps.read().map_err(OpenError::Rows)?;
        rows.given = carried.given;
        Ok(Parts {
            rows,
            known,
            changes,
            look,
            unpoliced,
            drops: Ring::new(&mut object, names::DROP)?,
            flows: Ring::new(&mut object, names::FLOW)?,
            told: Told::new(&mut object)?,
            stats: Stats::new(&mut object)?,
            conntrack: Conntrack::new(&mut object, *timeouts, maps.quotas(), maps.switches())?,
            clock: Clock::new(clock, maps.switches()),
            memory: MapMemory::open(pins.maps()).map_err(OpenError::Memory)?,
            maps,
            mode,
            node_services,
            xdp: xdp_states,
            xdp_sent,
            across: across_states,
            running,
            sockets,
            stale,
        })
    }
}

/// [`Kernel`] without the pins that it was opened over.
struct Parts {
    rows: Rows,
    maps: Maps,
    known: Vec<Change>,
    changes: UnboundedReceiver<Change>,
    look: Look,
    unpoliced: Unpoliced,
    drops: Ring,
    flows: Ring,
    told: Told,
    stats: Stats,
    conntrack: Conntrack,
    clock: Clock,
    memory: MapMemory,
    mode: AttachMode,
    node_services: NodeServicesState,
    xdp: XdpStates,
    xdp_sent: XdpCounter,
    across: AcrossStates,
    running: Running,
    sockets: Option<Sockets>,
    stale: Option<Wake>,
}

impl Parts {
    fn with(self, pins: Pins) -> Kernel {
        Kernel {
            found: pins.found().to_vec(),
            rows: self.rows,
            maps: self.maps,
            known: self.known,
            changes: self.changes,
            look: self.look,
            unpoliced: self.unpoliced,
            drops: self.drops,
            flows: self.flows,
            told: self.told,
            stats: self.stats,
            conntrack: self.conntrack,
            clock: self.clock,
            memory: self.memory,
            mode: self.mode,
            node_services: self.node_services,
            xdp: self.xdp,
            xdp_sent: self.xdp_sent,
            across: self.across,
            lock: Lock { discovery: self.running, sockets: self.sockets, stale: self.stale, pins },
        }
    }
}

impl Lock {
    /// Puts this agent's programs in the places of other versions', without a packet in between, and removes what else these left: for
    /// when this one's policy is in force.
    ///
    /// # Errors
    ///
    /// If a program cannot be replaced, or something cannot be removed. It can be tried again.
    pub fn replace_other_versions(&self) -> Result<(), OpenError> {
        if self.pins.other_versions()?.is_empty() {
            return Ok(());
        }
        self.discovery.let_in()?;
        if let Some(sockets) = &self.sockets {
            sockets.let_in()?;
        }
        self.pins.remove_other_versions()?;
        if let Some(stale) = &self.stale {
            stale.wake();
        }
        Ok(())
    }
}

/// Removes every program and map of every version that an agent of this network namespace and pin directory left behind.
/// Pods are open afterwards.
///
/// # Errors
///
/// If an agent is running, or something cannot be removed.
pub fn cleanup(pin_dir: &Path) -> Result<(), OpenError> {
    pins::remove_all(pin_dir)?;
    Ok(links::remove_filters()?)
}
