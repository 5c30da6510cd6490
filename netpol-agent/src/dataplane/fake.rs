//! A dataplane in memory, for tests: it has the maps' capacities and complains as the kernel does.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    ops::Range,
};

use netpol_common::{
    logic::ring,
    names,
    service::{Backend4, Backend6, FrontendRow, flags},
};

use super::{Backend, Capacity, Dataplane, Error, Grace, Op, Rows};

/// Holds rows as the maps would.
#[derive(Clone, Debug)]
pub struct Fake {
    rows: Rows,
    capacity: Capacity,
    /// The arenas, IPv6 and IPv4.
    arenas: [BTreeMap<u32, Backend>; 2],
    /// Maglev tables in them, by their first row.
    rings: [BTreeMap<u32, Vec<u64>>; 2],
    /// Operations carried out, by their name.
    counts: BTreeMap<&'static str, usize>,
    /// Value of the epoch.
    epoch: u32,
    /// Whether nothing that can alter a verdict came since the epoch advanced.
    at_rest: bool,
    /// Rows per map.
    used: BTreeMap<&'static str, usize>,
    /// Operations until one fails; `None`: none does.
    fail_after: Option<usize>,
}

impl Fake {
    /// An empty one.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            rows: Rows::default(),
            capacity,
            arenas: [BTreeMap::new(), BTreeMap::new()],
            rings: [BTreeMap::new(), BTreeMap::new()],
            counts: BTreeMap::new(),
            epoch: 0,
            at_rest: false,
            used: BTreeMap::new(),
            fail_after: None,
        }
    }
    /// What it holds.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.rows
    }
    /// How often the epoch was advanced.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
    /// How many operations of each kind were carried out since the last call.
    pub fn take_counts(&mut self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut self.counts)
    }
    /// Lets the operation after the next `n` fail, once.
    pub fn fail_after(&mut self, n: usize) {
        self.fail_after = Some(n);
    }

    fn write_backends(&mut self, base: u32, backends: &[Backend]) -> Result<(), Error> {
        let Some(first) = backends.first() else {
            return Err(refused("write", names::BE4, io::ErrorKind::InvalidInput));
        };
        let v4 = first.addr.is_ipv4();
        let map = if v4 { names::BE4 } else { names::BE6 };
        if base as usize + backends.len() > self.capacity.backends
            || backends.iter().any(|b| b.addr.is_ipv4() != v4)
        {
            return Err(refused("write", map, io::ErrorKind::InvalidInput));
        }
        // The programs look for one by halving: those of this node are in order, and so are the others behind them.
        if backends.windows(2).filter(|pair| pair[0] >= pair[1]).count() > 1 {
            return Err(refused("write", map, io::ErrorKind::InvalidInput));
        }
        let rows = base..base + backends.len() as u32;
        self.overwrite(v4, rows)?;
        let arena = &mut self.arenas[usize::from(v4)];
        arena.extend((base..).zip(backends.iter().copied()));
        Ok(())
    }

    fn write_ring(&mut self, v4: bool, base: u32, words: &[u64]) -> Result<(), Error> {
        let rows = base..base + (words.len() as u32).div_ceil(row_words(v4));
        if rows.end as usize > self.capacity.backends {
            return Err(refused("write", family_of(v4, names::BE4, names::BE6), io::ErrorKind::InvalidInput));
        }
        self.overwrite(v4, rows)?;
        self.rings[usize::from(v4)].insert(base, words.to_vec());
        Ok(())
    }

    /// A range that a service names is never written: readers would see half of it.
    fn overwrite(&mut self, v4: bool, rows: Range<u32>) -> Result<(), Error> {
        let named = |(frontend, row): (&super::Frontend, &FrontendRow)| {
            let services =
                [row.near, row.far].into_iter().filter_map(|number| self.rows.services.get(&number));
            frontend.addr.is_ipv4() == v4
                && services.into_iter().any(|s| {
                    s.base() < rows.end && rows.start < s.base() + ring::arena_rows(*s, row_words(v4))
                })
        };
        if self.rows.frontends.iter().any(named) {
            let map = family_of(v4, names::BE4, names::BE6);
            return Err(refused("write", map, io::ErrorKind::ResourceBusy));
        }
        let ends = |base: u32, words: &[u64]| base + (words.len() as u32).div_ceil(row_words(v4));
        self.rings[usize::from(v4)]
            .retain(|base, words| *base >= rows.end || rows.start >= ends(*base, words));
        self.arenas[usize::from(v4)].retain(|row, _| !rows.contains(row));
        Ok(())
    }

    /// The backend that a way in has for a client with this hash, as the kernel programs choose it; `None`: it is chosen at
    /// random, or there is none.
    #[must_use]
    pub fn chosen(&self, number: u32, v4: bool, hash: u32) -> Option<Backend> {
        let row = self.rows.services.get(&number).copied()?;
        if !row.has_ring() {
            return None;
        }
        let place = ring::place(row.n_all(), ring::slot(hash));
        let table = self.rings[usize::from(v4)].get(&(row.base() + row.n_all()))?;
        let at = (table.get(place.word as usize)? >> place.shift) as u32 & place.mask;
        self.arenas[usize::from(v4)].get(&(row.base() + at)).copied()
    }

    /// Reads the backends that a frontend's row names, as the kernel program would.
    fn refresh_backends(&mut self) {
        let ports = self.rows.frontends.iter().filter(|(_, row)| row.flags & flags::WHOLE == 0);
        let named = ports.flat_map(|(f, row)| [(f, row.near), (f, row.far)]);
        let ranges = named.map(|(frontend, number)| {
            let service = self.rows.services.get(&number).copied().unwrap_or_default();
            let arena = &self.arenas[usize::from(frontend.addr.is_ipv4())];
            let range = service.base()..service.base() + service.n_all();
            (number, range.filter_map(|at| arena.get(&at).copied()).collect())
        });
        self.rows.backends = ranges.collect();
    }
}

impl Dataplane for Fake {
    fn read(&self) -> Result<Rows, Error> {
        let mut rows = self.rows.clone();
        let named: BTreeSet<u32> = rows.frontends.values().flat_map(|row| [row.near, row.far]).collect();
        rows.services.retain(|number, _| named.contains(number));
        Ok(rows)
    }

    fn capacity(&self) -> Capacity {
        self.capacity
    }

    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        if let Some(left) = self.fail_after {
            self.fail_after = left.checked_sub(1);
            if left == 0 {
                return Err(refused("update", "any", io::ErrorKind::Interrupted));
            }
        }
        let alters = matches!(
            op,
            Op::PutPeer(..)
                | Op::DeletePeer(_)
                | Op::PutCidr(..)
                | Op::DeleteCidr(_)
                | Op::PutEndpoint(..)
                | Op::DeleteEndpoint(_)
                | Op::DeleteFrontend(_)
        );
        // Packets would go on by what they remember.
        assert!(!(alters && self.at_rest), "{op:?}: no change has begun");
        let Capacity { ports, policy, cidrs, peers, endpoints, frontends, services, .. } = self.capacity;
        let Capacity { members, ranges, service_nets, cluster, .. } = self.capacity;
        let (rows, used) = (&mut self.rows, &mut self.used);
        let name = match op {
            Op::PutPort(key, rule) => put(&mut rows.ports, *key, *rule, names::PORT, ports, used)?,
            Op::DeletePort(key) => delete(&mut rows.ports, key, names::PORT, used)?,
            Op::PutPolicy(key, row) => put(&mut rows.policy, *key, *row, names::POLICY, policy, used)?,
            Op::DeletePolicy(key) => delete(&mut rows.policy, key, names::POLICY, used)?,
            Op::PutCidr(prefix, row) => {
                let map = family(prefix.addr(), names::CIDR4, names::CIDR6);
                put(&mut rows.cidrs, *prefix, *row, map, cidrs, used)?
            }
            Op::DeleteCidr(prefix) => {
                delete(&mut rows.cidrs, prefix, family(prefix.addr(), names::CIDR4, names::CIDR6), used)?
            }
            Op::PutPeer(addr, row) => {
                put(&mut rows.peers, *addr, *row, family(*addr, names::PEER4, names::PEER6), peers, used)?
            }
            Op::DeletePeer(addr) => {
                delete(&mut rows.peers, addr, family(*addr, names::PEER4, names::PEER6), used)?
            }
            Op::PutEndpoint(ifindex, row) => {
                put(&mut rows.endpoints, *ifindex, *row, names::EP, endpoints, used)?
            }
            Op::DeleteEndpoint(ifindex) => delete(&mut rows.endpoints, ifindex, names::EP, used)?,
            Op::PutFrontend(frontend, row) => {
                let map = family(frontend.addr, names::FE4, names::FE6);
                put(&mut rows.frontends, *frontend, *row, map, frontends, used)?
            }
            Op::DeleteFrontend(frontend) => {
                let map = family(frontend.addr, names::FE4, names::FE6);
                delete(&mut rows.frontends, frontend, map, used)?
            }
            Op::PutMember(member) => {
                let map = family(member.backend.addr, names::MEMBER4, names::MEMBER6);
                add(&mut rows.members, *member, map, members, used)?
            }
            Op::DeleteMember(member) => {
                let map = family(member.backend.addr, names::MEMBER4, names::MEMBER6);
                remove(&mut rows.members, member, map, used)?
            }
            Op::PutRange(range) => {
                let map = family(range.net.addr(), names::RANGE4, names::RANGE6);
                add(&mut rows.ranges, *range, map, ranges, used)?
            }
            Op::DeleteRange(range) => {
                remove(&mut rows.ranges, range, family(range.net.addr(), names::RANGE4, names::RANGE6), used)?
            }
            Op::PutServiceNet(net) => {
                let map = family(net.addr(), names::SVCNET4, names::SVCNET6);
                add(&mut rows.service_nets, *net, map, service_nets, used)?
            }
            Op::DeleteServiceNet(net) => {
                remove(&mut rows.service_nets, net, family(net.addr(), names::SVCNET4, names::SVCNET6), used)?
            }
            Op::PutCluster(addr, row) => {
                let map = family(*addr, names::CLUSTER4, names::CLUSTER6);
                put(&mut rows.cluster, *addr, *row, map, cluster, used)?
            }
            Op::DeleteCluster(addr) => {
                delete(&mut rows.cluster, addr, family(*addr, names::CLUSTER4, names::CLUSTER6), used)?
            }
            Op::WriteBackends { base, backends } => {
                self.write_backends(*base, backends)?;
                "write"
            }
            Op::WriteRing { v4, base, words } => {
                self.write_ring(*v4, *base, words)?;
                "write ring"
            }
            Op::PutService(number, row) => {
                if *number as usize >= services {
                    return Err(refused("write", names::SVC, io::ErrorKind::InvalidInput));
                }
                rows.services.insert(*number, *row);
                "put np_svc"
            }
            Op::BeginChange => {
                self.at_rest = false;
                "begin"
            }
            Op::AdvanceEpoch => {
                self.epoch += 1;
                self.at_rest = true;
                "epoch"
            }
            Op::AwaitGrace => "grace",
        };
        *self.counts.entry(name).or_default() += 1;
        if matches!(
            op,
            Op::PutFrontend(..) | Op::DeleteFrontend(_) | Op::WriteBackends { .. } | Op::PutService(..)
        ) {
            self.refresh_backends();
        }
        Ok(())
    }

    fn grace(&self) -> Grace {
        Box::new(|| Ok(()))
    }
}

fn family_of(is_v4: bool, v4: &'static str, v6: &'static str) -> &'static str {
    if is_v4 { v4 } else { v6 }
}

/// 64-bit words of a row of the arena.
fn row_words(v4: bool) -> u32 {
    let bytes = if v4 { size_of::<Backend4>() } else { size_of::<Backend6>() };
    (bytes / size_of::<u64>()) as u32
}

fn family(addr: IpAddr, v4: &'static str, v6: &'static str) -> &'static str {
    if addr.is_ipv4() { v4 } else { v6 }
}

fn put<K: Ord, V>(
    map: &mut BTreeMap<K, V>,
    key: K,
    value: V,
    name: &'static str,
    capacity: usize,
    used: &mut BTreeMap<&'static str, usize>,
) -> Result<&'static str, Error> {
    if !map.contains_key(&key) {
        let used = used.entry(name).or_default();
        if *used >= capacity {
            return Err(refused("put", name, io::ErrorKind::StorageFull));
        }
        *used += 1;
    }
    map.insert(key, value);
    Ok(name)
}

fn delete<K: Ord, V>(
    map: &mut BTreeMap<K, V>,
    key: &K,
    name: &'static str,
    used: &mut BTreeMap<&'static str, usize>,
) -> Result<&'static str, Error> {
    if map.remove(key).is_none() {
        return Err(refused("delete", name, io::ErrorKind::NotFound));
    }
    used.entry(name).and_modify(|n| *n -= 1);
    Ok(name)
}

fn add<K: Ord>(
    set: &mut BTreeSet<K>,
    key: K,
    name: &'static str,
    capacity: usize,
    used: &mut BTreeMap<&'static str, usize>,
) -> Result<&'static str, Error> {
    if !set.contains(&key) {
        let used = used.entry(name).or_default();
        if *used >= capacity {
            return Err(refused("put", name, io::ErrorKind::StorageFull));
        }
        *used += 1;
    }
    set.insert(key);
    Ok(name)
}

fn remove<K: Ord>(
    set: &mut BTreeSet<K>,
    key: &K,
    name: &'static str,
    used: &mut BTreeMap<&'static str, usize>,
) -> Result<&'static str, Error> {
    if !set.remove(key) {
        return Err(refused("delete", name, io::ErrorKind::NotFound));
    }
    used.entry(name).and_modify(|n| *n -= 1);
    Ok(name)
}

fn refused(call: &'static str, map: &str, kind: io::ErrorKind) -> Error {
    Error { call, map: map.to_owned(), source: Box::new(io::Error::from(kind)) }
}
