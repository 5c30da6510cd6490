//! From a Service's address to one of its backends. Writes no packet bytes.
//!
//! The same for whoever asks: a pod, the node itself, or somebody outside. They differ in the set that they choose from.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_prandom_u32, bpf_jiffies64},
};
use netpol_common::{
    conntrack::{CtEntry, flags},
    logic::{backends, ring},
    net::{Address, Be16, V4, V6, proto},
    reason::DropReason,
    service::{AffinityRow, FrontendRow, ServiceRow, flags as way},
};

use crate::{
    config as settings,
    conntrack::Hit,
    family::{Family, Ipv4, Ipv6},
    maps::SVC,
    parse::Packet,
};

/// `-EEXIST`
const EXISTS: i32 = -17;

/// The backends of a row of `np_svc`: [`FrontendRow::near`] or [`FrontendRow::far`].
///
/// # Errors
/// There are none: `NoBackend` if the client is to be told, `NoLocalBackend` if it is not.
#[inline(always)]
pub fn backends(row: u32) -> Result<ServiceRow, DropReason> {
    let Some(row) = SVC.get_ptr(row) else { return Err(DropReason::NoBackend) };
    // SAFETY: a pointer into an array map; one aligned volatile load, since the agent stores through mmap.
    match ServiceRow(unsafe { row.cast::<u64>().read_volatile() }) {
        ServiceRow::DROP => Err(DropReason::NoLocalBackend),
        none if none.n_all() == 0 => Err(DropReason::NoBackend),
        some => Ok(some),
    }
}

/// Whether a frontend is for `client`.
///
/// # Errors
/// `SourceRange`: it asks for source ranges, and the client is in none of them.
#[inline(always)]
pub fn lets_in<F: Family>(frontend: &FrontendRow, client: F::Addr) -> Result<(), DropReason> {
    if frontend.flags & way::SOURCE_RANGES != 0 && !F::in_range(frontend.svc, client) {
        return Err(DropReason::SourceRange);
    }
    Ok(())
}

/// Which of `among` answers a new connection of `client`, which has a port and a protocol: with affinity the one that answered
/// it last, as long as that is still one of them; else the one that the Maglev table has for it, or any.
#[inline(always)]
pub fn choose<F: Family>(
    frontend: &FrontendRow,
    among: ServiceRow,
    client: &F::Addr,
    connection: (Be16, u8),
) -> Result<(F::Addr, Be16), DropReason> {
    if frontend.affinity == 0 {
        return any::<F>(among, client, Some(connection));
    }
    let key = F::client_key(frontend.svc, *client);
    let mut chosen = (*client, Be16::from_raw(0));
    match affine::<F>(&key, among.0, frontend.affinity, &mut chosen) {
        CHOSEN => Ok(chosen),
        _ => Err(DropReason::NoBackend),
    }
}

#[inline(always)]
fn any<F: Family>(
    among: ServiceRow,
    client: &F::Addr,
    connection: Option<(Be16, u8)>,
) -> Result<(F::Addr, Be16), DropReason> {
    let row = if among.has_ring() {
        in_ring::<F>(among, ring::hash(*client, connection))
    } else {
        // SAFETY: helper without arguments.
        among.pick(unsafe { bpf_get_prandom_u32() })
    };
    row.and_then(F::backend).ok_or(DropReason::NoBackend)
}

/// The arena row that the Maglev table has for a hash.
#[inline(always)]
fn in_ring<F: Family>(among: ServiceRow, hash: u32) -> Option<u32> {
    let place = ring::place(among.n_all(), ring::slot(hash));
    let word = F::ring_word(among.base() + among.n_all(), place.word)?;
    Some(among.base() + ((word >> place.shift) as u32 & place.mask))
}

/// Whether every node sends a client to the same of `among`, so that nobody has to remember where it went.
#[inline(always)]
pub fn is_settled(frontend: &FrontendRow, among: ServiceRow) -> bool {
    frontend.flags & way::MAGLEV != 0 && (among.has_ring() || among.n_all() == 1)
}

const CHOSEN: u32 = 0;
const NONE: u32 = 1;

/// `chosen` is the client's address before it is the backend's. Has a frame of its own on the stack, which is why its answer
/// is a plain number.
#[inline(never)]
fn affine<F: Family>(key: &F::ClientKey, among: u64, seconds: u32, chosen: &mut (F::Addr, Be16)) -> u32 {
    let among = ServiceRow(among);
    // SAFETY: helper without arguments.
    let now = unsafe { bpf_jiffies64() } as u32;
    let second = settings::hz();
    let known = F::affinity().get_ptr_mut(key);
    if let Some(row) = known {
        // SAFETY: a non-null pointer into a hash map; single words, and what they say together is checked.
        let age = now.wrapping_sub(unsafe { (*row).last_used });
        // Until the agent knows how long a jiffy is, nothing is too old.
        if (second == 0 || u64::from(age) <= u64::from(seconds) * u64::from(second))
            && answers::<F>(row, among, chosen)
        {
            if age >= second {
                // SAFETY: as above. Whoever reads it meanwhile sees one of the two.
                unsafe { (&raw mut (*row).last_used).write_volatile(now) };
            }
            return CHOSEN;
        }
    }
    let Ok(any) = any::<F>(among, &chosen.0, None) else { return NONE };
    *chosen = any;
    let row = AffinityRow { addr: chosen.0.to_words(), port: chosen.1, pad: 0, last_used: now };
    let flags = if known.is_some() { BPF_ANY } else { BPF_NOEXIST };
    if F::affinity().insert(key, row, u64::from(flags)) == Err(EXISTS)
        && let Some(row) = F::affinity().get_ptr_mut(key)
    {
        // Another first packet of this client was faster: both go where that one went.
        answers::<F>(row, among, chosen);
    }
    CHOSEN
}

/// Whether the backend of `row` is one of `among`; then it is the chosen one. A row that is being replaced may say half of
/// each: that is none of them.
#[inline(always)]
fn answers<F: Family>(row: *const AffinityRow, among: ServiceRow, chosen: &mut (F::Addr, Be16)) -> bool {
    // SAFETY: a non-null pointer into a hash map; single words.
    let backend = unsafe { (F::Addr::from_words((*row).addr), (*row).port) };
    let found = F::is_among(among, backend.0, backend.1);
    if found {
        *chosen = backend;
    }
    found
}

/// Whether the backend with the words of `addr` and the bytes of `port`, as they lie, is one of `among`; as a global function,
/// see `policy::np_evaluate`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_among4(among: u64, addr: u64, port: u64) -> u64 {
    let backend = (V4(addr as u32), Be16::from_raw(port as u16));
    backends::contains(ServiceRow(among), backend, Ipv4::backend).into()
}

/// As `np_among4`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_among6(among: u64, first: u64, last: u64, port: u64) -> u64 {
    let addr = V6([first as u32, (first >> 32) as u32, last as u32, (last >> 32) as u32]);
    backends::contains(ServiceRow(among), (addr, Be16::from_raw(port as u16)), Ipv6::backend).into()
}

/// What becomes of a packet to an address that is no pod's and to no port of a Service.
///
/// # Errors
/// `NoBackend`: it is a Service's address all the same. `NoService`: it could be one.
#[inline(always)]
pub fn unclaimed<F: Family>(addr: &F::Addr) -> Result<(), DropReason> {
    match unclaimed_in_frame::<F>(addr) {
        0 => Ok(()),
        1 => Err(DropReason::NoBackend),
        _ => Err(DropReason::NoService),
    }
}

/// As `affine`.
#[inline(never)]
fn unclaimed_in_frame<F: Family>(addr: &F::Addr) -> u32 {
    if is_whole::<F>(addr) {
        1
    } else if F::is_for_services(*addr) {
        2
    } else {
        0
    }
}

/// Whether an address is a Service's, whole.
#[inline(always)]
pub fn is_whole<F: Family>(addr: &F::Addr) -> bool {
    F::frontend(*addr, Be16::from_raw(0), 0).is_some()
}

/// Whether a client's packet belongs to its connection no more, but asks for a new one under the same addresses and ports:
/// a datagram whose backend may not go on answering, a SYN whose backend new connections do not get any more, and either
/// of them if the address has become a Service's since.
#[inline(always)]
pub fn asks_anew<F: Family>(packet: &Packet<F::Addr>, hit: &Hit) -> bool {
    let datagram = packet.tuple.proto == proto::UDP;
    if hit.is_reply() || hit.flags & flags::NODE_NAT != 0 || !(datagram || packet.opens()) {
        return false;
    }
    match hit.flags & (flags::FRONT | flags::BACK) {
        flags::FRONT if datagram => !may_go_on::<F>(hit.entry),
        flags::FRONT => !may_open::<F>(packet, hit.entry),
        flags::BACK => false,
        _ => frontend_of::<F>(packet).is_some(),
    }
}

#[inline(always)]
fn frontend_of<F: Family>(packet: &Packet<F::Addr>) -> Option<FrontendRow> {
    F::frontend(packet.tuple.dst, packet.tuple.dport, packet.tuple.proto)
}

/// The backend of a front entry.
#[inline(always)]
fn backend_of<F: Family>(entry: *const CtEntry) -> (F::Addr, Be16) {
    // SAFETY: a non-null pointer into a hash map; both fields are written before the entry is inserted and never after.
    unsafe { (F::Addr::from_words((*entry).nat_addr), (*entry).nat_port) }
}

/// Whether the backend may go on answering. Has a frame of its own on the stack.
#[inline(never)]
fn may_go_on<F: Family>(entry: *const CtEntry) -> bool {
    let (addr, port) = backend_of::<F>(entry);
    // SAFETY: as in `backend_of`.
    F::is_member(unsafe { (*entry).svc }, addr, port)
}

/// Whether the backend is one of those that new connections get. As above.
#[inline(never)]
fn may_open<F: Family>(packet: &Packet<F::Addr>, entry: *const CtEntry) -> bool {
    let backend = backend_of::<F>(entry);
    // SAFETY: as in `backend_of`: that bit is of the half that never changes.
    let outside = unsafe { (*entry).flags } & flags::OUTSIDE != 0;
    match frontend_of::<F>(packet).map(|row| backends(if outside { row.far } else { row.near })) {
        Some(Ok(among)) => F::is_among(among, backend.0, backend.1),
        _ => false,
    }
}
