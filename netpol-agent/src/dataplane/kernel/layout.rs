//! What each pinned map must look like. A loader takes a pinned map as it is, so it is checked before.

use std::{fs, os::fd::AsFd, path::Path};

use aya::maps::{MapData, MapError, MapInfo, MapType};
use netpol_common::{
    cluster::{ClusterRow4, ClusterRow6},
    config::Config,
    conntrack::{CtEntry, CtKey4, CtKey6},
    endpoint::EndpointRow,
    fragment::{FragKey4, FragKey6, FragRow},
    limits, names,
    net::{V4, V6},
    peer::{CidrRow, PeerRow},
    policy::{PolicyKey, PolicyRow, PortKey, RuleId},
    service::{
        AffinityRow, Backend4, Backend6, ClientKey4, ClientKey6, FrontendKey4, FrontendKey6, FrontendRow,
        MemberKey4, MemberKey6, ServiceRow,
    },
    socket::{SocketKey, SocketRow},
    stats::{self, Counter},
    uplink::UplinkRow,
    version::ABI_VERSION,
};

use super::{
    Sizes,
    bpf::{self, Pinned},
    object::pin_path,
};

const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;
/// An LPM key begins with the prefix length.
const PREFIX_LEN: usize = size_of::<u32>();

/// The shape of one map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    rows: u32,
    flags: u32,
}

/// What is wrong with a pinned map.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It has another shape.
    #[error("has {what} {found}, this agent (maps version {ABI_VERSION}) needs {wanted}")]
    Differs {
        /// What differs.
        what: &'static str,
        /// As pinned.
        found: String,
        /// As needed.
        wanted: String,
    },
    /// It is no map.
    #[error("is {0}, not a map")]
    NoMap(&'static str),
    /// It cannot be opened or asked.
    #[error("cannot be opened: {0}")]
    Unreadable(String),
    /// It is not there, and others are.
    #[error("is missing")]
    Missing,
}

/// The shape of every pinned map, in the order of [`names::PINNED`].
pub(super) fn all(sizes: &Sizes) -> [Layout; names::PINNED.len()] {
    use MapType::{Array, Hash, LpmTrie, LruHash, PerCpuArray, RingBuf};
    let map = |name, kind, key, value, rows, flags| Layout { name, kind, key, value, rows, flags };
    let prefixes = |name, data, value, rows| map(name, LpmTrie, PREFIX_LEN + data, value, rows, NO_PREALLOC);
    let Sizes { ct, backends, services } = *sizes;
    let u32_len = size_of::<u32>();
    [
        map(names::CT4, Hash, size_of::<CtKey4>(), size_of::<CtEntry>(), ct, 0),
        map(names::CT6, Hash, size_of::<CtKey6>(), size_of::<CtEntry>(), ct, 0),
        map(names::QUOTA, Hash, u32_len, size_of::<u64>(), limits::QUOTA, NO_PREALLOC),
        map(names::EP, Hash, u32_len, size_of::<EndpointRow>(), limits::EP, NO_PREALLOC),
        map(names::NO_POD, Hash, u32_len, u32_len, limits::NO_POD, NO_PREALLOC),
        map(names::UPLINK, Hash, u32_len, size_of::<UplinkRow>(), limits::UPLINK, NO_PREALLOC),
        map(names::PEER4, Hash, size_of::<V4>(), size_of::<PeerRow>(), limits::PEER, NO_PREALLOC),
        map(names::PEER6, Hash, size_of::<V6>(), size_of::<PeerRow>(), limits::PEER, NO_PREALLOC),
        prefixes(names::CIDR4, size_of::<V4>(), size_of::<CidrRow>(), limits::CIDR),
        prefixes(names::CIDR6, size_of::<V6>(), size_of::<CidrRow>(), limits::CIDR),
        map(names::POLICY, Hash, size_of::<PolicyKey>(), size_of::<PolicyRow>(), limits::POLICY, NO_PREALLOC),
        map(names::PORT, Hash, size_of::<PortKey>(), size_of::<RuleId>(), limits::PORT, NO_PREALLOC),
        map(
            names::FE4,
            Hash,
            size_of::<FrontendKey4>(),
            size_of::<FrontendRow>(),
            limits::FRONTEND,
            NO_PREALLOC,
        ),
        map(
            names::FE6,
            Hash,
            size_of::<FrontendKey6>(),
            size_of::<FrontendRow>(),
            limits::FRONTEND,
            NO_PREALLOC,
        ),
        map(names::SVC, Array, u32_len, size_of::<ServiceRow>(), services, MMAPABLE),
        map(names::BE4, Array, u32_len, size_of::<Backend4>(), backends, MMAPABLE),
        map(names::BE6, Array, u32_len, size_of::<Backend6>(), backends, MMAPABLE),
        map(names::MEMBER4, Hash, size_of::<MemberKey4>(), u32_len, limits::MEMBER, NO_PREALLOC),
        map(names::MEMBER6, Hash, size_of::<MemberKey6>(), u32_len, limits::MEMBER, NO_PREALLOC),
        map(names::AFF4, LruHash, size_of::<ClientKey4>(), size_of::<AffinityRow>(), limits::AFFINITY, 0),
        map(names::AFF6, LruHash, size_of::<ClientKey6>(), size_of::<AffinityRow>(), limits::AFFINITY, 0),
        prefixes(names::RANGE4, size_of::<ClientKey4>(), u32_len, limits::RANGE),
        prefixes(names::RANGE6, size_of::<ClientKey6>(), u32_len, limits::RANGE),
        prefixes(names::SVCNET4, size_of::<V4>(), u32_len, limits::SERVICE_NET),
        prefixes(names::SVCNET6, size_of::<V6>(), u32_len, limits::SERVICE_NET),
        map(names::CLUSTER4, Hash, size_of::<V4>(), size_of::<ClusterRow4>(), limits::CLUSTER, NO_PREALLOC),
        map(names::CLUSTER6, Hash, size_of::<V6>(), size_of::<ClusterRow6>(), limits::CLUSTER, NO_PREALLOC),
        map(names::SOCK, LruHash, size_of::<SocketKey>(), size_of::<SocketRow>(), limits::SOCK, 0),
        map(names::FRAG4, LruHash, size_of::<FragKey4>(), size_of::<FragRow>(), limits::FRAG, 0),
        map(names::FRAG6, LruHash, size_of::<FragKey6>(), size_of::<FragRow>(), limits::FRAG, 0),
        map(names::CONFIG, Array, u32_len, size_of::<Config>(), 1, MMAPABLE),
        map(names::MARK, Array, u32_len, size_of::<u64>(), 1, MMAPABLE),
        map(names::STATS, PerCpuArray, u32_len, size_of::<Counter>(), stats::ROWS, 0),
        map(names::DROP, RingBuf, 0, 0, limits::DROP_RING, 0),
        map(names::FLOW, RingBuf, 0, 0, limits::FLOW_RING, 0),
    ]
}

impl Layout {
    /// What is wrong with the map that is pinned there.
    pub(super) fn check(&self, path: &Path) -> Result<(), Fault> {
        let pin = match bpf::open_pin(path) {
            Ok(pin) => pin,
            Err(_) if fs::symlink_metadata(path).is_err() => return Err(Fault::Missing),
            Err(error) => return Err(Fault::Unreadable(error.to_string())),
        };
        match bpf::pinned_kind(pin.as_fd()).map_err(|error| Fault::Unreadable(error.to_string()))? {
            Pinned::Map => {}
            other => return Err(Fault::NoMap(other.words())),
        }
        let unreadable = |error: MapError| Fault::Unreadable(error.to_string());
        self.compare(&MapData::from_pin(path).map_err(unreadable)?.info().map_err(unreadable)?)
    }

    fn compare(&self, info: &MapInfo) -> Result<(), Fault> {
        let Self { name: _, kind, key, value, rows, flags } = self;
        let differs = |what, found: String, wanted: String| Err(Fault::Differs { what, found, wanted });
        match info.map_type() {
            Ok(found) if found == *kind => {}
            Ok(found) => return differs("type", format!("{found:?}"), format!("{kind:?}")),
            Err(error) => return differs("type", error.to_string(), format!("{kind:?}")),
        }
        for (what, found, wanted) in [
            ("key size", info.key_size(), *key as u32),
            ("value size", info.value_size(), *value as u32),
            ("room for", info.max_entries(), *rows),
            ("flags", info.map_flags(), *flags),
        ] {
            if found != wanted {
                return differs(what, found.to_string(), wanted.to_string());
            }
        }
        Ok(())
    }
}

/// What is wrong with the maps that are pinned under `dir`; nothing if there is none.
pub(super) fn faults(dir: &Path, sizes: &Sizes) -> Vec<(&'static str, Fault)> {
    let found = all(sizes).into_iter().filter_map(|layout| {
        let fault = layout.check(&pin_path(dir, layout.name)).err()?;
        Some((layout.name, fault))
    });
    let found: Vec<_> = found.collect();
    let is_missing = |(_, fault): &(_, Fault)| matches!(fault, Fault::Missing);
    if found.len() == names::PINNED.len() && found.iter().all(is_missing) { Vec::new() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_map_has_a_layout() {
        assert_eq!(all(&Sizes::default()).map(|layout| layout.name), names::PINNED);
    }
}
