//! Services' backends: the arena, and the rows that point into it.

use std::{
    io,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use netpol_common::{
    names,
    net::Be16,
    service::{Backend4, Backend6, ServiceRow},
};

use super::{
    Object,
    arena::Mapped,
    table::{array, error, room},
};
use crate::dataplane::{Backend, Error};

/// Words of a row of `np_be4`.
const WORDS4: usize = size_of::<Backend4>() / size_of::<u64>();
/// Words of a row of `np_be6`.
const WORDS6: usize = size_of::<Backend6>() / size_of::<u64>();

/// The address family of a service, which selects the arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    V4,
    V6,
}

impl From<IpAddr> for Family {
    fn from(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// `np_svc`, `np_be4` and `np_be6`.
///
/// A program loads a service row, then one backend that it names. So backends are written first, into a range that no row
/// names, and the row last: on the reader's side the second load depends on the first.
pub(super) struct Backends {
    services: Mapped<AtomicU64>,
    v4: Mapped<AtomicU64>,
    v6: Mapped<AtomicU64>,
}

impl Backends {
    pub(super) fn new(object: &mut Object) -> Result<Self, Error> {
        let mut mapped = |name, row_bytes| {
            let map = array(object, name)?;
            let rows = room(&map, name)?;
            Mapped::new(map.fd(), rows, row_bytes).map_err(|source| error("mmap", name, source))
        };
        Ok(Self {
            services: mapped(names::SVC, size_of::<ServiceRow>())?,
            v4: mapped(names::BE4, size_of::<Backend4>())?,
            v6: mapped(names::BE6, size_of::<Backend6>())?,
        })
    }

    pub(super) fn service_rows(&self) -> usize {
        self.services.words().len()
    }

    /// Rows of the arena, per family.
    pub(super) fn backend_rows(&self) -> usize {
        (self.v4.words().len() / WORDS4).min(self.v6.words().len() / WORDS6)
    }

    /// Fills rows `base..` of an arena.
    pub(super) fn write(&self, base: u32, backends: &[Backend]) -> Result<(), Error> {
        for (row, Backend { addr, port }) in (base as usize..).zip(backends) {
            let port = Be16::from_host(*port);
            let written = match addr {
                IpAddr::V4(addr) => {
                    let row4 = Backend4 { addr: (*addr).into(), port, pad: 0 };
                    store(&self.v4, row, bytemuck::cast::<_, [u64; WORDS4]>(row4))
                }
                IpAddr::V6(addr) => {
                    let row6 = Backend6 { addr: (*addr).into(), port, pad: [0; 3] };
                    store(&self.v6, row, bytemuck::cast::<_, [u64; WORDS6]>(row6))
                }
            };
            written.ok_or_else(|| absent("store", format!("arena row {row}")))?;
        }
        // Whoever sees the service row that will name this range sees its backends.
        fence(Ordering::Release);
        Ok(())
    }

    /// Fills rows `base..` of an arena with words that follow each other.
    pub(super) fn write_ring(&self, v4: bool, base: u32, words: &[u64]) -> Result<(), Error> {
        let (arena, row_words) = if v4 { (&self.v4, WORDS4) } else { (&self.v6, WORDS6) };
        let first = base as usize * row_words;
        let room = arena.words().get(first..first + words.len());
        let room = room.ok_or_else(|| absent("store", format!("arena rows {base} and behind it")))?;
        for (to, word) in room.iter().zip(words) {
            to.store(*word, Ordering::Relaxed);
        }
        // As above.
        fence(Ordering::Release);
        Ok(())
    }

    /// Points a service at a range.
    pub(super) fn point(&self, row: u32, ServiceRow(value): ServiceRow) -> Result<(), Error> {
        self.service(row, "store")?.store(value, Ordering::Release);
        Ok(())
    }

    /// A service and what it points at.
    pub(super) fn read(&self, family: Family, row: u32) -> Result<(ServiceRow, Vec<Backend>), Error> {
        let service = ServiceRow(self.service(row, "load")?.load(Ordering::Relaxed));
        let range = service.base() as usize..service.base() as usize + service.n_all() as usize;
        let backends = range
            .map(|row| match family {
                Family::V4 => load(&self.v4, row).map(|words: [u64; WORDS4]| {
                    let Backend4 { addr, port, pad: _ } = bytemuck::cast(words);
                    Backend { addr: IpAddr::V4(addr.into()), port: port.to_host() }
                }),
                Family::V6 => load(&self.v6, row).map(|words: [u64; WORDS6]| {
                    let Backend6 { addr, port, pad: _ } = bytemuck::cast(words);
                    Backend { addr: IpAddr::V6(addr.into()), port: port.to_host() }
                }),
            })
            .collect::<Option<Vec<_>>>();
        let backends = backends
            .ok_or_else(|| absent("load", format!("arena rows that {} row {row} names", names::SVC)))?;
        Ok((service, backends))
    }

    fn service(&self, row: u32, call: &'static str) -> Result<&AtomicU64, Error> {
        self.services
            .words()
            .get(row as usize)
            .ok_or_else(|| absent(call, format!("{} row {row}", names::SVC)))
    }
}

fn store<const N: usize>(arena: &Mapped<AtomicU64>, row: usize, words: [u64; N]) -> Option<()> {
    for (to, word) in arena.words().get(row * N..(row + 1) * N)?.iter().zip(words) {
        to.store(word, Ordering::Relaxed);
    }
    Some(())
}

fn load<const N: usize>(arena: &Mapped<AtomicU64>, row: usize) -> Option<[u64; N]> {
    let words = arena.words().get(row * N..(row + 1) * N)?.first_chunk::<N>()?;
    Some(words.each_ref().map(|word| word.load(Ordering::Relaxed)))
}

fn absent(call: &'static str, row: String) -> Error {
    error(call, row, io::Error::other("the map has no such row"))
}
