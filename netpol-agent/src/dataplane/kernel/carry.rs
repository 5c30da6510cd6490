//! What another version of the maps leaves to this one: tables whose layout both have. See `docs/adr/0131-another-version.md`.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use bytemuck::Pod;
use netpol_common::{
    config::Config,
    names,
    service::{FrontendKey4, FrontendKey6, FrontendRow},
    version::LAYOUTS,
};

use super::{
    PinError, Sizes,
    abi::Abi,
    bpf, layout,
    object::pin_path,
    pins::{self, failed},
    services::{frontend4, frontend6},
    table::{self, Hash, error},
};
use crate::dataplane::{Error, Frontend};

/// What is taken over together.
struct Group {
    what: &'static str,
    /// What it costs to be without them.
    lost: &'static str,
    tables: &'static [&'static str],
    /// What their rows mean nothing without.
    with: &'static [&'static str],
}

const GROUPS: [Group; 5] = [
    Group {
        what: "connections",
        lost: "those through Services end, others are judged as those that are under way",
        tables: &[names::CT4, names::CT6, names::QUOTA],
        with: &[names::CONFIG, names::FE4, names::FE6],
    },
    Group {
        what: "affinity",
        lost: "clients may get other backends",
        tables: &[names::AFF4, names::AFF6],
        with: &[names::FE4, names::FE6],
    },
    Group {
        what: "sockets of the node",
        lost: "connected UDP sockets of its processes that go through Services hear no answers",
        tables: &[names::SOCK],
        with: &[names::FE4, names::FE6],
    },
    Group {
        what: "fragments",
        lost: "datagrams of which a part was on its way are lost",
        tables: &[names::FRAG4, names::FRAG6],
        with: &[],
    },
    Group {
        what: "the secret of marks",
        lost: "frames that XDP handed over a moment ago may be lost",
        tables: &[names::MARK],
        with: &[],
    },
];

/// What says how another version's rows are to be understood.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Carried {
    /// Nothing was judged under a later epoch.
    epoch: Option<u32>,
    /// [`Rows::given`](crate::dataplane::Rows::given)
    pub(super) given: BTreeMap<Frontend, u32>,
}

/// Pins other versions' tables below `dir` as well, where it has none of its own yet: programs of both work with them until the others
/// are gone. What cannot be taken over is named in the log, and is lost.
pub(super) fn take(others: &[PathBuf], dir: &Path, sizes: &Sizes) -> Carried {
    let mut carried = Carried::default();
    // One that never came to work has the tables of the one before, or none.
    let mut others: Vec<&PathBuf> = others.iter().collect();
    others.sort_by_key(|other| {
        std::cmp::Reverse(fs::read_dir(other.join(pins::LINKS)).map_or(0, Iterator::count))
    });
    for other in others {
        let theirs = Theirs { dir: other, sizes };
        let frontends = theirs.frontends();
        for group in &GROUPS {
            // Rows that name Services' ports by numbers that cannot be read would be misread.
            let readable = match &frontends {
                Err(why) if group.with.contains(&names::FE4) => Err(why.clone()),
                _ => Ok(()),
            };
            match readable.and_then(|()| theirs.take(group, dir)) {
                Ok(Taken::Yes) => {
                    tracing::info!(from = %other.display(), what = group.what, "taken over from another version")
                }
                Ok(Taken::Own) => {}
                Err(why) => tracing::warn!(
                    from = %other.display(),
                    what = group.what,
                    lost = group.lost,
                    why,
                    "not taken over from another version"
                ),
            }
        }
        if let Ok(epoch) = theirs.epoch() {
            carried.epoch = Some(carried.epoch.map_or(epoch, |known| later(known, epoch)));
        }
        for (way, svc) in frontends.unwrap_or_default() {
            carried.given.entry(way).or_insert(svc);
        }
    }
    carried
}

enum Taken {
    Yes,
    /// There are such tables already.
    Own,
}

struct Theirs<'a> {
    dir: &'a Path,
    sizes: &'a Sizes,
}

impl Theirs<'_> {
    fn take(&self, group: &Group, dir: &Path) -> Result<Taken, String> {
        if group.tables.iter().any(|table| fs::symlink_metadata(pin_path(dir, table)).is_ok()) {
            return Ok(Taken::Own);
        }
        for table in group.tables.iter().chain(group.with) {
            self.known(table)?;
        }
        if group.with.contains(&names::CONFIG) {
            self.epoch()?;
        }
        for table in group.tables {
            let pinned = bpf::open_pin(&pin_path(self.dir, table));
            let pinned = pinned.and_then(|map| bpf::pin(map.as_fd(), &pin_path(dir, table)));
            pinned.map_err(|error| format!("{table} cannot be pinned: {error}"))?;
        }
        Ok(Taken::Yes)
    }

    /// Whether a table has the layout that this version's has.
    fn known(&self, table: &str) -> Result<(), String> {
        if !self.dir.join(pins::LAYOUTS).join(mark(table)).is_dir() {
            return Err(format!("{table} has a layout that this version does not know"));
        }
        let wanted = layout::all(self.sizes).into_iter().find(|layout| layout.name == table);
        let checked = wanted.map_or(Ok(()), |layout| layout.check(&pin_path(self.dir, table)));
        checked.map_err(|fault| format!("{table} {fault}"))
    }

    fn epoch(&self) -> Result<u32, String> {
        self.known(names::CONFIG)?;
        config(self.dir).and_then(|map| Ok(read(&map)?.epoch)).map_err(said)
    }

    /// The numbers of Services' ports, by their ways in.
    fn frontends(&self) -> Result<BTreeMap<Frontend, u32>, String> {
        for table in [names::FE4, names::FE6] {
            self.known(table)?;
        }
        let rows = |table: &'static str| pin_path(self.dir, table);
        let v4 = hash::<FrontendKey4>(&rows(names::FE4), names::FE4)
            .and_then(|map| table::read(&map, names::FE4, frontend4));
        let v6 = hash::<FrontendKey6>(&rows(names::FE6), names::FE6)
            .and_then(|map| table::read(&map, names::FE6, frontend6));
        let rows = v4.map_err(said)?.into_iter().chain(v6.map_err(said)?);
        Ok(rows.filter(|(way, _)| way.proto != 0).map(|(way, row)| (way, row.svc)).collect())
    }
}

fn hash<K: Pod>(path: &Path, name: &'static str) -> Result<Hash<K, FrontendRow>, Error> {
    let map = MapData::from_pin(path).and_then(Map::from_map_data);
    map.and_then(HashMap::try_from).map_err(|source| error("open", name, source))
}

fn config(dir: &Path) -> Result<Array<MapData, Abi<Config>>, Error> {
    let map = MapData::from_pin(pin_path(dir, names::CONFIG)).and_then(Map::from_map_data);
    map.and_then(Array::try_from).map_err(|source| error("open", names::CONFIG, source))
}

fn read(map: &Array<MapData, Abi<Config>>) -> Result<Config, Error> {
    let row =
        map.get(&0, 0).map_err(|source: MapError| error("bpf_map_lookup_elem", names::CONFIG, source))?;
    Ok(row.0)
}

fn said(error: Error) -> String {
    format!("{error}: {}", error.source)
}

fn mark(table: &str) -> String {
    let layout = LAYOUTS.iter().find(|(name, _)| *name == table).map_or(0, |(_, layout)| *layout);
    format!("{table}-{layout}")
}

/// Of two epochs, of which one came before the other.
const fn later(one: u32, other: u32) -> u32 {
    if (other.wrapping_sub(one)).cast_signed() > 0 { other } else { one }
}

/// Says of the tables below `dir` what layout they have, for a version that comes after: by a folder for each of [`LAYOUTS`], named by table
/// and number.
pub(super) fn sign(dir: &Path) -> Result<(), PinError> {
    for (table, _) in LAYOUTS {
        let folder = dir.join(pins::LAYOUTS).join(mark(table));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(&folder, "create the directory", error));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Carried {
    /// Sees to it that this version's epoch is none that another one has judged under: all that others have judged is judged again.
    pub(super) fn date(&self, dir: &Path) -> Result<(), Error> {
        let Some(theirs) = self.epoch else { return Ok(()) };
        let mut map = config(dir)?;
        let own = read(&map)?;
        if later(own.epoch, theirs) == theirs {
            let row = Config { epoch: theirs.wrapping_add(1), ..own };
            map.set(0, Abi(row), 0).map_err(|source| error("bpf_map_update_elem", names::CONFIG, source))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_goes_over_has_a_number() {
        for table in GROUPS.iter().flat_map(|group| group.tables.iter().chain(group.with)) {
            assert!(LAYOUTS.iter().any(|(name, _)| name == table), "{table}");
        }
    }

    #[test]
    fn the_later_epoch_is_found_also_where_they_wrap() {
        assert_eq!((later(4, 7), later(7, 4), later(u32::MAX, 2), later(2, u32::MAX)), (7, 7, 2, 2));
    }
}
