//! Every map: who writes it, who reads it, and what happens when it is full. No other file declares one.
//!
//! Tables that only the agent writes are allocated row by row (`BPF_F_NO_PREALLOC`): their sizes are limits, not memory.
//! Tables that packets write are allocated whole.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use netpol_common::{
    cluster::{ClusterRow4, ClusterRow6},
    config::Config,
    conntrack::{CtEntry, CtKey4, CtKey6},
    endpoint::EndpointRow,
    fragment::{FragKey4, FragKey6, FragRow},
    limits,
    net::{V4, V6},
    peer::{CidrRow, PeerRow},
    policy::{PolicyKey, PolicyRow, PortKey, RuleId},
    service::{
        AffinityRow, Backend4, Backend6, ClientKey4, ClientKey6, FrontendKey4, FrontendKey6, FrontendRow,
        MemberKey4, MemberKey6, ServiceRow,
    },
    socket::{SocketKey, SocketRow},
    stats::{self, Counter},
    told::{ToldKey, ToldRow},
    uplink::UplinkRow,
    wire::WireRow,
};

use crate::{
    case::Scratch,
    hop::{self, Hop},
    recent::{self, Judgement},
};

/// Written by packets, aged by the agent. Full: nobody's entry is cut, see `entries::create`.
#[map(name = "np_ct4")]
pub static CT4: HashMap<CtKey4, CtEntry> = HashMap::with_max_entries(limits::CT, 0);
/// As `np_ct4`.
#[map(name = "np_ct6")]
pub static CT6: HashMap<CtKey6, CtEntry> = HashMap::with_max_entries(limits::CT, 0);

/// Set by the agent, counted down by packets. No row: no limit.
#[map(name = "np_quota")]
pub static QUOTA: HashMap<u32, u64> = HashMap::with_max_entries(limits::QUOTA, BPF_F_NO_PREALLOC);

/// Written by the agent. No row: pending.
#[map(name = "np_ep")]
pub static EP: HashMap<u32, EndpointRow> = HashMap::with_max_entries(limits::EP, BPF_F_NO_PREALLOC);

/// Written by the agent. No row: a pod that it has not seen yet may be behind it.
#[map(name = "np_nopod")]
pub static NO_POD: HashMap<u32, u32> = HashMap::with_max_entries(limits::NO_POD, BPF_F_NO_PREALLOC);
/// Written by the agent. No row: not an uplink.
#[map(name = "np_uplink")]
pub static UPLINK: HashMap<u32, UplinkRow> = HashMap::with_max_entries(limits::UPLINK, BPF_F_NO_PREALLOC);

/// Written by the agent. No row: no program sees its frames. Not pinned: an agent that comes puts programs of its own there.
#[map(name = "np_wire")]
pub static WIRE: HashMap<u32, WireRow> = HashMap::with_max_entries(limits::UPLINK, BPF_F_NO_PREALLOC);
/// Frames that were translated in front, counted by packets and summed by the agent. Not pinned: it goes on while its program does.
#[map(name = "np_wire_sent")]
pub static WIRE_SENT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What [`Mark`](netpol_common::wire::Mark)s are known by, 0 until the first agent has chosen it.
#[map(name = "np_mark")]
pub static MARK: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Written by the agent.
#[map(name = "np_peer4")]
pub static PEER4: HashMap<V4, PeerRow> = HashMap::with_max_entries(limits::PEER, BPF_F_NO_PREALLOC);
/// Written by the agent.
#[map(name = "np_peer6")]
pub static PEER6: HashMap<V6, PeerRow> = HashMap::with_max_entries(limits::PEER, BPF_F_NO_PREALLOC);

/// Written by the agent.
#[map(name = "np_cidr4")]
pub static CIDR4: LpmTrie<V4, CidrRow> = LpmTrie::with_max_entries(limits::CIDR, BPF_F_NO_PREALLOC);
/// Written by the agent.
#[map(name = "np_cidr6")]
pub static CIDR6: LpmTrie<V6, CidrRow> = LpmTrie::with_max_entries(limits::CIDR, BPF_F_NO_PREALLOC);

/// Written by the agent.
#[map(name = "np_policy")]
pub static POLICY: HashMap<PolicyKey, PolicyRow> =
    HashMap::with_max_entries(limits::POLICY, BPF_F_NO_PREALLOC);
/// Written by the agent.
#[map(name = "np_port")]
pub static PORT: HashMap<PortKey, RuleId> = HashMap::with_max_entries(limits::PORT, BPF_F_NO_PREALLOC);

/// Written by the agent.
#[map(name = "np_fe4")]
pub static FE4: HashMap<FrontendKey4, FrontendRow> =
    HashMap::with_max_entries(limits::FRONTEND, BPF_F_NO_PREALLOC);
/// Written by the agent.
#[map(name = "np_fe6")]
pub static FE6: HashMap<FrontendKey6, FrontendRow> =
    HashMap::with_max_entries(limits::FRONTEND, BPF_F_NO_PREALLOC);
/// Written by the agent through `mmap`, one aligned store per row.
#[map(name = "np_svc")]
pub static SVC: Array<ServiceRow> = Array::with_max_entries(limits::SERVICE, BPF_F_MMAPABLE);
/// Written by the agent through `mmap`, only where no service row points.
#[map(name = "np_be4")]
pub static BE4: Array<Backend4> = Array::with_max_entries(limits::BACKEND, BPF_F_MMAPABLE);
/// As `np_be4`.
#[map(name = "np_be6")]
pub static BE6: Array<Backend6> = Array::with_max_entries(limits::BACKEND, BPF_F_MMAPABLE);

/// Written by the agent.
#[map(name = "np_member4")]
pub static MEMBER4: HashMap<MemberKey4, u32> = HashMap::with_max_entries(limits::MEMBER, BPF_F_NO_PREALLOC);
/// Written by the agent.
#[map(name = "np_member6")]
pub static MEMBER6: HashMap<MemberKey6, u32> = HashMap::with_max_entries(limits::MEMBER, BPF_F_NO_PREALLOC);
/// Written by packets. Full: the client that was idle longest gets any backend next time.
#[map(name = "np_aff4")]
pub static AFF4: LruHashMap<ClientKey4, AffinityRow> = LruHashMap::with_max_entries(limits::AFFINITY, 0);
/// As `np_aff4`.
#[map(name = "np_aff6")]
pub static AFF6: LruHashMap<ClientKey6, AffinityRow> = LruHashMap::with_max_entries(limits::AFFINITY, 0);
/// Written by the agent.
#[map(name = "np_range4")]
pub static RANGE4: LpmTrie<ClientKey4, u32> = LpmTrie::with_max_entries(limits::RANGE, BPF_F_NO_PREALLOC);
/// Written by the agent.
#[map(name = "np_range6")]
pub static RANGE6: LpmTrie<ClientKey6, u32> = LpmTrie::with_max_entries(limits::RANGE, BPF_F_NO_PREALLOC);
/// Written by the agent.
#[map(name = "np_svcnet4")]
pub static SVCNET4: LpmTrie<V4, u32> = LpmTrie::with_max_entries(limits::SERVICE_NET, BPF_F_NO_PREALLOC);
/// Written by the agent.
#[map(name = "np_svcnet6")]
pub static SVCNET6: LpmTrie<V6, u32> = LpmTrie::with_max_entries(limits::SERVICE_NET, BPF_F_NO_PREALLOC);

/// Written by the agent. No row for no address: this node neither encapsulates nor takes encapsulated packets.
#[map(name = "np_cluster4")]
pub static CLUSTER4: HashMap<V4, ClusterRow4> = HashMap::with_max_entries(limits::CLUSTER, BPF_F_NO_PREALLOC);
/// As `np_cluster4`.
#[map(name = "np_cluster6")]
pub static CLUSTER6: HashMap<V6, ClusterRow6> = HashMap::with_max_entries(limits::CLUSTER, BPF_F_NO_PREALLOC);

/// Written by sockets of the node's own processes. Full: the row that was idle longest goes. Its process is shown the backend's
/// address; an unconnected UDP socket gets any backend next time.
#[map(name = "np_sock")]
pub static SOCK: LruHashMap<SocketKey, SocketRow> = LruHashMap::with_max_entries(limits::SOCK, 0);

/// Written by first fragments, read by later ones. Full: the least recently used datagram loses its ports, and its
/// fragments are dropped.
#[map(name = "np_frag4")]
pub static FRAG4: LruHashMap<FragKey4, FragRow> = LruHashMap::with_max_entries(limits::FRAG, 0);
/// As `np_frag4`.
#[map(name = "np_frag6")]
pub static FRAG6: LruHashMap<FragKey6, FragRow> = LruHashMap::with_max_entries(limits::FRAG, 0);

/// Written by the agent through `mmap`.
#[map(name = "np_config")]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Written by packets, summed by the agent.
#[map(name = "np_stats")]
pub static STATS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(stats::ROWS, 0);

/// Written by dropped packets, read by the agent. Full: counted as lost.
#[map(name = "np_drop")]
pub static DROP: RingBuf = RingBuf::with_byte_size(limits::DROP_RING, 0);
/// Written by dropped packets, taken out by the agent once a second. Full: each drop is an event. Not pinned, like the next one: the
/// programs that an agent brings begin anew.
#[map(name = "np_told")]
pub static TOLD: HashMap<ToldKey, ToldRow> = HashMap::with_max_entries(limits::TOLD, 0);
/// As `np_told`. Full: the pods that find no room in it make as many events as they like.
#[map(name = "np_loud")]
pub static LOUD: HashMap<u32, ToldRow> = HashMap::with_max_entries(limits::EP, 0);
/// Written by new connections while somebody listens. Full: counted as lost.
#[map(name = "np_flow")]
pub static FLOW: RingBuf = RingBuf::with_byte_size(limits::FLOW_RING, 0);

/// Interface index → when the ICMP errors that its pod was sent were due, in nanoseconds of the kernel's monotonic clock.
/// Not pinned: the programs that an agent brings begin anew. Full: the pod that was refused longest ago begins anew.
#[map(name = "np_refusals")]
pub static REFUSALS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(limits::EP, 0);

/// Not pinned: it means nothing between packets.
#[map(name = "np_scratch")]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// Written and read by packets. Not pinned: it means nothing after a tick of the clock.
#[map(name = "np_hop")]
pub static HOP: PerCpuArray<Hop> = PerCpuArray::with_max_entries(hop::ROWS, 0);
/// Written and read by packets. Not pinned: the programs that an agent brings judge for themselves.
#[map(name = "np_recent")]
pub static RECENT: PerCpuArray<Judgement> = PerCpuArray::with_max_entries(recent::ROWS, 0);
