//! The connection table.

use std::{collections::HashMap, net::SocketAddr};

use netpol_common::direction::Direction;

use super::{laws::Ends, read::Tuple};

/// A connection, seen from one of its addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Of the packet that opened it.
    pub(super) opened: Tuple,
    /// Both ends are one address and port, and the packet that made the entry was an answer.
    pub(super) mirrored: bool,
    pub(super) ends: Ends,
    pub(super) side: Side,
    /// It is of a connection to a backend itself, whose tuple another one's answers have.
    pub(super) beside: bool,
    /// The node opened it.
    pub(super) by_node: bool,
    /// Nobody saw who opened it.
    pub(super) met_late: bool,
    pub(super) verdict: Verdict,
    /// When that was.
    pub(super) epoch: u32,
    pub(super) fin: [bool; 2],
    pub(super) rst: bool,
}

/// Of a connection to a Service there are two entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Plain,
    /// Under the Service's address.
    Front {
        /// Where it leads to.
        backend: SocketAddr,
        /// Whom the backend takes for the client.
        seen_as: SocketAddr,
    },
    /// Under the backend's.
    Back {
        /// Where it leads back to.
        service: SocketAddr,
        /// Who the client is.
        client: SocketAddr,
    },
}

pub(super) type Verdict = Result<(), Direction>;

impl Entry {
    pub(super) fn new(opened: Tuple, ends: Ends, epoch: u32) -> Self {
        Self {
            opened,
            mirrored: false,
            ends,
            side: Side::Plain,
            beside: false,
            by_node: false,
            met_late: false,
            verdict: Ok(()),
            epoch,
            fin: [false; 2],
            rst: false,
        }
    }

    /// Whether a packet goes from responder to initiator.
    pub(super) fn is_answer(&self, tuple: &Tuple) -> bool {
        if tuple.src == tuple.dst { self.mirrored } else { tuple.src != self.opened.src }
    }

    /// Interfaces of the packet's sender and receiver.
    pub(super) fn interfaces(&self, answer: bool) -> (u32, u32) {
        let Ends { initiator, responder } = self.ends;
        if answer { (responder, initiator) } else { (initiator, responder) }
    }

    /// Whether a packet by this tuple is of a connection beside this one, if it has one there.
    pub(super) fn is_anothers(&self, tuple: &Tuple, answer: bool) -> bool {
        matches!(self.side, Side::Back { .. }) && self.is_answer(tuple) == answer
    }

    /// Both ends have closed it, or one has broken it off.
    pub(super) fn is_closed(&self) -> bool {
        self.rst || self.fin == [true; 2]
    }

    /// Whether a new connection may take its place.
    pub(super) fn is_over(&self) -> bool {
        self.is_closed() || self.met_late || self.verdict.is_err()
    }

    /// Follows a segment.
    fn follow(&mut self, answer: bool, tcp_flags: u8) {
        self.fin[usize::from(answer)] |= tcp_flags & 1 != 0;
        self.rst |= tcp_flags & 4 != 0;
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<Key, Entry>);

/// Both ends, the protocol, and whether another connection's entry stands under them as well.
type Key = (SocketAddr, SocketAddr, u8, bool);

impl Table {
    pub(super) fn find(&mut self, tuple: &Tuple) -> Option<&mut Entry> {
        self.at(tuple, false)
    }
    /// The entry under the tuple, or the one beside it.
    pub(super) fn at(&mut self, tuple: &Tuple, beside: bool) -> Option<&mut Entry> {
        self.0.get_mut(&key(tuple, beside))
    }
    /// Follows a segment of the connection that it belongs to; the other entry of a translated one learns of its end.
    pub(super) fn follow(&mut self, tuple: &Tuple, beside: bool, tcp_flags: u8) {
        let Some(entry) = self.at(tuple, beside) else { return };
        let before = (entry.fin, entry.rst);
        entry.follow(entry.is_answer(tuple), tcp_flags);
        let now = *entry;
        if (now.fin, now.rst) == before {
            return;
        }
        let Tuple { src, dst, proto } = now.opened;
        let (partner, beside, is_it): (_, _, fn(Side, SocketAddr, SocketAddr) -> bool) = match now.side {
            Side::Plain => return,
            Side::Front { backend, seen_as } => {
                (Tuple { src: seen_as, dst: backend, proto }, false, |side, src, dst| {
                    side == Side::Back { service: dst, client: src }
                })
            }
            Side::Back { service, client } => {
                (Tuple { src: client, dst: service, proto }, now.beside, |side, src, dst| {
                    side == Side::Front { backend: dst, seen_as: src }
                })
            }
        };
        if let Some(other) = self.at(&partner, beside).filter(|other| is_it(other.side, src, dst)) {
            other.fin = [0, 1].map(|end| other.fin[end] || now.fin[end]);
            other.rst |= now.rst;
        }
    }
    pub(super) fn put(&mut self, entry: Entry) {
        let beside = entry.beside && matches!(entry.side, Side::Front { .. });
        self.0.insert(key(&entry.opened, beside), entry);
    }
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn key(tuple: &Tuple, beside: bool) -> Key {
    (tuple.src.min(tuple.dst), tuple.src.max(tuple.dst), tuple.proto, beside)
}
