//! Stages as global functions: the verifier follows each of them once, on its own, and not once for each way that leads to a
//! call of it (`docs/adr/0004-global-functions.md`).

use aya_ebpf::bindings::__sk_buff;

use crate::{
    family::{Ipv4, Ipv6},
    outside,
};

macro_rules! global {
    ($($name:ident($($number:ident)?) = $stage:expr;)+) => {$(
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(raw: *mut __sk_buff $(, $number: u64)?) -> i32 {
            $stage(raw $(, $number as u32)?)
        }
    )+};
}

global! {
    np_arrived4(settled) = outside::established::<Ipv4>;
    np_arrived6(settled) = outside::established::<Ipv6>;
    np_report4() = outside::report::<Ipv4>;
    np_report6() = outside::report::<Ipv6>;
    np_leave4() = outside::leave::<Ipv4>;
    np_leave6() = outside::leave::<Ipv6>;
}
