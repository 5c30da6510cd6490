use crate::model::{Block, NamedPort, PodSelector};

/// Something that rules of this node can tell about an address. A class is a set of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Feature {
    /// It is the address of a pod that this selector matches.
    Pods(PodSelector),
    /// It lies in this block.
    Block(Block),
    /// It is the address of a pod that calls this port by this name.
    Port(NamedPort),
}

/// Number of a [`Feature`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct FeatureId(pub(super) u64);

/// Name and protocol of a port as egress rules write it.
pub(super) type PortName = (String, u8);
