//! Base chains of nftables, which iptables writes too in most distributions. Layouts are those of
//! include/uapi/linux/netfilter/nf_tables.h.

use std::io;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::{
    super::netlink::{Netlink, NetlinkError},
    Found, Obstacle,
};

/// `NFNL_SUBSYS_NFTABLES`
const SUBSYSTEM: u16 = 10 << 8;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
/// `NFNLGRP_NFTABLES`: every change is told there.
const GROUP: u32 = 7;

/// `enum nft_chain_attributes`
const TABLE: u16 = 1;
const NAME: u16 = 3;
const HOOK: u16 = 4;
const POLICY: u16 = 5;
const USE: u16 = 6;
/// `NFTA_HOOK_HOOKNUM`
const HOOK_NUMBER: u16 = 1;
/// The bits of an attribute's type that are none of it (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE: u16 = 0x3fff;
/// `NF_DROP`
const DROP: u32 = 0;

/// `enum nf_inet_hooks`: what is for the node itself, or from it.
const INPUT: u32 = 1;
const OUTPUT: u32 = 3;

/// A question, or a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Message {
    List,
    Chain(Chain),
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Chain {
    /// `NFPROTO_…`
    family: u8,
    table: String,
    name: String,
    /// Absent: packets come here from other chains only.
    hook: Option<u32>,
    drops: bool,
    /// Rules of a base chain: nothing else can refer to it.
    uses: u32,
}

/// What is known, and how to hear that it has changed.
pub(super) struct Nftables {
    /// Or why there is none.
    changes: io::Result<Socket>,
    known: Option<[Found; 2]>,
}

impl Nftables {
    pub(super) fn open() -> Self {
        Self { changes: subscribe(), known: None }
    }

    /// What stands in the way of IPv4 and of IPv6. Asks the kernel only if something has changed since it did.
    pub(super) fn look(&mut self) -> [Found; 2] {
        // Before the question: what changes after it is told again.
        let changed = match &self.changes {
            Ok(changes) => drain(changes),
            // Without nfnetlink there is no nftables either.
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return [Ok(()), Ok(())],
            Err(_) => true,
        };
        match &self.known {
            Some(known) if !changed => known.clone(),
            _ => match list() {
                Ok(chains) => {
                    let found = judge(&chains);
                    self.known = Some(found.clone());
                    found
                }
                Err(error) => {
                    self.known = None;
                    let unknown = || Err(Obstacle::Unknown(format!("{error}: {}", error.source)));
                    [unknown(), unknown()]
                }
            },
        }
    }
}

fn subscribe() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    socket.add_membership(GROUP)?;
    Ok(socket)
}

/// Takes all that was told; whether that was anything. What did not fit in the buffer was something.
fn drain(changes: &Socket) -> bool {
    let mut changed = false;
    loop {
        match changes.recv_from_full() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return changed,
            Err(error)
                if error.raw_os_error() != Some(libc::ENOBUFS)
                    && error.kind() != io::ErrorKind::Interrupted =>
            {
                return true;
            }
            _ => changed = true,
        }
    }
}

fn list() -> Result<Vec<Chain>, NetlinkError> {
    let mut netlink = Netlink::<Message>::open_for(NETLINK_NETFILTER)?;
    match netlink.dump("list nftables chains", &Message::List) {
        Ok(answers) => Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                Message::Chain(chain) => Some(chain),
                Message::List => None,
            })
            .collect()),
        // A kernel without nftables.
        Err(error) if error.is(libc::EINVAL) || error.is(libc::EOPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The first chain in the way of each family. One that sees only what is for the node itself, or from it, is in nobody's.
fn judge(chains: &[Chain]) -> [Found; 2] {
    let mut found = [Ok(()), Ok(())];
    for chain in chains {
        let Some(hook) = chain.hook else { continue };
        let routed = !matches!(hook, INPUT | OUTPUT);
        let (family, concerned) = match chain.family {
            1 => ("inet", [routed, routed]),
            2 => ("ip", [routed, false]),
            5 => ("netdev", [true, true]),
            7 => ("bridge", [true, true]),
            10 => ("ip6", [false, routed]),
            // ARP, which is not routed.
            3 => continue,
            _ => ("unknown", [true, true]),
        };
        if chain.uses == 0 && !chain.drops {
            continue;
        }
        for found in found.iter_mut().zip(concerned).filter_map(|(found, is)| is.then_some(found)) {
            if found.is_ok() {
                *found = Err(Obstacle::Chain {
                    family,
                    table: chain.table.clone(),
                    chain: chain.name.clone(),
                    has_rules: chain.uses != 0,
                });
            }
        }
    }
    found
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        GET_CHAIN
    }

    fn buffer_len(&self) -> usize {
        NFGENMSG
    }

    fn serialize(&self, buffer: &mut [u8]) {
        // `NFPROTO_UNSPEC`: of all families.
        buffer.fill(0);
    }
}

/// Bytes of `struct nfgenmsg`: family, version, resource.
const NFGENMSG: usize = 4;

impl NetlinkDeserializable for Message {
    type Error = io::Error;

    fn deserialize(_header: &NetlinkHeader, payload: &[u8]) -> io::Result<Self> {
        let short = || io::Error::other("an answer is too short");
        let (head, attributes) = payload.split_at_checked(NFGENMSG).ok_or_else(short)?;
        let mut chain = Chain { family: head.first().copied().unwrap_or_default(), ..Chain::default() };
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute.map_err(io::Error::other)?;
            let value = attribute.value();
            match attribute.kind() & TYPE {
                TABLE => chain.table = text(value),
                NAME => chain.name = text(value),
                HOOK => chain.hook = Some(hook_number(value)?),
                POLICY => chain.drops = number(value)? == DROP,
                USE => chain.uses = number(value)?,
                _ => {}
            }
        }
        Ok(Self::Chain(chain))
    }
}

fn hook_number(nested: &[u8]) -> io::Result<u32> {
    for attribute in NlasIterator::new(nested) {
        let attribute = attribute.map_err(io::Error::other)?;
        if attribute.kind() & TYPE == HOOK_NUMBER {
            return number(attribute.value());
        }
    }
    Err(io::Error::other("a base chain without a hook"))
}

fn number(value: &[u8]) -> io::Result<u32> {
    let bytes = value.try_into().map_err(io::Error::other)?;
    Ok(u32::from_be_bytes(bytes))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(family: u8, hook: u32, uses: u32) -> Chain {
        Chain { family, table: "t".to_owned(), name: "c".to_owned(), hook: Some(hook), drops: false, uses }
    }

    fn in_the_way(chain: &Chain) -> [bool; 2] {
        judge(std::slice::from_ref(chain)).map(|found| found.is_err())
    }

    #[test]
    fn a_chain_with_rules_is_in_the_way_of_what_it_sees() {
        const FORWARD: u32 = 2;
        assert_eq!(in_the_way(&chain(2, FORWARD, 1)), [true, false]);
        assert_eq!(in_the_way(&chain(10, FORWARD, 1)), [false, true]);
        assert_eq!(in_the_way(&chain(1, FORWARD, 1)), [true, true]);
        for hook in [INPUT, OUTPUT] {
            assert_eq!(in_the_way(&chain(1, hook, 1)), [false, false], "only the node's own packets");
            assert_eq!(
                in_the_way(&chain(7, hook, 1)),
                [true, true],
                "a bridge's input is the way to routing"
            );
            assert_eq!(in_the_way(&chain(5, hook, 1)), [true, true], "other numbers: egress");
        }
        assert_eq!(in_the_way(&chain(2, FORWARD, 0)), [false, false], "nothing in it");
        assert_eq!(in_the_way(&Chain { drops: true, ..chain(2, FORWARD, 0) }), [true, false], "drops all");
        assert_eq!(in_the_way(&Chain { hook: None, ..chain(2, 0, 7) }), [false, false], "no base chain");
        assert_eq!(in_the_way(&chain(3, 0, 1)), [false, false], "ARP");
    }

    #[test]
    fn an_answer_of_the_kernel_is_understood() {
        // nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }', with one rule.
        fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
            let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }
        let hook = [attribute(1, &2u32.to_be_bytes()), attribute(2, &0u32.to_be_bytes())].concat();
        let payload = [
            vec![2, 0, 0, 9],
            attribute(TABLE, b"filter\0"),
            attribute(NAME, b"FORWARD\0"),
            attribute(0x8000 | HOOK, &hook),
            attribute(POLICY, &0u32.to_be_bytes()),
            attribute(USE, &1u32.to_be_bytes()),
        ]
        .concat();
        let Message::Chain(chain) = Message::deserialize(&NetlinkHeader::default(), &payload).unwrap() else {
            panic!("no chain");
        };
        let expected = Chain {
            family: 2,
            table: "filter".to_owned(),
            name: "FORWARD".to_owned(),
            hook: Some(2),
            drops: true,
            uses: 1,
        };
        assert_eq!(chain, expected);
    }
}
