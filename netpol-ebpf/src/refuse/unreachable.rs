//! ICMP errors in the name of the address that a packet goes to.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{logic::csum, net::Address, reason::DropReason};

use super::header::{Header, turn_back};
use crate::{
    ctx::Skb,
    family::{Family, Ipv4, Ipv6, OUTER_L3},
};

/// Bytes of an error before what it quotes.
const ICMP: u32 = 8;

/// Makes the packet, which went from `dst` to `src`, the error that quotes it. `mtu`: what would have fitted, in an error that says
/// that.
#[inline(always)]
pub fn make<F: Family + Header>(
    skb: &mut Skb,
    [kind, code]: [u8; 2],
    mtu: u16,
    (src, dst): (F::Addr, F::Addr),
) -> Result<(), DropReason> {
    // Whole words: the last bytes of a packet say nothing about whose it was.
    let end = F::end(skb)?;
    // A packet that is itself a quote is shorter than it says.
    let end = if end < skb.len() { end } else { skb.len() };
    let len = end.wrapping_sub(OUTER_L3);
    let quote = if len < F::QUOTE { len } else { F::QUOTE } & !3;
    skb.resize(OUTER_L3 + quote)?;
    let mut sum = np_quote(skb.raw(), u64::from(quote));
    skb.make_room(F::LEN + ICMP)?;
    turn_back(skb)?;
    let len = (ICMP + quote) as u16;
    F::store(skb, F::ICMP, len, src, dst)?;
    let head = u32::from_ne_bytes([kind, code, 0, 0]);
    let fits = u32::from(mtu).to_be();
    if F::ICMP_PSEUDO_HEADER {
        sum += csum::pseudo_header(src.to_words(), dst.to_words(), F::ICMP, len);
    }
    let check = csum::finish(sum + u64::from(head) + u64::from(fits));
    skb.store(OUTER_L3 + F::LEN, &[head | u32::from(check) << 16, fits])
}

/// The longest quote.
const LONGEST: u32 = if <Ipv4 as Header>::QUOTE > <Ipv6 as Header>::QUOTE {
    <Ipv4 as Header>::QUOTE
} else {
    <Ipv6 as Header>::QUOTE
};

/// The sum of the packet's words in the `len` bytes behind the Ethernet header, as a global function: see
/// `policy::np_evaluate`. Words that are not there count as nothing: then no receiver takes the error.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn np_quote(raw: *mut __sk_buff, len: u64) -> u64 {
    let skb = &Skb::from_raw(raw);
    let (mut sum, mut at) = (0, 0);
    while at < LONGEST && u64::from(at) < len {
        let Ok(word) = skb.load::<u32>(OUTER_L3 + at) else { break };
        sum += u64::from(word);
        at += 4;
    }
    sum
}
