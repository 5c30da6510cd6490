//! Packets that have a chance to mean something: between addresses and ports of the world, again and again, and back.

use std::net::{IpAddr, SocketAddr};

use netpol_common::net::proto;

use super::{
    mutate::mutate,
    read::{Fragments, Tuple, read},
};
use crate::packet::{
    FIN_ACK, Hook, PSH_ACK, RST, SYN, SYN_ACK, arp, echo_reply, echo_request, icmp_error, other, sctp, tcp,
    udp,
};

/// Who can be at an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    /// For a pod of this node, else 0.
    pub(super) interface: u32,
}

/// A packet that went through.
#[derive(Clone, Debug)]
struct Said {
    hook: Hook,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Makes one packet after the other.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) random: fastrand::Rng,
    places: Vec<Place>,
    services: Vec<(SocketAddr, u8)>,
    /// Interfaces that a packet can come in by: the node's own 0, the uplink, one that has just come, every pod's.
    ways_in: Vec<u32>,
    said: Vec<Said>,
}

/// Conversations that are remembered.
const MEMORY: usize = 128;
/// Where nobody lives whom a policy can name.
const NOWHERE: [&str; 12] = [
    "255.255.255.255",
    "224.0.0.251",
    "127.0.0.1",
    "0.0.0.0",
    "169.254.1.1",
    "10.0.1.99",
    "ff02::1",
    "ff02::1:2",
    "::1",
    "::",
    "fe80::1",
    "::ffff:10.0.1.1",
];
const PORTS: [u16; 10] = [53, 80, 80, 81, 90, 8080, 67, 68, 546, 547];

impl Traffic {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            places: Vec::new(),
            services: Vec::new(),
            ways_in: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Moves into a world. What was said before is remembered.
    pub(super) fn enter(&mut self, places: Vec<Place>, services: Vec<(SocketAddr, u8)>, ways_in: Vec<u32>) {
        (self.places, self.services, self.ways_in) = (places, services, ways_in);
    }

    /// Remembers a packet that went through.
    pub(super) fn went_through(&mut self, hook: Hook, before: Vec<u8>, after: Vec<u8>) {
        let said = Said { hook, before, after };
        if self.said.len() < MEMORY {
            self.said.push(said);
        } else {
            let at = self.random.usize(..MEMORY);
            self.said[at] = said;
        }
    }

    /// The next packet, and where it is seen.
    pub(super) fn next(&mut self) -> (Hook, Vec<u8>) {
        if self.random.u16(..500) == 0 {
            return (Hook::FromPod(self.ways_in[self.random.usize(1..self.ways_in.len())]), arp());
        }
        let (hook, frame) = match self.random.u8(..10) {
            0..=3 => self.opening(),
            4..=6 => self.more(true),
            7..=8 => self.more(false),
            _ => self.error(),
        };
        (hook, mutate(&mut self.random, frame))
    }

    fn place(&mut self) -> Place {
        if self.random.u8(..12) == 0 {
            let text = NOWHERE[self.random.usize(..NOWHERE.len())];
            let address = text.parse().unwrap_or(IpAddr::from([0; 4]));
            return Place { address, interface: 0 };
        }
        // Mostly those whom it is about.
        let local = self.places.iter().filter(|place| place.interface != 0).count();
        if local != 0 && self.random.u8(..5) < 3 {
            let which = self.random.usize(..local);
            let mut here = self.places.iter().filter(|place| place.interface != 0);
            return *here.nth(which).unwrap_or(&self.places[0]);
        }
        self.places[self.random.usize(..self.places.len())]
    }

    /// Somebody of the family.
    fn place_in(&mut self, ipv4: bool) -> Place {
        loop {
            let place = self.place();
            if place.address.is_ipv4() == ipv4 {
                return place;
            }
        }
    }

    fn way_in(&mut self) -> u32 {
        let which = self.random.usize(..self.ways_in.len() * 2);
        // Mostly the uplink, the second one.
        self.ways_in.get(which).copied().unwrap_or(self.ways_in[1])
    }

    /// Where a packet between these two is seen, now and then where it has no business.
    fn hook(&mut self, from: Place, to: Place) -> Hook {
        let stray = self.random.u8(..24) == 0;
        let anywhere = self.ways_in[self.random.usize(1..self.ways_in.len())];
        match (from.interface, to.interface) {
            (0, 0) => Hook::FromPod(anywhere),
            (0, to) => Hook::ToPod(to, self.way_in()),
            (from, 0) if !stray => Hook::FromPod(from),
            (from, to) if stray => Hook::ToPod(if to == 0 { from } else { to }, self.way_in()),
            (from, to) if self.random.u8(..4) == 0 => Hook::ToPod(to, from),
            (from, _) => Hook::FromPod(from),
        }
    }

    fn opening(&mut self) -> (Hook, Vec<u8>) {
        let from = self.place();
        let ipv4 = from.address.is_ipv4();
        let mut to = self.place_in(ipv4);
        let sport = match self.random.u8(..8) {
            0 => PORTS[self.random.usize(..PORTS.len())],
            _ => 40_000 + self.random.u16(..24),
        };
        let mut dport = PORTS[self.random.usize(..PORTS.len())];
        let mut proto = match self.random.u8(..16) {
            0..=7 => proto::TCP,
            8..=11 => proto::UDP,
            12 => proto::SCTP,
            13..=14 if ipv4 => proto::ICMP,
            13..=14 => proto::ICMPV6,
            _ => self.random.u8(..),
        };
        if !self.services.is_empty() && self.random.u8(..5) < 2 {
            let (service, its) = self.services[self.random.usize(..self.services.len())];
            if service.is_ipv4() == ipv4 {
                (to, dport) = (Place { address: service.ip(), interface: 0 }, service.port());
                proto = if self.random.u8(..16) == 0 { proto } else { its };
            }
        }
        let tuple = Tuple {
            src: SocketAddr::new(from.address, sport),
            dst: SocketAddr::new(to.address, if [1, 58].contains(&proto) { 0 } else { dport }),
            proto,
        };
        (self.hook(from, to), self.packet(&tuple, true))
    }

    /// More of a conversation, from the same end or the other one.
    fn more(&mut self, answer: bool) -> (Hook, Vec<u8>) {
        // Now and then a client of a Service speaks to the backend itself.
        let as_received = answer || self.random.u8(..4) == 0;
        let Some((said, mut tuple)) = self.remembered(as_received) else { return self.opening() };
        if !answer {
            return (said.hook, self.packet(&tuple, false));
        }
        tuple = tuple.reversed();
        let (from, to) = (self.at(tuple.src.ip()), self.at(tuple.dst.ip()));
        (self.hook(from, to), self.packet(&tuple, false))
    }

    /// An ICMP error about a conversation, from its other end or a router.
    fn error(&mut self) -> (Hook, Vec<u8>) {
        let as_received = self.random.bool();
        let Some((said, tuple)) = self.remembered(as_received) else { return self.opening() };
        let quoted = if as_received { &said.after } else { &said.before };
        let ipv4 = tuple.src.is_ipv4();
        let reporter = match self.random.u8(..4) {
            0 => self.place_in(ipv4),
            _ => self.at(tuple.dst.ip()),
        };
        let to = self.at(tuple.src.ip());
        let kinds: &[u8] = if ipv4 { &[3, 3, 11, 12, 4, 5] } else { &[1, 2, 3, 4, 100, 133] };
        let kind = kinds[self.random.usize(..kinds.len())];
        let rest = [0, 0, 5, self.random.u8(..)];
        let frame = icmp_error(reporter.address, to.address, kind, self.random.u8(..5), rest, quoted);
        (self.hook(reporter, to), frame)
    }

    /// A packet as it was sent, or as it was received, that could be read as it stands.
    fn remembered(&mut self, as_received: bool) -> Option<(Said, Tuple)> {
        if self.said.is_empty() {
            return None;
        }
        let said = self.said[self.random.usize(..self.said.len())].clone();
        let frame = if as_received { &said.after } else { &said.before };
        let packet = read(frame, said.hook, &mut Fragments::default()).ok()?;
        // A packet about nobody is no conversation; `icmp_error` needs the quoted header and eight bytes.
        let usual = packet.l4 + 8 <= frame.len() && packet.tuple.proto != 0;
        usual.then_some((said, packet.tuple))
    }

    fn at(&self, address: IpAddr) -> Place {
        let known = self.places.iter().find(|place| place.address == address);
        known.copied().unwrap_or(Place { address, interface: 0 })
    }

    fn packet(&mut self, tuple: &Tuple, opening: bool) -> Vec<u8> {
        let Tuple { src, dst, proto } = *tuple;
        let payload = &[0x61; 24][..self.random.usize(..=6) * 4];
        match proto {
            proto::TCP => {
                let usual = [SYN, SYN, SYN_ACK, 0x10, 0x10, PSH_ACK, PSH_ACK, FIN_ACK, FIN_ACK, RST, 0x14];
                let flags = match self.random.u8(..32) {
                    0 => self.random.u8(..),
                    _ if opening && self.random.u8(..4) != 0 => SYN,
                    _ => usual[self.random.usize(..usual.len())],
                };
                tcp(src, dst, flags, payload)
            }
            proto::UDP => udp(src, dst, payload),
            proto::SCTP => sctp(src, dst),
            proto::ICMP | proto::ICMPV6 if (proto == proto::ICMP) == src.is_ipv4() => {
                if dst.port() == 0 {
                    echo_request(src.ip(), dst.ip(), src.port())
                } else {
                    echo_reply(src.ip(), dst.ip(), dst.port())
                }
            }
            _ => {
                let bytes: Vec<u8> = (0..self.random.usize(..24)).map(|_| self.random.u8(..)).collect();
                other(src.ip(), dst.ip(), proto, &bytes)
            }
        }
    }
}
