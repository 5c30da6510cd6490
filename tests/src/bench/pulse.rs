//! A datagram every millisecond, over one connection and over a new one each time, and when they arrive.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::bed::Netns;

const PORT: u16 = 5002;
const PACE: Duration = Duration::from_micros(900);
const LOOK_UP: Duration = Duration::from_millis(20);

/// What sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// One socket.
    Connection,
    /// A socket for each datagram.
    New,
}

/// Both kinds, under way.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    stop: AtomicBool,
    counts: [Count; 2],
}

#[derive(Debug, Default)]
struct Count {
    /// Sent since one has arrived.
    unanswered: AtomicUsize,
    arrivals: Mutex<Vec<Instant>>,
}

impl Pulse {
    /// Keeps datagrams going from one namespace to another as long as `during` runs.
    pub(super) fn run(
        client: &Netns,
        server: &Netns,
        address: IpAddr,
        during: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let pulse = Self::default();
        let to = SocketAddr::new(address, PORT);
        let receiver = server.enter(|| UdpSocket::bind(to).with_context(|| to.to_string()))?;
        receiver.set_read_timeout(Some(LOOK_UP))?;
        thread::scope(|scope| {
            let senders = [Kind::Connection, Kind::New].map(|kind| {
                let pulse = &pulse;
                scope.spawn(move || client.enter(|| pulse.send(kind, to)))
            });
            let receiver = scope.spawn(|| pulse.receive(&receiver));
            let result = during(&pulse);
            pulse.stop.store(true, Ordering::Relaxed);
            for thread in senders.into_iter().chain([receiver]) {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            result
        })
    }

    /// When the last one arrived.
    pub(super) fn last(&self, kind: Kind) -> Option<Instant> {
        self.arrivals(kind, |all| all.last().copied())
    }

    /// When the first one arrived since. What arrived before is forgotten.
    pub(super) fn first(&self, kind: Kind, since: Instant) -> Option<Instant> {
        self.arrivals(kind, |all| {
            all.drain(..all.partition_point(|at| *at < since));
            all.first().copied()
        })
    }

    /// How many were sent since one arrived.
    pub(super) fn unanswered(&self, kind: Kind) -> usize {
        self.counts[kind as usize].unanswered.load(Ordering::Relaxed)
    }

    fn arrivals<T>(&self, kind: Kind, look: impl FnOnce(&mut Vec<Instant>) -> T) -> T {
        look(&mut self.counts[kind as usize].arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn send(&self, kind: Kind, to: SocketAddr) -> Result<()> {
        let socket = || -> Result<UdpSocket> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            Ok(socket)
        };
        let mut connection = socket()?;
        while !self.stop.load(Ordering::Relaxed) {
            if kind == Kind::New {
                connection = socket()?;
            }
            self.counts[kind as usize].unanswered.fetch_add(1, Ordering::Relaxed);
            connection.send(&[kind as u8])?;
            thread::sleep(PACE);
        }
        Ok(())
    }

    fn receive(&self, socket: &UdpSocket) -> Result<()> {
        let mut kind = [0];
        while !self.stop.load(Ordering::Relaxed) {
            match socket.recv(&mut kind) {
                Ok(_) => {
                    let count =
                        self.counts.get(usize::from(kind[0])).context("a datagram of another kind")?;
                    count.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                    count.unanswered.store(0, Ordering::Relaxed);
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}
