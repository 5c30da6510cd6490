//! The rows in the kernel's maps.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ipnet::IpNet;
use netpol_common::{
    config::{Config, flags::AT_REST},
    endpoint::EndpointRow,
    names,
    net::{V4, V6},
    peer::{CidrRow, PeerRow},
    policy::{PolicyKey, PolicyRow, PortKey, RuleId},
    service::flags,
};

use super::{
    Object,
    arena::Mapped,
    backends::Backends,
    cluster::Cluster,
    grace::Grace,
    quota::Quotas,
    services::Services,
    stale::Wake,
    table::{
        Hash, Lpm, array, delete, delete_prefix, delete_run, error, hash, lpm, put, put_prefix, put_run,
        read, read_prefixes,
    },
};
use crate::dataplane::{self, Capacity, Dataplane, Error, Op, Rows};

/// The maps that the agent writes.
pub struct Maps {
    ports: Hash<PortKey, RuleId>,
    policy: Hash<PolicyKey, PolicyRow>,
    cidr4: Lpm<V4, CidrRow>,
    cidr6: Lpm<V6, CidrRow>,
    peer4: Hash<V4, PeerRow>,
    peer6: Hash<V6, PeerRow>,
    endpoints: Hash<u32, EndpointRow>,
    quotas: Quotas,
    services: Services,
    cluster: Cluster,
    backends: Backends,
    /// The words of [`Config`].
    config: Arc<Mapped<AtomicU32>>,
    grace: Arc<Grace>,
    capacity: Capacity,
    member_gone: Option<Wake>,
}

const EPOCH: usize = std::mem::offset_of!(Config, epoch) / size_of::<u32>();
const SHORT: usize = std::mem::offset_of!(Config, short) / size_of::<u32>();
const FLAGS: usize = std::mem::offset_of!(Config, flags) / size_of::<u32>();
const HZ: usize = std::mem::offset_of!(Config, hz) / size_of::<u32>();

/// On or off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Maps {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    ///
    /// If the object lacks one of them, or it cannot be mapped into memory.
    pub fn new(object: &mut Object) -> Result<Self, Error> {
        let (ports, n_ports) = hash(object, names::PORT)?;
        let (policy, n_policy) = hash(object, names::POLICY)?;
        let (cidr4, n_cidrs) = lpm(object, names::CIDR4)?;
        let (peer4, n_peers) = hash(object, names::PEER4)?;
        let (endpoints, n_endpoints) = hash(object, names::EP)?;
        let services = Services::new(object)?;
        let cluster = Cluster::new(object)?;
        let backends = Backends::new(object)?;
        let config = Mapped::new(array(object, names::CONFIG)?.fd(), 1, size_of::<Config>())
            .map_err(|source| error("mmap", names::CONFIG, source))?;
        Ok(Self {
            capacity: Capacity {
                ports: n_ports,
                policy: n_policy,
                cidrs: n_cidrs,
                peers: n_peers,
                endpoints: n_endpoints,
                frontends: services.rooms.frontends,
                services: backends.service_rows(),
                backends: backends.backend_rows(),
                members: services.rooms.members,
                ranges: services.rooms.ranges,
                service_nets: services.rooms.nets,
                cluster: cluster.room,
            },
            ports,
            policy,
            cidr4,
            cidr6: lpm(object, names::CIDR6)?.0,
            peer4,
            peer6: hash(object, names::PEER6)?.0,
            endpoints,
            quotas: Quotas::new(object)?,
            services,
            cluster,
            backends,
            config: Arc::new(config),
            grace: Arc::new(Grace::new().map_err(|source| error("bpf_map_create", "a map of maps", source))?),
            member_gone: None,
        })
    }

    /// The epoch that connections are judged under now.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.config.words()[EPOCH].load(Ordering::Relaxed)
    }

    /// From now on each pod may fill `entries` of the connection tables (a translated connection fills two). Without a call
    /// there is no limit.
    pub fn limit_connections(&mut self, entries: u32) {
        self.quotas.set_limit(entries);
    }

    /// From now on clients outside may fill `entries` of them with connections to backends that are no pods of this node, all
    /// together. Without a call there is no limit.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the row.
    pub fn limit_outside(&mut self, entries: u32) -> Result<(), Error> {
        self.quotas.limit_outside(entries)
    }

    /// Who is to know when a backend answers for a Service no more.
    pub(super) fn tell_of_members(&mut self, wake: Wake) {
        self.member_gone = Some(wake);
    }

    /// The other half of the connection tables' rules: who is counted there.
    pub(super) fn quotas(&self) -> Quotas {
        self.quotas.clone()
    }

    /// See [`Switches::turn`].
    pub fn set_flags(&self, bits: u32, switch: Switch) {
        self.switches().turn(bits, switch);
    }

    /// The switches, for whoever has nothing else to do with the maps.
    #[must_use]
    pub fn switches(&self) -> Switches {
        Switches(self.config.clone())
    }
}

/// What the programs can be told at run time, and what they tell there.
#[derive(Clone)]
pub struct Switches(Arc<Mapped<AtomicU32>>);

impl Switches {
    /// Sets or clears bits of [`netpol_common::config::flags`]; every later packet sees it.
    pub fn turn(&self, bits: u32, switch: Switch) {
        let flags = &self.0.words()[FLAGS];
        match switch {
            Switch::On => flags.fetch_or(bits, Ordering::Release),
            Switch::Off => flags.fetch_and(!bits, Ordering::Release),
        };
    }

    /// Whether all of these bits are set.
    #[must_use]
    pub fn are_on(&self, bits: u32) -> bool {
        self.0.words()[FLAGS].load(Ordering::Acquire) & bits == bits
    }

    /// Says how many jiffies a second has: session affinity is counted in them.
    pub fn set_frequency(&self, hz: u32) {
        self.0.words()[HZ].store(hz, Ordering::Relaxed);
    }

    /// Whether connections have found no room since the last call ([`netpol_common::config::short`]).
    pub fn forget_shortage(&self) -> bool {
        self.0.words()[SHORT].swap(0, Ordering::Relaxed) != 0
    }
}

impl Dataplane for Maps {
    fn read(&self) -> Result<Rows, Error> {
        let mut rows = Rows {
            ports: read(&self.ports, names::PORT, |key| key)?,
            policy: read(&self.policy, names::POLICY, |key| key)?,
            endpoints: read(&self.endpoints, names::EP, |ifindex| ifindex)?,
            peers: read(&self.peer4, names::PEER4, |addr| Ipv4Addr::from(addr).into())?,
            cidrs: read_prefixes(&self.cidr4, names::CIDR4, net4)?,
            ..Rows::default()
        };
        rows.peers.extend(read(&self.peer6, names::PEER6, |addr| Ipv6Addr::from(addr).into())?);
        rows.cidrs.extend(read_prefixes(&self.cidr6, names::CIDR6, net6)?);
        self.services.read(&mut rows)?;
        self.cluster.read(&mut rows)?;
        // What stands for a whole address names no rows.
        for (frontend, row) in rows.frontends.iter().filter(|(_, row)| row.flags & flags::WHOLE == 0) {
            for number in [row.near, row.far] {
                let (service, backends) = self.backends.read(frontend.addr.into(), number)?;
                rows.services.insert(number, service);
                rows.backends.insert(number, backends);
            }
        }
        Ok(rows)
    }

    fn capacity(&self) -> Capacity {
        self.capacity
    }

    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::PutPort(key, rule) => put(&mut self.ports, key, rule, names::PORT),
            Op::DeletePort(key) => delete(&mut self.ports, key, names::PORT),
            Op::PutPolicy(key, row) => put(&mut self.policy, key, row, names::POLICY),
            Op::DeletePolicy(key) => delete(&mut self.policy, key, names::POLICY),
            Op::PutCidr(net, row) => match net.network() {
                IpAddr::V4(addr) => put_prefix(&mut self.cidr4, bits(net, addr), row, names::CIDR4),
                IpAddr::V6(addr) => put_prefix(&mut self.cidr6, bits(net, addr), row, names::CIDR6),
            },
            Op::DeleteCidr(net) => match net.network() {
                IpAddr::V4(addr) => delete_prefix(&mut self.cidr4, bits(net, addr), names::CIDR4),
                IpAddr::V6(addr) => delete_prefix(&mut self.cidr6, bits(net, addr), names::CIDR6),
            },
            Op::PutPeer(IpAddr::V4(addr), row) => put(&mut self.peer4, &(*addr).into(), row, names::PEER4),
            Op::PutPeer(IpAddr::V6(addr), row) => put(&mut self.peer6, &(*addr).into(), row, names::PEER6),
            Op::DeletePeer(IpAddr::V4(addr)) => delete(&mut self.peer4, &(*addr).into(), names::PEER4),
            Op::DeletePeer(IpAddr::V6(addr)) => delete(&mut self.peer6, &(*addr).into(), names::PEER6),
            Op::PutEndpoint(ifindex, row) => {
                self.quotas.open(*ifindex)?;
                put(&mut self.endpoints, ifindex, row, names::EP)
            }
            Op::DeleteEndpoint(ifindex) => {
                delete(&mut self.endpoints, ifindex, names::EP)?;
                self.quotas.close(*ifindex)
            }
            Op::PutFrontend(frontend, row) => self.services.put_frontend(frontend, row),
            Op::DeleteFrontend(frontend) => self.services.delete_frontend(frontend),
            Op::PutMember(member) => self.services.put_member(member),
            Op::DeleteMember(member) => {
                self.services.delete_member(member)?;
                if let Some(member_gone) = &self.member_gone {
                    member_gone.wake();
                }
                Ok(())
            }
            Op::PutRange(range) => self.services.put_range(range),
            Op::DeleteRange(range) => self.services.delete_range(range),
            Op::PutServiceNet(net) => self.services.put_net(net),
            Op::DeleteServiceNet(net) => self.services.delete_net(net),
            Op::PutCluster(addr, row) => self.cluster.put(*addr, row),
            Op::DeleteCluster(addr) => self.cluster.delete(*addr),
            Op::WriteBackends { base, backends } => self.backends.write(*base, backends),
            Op::WriteRing { v4, base, words } => self.backends.write_ring(*v4, *base, words),
            Op::PutService(row, service) => self.backends.point(*row, *service),
            Op::BeginChange => {
                self.set_flags(AT_REST, Switch::Off);
                Ok(())
            }
            Op::AdvanceEpoch => {
                // Release: whoever judges under the new epoch sees every row that was written before.
                self.config.words()[EPOCH].fetch_add(1, Ordering::Release);
                // Behind it: nothing that was remembered in the epoch before is of this one.
                self.set_flags(AT_REST, Switch::On);
                Ok(())
            }
            Op::AwaitGrace => self.grace.wait(),
        }
    }

    fn apply_first(&mut self, ops: &[Op]) -> Result<usize, Error> {
        match (self.apply_run(ops), ops.first()) {
            (0, Some(op)) => self.apply(op).map(|()| 1),
            (done, _) => Ok(done),
        }
    }

    fn grace(&self) -> dataplane::Grace {
        let grace = self.grace.clone();
        Box::new(move || grace.wait())
    }
}

impl Maps {
    /// What there can be thousands of in one change: with one system call for those that lie behind each other. See [`put_run`].
    fn apply_run(&self, ops: &[Op]) -> usize {
        match ops.first() {
            Some(Op::PutPeer(IpAddr::V4(_), _)) => put_run(&self.peer4, ops, |op| match op {
                Op::PutPeer(IpAddr::V4(addr), row) => Some(((*addr).into(), *row)),
                _ => None,
            }),
            Some(Op::PutPeer(IpAddr::V6(_), _)) => put_run(&self.peer6, ops, |op| match op {
                Op::PutPeer(IpAddr::V6(addr), row) => Some(((*addr).into(), *row)),
                _ => None,
            }),
            Some(Op::DeletePeer(IpAddr::V4(_))) => delete_run(&self.peer4, ops, |op| match op {
                Op::DeletePeer(IpAddr::V4(addr)) => Some((*addr).into()),
                _ => None,
            }),
            Some(Op::DeletePeer(IpAddr::V6(_))) => delete_run(&self.peer6, ops, |op| match op {
                Op::DeletePeer(IpAddr::V6(addr)) => Some((*addr).into()),
                _ => None,
            }),
            Some(Op::PutPolicy(..)) => put_run(&self.policy, ops, |op| match op {
                Op::PutPolicy(key, row) => Some((*key, *row)),
                _ => None,
            }),
            Some(Op::DeletePolicy(_)) => delete_run(&self.policy, ops, |op| match op {
                Op::DeletePolicy(key) => Some(*key),
                _ => None,
            }),
            Some(Op::PutPort(..)) => put_run(&self.ports, ops, |op| match op {
                Op::PutPort(key, rule) => Some((*key, *rule)),
                _ => None,
            }),
            Some(Op::DeletePort(_)) => delete_run(&self.ports, ops, |op| match op {
                Op::DeletePort(key) => Some(*key),
                _ => None,
            }),
            _ => 0,
        }
    }
}

/// An LPM key of a prefix whose data is the address alone.
pub(super) fn bits<A, K: From<A>>(net: &IpNet, addr: A) -> (u32, K) {
    (u32::from(net.prefix_len()), addr.into())
}

pub(super) fn net4(bits: u32, addr: V4) -> Option<IpNet> {
    IpNet::new(Ipv4Addr::from(addr).into(), u8::try_from(bits).ok()?).ok()
}

pub(super) fn net6(bits: u32, addr: V6) -> Option<IpNet> {
    IpNet::new(Ipv6Addr::from(addr).into(), u8::try_from(bits).ok()?).ok()
}
