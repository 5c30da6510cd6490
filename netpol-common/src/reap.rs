//! What the agent hands to the programs that remove old connections: rows behind an Ethernet header of zeros.

use bytemuck::{Pod, Zeroable};

use crate::conntrack::{CtKey4, CtKey6};

/// Bytes before the first row.
pub const HEADER: usize = 14;

macro_rules! reap {
    ($(#[$doc:meta])* $name:ident, $key:ty, $rows:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
        #[repr(C)]
        pub struct $name {
            /// Key of the entry that goes first: the front one of a translated connection.
            pub first: $key,
            /// Its [`CtEntry::last_seen`](crate::conntrack::CtEntry::last_seen) as the agent read it.
            pub first_seen: u32,
            /// Its [`CtEntry::flags`](crate::conntrack::CtEntry::flags) as the agent read them.
            pub first_flags: u32,
            /// Key of the back entry of a translated connection, else the same as `first`.
            pub second: $key,
            /// As `first_seen`, of the second entry.
            pub second_seen: u32,
            /// As `first_flags`, of the second entry.
            pub second_flags: u32,
        }

        impl $name {
            /// Most rows of one run: a packet of a program's trial is shorter than a page.
            pub const MAX: usize = $rows;
        }
    };
}

reap! {
    /// A connection of `np_ct4` to be removed, if all its entries are as they were when the agent read them: a packet that
    /// has passed since then has left its mark.
    Reap4, CtKey4, 64
}
reap! {
    /// As [`Reap4`], of `np_ct6`.
    Reap6, CtKey6, 32
}

const _: () = assert!(Reap4::MAX * size_of::<Reap4>() == 3072 && Reap6::MAX * size_of::<Reap6>() == 3072);
