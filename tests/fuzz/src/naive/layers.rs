//! What lies between the network header and the payload.

use netpol_common::{hook::Hook, parse::Kind, reason::DropReason};

const NOTHING: Transport = Transport { kind: Kind::Flow, sport: 0, dport: 0, flags: 0 };

pub(super) struct Transport {
    pub(super) kind: Kind,
    pub(super) sport: u16,
    pub(super) dport: u16,
    pub(super) flags: u8,
}

pub(super) fn be16(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) * 256 + usize::from(bytes[at + 1])
}

pub(super) fn ipv4_options(mut options: &[u8]) -> Result<(), DropReason> {
    loop {
        options = match options {
            [] | [0, ..] => return Ok(()),
            [1, rest @ ..] => rest,
            [kind, len, ..] => {
                let len = usize::from(*len);
                if len < 2 || len > options.len() {
                    return Err(DropReason::Malformed);
                }
                if *kind == 131 || *kind == 137 {
                    return Err(DropReason::SourceRoute);
                }
                &options[len..]
            }
            [_] => return Err(DropReason::Malformed),
        };
    }
}

pub(super) struct Chain {
    pub(super) protocol: u8,
    pub(super) at: usize,
    /// Where a fragment header lies.
    pub(super) fragment: Option<usize>,
}

/// The extension headers of a packet that ends with `ip`.
pub(super) fn chain(ip: &[u8], first: u8) -> Result<Chain, DropReason> {
    let (mut protocol, mut at, mut fragment) = (first, 40, None);
    for count in 0.. {
        if ![0, 43, 44, 51, 60].contains(&protocol) {
            break;
        }
        if count == 8 {
            return Err(DropReason::TooDeep);
        }
        let header: &[u8; 8] = ip.get(at..).and_then(<[u8]>::first_chunk).ok_or(DropReason::Malformed)?;
        let len = usize::from(header[1]);
        match protocol {
            0 if count != 0 => return Err(DropReason::Malformed),
            43 if header[3] != 0 => return Err(DropReason::SourceRoute),
            44 if fragment.is_some() => return Err(DropReason::Malformed),
            44 => {
                fragment = Some(at);
                at += 8;
                protocol = header[0];
                if be16(header, 2) / 8 != 0 {
                    break;
                }
                continue;
            }
            51 => at += (len + 2) * 4,
            _ => at += (len + 1) * 8,
        }
        protocol = header[0];
    }
    Ok(Chain { protocol, at, fragment })
}

pub(super) fn transport(
    family: u8,
    protocol: u8,
    data: &[u8],
    hook: Hook,
    whole: bool,
) -> Result<Transport, DropReason> {
    let icmp = if family == 4 { 1 } else { 58 };
    let need = match protocol {
        6 => 20,
        17 => 8,
        132 => 12,
        _ if protocol == icmp => 8,
        _ => return Ok(NOTHING),
    };
    if data.len() < need {
        return Err(DropReason::Malformed);
    }
    let ports = (be16(data, 0) as u16, be16(data, 2) as u16);
    let with_ports = |kind, flags| Transport { kind, sport: ports.0, dport: ports.1, flags };
    match protocol {
        6 => {
            let header = usize::from(data[12] / 16) * 4;
            if header < 20 || header > data.len() {
                return Err(DropReason::Malformed);
            }
            Ok(with_ports(Kind::Flow, data[13]))
        }
        17 => {
            let len = be16(data, 4);
            if data.len() <= 65535 && (len < 8 || (whole && len > data.len())) {
                return Err(DropReason::Malformed);
            }
            let (client, server) = if family == 4 { (68, 67) } else { (546, 547) };
            let dhcp = match hook {
                Hook::FromPod => ports == (client, server),
                Hook::ToPod => ports == (server, client),
            };
            Ok(with_ports(if dhcp && whole { Kind::Pass } else { Kind::Flow }, 0))
        }
        132 => Ok(with_ports(Kind::Flow, 0)),
        _ => Ok(icmp_message(family, data, whole)),
    }
}

pub(super) fn icmp_message(family: u8, data: &[u8], whole: bool) -> Transport {
    let (kind, id) = (data[0], be16(data, 4) as u16);
    let (request, reply, errors, below): (u8, u8, &[u8], &[u8]) = match family {
        4 => (8, 0, &[3, 11, 12], &[]),
        _ => (128, 129, &[1, 2, 3, 4], &[130, 131, 132, 133, 134, 135, 136, 137, 143]),
    };
    let what = match kind {
        _ if errors.contains(&kind) => Kind::IcmpError,
        _ if below.contains(&kind) && whole => Kind::Pass,
        _ => Kind::Flow,
    };
    let (sport, dport) = match kind {
        _ if kind == request => (id, 0),
        _ if kind == reply => (0, id),
        _ => (0, 0),
    };
    Transport { kind: what, sport, dport, flags: kind }
}
