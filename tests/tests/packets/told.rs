use netpol_agent::dataplane::Op;
use netpol_common::{
    endpoint::{EndpointRow, flags},
    limits,
    policy::SlotId,
    reason::DropReason,
};
use netpol_tests::packet::{Hook::FromPod, SYN, Verdict::Drop, World, open, tcp, udp};

use crate::table::in_both_families;

fn closed_out() -> EndpointRow {
    EndpointRow { slot_out: SlotId(5), flags: open().flags | flags::ISOLATED_OUT, ..open() }
}

#[test]
fn drops_alike_are_told_of_once_and_counted() {
    in_both_families(|lab, w| {
        let if_a = lab.pods[0];
        lab.write([Op::PutEndpoint(if_a, closed_out())])?;
        let to = |source, port| tcp(World::at(w.a, source), World::at(w.b, port), SYN, b"");
        let first = lab.send(FromPod(if_a), &to(1, 80))?;
        assert_eq!((first.verdict, first.events.len()), (Drop, 1));
        for _ in 0..3 {
            let seen = lab.send_on(FromPod(if_a), &to(1, 80))?;
            assert_eq!((seen.verdict, seen.events.len()), (Drop, 0));
            assert_eq!(seen.counted.get("policy egress"), Some(&1));
        }
        let elsewhere = [
            to(1, 81),
            // A client that tries again.
            to(2, 80),
            tcp(World::at(w.a, 1), World::at(w.remote, 80), SYN, b""),
            udp(World::at(w.a, 1), World::at(w.b, 80), b""),
            // Dropped for another reason.
            tcp(World::at(w.stranger, 1), World::at(w.b, 80), SYN, b""),
        ];
        for packet in elsewhere {
            assert_eq!(lab.send_on(FromPod(if_a), &packet)?.events.len(), 1);
        }
        let untold = lab.untold()?;
        assert_eq!(untold.loud, []);
        let [(key, row)] = untold.repeated.as_slice() else { panic!("{untold:?}") };
        assert_eq!((key.event(), row.packets), (as_told(first.events[0]), 3));
        assert_eq!(row.bytes, 3 * u64::from(first.events[0].len));
        let again = lab.send_on(FromPod(if_a), &to(1, 80))?;
        assert_eq!(again.events.len(), 1, "news again, once it was asked");
        Ok(())
    });
}

/// What of an event its key keeps.
fn as_told(event: netpol_common::event::PacketEvent) -> netpol_common::event::PacketEvent {
    netpol_common::told::ToldKey::of(&event).event()
}

#[test]
fn who_scans_is_counted_and_drowns_out_nobody() {
    in_both_families(|lab, w| {
        let (if_a, if_b) = (lab.pods[0], lab.pods[1]);
        lab.write([Op::PutEndpoint(if_a, closed_out()), Op::PutEndpoint(if_b, closed_out())])?;
        let scan = |port| tcp(World::at(w.a, 1), World::at(w.remote, port), SYN, b"");
        lab.untold()?;
        let most = limits::EVENTS as u16;
        for port in 1..=most {
            assert_eq!(lab.send_on(FromPod(if_a), &scan(port))?.events.len(), 1, "port {port}");
        }
        for port in most + 1..=most + 5 {
            let seen = lab.send_on(FromPod(if_a), &scan(port))?;
            assert_eq!((seen.verdict, seen.events.len()), (Drop, 0));
        }
        let other = tcp(World::at(w.b, 1), World::at(w.remote, 9999), SYN, b"");
        let other = lab.send_on(FromPod(if_b), &other)?;
        assert_eq!(
            other.events.iter().map(|event| event.reason).collect::<Vec<_>>(),
            [DropReason::Policy as u8]
        );
        let untold = lab.untold()?;
        assert_eq!(untold.repeated, []);
        let [(interface, row)] = untold.loud.as_slice() else { panic!("{untold:?}") };
        assert_eq!((*interface, row.packets), (if_a, 5));
        Ok(())
    });
}
