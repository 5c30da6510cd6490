//! What interfaces leave to devices, as `ethtool -K` sets it: by generic netlink, since there may be no ethtool.

use std::io;

use anyhow::{Context, Result, bail, ensure};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// Generic netlink's own family, which names the others.
const CONTROL: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 1 << 15;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 16 + 4;

/// Leaves checksums to the device (`ethtool -K … tx`).
pub(super) const CHECKSUMS: &str = "tx-checksum-ip-generic";

/// Turns a feature of an interface of the current network namespace on or off.
pub(super) fn set(interface: &str, feature: &str, on: bool) -> Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    // CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME
    let answer = ask(&socket, CONTROL, 3, &attribute(2, b"ethtool\0"))?;
    // CTRL_ATTR_FAMILY_ID
    let family = find(&answer, 1).context("this kernel does not know ethtool's netlink")?;
    let family = u16::from_ne_bytes(family.get(..2).context("a family's number")?.try_into()?);
    // ETHTOOL_A_BITSET_BIT_NAME, ETHTOOL_A_BITSET_BIT_VALUE
    let bit = [text(2, feature), if on { attribute(3, &[]) } else { Vec::new() }].concat();
    // ETHTOOL_A_FEATURES_HEADER with ETHTOOL_A_HEADER_DEV_NAME; ETHTOOL_A_FEATURES_WANTED with ETHTOOL_A_BITSET_BITS and
    // ETHTOOL_A_BITSET_BITS_BIT
    let request = [nested(1, &text(2, interface)), nested(3, &nested(3, &nested(1, &bit)))].concat();
    // ETHTOOL_MSG_FEATURES_SET
    ask(&socket, family, 12, &request).with_context(|| format!("{interface}: {feature}")).map(drop)
}

/// Sends a command and returns the attributes of what answers it, without the acknowledgement.
fn ask(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> Result<Vec<u8>> {
    let len = u32::try_from(HEADERS + attributes.len())?;
    let mut message = Vec::new();
    message.extend(len.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    // Sequence and port: nobody else uses this socket.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while let Some(header) = rest.get(..16) {
            let len = u32::from_ne_bytes(header[..4].try_into()?) as usize;
            ensure!(len >= 16 && len <= rest.len(), "a message that is cut");
            if u16::from_ne_bytes(header[4..6].try_into()?) == NLMSG_ERROR {
                let code = rest.get(16..20).context("an acknowledgement that is cut")?;
                return match i32::from_ne_bytes(code.try_into()?) {
                    0 => Ok(answer),
                    code => bail!(io::Error::from_raw_os_error(-code)),
                };
            }
            answer.extend(rest.get(HEADERS..len).unwrap_or_default());
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).expect("attributes are short");
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, value)
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), b"\0"].concat())
}

fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let Some(&[a, b, c, d]) = attributes.get(..4) {
        let len = usize::from(u16::from_ne_bytes([a, b])).max(4);
        if u16::from_ne_bytes([c, d]) == kind {
            return attributes.get(4..len);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}
