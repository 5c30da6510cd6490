//! Events for the agent. Called only from the pipeline.

use aya_ebpf::{helpers::bpf_jiffies64, maps::RingBuf};
use netpol_common::{
    event::{HOOK_FROM_NETDEV, PacketEvent},
    net::Address,
    policy::{RuleId, SlotId},
    reason::DropReason,
    stats::Extra,
    told::ToldKey,
};

use crate::{
    case::Case,
    ctx::Skb,
    maps::{DROP, FLOW},
    metrics,
    progs::Hook,
    told,
};

/// Nobody is woken: the agent looks into the rings several times a second, so that a flood costs it no more than that.
const NO_WAKEUP: u64 = 1;

/// A parsed packet was dropped.
#[inline(always)]
pub fn dropped<A: Address>(skb: &Skb, hook: Hook, reason: u8, case: &Case<A>) {
    metrics::count(reason, case.decision.direction, skb.len());
    let key = key(reason, case);
    if !told::is_news(&key, skb.len()) {
        return;
    }
    if !write(&DROP, skb, hook, reason, case, 0) {
        metrics::extra(Extra::LostDrops);
    }
}

/// What a packet makes one event with, given who decided.
#[inline(always)]
fn key<A: Address>(reason: u8, case: &Case<A>) -> ToldKey {
    let tuple = &case.packet.tuple;
    ToldKey {
        src: tuple.src.to_words(),
        dst: tuple.dst.to_words(),
        endpoint: case.decision.endpoint,
        sport: tuple.sport.to_host(),
        dport: tuple.dport.to_host(),
        proto: tuple.proto,
        pad: 0,
        what: ToldKey::what(reason, case.decision.direction, A::FAMILY),
    }
}

/// A connection was let through that the policies of its end in the case's decision deny, which are being tried.
#[inline(always)]
pub fn audited<A: Address>(skb: &Skb, hook: Hook, case: &Case<A>) {
    if told::is_news(&key(0, case), skb.len()) && !write(&DROP, skb, hook, 0, case, 1) {
        metrics::extra(Extra::LostDrops);
    }
}

/// A connection was let through, and somebody listens.
#[inline(always)]
pub fn forwarded<A: Address>(skb: &Skb, hook: Hook, case: &Case<A>) {
    if !write(&FLOW, skb, hook, 0, case, 0) {
        metrics::extra(Extra::LostFlows);
    }
}

/// A packet without readable addresses was dropped.
#[inline(never)]
pub fn unparsed(skb: &Skb, hook: Hook, reason: DropReason) {
    metrics::count(reason as u8, hook.direction(), skb.len());
    let (endpoint, what) = (skb.ifindex(), ToldKey::what(reason as u8, hook.direction(), 0));
    let key = ToldKey { src: [0; 4], dst: [0; 4], endpoint, sport: 0, dport: 0, proto: 0, what, pad: 0 };
    if !told::is_news(&key, skb.len()) {
        return;
    }
    let Some(mut record) = DROP.reserve::<PacketEvent>(0) else {
        metrics::extra(Extra::LostDrops);
        return;
    };
    // SAFETY: helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    record.write(PacketEvent {
        version: PacketEvent::VERSION,
        reason: reason as u8,
        direction: hook.direction() as u8,
        hook: hook as u8,
        ifindex: skb.ifindex(),
        endpoint: skb.ifindex(),
        jiffies,
        len: skb.len(),
        rule_egress: RuleId::NONE,
        rule_ingress: RuleId::NONE,
        slot: SlotId::NONE,
        family: 0,
        proto: 0,
        tcp_flags: 0,
        audit: 0,
        src: [0; 16],
        dst: [0; 16],
        nat_dst: [0; 16],
        sport: 0,
        dport: 0,
        nat_dport: 0,
        nat_sport: 0,
        pad3: 0,
    });
    record.submit(NO_WAKEUP);
}

#[inline(always)]
fn write<A: Address>(ring: &RingBuf, skb: &Skb, hook: Hook, reason: u8, case: &Case<A>, audit: u8) -> bool {
    let Some(mut record) = ring.reserve::<PacketEvent>(0) else { return false };
    // SAFETY: helper without arguments.
    let jiffies = unsafe { bpf_jiffies64() };
    record.write(PacketEvent {
        version: PacketEvent::VERSION,
        reason,
        direction: case.decision.direction as u8,
        family: A::FAMILY,
        proto: case.packet.tuple.proto,
        tcp_flags: case.packet.tcp_flags,
        hook: if case.uplink == 0 { hook as u8 } else { HOOK_FROM_NETDEV },
        audit,
        ifindex: skb.ifindex(),
        endpoint: case.decision.endpoint,
        jiffies,
        src: bytemuck::cast(case.packet.tuple.src.to_words()),
        dst: bytemuck::cast(case.packet.tuple.dst.to_words()),
        nat_dst: bytemuck::cast(case.nat_dst.to_words()),
        sport: case.packet.tuple.sport.to_host(),
        dport: case.packet.tuple.dport.to_host(),
        nat_dport: case.nat_dport.to_host(),
        nat_sport: case.nat_sport.to_host(),
        len: skb.len(),
        pad3: 0,
        rule_egress: case.decision.rule_egress,
        rule_ingress: case.decision.rule_ingress,
        slot: case.decision.slot,
    });
    record.submit(NO_WAKEUP);
    true
}
