use aya_ebpf::{macros::classifier, programs::TcContext};

/// (skeleton)
#[classifier]
pub fn to_pod(_ctx: TcContext) -> i32 {
    2
}
