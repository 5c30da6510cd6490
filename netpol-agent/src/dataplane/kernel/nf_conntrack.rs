//! The connections that the node's own netfilter follows (nf_conntrack, read by ctnetlink).

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::Nla;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{
        ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Status, Tuple,
    },
};
use netpol_common::{conntrack::flags, net::proto};

use super::netlink::{Netlink, NetlinkError};

/// `enum ctattr_l4proto`: the identifier of an ICMP and an ICMPv6 echo, and their types.
const ICMP_ID: u16 = 4;
const ICMP_TYPE: u16 = 5;
const ICMPV6_ID: u16 = 7;
const ICMPV6_TYPE: u16 = 8;
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;

/// `enum tcp_conntrack`
const SYN_RECV: u8 = 2;
const LAST_ACK: u8 = 6;
const TIME_WAIT: u8 = 7;
const CLOSE: u8 = 8;
/// `IP_CT_TCP_FLAG_CLOSE_INIT`: this end has sent its FIN.
const CLOSE_INIT: u8 = 0x04;
/// `IP_CT_TCP_FLAG_BE_LIBERAL`: set for both ends where a connection was met in its middle.
const BE_LIBERAL: u8 = 0x08;

/// Source and destination of a packet from initiator to responder. Ports are those of
/// [`CtKey4`](netpol_common::conntrack::CtKey4), in host order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

impl Way {
    const fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// A connection that netfilter follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) protocol: u8,
    /// As the initiator sends it.
    pub(super) sent: Way,
    /// As the responder receives it: something else where the node translates.
    pub(super) received: Way,
    /// Bits of [`flags`]: how far it is.
    pub(super) state: u32,
}

/// Shows `look` every connection of the network namespace that the calling thread is in and that is not over.
pub(super) fn walk(mut look: impl FnMut(Known)) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::open_netfilter()?;
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let message = NetfilterMessage::new(header, ConntrackMessage::Get(Vec::new()));
    netlink.walk("list the node's connections", message, |answer| {
        if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = answer.inner
            && let Some(known) = decode(&attributes)
        {
            look(known);
        }
    })
}

/// `None`: it is over, or of a kind that the packet path does not know as a connection.
fn decode(attributes: &[ConntrackAttribute]) -> Option<Known> {
    let (mut sent, mut answered, mut status, mut tcp) = (None, None, Status::empty(), None);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => sent = way(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => answered = way(tuple),
            ConntrackAttribute::CtaStatus(bits) => status = *bits,
            ConntrackAttribute::CtaProtoInfo(infos) => {
                tcp = infos.iter().find_map(|info| match info {
                    ProtoInfo::TCP(info) => Some(info.as_slice()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let ((protocol, sent), (_, answered)) = (sent?, answered?);
    if status.contains(Status::Dying) {
        return None;
    }
    let mut state = if status.contains(Status::SeenReply) { flags::REPLIED } else { 0 };
    if protocol == proto::TCP {
        state |= tcp_state(tcp.unwrap_or_default())?;
    }
    let received = match protocol {
        // Not the ports but the asking end's identifier is in both tuples.
        proto::ICMP | proto::ICMPV6 => Way {
            from: SocketAddr::new(answered.to.ip(), answered.from.port()),
            to: SocketAddr::new(answered.from.ip(), 0),
        },
        _ => answered.back(),
    };
    Some(Known { protocol, sent, received, state })
}

fn way(tuple: &[Tuple]) -> Option<(u8, Way)> {
    let (mut from, mut to): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    let (mut protocol, mut sport, mut dport, mut echo) = (None, 0, 0, None);
    for part in tuple {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(addr) => from = Some(*addr),
                        IPTuple::DestinationAddress(addr) => to = Some(*addr),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(number) => protocol = Some(u8::from(*number)),
                        ProtoTuple::SourcePort(port) => sport = *port,
                        ProtoTuple::DestinationPort(port) => dport = *port,
                        ProtoTuple::Other(nla) => {
                            let mut value = vec![0; nla.value_len()];
                            nla.emit_value(&mut value);
                            match (nla.kind(), value.as_slice()) {
                                (ICMP_ID | ICMPV6_ID, [high, low]) => {
                                    sport = u16::from_be_bytes([*high, *low]);
                                }
                                (ICMP_TYPE | ICMPV6_TYPE, [kind]) => echo = Some(*kind),
                                _ => {}
                            }
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let protocol = protocol?;
    match protocol {
        proto::TCP | proto::UDP | proto::SCTP => {}
        // 0 and 129 answer them.
        proto::ICMP if matches!(echo?, ECHO | 0) => dport = 0,
        proto::ICMPV6 if matches!(echo?, ECHO_V6 | 129) => dport = 0,
        proto::ICMP | proto::ICMPV6 => return None,
        _ => (sport, dport) = (0, 0),
    }
    Some((protocol, Way { from: SocketAddr::new(from?, sport), to: SocketAddr::new(to?, dport) }))
}

/// The bits of [`flags`] for a TCP connection, `None` if it is over.
fn tcp_state(info: &[ProtoInfoTCP]) -> Option<u32> {
    let (mut state, mut original, mut reply) = (0, 0, 0);
    for part in info {
        match part {
            ProtoInfoTCP::State(number) => state = *number,
            ProtoInfoTCP::OriginalFlags(bits) => original = bits.flags,
            ProtoInfoTCP::ReplyFlags(bits) => reply = bits.flags,
            _ => {}
        }
    }
    if matches!(state, TIME_WAIT | CLOSE) {
        return None;
    }
    let mut bits = 0;
    if (SYN_RECV + 1..=LAST_ACK).contains(&state) {
        bits |= flags::ESTABLISHED;
    }
    for (end, has_closed) in [(original, flags::FIN_ORIG), (reply, flags::FIN_REPLY)] {
        if end & CLOSE_INIT != 0 {
            bits |= has_closed;
        }
    }
    if original & reply & BE_LIBERAL != 0 {
        bits |= flags::MID_FLOW;
    }
    (!flags::closed(bits)).then_some(bits)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DefaultNla, NlaBuffer, Parseable};
    use netlink_packet_netfilter::conntrack::TCPFlags;

    use super::*;

    fn tuple(protocol: u8, from: &str, to: &str) -> Vec<Tuple> {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        vec![
            Tuple::Ip(vec![IPTuple::SourceAddress(from.ip()), IPTuple::DestinationAddress(to.ip())]),
            Tuple::Proto(vec![
                ProtoTuple::Protocol(protocol.into()),
                ProtoTuple::SourcePort(from.port()),
                ProtoTuple::DestinationPort(to.port()),
            ]),
        ]
    }

    fn connection(protocol: u8, status: Status, tcp: Vec<ProtoInfoTCP>) -> Vec<ConntrackAttribute> {
        vec![
            ConntrackAttribute::CtaTupleOrig(tuple(protocol, "10.0.0.1:4000", "10.96.0.1:80")),
            ConntrackAttribute::CtaTupleReply(tuple(protocol, "10.0.0.2:8080", "10.0.0.1:4000")),
            ConntrackAttribute::CtaStatus(status),
            ConntrackAttribute::CtaProtoInfo(vec![ProtoInfo::TCP(tcp)]),
        ]
    }

    fn tcp(state: u8, original: u8, reply: u8) -> Vec<ProtoInfoTCP> {
        vec![
            ProtoInfoTCP::State(state),
            ProtoInfoTCP::OriginalFlags(TCPFlags::parse(&[original, 0]).unwrap()),
            ProtoInfoTCP::ReplyFlags(TCPFlags::parse(&[reply, 0]).unwrap()),
        ]
    }

    #[test]
    fn a_translated_connection_is_known_by_both_ways() {
        let known = decode(&connection(proto::UDP, Status::SeenReply, Vec::new())).unwrap();
        assert_eq!(known.protocol, proto::UDP);
        assert_eq!(known.state, flags::REPLIED);
        assert_eq!(
            (known.sent.from, known.sent.to),
            ("10.0.0.1:4000".parse().unwrap(), "10.96.0.1:80".parse().unwrap())
        );
        assert_eq!(
            (known.received.from, known.received.to),
            ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:8080".parse().unwrap())
        );
    }

    #[test]
    fn what_is_over_is_left_and_what_is_not_keeps_its_state() {
        const OPEN: u32 = flags::REPLIED | flags::ESTABLISHED;
        let state = |tcp| decode(&connection(proto::TCP, Status::SeenReply, tcp)).map(|known| known.state);
        assert_eq!(state(tcp(1, 0, 0)), Some(flags::REPLIED), "SYN_SENT");
        assert_eq!(state(tcp(SYN_RECV, 0, 0)), Some(flags::REPLIED));
        assert_eq!(state(tcp(3, 0x23, 0x23)), Some(OPEN), "ESTABLISHED");
        assert_eq!(state(tcp(4, CLOSE_INIT, 0)), Some(OPEN | flags::FIN_ORIG), "FIN_WAIT");
        assert_eq!(state(tcp(5, 0, CLOSE_INIT)), Some(OPEN | flags::FIN_REPLY), "CLOSE_WAIT");
        assert_eq!(state(tcp(3, BE_LIBERAL, BE_LIBERAL)), Some(OPEN | flags::MID_FLOW), "picked up");
        for over in [tcp(TIME_WAIT, 0, 0), tcp(CLOSE, 0, 0), tcp(LAST_ACK, CLOSE_INIT, CLOSE_INIT)] {
            assert_eq!(state(over.clone()), None, "{over:?}");
        }
        assert_eq!(decode(&connection(proto::UDP, Status::Dying, Vec::new())), None);
    }

    /// An attribute as it lies on the wire.
    fn other(kind: u16, value: &[u8]) -> ProtoTuple {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        ProtoTuple::Other(DefaultNla::parse(&NlaBuffer::new(&bytes)).unwrap())
    }

    #[test]
    fn an_echo_is_known_by_its_identifier() {
        let echo = |from: &str, to: &str, kind: u8| {
            let address = |text: &str| -> IpAddr { text.parse().unwrap() };
            vec![
                Tuple::Ip(vec![
                    IPTuple::SourceAddress(address(from)),
                    IPTuple::DestinationAddress(address(to)),
                ]),
                Tuple::Proto(vec![
                    ProtoTuple::Protocol(proto::ICMPV6.into()),
                    other(ICMPV6_ID, &[0x12, 0x34]),
                    other(ICMPV6_TYPE, &[kind]),
                ]),
            ]
        };
        let attributes = |kind| {
            vec![
                ConntrackAttribute::CtaTupleOrig(echo("fd00::1", "fd00::2", kind)),
                ConntrackAttribute::CtaTupleReply(echo("fd00::2", "fd00::1", 129)),
            ]
        };
        let known = decode(&attributes(ECHO_V6)).unwrap();
        let expected = Way { from: "[fd00::1]:4660".parse().unwrap(), to: "[fd00::2]:0".parse().unwrap() };
        assert_eq!((known.sent, known.received), (expected, expected));
        assert_eq!(decode(&attributes(135)), None, "neighbour discovery is no connection");
    }
}
