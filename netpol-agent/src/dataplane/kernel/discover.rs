//! Which interfaces of the node lead to pods. Programs are put on one before anything else is asked about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aya::maps::{HashMap, Map, MapData, MapError};
use netpol_common::{endpoint::EndpointRow, names};

use super::{
    inherit::{Ends, Pod},
    links::{LinkError, Links},
    monitor::Event,
    namespaces::{NamespaceError, Namespaces},
    netlink::{Netlink, NetlinkError},
    object::pin_path,
    table::{self, Hash},
    takeover::{Start, Taken, TakeoverError, take_over},
    veth::{self, Veth},
};
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
    /// The table of endpoints.
    #[error(transparent)]
    Map(#[from] dataplane::Error),
}

/// What is known of one veth of the node.
struct Seen {
    veth: Veth,
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
    /// To be looked at in `settle`.
    dirty: BTreeSet<u32>,
    namespaces_dirty: bool,
    lost: bool,
    changes: Vec<Change>,
    pins: PathBuf,
    /// Until the first look around.
    start: Option<Start>,
}

impl Discovery {
    /// Takes over the interfaces that an agent before attached to. `pins` is where maps are pinned.
    pub(super) fn open(
        netns_dir: &Path,
        pins: &Path,
        mut links: Links,
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
            dirty: BTreeSet::new(),
            namespaces_dirty: true,
            lost: true,
            changes: Vec::new(),
            pins: pins.into(),
            start: Some(start),
        })
    }

    /// Notes what has happened; [`Discovery::settle`] acts on it.
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Veth(veth) => self.note_veth(veth),
            Event::Gone(ifindex) => self.note_gone(ifindex),
            Event::Addresses(nsid) => {
                self.dirty.extend(
                    self.seen.values().filter(|seen| seen.veth.nsid == Some(nsid)).map(|s| s.veth.ifindex),
                );
            }
            Event::Namespaces => self.note_namespaces(),
            Event::Lost => self.lost = true,
        }
    }

    /// A file came or went in the namespaces' folder.
    pub(super) fn note_namespaces(&mut self) {
        self.namespaces_dirty = true;
    }

    fn note_veth(&mut self, veth: Veth) {
        let ifindex = veth.ifindex;
        self.dirty.insert(ifindex);
        match self.seen.get_mut(&ifindex) {
            Some(seen) => seen.veth = veth,
            None => {
                let attached = self.adopted.remove(&ifindex);
                self.seen.insert(ifindex, Seen { veth, attached, adopting: false, reported: None });
            }
        }
    }

    fn note_gone(&mut self, ifindex: u32) {
        self.dirty.remove(&ifindex);
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
        let unknown = |ifindex: &u32| {
            self.seen
                .get(ifindex)
                .and_then(|seen| seen.veth.nsid)
                .is_some_and(|nsid| self.namespaces.name(nsid).is_none())
        };
        if self.namespaces_dirty || self.dirty.iter().any(unknown) {
            self.namespaces.scan(&mut self.netlink)?;
            self.namespaces_dirty = false;
            self.note_renamed();
        }
        if let Some(start) = self.start.take() {
            self.inherit(start);
        }
        // All programs first: reading one pod's addresses must not keep another one open.
        let dirty = self.dirty.clone();
        let mut failure = None;
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
        let found = veth::list(&mut self.netlink)?;
        let there: BTreeSet<u32> = found.iter().map(|veth| veth.ifindex).collect();
        for ifindex in
            self.seen.keys().copied().filter(|ifindex| !there.contains(ifindex)).collect::<Vec<_>>()
        {
            self.note_gone(ifindex);
        }
        for veth in found {
            self.note_veth(veth);
        }
        self.note_namespaces();
        Ok(())
    }

    /// Enters the connections of the pods that were there before netpol, whose interfaces are about to be closed.
    fn inherit(&mut self, start: Start) {
        match self.try_inherit(start) {
            Ok(Taken { entries, left }) => {
                for (ifindex, entries) in entries {
                    let name = self.seen.get(&ifindex).map(|seen| seen.veth.name.as_str());
                    tracing::info!(ifindex, name, entries, "connections of a pod taken over");
                }
                if left > 0 {
                    tracing::warn!(
                        connections = left,
                        "no room to take over: judged as connections that are under way"
                    );
                }
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no connections taken over: they are judged as connections that are under way"
            ),
        }
    }

    fn try_inherit(&mut self, start: Start) -> Result<Taken, TakeoverError> {
        let mut ends = Ends::default();
        let mut newcomers = 0;
        for seen in self.seen.values_mut() {
            let Veth { ifindex, peer, nsid, .. } = seen.veth;
            let Some(nsid) = nsid.filter(|nsid| self.namespaces.name(*nsid).is_some()) else { continue };
            let pod = Pod { ifindex, newcomer: !seen.attached };
            seen.adopting = pod.newcomer;
            newcomers += usize::from(pod.newcomer);
            ends.add_pod(pod, veth::peer_addresses(&mut self.netlink, nsid, peer)?);
        }
        if newcomers == 0 {
            return Ok(Taken::default());
        }
        ends.add_node(veth::own_addresses(&mut self.netlink)?);
        take_over(&self.pins, &ends, start)
    }

    /// From now on no pod is one whose connections are older than its programs.
    pub(super) fn end_adoption(&mut self) {
        for (ifindex, seen) in self.seen.iter_mut().filter(|(_, seen)| seen.adopting) {
            seen.adopting = false;
            self.dirty.insert(*ifindex);
        }
    }

    /// Puts the programs on an interface that leads to a pod. Without a row it is closed.
    fn close(&mut self, ifindex: u32) -> Result<(), DiscoverError> {
        let Some(seen) = self.seen.get_mut(&ifindex) else { return Ok(()) };
        if seen.attached || seen.veth.nsid.and_then(|nsid| self.namespaces.name(nsid)).is_none() {
            return Ok(());
        }
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
        let Veth { ifindex, name, peer, nsid, master } = &seen.veth;
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
