//! Making entries: one for a connection, or a pair for one that is translated.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::bpf_jiffies64,
};
use netpol_common::{
    config::short,
    conntrack::{CtEntry, Judged, LastSegment, Tuple, flags},
    net::{Address, Be16},
    reason::DropReason,
    stats::Extra,
};

use crate::{
    case::Case,
    config as settings,
    family::{Family, Ipv4, Ipv6},
    metrics, quota,
};

/// `-EEXIST`
const EXISTS: i32 = -17;

/// What became of a packet that had no entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// Its connection has its entries.
    Tracked,
    /// There is no room. The connection needs no translation, so each of its packets is judged on its own.
    Untracked,
    /// It opens none and leaves nothing behind.
    Passed,
    /// It opens none, and its ends are known: `mid_flow` comes next.
    NotYet,
}

/// In `create`'s flags: the packet goes from responder to initiator. Never stored.
pub const REVERSED: u32 = 1 << 31;

/// Enters the connection that `case` was decided for. `plain` are the flags that every entry of it has; `svc` is the service
/// it goes through.
#[inline(always)]
pub fn create<F: Family>(
    case: &mut Case<F::Addr>,
    epoch: u32,
    plain: u32,
    svc: Option<u32>,
) -> Result<Entered, DropReason> {
    create_from_elsewhere::<F>(case, epoch, plain, svc, |_| false)
}

/// As [`create`]. If answers would be taken for another connection's, `elsewhere` gives the case another source, from which the
/// connection is tried again, or says that there is none.
#[inline(always)]
pub fn create_from_elsewhere<F: Family>(
    case: &mut Case<F::Addr>,
    epoch: u32,
    plain: u32,
    svc: Option<u32>,
    mut elsewhere: impl FnMut(&mut Case<F::Addr>) -> bool,
) -> Result<Entered, DropReason> {
    let left = quota::of(write_entry::<F>(case, epoch, plain));
    if quota::used_up(left) {
        settings::note_short(short::QUOTA);
        metrics::extra(Extra::OverQuota);
        return if svc.is_none() { Ok(Entered::Untracked) } else { Err(DropReason::TableFull) };
    }
    // Nothing else happens in it: the verifier walks each round of it.
    let outcome = loop {
        case.lend();
        let outcome = F::enter_apart(svc.unwrap_or(NO_SERVICE));
        if outcome & OUTCOME != COLLISION || !elsewhere(case) {
            break outcome;
        }
        // SAFETY: written by `write_entry` for this packet.
        unsafe { case.entry.assume_init_mut() }.flags |= flags::SNAT;
    };
    quota::charge(left, entries(outcome));
    match outcome & OUTCOME {
        TRACKED => Ok(Entered::Tracked),
        COLLISION => Err(DropReason::Collision),
        _ if svc.is_none() => Ok(Entered::Untracked),
        _ => Err(DropReason::TableFull),
    }
}

// Functions with frames of their own on the stack answer with plain numbers: what became of it, and which entries there are more
// or less.
const OUTCOME: u32 = 3;
const TRACKED: u32 = 0;
const COLLISION: u32 = 1;
const FULL: u32 = 2;
const ONE_MORE: u32 = 1 << 8;
const MORE: u32 = 3 << 8;
const ONE_LESS: u32 = 1 << 16;

#[inline(always)]
const fn entries(outcome: u32) -> i64 {
    ((outcome & MORE) / ONE_MORE) as i64 - ((outcome & ONE_LESS) / ONE_LESS) as i64
}

/// Fills the case's entry; whose quota it counts against.
#[inline(never)]
fn write_entry<F: Family>(case: &mut Case<F::Addr>, epoch: u32, plain: u32) -> u32 {
    // SAFETY: helper without arguments.
    let now = unsafe { bpf_jiffies64() } as u32;
    let (packets, bytes) = counted(case);
    let entry = case.entry.write(CtEntry {
        packets,
        bytes,
        rule_egress: case.decision.rule_egress,
        rule_ingress: case.decision.rule_ingress,
        judged: Judged::allowed(epoch),
        last_seen: now,
        if_orig: case.ends.initiator,
        if_reply: case.ends.responder,
        flags: plain & !REVERSED | (case.packet.tuple.order() ^ (plain >> REVERSED.trailing_zeros())),
        svc: 0,
        nat_addr: [0; 4],
        nat_port: Be16::from_raw(0),
        nat_sport: Be16::from_raw(0),
        nat_saddr: [0; 4],
        uplink: case.uplink,
        opened: now,
        last: LastSegment::UNKNOWN,
    });
    entry.owner()
}

/// What the entry that the case's packet belongs to begins to count with.
#[inline(always)]
fn counted<A>(case: &Case<A>) -> ([u64; 2], [u64; 2]) {
    let bytes = u64::from(case.goes_along);
    // Without a branch, which the verifier would follow for each try of each way that leads here.
    ([(bytes + u64::from(u32::MAX)) >> 32, 0], [bytes, 0])
}

#[inline(never)]
fn enter_one<F: Family>(case: &mut Case<F::Addr>) -> u32 {
    // SAFETY: written by `write_entry` for this packet.
    let entry = unsafe { case.entry.assume_init_ref() };
    insert::<F>(F::ct_key(&case.packet.tuple, 0), entry)
}

/// In the place of a Service's port: the connection has one entry, and nothing about it is translated.
pub const NO_SERVICE: u32 = u32::MAX;

/// [`enter_entries`] as a global function, see `policy::np_evaluate`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_entries4(svc: u64) -> u64 {
    enter_entries::<Ipv4>(svc as u32).into()
}

/// As `np_entries4`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_entries6(svc: u64) -> u64 {
    enter_entries::<Ipv6>(svc as u32).into()
}

#[inline(always)]
fn enter_entries<F: Family>(svc: u32) -> u32 {
    let Some(case) = Case::<F::Addr>::resume() else { return FULL };
    if svc == NO_SERVICE {
        return enter_one::<F>(case);
    }
    // SAFETY: written by `write_entry` for this packet.
    let entry = unsafe { case.entry.assume_init_mut() };
    entry.svc = svc;
    if entry.flags & flags::DSR != 0 {
        return enter_front::<F>(case);
    }
    // The back entry first: once the front one is there, answers must find their way.
    let back = enter_back::<F>(case);
    if back & OUTCOME != TRACKED {
        return back;
    }
    let front = enter_front::<F>(case);
    if front & OUTCOME != TRACKED {
        return front + back + leave_back::<F>(case);
    }
    front + back
}

/// How the backend's answers come.
#[inline(always)]
fn back<A: Address>(case: &Case<A>) -> Tuple<A> {
    Tuple {
        src: case.nat_src,
        sport: case.nat_sport,
        dst: case.nat_dst,
        dport: case.nat_dport,
        proto: case.packet.tuple.proto,
    }
}

#[inline(never)]
fn enter_back<F: Family>(case: &mut Case<F::Addr>) -> u32 {
    let back = back(case);
    // SAFETY: written by `write_entry` for this packet.
    let entry = unsafe { case.entry.assume_init_mut() };
    (entry.packets, entry.bytes) = ([0; 2], [0; 2]);
    entry.flags = entry.flags & !flags::FROM_HIGH | flags::BACK | back.order();
    entry.nat_addr = case.packet.tuple.dst.to_words();
    entry.nat_port = case.packet.tuple.dport;
    entry.nat_saddr = case.packet.tuple.src.to_words();
    entry.nat_sport = case.packet.tuple.sport;
    let (table, key) = (F::ct(), F::ct_key(&back, 0));
    match table.insert(key, &*entry, u64::from(BPF_NOEXIST)) {
        Ok(()) => TRACKED | ONE_MORE,
        Err(EXISTS) if !replaceable::<F>(&key, entry) => COLLISION,
        Err(EXISTS) if table.insert(key, &*entry, u64::from(BPF_ANY)).is_ok() => TRACKED,
        Err(_) => {
            settings::note_short(short::TABLE);
            FULL
        }
    }
}

#[inline(never)]
fn enter_front<F: Family>(case: &mut Case<F::Addr>) -> u32 {
    let counted = counted(case);
    // SAFETY: written by `write_entry` for this packet.
    let entry = unsafe { case.entry.assume_init_mut() };
    (entry.packets, entry.bytes) = counted;
    let plain = entry.flags & !(flags::FROM_HIGH | flags::BACK);
    entry.flags = plain | flags::FRONT | case.packet.tuple.order();
    entry.nat_addr = case.nat_dst.to_words();
    entry.nat_port = case.nat_dport;
    entry.nat_saddr = case.nat_src.to_words();
    entry.nat_sport = case.nat_sport;
    insert::<F>(F::ct_key(&case.packet.tuple, case.beside), entry)
}

/// Nobody else made the back entry meanwhile: it is this client's own connection, and a retry makes it again.
#[inline(never)]
fn leave_back<F: Family>(case: &Case<F::Addr>) -> u32 {
    if F::ct().remove(F::ct_key(&back(case), 0)).is_ok() { ONE_LESS } else { 0 }
}

/// Enters one entry, over whatever was there.
#[inline(always)]
fn insert<F: Family>(key: F::CtKey, entry: &CtEntry) -> u32 {
    let table = F::ct();
    match table.insert(key, entry, u64::from(BPF_NOEXIST)) {
        Ok(()) => TRACKED | ONE_MORE,
        Err(EXISTS) if table.insert(key, entry, u64::from(BPF_ANY)).is_ok() => TRACKED,
        Err(EXISTS) => FULL,
        Err(_) => {
            settings::note_short(short::TABLE);
            FULL
        }
    }
}

/// Whether a new connection may take the place of the entry under `key`, as a back entry: it is over, or it is this connection's own,
/// left from an earlier attempt.
#[inline(always)]
fn replaceable<F: Family>(key: &F::CtKey, new: &CtEntry) -> bool {
    let Some(there) = F::ct().get_ptr_mut(key) else { return true };
    // SAFETY: a non-null pointer into a hash map.
    let flags = unsafe { (*there).flags };
    if flags::closed(flags) {
        return true;
    }
    // SAFETY: a non-null pointer into a hash map. Back entries have the client's own source whether it is translated or not.
    let (addr, port, saddr, sport, owner) = unsafe {
        ((*there).nat_addr, (*there).nat_port, (*there).nat_saddr, (*there).nat_sport, (*there).if_orig)
    };
    flags & flags::BACK != 0
        && F::Addr::from_words(addr) == F::Addr::from_words(new.nat_addr)
        && port == new.nat_port
        && F::Addr::from_words(saddr) == F::Addr::from_words(new.nat_saddr)
        && sport == new.nat_sport
        && owner == new.if_orig
}
