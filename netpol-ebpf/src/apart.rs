//! Stages as global functions: the verifier follows each of them once, on its own, and not once for each way that leads to a
//! call of it (`docs/adr/0004-global-functions.md`).

use aya_ebpf::bindings::__sk_buff;

use crate::{
    family::{Ipv4, Ipv6},
    outside, pipeline,
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
    np_sent4(settled) = pipeline::established::<Ipv4, true>;
    np_sent6(settled) = pipeline::established::<Ipv6, true>;
    np_received4(settled) = pipeline::established::<Ipv4, false>;
    np_received6(settled) = pipeline::established::<Ipv6, false>;
    np_new_sent4() = pipeline::new::<Ipv4, true>;
    np_new_sent6() = pipeline::new::<Ipv6, true>;
    np_new_received4() = pipeline::new::<Ipv4, false>;
    np_new_received6() = pipeline::new::<Ipv6, false>;
    np_arrived4(settled) = outside::established::<Ipv4>;
    np_arrived6(settled) = outside::established::<Ipv6>;
    np_report4() = outside::report::<Ipv4>;
    np_report6() = outside::report::<Ipv6>;
    np_leave4() = outside::leave::<Ipv4>;
    np_leave6() = outside::leave::<Ipv6>;
}
