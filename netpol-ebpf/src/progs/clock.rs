use aya_ebpf::{helpers::bpf_jiffies64, macros::classifier, programs::TcContext};

/// Tells the agent what time entries and events count in. Run by the agent, never attached.
#[classifier]
pub fn np_clock(_ctx: TcContext) -> i32 {
    // SAFETY: the helper takes nothing and only returns a number.
    let jiffies = unsafe { bpf_jiffies64() };
    (jiffies & 0x7fff_ffff) as i32
}
