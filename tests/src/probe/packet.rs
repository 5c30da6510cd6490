//! Single packets of what kernels have no sockets for, or none that could be relied on.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Type};

use super::Protocol;
use crate::bed::Netns;

/// `IPPROTO_RAW`: the sender writes the IP header himself (raw(7)).
const RAW: i32 = 255;
/// IPv6 destination options (RFC 8200 §4.6) and the routing header (§4.4).
pub(super) const DESTINATION_OPTIONS: u8 = 60;
pub(super) const ROUTING: u8 = 43;

/// A packet to send, and what those who see it know it by.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    from: &'a Netns,
    protocol: Protocol,
    /// Its source; where the protocol has no ports, the port is a mark within the packet.
    pub(crate) source: SocketAddr,
    /// Where it goes.
    pub(crate) to: SocketAddr,
}

impl<'a> Packet<'a> {
    /// The first packet of something new.
    ///
    /// # Errors
    /// If there is no route.
    pub(crate) fn opening(from: &'a Netns, protocol: Protocol, to: SocketAddr) -> Result<Self> {
        static MARK: AtomicU16 = AtomicU16::new(0);
        let way = from.socket(Domain::for_address(to), Type::DGRAM, None)?;
        way.connect(&to.into())?;
        let source = way.local_addr()?.as_socket().context("a socket without an IP address")?.ip();
        let mark = 0x8000 | MARK.fetch_add(1, Ordering::Relaxed);
        Ok(Self { from, protocol, source: SocketAddr::new(source, mark), to })
    }

    /// What the receiver would answer.
    pub(crate) fn answer(&self, from: &'a Netns) -> Self {
        let port = if self.protocol.has_ports() { self.to.port() } else { self.source.port() };
        let source = SocketAddr::new(self.to.ip(), port);
        Self { from, protocol: self.protocol, source, to: self.source }
    }

    /// Sends it once.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn send(&self) -> Result<()> {
        self.send_as(self.source.ip())
    }

    /// Sends it once, with another source address.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn send_as(&self, source: IpAddr) -> Result<()> {
        let (number, bytes) = self.bytes(source)?;
        let socket = self.from.socket(Domain::for_address(self.to), Type::RAW, Some(number.into()))?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect(&SocketAddr::new(self.to.ip(), 0).into())?;
        socket.send(&bytes).map(drop).context("raw socket")
    }

    /// The protocol of the raw socket, and what is given to it.
    fn bytes(&self, source: IpAddr) -> Result<(i32, Vec<u8>)> {
        let ports = [self.source.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        let mark = u32::from(self.source.port()).to_be_bytes();
        Ok(match self.protocol {
            Protocol::Sctp => (132, sctp(&ports)),
            // Coverage 0 is the whole packet (RFC 3828 §3.1).
            Protocol::UdpLite => (136, [&ports[..], &[0, 0, 0xff, 0xff]].concat()),
            // With a key (RFC 2890), which carries the mark.
            Protocol::Gre => (47, [&[0x20, 0, 0x08, 0][..], &mark].concat()),
            // The mark is the SPI (RFC 4303 §2).
            Protocol::Esp => (50, [&mark[..], &[0, 0, 0, 1], &[0; 16]].concat()),
            Protocol::UdpOptions => {
                // A checksum of 0 is none in IPv4; IPv6 receivers may refuse it, but only after it has arrived.
                let udp = [&ports[..], &[0, 12, 0, 0], b"ping"].concat();
                match (source, self.to.ip()) {
                    (IpAddr::V4(source), IpAddr::V4(to)) => {
                        // Six words: one of options, all of them "no operation"; the kernel fills in the checksum.
                        let head = [0x46, 0, 0, 24 + 12, 0, 0, 0, 0, 64, 17, 0, 0];
                        let addresses = [source.octets(), to.octets(), [1, 1, 1, 1]].concat();
                        (RAW, [&head[..], &addresses, &udp].concat())
                    }
                    _ => {
                        // Both headers are eight bytes: padding, and a routing header with no segment left.
                        let options = [ROUTING, 0, 1, 4, 0, 0, 0, 0];
                        let routing = [17, 0, 253, 0, 0, 0, 0, 0];
                        (DESTINATION_OPTIONS.into(), [&options[..], &routing, &udp].concat())
                    }
                }
            }
            Protocol::Tcp | Protocol::Udp | Protocol::Icmp | Protocol::Http => {
                bail!("{} has sockets", self.protocol.name())
            }
        })
    }
}

/// An INIT chunk (RFC 9260 §3.3.2).
fn sctp(ports: &[u8]) -> Vec<u8> {
    let init = [1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1];
    let mut packet = [ports, &[0; 8], &init].concat();
    let sum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    packet
}

/// RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standards_example() {
        // RFC 3720 §B.4: 32 bytes of zeros.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
