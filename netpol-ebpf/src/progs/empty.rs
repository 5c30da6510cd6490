use aya_ebpf::{macros::classifier, programs::TcContext};

/// The benchmark's zero. Never attached.
#[classifier]
pub fn np_empty(_ctx: TcContext) -> i32 {
    -1
}
