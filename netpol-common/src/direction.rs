//! Which way a packet goes, as the pod sees it.

/// As the pod sees it: `Ingress` is what it receives, whatever hook saw the packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Direction {
    /// Received by the pod.
    Ingress = 0,
    /// Sent by the pod.
    Egress = 1,
}

impl Direction {
    /// The word used in records, counters and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
    /// From the number in an event; `None` for a number that no direction has.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Ingress),
            1 => Some(Self::Egress),
            _ => None,
        }
    }
}
