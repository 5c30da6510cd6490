//! Names of maps and programs, as the kernel and the pin directory show them (15 bytes at most: `BPF_OBJ_NAME_LEN`).

/// Connections, [`CtKey4`](crate::conntrack::CtKey4) → [`CtEntry`](crate::conntrack::CtEntry).
pub const CT4: &str = "np_ct4";
/// Connections, [`CtKey6`](crate::conntrack::CtKey6) → [`CtEntry`](crate::conntrack::CtEntry).
pub const CT6: &str = "np_ct6";
/// Interface index → how many more entries of the connection tables the pod may fill, an `i64`. Set by the agent, counted
/// down by the programs. No row: no limit.
pub const QUOTA: &str = "np_quota";
/// Interface index → [`EndpointRow`](crate::endpoint::EndpointRow).
pub const EP: &str = "np_ep";
/// Index of an interface of the node that leads to no pod → `u32`, always 0.
pub const NO_POD: &str = "np_nopod";
/// Interface index → [`UplinkRow`](crate::uplink::UplinkRow).
pub const UPLINK: &str = "np_uplink";
/// IPv4 address → [`PeerRow`](crate::peer::PeerRow).
pub const PEER4: &str = "np_peer4";
/// IPv6 address → [`PeerRow`](crate::peer::PeerRow).
pub const PEER6: &str = "np_peer6";
/// IPv4 prefix → [`CidrRow`](crate::peer::CidrRow).
pub const CIDR4: &str = "np_cidr4";
/// IPv6 prefix → [`CidrRow`](crate::peer::CidrRow).
pub const CIDR6: &str = "np_cidr6";
/// [`PolicyKey`](crate::policy::PolicyKey) → [`PolicyRow`](crate::policy::PolicyRow).
pub const POLICY: &str = "np_policy";
/// [`PortKey`](crate::policy::PortKey) → [`RuleId`](crate::policy::RuleId).
pub const PORT: &str = "np_port";
/// [`FrontendKey4`](crate::service::FrontendKey4) → [`FrontendRow`](crate::service::FrontendRow).
pub const FE4: &str = "np_fe4";
/// [`FrontendKey6`](crate::service::FrontendKey6) → [`FrontendRow`](crate::service::FrontendRow).
pub const FE6: &str = "np_fe6";
/// Row number, named by frontends → [`ServiceRow`](crate::service::ServiceRow) as `u64`; written through `mmap`.
pub const SVC: &str = "np_svc";
/// The arena of [`Backend4`](crate::service::Backend4); written through `mmap`.
pub const BE4: &str = "np_be4";
/// The arena of [`Backend6`](crate::service::Backend6); written through `mmap`.
pub const BE6: &str = "np_be6";
/// Backends that may go on answering for a Service's port, [`MemberKey4`](crate::service::MemberKey4) → `u32`, always 0.
pub const MEMBER4: &str = "np_member4";
/// As [`MEMBER4`], [`MemberKey6`](crate::service::MemberKey6).
pub const MEMBER6: &str = "np_member6";
/// Session affinity, [`ClientKey4`](crate::service::ClientKey4) → [`AffinityRow`](crate::service::AffinityRow).
pub const AFF4: &str = "np_aff4";
/// Session affinity, [`ClientKey6`](crate::service::ClientKey6) → [`AffinityRow`](crate::service::AffinityRow).
pub const AFF6: &str = "np_aff6";
/// Source ranges: 32 bits of [`FrontendRow::svc`](crate::service::FrontendRow::svc) and an IPv4 prefix
/// ([`ClientKey4`](crate::service::ClientKey4)) → `u32`, always 0.
pub const RANGE4: &str = "np_range4";
/// As [`RANGE4`], with an IPv6 prefix.
pub const RANGE6: &str = "np_range6";
/// Prefixes that Services' IPv4 addresses are taken from (ServiceCIDR) → `u32`, always 0.
pub const SVCNET4: &str = "np_svcnet4";
/// As [`SVCNET4`], IPv6.
pub const SVCNET6: &str = "np_svcnet6";
/// Addresses of the cluster, with `--external-mode=dsr` only: IPv4 address → [`ClusterRow4`](crate::cluster::ClusterRow4).
pub const CLUSTER4: &str = "np_cluster4";
/// As [`CLUSTER4`], IPv6 address → [`ClusterRow6`](crate::cluster::ClusterRow6).
pub const CLUSTER6: &str = "np_cluster6";
/// What sockets of the node's own processes were told instead of a Service's address,
/// [`SocketKey`](crate::socket::SocketKey) → [`SocketRow`](crate::socket::SocketRow).
pub const SOCK: &str = "np_sock";
/// Ports of a datagram whose later fragments carry none, [`FragKey4`](crate::fragment::FragKey4).
pub const FRAG4: &str = "np_frag4";
/// Ports of a datagram whose later fragments carry none, [`FragKey6`](crate::fragment::FragKey6).
pub const FRAG6: &str = "np_frag6";
/// Row 0: [`Config`](crate::config::Config); written through `mmap`.
pub const CONFIG: &str = "np_config";
/// Counters, indexed by [`stats::index`](crate::stats::index).
pub const STATS: &str = "np_stats";
/// Ring of [`PacketEvent`](crate::event::PacketEvent), drops only.
pub const DROP: &str = "np_drop";
/// Drops that need no event, [`ToldKey`](crate::told::ToldKey) → [`ToldRow`](crate::told::ToldRow). Not pinned.
pub const TOLD: &str = "np_told";
/// Interface index → what its pod was too loud for, [`ToldRow`](crate::told::ToldRow). Not pinned.
pub const LOUD: &str = "np_loud";
/// Ring of [`PacketEvent`](crate::event::PacketEvent), forwarded connections, written while somebody listens.
pub const FLOW: &str = "np_flow";

/// Every map that is pinned and outlives the agent.
pub const PINNED: [&str; 35] = [
    CT4, CT6, QUOTA, EP, NO_POD, UPLINK, PEER4, PEER6, CIDR4, CIDR6, POLICY, PORT, FE4, FE6, SVC, BE4, BE6,
    MEMBER4, MEMBER6, AFF4, AFF6, RANGE4, RANGE6, SVCNET4, SVCNET6, CLUSTER4, CLUSTER6, SOCK, FRAG4, FRAG6,
    CONFIG, MARK, STATS, DROP, FLOW,
];

/// Program on TC ingress of the host side of a pod's interface: what the pod sends.
pub const FROM_POD: &str = "from_pod";
/// Program on TC egress of the host side of a pod's interface: what the pod receives.
pub const TO_POD: &str = "to_pod";
/// Programs on a cgroup, for the node's own processes: `connect(2)`, `sendmsg(2)` of a socket that is not connected,
/// `recvmsg(2)` of a datagram, `getpeername(2)`, each for IPv4 and for IPv6 sockets.
pub const SOCKET_PROGRAMS: [&str; 8] = [
    "np_connect4",
    "np_connect6",
    "np_sendmsg4",
    "np_sendmsg6",
    "np_recvmsg4",
    "np_recvmsg6",
    "np_getpeername4",
    "np_getpeername6",
];
/// Constant of those programs: the cookie of the network namespace whose sockets are the node's.
/// [`INITIAL`](crate::socket::INITIAL): the kernel's first one, whatever its cookie. 0: none.
pub const NODE_NETNS: &str = "NODE_NETNS";
/// Constant of those programs: 1 if they may say why a call fails (`bpf_set_retval`, kernel 6.1).
pub const SAYS_WHY: &str = "SAYS_WHY";
/// Program on TC ingress of an uplink: what comes from outside for Services.
pub const FROM_NETDEV: &str = "from_netdev";
/// Program on TC egress of an uplink: answers of the node's own servers to clients of Services.
pub const TO_NETDEV: &str = "to_netdev";
/// Program on an uplink itself (XDP): what comes from outside for a Service, before the kernel has a buffer for it.
pub const FROM_WIRE: &str = "from_wire";
/// Interface index → [`WireRow`](crate::wire::WireRow). Not pinned.
pub const WIRE: &str = "np_wire";
/// The secret of [`Mark`](crate::wire::Mark)s.
pub const MARK: &str = "np_mark";
/// Frames that [`FROM_WIRE`] has translated, per CPU, a `u64`. Not pinned.
pub const WIRE_SENT: &str = "np_wire_sent";
/// Never attached: returns the low 31 bits of the kernel's jiffies, which [`CtEntry::last_seen`] counts in.
///
/// [`CtEntry::last_seen`]: crate::conntrack::CtEntry::last_seen
pub const CLOCK: &str = "np_clock";
/// Never attached: removes entries of `np_ct4` that nobody has touched since the agent read them. Its packet is
/// [`Reap4`](crate::reap::Reap4) rows; it returns how many entries are gone.
pub const REAP4: &str = "np_reap4";
/// As [`REAP4`], for `np_ct6`.
pub const REAP6: &str = "np_reap6";
/// Never attached: does nothing. The benchmark's zero.
pub const EMPTY: &str = "np_empty";
/// Never attached: only looks rows up, as a packet's program would. The benchmark's unit. Its packet is a
/// [`Question`](crate::lookup::Question).
pub const LOOK_UP: &str = "np_look_up";

const _: () = {
    let mut i = 0;
    while i < PINNED.len() {
        assert!(PINNED[i].len() <= 15, "the kernel cuts map names at 15 bytes");
        i += 1;
    }
    let mut i = 0;
    while i < SOCKET_PROGRAMS.len() {
        assert!(SOCKET_PROGRAMS[i].len() <= 15, "the kernel cuts program names at 15 bytes");
        i += 1;
    }
};
