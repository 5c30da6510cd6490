//! What one node lives through: a world, and then change after change.

use netpol_agent::oracle::World;
use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::{
    Draw, Scene, draws,
    ending::Ending,
    event::{Event, event},
    world,
    world::{NAMESPACES, object},
};

/// Steps after the first world, at most.
const STEPS: usize = 7;
/// Questions after each of them.
const QUESTIONS: usize = 100;

/// A life from its first world on.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// What there is in the beginning.
    pub(super) world: Scene,
    /// Asked then.
    pub(super) draws: Vec<Draw>,
    /// What comes afterwards.
    pub(super) steps: Vec<Step>,
}

/// Something happens, and questions are asked.
#[derive(Clone, Debug)]
pub(super) struct Step {
    change: Change,
    /// How the node hears of it, see [`Station::follow_in_disorder`](crate::station::Station::follow_in_disorder).
    pub(super) order: u64,
    pub(super) draws: Vec<Draw>,
}

#[derive(Clone, Debug)]
enum Change {
    /// Nothing stays as it was, but for names and addresses.
    World(Scene),
    /// A namespace begins to end. By itself: of what comes together, the node may hear in any order, and a policy that
    /// goes just before its namespace ends is no policy that goes with it.
    Ending(usize),
    /// Nearly everything stays.
    Events(Vec<Event>),
}

/// A world as it is for a while.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What there is; namespaces do not end.
    pub world: World,
    /// How the node hears of it, see [`Station::follow_in_disorder`](crate::station::Station::follow_in_disorder).
    pub order: u64,
    /// What is asked then.
    pub draws: Vec<Draw>,
}

impl Life {
    /// From one stage to the next; in the beginning there is nothing.
    pub(super) fn of(stages: Vec<Stage>) -> Self {
        let steps = stages.into_iter().map(|Stage { world, order, draws }| Step {
            change: Change::World(Scene(world)),
            order,
            draws,
        });
        Self { world: Scene(World::default()), draws: Vec::new(), steps: steps.collect() }
    }
}

/// Any life.
pub(super) fn life() -> impl Strategy<Value = Life> {
    let change = prop_oneof![
        2 => world().prop_map(Change::World),
        2 => (0..NAMESPACES.len()).prop_map(Change::Ending),
        14 => vec(event(), 1..=4).prop_map(Change::Events),
    ];
    let step = (change, any::<u64>(), draws(QUESTIONS)).prop_map(|(change, order, draws)| Step {
        change,
        order,
        draws,
    });
    (world(), draws(QUESTIONS), vec(step, 0..=STEPS)).prop_map(|(world, draws, steps)| Life {
        world,
        draws,
        steps,
    })
}

impl Step {
    /// Makes the change.
    pub(super) fn happen(&self, world: &mut World, ending: &mut Ending) {
        let before = world.clone();
        match &self.change {
            // What pods a namespace that ends has left must not be replaced at one stroke: nobody could tell the new from
            // the old.
            Change::World(Scene(new)) if ending.is_empty() => *world = new.clone(),
            Change::World(_) => {}
            Change::Ending(number) => {
                let name = Some(NAMESPACES[*number]);
                for namespace in world.namespaces.iter_mut().filter(|n| n.metadata.name.as_deref() == name) {
                    namespace.metadata.deletion_timestamp = Some(object(json!("2026-01-01T00:00:00Z")));
                }
            }
            Change::Events(events) => {
                for event in events.iter().filter(|event| ending.admits(event, &before)) {
                    event.happen(world);
                }
            }
        }
        ending.follow(&before, world);
    }
}
