//! Stages as global functions: the verifier follows each of them once, on its own, and not once for each way that leads to a
//! call of it (`docs/adr/0004-global-functions.md`).

use aya_ebpf::bindings::__sk_buff;

use crate::{
    across,
    family::{Family, Ipv4, Ipv6},
    outside::{self, dsr},
    pipeline,
};

macro_rules! apart {
    ($(
        $(#[$doc:meta])*
        $name:ident($($number:ident),*) = $module:ident::$stage:ident $(<$hook:literal>)?, $v4:ident, $v6:ident;
    )+) => {
        /// A family with its stages.
        pub trait Apart: Family {
            $($(#[$doc])* fn $name(raw: *mut __sk_buff $(, $number: u32)*) -> i32;)+
        }
        apart! { impl Ipv4 $($name($($number),*) = $v4;)+ }
        apart! { impl Ipv6 $($name($($number),*) = $v6;)+ }
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $v4(raw: *mut __sk_buff $(, $number: u64)*) -> i32 {
                $module::$stage::<Ipv4 $(, $hook)?>(raw $(, $number as u32)*)
            }
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $v6(raw: *mut __sk_buff $(, $number: u64)*) -> i32 {
                $module::$stage::<Ipv6 $(, $hook)?>(raw $(, $number as u32)*)
            }
        )+
    };
    (impl $family:ident $($name:ident($($number:ident),*) = $function:ident;)+) => {
        impl Apart for $family {
            $(
                #[inline(always)]
                fn $name(raw: *mut __sk_buff $(, $number: u32)*) -> i32 {
                    $function(raw $(, $number.into())*)
                }
            )+
        }
    };
}

apart! {
    /// `pipeline::established` in `from_pod`.
    sent(settled) = pipeline::established<true>, np_sent4, np_sent6;
    /// The same in `to_pod`.
    received(settled) = pipeline::established<false>, np_received4, np_received6;
    /// `pipeline::known` in `from_pod`.
    known_sent() = pipeline::known<true>, np_known_sent4, np_known_sent6;
    /// The same in `to_pod`.
    known_received() = pipeline::known<false>, np_known_received4, np_known_received6;
    /// `pipeline::new` in `from_pod`.
    new_sent() = pipeline::new<true>, np_new_sent4, np_new_sent6;
    /// The same in `to_pod`.
    new_received() = pipeline::new<false>, np_new_received4, np_new_received6;
    /// `pipeline::enter`.
    enter(epoch, plain, svc) = pipeline::enter, np_enter4, np_enter6;
    /// `pipeline::opened` in `from_pod`.
    opened_sent(how) = pipeline::opened<true>, np_opened_sent4, np_opened_sent6;
    /// The same in `to_pod`.
    opened_received(how) = pipeline::opened<false>, np_opened_received4, np_opened_received6;
    /// `pipeline::failed` in `from_pod`.
    failed_sent(reason) = pipeline::failed<true>, np_failed_sent4, np_failed_sent6;
    /// The same in `to_pod`, and in `from_netdev`, where a packet has a case as if it were about to be received.
    failed_received(reason) = pipeline::failed<false>, np_failed_received4, np_failed_received6;
    /// `pipeline::tried` in `from_pod`.
    audited_sent() = pipeline::tried<true>, np_tried_sent4, np_tried_sent6;
    /// The same in `to_pod` and `from_netdev`.
    audited_received() = pipeline::tried<false>, np_tried_received4, np_tried_received6;
    /// `pipeline::beside`.
    beside_sent(settled) = pipeline::beside, np_beside_sent4, np_beside_sent6;
    /// `across::leave`.
    across() = across::leave, np_across4, np_across6;
    /// `outside::established`.
    arrived(settled) = outside::established, np_arrived4, np_arrived6;
    /// `outside::known`.
    known_arrived() = outside::known, np_known_arrived4, np_known_arrived6;
    /// `outside::new`.
    new_arrived() = outside::new, np_new_arrived4, np_new_arrived6;
    /// `outside::enter`.
    enter_arrived(epoch, plain, svc) = outside::enter, np_enter_arrived4, np_enter_arrived6;
    /// `outside::dsr::encapsulate`.
    encapsulate() = dsr::encapsulate, np_encapsulate4, np_encapsulate6;
    /// `outside::dsr::decapsulate`.
    decapsulate() = dsr::decapsulate, np_decapsulate4, np_decapsulate6;
    /// `outside::dsr::admit`.
    new_forwarded() = dsr::admit, np_new_forwarded4, np_new_forwarded6;
    /// `outside::dsr::relay`.
    relay() = dsr::relay, np_relay4, np_relay6;
    /// `outside::dsr::tell`.
    tell() = dsr::tell, np_tell4, np_tell6;
    /// `outside::beside`.
    beside_arrived(settled) = outside::beside, np_beside_arrived4, np_beside_arrived6;
    /// `outside::report`.
    report() = outside::report, np_report4, np_report6;
    /// `outside::leave`.
    leave() = outside::leave, np_leave4, np_leave6;
}
