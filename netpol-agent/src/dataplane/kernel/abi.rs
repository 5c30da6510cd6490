//! The bridge between the two crates' notion of plain old data.

/// A map key or value of `netpol-common`, as aya takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Abi<T>(pub(super) T);

// SAFETY: `Abi` is transparent, and bytemuck's `Pod` is stricter than aya's: any bytes are a value and none is padding.
unsafe impl<T: bytemuck::Pod> aya::Pod for Abi<T> {}
