//! What should become of a packet.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use netpol_common::{direction::Direction, net::proto, reason::DropReason};

use super::{
    fate::{Change, Chosen, Fate, Place},
    laws::{Ends, Laws},
    quoted::quoted,
    read::{Fragments, Kind, Read, Tuple, read},
    segment::{ACK, RST, SYN, is_sound, opens},
    service::{asks_anew, is_answered},
    table::{Entry, Side, Table},
};
use crate::packet::Hook;

/// One node.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) laws: Laws,
    pub(super) table: Table,
    pub(super) fragments: Fragments,
    /// Of the decisions made from now on.
    pub(super) epoch: u32,
    /// The only interface that is known to lead to no pod.
    pub(super) uplink: u32,
}

/// The first of the ports that are given out instead of a client's own.
const FIRST_SOURCE: u16 = 61_000;

const INVALID: Result<Outcome, DropReason> = Err(DropReason::Invalid);

pub(super) enum Outcome {
    NextWay,
    HandedOver([Option<Change>; 2]),
    Changed([Option<Change>; 2]),
}

impl Outcome {
    pub(super) fn of(hands_over: bool, changes: [Option<Change>; 2]) -> Self {
        match (hands_over, changes) {
            (true, changes) => Self::HandedOver(changes),
            (false, [None, None]) => Self::NextWay,
            (false, changes) => Self::Changed(changes),
        }
    }
}

impl Reference {
    /// The fate of a frame. `chosen` is what the program says it took at random, so that it can only be checked.
    ///
    /// # Errors
    /// If that is no backend, or the evaluator has no answer.
    pub(super) fn fate(&mut self, hook: Hook, frame: &[u8], chosen: Option<Chosen>) -> Result<Fate> {
        let direction = match hook {
            Hook::FromPod(_) => Direction::Egress,
            Hook::ToPod(..) => Direction::Ingress,
        };
        let drops = |reason| Fate::Drops { reason, direction };
        let packet = match read(frame, hook, &mut self.fragments) {
            Ok(packet) => packet,
            Err(reason) => return Ok(drops(reason)),
        };
        let mut beside = false;
        match packet.kind {
            Kind::Below => return Ok(goes(Outcome::NextWay, false)),
            Kind::IcmpError => {
                let is_ipv4 = packet.tuple.src.is_ipv4();
                let about = quoted(frame, packet.l4, is_ipv4).and_then(|q| self.related(hook, &packet, &q));
                if let Some(outcome) = about {
                    return Ok(goes(outcome, false));
                }
            }
            Kind::Flow => {
                if !packet.tcp_flags.is_none_or(is_sound) {
                    return Ok(drops(DropReason::Invalid));
                }
                match self.known(hook, &packet, direction, chosen)? {
                    Known::Is(fate) => return Ok(fate),
                    Known::IsNot => {}
                    Known::Beside => beside = true,
                }
            }
        }
        Ok(match self.admit(hook, &packet, direction, chosen, beside)? {
            Admitted::Refused(DropReason::NoBackend, _) if is_answered(frame, &packet) => {
                Fate::Refuses { l4: packet.l4, reset: packet.tuple.proto == proto::TCP }
            }
            Admitted::Refused(reason, direction) => Fate::Drops { reason, direction },
            Admitted::Passed => goes(Outcome::NextWay, false),
            Admitted::Opened => match self.pass(hook, &packet) {
                Ok(outcome) => goes(outcome, true),
                Err(reason) => drops(reason),
            },
        })
    }

    /// Of a packet that belongs to a connection.
    fn known(
        &mut self,
        hook: Hook,
        packet: &Read,
        direction: Direction,
        chosen: Option<Chosen>,
    ) -> Result<Known> {
        let drops = |reason, direction| Ok(Known::Is(Fate::Drops { reason, direction }));
        let Some(entry) = self.table.find(&packet.tuple) else { return Ok(Known::IsNot) };
        let answer = entry.is_answer(&packet.tuple);
        if !owns(entry, hook, answer) {
            return Ok(Known::IsNot);
        }
        let leaves = matches!(hook, Hook::FromPod(_));
        let opening = packet.tcp_flags.is_some_and(opens);
        let beside = leaves && entry.is_anothers(&packet.tuple, false);
        if beside {
            let is_over = entry.is_closed();
            let its = |entry: &&mut Entry| owns(entry, hook, false) && !(opening && entry.is_closed());
            if self.table.at(&packet.tuple, true).filter(its).is_none() {
                return Ok(if opening && is_over { Known::IsNot } else { Known::Beside });
            }
        } else if opening && (answer || entry.is_closed()) {
            return if entry.is_over() { Ok(Known::IsNot) } else { drops(DropReason::Invalid, direction) };
        }
        let none = if beside { Known::Beside } else { Known::IsNot };
        let Some(entry) = self.table.at(&packet.tuple, beside) else { return Ok(none) };
        let stale = entry.verdict.is_err() || entry.epoch != self.epoch;
        let said = chosen.map(|chosen| chosen.backend);
        if leaves && !answer && !beside && asks_anew(&self.laws, entry, packet, stale, said) {
            return Ok(none);
        }
        if stale {
            let Entry { opened: Tuple { mut src, mut dst, proto }, ends, side, by_node, met_late, .. } =
                *entry;
            match side {
                Side::Plain => {}
                Side::Front { backend, .. } => dst = backend,
                Side::Back { client, .. } => src = client,
            }
            let now =
                Ends { initiator: self.laws.interface(src.ip()), responder: self.laws.interface(dst.ip()) };
            if now != ends {
                return Ok(none);
            }
            let mut verdict = match by_node {
                true => Ok(()),
                false => self.laws.allows(ends, src.ip(), dst, proto)?,
            };
            if verdict.is_err() && met_late {
                let other_way = self.laws.allows(exchanged(ends), dst.ip(), src, proto)?;
                verdict = other_way.or(verdict);
            }
            (entry.verdict, entry.epoch) = (verdict, self.epoch);
            if let Err(denier) = verdict {
                return drops(DropReason::Policy, denier);
            }
        }
        Ok(Known::Is(match self.pass(hook, packet) {
            Ok(outcome) => goes(outcome, false),
            Err(reason) => Fate::Drops { reason, direction },
        }))
    }

    /// A packet of a connection that is allowed.
    fn pass(&mut self, hook: Hook, packet: &Read) -> Result<Outcome, DropReason> {
        let Some(entry) = self.table.find(&packet.tuple) else { return INVALID };
        let answer = entry.is_answer(&packet.tuple);
        if !owns(entry, hook, answer) {
            return INVALID;
        }
        let leaves = matches!(hook, Hook::FromPod(_));
        let beside = leaves && entry.is_anothers(&packet.tuple, false);
        let Some(&mut entry) = self.table.at(&packet.tuple, beside) else { return INVALID };
        if packet.tuple.proto == proto::TCP {
            self.table.follow(&packet.tuple, beside, packet.tcp_flags.unwrap_or(0));
        }
        let (_, receiver) = entry.interfaces(answer);
        let hands_over = leaves && receiver != 0;
        let checksum = packet.l4 + if packet.tuple.proto == proto::TCP { 16 } else { 6 };
        let place = Place::Itself { l4: packet.l4, checksum: packet.has_header.then_some(checksum) };
        let Tuple { src, dst, .. } = packet.tuple;
        let source = |new| change(place, true, src, new);
        let destination = |new| change(place, false, dst, new);
        let changes = match (entry.side, leaves, answer) {
            (Side::Plain, ..) | (Side::Back { .. }, false, false) => [None, None],
            (Side::Front { backend, seen_as }, true, false) => [destination(backend), source(seen_as)],
            (Side::Front { .. }, ..) | (Side::Back { .. }, true, false) => return INVALID,
            // Answers get their address where they are handed to the client.
            (Side::Back { service, client }, _, true) if hands_over || !leaves => {
                [source(service), destination(client)]
            }
            (Side::Back { .. }, _, true) => [None, None],
        };
        Ok(Outcome::of(hands_over, changes))
    }

    /// Whether nobody can be behind the interface who has not been seen yet.
    pub(super) fn is_accounted_for(&self, ingress: u32) -> bool {
        ingress == 0 || ingress == self.uplink || self.laws.is_ready(ingress)
    }

    /// A packet without a connection.
    fn admit(
        &mut self,
        hook: Hook,
        packet: &Read,
        direction: Direction,
        chosen: Option<Chosen>,
        beside: bool,
    ) -> Result<Admitted> {
        let refused = |reason, direction| Ok(Admitted::Refused(reason, direction));
        let Tuple { src, mut dst, proto } = packet.tuple;
        let (here, ingress) = match hook {
            Hook::FromPod(here) => (here, None),
            Hook::ToPod(here, ingress) => (here, Some(ingress)),
        };
        if !self.laws.is_ready(here) {
            return refused(DropReason::Pending, direction);
        }
        let sender = self.laws.interface(src.ip());
        let spoofed = match ingress {
            None => sender != here,
            Some(ingress) => sender != 0 && ingress != 0 && ingress != sender,
        };
        if spoofed {
            return refused(DropReason::Spoofed, direction);
        }
        if sender == 0 && ingress.is_some_and(|ingress| !self.is_accounted_for(ingress)) {
            return refused(DropReason::Pending, direction);
        }
        let by_node = ingress == Some(0);
        let met_late = proto == proto::TCP && !packet.tcp_flags.is_some_and(opens);
        let backends = if ingress.is_none() && !beside { self.laws.backends(dst, proto) } else { None };
        let service = backends.is_some().then_some(dst);
        if let Some(backends) = backends {
            if backends.is_empty() {
                let elsewhere = self.laws.answers_elsewhere(dst, proto);
                let reason = if elsewhere { DropReason::NoLocalBackend } else { DropReason::NoBackend };
                return refused(reason, direction);
            }
            if met_late {
                return refused(DropReason::MidFlow, direction);
            }
            let is_one = chosen.map(|chosen| chosen.backend).filter(|backend| backends.contains(backend));
            ensure!(is_one.is_some(), "{chosen:?} is no backend of {dst}: {backends:?}");
            dst = is_one.unwrap_or(dst);
        }
        if ingress.is_none() && service.is_none() && self.laws.is_a_services(dst.ip()) {
            return refused(DropReason::NoBackend, direction);
        }
        let ends = match ingress {
            None => Ends { initiator: here, responder: self.laws.interface(dst.ip()) },
            Some(_) => Ends { initiator: if by_node { 0 } else { sender }, responder: here },
        };
        let mut entry = Entry::new(packet.tuple, ends, self.epoch);
        (entry.met_late, entry.by_node) = (met_late, by_node);
        if beside && met_late {
            return refused(DropReason::Collision, direction);
        }
        if met_late {
            return self.admit_late(packet, entry, direction);
        }
        if !by_node && let Err(denier) = self.laws.allows(ends, src.ip(), dst, proto)? {
            return refused(DropReason::Policy, denier);
        }
        if let Some(service) = service.or(beside.then_some(dst)) {
            let side = Side::Back { service, client: src };
            // A pod that is its own backend sees the Service.
            let from = if ends.responder == here { service.ip() } else { src.ip() };
            let mut seen_as = SocketAddr::new(from, src.port());
            if beside || !self.is_free(Tuple { src: seen_as, dst, proto }, side, here) {
                seen_as.set_port(chosen.map_or(0, |chosen| chosen.source_port));
                ensure!(seen_as.port() >= FIRST_SOURCE, "{chosen:?}: the client's own port is taken");
                let free = self.is_free(Tuple { src: seen_as, dst, proto }, side, here);
                ensure!(free, "{chosen:?}: that port is taken as well");
            }
            entry.beside = beside;
            self.table.put(Entry { opened: Tuple { src: seen_as, dst, proto }, side, ..entry });
            entry.side = Side::Front { backend: dst, seen_as };
        }
        self.table.put(entry);
        Ok(Admitted::Opened)
    }

    /// Whether a connection through a Service, by a client behind interface `here`, may have this place of its backend's.
    fn is_free(&mut self, tuple: Tuple, side: Side, here: u32) -> bool {
        self.table
            .find(&tuple)
            .is_none_or(|old| old.is_closed() || (old.side == side && old.ends.initiator == here))
    }

    /// A TCP segment without a connection: its sender's, unless it says otherwise or the node could hide behind that.
    fn admit_late(&mut self, packet: &Read, mut entry: Entry, direction: Direction) -> Result<Admitted> {
        let Tuple { src, dst, proto } = packet.tuple;
        let tcp_flags = packet.tcp_flags.unwrap_or(0);
        let answers = tcp_flags & (SYN | ACK) == SYN | ACK;
        if answers || (entry.by_node && src.port() < dst.port()) {
            entry.ends = exchanged(entry.ends);
            entry.by_node = false;
            if self.laws.allows(entry.ends, dst.ip(), src, proto)?.is_err() {
                return Ok(Admitted::Refused(DropReason::MidFlow, direction));
            }
            entry.opened = packet.tuple.reversed();
            entry.mirrored = src == dst;
        } else if !entry.by_node
            && let Err(denier) = self.laws.allows(entry.ends, src.ip(), dst, proto)?
        {
            return Ok(Admitted::Refused(DropReason::MidFlow, denier));
        }
        if tcp_flags & RST != 0 {
            return Ok(Admitted::Passed);
        }
        self.table.put(entry);
        Ok(Admitted::Opened)
    }
}

/// Whether a packet is of a connection.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Known {
    Is(Fate),
    IsNot,
    /// It is of none, and another one's entry stands under its tuple.
    Beside,
}

enum Admitted {
    Opened,
    /// Leaves nothing behind.
    Passed,
    Refused(DropReason, Direction),
}

fn exchanged(Ends { initiator, responder }: Ends) -> Ends {
    Ends { initiator: responder, responder: initiator }
}

/// Whether the packet comes from, or goes to, the interface that the connection names for that end.
fn owns(entry: &Entry, hook: Hook, answer: bool) -> bool {
    let (sender, receiver) = entry.interfaces(answer);
    match hook {
        Hook::FromPod(here) => sender == here,
        Hook::ToPod(here, ingress) => {
            let from_there = match sender {
                0 => !entry.by_node || answer || ingress == 0,
                pod => pod == ingress,
            };
            receiver == here && from_there
        }
    }
}

fn goes(outcome: Outcome, opens: bool) -> Fate {
    let (handed_over, changes) = match outcome {
        Outcome::NextWay => (false, [None, None]),
        Outcome::HandedOver(changes) => (true, changes),
        Outcome::Changed(changes) => (false, changes),
    };
    Fate::Goes { handed_over, opens, changes }
}

pub(super) fn change(at: Place, source: bool, old: SocketAddr, new: SocketAddr) -> Option<Change> {
    (old != new).then_some(Change { at, source, old, new })
}
