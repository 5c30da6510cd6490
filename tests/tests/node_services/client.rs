//! A process of the node, or of a pod: plain sockets, and what they say of whom they speak to.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use netpol_tests::{bed::Netns, serve::Reply};

const PATIENCE: Duration = Duration::from_secs(2);
const REQUEST: &[u8] = b"0123456789abcdef\n";

/// A connection, once it is there.
pub(crate) struct Tcp(BufReader<TcpStream>);

impl Tcp {
    pub(crate) fn connect(netns: &Netns, to: SocketAddr) -> io::Result<Self> {
        inside(netns, || {
            let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(Self(BufReader::new(stream)))
        })
    }

    /// Who answers.
    pub(crate) fn ask(&mut self) -> io::Result<String> {
        self.0.get_mut().write_all(REQUEST)?;
        let mut answer = Vec::new();
        self.0.read_until(b'\n', &mut answer)?;
        who(&answer)
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.get_ref().peer_addr().unwrap()
    }

    pub(crate) fn own(&self) -> SocketAddr {
        self.0.get_ref().local_addr().unwrap()
    }
}

/// A datagram socket, connected or not.
pub(crate) struct Udp(UdpSocket);

impl Udp {
    /// Speaks the family of `to`.
    pub(crate) fn bind(netns: &Netns, to: SocketAddr) -> Self {
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = inside(netns, || {
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        });
        Self(socket.unwrap())
    }

    pub(crate) fn connected(netns: &Netns, to: SocketAddr) -> io::Result<Self> {
        let socket = Self::bind(netns, to);
        socket.0.connect(to)?;
        Ok(socket)
    }

    /// Who answers, and under which address.
    pub(crate) fn ask(&self, to: SocketAddr) -> io::Result<(String, SocketAddr)> {
        self.0.send_to(REQUEST, to)?;
        self.answer()
    }

    /// The same for a connected one.
    pub(crate) fn ask_peer(&self) -> io::Result<(String, SocketAddr)> {
        self.0.send(REQUEST)?;
        self.answer()
    }

    pub(crate) fn answer(&self) -> io::Result<(String, SocketAddr)> {
        let mut answer = [0; 2048];
        loop {
            match self.0.recv_from(&mut answer) {
                // A socket with a timeout is not waited for again after a signal (signal(7)), such as that of a child's end.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => {
                    let (bytes, from) = received?;
                    return Ok((who(&answer[..bytes])?, from));
                }
            }
        }
    }

    pub(crate) fn reconnect(&self, to: SocketAddr) -> io::Result<()> {
        self.0.connect(to)
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.peer_addr().unwrap()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.0.peer_addr().is_ok()
    }
}

/// An IPv4 address as IPv6 sockets know it.
pub(crate) fn mapped(to: SocketAddr) -> SocketAddr {
    match to.ip() {
        IpAddr::V4(addr) => SocketAddr::new(addr.to_ipv6_mapped().into(), to.port()),
        IpAddr::V6(_) => to,
    }
}

fn who(answer: &[u8]) -> io::Result<String> {
    Ok(serde_json::from_slice::<Reply>(answer)?.pod)
}

/// What `f` says on a thread in the namespace.
pub(crate) fn inside<T: Send>(netns: &Netns, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    netns.enter(|| Ok(f())).unwrap()
}
