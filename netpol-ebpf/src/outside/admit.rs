//! A packet from outside without an entry: whether the Service lets it in, who answers it, and its entries.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{conntrack::flags, logic::tcp, net::proto, reason::DropReason};

use super::{
    OPENED, Routed,
    dsr::{self, Tunnelled},
    source::{self, Place},
};
use crate::{
    apart::Apart,
    case::Case,
    config as settings,
    ctx::Skb,
    entries::{self, Entered},
    forward::{DROP, NEXT},
    judge, peer,
    pipeline::FAILED,
    service,
};

/// How many source ports are tried.
const SOURCE_TRIES: u32 = 32;

/// Enters a connection, unless the packet is for no Service. What comes next.
#[inline(always)]
pub fn admit<F: Apart + Tunnelled>(skb: &Skb, case: &mut Case<F::Addr>) -> Result<i32, DropReason> {
    // Read before any table: a decision is never attributed to a newer epoch than the rows it came from.
    let epoch = settings::read().epoch;
    let tuple = case.packet.tuple;
    let frontend = if case.beside == 0 { F::frontend(tuple.dst, tuple.dport, tuple.proto) } else { None };
    let served = frontend.is_some();
    // A value on both ways: 5.10 refuses to read what only one of them wrote.
    let row = frontend.unwrap_or_default();
    if !served && case.beside == 0 {
        return if service::is_whole::<F>(&tuple.dst) { Err(DropReason::NoBackend) } else { Ok(NEXT) };
    }
    peer::look_up::<F>(&tuple.src, &mut case.ends.src);
    if case.ends.src.ifindex != 0 {
        return Err(DropReason::Spoofed);
    }
    let met_late = tuple.proto == proto::TCP && !case.packet.opens();
    let mut plain = flags::OUTSIDE;
    (case.nat_src, case.nat_sport) = (tuple.src, tuple.sport);
    if served {
        service::lets_in::<F>(&row, tuple.src)?;
        let among = service::backends(row.far)?;
        if met_late && !(service::is_settled(&row, among) && tcp::goes_on(case.packet.tcp_flags)) {
            return Err(DropReason::MidFlow);
        }
        (case.nat_dst, case.nat_dport) =
            service::choose::<F>(&row, among, &tuple.src, (tuple.sport, tuple.proto))?;
    } else if met_late || tuple.proto == proto::SCTP {
        return Err(DropReason::Collision);
    } else {
        (case.nat_dst, case.nat_dport) = (tuple.dst, tuple.dport);
        case.nat_sport = source::port(skb);
        plain |= flags::SNAT | flags::BESIDE;
    }
    peer::look_up::<F>(&case.nat_dst, &mut case.ends.dst);
    (case.ends.initiator, case.ends.responder) = (0, case.ends.dst.ifindex);
    judge::decide_client(case, met_late)?;
    if case.ends.responder == 0 {
        match source::place::<F>(skb.raw(), case) {
            Place::Here => {}
            Place::Elsewhere if served && dsr::suits::<F>(case) => {
                // Its answers pass by here never.
                plain |= flags::DSR | flags::REPLIED;
                case.nat_src = tuple.src;
            }
            Place::Elsewhere => {
                plain |= flags::SNAT;
                // SCTP's checksum covers its ports.
                if tuple.proto != proto::SCTP {
                    case.nat_sport = source::port(skb);
                }
            }
            Place::Nowhere => return Err(DropReason::NoRoute),
        }
    }
    case.lend();
    Ok(F::enter_arrived(skb.raw(), epoch, plain, row.svc))
}

/// Makes the entries of the case's connection, from another source port if that is taken. What comes next.
#[inline(always)]
pub fn enter<F: Routed>(raw: *mut __sk_buff, epoch: u32, plain: u32, svc: u32) -> i32 {
    let Some(case) = Case::<F::Addr>::resume() else { return DROP };
    let skb = &Skb::from_raw(raw);
    let mut tries = 1;
    // Another connection's answers go by its tuple: from another port they can be told apart.
    let from_another_port = |case: &mut Case<F::Addr>| {
        let another = case.packet.tuple.proto != proto::SCTP && tries < SOURCE_TRIES;
        if another {
            case.nat_sport = source::port(skb);
            tries += 1;
        }
        another
    };
    match entries::create_from_elsewhere::<F>(case, epoch, plain, Some(svc), from_another_port) {
        Ok(Entered::Tracked) => OPENED,
        Err(DropReason::Collision) if tries == SOURCE_TRIES => FAILED | DropReason::NoPort as i32,
        Err(reason) => FAILED | reason as i32,
        Ok(_) => FAILED | DropReason::TableFull as i32,
    }
}
