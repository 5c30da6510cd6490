//! Headers between the network header and the transport header: RFC 791 §3.1, RFC 7126, RFC 8200 §4.

use netpol_common::{
    direction::Direction::Egress,
    reason::DropReason::{Malformed, SourceRoute, TooDeep},
};
use netpol_tests::packet::{
    Extension, Hook::FromPod, SYN, Verdict::HandOver, World, extended, tcp, with_ipv4_options,
};

use crate::table::{
    Expect::{Drop, Known, Opens},
    in_both_families, row, send_all,
};

#[test]
fn ipv4_options_are_read_and_none_names_another_destination() {
    in_both_families(|lab, w| {
        if w.a.is_ipv6() {
            return Ok(());
        }
        let if_a = lab.pods[0];
        let syn = |options: &[u8]| {
            with_ipv4_options(&tcp(World::at(w.a, 1), World::at(w.b, 80), SYN, b""), options)
        };
        let via = [10, 244, 1, 200];
        let route = |kind: u8, pointer: u8| [&[1, kind, 7, pointer][..], &via].concat();
        let routed = || Drop(SourceRoute, Egress);
        let malformed = || Drop(Malformed, Egress);
        send_all(
            lab,
            vec![
                row("loose source route", FromPod(if_a), syn(&route(131, 4)), routed()),
                row("strict source route", FromPod(if_a), syn(&route(137, 4)), routed()),
                row("gone to its end", FromPod(if_a), syn(&route(131, 8)), routed()),
                row(
                    "behind 33 bytes",
                    FromPod(if_a),
                    syn(&[&[1; 32][..], &route(131, 4)].concat()),
                    routed(),
                ),
                row("length 0", FromPod(if_a), syn(&[7, 0, 0, 0]), malformed()),
                row("length 1", FromPod(if_a), syn(&[7, 1, 0, 0]), malformed()),
                row("longer than the header", FromPod(if_a), syn(&[7, 5, 0, 0]), malformed()),
                row("without a length", FromPod(if_a), syn(&[1, 1, 1, 7]), malformed()),
                row("record route", FromPod(if_a), syn(&[7, 7, 4, 0, 0, 0, 0, 0]), Opens(HandOver)),
                row("behind the end of the list", FromPod(if_a), syn(&[0, 131, 0, 0]), Known(HandOver)),
            ],
        )
    });
}

#[test]
fn ipv6_extension_headers_are_walked_as_the_receiver_would() {
    in_both_families(|lab, w| {
        if w.a.is_ipv4() {
            return Ok(());
        }
        let if_a = lab.pods[0];
        let syn = |port, numbers: &[u8]| {
            let chain: Vec<Extension> = numbers.iter().map(|&number| Extension { number, len: 16 }).collect();
            extended(&tcp(World::at(w.a, port), World::at(w.b, 80), SYN, b""), &chain)
        };
        let mut routed = syn(1, &[43]);
        routed[57] = 1;
        let mut beyond = syn(1, &[60]);
        beyond[55] = 9;
        let mut cut = syn(1, &[60]);
        cut.truncate(58);
        cut[18..20].copy_from_slice(&[0, 4]);
        let malformed = || Drop(Malformed, Egress);
        send_all(
            lab,
            vec![
                row("segments left", FromPod(if_a), routed, Drop(SourceRoute, Egress)),
                row("none left", FromPod(if_a), syn(1, &[43]), Opens(HandOver)),
                row("authentication", FromPod(if_a), syn(1, &[51]), Known(HandOver)),
                row("eight", FromPod(if_a), syn(1, &[0, 60, 43, 51, 60, 60, 60, 60]), Known(HandOver)),
                row(
                    "nine",
                    FromPod(if_a),
                    syn(1, &[0, 60, 43, 51, 60, 60, 60, 60, 60]),
                    Drop(TooDeep, Egress),
                ),
                row("hop-by-hop, not first", FromPod(if_a), syn(1, &[60, 0]), malformed()),
                row("longer than the packet", FromPod(if_a), beyond, malformed()),
                row("cut", FromPod(if_a), cut, malformed()),
                // No receiver finds TCP behind it: the packet is one of its protocol, without ports.
                row("mobility", FromPod(if_a), syn(2, &[135]), Opens(HandOver)),
                row("its TCP was not read", FromPod(if_a), syn(2, &[]), Opens(HandOver)),
            ],
        )
    });
}
