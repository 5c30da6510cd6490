use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use netpol_agent::{
    engine::Attribution,
    oracle::{Family, Party, Question, Verdict, World, judge, translate},
};
use netpol_common::{direction::Direction, net::proto, policy::RuleId, reason::DropReason};
use proptest::{collection::vec, prelude::*, sample::select};

use super::world::{HERE, THERE, addresses, has_interface, is_here, is_on_host_network, is_running, owner};
use crate::{
    packet::Hook,
    station::{Ground, Opening, Outcome},
};

/// Numbers that become a question in whatever world they meet.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Who opens the connection: an index, modulo the number of those who can.
    pub from: usize,
    /// Who is meant, in the same way.
    pub to: usize,
    /// Which of their addresses.
    pub family: Family,
    /// IANA protocol number; a Service has its own.
    pub protocol: u8,
    /// Destination port, host order; a Service has its own.
    pub port: u16,
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
    /// Whether the destination is a Service's: then the question is complete only with the backend that was chosen.
    pub(super) through_service: bool,
}

/// Somebody who can be at an end of a connection.
struct Actor {
    party: Party,
    addresses: Vec<IpAddr>,
    /// For a pod of this node.
    interface: Option<String>,
    /// It is the node itself.
    is_node: bool,
    /// Protocol and number of a Service's ports.
    ports: Vec<(u8, u16)>,
}

impl Actor {
    fn new(party: Party, addresses: Vec<IpAddr>) -> Self {
        Self { party, addresses, interface: None, is_node: false, ports: Vec::new() }
    }
}

fn actors(world: &World) -> Vec<Actor> {
    let address = |text: &str| text.parse::<IpAddr>().ok();
    let outside = |texts: [&'static str; 2]| {
        texts.into_iter().filter_map(address).map(|a| Actor::new(Party::Address(a), vec![a]))
    };
    let nodes = [(HERE, ["192.168.0.1", "fd01::1"]), (THERE, ["192.168.0.2", "fd01::2"])];
    let nodes = nodes.into_iter().map(|(name, texts)| {
        let addresses = texts.into_iter().filter_map(address).collect();
        Actor { is_node: name == HERE, ..Actor::new(Party::Node(name.into()), addresses) }
    });
    let pods = world.pods.iter().filter(|pod| is_running(pod)).map(|pod| {
        let full = owner(pod);
        let (namespace, name) = full.split_once('/').unwrap_or_default();
        let party = Party::Pod { namespace: namespace.into(), name: name.into() };
        Actor {
            interface: has_interface(pod).then(|| full.clone()),
            is_node: is_on_host_network(pod) && is_here(pod),
            ..Actor::new(party, addresses(pod))
        }
    });
    let services = world.services.iter().filter_map(|service| service.spec.as_ref()).flat_map(|spec| {
        let number = |name: Option<&str>| if name == Some("UDP") { proto::UDP } else { proto::TCP };
        let ports = spec.ports.iter().flatten();
        let ports: Vec<_> = ports
            .filter_map(|p| Some((number(p.protocol.as_deref()), u16::try_from(p.port).ok()?)))
            .collect();
        let addresses = spec.cluster_ips.iter().flatten().filter_map(|text| address(text));
        addresses.map(move |a| Actor { ports: ports.clone(), ..Actor::new(Party::Address(a), vec![a]) })
    });
    // Pods twice: they are what it is about.
    pods.clone()
        .chain(pods)
        .chain(nodes)
        .chain(outside(["203.0.113.7", "2001:db8::7"]))
        .chain(outside(["203.0.114.1", "2001:db9::1"]))
        .chain(services)
        .collect()
}

/// Everybody in a world who can be at an end of a connection.
pub(super) struct Cast(Vec<Actor>);

impl Cast {
    pub(super) fn of(world: &World) -> Self {
        Self(actors(world))
    }
}

/// The question that the draw means in this world; `None` if it means none or another node's. `sport` makes the connection
/// a new one.
///
/// # Errors
/// If the ground has no interface.
pub(super) fn asked<G: Ground>(
    Cast(actors): &Cast,
    draw: Draw,
    sport: u16,
    ground: &mut G,
) -> Result<Option<Asked>> {
    let has_family =
        |actor: &Actor| actor.addresses.iter().copied().find(|address| Family::of(*address) == draw.family);
    let able: Vec<(&Actor, IpAddr)> = actors.iter().filter_map(|a| Some((a, has_family(a)?))).collect();
    // Nobody opens connections from a Service's address.
    let senders: Vec<_> = able.iter().filter(|(actor, _)| actor.ports.is_empty()).collect();
    let (&&(from, src), (to, dst)) = (&senders[draw.from % senders.len()], able[draw.to % able.len()]);
    let hook = match (&from.interface, &to.interface) {
        (Some(interface), _) => Hook::FromPod(ground.interface(interface)?),
        (None, Some(interface)) => {
            let ingress = if from.is_node { 0 } else { ground.uplink() };
            Hook::ToPod(ground.interface(interface)?, ingress)
        }
        (None, None) => return Ok(None),
    };
    let (protocol, port) = match (to.ports.get(draw.to % to.ports.len().max(1)), draw.protocol, draw.family) {
        (Some(port), ..) => *port,
        (None, proto::ICMP, Family::V6) => (proto::ICMPV6, draw.port),
        (None, protocol, _) => (protocol, draw.port),
    };
    Ok(Some(Asked {
        question: Question {
            from: from.party.clone(),
            to: to.party.clone(),
            family: draw.family,
            protocol,
            port,
        },
        opening: Opening { hook, src, dst, protocol, sport, dport: port },
        judges_egress: from.interface.is_some(),
        judges_ingress: to.interface.is_some(),
        through_service: !to.ports.is_empty(),
    }))
}

/// Holds what the node did against what the reference evaluator says: the verdict, the end that denied, for each end the
/// rule that allowed, and for a Service the backend.
///
/// # Errors
/// Saying what differs.
pub(super) fn check(world: &World, asked: &Asked, outcome: Outcome, attribution: &Attribution) -> Result<()> {
    let completed;
    let mut asked = asked;
    if asked.through_service {
        let Opening { dst, dport, protocol, .. } = asked.opening;
        let translation =
            translate(world, HERE, dst, dport, protocol).context("a Service without address")?;
        let (Outcome::Forwarded { to, .. } | Outcome::Denied { to, .. }) = outcome else {
            let nobody = translation.backends.is_empty()
                && matches!(outcome, Outcome::Dropped(DropReason::NoBackend | DropReason::NoLocalBackend));
            ensure!(nobody, "{asked:?}: the node says {outcome:?}, the evaluator {translation:?}");
            return Ok(());
        };
        let known = translation.backends.iter().any(|b| (b.address, b.port) == (to.ip(), to.port()));
        ensure!(known, "{asked:?}: the node goes to {to}, the evaluator to one of {translation:?}");
        let is_here = |pod: &&Pod| has_interface(pod) && addresses(pod).contains(&to.ip());
        let question = Question { to: Party::Address(to.ip()), port: to.port(), ..asked.question.clone() };
        completed =
            Asked { question, judges_ingress: world.pods.iter().any(|pod| is_here(&pod)), ..asked.clone() };
        asked = &completed;
    }
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
        (Outcome::Denied { by, .. }, Some(expected)) => ensure!(by == expected, differ()),
        (Outcome::Forwarded { egress, ingress, .. }, None) => {
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
        Verdict::Audited { .. } => RuleId::AUDIT,
        Verdict::Allowed { rules, .. } => {
            let named = attribution.rule(rule).with_context(|| format!("nobody knows rule {rule:?}"))?;
            let found = rules.iter().any(|rule| {
                *rule.policy.namespace == *named.policy.namespace
                    && *rule.policy.name == *named.policy.name
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
