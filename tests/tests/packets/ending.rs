//! How connections between pods of the node leave the table.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use netpol_agent::dataplane::{Op, kernel::Switch};
use netpol_common::{config, net::proto};
use netpol_tests::packet::{
    ACK, FIN_ACK,
    Hook::FromPod,
    Lab, PSH_ACK, RST, SYN, SYN_ACK,
    Verdict::{HandOver, Pass},
    World, numbered, open,
};

use crate::{
    entry::entry_of,
    table::{
        Expect::{Known, Opens, OpensTranslated, Translated},
        Row, in_both_families, row, send_all,
    },
};

/// Who talks: a client, what it asks, and who answers in its place.
#[derive(Clone, Copy)]
struct Talk {
    client: SocketAddr,
    asked: SocketAddr,
    server: SocketAddr,
}

/// Flags, numbers and payload of a segment.
type Segment = (u8, [u32; 2], &'static [u8]);

impl Talk {
    fn direct(w: World, port: u16) -> Self {
        let server = World::at(w.b, 8080);
        Self { client: World::at(w.a, port), asked: server, server }
    }

    fn by_service(w: World, port: u16) -> Self {
        Self { asked: World::at(w.service, 80), ..Self::direct(w, port) }
    }

    /// Client and server exchange three bytes each; nobody has closed.
    fn begins(self, lab: &Lab) -> Vec<Row<'static>> {
        vec![
            self.by_client(lab, "SYN", (SYN, [99, 0], b"")),
            self.by_server(lab, "SYN ACK", (SYN_ACK, [499, 100], b"")),
            self.by_client(lab, "asks", (PSH_ACK, [100, 500], b"abc")),
            self.by_server(lab, "answers", (PSH_ACK, [500, 103], b"xyz")),
        ]
    }

    fn by_client(self, lab: &Lab, name: &'static str, (flags, numbers, payload): Segment) -> Row<'static> {
        let sent = numbered(self.client, self.asked, flags, numbers, payload);
        let arrives = numbered(self.client, self.server, flags, numbers, payload);
        let expect = match (flags == SYN, self.asked == self.server) {
            (true, true) => Opens(HandOver),
            (true, false) => OpensTranslated(HandOver, arrives),
            (false, true) => Known(HandOver),
            (false, false) => Translated(HandOver, arrives),
        };
        row(name, FromPod(lab.pods[0]), sent, expect)
    }

    fn by_server(self, lab: &Lab, name: &'static str, (flags, numbers, payload): Segment) -> Row<'static> {
        let sent = numbered(self.server, self.client, flags, numbers, payload);
        let expect = if self.asked == self.server {
            Known(HandOver)
        } else {
            Translated(HandOver, numbered(self.asked, self.client, flags, numbers, payload))
        };
        row(name, FromPod(lab.pods[1]), sent, expect)
    }

    /// How many entries it has.
    fn entries(self, lab: &Lab) -> Result<usize> {
        let mut towards = vec![self.server];
        if self.asked != self.server {
            towards.push(self.asked);
        }
        let found: Result<Vec<_>> =
            towards.into_iter().map(|to| entry_of(lab, self.client, to, proto::TCP)).collect();
        Ok(found?.into_iter().flatten().count())
    }
}

/// The client closes first, in a segment with data.
fn ends_in_order(talk: Talk, lab: &Lab) -> Vec<Row<'static>> {
    vec![
        talk.by_client(lab, "client closes", (FIN_ACK, [103, 503], b"de")),
        talk.by_server(lab, "is told so", (ACK, [503, 106], b"")),
        talk.by_server(lab, "server closes", (FIN_ACK, [503, 106], b"uvw")),
        talk.by_client(lab, "last", (ACK, [106, 507], b"")),
    ]
}

#[test]
fn a_connection_that_ends_in_order_leaves_nothing_behind() {
    in_both_families(|lab, w| {
        // So that what is left would be told of by the next one.
        lab.maps.limit_connections(2);
        let if_a = lab.pods[0];
        lab.write([Op::DeleteEndpoint(if_a), Op::PutEndpoint(if_a, open())])?;
        for port in 1..5 {
            for talk in [Talk::direct(w, port), Talk::by_service(w, 100 + port)] {
                let end = ends_in_order(talk, lab);
                let (last, before) = (end.len() - 1, usize::from(talk.asked != talk.server) + 1);
                send_all(lab, talk.begins(lab))?;
                for (number, row) in end.into_iter().enumerate() {
                    let there = talk.entries(lab)?;
                    ensure!(there == before, "{there} entries before segment {number} of the end");
                    send_all(lab, vec![row])?;
                    let left = if number == last { 0 } else { before };
                    let there = talk.entries(lab)?;
                    ensure!(there == left, "{there} entries after segment {number} of the end");
                }
            }
        }
        Ok(())
    });
}

#[test]
fn the_server_may_close_first() {
    in_both_families(|lab, w| {
        for talk in [Talk::direct(w, 1), Talk::by_service(w, 2)] {
            send_all(lab, talk.begins(lab))?;
            send_all(
                lab,
                vec![
                    talk.by_server(lab, "server closes", (FIN_ACK, [503, 103], b"")),
                    talk.by_client(lab, "client closes", (FIN_ACK, [103, 504], b"")),
                    talk.by_server(lab, "last", (ACK, [504, 104], b"")),
                ],
            )?;
            ensure!(talk.entries(lab)? == 0, "entries are left");
        }
        Ok(())
    });
}

#[test]
fn a_connection_that_has_more_to_say_keeps_its_entries() {
    const CLIENT: bool = true;
    const SERVER: bool = false;
    type Course = (&'static str, &'static [(bool, Segment)]);
    // Behind the client's FIN.
    let courses: [Course; 6] = [
        (
            "the second FIN is not acknowledged yet",
            &[(SERVER, (FIN_ACK, [503, 104], b"uvw")), (CLIENT, (ACK, [104, 503], b""))],
        ),
        (
            "its sender has not seen the first one",
            &[(SERVER, (FIN_ACK, [503, 103], b"")), (CLIENT, (ACK, [104, 504], b""))],
        ),
        (
            "an old acknowledgement comes late",
            &[(SERVER, (FIN_ACK, [503, 104], b"")), (CLIENT, (ACK, [103, 504], b""))],
        ),
        (
            "the second FIN comes again",
            &[(SERVER, (FIN_ACK, [503, 104], b"")), (SERVER, (FIN_ACK, [503, 104], b""))],
        ),
        (
            "the first FIN comes again, with what the last segment would say",
            &[(SERVER, (FIN_ACK, [503, 104], b"")), (CLIENT, (FIN_ACK, [104, 504], b""))],
        ),
        ("one end resets it", &[(SERVER, (RST, [503, 0], b""))]),
    ];
    in_both_families(|lab, w| {
        for (port, (name, course)) in (1..).zip(&courses) {
            for talk in [Talk::direct(w, port), Talk::by_service(w, 100 + port)] {
                send_all(lab, talk.begins(lab))?;
                send_all(lab, vec![talk.by_client(lab, name, (FIN_ACK, [103, 503], b""))])?;
                for (from, segment) in *course {
                    let row = if *from == CLIENT {
                        talk.by_client(lab, name, *segment)
                    } else {
                        talk.by_server(lab, name, *segment)
                    };
                    send_all(lab, vec![row])?;
                }
                ensure!(talk.entries(lab)? != 0, "{name}: no entry is left");
            }
        }
        Ok(())
    });
}

#[test]
fn who_follows_flows_finds_the_entry_of_an_ended_connection() {
    in_both_families(|lab, w| {
        let talk = Talk::by_service(w, 1);
        send_all(lab, talk.begins(lab))?;
        lab.maps.set_flags(config::flags::FLOW_EVENTS, Switch::On);
        let end = ends_in_order(talk, lab);
        send_all(lab, end)?;
        lab.maps.set_flags(config::flags::FLOW_EVENTS, Switch::Off);
        ensure!(talk.entries(lab)? == 2, "the entries are gone");
        Ok(())
    });
}

#[test]
fn what_another_program_has_yet_to_see_keeps_its_entry() {
    in_both_families(|lab, w| {
        let passes = |row: Row<'static>| Row {
            expect: match row.expect {
                Opens(_) => Opens(Pass),
                _ => Known(Pass),
            },
            ..row
        };
        lab.maps.set_flags(config::flags::FAST_PATH, Switch::Off);
        let here = Talk::direct(w, 2);
        let rows = here.begins(lab).into_iter().chain(ends_in_order(here, lab)).map(passes).collect();
        send_all(lab, rows)?;
        ensure!(here.entries(lab)? == 1, "the entry is gone");
        Ok(())
    });
}
