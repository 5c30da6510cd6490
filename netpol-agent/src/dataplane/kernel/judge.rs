//! When a connection's entry has had its time.

use std::time::Duration;

use netpol_common::{
    conntrack::{CtEntry, flags},
    logic::tcp::{Phase, phase},
    net::proto,
};

use super::Timeouts;

/// What becomes of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// It stays.
    Keep,
    /// It goes.
    Delete,
}

/// In a hurry, what has not got an answer so far has this part of its time.
const HURRY: u32 = 6;

/// Judges an entry of a protocol whose last packet is `age` ago. `hurry`: room is scarce, so that what is half open has
/// less time; what both ends have spoken on has all of it.
#[must_use]
pub fn judge(entry: &CtEntry, protocol: u8, age: Duration, timeouts: &Timeouts, hurry: bool) -> Judgement {
    let replied = entry.flags & flags::REPLIED != 0;
    let (timeout, half_open) = match (protocol, phase(entry.flags)) {
        (proto::TCP, Phase::Opening) => (timeouts.tcp_opening, true),
        (proto::TCP, Phase::Established) => (timeouts.tcp_established, false),
        (proto::TCP, Phase::Closing) => (timeouts.tcp_closing, false),
        (proto::TCP, Phase::Closed) => (timeouts.tcp_closed, false),
        (proto::UDP, _) if replied => (timeouts.udp_answered, false),
        (proto::UDP, _) => (timeouts.udp_unanswered, true),
        (proto::ICMP | proto::ICMPV6, _) => (timeouts.icmp, true),
        _ => (timeouts.other, !replied),
    };
    let timeout = if hurry && half_open { timeout / HURRY } else { timeout };
    if age > timeout { Judgement::Delete } else { Judgement::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_time() {
        const OPEN: u32 = flags::REPLIED | flags::ESTABLISHED;
        let timeouts = Timeouts::default();
        for (protocol, bits, timeout, hurried) in [
            (proto::TCP, 0, timeouts.tcp_opening, true),
            (proto::TCP, flags::REPLIED, timeouts.tcp_opening, true),
            (proto::TCP, OPEN, timeouts.tcp_established, false),
            (proto::TCP, OPEN | flags::FIN_ORIG, timeouts.tcp_closing, false),
            (proto::TCP, OPEN | flags::FIN_REPLY, timeouts.tcp_closing, false),
            (proto::TCP, OPEN | flags::FIN_ORIG | flags::FIN_REPLY, timeouts.tcp_closed, false),
            (proto::TCP, flags::RST, timeouts.tcp_closed, false),
            (proto::UDP, 0, timeouts.udp_unanswered, true),
            (proto::UDP, flags::REPLIED, timeouts.udp_answered, false),
            (proto::ICMPV6, flags::REPLIED, timeouts.icmp, true),
            (proto::SCTP, flags::REPLIED, timeouts.other, false),
            (proto::SCTP, 0, timeouts.other, true),
        ] {
            let entry = CtEntry { flags: bits, ..CtEntry::default() };
            for (hurry, timeout) in
                [(false, timeout), (true, if hurried { timeout / HURRY } else { timeout })]
            {
                let judge = |age| judge(&entry, protocol, age, &timeouts, hurry);
                assert_eq!(judge(timeout), Judgement::Keep, "{protocol} {bits:#x} {hurry}");
                let late = timeout + Duration::from_millis(1);
                assert_eq!(judge(late), Judgement::Delete, "{protocol} {bits:#x} {hurry}");
            }
        }
    }
}
