use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use netpol_tests::bed::Netns;

const PACE: Duration = Duration::from_millis(2);
/// What has not come by then does not come any more.
const LAST: Duration = Duration::from_secs(2);
const OPENING: Duration = Duration::from_secs(10);

/// A server that goes on answering a client that has asked once.
pub(crate) struct Push {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
    sender: JoinHandle<usize>,
    receiver: JoinHandle<()>,
}

impl Push {
    pub(crate) fn start(client: &Netns, server: &Netns, address: IpAddr) -> Self {
        let any =
            |port| SocketAddr::new(if address.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() }, port);
        let socket = |netns: &Netns, at: SocketAddr| {
            let socket = netns.enter(|| Ok(UdpSocket::bind(at)?)).unwrap();
            socket.set_read_timeout(Some(OPENING)).unwrap();
            socket
        };
        // Several clients may have the same server.
        let asked = socket(server, any(0));
        let asking = socket(client, any(0));
        asking.connect((address, asked.local_addr().unwrap().port())).unwrap();
        asking.send(b"?").unwrap();
        let (_, from) = asked.recv_from(&mut [0; 8]).unwrap();
        asked.connect(from).unwrap();
        asked.send(b"!").unwrap();
        asking.recv(&mut [0; 8]).unwrap();
        asking.set_read_timeout(Some(PACE)).unwrap();

        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let sender = thread::spawn({
            let stop = stop.clone();
            move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    asked.send(b"!").unwrap();
                    sent += 1;
                    thread::sleep(PACE);
                }
                sent
            }
        });
        let receiver = thread::spawn({
            let (stop, received) = (stop.clone(), received.clone());
            move || {
                let mut last = Instant::now();
                while !stop.load(Ordering::Relaxed) || last.elapsed() < LAST {
                    match asking.recv(&mut [0; 8]) {
                        Ok(_) => {
                            received.fetch_add(1, Ordering::Relaxed);
                            last = Instant::now();
                        }
                        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            }
        });
        Self { stop, received, sender, receiver }
    }

    /// Waits for so many more answers.
    #[track_caller]
    pub(crate) fn await_more(&self, more: usize, patience: Duration, name: &str) {
        let wanted = self.received.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + patience;
        while self.received.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "{name}: no {more} answers within {patience:?}");
            thread::sleep(PACE);
        }
    }

    /// How many answers were sent, and how many came.
    pub(crate) fn stop(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        self.receiver.join().unwrap();
        (sent, self.received.load(Ordering::Relaxed))
    }
}
