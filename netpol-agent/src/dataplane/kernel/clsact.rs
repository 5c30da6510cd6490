//! Programs as filters of a clsact qdisc, for kernels without TCX links (before 6.6). They survive the agent by themselves
//! and are found again by their place: a priority and handle of our own.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
};

use super::links::{AttachMode, Hook};
use super::netlink::{Netlink, NetlinkError};

/// Early, but not the place that others take for themselves alone.
const PRIORITY: u16 = 2;
/// `ETH_P_ALL` in network byte order.
const ALL_PROTOCOLS: u16 = 3u16.to_be();

/// Ours: other filters of the priority have other handles. An uplink's is another than a pod's: it tells them apart after a
/// restart.
fn handle(hook: Hook) -> TcHandle {
    let minor = match hook {
        Hook::FromPod | Hook::ToPod => 0x6e70,
        Hook::FromNetdev | Hook::ToNetdev => 0x6e71,
    };
    TcHandle { major: 0, minor }
}

fn parent(hook: Hook) -> TcHandle {
    let minor = match hook {
        Hook::FromPod | Hook::FromNetdev => TcHandle::MIN_INGRESS,
        Hook::ToPod | Hook::ToNetdev => TcHandle::MIN_EGRESS,
    };
    TcHandle { major: u16::MAX, minor }
}

fn filter(ifindex: u32, hook: Hook, options: Vec<TcOption>) -> TcMessage {
    let header = TcHeader {
        index: ifindex.cast_signed(),
        handle: handle(hook),
        parent: parent(hook),
        info: u32::from(PRIORITY) << 16 | u32::from(ALL_PROTOCOLS),
        ..TcHeader::default()
    };
    let mut attributes = vec![TcAttribute::Kind("bpf".into())];
    if !options.is_empty() {
        attributes.push(TcAttribute::Options(options));
    }
    TcMessage::from_parts(header, attributes)
}

/// Puts the program in its place; one that is there already is replaced without a packet in between (`cls_bpf_change`
/// swaps the filter under RCU).
pub(super) fn attach(
    netlink: &mut Netlink,
    ifindex: u32,
    hook: Hook,
    program: BorrowedFd<'_>,
) -> Result<(), NetlinkError> {
    let header = TcHeader {
        index: ifindex.cast_signed(),
        handle: TcHandle { major: u16::MAX, minor: 0 },
        parent: TcHandle::CLSACT,
        ..TcHeader::default()
    };
    let qdisc = TcMessage::from_parts(header, vec![TcAttribute::Kind("clsact".into())]);
    match netlink.change("add a clsact qdisc", Message::NewQueueDiscipline(qdisc), NLM_F_CREATE | NLM_F_EXCL)
    {
        Err(error) if !error.is(libc::EEXIST) => return Err(error),
        _ => {}
    }
    let options = vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
        TcOption::Bpf(TcFilterBpfOption::ProgName(format!("netpol/{}", hook.program()))),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ];
    netlink.change(
        "put a bpf filter",
        Message::NewTrafficFilter(filter(ifindex, hook, options)),
        NLM_F_CREATE,
    )
}

/// Removes our filter; whether there was one.
pub(super) fn detach(netlink: &mut Netlink, ifindex: u32, hook: Hook) -> Result<bool, NetlinkError> {
    if !is_attached(netlink, ifindex, hook)? {
        return Ok(false);
    }
    netlink.change("remove a bpf filter", Message::DelTrafficFilter(filter(ifindex, hook, Vec::new())), 0)?;
    Ok(true)
}

/// Removes the qdisc if no filter is left in it.
pub(super) fn remove_if_empty(netlink: &mut Netlink, ifindex: u32) -> Result<(), NetlinkError> {
    for hook in Hook::POD {
        if !filters(netlink, ifindex, hook)?.is_empty() {
            return Ok(());
        }
    }
    let header = TcHeader {
        index: ifindex.cast_signed(),
        handle: TcHandle { major: u16::MAX, minor: 0 },
        parent: TcHandle::CLSACT,
        ..TcHeader::default()
    };
    netlink.change(
        "remove a clsact qdisc",
        Message::DelQueueDiscipline(TcMessage::from_parts(header, Vec::new())),
        0,
    )
}

/// Whether filters of others see a packet after our program, which is attached so.
pub(super) fn is_behind(
    netlink: &mut Netlink,
    ifindex: u32,
    hook: Hook,
    mode: AttachMode,
) -> Result<bool, NetlinkError> {
    let is_behind = |header: &TcHeader| {
        let priority = header.info >> 16;
        let is_own = header.handle == handle(hook) && priority == u32::from(PRIORITY);
        // All filters see a packet after all links.
        !is_own && (mode == AttachMode::Tcx || priority >= u32::from(PRIORITY))
    };
    Ok(filters(netlink, ifindex, hook)?.iter().any(is_behind))
}

pub(super) fn is_attached(netlink: &mut Netlink, ifindex: u32, hook: Hook) -> Result<bool, NetlinkError> {
    Ok(filters(netlink, ifindex, hook)?
        .iter()
        .any(|header| header.handle == handle(hook) && header.info >> 16 == u32::from(PRIORITY)))
}

fn filters(netlink: &mut Netlink, ifindex: u32, hook: Hook) -> Result<Vec<TcHeader>, NetlinkError> {
    let mut request = TcMessage::with_index(ifindex.cast_signed());
    request.header.parent = parent(hook);
    match netlink.dump("list filters", &Message::GetTrafficFilter(request)) {
        Ok(answers) => Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                Message::NewTrafficFilter(message) => Some(message.header),
                _ => None,
            })
            // A dump begins each priority with a line that has no handle.
            .filter(|header| header.handle != TcHandle::UNSPEC)
            .collect()),
        // No such qdisc, or no such interface any more.
        Err(error) if error.is(libc::ENOENT) || error.is(libc::EINVAL) || error.is(libc::ENODEV) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
