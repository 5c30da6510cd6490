//! When a connection's entry has had its time.

use std::time::Duration;

use netpol_common::{
    conntrack::{CtEntry, flags},
    net::proto,
};

/// What becomes of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// It stays.
    Keep,
    /// It goes.
    Delete,
}

/// How long an entry stays after its last packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP, both sides have spoken. Longer than the two hours after which hosts probe a silent connection
    /// (RFC 9293 §3.8.4).
    pub tcp_established: Duration,
    /// TCP without an answer so far.
    pub tcp_opening: Duration,
    /// TCP, one side has closed.
    pub tcp_closing: Duration,
    /// TCP, both sides have closed or one has reset: what may still be on its way (RFC 9293, 2 MSL of 30 s).
    pub tcp_closed: Duration,
    /// UDP without an answer so far.
    pub udp_unanswered: Duration,
    /// UDP, both sides have spoken (RFC 4787 REQ-5: at least two minutes).
    pub udp_answered: Duration,
    /// ICMP echo.
    pub icmp: Duration,
    /// SCTP and everything else.
    pub other: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(2 * 3600 + 15 * 60),
            tcp_opening: Duration::from_secs(60),
            tcp_closing: Duration::from_secs(5 * 60),
            tcp_closed: Duration::from_secs(60),
            udp_unanswered: Duration::from_secs(30),
            udp_answered: Duration::from_secs(3 * 60),
            icmp: Duration::from_secs(30),
            other: Duration::from_secs(10 * 60),
        }
    }
}

/// Judges an entry of a protocol whose last packet is `age` ago.
#[must_use]
pub fn judge(entry: &CtEntry, protocol: u8, age: Duration, timeouts: &Timeouts) -> Judgement {
    let has = |bits| entry.flags & bits != 0;
    let timeout = match protocol {
        proto::TCP if flags::closed(entry.flags) => timeouts.tcp_closed,
        proto::TCP if has(flags::FIN_ORIG | flags::FIN_REPLY) => timeouts.tcp_closing,
        proto::TCP if has(flags::REPLIED) => timeouts.tcp_established,
        proto::TCP => timeouts.tcp_opening,
        proto::UDP if has(flags::REPLIED) => timeouts.udp_answered,
        proto::UDP => timeouts.udp_unanswered,
        proto::ICMP | proto::ICMPV6 => timeouts.icmp,
        _ => timeouts.other,
    };
    if age > timeout { Judgement::Delete } else { Judgement::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_time() {
        let timeouts = Timeouts::default();
        for (protocol, bits, timeout) in [
            (proto::TCP, 0, timeouts.tcp_opening),
            (proto::TCP, flags::REPLIED, timeouts.tcp_established),
            (proto::TCP, flags::REPLIED | flags::FIN_ORIG, timeouts.tcp_closing),
            (proto::TCP, flags::REPLIED | flags::FIN_REPLY, timeouts.tcp_closing),
            (proto::TCP, flags::REPLIED | flags::FIN_ORIG | flags::FIN_REPLY, timeouts.tcp_closed),
            (proto::TCP, flags::RST, timeouts.tcp_closed),
            (proto::UDP, 0, timeouts.udp_unanswered),
            (proto::UDP, flags::REPLIED, timeouts.udp_answered),
            (proto::ICMPV6, flags::REPLIED, timeouts.icmp),
            (proto::SCTP, flags::REPLIED, timeouts.other),
        ] {
            let entry = CtEntry { flags: bits, ..CtEntry::default() };
            assert_eq!(judge(&entry, protocol, timeout, &timeouts), Judgement::Keep, "{protocol} {bits:#x}");
            let late = timeout + Duration::from_millis(1);
            assert_eq!(judge(&entry, protocol, late, &timeouts), Judgement::Delete, "{protocol} {bits:#x}");
        }
    }
}
