//! Connected UDP sockets of the node's own processes whose backend has gone. A connection over TCP comes to an end by itself;
//! nothing tells a process that nobody listens to its datagrams any more.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use aya::maps::{HashMap, Map, MapData, MapError};
use netpol_common::{
    names,
    net::{Address, V4, V6},
    service::{MemberKey4, MemberKey6},
    socket::{SocketKey, SocketRow, TO_SERVICE},
};

use super::{
    netlink::{Netlink, NetlinkError},
    object::pin_path,
    sock_diag::{self, Socket},
    table::{Hash, contains},
};
use crate::dataplane::Error;

/// Tells the thread that looks for them that a backend has gone.
#[derive(Clone)]
pub(super) struct Wake(SyncSender<()>);

impl Wake {
    pub(super) fn wake(&self) {
        // Full: it is about to look anyway. Gone: it has said why.
        match self.0.try_send(()) {
            Ok(()) | Err(_) => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum StaleError {
    #[error("{path}: cannot open the map")]
    Open {
        path: PathBuf,
        #[source]
        source: MapError,
    },
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Map(#[from] Error),
}

/// Looks once unless it is to `wait`, and whenever it is told to, in the network namespace of the calling thread; ends with its [`Wake`].
pub(super) fn start(maps: &Path, wait: bool) -> Wake {
    // One more look than the one under way is always enough.
    let (sender, receiver) = sync_channel(1);
    let maps = maps.to_owned();
    let started = thread::Builder::new().name("stale-sockets".to_owned()).spawn(move || {
        if let Err(error) = run(&maps, &receiver, wait) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "connected UDP sockets of the node stay with backends that have gone"
            );
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "connected UDP sockets of the node stay with backends that have gone");
    }
    Wake(sender)
}

fn run(maps: &Path, told: &Receiver<()>, wait: bool) -> Result<(), StaleError> {
    let tables = Tables::open(maps)?;
    let mut netlink = Netlink::open_sockets()?;
    if wait && told.recv().is_err() {
        return Ok(());
    }
    loop {
        for socket in sock_diag::connected(&mut netlink)? {
            if tables.is_stale(&socket)? {
                tracing::debug!(?socket, "its backend has gone");
                sock_diag::end(&mut netlink, socket)?;
            }
        }
        if told.recv().is_err() {
            return Ok(());
        }
    }
}

struct Tables {
    sockets: Hash<SocketKey, SocketRow>,
    member4: Hash<MemberKey4, u32>,
    member6: Hash<MemberKey6, u32>,
}

impl Tables {
    fn open(dir: &Path) -> Result<Self, StaleError> {
        let open = |name| {
            let path = pin_path(dir, name);
            MapData::from_pin(&path)
                .and_then(Map::from_map_data)
                .map_err(|source| StaleError::Open { path, source })
        };
        let failed = |name| {
            let path = pin_path(dir, name);
            move |source| StaleError::Open { path, source }
        };
        Ok(Self {
            sockets: HashMap::try_from(open(names::SOCK)?).map_err(failed(names::SOCK))?,
            member4: HashMap::try_from(open(names::MEMBER4)?).map_err(failed(names::MEMBER4))?,
            member6: HashMap::try_from(open(names::MEMBER6)?).map_err(failed(names::MEMBER6))?,
        })
    }

    /// Whether the process asked for a Service, and the backend that the socket was told instead answers for it no more.
    fn is_stale(&self, socket: &Socket) -> Result<bool, StaleError> {
        let (family, addr, port) = socket.peer();
        let cookie = socket.cookie();
        let key = SocketKey { cookie, addr, port, towards: TO_SERVICE, family, pad: 0 };
        let svc = match self.sockets.get(&super::abi::Abi(key), 0) {
            Ok(row) => row.0.svc,
            Err(MapError::KeyNotFound) => return Ok(false),
            Err(source) => {
                return Err(super::table::error("bpf_map_lookup_elem", names::SOCK, source).into());
            }
        };
        let member = if family == V4::FAMILY {
            let addr = V4::from_words(addr);
            contains(&self.member4, &MemberKey4 { svc, addr, port, pad: 0 }, names::MEMBER4)?
        } else {
            let addr = V6::from_words(addr);
            contains(&self.member6, &MemberKey6 { svc, addr, port, pad: 0 }, names::MEMBER6)?
        };
        Ok(!member)
    }
}
