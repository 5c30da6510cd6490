//! What the flags of a TCP segment say.

pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

pub(super) fn opens(tcp_flags: u8) -> bool {
    tcp_flags & (SYN | ACK) == SYN
}

/// RFC 9293 §3.10: what an end can send. PSH, and the two bits of RFC 3168, go with anything.
pub(super) fn is_sound(tcp_flags: u8) -> bool {
    const FIN: u8 = 1;
    const URG: u8 = 32;
    matches!(
        tcp_flags & (FIN | SYN | RST | ACK | URG),
        SYN | RST | ACK | 34 /* SYN, URG */ | 18 /* SYN, ACK */ | 20 /* RST, ACK */
            | 17 /* FIN, ACK */ | 49 /* FIN, ACK, URG */ | 48 /* ACK, URG */
    )
}
