//! What the segments of a TCP connection say about its state (RFC 9293 §3.3.2), seen from between its ends.
//!
//! States are bits of [`flags`] that are only ever added: two CPUs that follow one connection at
//! the same time lose a bit at worst, and the next segment brings it back.

use crate::conntrack::flags;

/// Flag bits as they lie in the header's fourteenth byte.
pub mod bits {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Opens a connection, or answers an opening.
    pub const SYN: u8 = 1 << 1;
    /// There is no such connection (any more).
    pub const RST: u8 = 1 << 2;
    /// Hand over what is there.
    pub const PSH: u8 = 1 << 3;
    /// The acknowledgment field is in use.
    pub const ACK: u8 = 1 << 4;
    /// The urgent pointer is in use.
    pub const URG: u8 = 1 << 5;
}

use bits::{ACK, FIN, PSH, RST, SYN, URG};

/// The combinations that a segment can have, one bit for each value of the six flags.
const SOUND: u64 = {
    let combinations =
        [SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG];
    let (mut all, mut i) = (0u64, 0);
    while i < combinations.len() {
        all |= 1 << combinations[i] | 1 << (combinations[i] | PSH);
        i += 1;
    }
    all
};

/// Whether the flags of a segment make sense together. No end sends others, and what an end makes of them is anybody's
/// guess: scanners live on that. The two bits of RFC 3168 do not matter.
#[must_use]
#[inline(always)]
pub const fn sound(flags: u8) -> bool {
    SOUND >> (flags & 63) & 1 != 0
}

/// Whether a segment asks for a new connection.
#[must_use]
#[inline(always)]
pub const fn opens(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN
}

/// Whether a segment answers the opening of a connection: its receiver is the one who asked.
#[must_use]
#[inline(always)]
pub const fn answers_opening(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN | ACK
}

/// Whether a segment is one that the opener of a connection sends in its course: neither an opening nor an answer to one, and
/// no reset.
#[must_use]
#[inline(always)]
pub const fn goes_on(flags: u8) -> bool {
    flags & (SYN | RST | ACK) == ACK
}

/// The state after a segment in original (`reply` false) or reply direction.
#[must_use]
#[inline(always)]
pub const fn advance(state: u32, reply: bool, segment: u8) -> u32 {
    let mut next = state;
    if reply {
        next |= flags::REPLIED;
    }
    // The handshake is over with the initiator's acknowledgment of an answer. Where it was not seen, with a segment each way.
    let acknowledges = segment & (ACK | SYN | RST) == ACK;
    let late = state & flags::MID_FLOW != 0;
    if acknowledges && next & flags::REPLIED != 0 && (!reply || late) {
        next |= flags::ESTABLISHED;
    }
    if segment & FIN != 0 {
        next |= if reply { flags::FIN_REPLY } else { flags::FIN_ORIG };
    }
    if segment & RST != 0 {
        next |= flags::RST;
    }
    next
}

/// Which of its timeouts a connection in this state has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The handshake is not over: SYN-SENT, SYN-RECEIVED.
    Opening,
    /// ESTABLISHED.
    Established,
    /// One end has closed: FIN-WAIT, CLOSE-WAIT.
    Closing,
    /// Both ends have closed, or one has reset: LAST-ACK, TIME-WAIT, CLOSED.
    Closed,
}

/// The phase of a state.
#[must_use]
pub const fn phase(state: u32) -> Phase {
    if flags::closed(state) {
        Phase::Closed
    } else if state & (flags::FIN_ORIG | flags::FIN_REPLY) != 0 {
        Phase::Closing
    } else if state & flags::ESTABLISHED != 0 {
        Phase::Established
    } else {
        Phase::Opening
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    /// Segments (in reply direction: `true`) and the phase after each.
    fn follow(start: u32, segments: &[(bool, u8, Phase)]) {
        let mut state = start;
        for (number, (reply, segment, after)) in segments.iter().enumerate() {
            state = advance(state, *reply, *segment);
            assert_eq!(phase(state), *after, "after segment {number}: {segment:#x}");
            assert_eq!(advance(state, *reply, *segment), state, "a repetition says nothing new");
        }
    }

    #[test]
    fn a_connection_goes_through_its_phases() {
        use Phase::{Closed, Closing, Established, Opening};
        let open = [(false, SYN, Opening), (true, SYN | ACK, Opening), (false, ACK, Established)];
        follow(0, &open);
        follow(
            flags::FROM_HIGH,
            &[open.to_vec(), vec![(true, FIN | ACK, Closing), (false, FIN | ACK, Closed)]].concat(),
        );
        follow(0, &[open.to_vec(), vec![(false, ACK | PSH, Established), (true, RST, Closed)]].concat());
    }

    #[test]
    fn a_half_open_connection_is_not_established_by_its_answers() {
        use Phase::Opening;
        follow(
            0,
            &[
                (false, SYN, Opening),
                (true, SYN | ACK, Opening),
                (true, SYN | ACK, Opening),
                (true, ACK, Opening),
            ],
        );
        follow(0, &[(false, SYN, Opening), (true, RST | ACK, Phase::Closed)]);
    }

    #[test]
    fn a_connection_met_in_its_middle_is_established_by_a_segment_each_way() {
        use Phase::{Established, Opening};
        follow(flags::MID_FLOW, &[(false, ACK, Opening), (true, ACK | PSH, Established)]);
        follow(flags::MID_FLOW, &[(true, ACK, Established)]);
    }

    #[test]
    fn flags_that_contradict_each_other_are_no_segment() {
        for sane in [
            SYN,
            SYN | ACK,
            ACK,
            ACK | PSH,
            FIN | ACK,
            FIN | ACK | PSH,
            RST,
            RST | ACK,
            ACK | URG,
            SYN | 0xc0,
        ] {
            assert!(sound(sane), "{sane:#x}");
        }
        for insane in [
            0,
            FIN,
            PSH,
            URG,
            SYN | FIN,
            SYN | RST,
            FIN | RST | ACK,
            SYN | FIN | ACK,
            FIN | PSH | URG,
            63,
            0xc0,
        ] {
            assert!(!sound(insane), "{insane:#x}");
        }
    }
}
