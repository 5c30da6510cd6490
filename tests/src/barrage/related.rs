//! ICMP errors about connections.

use super::{
    fate::Place,
    quoted::Quoted,
    read::{Read, Tuple},
    reference::{Outcome, Reference, change},
    table::Side,
};
use crate::packet::Hook;

impl Reference {
    /// An ICMP error about a connection of whoever it goes to.
    pub(super) fn related(&mut self, hook: Hook, packet: &Read, quoted: &Quoted) -> Option<Outcome> {
        let reporter_lives_at = self.laws.interface(packet.tuple.src.ip());
        let accounted_for = match hook {
            Hook::FromPod(_) => true,
            Hook::ToPod(_, ingress) => self.is_accounted_for(ingress),
        };
        let leaves = matches!(hook, Hook::FromPod(_));
        let beside = leaves
            && self.table.find(&quoted.tuple)?.is_anothers(&quoted.tuple, true)
            && self.table.at(&quoted.tuple, true).is_some();
        let entry = self.table.at(&quoted.tuple, beside)?;
        if entry.verdict.is_err() {
            return None;
        }
        let answer = entry.is_answer(&quoted.tuple);
        let (sender, receiver) = entry.interfaces(answer);
        let mine = match hook {
            Hook::FromPod(here) => receiver == here && reporter_lives_at == here,
            Hook::ToPod(here, ingress) => {
                sender == here
                    && match reporter_lives_at {
                        0 => accounted_for,
                        pod => pod == ingress,
                    }
            }
        };
        if !mine {
            return None;
        }
        let hands_over = leaves && sender != 0;
        let at = Place::Quoted { icmp: packet.l4, l3: quoted.l3, l4: quoted.l4 };
        let Tuple { src, dst, .. } = quoted.tuple;
        let source = |new| change(at, true, src, new);
        let destination = |new| change(at, false, dst, new);
        let changes = match (entry.side, leaves, answer) {
            // The client about an answer that came from the Service.
            (Side::Front { backend, seen_as }, true, true) => [source(backend), destination(seen_as)],
            // Somebody about what the client sent to the Service.
            (Side::Back { service, client }, false, false) => [destination(service), source(client)],
            (Side::Back { service, client }, true, false) if hands_over => {
                [destination(service), source(client)]
            }
            _ => [None, None],
        };
        Some(Outcome::of(hands_over, changes))
    }
}
