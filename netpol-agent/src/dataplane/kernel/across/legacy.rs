//! What of netfilter is no part of nftables: iptables in the kernel's own form, and IPVS.

use std::{fs, io};

use super::{Family, Found, Obstacle};

pub(super) fn look(family: Family) -> Found {
    let (program, names) = match family {
        Family::V4 => ("iptables", "ip_tables_names"),
        Family::V6 => ("ip6tables", "ip6_tables_names"),
    };
    // A table is named there from its first use on, and its hooks are called for every packet whether it has rules or not.
    if let Some(table) = read(names)?.lines().next() {
        return Err(Obstacle::Legacy { program, table: table.to_owned() });
    }
    if has_services(&read("ip_vs")?) { Err(Obstacle::Ipvs) } else { Ok(()) }
}

/// Of the network namespace that the calling thread is in. What the kernel does not have is not in use.
fn read(name: &str) -> Result<String, Obstacle> {
    let path = format!("/proc/thread-self/net/{name}");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result.map_err(|error| Obstacle::Unknown(format!("{path}: {error}"))),
    }
}

/// `/proc/net/ip_vs` begins with three lines of headings.
fn has_services(text: &str) -> bool {
    text.lines().count() > 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_alone_are_no_services() {
        const HEADINGS: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
            Prot LocalAddress:Port Scheduler Flags\n  \
            -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
        assert!(!has_services(HEADINGS));
        assert!(has_services(&format!("{HEADINGS}TCP  0A600001:0050 rr\n")));
    }
}
