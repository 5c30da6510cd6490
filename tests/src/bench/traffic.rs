//! Load between two network namespaces, as netperf's tests of the same names: client and server share one core, because
//! wake-ups across cores would drown everything else.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    process::setpriority_process,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use socket2::{Domain, SockRef, Socket, Type};

use crate::bed::Netns;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    /// One byte there and back, over one TCP connection.
    Rr,
    /// Connect, one byte there and back, close.
    Crr,
    /// The same, closed by the client first: the server keeps nothing of a connection that has ended, and whoever translates may use its
    /// port for the next one at once.
    CrrLeft,
    /// As much as goes over one TCP connection.
    Stream,
    /// One byte there and back by UDP.
    UdpRr,
}

impl<'a> Ends<'a> {
    /// The client knows the server's own address.
    pub(super) fn direct(client: &'a Netns, server: &'a Netns, address: IpAddr) -> Self {
        let addr = SocketAddr::new(address, PORT);
        Self { client, server, listen: addr, dial: addr }
    }
}

impl Load {
    pub(super) const ALL: [Self; 4] = [Self::Rr, Self::Crr, Self::Stream, Self::UdpRr];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Crr => "crr",
            Self::CrrLeft => "crr_left",
            Self::Stream => "stream",
            Self::UdpRr => "udp_rr",
        }
    }

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Rr | Self::Crr | Self::CrrLeft | Self::UdpRr => "1/s",
            Self::Stream => "MB/s",
        }
    }
}

/// Two ends of a measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    pub(super) client: &'a Netns,
    pub(super) server: &'a Netns,
    /// Where the server listens.
    pub(super) listen: SocketAddr,
    /// Where the client finds it.
    pub(super) dial: SocketAddr,
}

/// The port that the policies of the benchmark allow.
pub(super) const PORT: u16 = 5001;
const PATIENCE: Duration = Duration::from_secs(5);
/// Not measured, before what is.
const WARM_UP: Duration = Duration::from_millis(10);
/// Rounds between two looks at the clock.
const BATCH: u32 = 16;
/// The nice value that goes before all others.
const FIRST: i32 = -20;
const CHUNK: usize = 128 * 1024;

/// Runs a load for a while: transactions, or millions of bytes, per second.
pub(super) fn measure(load: Load, ends: Ends<'_>, duration: Duration, cpu: usize) -> Result<f64> {
    let stop = AtomicBool::new(false);
    for netns in [ends.client, ends.server] {
        netns.enter(unpaced)?;
    }
    let listening = ends.server.enter(|| listen(load, ends.listen))?;
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            pin_to(cpu)?;
            serve(&listening, load, &stop)
        });
        let client = scope.spawn(|| {
            ends.client.enter(|| {
                pin_to(cpu)?;
                let rate = ask(load, ends.dial, duration);
                stop.store(true, Ordering::Relaxed);
                rate
            })
        });
        let rate = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let served = server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let rate = rate.with_context(|| format!("client of {}", load.name()))?;
        served.with_context(|| format!("server of {}", load.name()))?;
        Ok(rate)
    })
}

/// Gives a namespace the congestion control that every kernel has and lets every namespace choose: the machine's may pace, and then its
/// timers are what is measured.
fn unpaced() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno").context("tcp_congestion_control")
}

/// The last core that this process may use: the first ones have most of the interrupts.
pub(super) fn last_cpu() -> Result<usize> {
    let allowed = sched_getaffinity(None)?;
    (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("no CPU")
}

/// Puts the calling thread on a core, ahead of what else runs there.
fn pin_to(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).context("sched_setaffinity")?;
    // Of threads, not of processes, on Linux.
    setpriority_process(None, FIRST).context("setpriority")
}

enum Listening {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

fn listen(load: Load, addr: SocketAddr) -> Result<Listening> {
    Ok(match load {
        Load::Rr | Load::Crr | Load::CrrLeft | Load::Stream => {
            let listener = TcpListener::bind(addr)?;
            // What it accepts inherits all of it. Accepting waits no longer either: the client may have failed.
            prepare(&SockRef::from(&listener))?;
            Listening::Tcp(listener)
        }
        Load::UdpRr => Listening::Udp(UdpSocket::bind(addr)?),
    })
}

fn serve(listening: &Listening, load: Load, stop: &AtomicBool) -> Result<()> {
    match listening {
        // A connection that says nothing ends the server: that is how the client says goodbye.
        Listening::Tcp(listener) if matches!(load, Load::Crr | Load::CrrLeft) => loop {
            let (mut connection, _) = listener.accept()?;
            let mut byte = [0];
            if connection.read(&mut byte)? == 0 {
                return Ok(());
            }
            connection.write_all(&byte)?;
            if load == Load::CrrLeft {
                ensure!(connection.read(&mut byte)? == 0, "more than one byte");
            }
        },
        Listening::Tcp(listener) => {
            let (mut connection, _) = listener.accept()?;
            let mut chunk = vec![0; CHUNK];
            loop {
                let bytes = connection.read(&mut chunk)?;
                match (bytes, load) {
                    (0, _) => return Ok(()),
                    (_, Load::Rr) => connection.write_all(&chunk[..bytes])?,
                    _ => {}
                }
            }
        }
        Listening::Udp(socket) => {
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            let mut byte = [0];
            while !stop.load(Ordering::Relaxed) {
                match socket.recv_from(&mut byte) {
                    Ok((_, peer)) => drop(socket.send_to(&byte, peer)?),
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(())
        }
    }
}

/// As few calls as can be, since loads that connect pay for them each time: a timeout for sending is one for connecting as well.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    prepare(&socket)?;
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

fn ask(load: Load, addr: SocketAddr, duration: Duration) -> Result<f64> {
    let mut byte = [1];
    match load {
        Load::Rr => {
            let mut connection = connect(addr)?;
            rate(duration, || {
                connection.write_all(&[1])?;
                connection.read_exact(&mut byte)?;
                Ok(1.0)
            })
        }
        Load::Crr | Load::CrrLeft => {
            let result = rate(duration, || {
                let mut connection = connect(addr)?;
                connection.write_all(&[1])?;
                connection.read_exact(&mut byte)?;
                if load == Load::Crr {
                    // The server closes first: TIME_WAIT stays there, and the client's ports are free again.
                    ensure!(connection.read(&mut byte)? == 0, "more than one byte");
                }
                Ok(1.0)
            });
            drop(connect(addr)?);
            result
        }
        Load::Stream => {
            let mut connection = connect(addr)?;
            let chunk = vec![0; CHUNK];
            rate(duration, || {
                connection.write_all(&chunk)?;
                Ok(CHUNK as f64 / 1e6)
            })
        }
        Load::UdpRr => {
            let any: IpAddr = if addr.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(addr)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            rate(duration, || {
                socket.send(&[1])?;
                socket.recv(&mut byte)?;
                Ok(1.0)
            })
        }
    }
}

/// How much of what `once` returns is done per second.
fn rate(duration: Duration, mut once: impl FnMut() -> Result<f64>) -> Result<f64> {
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        once()?;
    }
    let started = Instant::now();
    let mut done = 0.0;
    loop {
        for _ in 0..BATCH {
            done += once()?;
        }
        let elapsed = started.elapsed();
        if elapsed >= duration {
            return Ok(done / elapsed.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bed::{Bed, ClusterSpec};

    #[test]
    fn every_load_moves_something_between_two_pods() {
        let mut bed = Bed::build(&ClusterSpec::default()).unwrap();
        let pod = |name: &str| {
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": {
                "nodeName": "node1", "containers": [{"name": "c"}]}})
        };
        bed.apply(&[pod("a"), pod("b")]).unwrap();
        let (a, b) = (bed.pod("default/a").unwrap(), bed.pod("default/b").unwrap());
        for address in &b.addresses {
            for load in Load::ALL {
                let ends = Ends::direct(&a.netns, &b.netns, *address);
                let rate = measure(load, ends, Duration::from_millis(50), last_cpu().unwrap()).unwrap();
                eprintln!("{} {address}: {rate:.0} {}", load.name(), load.unit());
                assert!(rate > 10.0, "{}: {rate}", load.name());
            }
        }
    }
}
