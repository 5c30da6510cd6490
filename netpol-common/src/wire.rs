//! Interfaces whose frames are seen before the kernel has a buffer for them (XDP).

use bytemuck::{Pod, Zeroable};

/// By the driver: frames of other interfaces can be sent out by it.
pub const NATIVE: u32 = 1;
/// By the kernel, for drivers that cannot: its frames can be sent out by any other interface.
pub const GENERIC: u32 = 2;

/// The interface's driver leaves metadata with the buffer that it makes of a frame. Some do not, and do not say so.
pub const CARRIES_MARKS: u16 = 1;

/// Value of `np_wire`, keyed by interface index. An interface without a row has no such program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct WireRow {
    /// [`NATIVE`] or [`GENERIC`].
    pub mode: u32,
    /// Its MAC address: frames for others, which it sees where a switch does not know better, are theirs.
    pub mac: [u8; 6],
    /// [`CARRIES_MARKS`] once a mark has come through, stored by `from_netdev`; before that nothing else may depend on one.
    pub marks: u16,
}

const _: () = assert!(size_of::<WireRow>() == 12);

/// Metadata before a frame that was translated in front for a pod of this node (`bpf_xdp_adjust_meta`): what `from_netdev` needs
/// to hand its buffer over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Mark {
    /// The secret of `np_mark`, which nobody else knows: whatever else lies there is none of ours. Low half first.
    pub secret: [u32; 2],
    /// Host side of the pod's interface; 0 for a frame that was not translated, and only shows that marks come through.
    pub receiver: u32,
    /// Always 0.
    pub pad: u32,
}

// The kernel takes up to 32 bytes, in fours.
const _: () = assert!(size_of::<Mark>() == 16);

impl Mark {
    /// The mark of a frame for the pod behind `receiver`; `None` as long as there is no secret.
    #[must_use]
    #[inline(always)]
    pub fn new(secret: u64, receiver: u32) -> Option<Self> {
        if secret == 0 {
            return None;
        }
        Some(Self { secret: [secret as u32, (secret >> 32) as u32], receiver, pad: 0 })
    }

    /// Whom the frame is for, if the mark was made with this secret.
    #[must_use]
    #[inline(always)]
    pub fn receiver(self, secret: u64) -> Option<u32> {
        if Self::new(secret, self.receiver)? == self { Some(self.receiver) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_its_receiver_to_who_knows_the_secret() {
        let secret = 0x0123_4567_89ab_cdef;
        let mark = Mark::new(secret, 7).unwrap();
        assert_eq!(mark.receiver(secret), Some(7));
        for other in [0, 1, secret ^ 1, secret ^ (1 << 63)] {
            assert_eq!(mark.receiver(other), None, "{other:x}");
        }
        assert_eq!(
            Mark::new(secret, 0).unwrap().receiver(secret),
            Some(0),
            "it shows that marks come through"
        );
        assert_eq!(Mark { pad: 1, ..mark }.receiver(secret), None);
    }

    #[test]
    fn without_a_secret_there_are_no_marks() {
        assert_eq!(Mark::new(0, 7), None);
        assert_eq!(Mark::zeroed().receiver(0), None);
    }
}
