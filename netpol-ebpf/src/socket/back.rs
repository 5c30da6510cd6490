//! What a process is shown of whom it speaks to.

use netpol_common::{
    net::{Address, Be16},
    socket::TO_SERVICE,
};

use super::{Call, Told, key};
use crate::{family::Family, maps::SOCK};

/// After `recvmsg` of a datagram, or of `getpeername`: a backend is shown as the Service that the process asked for.
#[inline(always)]
pub fn back<T: Told>(call: &Call) {
    let (addr, port) = T::asked(call);
    // SAFETY: copied at once; rows are written by their own socket only, and reused ones have another key.
    if let Some(row) = unsafe { SOCK.get(key::<T>(call, addr, port, TO_SERVICE)) } {
        let (addr, port) = (<T::Family as Family>::Addr::from_words(row.addr), row.port);
        T::tell(call, addr, port);
    }
}

/// The process speaks to an address for its own sake.
#[inline(always)]
pub(super) fn forget<T: Told>(call: &Call, addr: <T::Family as Family>::Addr, port: Be16) {
    let key = key::<T>(call, addr, port, TO_SERVICE);
    if SOCK.get_ptr(key).is_some() {
        // Gone already, if anything: that is what is wanted.
        match SOCK.remove(key) {
            Ok(()) | Err(_) => {}
        }
    }
}
