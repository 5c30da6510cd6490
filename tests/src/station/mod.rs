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
pub use kernel::{KernelJudge, Ran};
pub use model::{ModelGround, ModelJudge};
pub use opening::{Opening, Outcome};

/// A dataplane that can be asked about the first packet of a connection.
pub trait Judge: Dataplane {
    /// What becomes of the packet.
    ///
    /// # Errors
    /// If the packet cannot be tried.
    fn judge(&mut self, opening: &Opening) -> Result<Outcome>;

    /// Forgets every connection.
    ///
    /// # Errors
    /// If the table cannot be emptied.
    fn forget_connections(&mut self) -> Result<()>;
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
        for message in news(&self.known, &desired) {
            self.tell(&message, &desired);
        }
        self.known = desired;
        self.settle()
    }

    /// The same, told as a bad day tells it: in any order, some of it twice, with deletions of what never was, and carried
    /// out in the midst of it now and then. `seed` says how.
    ///
    /// # Errors
    /// As [`Station::follow`].
    pub fn follow_in_disorder(&mut self, desired: Desired, seed: u64) -> Result<()> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut messages = news(&self.known, &desired);
        let again: Vec<News> = messages.iter().filter(|_| random.u8(..4) == 0).cloned().collect();
        messages.extend(again);
        let old = desired.objects.keys().filter(|_| random.u8(..8) == 0);
        messages.extend(old.cloned().map(News::Object).collect::<Vec<_>>());
        for kind in ["Namespace", "Node", "Pod", "NetworkPolicy", "Service", "EndpointSlice"] {
            if random.u8(..4) == 0 {
                let (kind, name) = (kind.to_owned(), "nobody".to_owned());
                messages.push(News::Object(ObjectRef { kind, namespace: "n0".to_owned(), name }));
            }
        }
        random.shuffle(&mut messages);
        for message in messages {
            self.tell(&message, &desired);
            if random.u8(..16) == 0 {
                self.settle()?;
            }
        }
        self.known = desired;
        self.settle()
    }

    fn tell(&mut self, message: &News, desired: &Desired) {
        match message {
            News::Object(object) => match desired.objects.get(object) {
                Some(manifest) => self.engine.apply(convert(manifest, "")),
                None => self.engine.delete(object),
            },
            News::Up(interface) => self.engine.interface_up(interface.clone()),
            News::Gone(ifindex) => self.engine.interface_gone(*ifindex),
        }
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
            let mut left = &plan.ops[..];
            while let Some(op) = left.first() {
                let done = self.judge.apply_first(left).with_context(|| format!("{op:?}"))?;
                left[..done].iter().for_each(|op| self.engine.applied(op));
                left = &left[done..];
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

    /// Forgets every connection.
    ///
    /// # Errors
    /// If the table cannot be emptied.
    pub fn forget_connections(&mut self) -> Result<()> {
        self.judge.forget_connections()
    }

    /// The dataplane.
    pub fn dataplane(&self) -> &J {
        &self.judge
    }

    /// The dataplane, to be asked.
    pub fn dataplane_mut(&mut self) -> &mut J {
        &mut self.judge
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

/// Something to be told.
#[derive(Clone, Debug)]
enum News {
    /// The object is as it is now, or gone.
    Object(ObjectRef),
    Up(Interface),
    Gone(u32),
}

/// What is new: each object and each interface once.
fn news(known: &Desired, desired: &Desired) -> Vec<News> {
    let changed = desired.objects.iter().filter(|(object, now)| known.objects.get(object) != Some(now));
    let gone = known.objects.keys().filter(|object| !desired.objects.contains_key(object));
    let mut all: Vec<News> =
        changed.map(|(object, _)| object).chain(gone).cloned().map(News::Object).collect();
    let stays = |ifindex: u32| desired.interfaces.iter().any(|interface| interface.ifindex == ifindex);
    let gone = known.interfaces.iter().filter(|interface| !stays(interface.ifindex));
    all.extend(gone.map(|interface| News::Gone(interface.ifindex)));
    all.extend(desired.interfaces.difference(&known.interfaces).cloned().map(News::Up));
    all
}
