//! Map capacities, in rows. The agent may ask for others when it creates the maps.

/// Connections per family. A row takes 212 bytes of kernel memory, allocated at load.
pub const CT: u32 = 131_072;
/// Pod interfaces on this node.
pub const EP: u32 = 4_096;
/// Those who have a quota of connections: pods, and clients outside.
pub const QUOTA: u32 = EP + 1;
/// Interfaces of the node that lead to no pod.
pub const NO_POD: u32 = 4_096;
/// Interfaces of this node that lead out of it.
pub const UPLINK: u32 = 256;
/// Addresses of pods that some policy of this node can tell apart, per family.
pub const PEER: u32 = 262_144;
/// Prefixes named by policies of this node, per family.
pub const CIDR: u32 = 65_536;
/// Pairs of policy slot and peer class.
pub const POLICY: u32 = 524_288;
/// Port prefixes over all port sets.
pub const PORT: u32 = 524_288;
/// Service addresses with a port, per family.
pub const FRONTEND: u32 = 131_072;
/// Row numbers of `np_svc`: sets of backends that some frontend names, of both families.
pub const SERVICE: u32 = 131_072;
/// Pairs of a Service's port and a backend that may go on answering, per family: UDP ports and ports with affinity.
pub const MEMBER: u32 = 262_144;
/// Clients that keep their backend, per family (least recently used go first).
pub const AFFINITY: u32 = 65_536;
/// Prefixes in the source ranges of Services, per family.
pub const RANGE: u32 = 65_536;
/// Prefixes that Services' addresses are taken from, per family.
pub const SERVICE_NET: u32 = 1_024;
/// Addresses of the cluster's nodes and pods, per family.
pub const CLUSTER: u32 = 262_144;
/// Backends of the arena, per family, over all services, with what waits for its grace period.
pub const BACKEND: u32 = 524_288;
/// Addresses that sockets of the node's own processes were told, and what they know them by (least recently used go first):
/// one row for each TCP connection to a Service, two for each Service and UDP socket.
pub const SOCK: u32 = 65_536;
/// Datagrams in fragments at the same time, per family (least recently used go first).
pub const FRAG: u32 = 8_192;
/// Drops that the agent has been told of since it last asked what has come after them. More are told of one by one.
pub const TOLD: u32 = 16_384;
/// Events that one pod makes between two such questions; more of its drops are counted only.
pub const EVENTS: u64 = 1_024;
/// Bytes of the ring of drops (a power of two, at least a page).
pub const DROP_RING: u32 = 1 << 20;
/// Bytes of the ring of forwarded connections.
pub const FLOW_RING: u32 = 1 << 20;
