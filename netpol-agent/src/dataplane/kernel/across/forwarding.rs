//! Whether the node forwards at all.

use std::{fs, io};

use super::{Family, Found, Interface, Obstacle};

/// IPv4 has a setting for each interface. IPv6 has one that counts.
pub(super) fn look(family: Family, uplinks: &[Interface<'_>]) -> Found {
    match family {
        Family::V4 => {
            uplinks.iter().try_for_each(|uplink| is_on(&format!("net/ipv4/conf/{}/forwarding", uplink.name)))
        }
        Family::V6 => is_on("net/ipv6/conf/all/forwarding"),
    }
}

fn is_on(setting: &str) -> Found {
    match fs::read_to_string(format!("/proc/sys/{setting}")) {
        Ok(text) if text.trim() == "1" => Ok(()),
        Ok(_) => Err(Obstacle::Forwarding(setting.replace('/', "."))),
        // A kernel without IPv6; or the interface is about to go.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Obstacle::Forwarding(setting.replace('/', ".")))
        }
        Err(error) => Err(Obstacle::Unknown(format!("/proc/sys/{setting}: {error}"))),
    }
}
