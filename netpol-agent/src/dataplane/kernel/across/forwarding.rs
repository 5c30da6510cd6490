//! Whether the node forwards at all, and whatever comes in.

use std::{fs, io};

use super::{Family, Found, Interface, Obstacle};

/// IPv4 has settings for each interface. IPv6 has one that counts, and checks sources by rules only.
pub(super) fn look(family: Family, uplinks: &[Interface<'_>]) -> Found {
    match family {
        Family::V4 => uplinks.iter().try_for_each(|uplink| {
            is_on(&format!("net/ipv4/conf/{}/forwarding", uplink.name))?;
            // The greater of the two holds: 2 asks for any route to the source, 1 for one by this interface.
            let strict = |name: &str| value(&format!("net/ipv4/conf/{name}/rp_filter"));
            match (strict("all")?, strict(uplink.name)?) {
                (0, 1) => Err(Obstacle::ReversePath(format!("net.ipv4.conf.{}.rp_filter", uplink.name))),
                (1, 0 | 1) => Err(Obstacle::ReversePath("net.ipv4.conf.all.rp_filter".to_owned())),
                _ => Ok(()),
            }
        }),
        Family::V6 => is_on("net/ipv6/conf/all/forwarding"),
    }
}

fn is_on(setting: &str) -> Found {
    if value(setting)? == 1 { Ok(()) } else { Err(Obstacle::Forwarding(setting.replace('/', "."))) }
}

/// 0 if there is no such setting: a kernel without IPv6, or an interface that is about to go.
fn value(setting: &str) -> Result<u32, Obstacle> {
    let unknown = |error: &dyn std::error::Error| Obstacle::Unknown(format!("/proc/sys/{setting}: {error}"));
    match fs::read_to_string(format!("/proc/sys/{setting}")) {
        Ok(text) => text.trim().parse().map_err(|error| unknown(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(unknown(&error)),
    }
}
