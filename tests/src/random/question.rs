use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::{
    engine::Attribution,
    oracle::{Family, Party, Question, Verdict, World, judge},
};
use netpol_common::{direction::Direction, net::proto, policy::RuleId};
use proptest::{collection::vec, prelude::*, sample::select};

use super::world::{HERE, THERE, addresses, has_interface, is_here, is_on_host_network, is_running, owner};
use crate::{
    packet::Hook,
    station::{Ground, Opening, Outcome},
};

/// Numbers that become a question in whatever world they meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    from: usize,
    to: usize,
    family: Family,
    protocol: u8,
    port: u16,
}

/// So many questions.
pub(super) fn draws(count: usize) -> impl Strategy<Value = Vec<Draw>> {
    let protocol = prop_oneof![
        8 => Just(proto::TCP),
        4 => Just(proto::UDP),
        3 => Just(proto::SCTP),
        1 => Just(proto::ICMP),
        // Numbers without a name, and without ports.
        1 => 145..=252u8,
    ];
    let port = select(vec![53, 53, 80, 80, 80, 81, 81, 8080, 1, 65535]);
    let family = select(vec![Family::V4, Family::V6]);
    let draw = (0..usize::MAX, 0..usize::MAX, family, protocol, port)
        .prop_map(|(from, to, family, protocol, port)| Draw { from, to, family, protocol, port });
    vec(draw, count)
}

/// A question that this node has a say in.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// For the reference evaluator.
    pub(super) question: Question,
    /// For the node.
    pub(super) opening: Opening,
    /// Whether the source is a pod of this node.
    pub(super) judges_egress: bool,
    /// Whether the destination is.
    pub(super) judges_ingress: bool,
}

/// Somebody who can be at an end of a connection.
struct Actor {
    party: Party,
    addresses: Vec<IpAddr>,
    /// For a pod of this node.
    interface: Option<String>,
    /// It is the node itself.
    is_node: bool,
}

fn actors(world: &World) -> Vec<Actor> {
    let address = |text: &str| text.parse::<IpAddr>().ok();
    let outside = |texts: [&'static str; 2]| {
        let found = texts.into_iter().filter_map(address);
        found.map(|a| Actor { party: Party::Address(a), addresses: vec![a], interface: None, is_node: false })
    };
    let nodes = [(HERE, ["192.168.0.1", "fd01::1"]), (THERE, ["192.168.0.2", "fd01::2"])];
    let nodes = nodes.into_iter().map(|(name, texts)| Actor {
        party: Party::Node(name.into()),
        addresses: texts.into_iter().filter_map(address).collect(),
        interface: None,
        is_node: name == HERE,
    });
    let pods = world.pods.iter().filter(|pod| is_running(pod)).map(|pod| {
        let name = owner(pod);
        let (namespace, own) = name.split_once('/').unwrap_or_default();
        Actor {
            party: Party::Pod { namespace: namespace.into(), name: own.into() },
            addresses: addresses(pod),
            interface: has_interface(pod).then(|| name.clone()),
            is_node: is_on_host_network(pod) && is_here(pod),
        }
    });
    // Pods twice: they are what it is about.
    pods.clone()
        .chain(pods)
        .chain(nodes)
        .chain(outside(["203.0.113.7", "2001:db8::7"]))
        .chain(outside(["203.0.114.1", "2001:db9::1"]))
        .collect()
}

/// The question that the draw means in this world; `None` if it means none or another node's. `sport` makes the connection
/// a new one.
///
/// # Errors
/// If the ground has no interface.
pub(super) fn asked<G: Ground>(
    world: &World,
    draw: Draw,
    sport: u16,
    ground: &mut G,
) -> Result<Option<Asked>> {
    let actors = actors(world);
    let has_family =
        |actor: &Actor| actor.addresses.iter().copied().find(|address| Family::of(*address) == draw.family);
    let able: Vec<(&Actor, IpAddr)> = actors.iter().filter_map(|a| Some((a, has_family(a)?))).collect();
    let ((from, src), (to, dst)) = (able[draw.from % able.len()], able[draw.to % able.len()]);
    let hook = match (&from.interface, &to.interface) {
        (Some(interface), _) => Hook::FromPod(ground.interface(interface)?),
        (None, Some(interface)) => {
            let ingress = if from.is_node { 0 } else { ground.uplink() };
            Hook::ToPod(ground.interface(interface)?, ingress)
        }
        (None, None) => return Ok(None),
    };
    let protocol = match (draw.protocol, draw.family) {
        (proto::ICMP, Family::V6) => proto::ICMPV6,
        (protocol, _) => protocol,
    };
    Ok(Some(Asked {
        question: Question {
            from: from.party.clone(),
            to: to.party.clone(),
            family: draw.family,
            protocol,
            port: draw.port,
        },
        opening: Opening { hook, src, dst, protocol, sport, dport: draw.port },
        judges_egress: from.interface.is_some(),
        judges_ingress: to.interface.is_some(),
    }))
}

/// Holds what the node did against what the reference evaluator says: the verdict, the end that denied, and for each end
/// the rule that allowed.
///
/// # Errors
/// Saying what differs.
pub(super) fn check(world: &World, asked: &Asked, outcome: Outcome, attribution: &Attribution) -> Result<()> {
    let judgement = judge(world, &asked.question)?;
    let denied_by = if asked.judges_egress && !judgement.egress.allows() {
        Some(Direction::Egress)
    } else if asked.judges_ingress && !judgement.ingress.allows() {
        Some(Direction::Ingress)
    } else {
        None
    };
    let differ = || format!("{asked:?}: the node says {outcome:?}, the evaluator {judgement:?}");
    match (outcome, denied_by) {
        (Outcome::Denied(end), Some(expected)) => ensure!(end == expected, differ()),
        (Outcome::Forwarded { egress, ingress }, None) => {
            check_rule(asked.judges_egress, &judgement.egress, egress, attribution).with_context(differ)?;
            check_rule(asked.judges_ingress, &judgement.ingress, ingress, attribution)
                .with_context(differ)?;
        }
        _ => bail!(differ()),
    }
    Ok(())
}

fn check_rule(judged: bool, verdict: &Verdict, rule: RuleId, attribution: &Attribution) -> Result<()> {
    let expected = match verdict {
        _ if !judged => RuleId::ELSEWHERE,
        Verdict::Itself => RuleId::SELF,
        Verdict::OwnNode => RuleId::NODE,
        Verdict::NotIsolated => RuleId::NOT_ISOLATED,
        Verdict::Allowed { rules, .. } => {
            let named = attribution.rule(rule).with_context(|| format!("nobody knows rule {rule:?}"))?;
            let found = rules.iter().any(|rule| {
                rule.policy.namespace == named.policy.namespace
                    && rule.policy.name == named.policy.name
                    && rule.index == named.index
                    && rule.path == named.path
            });
            ensure!(found, "{named:?} does not allow it");
            return Ok(());
        }
        Verdict::NotAPod | Verdict::Denied { .. } => bail!("an end that is no pod or denies was judged"),
    };
    ensure!(rule == expected, "rule {rule:?} instead of {expected:?}");
    Ok(())
}
