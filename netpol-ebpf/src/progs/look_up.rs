use aya_ebpf::{macros::classifier, programs::TcContext};
use netpol_common::{
    lookup::{HEADER, MISSING, Question, tables},
    net::proto,
    policy::{PolicyKey, PortKey},
};

use crate::{
    ctx::Skb,
    family::{Family, Ipv4},
    maps, service,
};

/// The rows of a question and nothing else: what the tables alone cost a packet. Never attached.
#[classifier]
pub fn np_look_up(ctx: TcContext) -> i32 {
    match Skb::new(&ctx).load::<Question>(HEADER as u32) {
        Ok(question) => answer(&question).map_or(MISSING, |found| (found & 0x7fff_ffff) as i32),
        Err(_) => MISSING,
    }
}

#[inline(always)]
fn answer(question: &Question) -> Option<u64> {
    let (mut addr, mut found) = (question.addr, 0);
    if question.tables & tables::SERVICE != 0 {
        let key = question.frontend;
        let row = Ipv4::frontend(key.addr, key.port, key.proto)?;
        let among = service::backends(row.near).ok()?;
        addr = Ipv4::backend(among.base() + question.backend)?.0;
        found = u64::from(addr.0);
    }
    if question.tables & tables::PEER == 0 {
        return Some(found);
    }
    // SAFETY: copied at once; the agent replaces rows whole.
    let class = unsafe { maps::PEER4.get(addr) }.copied()?.class;
    if question.tables & tables::POLICY == 0 {
        return Some(class.0);
    }
    // SAFETY: as above.
    let row = unsafe { maps::POLICY.get(PolicyKey { slot: question.slot, class }) }.copied()?;
    let key = PortKey { ports: row.ports, port: question.port, proto: proto::TCP, prefix: 16, pad: 0 };
    // SAFETY: as above.
    unsafe { maps::PORT.get(key) }.map(|rule| rule.0)
}
