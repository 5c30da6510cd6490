//! What can happen to a packet on its way, or be done to it on purpose.

use crate::packet::{ETHERNET, Extension, Fragment, extended, fragment, with_ipv4_options};

/// Most bytes of a packet: a trial of a program takes a page with some room.
const MOST: usize = 1_900;

/// The packet, in most cases as it is.
pub(super) fn mutate(random: &mut fastrand::Rng, mut frame: Vec<u8>) -> Vec<u8> {
    let ipv4 = frame[12..14] == [0x08, 0x00];
    if random.u8(..8) == 0 {
        frame = if ipv4 { with_options(random, &frame) } else { with_extensions(random, &frame) };
    }
    let plain = if ipv4 { frame[20..22] == [0; 2] && frame.len() >= 34 } else { frame.len() >= 54 };
    if plain && random.u8(..8) == 0 {
        let which = if random.bool() { Fragment::First } else { Fragment::Later };
        frame = fragment(&frame, which, random.u16(..3));
    }
    match random.u8(..24) {
        // Cut off.
        0 => frame.truncate(random.usize(ETHERNET..=frame.len())),
        // Padded: more on the wire than the header says.
        1 => {
            let more = random.usize(1..48);
            frame.extend((0..more).map(|_| random.u8(..)));
        }
        // A length that is wrong, or right again after padding.
        2 => {
            let field = if ipv4 { 16 } else { 18 };
            let length = match random.u8(..3) {
                0 => random.u16(..),
                1 => random.u16(..96),
                _ => frame.len().saturating_sub(if ipv4 { ETHERNET } else { 54 }) as u16,
            };
            write(&mut frame, field, &length.to_be_bytes());
        }
        // Noise anywhere in the headers, each byte of its own.
        3 | 4 => {
            for _ in 0..random.usize(1..4) {
                let at = random.usize(12..frame.len().min(96));
                frame[at] = random.u8(..);
            }
        }
        // A single bit.
        5 => {
            let at = random.usize(12..frame.len().min(96));
            frame[at] ^= 1 << random.u8(..8);
        }
        // The fields that say most: version and length, fragment, hop limit, next header.
        6 => {
            let fields: &[usize] = if ipv4 { &[14, 20, 21, 22, 23] } else { &[14, 20, 21, 54, 55, 57] };
            let at = fields[random.usize(..fields.len())];
            let byte = random.u8(..);
            write(&mut frame, at, &[byte]);
        }
        _ => {}
    }
    frame.truncate(MOST);
    // A trial does not take less than the header of the protocol that the frame names.
    let least = match frame[12..14] {
        [0x08, 0x00] => 34,
        [0x86, 0xdd] => 54,
        _ => ETHERNET + 1,
    };
    if frame.len() < least {
        frame.resize(least, 0);
    }
    frame
}

fn with_options(random: &mut fastrand::Rng, frame: &[u8]) -> Vec<u8> {
    if frame[14] != 0x45 || frame.len() < 34 {
        return frame.to_vec();
    }
    // Nothing, the end, record route, time stamp, router alert; or any bytes.
    let units = random.usize(1..=10);
    let mut options = vec![if random.bool() { 1 } else { 0 }; units * 4];
    match random.u8(..6) {
        0 => options[..4].copy_from_slice(&[0x94, 4, 0, 0]),
        1 => options[..3].copy_from_slice(&[7, 3, 4]),
        3 if random.bool() => options[..3].copy_from_slice(&[if random.bool() { 131 } else { 137 }, 3, 4]),
        2 => options.iter_mut().for_each(|byte| *byte = random.u8(..)),
        _ => {}
    }
    with_ipv4_options(frame, &options)
}

fn with_extensions(random: &mut fastrand::Rng, frame: &[u8]) -> Vec<u8> {
    if frame[12..14] != [0x86, 0xdd] || frame.len() < 54 {
        return frame.to_vec();
    }
    let numbers = [0, 43, 60, 60, 51, 135, 139, 140];
    // Few, now and then as many as are walked, and one more.
    let count = if random.u8(..4) == 0 { random.usize(6..=10) } else { random.usize(1..=3) };
    let number = |random: &mut fastrand::Rng, at: usize| match (at, random.u8(..16)) {
        (0, 0..=5) => 0,
        (_, 0) => numbers[random.usize(..numbers.len())],
        _ => [43, 60, 51][random.usize(..3)],
    };
    let extensions: Vec<Extension> =
        (0..count).map(|at| Extension { number: number(random, at), len: random.usize(1..=4) * 8 }).collect();
    extended(frame, &extensions)
}

fn write(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
