//! One node without its network: the real engine on a dataplane, told by hand what is there, and asked about single
//! packets.

mod ground;
mod interfaces;
mod kernel;
mod model;
mod opening;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::{
    dataplane::{Dataplane, Interface, Rows},
    engine::{Attribution, Engine},
    model::{Manifest, ObjectRef, convert},
};

pub use ground::{Ground, KernelGround};
pub use interfaces::Interfaces;
pub use kernel::KernelJudge;
pub use model::{ModelGround, ModelJudge};
pub use opening::{Opening, Outcome};

/// A dataplane that can be asked about the first packet of a connection.
pub trait Judge: Dataplane {
    /// What becomes of the packet.
    ///
    /// # Errors
    /// If the packet cannot be tried.
    fn judge(&mut self, opening: &Opening) -> Result<Outcome>;
}

/// What a node should know.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Desired {
    /// Every object.
    pub objects: BTreeMap<ObjectRef, Manifest>,
    /// Interfaces of pods of this node.
    pub interfaces: BTreeSet<Interface>,
}

/// A node: engine and dataplane.
pub struct Station<J> {
    engine: Engine,
    judge: J,
    known: Desired,
}

impl<J: Judge> Station<J> {
    /// The agent of the node called `node` has started and seen that there is nothing.
    ///
    /// # Errors
    /// If the dataplane cannot be read or written.
    pub fn new(node: &str, judge: J) -> Result<Self> {
        let mut engine = Engine::new(node, judge.capacity(), judge.read()?);
        engine.synced();
        let mut station = Self { engine, judge, known: Desired::default() };
        station.settle()?;
        Ok(station)
    }

    /// Tells the engine what has changed since the last call, and carries out what it says.
    ///
    /// # Errors
    /// If an operation fails or the engine refuses to plan a part.
    pub fn follow(&mut self, desired: Desired) -> Result<()> {
        for (object, manifest) in &desired.objects {
            if self.known.objects.get(object) != Some(manifest) {
                self.engine.apply(convert(manifest, ""));
            }
        }
        for object in self.known.objects.keys().filter(|object| !desired.objects.contains_key(object)) {
            self.engine.delete(object);
        }
        for gone in self.known.interfaces.difference(&desired.interfaces) {
            self.engine.interface_gone(gone.ifindex);
        }
        for new in desired.interfaces.difference(&self.known.interfaces) {
            self.engine.interface_up(new.clone());
        }
        self.known = desired;
        self.settle()
    }

    fn settle(&mut self) -> Result<()> {
        // Each plan brings the dataplane all the way, so a second one has nothing left to do.
        for _ in 0..3 {
            let plan = self.engine.plan();
            if let Some(refusal) = plan.refusals.first() {
                bail!("the engine refuses: {refusal}");
            }
            if plan.ops.is_empty() {
                return Ok(());
            }
            for op in &plan.ops {
                self.judge.apply(op).with_context(|| format!("{op:?}"))?;
                self.engine.applied(op);
            }
        }
        bail!("the engine does not come to rest: {:?}", self.engine.plan().ops)
    }

    /// What becomes of the first packet of a connection.
    ///
    /// # Errors
    /// If the packet cannot be tried.
    pub fn judge(&mut self, opening: &Opening) -> Result<Outcome> {
        self.judge.judge(opening)
    }

    /// Names for the numbers in outcomes.
    #[must_use]
    pub fn attribution(&self) -> &Attribution {
        self.engine.attribution()
    }

    /// What the dataplane holds, after it was compared with what the engine believes it to hold.
    ///
    /// # Errors
    /// If they differ, or the dataplane cannot be read.
    pub fn check_rows(&self) -> Result<Rows> {
        let (held, believed) = (self.judge.read()?, self.engine.actual());
        ensure!(held == believed, "the dataplane holds\n{held:#?}\nthe engine believes\n{believed:#?}");
        Ok(held)
    }
}
