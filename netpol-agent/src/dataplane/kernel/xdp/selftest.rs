//! Before the program gets to any interface: in a namespace of its own, with the maps that it will work with, a datagram of a known
//! connection must come out as it should, and one of nobody's must pass untouched.

use std::{net::SocketAddrV4, path::Path, thread};

use aya::maps::{HashMap, Map, MapData, MapError};
use netpol_common::{
    conntrack::{CtEntry, CtKey4, Judged, Tuple, flags},
    names,
    net::{Address, Be16, V4, proto},
};

use super::{
    XdpMode, XdpTable,
    datagram::Datagram,
    stage::{self, IFINDEX, LOOPBACK, NEIGHBOUR, NEIGHBOUR_MAC, OWN, OWN_MAC, StageError},
};
use crate::dataplane::{
    Error,
    kernel::{
        Object, RunContext, RunError,
        object::pin_path,
        table::{self, Hash},
        takeover,
    },
};

const PASSED: i32 = 2;
const REDIRECTED: i32 = 4;

#[derive(Debug, thiserror::Error)]
pub(super) enum SelfTestError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Map(#[from] Error),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("a thread has panicked")]
    Panicked,
    #[error("{what}: action {action}, frame {frame:02x?}")]
    Wrong { what: &'static str, action: i32, frame: Vec<u8> },
}

/// `maps` is where they are pinned. The entry that it makes has addresses for documentation only (RFC 5737), and goes again.
pub(super) fn run(object: &mut Object, table: &mut XdpTable, maps: &Path) -> Result<(), SelfTestError> {
    let mut connections = connections(maps)?;
    let (key, entry) = connection(takeover::epoch(maps)?);
    table::put(&mut connections, &key, &entry, names::CT4)?;
    let result = table
        .put(LOOPBACK, XdpMode::Native, OWN_MAC)
        .and_then(|()| table.put(IFINDEX, XdpMode::Native, OWN_MAC))
        .map_err(SelfTestError::from)
        .and_then(|()| {
            thread::scope(|scope| scope.spawn(|| in_namespace(object)).join())
                .unwrap_or(Err(SelfTestError::Panicked))
        });
    // No interface has the program yet: nobody has met these rows.
    table.delete(LOOPBACK)?;
    table.delete(IFINDEX)?;
    table::delete(&mut connections, &key, names::CT4)?;
    result
}

fn client(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([198, 51, 100, 1].into(), port)
}

const CLIENT_PORT: u16 = 40_000;
const SERVICE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(203, 0, 113, 1), 443);
const SOURCE: SocketAddrV4 = SocketAddrV4::new(OWN, 61_000);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(NEIGHBOUR, 8_080);

fn connections(maps: &Path) -> Result<Hash<CtKey4, CtEntry>, Error> {
    let open = |source: MapError| table::error("open", names::CT4, source);
    let data = MapData::from_pin(pin_path(maps, names::CT4)).and_then(Map::from_map_data);
    HashMap::try_from(data.map_err(open)?).map_err(open)
}

/// The client's entry of a connection to a backend of another node.
fn connection(epoch: u32) -> (CtKey4, CtEntry) {
    let from = client(CLIENT_PORT);
    let tuple = Tuple::<V4> {
        src: (*from.ip()).into(),
        sport: Be16::from_host(from.port()),
        dst: (*SERVICE.ip()).into(),
        dport: Be16::from_host(SERVICE.port()),
        proto: proto::UDP,
    };
    let entry = CtEntry {
        judged: Judged::allowed(epoch),
        flags: flags::OUTSIDE | flags::FRONT | flags::SNAT | tuple.order(),
        nat_addr: V4::from(*BACKEND.ip()).to_words(),
        nat_port: Be16::from_host(BACKEND.port()),
        nat_saddr: V4::from(*SOURCE.ip()).to_words(),
        nat_sport: Be16::from_host(SOURCE.port()),
        ..CtEntry::default()
    };
    (CtKey4::of(&tuple), entry)
}

fn in_namespace(object: &mut Object) -> Result<(), SelfTestError> {
    stage::enter()?;
    let datagram = |port: u16| Datagram {
        to_mac: OWN_MAC,
        from_mac: NEIGHBOUR_MAC,
        from: client(port),
        to: SERVICE,
        ttl: 64,
    };
    let nobodys = datagram(CLIENT_PORT + 1).frame();
    check(object, "a datagram of nobody's does not pass untouched", &nobodys, PASSED, &nobodys)?;
    let translated =
        Datagram { to_mac: NEIGHBOUR_MAC, from_mac: OWN_MAC, from: SOURCE, to: BACKEND, ttl: 63 }.frame();
    let known = datagram(CLIENT_PORT).frame();
    check(object, "a datagram of a known connection is not sent on", &known, REDIRECTED, &translated)
}

fn check(
    object: &Object,
    what: &'static str,
    frame: &[u8],
    action: i32,
    expected: &[u8],
) -> Result<(), SelfTestError> {
    let context = RunContext { ifindex: 0, ingress_ifindex: 0, repeat: 1, mark: 0 };
    let outcome = object.test_run(names::FROM_WIRE, frame, context)?;
    if outcome.action == action && outcome.packet == expected {
        return Ok(());
    }
    Err(SelfTestError::Wrong { what, action: outcome.action, frame: outcome.packet })
}
