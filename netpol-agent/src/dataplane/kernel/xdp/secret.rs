//! What marks are known by.

use std::{
    fs::File,
    io::{self, Read},
    sync::atomic::{AtomicU64, Ordering},
};

use netpol_common::names;

use super::super::{
    Object,
    arena::Mapped,
    table::{self, error},
};
use crate::dataplane::Error;

/// Chooses the secret of `np_mark` unless an agent before has: frames that its program marked are on their way.
///
/// # Errors
///
/// If the object lacks the map, or there is nothing random to be had.
pub(super) fn settle(object: &mut Object) -> Result<(), Error> {
    let failed = |source: io::Error| error("put a random secret", names::MARK, source);
    let map = table::array(object, names::MARK)?;
    let mapped = Mapped::<AtomicU64>::new(map.fd(), 1, size_of::<u64>()).map_err(failed)?;
    let [secret] = mapped.words() else { return Err(failed(io::ErrorKind::UnexpectedEof.into())) };
    // One agent at a time has the pins.
    if secret.load(Ordering::Relaxed) == 0 {
        let mut random = [0; 8];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).map_err(failed)?;
        // 0 stands for none.
        secret.store(u64::from_ne_bytes(random) | 1, Ordering::Relaxed);
    }
    Ok(())
}
