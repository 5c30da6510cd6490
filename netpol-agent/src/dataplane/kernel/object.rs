//! The embedded kernel object: loading it, handing out its maps and programs, running a program on one packet.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, TestRunOptions,
    maps::Map,
    programs::{CgroupSockAddr, Program, ProgramError, ProgramType, SchedClassifier, TestRun, Xdp},
    sys::{BpfHelper, is_helper_supported},
};
use netpol_common::{limits, names};

use super::node_netns;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netpol.o"));

/// Map capacities to create with, in rows; see [`limits`]. Maps that are pinned already keep theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Connections, per family. Allocated at load.
    pub ct: u32,
    /// Backends in the arena, per family. Allocated at load.
    pub backends: u32,
    /// Rows of `np_svc`. Allocated at load.
    pub services: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { ct: limits::CT, backends: limits::BACKEND, services: limits::SERVICE }
    }
}

impl Sizes {
    /// Small tables for a machine that runs many agents, as tests do.
    #[must_use]
    pub fn small() -> Self {
        Self { ct: 8_192, backends: 32_768, services: 4_096 }
    }
}

/// How to load.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoadOptions {
    /// Where maps are pinned, and taken from if they are there already. `None`: nothing is pinned.
    pub pin_dir: Option<PathBuf>,
    /// Capacities.
    pub sizes: Sizes,
}

/// The object was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Built without the kernel programs.
    #[error("this binary was built without the kernel object: run `cargo xtask build`")]
    NotBuilt,
    /// The kernel or the loader refused the object or a map.
    #[error("cannot load the kernel object")]
    Object(#[source] aya::EbpfError),
    /// The kernel refused a program; the source holds the verifier's log.
    #[error("cannot load program {name}")]
    Program {
        /// Which program.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: ProgramError,
    },
    /// The object lacks a map or program, or it has another type: agent and object are of different versions.
    #[error("the kernel object has no {what} {name}")]
    Missing {
        /// "map", "classifier", "cgroup program" or "XDP program".
        what: &'static str,
        /// Its name.
        name: String,
    },
}

/// Programs loaded and verified, not attached.
pub struct Object {
    ebpf: Ebpf,
}

/// What a program is told about the packet it runs on. Interfaces must exist in the current network namespace
/// (0 and 1 stand for its loopback interface).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunContext {
    /// Interface the packet is on.
    pub ifindex: u32,
    /// Interface the packet came in by; 0: made on this node.
    pub ingress_ifindex: u32,
    /// How often to run on the same buffer.
    pub repeat: u32,
    /// The packet's mark (`skb->mark`), which no frame of XDP has.
    pub mark: u32,
}

/// What became of the packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunOutcome {
    /// The TC action: -1 go on, 2 drop, 7 redirect. Of [`names::FROM_WIRE`] the XDP action: 2 go on, 3 back by the same
    /// interface, 4 redirect.
    pub action: i32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// Mean time of a run (the kernel's clock, whole nanoseconds).
    pub duration: Duration,
}

/// A program could not be run on a packet.
#[derive(Debug, thiserror::Error)]
#[error("BPF_PROG_TEST_RUN of {program}")]
pub struct RunError {
    /// Which program.
    pub program: String,
    /// What the kernel said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Object {
    /// Programs for interfaces, and those that the agent runs itself.
    pub const PROGRAMS: [&'static str; 8] = [
        names::FROM_POD,
        names::TO_POD,
        names::FROM_NETDEV,
        names::TO_NETDEV,
        names::CLOCK,
        names::REAP4,
        names::REAP6,
        names::EMPTY,
    ];

    /// Creates or takes over the maps, loads and verifies every program.
    ///
    /// # Errors
    /// See [`LoadError`]. Maps that were created and pinned on the way stay.
    pub fn load(options: &LoadOptions) -> Result<Self, LoadError> {
        if OBJECT.is_empty() {
            return Err(LoadError::NotBuilt);
        }
        let LoadOptions { pin_dir, sizes: Sizes { ct, backends, services } } = options;
        let mut loader = EbpfLoader::new();
        for (name, rows) in [
            (names::CT4, *ct),
            (names::CT6, *ct),
            (names::BE4, *backends),
            (names::BE6, *backends),
            (names::SVC, *services),
        ] {
            loader.map_max_entries(name, rows);
        }
        if let Some(dir) = pin_dir {
            for name in names::PINNED {
                loader.map_pin_path(name, pin_path(dir, name));
            }
        }
        // Without a cookie the programs touch nobody; who attaches them asks again, and says why.
        let node_netns = node_netns::current().unwrap_or(0);
        // A kernel that does not answer has no such programs.
        let says_why =
            is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval).unwrap_or(false);
        let says_why = u64::from(says_why);
        loader.override_global(names::NODE_NETNS, &node_netns, true).override_global(
            names::SAYS_WHY,
            &says_why,
            true,
        );
        let mut ebpf = loader.load(OBJECT).map_err(LoadError::Object)?;
        load_side_by_side(&mut ebpf, Self::PROGRAMS)?;
        Ok(Self { ebpf })
    }

    #[cfg(feature = "bpf-log")]
    pub(super) fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// A map by name, to be read or written.
    ///
    /// # Errors
    /// [`LoadError::Missing`].
    pub fn map(&self, name: &str) -> Result<&Map, LoadError> {
        self.ebpf.map(name).ok_or_else(|| LoadError::Missing { what: "map", name: name.into() })
    }

    /// A map by name, owned: the object does not hand it out again.
    ///
    /// # Errors
    /// [`LoadError::Missing`].
    pub fn take_map(&mut self, name: &str) -> Result<Map, LoadError> {
        self.ebpf.take_map(name).ok_or_else(|| LoadError::Missing { what: "map", name: name.into() })
    }

    /// A program by name, to be attached.
    ///
    /// # Errors
    /// [`LoadError::Missing`].
    pub fn program(&mut self, name: &str) -> Result<&mut SchedClassifier, LoadError> {
        classifier(&mut self.ebpf, name)
    }

    /// Loads and verifies the programs for the node's own processes. Apart from the others, since kernels may lack their type
    /// (`CONFIG_CGROUP_BPF`).
    ///
    /// # Errors
    /// [`LoadError::Program`].
    pub fn load_socket_programs(&mut self) -> Result<(), LoadError> {
        for name in names::SOCKET_PROGRAMS {
            self.socket_program(name)?.load().map_err(|source| LoadError::Program { name, source })?;
        }
        Ok(())
    }

    /// A program for the node's own processes by name, to be attached to a cgroup.
    ///
    /// # Errors
    /// [`LoadError::Missing`].
    pub fn socket_program(&mut self, name: &str) -> Result<&mut CgroupSockAddr, LoadError> {
        match self.ebpf.program_mut(name) {
            Some(Program::CgroupSockAddr(program)) => Ok(program),
            _ => Err(LoadError::Missing { what: "cgroup program", name: name.into() }),
        }
    }

    /// Loads and verifies the program for the uplinks themselves. Apart from the others, since nothing depends on it.
    ///
    /// # Errors
    /// [`LoadError::Program`].
    pub fn load_wire_program(&mut self) -> Result<(), LoadError> {
        let name = names::FROM_WIRE;
        self.wire_program()?.load().map_err(|source| LoadError::Program { name, source })
    }

    /// Loads the program that only looks rows up, for [`test_run`](Self::test_run). Apart from the others, since no agent needs it.
    ///
    /// # Errors
    /// [`LoadError::Program`].
    pub fn load_look_up_program(&mut self) -> Result<(), LoadError> {
        let name = names::LOOK_UP;
        self.program(name)?.load().map_err(|source| LoadError::Program { name, source })
    }

    /// The program for the uplinks themselves, to be attached to one.
    ///
    /// # Errors
    /// [`LoadError::Missing`].
    pub fn wire_program(&mut self) -> Result<&mut Xdp, LoadError> {
        match self.ebpf.program_mut(names::FROM_WIRE) {
            Some(Program::Xdp(program)) => Ok(program),
            _ => Err(LoadError::Missing { what: "XDP program", name: names::FROM_WIRE.into() }),
        }
    }

    /// Per program, how many instructions the verifier walked; `None` before kernel 5.16.
    #[must_use]
    pub fn verified_instructions(&self) -> Vec<(&'static str, Option<u32>)> {
        Self::PROGRAMS
            .into_iter()
            .chain(names::SOCKET_PROGRAMS)
            .chain([names::FROM_WIRE])
            .map(|name| {
                let info = self.ebpf.program(name).and_then(|program| program.info().ok());
                (name, info.and_then(|info| info.verified_instruction_count()))
            })
            .collect()
    }

    /// Runs a program on a packet (Ethernet header first) without attaching it.
    ///
    /// # Errors
    /// If there is no such program, or the kernel does not take the packet or the context.
    pub fn test_run(
        &self,
        program: &str,
        packet: &[u8],
        context: RunContext,
    ) -> Result<RunOutcome, RunError> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| RunError { program: program.into(), source };
        let RunContext { ifindex, ingress_ifindex, repeat, mark } = context;
        let mut out = vec![0u8; packet.len() + 256];
        let options =
            TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), repeat, ..Default::default() };
        let result = match self.ebpf.program(program) {
            Some(Program::SchedClassifier(program)) => {
                let skb = skb_context(ifindex, ingress_ifindex, mark);
                program.test_run(TestRunOptions { ctx_in: Some(&skb), ..options })
            }
            // Without a context the frame comes in by loopback: kernels before 5.15 take none.
            Some(Program::Xdp(program)) if ifindex == 0 => program.test_run(options),
            Some(Program::Xdp(program)) => {
                let frame = frame_context(packet.len(), ifindex);
                program.test_run(TestRunOptions { ctx_in: Some(&frame), ..options })
            }
            _ => return Err(failed("no such program".into())),
        };
        let result = result.map_err(|error| failed(error.into()))?;
        out.truncate(result.data_size_out as usize);
        Ok(RunOutcome { action: result.return_value.cast_signed(), packet: out, duration: result.duration })
    }
}

/// Loads and verifies programs, each on a thread of its own: the verifier takes most of the time that an agent needs to start, and walks
/// programs of privileged processes side by side (`bpf_check`, kernel/bpf/verifier.c).
fn load_side_by_side<const N: usize>(ebpf: &mut Ebpf, names: [&'static str; N]) -> Result<(), LoadError> {
    for name in names {
        classifier(ebpf, name)?;
    }
    thread::scope(|scope| {
        let loading: Vec<_> = ebpf
            .programs_mut()
            .filter_map(|(there, program)| Some((names.into_iter().find(|name| *name == there)?, program)))
            .map(|(name, program)| {
                scope.spawn(move || match program {
                    Program::SchedClassifier(program) => {
                        program.load().map_err(|source| LoadError::Program { name, source })
                    }
                    _ => Err(LoadError::Missing { what: "program", name: name.into() }),
                })
            })
            .collect();
        loading
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Where a map is pinned.
#[must_use]
pub(crate) fn pin_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, LoadError> {
    match ebpf.program_mut(name) {
        Some(Program::SchedClassifier(program)) => Ok(program),
        _ => Err(LoadError::Missing { what: "classifier", name: name.into() }),
    }
}

/// A `struct __sk_buff` with the two fields that matter (include/uapi/linux/bpf.h: `ingress_ifindex` is the tenth word,
/// `ifindex` the eleventh). The kernel takes a context that is longer or shorter than its own if the rest is zero.
fn skb_context(ifindex: u32, ingress_ifindex: u32, mark: u32) -> Vec<u8> {
    let mut words = [0u32; 11];
    words[2] = mark;
    words[9] = ingress_ifindex;
    words[10] = ifindex;
    bytemuck::cast_slice(&words).to_vec()
}

/// A `struct xdp_md`: where the frame begins and ends, metadata, and the interface.
fn frame_context(len: usize, ifindex: u32) -> Vec<u8> {
    let words = [0, u32::try_from(len).unwrap_or(u32::MAX), 0, ifindex, 0, 0];
    bytemuck::cast_slice(&words).to_vec()
}
