//! What is in force on a node, asked of the loaded programs over the maps that its agent goes on writing.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use netpol_agent::dataplane::kernel::{LoadOptions, Object, RunContext};
use netpol_common::{
    lookup::{self, Question},
    names,
    version::ABI_VERSION,
};

use crate::{
    bed::{Bed, Netns},
    packet::{Hook, asked, run_context},
};

/// `TC_ACT_SHOT`
const DROP: i32 = 2;
/// The loopback interface: lookups are no interface's.
const ANYWHERE: RunContext = RunContext { ifindex: 1, ingress_ifindex: 1, repeat: 1, mark: 0 };

/// Programs of its own over an agent's maps.
pub(super) struct Sight {
    object: Object,
    netns: Arc<Netns>,
}

impl Sight {
    /// Of a node whose agent has made its maps.
    pub(super) fn open(bed: &Bed, node: &str) -> Result<Self> {
        let node = bed.node(node)?;
        let pins = node.folder.join("bpf/netpol").join(format!("v{ABI_VERSION}"));
        ensure!(pins.join(names::EP).exists(), "no maps are pinned in {}", pins.display());
        let mut object = Object::load(&LoadOptions { pin_dir: Some(pins), ..LoadOptions::default() })?;
        object.load_look_up_program()?;
        Ok(Self { object, netns: node.netns.clone() })
    }

    /// What the rows say; `None` if one is missing.
    pub(super) fn look_up(&self, question: &Question) -> Result<Option<u32>> {
        let action = self.object.test_run(names::LOOK_UP, &asked(question), ANYWHERE)?.action;
        Ok((action != lookup::MISSING).then_some(action.cast_unsigned()))
    }

    /// Whether a packet that a pod sends gets on, for as long as `f` likes to ask.
    pub(super) fn packets<T: Send>(
        &self,
        f: impl FnOnce(&dyn Fn(u32, &[u8]) -> Result<bool>) -> Result<T> + Send,
    ) -> Result<T> {
        self.netns.enter(|| {
            f(&|ifindex, packet| {
                let (program, context) = run_context(Hook::FromPod(ifindex));
                let outcome = self.object.test_run(program, packet, context);
                Ok(outcome.with_context(|| format!("interface {ifindex}"))?.action != DROP)
            })
        })
    }
}
