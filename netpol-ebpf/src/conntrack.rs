//! Connections: finding an entry and proving that it is this packet's, keeping it current, making and removing pairs.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::bpf_jiffies64,
};
use netpol_common::{
    config::short,
    conntrack::{CtEntry, Judged, Tuple, flags},
    logic::tcp,
    net::{Address, Be16, proto},
    reason::DropReason,
    stats::Extra,
};

use crate::{
    atomic,
    case::Case,
    config as settings,
    ctx::Skb,
    family::{Family, Ipv4, Ipv6},
    metrics,
    parse::Packet,
    peer,
    progs::Hook,
    quota,
};

/// `-EEXIST`
const EXISTS: i32 = -17;

/// An entry and the way this packet goes along it.
///
/// The entry stays a pointer: an insertion elsewhere may recycle it at any moment (`bpf_htab` preallocates), so it is read
/// field by field, and the worst a recycled entry does is one packet judged by another live decision.
#[derive(Clone, Copy)]
pub struct Hit {
    pub entry: *mut CtEntry,
    pub flags: u32,
    /// The packet goes from responder to initiator.
    pub reply: bool,
}

impl Hit {
    /// Whether a new connection may take its place, opened from either end.
    #[inline(always)]
    pub fn over(&self) -> bool {
        flags::closed(self.flags) || self.flags & flags::MID_FLOW != 0 || self.judged().is_denied()
    }

    /// Whether a client speaks to the backend itself, from where that one answers it as a Service: by another connection, which
    /// has its entry beside this one.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        !self.reply && self.flags & flags::BACK != 0
    }

    /// What was decided last.
    #[inline(always)]
    pub fn judged(&self) -> Judged {
        // SAFETY: a non-null pointer into a hash map; one aligned load.
        unsafe { (&raw const (*self.entry).judged).read_volatile() }
    }

    /// Whether its packets pass in `epoch`. `settled`: they were judged a moment ago, whatever the epoch is by now.
    #[inline(always)]
    pub fn may_pass(&self, epoch: u32, settled: u32) -> bool {
        let judged = self.judged();
        judged == Judged::allowed(epoch) || (settled != 0 && !judged.is_denied())
    }

    /// Interfaces of the packet's sender and receiver, 0 where the end is no pod of this node.
    #[inline(always)]
    pub fn interfaces(&self) -> (u32, u32) {
        // SAFETY: a non-null pointer into a hash map.
        let (orig, reply) = unsafe { ((*self.entry).if_orig, (*self.entry).if_reply) };
        if self.reply { (reply, orig) } else { (orig, reply) }
    }
}

/// The entry of a tuple, whoever it belongs to.
#[inline(always)]
pub fn find<F: Family>(tuple: &Tuple<F::Addr>) -> Option<Hit> {
    hit::<F>(F::ct_key(tuple), tuple)
}

/// The entry of a case's packet: under its tuple, or beside that if it was found to belong there.
#[inline(always)]
pub fn find_for<F: Family>(case: &Case<F::Addr>) -> Option<Hit> {
    if case.beside == 0 { find::<F>(&case.packet.tuple) } else { find_beside::<F>(&case.packet.tuple) }
}

/// The entry beside a back entry of the same tuple: of a connection to the backend itself.
#[inline(always)]
pub fn find_beside<F: Family>(tuple: &Tuple<F::Addr>) -> Option<Hit> {
    hit::<F>(F::beside(F::ct_key(tuple)), tuple)
}

#[inline(always)]
fn hit<F: Family>(key: F::CtKey, tuple: &Tuple<F::Addr>) -> Option<Hit> {
    let entry = F::ct().get_ptr_mut(key)?;
    // SAFETY: a non-null pointer into a hash map.
    let flags = unsafe { (*entry).flags };
    Some(Hit { entry, flags, reply: tuple.from_high() != (flags & flags::FROM_HIGH != 0) })
}

/// Whether the packet comes from (goes to) the interface that the entry names for that end. A foreign packet with the
/// right addresses gets nothing of the entry.
#[inline(always)]
pub fn owns(hit: &Hit, skb: &Skb, hook: Hook) -> bool {
    let (sender, receiver) = hit.interfaces();
    match hook {
        Hook::FromPod => sender == skb.ifindex(),
        Hook::ToPod => {
            receiver == skb.ifindex()
                && match sender {
                    0 => hit.flags & flags::NODE == 0 || hit.reply || skb.ingress_ifindex() == 0,
                    pod => peer::came_from(skb.ingress_ifindex(), pod),
                }
        }
    }
}

/// Counts a packet of a known connection and follows its state, which is the answer: the entry's flags as they are now.
#[inline(always)]
pub fn touch<A: Address>(hit: &Hit, len: u32, packet: &Packet<A>) -> u32 {
    let entry = hit.entry;
    // SAFETY: a non-null pointer into a hash map; counters are added to atomically, the other fields are single words of
    // which any of two concurrent writes is right: a flag lost that way only lets the entry live for its longer timeout.
    unsafe {
        let (packets, bytes) = if hit.reply {
            (&raw mut (*entry).packets[1], &raw mut (*entry).bytes[1])
        } else {
            (&raw mut (*entry).packets[0], &raw mut (*entry).bytes[0])
        };
        atomic::add(packets, 1);
        atomic::add(bytes, u64::from(len));
        let now = bpf_jiffies64() as u32;
        if (*entry).last_seen != now {
            (*entry).last_seen = now;
        }
        let state = match packet.tuple.proto {
            proto::TCP => tcp::advance(hit.flags, hit.reply, packet.tcp_flags),
            _ if hit.reply => hit.flags | flags::REPLIED,
            _ => hit.flags,
        };
        if state != hit.flags {
            store_state(entry, state);
        }
        state
    }
}

/// Stores the state of a connection, which [`touch`] follows.
#[inline(always)]
pub fn store_state(entry: *mut CtEntry, flags: u32) {
    // SAFETY: a non-null pointer into a hash map; a single word, and only the half that holds the state: if this entry has been
    // recycled meanwhile, the other connection stays what it is.
    unsafe { (&raw mut (*entry).flags).cast::<u16>().add(1).write_volatile((flags >> 16) as u16) };
}

/// Keeps an entry that a packet needs, but does not belong to.
#[inline(always)]
pub fn keep(hit: &Hit) {
    // SAFETY: as in `touch`.
    unsafe { (&raw mut (*hit.entry).last_seen).write_volatile(bpf_jiffies64() as u32) };
}

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
    let left = quota::of(write_entry::<F>(case, epoch, plain));
    if quota::used_up(left) {
        settings::note_short(short::QUOTA);
        metrics::extra(Extra::OverQuota);
        return if svc.is_none() { Ok(Entered::Untracked) } else { Err(DropReason::TableFull) };
    }
    case.lend();
    let outcome = F::enter_apart(svc.unwrap_or(NO_SERVICE));
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
    let reversed = plain & REVERSED != 0;
    let from_high = from_high(case.packet.tuple.from_high() != reversed);
    // SAFETY: helper without arguments.
    let now = unsafe { bpf_jiffies64() } as u32;
    let entry = case.entry.write(CtEntry {
        packets: [0; 2],
        bytes: [0; 2],
        rule_egress: case.decision.rule_egress,
        rule_ingress: case.decision.rule_ingress,
        judged: Judged::allowed(epoch),
        last_seen: now,
        if_orig: case.ends.initiator,
        if_reply: case.ends.responder,
        flags: plain & !REVERSED | from_high,
        svc: 0,
        nat_addr: [0; 4],
        nat_port: Be16::from_raw(0),
        nat_sport: Be16::from_raw(0),
        nat_saddr: [0; 4],
        uplink: case.uplink,
        opened: now,
        rest: [0; 2],
    });
    entry.owner()
}

#[inline(never)]
fn enter_one<F: Family>(case: &mut Case<F::Addr>) -> u32 {
    // SAFETY: written by `write_entry` for this packet.
    let entry = unsafe { case.entry.assume_init_ref() };
    insert::<F>(F::ct_key(&case.packet.tuple), entry)
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
    entry.flags = entry.flags & !flags::FROM_HIGH | flags::BACK | from_high(back.from_high());
    entry.nat_addr = case.packet.tuple.dst.to_words();
    entry.nat_port = case.packet.tuple.dport;
    entry.nat_saddr = case.packet.tuple.src.to_words();
    entry.nat_sport = case.packet.tuple.sport;
    let (table, key) = (F::ct(), F::ct_key(&back));
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
    // SAFETY: written by `write_entry` for this packet.
    let entry = unsafe { case.entry.assume_init_mut() };
    let plain = entry.flags & !(flags::FROM_HIGH | flags::BACK);
    entry.flags = plain | flags::FRONT | from_high(case.packet.tuple.from_high());
    entry.nat_addr = case.nat_dst.to_words();
    entry.nat_port = case.nat_dport;
    entry.nat_saddr = case.nat_src.to_words();
    entry.nat_sport = case.nat_sport;
    let key = F::ct_key(&case.packet.tuple);
    let key = if case.beside == 0 { key } else { F::beside(key) };
    insert::<F>(key, entry)
}

/// Nobody else made the back entry meanwhile: it is this client's own connection, and a retry makes it again.
#[inline(never)]
fn leave_back<F: Family>(case: &Case<F::Addr>) -> u32 {
    if F::ct().remove(F::ct_key(&back(case))).is_ok() { ONE_LESS } else { 0 }
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

#[inline(always)]
const fn from_high(is: bool) -> u32 {
    if is { flags::FROM_HIGH } else { 0 }
}
