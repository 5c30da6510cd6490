//! The program on the uplinks themselves (XDP): attached so that it outlives the agent, found again after a restart and replaced in
//! place. Whatever goes wrong is no reason to end: the TC programs do all that it does.

mod counter;
mod datagram;
mod link;
mod secret;
mod selftest;
mod stage;
mod state;

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    str::FromStr,
};

pub use counter::XdpCounter;
pub use link::XdpMode;
use netpol_common::{names, wire::WireRow};
pub use state::{XdpState, XdpStates};

use self::link::Pin;
use super::{
    Object, bpf, pins,
    table::{self, Hash},
};
use crate::dataplane::Error;

/// Which uplinks get the program: the value of `--xdp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum XdpChoice {
    /// Those whose driver runs it, and does not lose what it sends.
    #[default]
    Auto,
    /// All, by their drivers; where that cannot be had, it is a problem.
    Native,
    /// All, by the kernel: for trying it out, since it saves nothing.
    Generic,
    /// None.
    Off,
}

/// Not a value of `--xdp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("auto, native, generic or off")]
pub struct NoXdpChoice;

impl FromStr for XdpChoice {
    type Err = NoXdpChoice;
    fn from_str(text: &str) -> Result<Self, NoXdpChoice> {
        Ok(match text {
            "auto" => Self::Auto,
            "native" => Self::Native,
            "generic" => Self::Generic,
            "off" => Self::Off,
            _ => return Err(NoXdpChoice),
        })
    }
}

/// `np_wire`: where frames are seen.
pub struct XdpTable(Hash<u32, WireRow>);

impl XdpTable {
    /// Takes the map out of a loaded object, and sees to it that marks have their secret.
    ///
    /// # Errors
    ///
    /// If the object lacks it, or there is nothing random to be had.
    pub fn new(object: &mut Object) -> Result<Self, Error> {
        secret::settle(object)?;
        Ok(Self(table::hash(object, names::WIRE)?.0))
    }

    /// Says how an interface's frames are seen, and what its MAC address is.
    ///
    /// # Errors
    ///
    /// If the row cannot be written.
    pub fn put(&mut self, ifindex: u32, mode: XdpMode, mac: [u8; 6]) -> Result<(), Error> {
        self.put_row(ifindex, WireRow { mode: mode.row(), mac, ..WireRow::default() })
    }

    /// Writes a whole row.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn put_row(&mut self, ifindex: u32, row: WireRow) -> Result<(), Error> {
        table::put(&mut self.0, &ifindex, &row, names::WIRE)
    }

    /// Says that nobody sees its frames.
    ///
    /// # Errors
    ///
    /// If the row cannot be removed.
    pub fn delete(&mut self, ifindex: u32) -> Result<(), Error> {
        table::delete(&mut self.0, &ifindex, names::WIRE)
    }
}

/// An interface that may get the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) ifindex: u32,
    pub(super) name: &'a str,
    pub(super) is_veth: bool,
    pub(super) mac: [u8; 6],
}

/// The program, and the uplinks it is on.
pub(super) struct Xdp {
    choice: XdpChoice,
    dir: PathBuf,
    /// Where other versions' links are pinned, which are left in their places so far.
    others: Vec<PathBuf>,
    table: XdpTable,
    /// Or why there is none.
    program: Result<OwnedFd, String>,
    states: XdpStates,
}

impl Xdp {
    /// `maps` is where the maps are pinned, `others` where other versions' are. A program that does not do what it should in a test gets to no interface.
    pub(super) fn open(
        object: &mut Object,
        maps: &Path,
        others: &[PathBuf],
        choice: XdpChoice,
    ) -> Result<Self, Error> {
        // Programs are loaded before maps are taken out of the object: they name them by descriptor.
        let loaded = match choice {
            XdpChoice::Off => Err("by --xdp=off".to_owned()),
            _ => load(object),
        };
        let mut table = XdpTable::new(object)?;
        let program = loaded.and_then(|program| {
            let tested = selftest::run(object, &mut table, maps);
            tested.map(|()| program).map_err(|error| format!("the self-test failed: {}", chain(&error)))
        });
        let others = others.iter().map(|other| other.join(pins::XDP)).collect();
        let states = XdpStates::new(choice);
        Ok(Self { choice, dir: maps.join(pins::XDP), others, table, program, states })
    }

    /// What became of it, kept up to date.
    pub(super) fn states(&self) -> XdpStates {
        self.states.clone()
    }

    /// Has the program on an uplink if it can be had. Asked again, it tries again.
    pub(super) fn attach(&mut self, uplink: Candidate<'_>) {
        let state = match self.try_attach(uplink) {
            Ok(mode) => XdpState::On(mode),
            Err(why) => {
                self.detach_all(uplink.ifindex);
                XdpState::Off(why)
            }
        };
        self.states.set(uplink.ifindex, uplink.name, state);
    }

    /// Makes other versions' links this one's: the next [`Xdp::attach`] puts this version's program in the place of theirs.
    pub(super) fn let_in(&mut self) {
        for other in std::mem::take(&mut self.others) {
            if let Err(error) = move_all(&other, &self.dir) {
                tracing::warn!(%error, path = %other.display(), "XDP of another version is removed before this one's comes");
            }
        }
    }

    /// Takes the program off an interface that is no uplink any more, and may be gone.
    pub(super) fn detach(&mut self, ifindex: u32) {
        self.detach_all(ifindex);
        self.states.forget(ifindex);
    }

    fn detach_all(&mut self, ifindex: u32) {
        // The row first: other uplinks' frames are not sent out by an interface that is about to let them go.
        if let Err(error) = self.table.delete(ifindex) {
            tracing::warn!(error = &error as &dyn std::error::Error, "XDP");
        }
        for mode in XdpMode::ALL {
            let pin = self.pin(ifindex, mode);
            if let Err(error) = pin.remove() {
                tracing::warn!(%error, path = %pin.path.display(), "cannot remove a link");
            }
        }
    }

    fn try_attach(&mut self, uplink: Candidate<'_>) -> Result<XdpMode, String> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        let mode = match self.choice {
            XdpChoice::Off => return Err("by --xdp=off".to_owned()),
            XdpChoice::Generic => XdpMode::Generic,
            // Without one there its frames are lost, and whether there is one cannot be seen from here.
            XdpChoice::Auto if uplink.is_veth => {
                return Err(
                    "a veth sends frames only if its other end has an XDP program too: then --xdp=native"
                        .to_owned(),
                );
            }
            XdpChoice::Auto | XdpChoice::Native => XdpMode::Native,
        };
        if self.is_others(uplink.ifindex) {
            return Err("another version's is on it until all of this one's policy is in force".to_owned());
        }
        let in_the_way = |error: io::Error| format!("cannot remove the link of an agent before: {error}");
        self.pin(uplink.ifindex, mode.other()).remove().map_err(in_the_way)?;
        fs::create_dir_all(&self.dir)
            .map_err(|error| format!("{}: cannot create the directory: {error}", self.dir.display()))?;
        let pin = self.pin(uplink.ifindex, mode);
        if !pin.replace(program.as_fd(), uplink.ifindex)? {
            pin.create(program.as_fd(), uplink.ifindex, mode)?;
        }
        self.table.put(uplink.ifindex, mode, uplink.mac).map_err(|error| chain(&error))?;
        Ok(mode)
    }

    fn is_others(&self, ifindex: u32) -> bool {
        let mut pins =
            self.others.iter().flat_map(|dir| XdpMode::ALL.map(|mode| dir.join(name(ifindex, mode))));
        pins.any(|pin| {
            bpf::open_pin(&pin)
                .and_then(|link| bpf::xdp_interface(link.as_fd()))
                .is_ok_and(|on| on == Some(ifindex))
        })
    }

    fn pin(&self, ifindex: u32, mode: XdpMode) -> Pin {
        Pin { path: self.dir.join(name(ifindex, mode)) }
    }
}

fn name(ifindex: u32, mode: XdpMode) -> String {
    format!("{ifindex}-{}-{}", names::FROM_WIRE, mode.name())
}

/// Moves what is pinned in a folder, which may not be there, to another one that has nothing of the name.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if fs::symlink_metadata(&to).is_err() {
            fs::rename(entry.path(), to)?;
        }
    }
    Ok(())
}

fn load(object: &mut Object) -> Result<OwnedFd, String> {
    let loaded = object.load_wire_program().and_then(|()| object.wire_program());
    let program = loaded.map_err(|error| chain(&error))?;
    let fd = program.fd().map_err(|error| chain(&error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| format!("cannot duplicate the program: {error}"))
}

/// An error with its causes, each cut: a verifier's log can be megabytes long, and its end says what is wrong.
fn chain(error: &dyn std::error::Error) -> String {
    const LONGEST: usize = 400;
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        let skip = text.chars().count().saturating_sub(LONGEST);
        texts.push(text.chars().skip(skip).collect::<String>());
        next = cause.source();
    }
    texts.join(": ")
}
