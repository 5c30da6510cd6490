use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use netpol_tests::bed::Netns;

/// A stream of datagrams to a server that answers each of them.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<usize>,
    receiver: JoinHandle<usize>,
}

const PACE: Duration = Duration::from_millis(1);
/// Questions that may be open: on a busy machine the server may sleep for long, and three streams' questions fit the
/// buffer of its socket.
const OPEN: usize = 64;
/// The last answers are on their way for so long at most.
const LAST: Duration = Duration::from_millis(500);

impl Stream {
    pub(crate) fn start(from: &Netns, to: SocketAddr) -> Self {
        let socket = from.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let sender = {
            let (socket, stop, answered) = (socket.try_clone().unwrap(), stop.clone(), answered.clone());
            thread::spawn(move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    if sent < answered.load(Ordering::Relaxed) + OPEN {
                        socket.send(format!("{sent:016}\n").as_bytes()).unwrap();
                        sent += 1;
                    }
                    thread::sleep(PACE);
                }
                sent
            })
        };
        let receiver = {
            let stop = stop.clone();
            thread::spawn(move || {
                let (mut received, mut answer) = (0, [0; 512]);
                let mut stopped = None;
                loop {
                    match socket.recv(&mut answer) {
                        Ok(_) => {
                            received += 1;
                            answered.store(received, Ordering::Relaxed);
                        }
                        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                        Err(e) => panic!("{e}"),
                    }
                    if stop.load(Ordering::Relaxed)
                        && stopped.get_or_insert_with(Instant::now).elapsed() > LAST
                    {
                        return received;
                    }
                }
            })
        };
        Self { stop, sender, receiver }
    }

    /// How many datagrams were sent, and how many of them were not answered.
    pub(crate) fn stop(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, received) = (self.sender.join().unwrap(), self.receiver.join().unwrap());
        (sent, sent.saturating_sub(received))
    }
}
