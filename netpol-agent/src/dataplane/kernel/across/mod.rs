//! The fast path across nodes: whether anything on the node's own way matters to packets between its pods and those of other nodes. On as
//! long as nothing does (`docs/adr/0141-when-nothing-matters.md`), for each family by itself.

mod behind;
mod bridged;
mod forwarding;
mod legacy;
mod nftables;
mod obstacle;
mod queues;
mod xfrm;

use std::path::PathBuf;

use netpol_common::config::flags::{ACROSS4, ACROSS6};
pub use obstacle::{AcrossStates, Obstacle};

use self::{behind::Behind, nftables::Nftables, xfrm::Xfrm};
use super::{AttachMode, Switch, Switches, netlink::Netlink};

/// Whether the fast path across nodes is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AcrossChoice {
    /// Where nothing on the node's own way matters.
    #[default]
    Auto,
    /// Nowhere, because of this argument.
    Off(&'static str),
}

/// What holds for one family.
type Found = Result<(), Obstacle>;

/// An uplink with this agent's programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interface<'a> {
    pub(super) ifindex: u32,
    pub(super) name: &'a str,
}

/// The node's side of a pod's interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pod<'a> {
    pub(super) ifindex: u32,
    pub(super) name: &'a str,
    /// Index of the bridge it is a port of, 0 if none.
    pub(super) bridge: u32,
}

/// IPv4 or IPv6: what of the node's own way it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    V4,
    V6,
}

/// Looks, and turns the switches.
pub(super) struct Across {
    choice: AcrossChoice,
    switches: Switches,
    states: AcrossStates,
    nftables: Nftables,
    behind: Behind,
    xfrm: Xfrm,
    /// Something may have changed, or some time has gone by.
    due: bool,
}

impl Across {
    /// `links` is where links are pinned.
    pub(super) fn new(choice: AcrossChoice, switches: Switches, mode: AttachMode, links: PathBuf) -> Self {
        Self {
            choice,
            switches,
            states: AcrossStates::default(),
            nftables: Nftables::open(),
            behind: Behind::new(mode, links),
            xfrm: Xfrm::default(),
            due: true,
        }
    }

    /// What was found last, kept up to date.
    pub(super) fn states(&self) -> AcrossStates {
        self.states.clone()
    }

    /// Has the next [`Across::settle`] look.
    pub(super) fn note(&mut self) {
        self.due = true;
    }

    /// Looks if it is time to. `pods` in the order of their indices.
    pub(super) fn settle<'a>(
        &mut self,
        uplinks: impl Iterator<Item = Interface<'a>>,
        pods: impl Iterator<Item = Pod<'a>>,
    ) {
        if !std::mem::take(&mut self.due) {
            return;
        }
        let found = self.look(&uplinks.collect::<Vec<_>>(), &pods.collect::<Vec<_>>());
        for (bit, found) in [ACROSS4, ACROSS6].into_iter().zip(&found) {
            self.switches.turn(bit, if found.is_ok() { Switch::On } else { Switch::Off });
        }
        self.states.set(found);
    }

    fn look(&mut self, uplinks: &[Interface<'_>], pods: &[Pod<'_>]) -> [Found; 2] {
        if let AcrossChoice::Off(argument) = self.choice {
            return [Err(Obstacle::Argument(argument)), Err(Obstacle::Argument(argument))];
        }
        // What concerns both families is asked once.
        let both = if uplinks.is_empty() { Err(Obstacle::NoUplink) } else { Ok(()) }
            .and_then(|()| bridged::look(uplinks, pods))
            .and_then(|()| self.on_interfaces(uplinks, pods))
            .and_then(|()| self.xfrm.look());
        let [four, six] = self.nftables.look();
        [(Family::V4, four), (Family::V6, six)].map(|(family, chains)| {
            both.clone()?;
            forwarding::look(family, uplinks)?;
            chains?;
            legacy::look(family)
        })
    }

    fn on_interfaces(&self, uplinks: &[Interface<'_>], pods: &[Pod<'_>]) -> Found {
        let mut netlink =
            Netlink::open().map_err(|error| Obstacle::Unknown(format!("{error}: {}", error.source)))?;
        self.behind.look(&mut netlink, uplinks)?;
        queues::look(&mut netlink, pods)
    }
}
