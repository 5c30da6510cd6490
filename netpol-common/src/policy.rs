//! Compiled policy: slots, classes, port sets and rules, each named by the hash of its content.
//!
//! A number that is the hash of what it stands for never changes its meaning: rows under it are only ever added or
//! removed, a restarted agent arrives at the same numbers, and no order of events can alter them.

use bytemuck::{Pod, Zeroable};

macro_rules! content_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name(pub u64);
    };
}

content_id! {
    /// The rules of one direction that isolate a pod, resolved for its named ports; shared by pods with equal rules.
    SlotId
}
content_id! {
    /// What every rule of this node can tell about a peer: the selectors and blocks that match it, and the named
    /// ports it resolves.
    ClassId
}
content_id! {
    /// Which ports of which protocols are allowed, and by which rule.
    PortSetId
}
content_id! {
    /// The rule that decided.
    RuleId
}

impl SlotId {
    /// Not isolated.
    pub const NONE: Self = Self(0);
}
impl ClassId {
    /// Matched by nothing but rules without peers.
    pub const ANY: Self = Self(0);
}
impl PortSetId {
    /// No port at all.
    pub const NONE: Self = Self(0);
}
impl RuleId {
    /// No rule matched.
    pub const NONE: Self = Self(0);
    /// No policy isolates the pod in this direction.
    pub const NOT_ISOLATED: Self = Self(1);
    /// The node itself to its own pod.
    pub const NODE: Self = Self(2);
    /// A pod to itself.
    pub const SELF: Self = Self(3);
    /// The end is not a pod of this node: judged elsewhere, if at all.
    pub const ELSEWHERE: Self = Self(4);
    /// No rule allows it, and the policies that isolate the pod are being tried.
    pub const AUDIT: Self = Self(5);
    /// Hashes have this bit, the constants above have it not.
    pub const HASHED: u64 = 1 << 63;
}

/// Key of `np_policy`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct PolicyKey {
    /// Whose rules. The direction is a part of the slot's content.
    pub slot: SlotId,
    /// Which peers. [`ClassId::ANY`] holds the rules without peers; the rows of other classes include them.
    pub class: ClassId,
}

/// Value of `np_policy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct PolicyRow {
    /// The rule that allows every port of every protocol, or [`RuleId::NONE`].
    pub any: RuleId,
    /// The ports allowed otherwise.
    pub ports: PortSetId,
    /// Bit n: the set has a port prefix of n bits (0 ≤ n ≤ 16) for TCP.
    pub tcp: u32,
    /// The same for UDP.
    pub udp: u32,
    /// The same for SCTP.
    pub sctp: u32,
    /// Always 0.
    pub pad: u32,
}

/// Key of `np_port`, whose value is the [`RuleId`] that allows the prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct PortKey {
    /// Which set.
    pub ports: PortSetId,
    /// Host order; bits behind the prefix are 0.
    pub port: u16,
    /// TCP, UDP or SCTP.
    pub proto: u8,
    /// Length of the prefix, 0 to 16.
    pub prefix: u8,
    /// Always 0.
    pub pad: u32,
}
