//! From a connection that the node's netfilter follows to entries of the connection tables. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use netpol_common::{
    conntrack::{CtEntry, CtKey4, CtKey6, Judged, Tuple, flags},
    net::{Address, Be16, V4, V6},
    policy::RuleId,
};

use super::{
    connections::ConnectionKey,
    nf_conntrack::{Known, Way},
};

/// Whose addresses are whose, when programs are about to be attached for the first time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ends {
    pods: BTreeMap<IpAddr, Pod>,
    /// Of the node itself.
    node: BTreeSet<IpAddr>,
}

/// A pod of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pod {
    pub(super) ifindex: u32,
    /// It has no programs yet.
    pub(super) newcomer: bool,
}

/// What entries are dated with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment {
    /// Low bits of the kernel's jiffies.
    pub(super) now: u32,
    /// [`Config::epoch`](netpol_common::config::Config::epoch).
    pub(super) epoch: u32,
}

/// An entry, and the newcomer it belongs to.
pub(super) struct Inherited {
    pub(super) key: ConnectionKey,
    pub(super) entry: CtEntry,
    pub(super) ifindex: u32,
}

impl Ends {
    pub(super) fn add_pod(&mut self, pod: Pod, addresses: impl IntoIterator<Item = IpAddr>) {
        self.pods.extend(addresses.into_iter().map(|addr| (addr, pod)));
    }

    pub(super) fn add_node(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.node.extend(addresses);
    }

    fn pod(&self, end: SocketAddr) -> Option<Pod> {
        self.pods.get(&end.ip()).copied()
    }

    /// The entries of a connection of which a newcomer is an end: one, or where the node translates one for each end that
    /// is a pod of this node, since they see it under different addresses.
    pub(super) fn inherit(&self, known: &Known, moment: Moment) -> Vec<Inherited> {
        let (initiator, responder) = (self.pod(known.sent.from), self.pod(known.received.to));
        let Some(newcomer) = [initiator, responder].into_iter().flatten().find(|pod| pod.newcomer) else {
            return Vec::new();
        };
        // A connection with a pod whose policy is in force already may be one that this policy denies: it is judged before
        // its next packet passes. With newcomers only, nothing was ever denied; it goes on until all policy is in place.
        let judged = [initiator, responder].into_iter().flatten().all(|pod| pod.newcomer);
        let epoch = if judged { moment.epoch } else { moment.epoch.wrapping_sub(1) };
        let of_node = if self.node.contains(&known.sent.from.ip()) { flags::NODE } else { 0 };
        let index = |pod: Option<Pod>| pod.map_or(0, |pod| pod.ifindex);
        let entry = CtEntry {
            rule_egress: RuleId::ELSEWHERE,
            rule_ingress: RuleId::ELSEWHERE,
            judged: Judged::allowed(epoch),
            last_seen: moment.now,
            opened: moment.now,
            if_orig: index(initiator),
            if_reply: index(responder),
            flags: known.state | of_node,
            ..CtEntry::default()
        };
        let make = |way, entry| row(way, known.protocol, entry);
        let rows = if known.sent == known.received {
            vec![make(known.sent, entry)]
        } else {
            let translated = CtEntry {
                flags: entry.flags | flags::NODE_NAT,
                nat_addr: words(known.received.to.ip()),
                nat_port: Be16::from_host(known.received.to.port()),
                ..entry
            };
            // The initiator's packets go to the node, whatever becomes of them there.
            let sent = initiator.map(|_| make(known.sent, CtEntry { if_reply: 0, ..translated }));
            let source = index(self.pod(known.received.from));
            let received = responder.map(|_| make(known.received, CtEntry { if_orig: source, ..translated }));
            sent.into_iter().chain(received).collect()
        };
        rows.into_iter()
            .flatten()
            .map(|(key, entry)| Inherited { key, entry, ifindex: newcomer.ifindex })
            .collect()
    }
}

/// `None` for a way from one family to the other, which no packet goes.
fn row(way: Way, protocol: u8, entry: CtEntry) -> Option<(ConnectionKey, CtEntry)> {
    let (sport, dport) = (Be16::from_host(way.from.port()), Be16::from_host(way.to.port()));
    match (way.from.ip(), way.to.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let tuple = Tuple { src: V4::from(src), dst: V4::from(dst), sport, dport, proto: protocol };
            Some((ConnectionKey::V4(CtKey4::of(&tuple)), directed(&tuple, entry)))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let tuple = Tuple { src: V6::from(src), dst: V6::from(dst), sport, dport, proto: protocol };
            Some((ConnectionKey::V6(CtKey6::of(&tuple)), directed(&tuple, entry)))
        }
        _ => None,
    }
}

fn directed<A: Address>(tuple: &Tuple<A>, entry: CtEntry) -> CtEntry {
    CtEntry { flags: entry.flags | tuple.order(), ..entry }
}

fn words(addr: IpAddr) -> [u32; 4] {
    match addr {
        IpAddr::V4(addr) => V4::from(addr).to_words(),
        IpAddr::V6(addr) => V6::from(addr).to_words(),
    }
}

#[cfg(test)]
mod tests {
    use netpol_common::net::proto;

    use super::*;

    const MOMENT: Moment = Moment { now: 77, epoch: 5 };

    fn ends() -> Ends {
        let mut ends = Ends::default();
        let addr = |text: &str| text.parse::<IpAddr>().unwrap();
        ends.add_pod(Pod { ifindex: 10, newcomer: true }, [addr("10.0.0.1"), addr("fd00::1")]);
        ends.add_pod(Pod { ifindex: 20, newcomer: true }, [addr("10.0.0.2")]);
        ends.add_pod(Pod { ifindex: 30, newcomer: false }, [addr("10.0.0.3")]);
        ends.add_node([addr("172.18.0.1")]);
        ends
    }

    fn way(from: &str, to: &str) -> Way {
        Way { from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    fn inherit(sent: Way, received: Way) -> Vec<Inherited> {
        ends().inherit(&Known { protocol: proto::UDP, sent, received, state: flags::REPLIED }, MOMENT)
    }

    /// Who opened an entry's connection and to whom, as the entry tells it.
    fn opened(row: &Inherited) -> (SocketAddr, SocketAddr) {
        match row.key {
            ConnectionKey::V4(key) => {
                let tuple = key.tuple(row.entry.flags);
                let addr = |addr: V4, port: Be16| SocketAddr::new(IpAddr::V4(addr.into()), port.to_host());
                (addr(tuple.src, tuple.sport), addr(tuple.dst, tuple.dport))
            }
            ConnectionKey::V6(key) => {
                let tuple = key.tuple(row.entry.flags);
                let addr = |addr: V6, port: Be16| SocketAddr::new(IpAddr::V6(addr.into()), port.to_host());
                (addr(tuple.src, tuple.sport), addr(tuple.dst, tuple.dport))
            }
        }
    }

    #[test]
    fn an_entry_tells_who_opened_it_in_either_order_of_addresses() {
        for (from, to, if_orig, if_reply) in [
            ("10.0.0.1:4000", "10.0.0.9:53", 10, 0),
            ("10.0.0.9:4000", "10.0.0.1:53", 0, 10),
            ("10.0.0.2:4000", "10.0.0.1:53", 20, 10),
            ("[fd00::1]:4000", "[fd00::9]:53", 10, 0),
            ("[fd00::9]:4000", "[fd00::1]:53", 0, 10),
        ] {
            let way = way(from, to);
            let rows = inherit(way, way);
            let [row] = rows.as_slice() else { panic!("{from} → {to}: {} entries", rows.len()) };
            assert_eq!(opened(row), (way.from, way.to), "{from} → {to}");
            assert_eq!((row.entry.if_orig, row.entry.if_reply), (if_orig, if_reply), "{from} → {to}");
            assert_eq!(row.entry.flags & !flags::FROM_HIGH, flags::REPLIED, "{from} → {to}");
            assert_eq!((row.entry.judged, row.entry.last_seen), (Judged::allowed(5), 77), "{from} → {to}");
        }
    }

    #[test]
    fn connections_of_no_newcomer_are_not_touched() {
        for (from, to) in [("10.0.0.3:4000", "10.0.0.9:53"), ("10.0.0.8:4000", "10.0.0.9:53")] {
            let way = way(from, to);
            assert!(inherit(way, way).is_empty(), "{from} → {to}");
        }
    }

    #[test]
    fn a_connection_with_a_pod_whose_policy_is_in_force_is_judged_first() {
        for (from, to) in [("10.0.0.1:4000", "10.0.0.3:53"), ("10.0.0.3:4000", "10.0.0.1:53")] {
            let way = way(from, to);
            assert_eq!(inherit(way, way)[0].entry.judged, Judged::allowed(4), "{from} → {to}");
        }
    }

    #[test]
    fn what_the_node_opened_is_known_by_its_address() {
        let way = way("172.18.0.1:4000", "10.0.0.1:53");
        assert_eq!(inherit(way, way)[0].entry.flags & flags::NODE, flags::NODE);
    }

    #[test]
    fn each_end_of_a_translated_connection_has_an_entry_that_leaves_translation_to_the_node() {
        let sent = way("10.0.0.1:4000", "10.96.0.1:53");
        let received = way("10.0.0.1:4000", "10.0.0.2:1053");
        let rows = inherit(sent, received);
        assert_eq!(
            rows.iter().map(opened).collect::<Vec<_>>(),
            [(sent.from, sent.to), (received.from, received.to)]
        );
        assert_eq!(
            rows.iter().map(|row| (row.entry.if_orig, row.entry.if_reply)).collect::<Vec<_>>(),
            [(10, 0), (10, 20)]
        );
        for row in &rows {
            assert_eq!(row.entry.flags & (flags::NODE_NAT | flags::FRONT | flags::BACK), flags::NODE_NAT);
            assert_eq!(row.entry.nat_addr, V4::from(std::net::Ipv4Addr::new(10, 0, 0, 2)).to_words());
            assert_eq!(row.entry.nat_port.to_host(), 1053);
        }
        // Backends elsewhere, clients elsewhere, and a pod behind the node's own address.
        assert_eq!(inherit(sent, way("10.0.0.1:4000", "10.0.1.2:1053")).len(), 1);
        assert_eq!(
            inherit(way("9.9.9.9:4000", "172.18.0.1:30053"), way("172.18.0.1:4000", "10.0.0.2:53")).len(),
            1
        );
        assert_eq!(
            inherit(way("10.0.0.1:4000", "9.9.9.9:53"), way("172.18.0.1:4000", "9.9.9.9:53")).len(),
            1
        );
    }
}
