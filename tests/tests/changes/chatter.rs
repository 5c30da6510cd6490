//! Datagrams from and to a network namespace from the moment that it is there.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use netpol_tests::bed::Netns;

pub(crate) const PORT: u16 = 9000;
/// Between two looks for a namespace.
const LOOK: Duration = Duration::from_micros(200);
/// Between two datagrams to each target.
const PACE: Duration = Duration::from_micros(500);

/// Sends to all targets again and again.
pub(crate) struct Chatter {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<Result<()>>,
}

impl Chatter {
    /// As soon as the namespace at `path` is there.
    pub(crate) fn when_there(path: PathBuf, targets: Vec<SocketAddr>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = thread::spawn(move || {
            within(&path, &stopped, || {
                let any: IpAddr = Ipv6Addr::UNSPECIFIED.into();
                while !stopped.load(Ordering::Relaxed) {
                    // A new connection each time.
                    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
                    for target in &targets {
                        let target = match *target {
                            SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
                            SocketAddr::V6(_) => *target,
                        };
                        // There is no way out before the interface has its addresses.
                        count.fetch_add(usize::from(socket.send_to(b".", target).is_ok()), Ordering::Relaxed);
                    }
                    thread::sleep(PACE);
                }
                ensure!(count.load(Ordering::Relaxed) > 0, "nothing could be sent");
                Ok(())
            })
        });
        Self { stop, sent, thread }
    }

    /// Returns when so many more datagrams have been sent.
    pub(crate) fn await_sent(&self, more: usize, patience: Duration) -> Result<()> {
        let (before, deadline) = (self.sent.load(Ordering::Relaxed), Instant::now() + patience);
        while self.sent.load(Ordering::Relaxed) < before + more {
            ensure!(Instant::now() < deadline && !self.thread.is_finished(), "too little could be sent");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| anyhow!("a thread that sends has panicked"))?
    }
}

/// Counts what arrives, by source, until it is dropped.
pub(crate) struct Ear {
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Ear {
    /// In a namespace that is there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let netns = Netns::open("ear", path)?;
        let socket =
            netns.enter(|| Ok(UdpSocket::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let ear = Self { stop: Arc::default(), heard: Arc::default() };
        let (stop, heard) = (ear.stop.clone(), ear.heard.clone());
        thread::spawn(move || {
            let mut datagram = [0; 8];
            while !stop.load(Ordering::Relaxed) {
                // Nothing has come for a moment, or somebody is gone whom nobody answers.
                let Ok((_, from)) = socket.recv_from(&mut datagram) else { continue };
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                *heard.entry(from.ip().to_canonical()).or_default() += 1;
            }
        });
        Ok(ear)
    }

    /// How many have come from these since the last call.
    pub(crate) fn take_from(&self, addresses: &[IpAddr]) -> usize {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.iter().filter_map(|address| heard.remove(address)).sum()
    }

    /// Returns when another one has come from each.
    pub(crate) fn await_from(&self, addresses: &[IpAddr], patience: Duration) -> Result<()> {
        self.take_from(addresses);
        let deadline = Instant::now() + patience;
        loop {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if addresses.iter().all(|address| heard.contains_key(address)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "nothing comes from {addresses:?}, only {heard:?}");
            thread::sleep(LOOK);
        }
    }
}

/// Runs `work` in the namespace once that is there. The file is there a moment before the namespace is bound to it.
fn within(path: &Path, stop: &AtomicBool, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    loop {
        if let Ok(netns) = Netns::open("newcomer", path)
            && netns.enter(|| Ok(())).is_ok()
        {
            return netns.enter(work);
        }
        ensure!(!stop.load(Ordering::Relaxed), "{}: no namespace came", path.display());
        thread::sleep(LOOK);
    }
}
