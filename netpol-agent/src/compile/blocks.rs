use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::feature::FeatureId;
use crate::model::Block;

/// The blocks that slots name, and the prefixes that their borders draw.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    by_cidr: BTreeMap<IpNet, BTreeMap<FeatureId, Block>>,
    /// How many blocks name a prefix, as their own or as an exception.
    prefixes: BTreeMap<IpNet, usize>,
    /// How many blocks there are of a length, IPv4 and IPv6: only these lengths are looked up.
    lengths: [BTreeMap<u8, usize>; 2],
}

/// Where [`Blocks::lengths`] counts a prefix.
fn counted(net: &IpNet) -> (usize, u8) {
    (usize::from(net.addr().is_ipv6()), net.prefix_len())
}

impl Blocks {
    pub(super) fn insert(&mut self, id: FeatureId, block: &Block) {
        self.by_cidr.entry(block.cidr).or_default().insert(id, block.clone());
        let (family, length) = counted(&block.cidr);
        *self.lengths[family].entry(length).or_default() += 1;
        for prefix in borders(block) {
            *self.prefixes.entry(prefix).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, id: FeatureId, block: &Block) {
        if let Some(blocks) = self.by_cidr.get_mut(&block.cidr) {
            blocks.remove(&id);
            if blocks.is_empty() {
                self.by_cidr.remove(&block.cidr);
            }
        }
        let (family, length) = counted(&block.cidr);
        release(&mut self.lengths[family], length);
        for prefix in borders(block) {
            release(&mut self.prefixes, prefix);
        }
    }

    /// Whether some block names this prefix.
    pub(super) fn names(&self, prefix: &IpNet) -> bool {
        self.prefixes.contains_key(prefix)
    }

    /// The blocks that contain the whole of a prefix, which is an address or one that some block names: no border of a
    /// block then lies inside it unless it is named too and longer.
    pub(super) fn covering(&self, prefix: &IpNet) -> BTreeSet<FeatureId> {
        let mut found = BTreeSet::new();
        for length in self.lengths[usize::from(prefix.addr().is_ipv6())].keys() {
            let Some(outer) = widen(prefix, *length) else { continue };
            let blocks = self.by_cidr.get(&outer).into_iter().flatten();
            found.extend(blocks.filter(|(_, b)| b.covers(prefix)).map(|(id, _)| *id));
        }
        found
    }

    /// Named prefixes inside a block, with its own.
    pub(super) fn inside(&self, outer: &IpNet) -> Vec<IpNet> {
        // Prefixes are sorted by address, then length: from the block on, all that lie inside follow one another.
        let last = outer.broadcast();
        let range = self.prefixes.range(*outer..).map(|(prefix, _)| *prefix);
        range.take_while(|prefix| prefix.addr() <= last).collect()
    }
}

/// A prefix as a range of addresses.
pub(super) fn range(net: &IpNet) -> (IpAddr, IpAddr) {
    (net.network(), net.broadcast())
}

/// The prefixes whose addresses a block treats differently.
pub(super) fn borders(block: &Block) -> impl Iterator<Item = IpNet> {
    std::iter::once(block.cidr).chain(block.except.iter().copied())
}

/// The prefix of `length` around another; `None` if that is longer.
fn widen(prefix: &IpNet, length: u8) -> Option<IpNet> {
    if length > prefix.prefix_len() {
        return None;
    }
    let addr = match prefix.addr() {
        IpAddr::V4(a) => Ipv4Addr::from(a.to_bits() & mask(u32::MAX.into(), 32, length) as u32).into(),
        IpAddr::V6(a) => Ipv6Addr::from(a.to_bits() & mask(u128::MAX, 128, length)).into(),
    };
    IpNet::new(addr, length).ok()
}

fn mask(all: u128, bits: u8, length: u8) -> u128 {
    if length == 0 { 0 } else { all >> (bits - length) << (bits - length) }
}

fn release<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let std::collections::btree_map::Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}
