//! Services for the processes of the node itself: an address is exchanged where a socket is told one, so that packets need
//! none of it. Only sockets of the node's own network namespace are touched.
//!
//! Runs in the process's context, where another program may come in between: nothing here is per CPU.

mod back;
mod call;
mod choose;
mod constants;
mod told;

use netpol_common::{
    net::{Address, Be16, proto},
    service::{FrontendRow, flags},
    socket::{SocketKey, SocketRow, TO_BACKEND, TO_SERVICE},
};

pub use call::Call;
pub use told::{Mapped, Told, V4Socket, V6Socket};

use crate::{family::Family, maps::SOCK};

pub use back::back;
use choose::Nobody;

/// Goes on with the call.
pub const GO_ON: i32 = 1;
/// Ends the call with an error.
pub const FAIL: i32 = 0;

/// Before `connect`, or before `sendmsg` of a datagram to an address that the call names.
///
/// Every way ends here with a return of its own: a value for all of them would be half undefined, which the verifier does not
/// take.
#[inline(always)]
pub fn ahead<T: Told>(call: &Call) -> i32 {
    let Some(protocol) = call.protocol() else { return GO_ON };
    let (asked, port) = T::asked(call);
    let here = T::here(asked);
    let Some(frontend) = T::Family::frontend(here, port, protocol) else {
        // The row of a whole address has neither port nor protocol.
        if let Some(whole) = T::Family::frontend(here, Be16::default(), 0)
            && whole.flags & flags::WHOLE != 0
        {
            return fail(call, Nobody::Refused);
        }
        if T::by_process(call) {
            // What this socket is told from now on about that address is not about a Service.
            back::forget::<T>(call, asked, port);
        }
        return GO_ON;
    };
    // The source is not chosen yet: the node counts as who it says it is.
    if frontend.flags & (flags::SOURCE_RANGES | flags::NODE_IN_RANGES) == flags::SOURCE_RANGES {
        return fail(call, Nobody::Dropped);
    }
    let from = (asked, port);
    if protocol != proto::UDP {
        return match choose::choose::<T::Family>(&frontend) {
            Ok(backend) => exchange::<T>(call, frontend.svc, from, backend),
            Err(nobody) => fail(call, nobody),
        };
    }
    let to = key::<T>(call, here, port, TO_BACKEND);
    if let Some(backend) = before::<T::Family>(&frontend, &to) {
        return exchange::<T>(call, frontend.svc, from, backend);
    }
    match choose::choose::<T::Family>(&frontend) {
        Ok(backend) => {
            // Without room for it the socket's next datagram may go to another backend.
            note(&to, frontend.svc, backend.0, backend.1);
            exchange::<T>(call, frontend.svc, from, backend)
        }
        Err(nobody) => fail(call, nobody),
    }
}

#[inline(always)]
fn fail(call: &Call, nobody: Nobody) -> i32 {
    call.says_why(nobody.errno());
    FAIL
}

/// Tells the socket the backend, and remembers what the process asked for.
#[inline(always)]
fn exchange<T: Told>(
    call: &Call,
    svc: u32,
    (asked, port): (<T::Family as Family>::Addr, Be16),
    (addr, backend_port): (<T::Family as Family>::Addr, Be16),
) -> i32 {
    T::tell(call, addr, backend_port);
    // Without room for it the process is shown the backend's address.
    note(&key::<T>(call, addr, backend_port, TO_SERVICE), svc, asked, port);
    GO_ON
}

#[inline(always)]
fn note<A: Address>(key: &SocketKey, svc: u32, addr: A, port: Be16) {
    let row = SocketRow { addr: addr.to_words(), port, pad: 0, svc };
    // An LRU map makes room by itself; when it fails under contention, callers say what that means.
    match SOCK.insert(key, row, 0) {
        Ok(()) | Err(_) => {}
    }
}

/// The backend of this socket's datagrams so far, if it may go on answering.
#[inline(always)]
fn before<F: Family>(frontend: &FrontendRow, to: &SocketKey) -> Option<(F::Addr, Be16)> {
    // SAFETY: copied at once; rows are written by their own socket only, and reused ones have another key.
    let row = *unsafe { SOCK.get(to) }?;
    let addr = F::Addr::from_words(row.addr);
    (row.svc == frontend.svc && F::is_member(row.svc, addr, row.port)).then_some((addr, row.port))
}

#[inline(always)]
fn key<T: Told>(call: &Call, addr: <T::Family as Family>::Addr, port: Be16, towards: u8) -> SocketKey {
    let family = <T::Family as Family>::Addr::FAMILY;
    SocketKey { cookie: call.cookie(), addr: addr.to_words(), port, towards, family, pad: 0 }
}
