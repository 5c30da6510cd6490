//! Removing connections, many at a time and in the kernel: what a packet has touched meanwhile stays.

use std::os::fd::{AsFd, OwnedFd};

use bytemuck::Pod;
use netpol_common::{
    conntrack::{CtEntry, CtKey4, CtKey6, flags},
    names,
    reap::{HEADER, Reap4, Reap6},
};

use super::{ConnectionKey, Object, bpf, table::error};
use crate::dataplane::Error;

/// The key of a connection table, and how its connections are removed.
pub(super) trait Key: Pod + Eq + std::hash::Hash {
    /// A connection to be removed.
    type Reap: Pod;
    const MAP: &'static str;
    const PROGRAM: &'static str;
    /// Connections removed in one run.
    const MOST: usize;

    fn protocol(&self) -> u8;
    /// The key of the other entry of a translated connection.
    fn other(&self, entry: &CtEntry) -> Self;
    /// The key that a connection to the backend itself has, where this is a back entry's.
    fn beside(&self) -> Self;
    /// As a key of either table.
    fn connection(&self) -> ConnectionKey;
    /// `first` and `second` are entries as they were read; the same for a connection that has one.
    fn reap(first: (Self, &CtEntry), second: (Self, &CtEntry)) -> Self::Reap;
}

macro_rules! key {
    ($key:ty, $family:ident, $reap:ident, $map:expr, $program:expr) => {
        impl Key for $key {
            type Reap = $reap;
            const MAP: &'static str = $map;
            const PROGRAM: &'static str = $program;
            const MOST: usize = $reap::MAX;

            fn protocol(&self) -> u8 {
                self.proto as u8
            }
            fn other(&self, entry: &CtEntry) -> Self {
                let tuple = self.tuple(entry.flags);
                let key = Self::of(&entry.partner(&tuple));
                key.beside_if(flags::partner_is_beside(entry.flags).into())
            }
            fn beside(&self) -> Self {
                (*self).beside()
            }
            fn connection(&self) -> ConnectionKey {
                ConnectionKey::$family(*self)
            }
            fn reap(first: (Self, &CtEntry), second: (Self, &CtEntry)) -> $reap {
                $reap {
                    first: first.0,
                    first_seen: first.1.last_seen,
                    first_flags: first.1.flags,
                    second: second.0,
                    second_seen: second.1.last_seen,
                    second_flags: second.1.flags,
                }
            }
        }
    };
}
key!(CtKey4, V4, Reap4, names::CT4, names::REAP4);
key!(CtKey6, V6, Reap6, names::CT6, names::REAP6);

/// The program that removes entries of one table.
pub(super) struct Reaper<K> {
    program: OwnedFd,
    key: std::marker::PhantomData<K>,
}

impl<K: Key> Reaper<K> {
    pub(super) fn new(object: &mut Object) -> Result<Self, Error> {
        let failed = |source| error("dup", K::PROGRAM, source);
        let program = object.program(K::PROGRAM).map_err(|source| error("take", K::PROGRAM, source))?;
        let fd = program.fd().map_err(|source| error("take", K::PROGRAM, source))?;
        let program = fd.as_fd().try_clone_to_owned().map_err(failed)?;
        Ok(Self { program, key: std::marker::PhantomData })
    }

    /// Removes those that nobody has touched since they were read; how many entries are gone.
    pub(super) fn reap(&self, connections: &[K::Reap]) -> Result<usize, Error> {
        let mut gone = 0;
        for batch in connections.chunks(K::MOST) {
            let mut packet = vec![0; HEADER];
            packet.extend_from_slice(bytemuck::cast_slice(batch));
            let removed = bpf::run(self.program.as_fd(), &packet)
                .map_err(|source| error("BPF_PROG_TEST_RUN", K::PROGRAM, source))?;
            gone += removed as usize;
        }
        Ok(gone)
    }
}
