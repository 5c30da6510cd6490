use aya_ebpf::{macros::classifier, programs::TcContext};
use netpol_common::{
    conntrack::CtEntry,
    reap::{HEADER, Reap4, Reap6},
};

use crate::{
    ctx::Skb,
    family::{Family, Ipv4, Ipv6},
};

macro_rules! reap {
    ($(#[$doc:meta])* $name:ident, $family:ty, $row:ty) => {
        $(#[$doc])*
        #[classifier]
        pub fn $name(ctx: TcContext) -> i32 {
            let skb = Skb::new(&ctx);
            let (mut at, mut gone) = (HEADER as u32, 0);
            let mut row = 0;
            while row < <$row>::MAX {
                let Ok(reap) = skb.load::<$row>(at) else { return gone };
                gone += remove::<$family>(
                    &(reap.first, reap.first_seen, reap.first_flags),
                    &(reap.second, reap.second_seen, reap.second_flags),
                    reap.first == reap.second,
                );
                at += size_of::<$row>() as u32;
                row += 1;
            }
            gone
        }
    };
}

reap! {
    /// Removes old connections. Run by the agent, never attached. The look and the removal lie nanoseconds apart: a packet
    /// in between was as late as the next one.
    np_reap4, Ipv4, Reap4
}
reap! {
    /// As `np_reap4`.
    np_reap6, Ipv6, Reap6
}

/// How many of the entries are gone: all or none.
#[inline(always)]
fn remove<F: Family>(first: &(F::CtKey, u32, u32), second: &(F::CtKey, u32, u32), alone: bool) -> i32 {
    if !untouched::<F>(first) || !untouched::<F>(second) {
        return 0;
    }
    let table = F::ct();
    let mut gone = i32::from(table.remove(first.0).is_ok());
    if !alone {
        gone += i32::from(table.remove(second.0).is_ok());
    }
    gone
}

#[inline(always)]
fn untouched<F: Family>((key, seen, flags): &(F::CtKey, u32, u32)) -> bool {
    let Some(entry) = F::ct().get_ptr(*key) else { return false };
    // SAFETY: a non-null pointer into a hash map; single words.
    let (now_seen, now_flags) = unsafe {
        let entry: *const CtEntry = entry;
        ((&raw const (*entry).last_seen).read_volatile(), (&raw const (*entry).flags).read_volatile())
    };
    now_seen == *seen && now_flags == *flags
}
