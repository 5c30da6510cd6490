use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::IPBlock;

use super::miss::PeerMiss;

/// Whether the block contains the address; otherwise why not.
///
/// Host bits of `cidr` and `except` mean nothing. A block only ever matches addresses of its own family: `::ffff:0:0/96`
/// is an IPv6 block and matches no IPv4 packet.
pub(super) fn contains(block: &IPBlock, address: IpAddr) -> Result<(), PeerMiss> {
    let cidr = parse(&block.cidr, "cidr")?;
    // All of them first: an `except` that cannot be read must not let anybody in.
    let mut excepts = Vec::new();
    for (i, text) in block.except.iter().flatten().enumerate() {
        let field = format!("except[{i}]");
        let except = parse(text, &field)?;
        if except.addr().is_ipv4() != cidr.addr().is_ipv4() {
            let message = format!("{text:?} is of another family than {:?}", block.cidr);
            return Err(PeerMiss::Invalid { field: format!("ipBlock.{field}"), message });
        }
        excepts.push(except);
    }
    if cidr.addr().is_ipv4() != address.is_ipv4() {
        return Err(PeerMiss::OtherFamily { block: block.cidr.clone() });
    }
    if !cidr.contains(&address) {
        return Err(PeerMiss::OutsideBlock { block: block.cidr.clone() });
    }
    match excepts.iter().find(|except| except.contains(&address)) {
        Some(except) => Err(PeerMiss::Excepted { except: except.to_string() }),
        None => Ok(()),
    }
}

fn parse(text: &str, field: &str) -> Result<IpNet, PeerMiss> {
    text.parse::<IpNet>().map(|net| net.trunc()).map_err(|error| PeerMiss::Invalid {
        field: format!("ipBlock.{field}"),
        message: format!("{text:?}: {error}"),
    })
}
