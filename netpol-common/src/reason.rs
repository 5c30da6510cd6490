//! The closed, numbered list of drop reasons: error type of the packet path, index of the counters, word in records.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// Why a packet was not forwarded. Numbers are never reused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $variant = $number,)* }

        impl DropReason {
            /// Every reason, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The word used in records, counters and documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// From the number in an event; `None` for a number without a reason.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// No rule of the policies that isolate the pod allows this new connection. The only security event.
    Policy = 1, "policy";
    /// The interface has no row, or its policy is not in place yet.
    Pending = 2, "pending";
    /// The source address does not belong to the interface that sent it.
    Spoofed = 3, "spoofed";
    /// A header is truncated or contradicts itself.
    Malformed = 4, "malformed";
    /// Neither IPv4, IPv6 nor ARP (a VLAN tag among them).
    Ethertype = 5, "ethertype";
    /// More IPv6 extension headers than are walked.
    TooDeep = 6, "too-deep";
    /// A later fragment of a datagram whose first fragment was not seen.
    Fragment = 7, "fragment";
    /// TCP in the middle of a connection that is not known and that policy would not open.
    MidFlow = 8, "mid-flow";
    /// Nobody answers for the Service, or the port of a Service's address is none of the Service's. The client is told.
    NoBackend = 9, "no-backend";
    /// A translated connection that finds no place in the connection table, or in its pod's quota.
    TableFull = 10, "table-full";
    /// Another connection already answers under this reply tuple.
    Collision = 11, "collision";
    /// A packet that contradicts the connection it belongs to, or TCP flags that contradict each other.
    Invalid = 12, "invalid";
    /// The kernel refused to rewrite the packet.
    Rewrite = 13, "rewrite";
    /// A header names another destination than the one that policy would be asked for.
    SourceRoute = 14, "source-route";
    /// An address that Services' addresses are taken from, and that no Service has.
    NoService = 15, "no-service";
    /// The Service is answered for on other nodes only, and its traffic policy is `Local`. The client is not told.
    NoLocalBackend = 16, "no-local-backend";
    /// The Service lets in clients of its source ranges only, and this is none of them.
    SourceRange = 17, "source-range";
    /// A packet to or from a client outside that has no way out of this node, or is too large for it.
    NoRoute = 18, "no-route";
    /// No source port is left for a connection from outside to a backend of another node.
    NoPort = 19, "no-port";
    /// An encapsulated packet for a pod that comes from no node of the cluster, or speaks of no Service that the pod answers for.
    Encapsulation = 20, "encapsulation";
}

/// One more than the highest number: the size of tables indexed by reason. Index 0 stands for "forwarded".
pub const COUNT: u32 = 21;

const _: () = {
    let mut i = 0;
    while i < DropReason::ALL.len() {
        assert!((DropReason::ALL[i] as u32) < COUNT, "COUNT lags behind the list");
        i += 1;
    }
};
