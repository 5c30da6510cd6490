//! The kernel programs: what every packet of every pod passes.
#![no_std]
#![no_main]
// One instruction has no other spelling; see `atomic`.
#![feature(asm_experimental_arch)]

mod across;
mod admit;
mod apart;
mod atomic;
mod beside;
mod case;
mod config;
mod conntrack;
mod ctx;
mod ending;
mod entries;
mod event;
mod family;
mod forward;
mod hop;
mod icmp_error;
mod judge;
mod maps;
mod metrics;
mod mid_flow;
mod nat;
mod outside;
mod parse;
mod partner;
mod peer;
mod pipeline;
mod policy;
mod progs;
mod quota;
mod recent;
mod refuse;
mod service;
mod socket;
mod told;
mod verifier;
mod wire;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never reached: the build refuses an object in which a panic survives.
    unsafe { core::hint::unreachable_unchecked() }
}

// The helpers used are offered to GPL-compatible programs only: this crate is (Apache-2.0 OR MIT) AND GPL-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
