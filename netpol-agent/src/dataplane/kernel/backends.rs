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
    table::{array, error, room},
    windows::Windows,
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
    services: Windows,
    v4: Windows,
    v6: Windows,
}

impl Backends {
    pub(super) fn new(object: &mut Object) -> Result<Self, Error> {
        let mut windows = |name, row_bytes| {
            let map = array(object, name)?;
            let rows = room(&map, name)?;
            Windows::new(map.fd(), rows, row_bytes).map_err(|source| error("dup", name, source))
        };
        Ok(Self {
            services: windows(names::SVC, size_of::<ServiceRow>())?,
            v4: windows(names::BE4, size_of::<Backend4>())?,
            v6: windows(names::BE6, size_of::<Backend6>())?,
        })
    }

    pub(super) fn service_rows(&self) -> usize {
        self.services.len()
    }

    /// Rows of the arena, per family.
    pub(super) fn backend_rows(&self) -> usize {
        (self.v4.len() / WORDS4).min(self.v6.len() / WORDS6)
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
            written.map_err(|source| error("store", format!("arena row {row}"), source))?;
        }
        // Whoever sees the service row that will name this range sees its backends.
        fence(Ordering::Release);
        Ok(())
    }

    /// Fills rows `base..` of an arena with words that follow each other.
    pub(super) fn write_ring(&self, v4: bool, base: u32, words: &[u64]) -> Result<(), Error> {
        let (arena, row_words) = if v4 { (&self.v4, WORDS4) } else { (&self.v6, WORDS6) };
        for (at, word) in (base as usize * row_words..).zip(words) {
            let to = arena.word(at);
            let to = to.map_err(|source| error("store", format!("arena rows from {base} on"), source))?;
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
            .collect::<io::Result<Vec<_>>>();
        let backends = backends.map_err(|source| {
            error("load", format!("arena rows that {} row {row} names", names::SVC), source)
        })?;
        Ok((service, backends))
    }

    fn service(&self, row: u32, call: &'static str) -> Result<&AtomicU64, Error> {
        let word = self.services.word(row as usize);
        word.map_err(|source| error(call, format!("{} row {row}", names::SVC), source))
    }
}

fn store<const N: usize>(arena: &Windows, row: usize, words: [u64; N]) -> io::Result<()> {
    for (at, word) in (row * N..).zip(words) {
        arena.word(at)?.store(word, Ordering::Relaxed);
    }
    Ok(())
}

fn load<const N: usize>(arena: &Windows, row: usize) -> io::Result<[u64; N]> {
    let mut words = [0; N];
    for (at, word) in (row * N..).zip(&mut words) {
        *word = arena.word(at)?.load(Ordering::Relaxed);
    }
    Ok(words)
}
