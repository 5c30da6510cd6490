//! Connections at an even pace: some are answered and closed, some are denied.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, SockRef, Socket, Type};

use crate::bed::{Bed, Pod};

/// The port that the policy allows.
pub(super) const PORT: u16 = 5001;
/// Datagrams of a denied flow. All but the first are summed up, unless they come apart.
pub(super) const REPEATED: u64 = 2;
/// Source ports are taken one after the other from here on, and from the beginning again.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 50_000;
/// Of so many connections one is by UDP, the others by TCP.
const UDP_AMONG: u64 = 4;
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// After so long a datagram without an answer is sent again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a server that nobody asks looks whether it is over.
const LOOK_UP: Duration = Duration::from_millis(50);

/// What one pod does: so many flows over this time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share<'a> {
    pub(super) pod: &'a Pod,
    pub(super) flows: u64,
    pub(super) denied: bool,
}

impl Share<'_> {
    /// How soon one source port may come again, if they come again at all.
    pub(super) fn turn(&self, during: Duration) -> Option<Duration> {
        // Two families, and most are by TCP.
        let most = if self.denied { self.flows } else { self.flows * (UDP_AMONG - 1) / UDP_AMONG } / 2;
        (most > u64::from(PORTS)).then(|| during.mul_f64(f64::from(PORTS) / most as f64))
    }
}

/// Keeps all of it going, and calls `meanwhile` again and again with how often: every `period`.
pub(super) fn run(
    bed: &Bed,
    server: &str,
    shares: &[Share<'_>],
    during: Duration,
    period: Duration,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let server = bed.pod(server)?;
    thread::scope(|scope| {
        let mut servers = Vec::new();
        for address in &server.addresses {
            let to = SocketAddr::new(*address, PORT);
            let (tcp, udp) = server.netns.enter(|| Ok((TcpListener::bind(to)?, UdpSocket::bind(to)?)))?;
            let stop = &stop;
            servers.push(scope.spawn(move || serve_tcp(&tcp, stop)));
            servers.push(scope.spawn(move || serve_udp(&udp, stop)));
        }
        let (done, ended) = mpsc::channel();
        for share in shares {
            let done = done.clone();
            scope.spawn(move || {
                let result = share.pod.netns.enter(|| send(share, &server.addresses, during));
                // Nobody listens any more if another one has failed.
                drop(done.send(result.with_context(|| share.pod.name.clone())));
            });
        }
        let mut left = shares.len();
        let mut watch = || {
            while left > 0 {
                match ended.recv_timeout(period) {
                    Ok(result) => (left, _) = (left - 1, result?),
                    Err(mpsc::RecvTimeoutError::Timeout) => meanwhile()?,
                    Err(mpsc::RecvTimeoutError::Disconnected) => bail!("a client has ended"),
                }
            }
            Ok(())
        };
        let result = watch();
        stop.store(true, Ordering::Relaxed);
        for server in servers {
            server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        result
    })
}

/// One flow after the other, each when it is due: what comes late is made up for.
fn send(share: &Share<'_>, servers: &[IpAddr], during: Duration) -> Result<()> {
    let begin = Instant::now();
    let mut ports = [[0_u16; 2]; 2];
    for number in 0..share.flows {
        let due = during.mul_f64(number as f64 / share.flows as f64);
        thread::sleep(due.saturating_sub(begin.elapsed()));
        let family = (number % 2) as usize;
        let udp = share.denied || (number / 2).is_multiple_of(UDP_AMONG);
        let port = &mut ports[family][usize::from(udp)];
        let of = |addresses: &[IpAddr], port| {
            let address = addresses.iter().find(|address| address.is_ipv6() == (family == 1));
            address.map(|address| SocketAddr::new(*address, port)).context("an address of either family")
        };
        let (from, to) = (of(&share.pod.addresses, FIRST_PORT + *port)?, of(servers, PORT)?);
        *port = (*port + 1) % PORTS;
        match (share.denied, udp) {
            (true, _) => knock(from, to),
            (false, true) => ask_udp(from, to),
            (false, false) => ask_tcp(from, to),
        }
        .with_context(|| format!("flow {number}, from {from} to {to}"))?;
    }
    Ok(())
}

fn socket(kind: Type, from: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(from), kind, None)?;
    // The port may be waiting for segments of a connection long ago.
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    Ok(socket)
}

fn ask_tcp(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let socket = socket(Type::STREAM, from)?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut connection = TcpStream::from(socket);
    connection.write_all(&[1])?;
    Ok(connection.read_exact(&mut [0])?)
}

fn ask_udp(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let socket = UdpSocket::from(socket(Type::DGRAM, from)?);
    socket.connect(to)?;
    socket.set_read_timeout(Some(AGAIN))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        socket.send(&[1])?;
        match socket.recv(&mut [0]) {
            Err(error) if is_late(&error) => ensure!(Instant::now() < deadline, "no answer"),
            result => return Ok(result.map(drop)?),
        }
    }
}

fn knock(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let socket = UdpSocket::from(socket(Type::DGRAM, from)?);
    socket.connect(to)?;
    (0..REPEATED).try_for_each(|_| Ok(socket.send(&[1]).map(drop)?))
}

/// Connections one after the other: the client closes first.
fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) -> Result<()> {
    // Holds for accepting.
    SockRef::from(listener).set_read_timeout(Some(LOOK_UP))?;
    while !stop.load(Ordering::Relaxed) {
        let mut connection = match listener.accept() {
            Ok((connection, _)) => connection,
            Err(error) if is_late(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        connection.write_all(&byte)?;
        ensure!(connection.read(&mut byte)? == 0, "more than one byte");
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(LOOK_UP))?;
    let mut byte = [0];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut byte) {
            Ok((_, peer)) => drop(socket.send_to(&byte, peer)?),
            Err(error) if is_late(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
