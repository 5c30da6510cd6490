//! The engine on rows in memory against the reference evaluator, in clusters that the input makes and changes.

mod rules;
mod world;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use netpol_agent::oracle::{Family, World};
use netpol_common::net::proto;
use netpol_tests::{
    random::{Differential, Draw, Stage},
    station::ModelGround,
};

use crate::choices::Choices;
use rules::Edges;
pub(crate) use world::first;

/// Changes, and stages, at most.
const CHANGES: usize = 32;
const STAGES: usize = 4;
/// Questions of the last stage.
const LAST: u8 = 48;

/// An input is a list of changes: a byte that says which, and what it takes. Some of them ask.
///
/// # Panics
/// If an answer differs from the evaluator's.
pub(crate) fn policy(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (mut world, mut edges, mut stages) = (first(), Edges::from([80, 53]), Vec::new());
    for _ in 0..CHANGES {
        if choices.is_empty() {
            break;
        }
        match choices.below(8) {
            0 | 1 => put_policy(&mut world, object(&mut choices, &mut edges)),
            2 => world::put_pod(&mut world, &mut choices),
            3 => world::put_namespace(&mut world, &mut choices),
            4 if !world.policies.is_empty() => {
                let gone = choices.below(world.policies.len());
                world.policies.remove(gone);
            }
            5 => world::remove_pod(&mut world, choices.below(5)),
            6 => world::put_service(&mut world, &mut choices),
            7 if stages.len() < STAGES => {
                let (order, count) = (u64::from(choices.byte()), choices.below(12));
                let draws = (0..count).map(|_| draw(&mut choices, &edges)).collect();
                stages.push(Stage { world: world.clone(), order, draws });
            }
            _ => {}
        }
    }
    ask(world, &edges, stages);
}

/// Asks all around in `world` after `stages`.
///
/// # Panics
/// If an answer differs from the evaluator's.
pub(crate) fn ask(world: World, edges: &[u16], mut stages: Vec<Stage>) {
    let draws = (0..LAST).map(|number| {
        // Steps without a common divisor with the numbers of those who can be asked about.
        let bytes = [number.wrapping_mul(37), number.wrapping_mul(53), number, number.wrapping_mul(7)];
        draw(&mut Choices::new(&bytes), edges)
    });
    stages.push(Stage { world, order: 0, draws: draws.collect() });
    let answered = Differential::new(ModelGround::default()).lead(stages);
    answered.unwrap_or_else(|error| panic!("{error:#}"));
}

fn object(choices: &mut Choices<'_>, edges: &mut Edges) -> NetworkPolicy {
    world::object(rules::policy(choices, edges))
}

/// Replaces the one with its name.
pub(crate) fn put_policy(world: &mut World, new: NetworkPolicy) {
    let name = |policy: &NetworkPolicy| (policy.metadata.namespace.clone(), policy.metadata.name.clone());
    world.policies.retain(|old| name(old) != name(&new));
    world.policies.push(new);
}

/// A question at a port where some rule begins or ends, or beside it.
fn draw(choices: &mut Choices<'_>, edges: &[u16]) -> Draw {
    let (from, to, how) = (choices.below(256), choices.below(256), choices.byte());
    let protocol =
        [proto::TCP, proto::UDP, proto::TCP, proto::SCTP, proto::TCP, proto::ICMP, proto::TCP, 200];
    let edge = choices.of(edges);
    let port = match how >> 6 {
        0 | 1 => edge,
        2 => edge.wrapping_add(1),
        _ => edge.wrapping_sub(1),
    };
    Draw {
        from,
        to,
        family: if how & 1 == 0 { Family::V4 } else { Family::V6 },
        protocol: protocol[usize::from(how >> 1 & 7)],
        port: port.max(1),
    }
}
