//! Words for what becomes of a packet.

use std::net::SocketAddr;

use netpol_common::{direction::Direction, reason::DropReason};

/// What should become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Fate {
    Goes {
        /// To the other pod at once, not by the node's own way.
        handed_over: bool,
        /// As the first of a connection.
        opens: bool,
        /// The end that the connection's other entry says where it goes, then the one that it comes from.
        changes: [Option<Change>; 2],
    },
    Drops {
        reason: DropReason,
        direction: Direction,
    },
    /// It is dropped as `no-backend`, and its sender told: by a reset to the segment whose header lies at `l4`, or by an
    /// error unless there were too many of them lately.
    Refuses {
        l4: usize,
        reset: bool,
    },
}

/// One end of the packet, or of the one that it quotes, is replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub(super) at: Place,
    pub(super) source: bool,
    pub(super) old: SocketAddr,
    pub(super) new: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the packet; the port only if it has a transport header, and with it a checksum there.
    Itself { l4: usize, checksum: Option<usize> },
    /// In the quoted packet, and in the packet itself where the same address stands at the opposite end.
    Quoted { icmp: usize, l3: usize, l4: usize },
}

/// What the program took at random.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chosen {
    pub(super) backend: SocketAddr,
    /// Under which the backend sees the client.
    pub(super) source_port: u16,
}
