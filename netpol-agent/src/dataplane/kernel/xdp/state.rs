//! What became of XDP on each uplink, for who asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{XdpChoice, XdpMode};
use crate::model::{Level, Problem};

/// On one uplink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum XdpState {
    /// The program is on it.
    On(XdpMode),
    /// It is not: why. The TC programs do its work.
    Off(String),
}

/// On all of them, shared with discovery, which keeps it up to date.
#[derive(Clone, Debug)]
pub struct XdpStates {
    choice: XdpChoice,
    /// By interface index, with its name.
    states: Arc<Mutex<BTreeMap<u32, (String, XdpState)>>>,
}

impl XdpStates {
    pub(super) fn new(choice: XdpChoice) -> Self {
        Self { choice, states: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, (String, XdpState)>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, ifindex: u32, name: &str, state: XdpState) {
        let mut states = self.lock();
        if states.get(&ifindex).is_some_and(|(_, known)| *known == state) {
            return;
        }
        match &state {
            XdpState::On(mode) => tracing::info!(ifindex, name, mode = mode.name(), "XDP"),
            XdpState::Off(why) if self.choice == XdpChoice::Native => {
                tracing::warn!(ifindex, name, why, "no XDP");
            }
            XdpState::Off(why) => tracing::info!(ifindex, name, why, "no XDP"),
        }
        states.insert(ifindex, (name.to_owned(), state));
    }

    pub(super) fn forget(&self, ifindex: u32) {
        self.lock().remove(&ifindex);
    }

    /// Name and state of every uplink.
    #[must_use]
    pub fn all(&self) -> Vec<(String, XdpState)> {
        self.lock().values().cloned().collect()
    }

    /// How many uplinks have it in this mode.
    #[must_use]
    pub fn count(&self, mode: XdpMode) -> usize {
        self.lock().values().filter(|(_, state)| *state == XdpState::On(mode)).count()
    }

    /// One line for `netpolctl status`.
    #[must_use]
    pub fn summary(&self) -> String {
        let all = self.all();
        if self.choice == XdpChoice::Off {
            return "off: by --xdp=off".to_owned();
        }
        if all.is_empty() {
            return "off: no uplinks".to_owned();
        }
        let each = all.iter().map(|(name, state)| match state {
            XdpState::On(mode) => format!("{name} {}", mode.name()),
            XdpState::Off(why) => format!("{name} off: {why}"),
        });
        each.collect::<Vec<_>>().join("; ")
    }

    /// Where what was asked for by name cannot be had.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        if !matches!(self.choice, XdpChoice::Native | XdpChoice::Generic) {
            return Vec::new();
        }
        let all = self.all().into_iter();
        all.filter_map(|(name, state)| match state {
            XdpState::On(_) => None,
            XdpState::Off(why) => Some(Problem {
                level: Level::Error,
                origin: format!("interface {name}"),
                field: "--xdp".to_owned(),
                message: format!("{why}; the TC programs do its work"),
                ..Problem::default()
            }),
        })
        .collect()
    }
}
