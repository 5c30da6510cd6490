//! The kernel programs: what every packet of every pod passes.
#![no_std]
#![no_main]

mod maps;
mod progs;
mod scratch;

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
