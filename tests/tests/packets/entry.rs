//! What the connection tables say.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail};
use netpol_agent::dataplane::kernel::ConnectionKey;
use netpol_common::{
    conntrack::{CtEntry, CtKey4, CtKey6, Tuple},
    net::Be16,
};
use netpol_tests::packet::Lab;

/// The entry of a connection.
pub(crate) fn entry_of(lab: &Lab, src: SocketAddr, dst: SocketAddr, proto: u8) -> Result<Option<CtEntry>> {
    let (sport, dport) = (Be16::from_host(src.port()), Be16::from_host(dst.port()));
    let key = match (src.ip(), dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let tuple = Tuple { src: src.into(), dst: dst.into(), sport, dport, proto };
            ConnectionKey::V4(CtKey4::of(&tuple))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let tuple = Tuple { src: src.into(), dst: dst.into(), sport, dport, proto };
            ConnectionKey::V6(CtKey6::of(&tuple))
        }
        _ => bail!("{src} and {dst} are of different families"),
    };
    Ok(lab.connections.get(key)?)
}
