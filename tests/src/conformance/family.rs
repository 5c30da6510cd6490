use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy};

/// The address family that a suite is run in. Cases are written for IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// As written.
    V4,
    /// Pod addresses and blocks are carried over to IPv6, except `0.0.0.0/0`: everything of one family is nothing of the
    /// other.
    V6,
}

impl Family {
    /// The pod's address in this family: 10.244.1.43 becomes `fd00:a:f4:1::2b`.
    #[must_use]
    pub fn address(self, written: Ipv4Addr) -> IpAddr {
        match self {
            Self::V4 => written.into(),
            Self::V6 => carry(written).into(),
        }
    }

    /// The policy with its blocks in this family.
    #[must_use]
    pub fn policy(self, written: &NetworkPolicy) -> NetworkPolicy {
        let mut policy = written.clone();
        if self == Self::V4 {
            return policy;
        }
        for block in blocks(&mut policy) {
            block.cidr = carry_block(&block.cidr);
            for except in block.except.iter_mut().flatten() {
                *except = carry_block(except);
            }
        }
        policy
    }

    /// Whether the truth that a case states is not this family's: it names a block that means everything of the other.
    #[must_use]
    pub fn flips(self, policy: &NetworkPolicy) -> bool {
        self == Self::V6 && blocks(&mut policy.clone()).iter().any(|block| block.cidr == "0.0.0.0/0")
    }
}

fn blocks(policy: &mut NetworkPolicy) -> Vec<&mut IPBlock> {
    let Some(spec) = &mut policy.spec else { return Vec::new() };
    let from = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.from.as_mut());
    let to = spec.egress.iter_mut().flatten().filter_map(|rule| rule.to.as_mut());
    from.chain(to).flatten().filter_map(|peer| peer.ip_block.as_mut()).collect()
}

/// Each byte gets a group of its own, the last one the last group, so that a prefix of whole bytes stays one.
fn carry(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets().map(u16::from);
    Ipv6Addr::new(0xfd00, a, b, c, 0, 0, 0, d)
}

/// A block that does not parse stays as it is: some cases are about that.
fn carry_block(text: &str) -> String {
    let Ok(IpNet::V4(net)) = text.parse() else { return text.into() };
    match Ipv6Net::new(carry(net.addr()), carry_len(net)) {
        Ok(carried) if net.prefix_len() > 0 => carried.to_string(),
        _ => text.into(),
    }
}

/// Bit n of the IPv4 address lies in the low half of a 16-bit group: see [`carry`].
fn carry_len(net: Ipv4Net) -> u8 {
    match net.prefix_len() {
        len @ 0..=8 => 24 + len,
        len @ 9..=16 => 32 + len,
        len @ 17..=24 => 40 + len,
        len => 96 + len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_contains_the_same_addresses_in_both_families() {
        let addresses = [
            "10.244.3.43",
            "10.244.3.31",
            "10.244.3.32",
            "10.244.2.43",
            "10.245.3.43",
            "11.0.0.1",
            "0.0.0.1",
        ];
        for len in 1..=32 {
            let v4 = Ipv4Net::new(Ipv4Addr::new(10, 244, 3, 43), len).expect("a prefix");
            let v6: Ipv6Net = carry_block(&v4.to_string()).parse().expect("a prefix");
            for address in addresses.map(|text| text.parse::<Ipv4Addr>().expect("an address")) {
                assert_eq!(v4.contains(&address), v6.contains(&carry(address)), "{address} in {v4} and {v6}");
            }
        }
        assert_eq!(carry_block("0.0.0.0/0"), "0.0.0.0/0");
    }
}
