//! Who sends all the time, and who counts what arrives.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use netpol_tests::{bed::Netns, eventually};

use crate::ground::PATIENCE;

/// Counts datagrams that come in.
pub(crate) struct Ear {
    heard: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    pub(crate) fn at(netns: &Netns, port: u16) -> Self {
        let mut socket = None;
        // What the ear before has let go of is held for a moment by a child that another test is about to start.
        eventually(PATIENCE, "a port to listen at", || {
            socket = netns.enter(|| Ok(UdpSocket::bind(("::", port))?)).ok();
            socket.is_some()
        });
        let socket = socket.unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (heard, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counter, ends) = (heard.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                if socket.recv(&mut [0; 64]).is_ok() {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { heard, stop, thread: Some(thread) }
    }

    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Sends to all of the targets, again and again, whether there is a way or not.
pub(crate) struct Mouth {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Mouth {
    pub(crate) fn to(netns: &Netns, targets: Vec<SocketAddr>) -> Self {
        let sockets =
            netns.enter(|| Ok((UdpSocket::bind("0.0.0.0:0")?, UdpSocket::bind("[::]:0")?))).unwrap();
        let (sent, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counter, ends) = (sent.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                for to in &targets {
                    let socket = if to.is_ipv4() { &sockets.0 } else { &sockets.1 };
                    counter.fetch_add(u64::from(socket.send_to(b"x", to).is_ok()), Ordering::Relaxed);
                }
                thread::sleep(Duration::from_micros(50));
            }
        });
        Self { sent, stop, thread }
    }

    /// Datagrams that found a way so far, as far as the sender can tell.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many in all.
    pub(crate) fn close(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}
