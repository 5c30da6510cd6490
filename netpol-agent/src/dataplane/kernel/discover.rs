//! Which interfaces of the node lead to pods. Programs are put on one before anything else is asked about it.

mod adopt;
mod strangers;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aya::maps::{HashMap, Map, MapData, MapError};
use netpol_common::{endpoint::EndpointRow, names};

use super::{
    across::Across,
    links::{LinkError, Links},
    monitor::Event,
    namespaces::{NamespaceError, Namespaces},
    netlink::{Netlink, NetlinkError},
    nopod::NoPods,
    object::pin_path,
    table::{self, Hash},
    takeover::Start,
    uplinks::Uplinks,
    veth::{self, Link, Veth},
};
pub use strangers::Unpoliced;

use crate::dataplane::{self, Interface};

/// What discovery has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The interface leads to a pod and has its programs; or its name, bridge, namespace or addresses have changed.
    Up(Interface),
    /// The interface with this index is gone.
    Gone(u32),
}

/// Discovery failed; it will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The namespaces' folder.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A request by netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A program on an interface.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The table of endpoints, or that of interfaces without a pod.
    #[error(transparent)]
    Map(#[from] dataplane::Error),
}

/// What is known of one veth of the node.
struct Seen {
    veth: Veth,
    /// The namespace behind it has had a name.
    named: bool,
    /// Once a pod's, it stays ours until it is gone: closed, even when the namespace loses its name.
    attached: bool,
    /// It ran before its programs came, not long ago.
    adopting: bool,
    reported: Option<Interface>,
}

/// The state between notifications.
pub(super) struct Discovery {
    netlink: Netlink,
    links: Links,
    namespaces: Namespaces,
    endpoints: Hash<u32, EndpointRow>,
    /// Found with programs at start.
    adopted: BTreeSet<u32>,
    seen: BTreeMap<u32, Seen>,
    /// Interfaces of the node that are no veths.
    others: BTreeSet<u32>,
    no_pods: NoPods,
    uplinks: Uplinks,
    across: Across,
    /// Veths whose other side has left where it was: nothing is said of where it went.
    doubtful: BTreeSet<u32>,
    /// To be looked at in `settle`.
    dirty: BTreeSet<u32>,
    namespaces_dirty: bool,
    lost: bool,
    changes: Vec<Change>,
    pins: PathBuf,
    /// Until the first look around.
    start: Option<Start>,
    /// Somebody may have taken programs away.
    unsure: bool,
    /// Namespaces of pods in which something may have changed that no veth tells of.
    strange: bool,
    unpoliced: Unpoliced,
}

impl Discovery {
    /// Takes over the interfaces that an agent before attached to. `pins` is where maps are pinned.
    pub(super) fn open(
        netns_dir: &Path,
        pins: &Path,
        mut links: Links,
        (uplinks, across): (Uplinks, Across),
        start: Start,
    ) -> Result<Self, DiscoverError> {
        let open = |source: MapError| table::error("open", names::EP, source);
        let endpoints = HashMap::try_from(
            MapData::from_pin(pin_path(pins, names::EP)).and_then(Map::from_map_data).map_err(open)?,
        )
        .map_err(open)?;
        let adopted = links.adopt()?;
        Ok(Self {
            netlink: Netlink::open()?,
            links,
            namespaces: Namespaces::open(netns_dir)?,
            endpoints,
            adopted,
            seen: BTreeMap::new(),
            others: BTreeSet::new(),
            no_pods: NoPods::open(pins)?,
            uplinks,
            across,
            doubtful: BTreeSet::new(),
            dirty: BTreeSet::new(),
            namespaces_dirty: true,
            lost: true,
            changes: Vec::new(),
            pins: pins.into(),
            start: Some(start),
            unsure: false,
            strange: true,
            unpoliced: Unpoliced::default(),
        })
    }

    /// Notes what has happened; [`Discovery::settle`] acts on it.
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Link(link) => self.note_link(link),
            Event::Gone(ifindex) => {
                self.note_gone(ifindex);
                self.note_doubts(|veth| veth.within && veth.peer == ifindex);
            }
            Event::GoneFrom(nsid, ifindex) => {
                self.note_doubts(|veth| veth.nsid == Some(nsid) && veth.peer == ifindex);
            }
            Event::Addresses(nsid) => {
                self.strange |= !self.seen.values().any(|seen| seen.veth.nsid == Some(nsid));
                self.dirty.extend(
                    self.seen.values().filter(|seen| seen.veth.nsid == Some(nsid)).map(|s| s.veth.ifindex),
                );
            }
            Event::Node => self.uplinks.note(),
            Event::Namespaces => self.note_namespaces(),
            Event::Programs => self.unsure = true,
            Event::Lost => (self.lost, self.unsure) = (true, true),
        }
    }

    /// A file came or went in the namespaces' folder.
    pub(super) fn note_namespaces(&mut self) {
        self.namespaces_dirty = true;
    }

    fn note_link(&mut self, link: Link) {
        match link {
            Link::Veth(veth) => self.note_veth(veth),
            Link::Other(ifindex) => {
                self.note_gone(ifindex);
                self.others.insert(ifindex);
            }
        }
    }

    fn note_doubts(&mut self, about: impl Fn(&Veth) -> bool) {
        let about = self.seen.values().filter(|seen| about(&seen.veth));
        self.doubtful.extend(about.map(|seen| seen.veth.ifindex));
    }

    fn note_veth(&mut self, veth: Veth) {
        let ifindex = veth.ifindex;
        self.dirty.insert(ifindex);
        self.others.remove(&ifindex);
        match self.seen.get_mut(&ifindex) {
            Some(seen) => seen.veth = veth,
            None => {
                let attached = self.adopted.remove(&ifindex);
                self.seen.insert(
                    ifindex,
                    Seen { veth, named: attached, attached, adopting: false, reported: None },
                );
            }
        }
    }

    fn note_gone(&mut self, ifindex: u32) {
        self.dirty.insert(ifindex);
        self.others.remove(&ifindex);
        self.links.doubt_uplink(ifindex);
        let Some(seen) = self.seen.remove(&ifindex) else { return };
        if seen.attached
            && let Err(error) = self.links.forget(ifindex)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "a link of an interface that is gone");
        }
        if seen.reported.is_some() {
            self.changes.push(Change::Gone(ifindex));
        }
    }

    /// Says that there are files in the namespaces' folder that stay no namespaces.
    pub(super) fn tell_unfinished(&self) {
        tracing::warn!(
            folder = %self.namespaces.dir().display(),
            "has files on which no network namespace is mounted: if pods are not found, what the node mounts there does not reach this \
             container (mountPropagation: HostToContainer, of a mount that is shared on the node)"
        );
    }

    /// Puts this agent's programs where other versions' are, in one go.
    pub(super) fn let_in(&mut self) -> Result<(), DiscoverError> {
        self.links.let_in()?;
        self.uplinks.let_in();
        self.uplinks.settle(&mut self.netlink, &mut self.links, self.no_pods.rows())
    }

    /// Acts on everything noted. Returns what came out of it, and whether that was all: else it is to be called again
    /// after a while.
    pub(super) fn settle(&mut self) -> (Vec<Change>, Result<Settled, DiscoverError>) {
        let result = self.try_settle();
        (std::mem::take(&mut self.changes), result)
    }

    fn try_settle(&mut self) -> Result<Settled, DiscoverError> {
        if self.lost {
            self.relist()?;
            self.lost = false;
        }
        while let Some(ifindex) = self.doubtful.first().copied() {
            if let Some(link) = veth::look(&mut self.netlink, ifindex)? {
                self.note_link(link);
            }
            self.doubtful.remove(&ifindex);
        }
        let unknown = |ifindex: &u32| {
            self.seen
                .get(ifindex)
                .and_then(|seen| seen.veth.nsid)
                .is_some_and(|nsid| self.namespaces.name(nsid).is_none())
        };
        if self.namespaces_dirty || self.dirty.iter().any(unknown) {
            self.namespaces.scan(&mut self.netlink)?;
            (self.namespaces_dirty, self.strange) = (false, true);
            self.note_renamed();
        }
        let dirty = self.dirty.clone();
        let mut failure = None;
        // Before the programs: they must not mistake the uplink for a pod.
        for ifindex in &dirty {
            let leads_to_no_pod = self.leads_to_no_pod(*ifindex);
            if leads_to_no_pod || self.no_pods.rows().contains(ifindex) {
                self.uplinks.note();
            }
            if let Err(error) = self.no_pods.set(*ifindex, leads_to_no_pod) {
                failure = Some(error.into());
            }
        }
        if let Some(start) = self.start.take() {
            self.inherit(start);
        }
        // All programs first: reading one pod's addresses must not keep another one open.
        for ifindex in &dirty {
            if let Err(error) = self.close(*ifindex) {
                failure = Some(error);
            }
        }
        for ifindex in dirty {
            match self.report(ifindex) {
                Ok(()) => {
                    self.dirty.remove(&ifindex);
                }
                Err(error) => failure = Some(error),
            }
        }
        // Before the uplinks, which it may find to be without their programs.
        if let Err(error) = self.verify() {
            failure = Some(error);
        }
        if let Err(error) = self.uplinks.settle(&mut self.netlink, &mut self.links, self.no_pods.rows()) {
            failure = Some(error);
        }
        self.settle_across();
        if let Err(error) = self.look_at_strangers() {
            failure = Some(error.into());
        }
        match failure {
            Some(error) => Err(error),
            None if self.namespaces.unfinished() => {
                self.note_namespaces();
                Ok(Settled::NotYet)
            }
            None => Ok(Settled::Yes),
        }
    }

    /// Notes the interfaces whose namespace has a name now, or another one.
    fn note_renamed(&mut self) {
        for (ifindex, seen) in &self.seen {
            let name = seen.veth.nsid.and_then(|nsid| self.namespaces.name(nsid));
            if name.is_some() && name != seen.reported.as_ref().map(|interface| interface.netns.as_str()) {
                self.dirty.insert(*ifindex);
            }
        }
    }

    fn relist(&mut self) -> Result<(), DiscoverError> {
        let found = veth::links(&mut self.netlink)?;
        let mut gone: BTreeSet<u32> = self.seen.keys().chain(self.no_pods.rows()).copied().collect();
        for link in &found {
            let (Link::Veth(Veth { ifindex, .. }) | Link::Other(ifindex)) = link;
            gone.remove(ifindex);
        }
        for ifindex in gone {
            self.note_gone(ifindex);
        }
        for link in found {
            self.note_link(link);
        }
        self.note_namespaces();
        Ok(())
    }

    /// Whether what comes in by an interface comes from no pod. A veth says so only once something can come: before, its
    /// other side may still be on its way into a pod. One that leads to a namespace without a name is nobody's, since a
    /// pod's namespace has its name before it has interfaces.
    fn leads_to_no_pod(&self, ifindex: u32) -> bool {
        let Some(Seen { veth, named, .. }) = self.seen.get(&ifindex) else {
            return self.others.contains(&ifindex);
        };
        let is_nobodys = |nsid| self.namespaces.name(nsid).is_none();
        !named && veth.carrier && (veth.within || veth.nsid.is_some_and(is_nobodys))
    }

    /// Puts the programs on an interface that leads to a pod. Without a row it is closed.
    fn close(&mut self, ifindex: u32) -> Result<(), DiscoverError> {
        let Some(seen) = self.seen.get_mut(&ifindex) else { return Ok(()) };
        if seen.attached || seen.veth.nsid.and_then(|nsid| self.namespaces.name(nsid)).is_none() {
            return Ok(());
        }
        seen.named = true;
        // A row of an interface that had this index before must not open it.
        if table::contains(&self.endpoints, &ifindex, names::EP)? {
            table::delete(&mut self.endpoints, &ifindex, names::EP)?;
            self.changes.push(Change::Gone(ifindex));
        }
        self.links.attach(ifindex)?;
        seen.attached = true;
        Ok(())
    }

    fn report(&mut self, ifindex: u32) -> Result<(), DiscoverError> {
        let Some(seen) = self.seen.get_mut(&ifindex).filter(|seen| seen.attached) else { return Ok(()) };
        let Veth { ifindex, name, peer, nsid, master, .. } = &seen.veth;
        let Some((nsid, netns)) = nsid.and_then(|nsid| Some((nsid, self.namespaces.name(nsid)?))) else {
            return Ok(());
        };
        let interface = Interface {
            ifindex: *ifindex,
            name: name.clone(),
            netns: netns.to_owned(),
            addresses: veth::peer_addresses(&mut self.netlink, nsid, *peer)?,
            master: *master,
            adopting: seen.adopting,
        };
        if seen.reported.as_ref() != Some(&interface) {
            seen.reported = Some(interface.clone());
            self.changes.push(Change::Up(interface));
        }
        Ok(())
    }
}

/// Whether there is something left that time alone can bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    Yes,
    NotYet,
}
