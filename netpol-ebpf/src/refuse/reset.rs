//! TCP resets as a closed port sends them (RFC 9293 §3.10.7.1).

use netpol_common::{
    logic::{
        csum,
        tcp::bits::{ACK, FIN, RST, SYN},
    },
    net::{Address, proto},
    reason::DropReason,
};

use super::header::{Header, turn_back};
use crate::{
    ctx::Skb,
    family::{Family, OUTER_L3},
    parse::Packet,
};

/// Bytes of a TCP header without options.
const TCP: u32 = 20;

/// Makes the segment the reset that answers it.
#[inline(always)]
pub fn make<F: Family + Header>(skb: &mut Skb, packet: &Packet<F::Addr>) -> Result<(), DropReason> {
    let tuple = &packet.tuple;
    let [seq, ack, offset]: [u32; 3] = skb.load(packet.l4 + 4)?;
    let flags = packet.tcp_flags;
    let header = (u32::from_be(offset) >> 28) * 4;
    let payload = F::end(skb)?.wrapping_sub(packet.l4 + header);
    let (seq, ack, reset) = if flags & ACK != 0 {
        (ack, 0, RST)
    } else {
        let len = payload + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        (0, u32::from_be(seq).wrapping_add(len).to_be(), RST | ACK)
    };
    skb.resize(OUTER_L3 + F::LEN + TCP)?;
    turn_back(skb)?;
    F::store(skb, proto::TCP, TCP as u16, tuple.dst, tuple.src)?;
    let ports = u32::from(tuple.dport.raw()) | u32::from(tuple.sport.raw()) << 16;
    let offset = ((TCP / 4) << 28 | u32::from(reset) << 16).to_be();
    let pseudo = csum::pseudo_header(tuple.dst.to_words(), tuple.src.to_words(), proto::TCP, TCP as u16);
    let check = csum::finish(pseudo + csum::sum(&[ports, seq, ack, offset]));
    skb.store(OUTER_L3 + F::LEN, &[ports, seq, ack, offset, u32::from(check)])
}
