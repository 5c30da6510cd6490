//! What the program did, against what it should have done.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use netpol_common::{direction::Direction, reason::DropReason};

use super::fate::{Change, Chosen, Fate, Place};
use crate::{
    packet::{ETHERNET, reset_of, unreachable_of, verify},
    station::Ran,
};

/// `TC_ACT_UNSPEC`, `TC_ACT_SHOT`, `TC_ACT_REDIRECT`
const NEXT: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

/// Compares action, reason, direction, events and every byte.
pub(super) fn check(frame: &[u8], fate: Fate, ran: &Ran) -> Result<()> {
    match fate {
        Fate::Goes { handed_over, opens, changes } => {
            let action = if handed_over { REDIRECT } else { NEXT };
            ensure!(ran.action == action, "action {} instead of {action}", ran.action);
            ensure!(ran.drop.is_none(), "it goes on, and is reported as dropped");
            ensure!(ran.flow.is_some() == opens, "reported as a new connection: {}", ran.flow.is_some());
            translated(frame, changes, &ran.packet).context("translation")?;
        }
        Fate::Drops { reason, direction } => {
            ensure!(ran.action == SHOT, "action {}", ran.action);
            dropped(ran, reason, direction)?;
        }
        Fate::Refuses { l4, reset } => {
            let (told, answer) = (
                ran.action == REDIRECT,
                match reset {
                    true => reset_of(frame, l4),
                    false => unreachable_of(frame),
                },
            );
            ensure!(told || (!reset && ran.action == SHOT), "action {}", ran.action);
            ensure!(!told || ran.packet == answer, "other bytes than {answer:02x?}");
            dropped(ran, DropReason::NoBackend, Direction::Egress)?;
        }
    }
    Ok(())
}

fn dropped(ran: &Ran, reason: DropReason, direction: Direction) -> Result<()> {
    ensure!(ran.flow.is_none(), "it is dropped, and reported as a new connection");
    let drop = ran.drop.context("dropped in silence")?;
    let said = (DropReason::from_u8(drop.reason), Direction::from_u8(drop.direction));
    ensure!(said == (Some(reason), Some(direction)), "reason and direction {said:?}");
    Ok(())
}

fn translated(frame: &[u8], changes: [Option<Change>; 2], packet: &[u8]) -> Result<()> {
    let mut wanted = frame.to_vec();
    // Checksums are not compared byte by byte: two are right where one of them is 0.
    let mut sums = Vec::new();
    for Change { at, source, old, new } in changes.into_iter().flatten() {
        let ipv4 = old.is_ipv4();
        match at {
            Place::Itself { l4, checksum } => {
                put_address(&mut wanted, ETHERNET, source, new.ip(), &mut sums)?;
                if let Some(checksum) = checksum {
                    put(&mut wanted, l4 + if source { 0 } else { 2 }, &new.port().to_be_bytes())?;
                    sums.push(checksum);
                }
            }
            Place::Quoted { icmp, l3, l4 } => {
                put_address(&mut wanted, l3, source, new.ip(), &mut sums)?;
                put(&mut wanted, l4 + if source { 0 } else { 2 }, &new.port().to_be_bytes())?;
                sums.push(icmp + 2);
                if address(frame, !source, ipv4)? == old.ip() {
                    put_address(&mut wanted, ETHERNET, !source, new.ip(), &mut sums)?;
                }
            }
        }
    }
    let mut got = packet.to_vec();
    for sum in sums {
        put(&mut wanted, sum, &[0; 2])?;
        put(&mut got, sum, &[0; 2])?;
    }
    ensure!(got == wanted, "other bytes than {wanted:02x?}");
    if is_plain(frame) && verify(frame).is_ok() {
        verify(packet)?;
    }
    Ok(())
}

/// Whether [`verify`] understands it: whole, without extension headers, without padding.
fn is_plain(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => {
            let total = u16::from_be_bytes([frame[16], frame[17]]);
            frame[20] & 0x3f == 0 && frame[21] == 0 && usize::from(total) + ETHERNET == frame.len()
        }
        _ => {
            let payload = u16::from_be_bytes([frame[18], frame[19]]);
            [6, 17, 58].contains(&frame[20]) && usize::from(payload) + 54 == frame.len()
        }
    }
}

fn address(frame: &[u8], source: bool, ipv4: bool) -> Result<IpAddr> {
    let at = ETHERNET + offset(source, ipv4);
    Ok(if ipv4 {
        <[u8; 4]>::try_from(frame.get(at..at + 4).context("cut")?)?.into()
    } else {
        <[u8; 16]>::try_from(frame.get(at..at + 16).context("cut")?)?.into()
    })
}

fn offset(source: bool, ipv4: bool) -> usize {
    match (source, ipv4) {
        (true, true) => 12,
        (false, true) => 16,
        (true, false) => 8,
        (false, false) => 24,
    }
}

fn put_address(frame: &mut [u8], l3: usize, source: bool, new: IpAddr, sums: &mut Vec<usize>) -> Result<()> {
    let at = l3 + offset(source, new.is_ipv4());
    match new {
        IpAddr::V4(new) => {
            sums.push(l3 + 10);
            put(frame, at, &new.octets())
        }
        IpAddr::V6(new) => put(frame, at, &new.octets()),
    }
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) -> Result<()> {
    let Some(place) = frame.get_mut(at..at + bytes.len()) else { bail!("byte {at} is not there") };
    place.copy_from_slice(bytes);
    Ok(())
}

/// What the program says it chose.
pub(super) fn chosen(ran: &Ran) -> Option<Chosen> {
    let event = ran.flow.or(ran.drop)?;
    let [a, b, c, d, ..] = event.nat_dst;
    let address = if event.family == 4 { IpAddr::from([a, b, c, d]) } else { event.nat_dst.into() };
    (event.family != 0)
        .then(|| Chosen { backend: SocketAddr::new(address, event.nat_dport), source_port: event.nat_sport })
}
