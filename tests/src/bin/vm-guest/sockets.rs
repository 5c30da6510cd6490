//! Services for this machine's own processes, which are all in the kernel's first network namespace.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
};

use anyhow::{Context, Result, ensure};
use netpol_agent::dataplane::{
    Backend, Dataplane, Frontend, Op,
    kernel::{Maps, NodeServicesState},
};
use netpol_common::{
    net::proto,
    service::{FrontendRow, ServiceRow},
};

const SERVICE: [u8; 4] = [10, 96, 0, 1];
const EMPTY: [u8; 4] = [10, 96, 0, 2];
const PORT: u16 = 80;
/// Under which every loopback address, and none at all, is looked up.
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// Connects to a Service and sends it a datagram, both answered by `own`; and is refused by one without backends.
///
/// # Errors
/// If the programs are not attached, or do not do so.
pub(super) fn reach(maps: &mut Maps, state: &NodeServicesState, own: IpAddr) -> Result<()> {
    ensure!(matches!(state, NodeServicesState::On(_)), "Services for this machine's processes are {state}");
    let tcp = TcpListener::bind((own, 0)).context("cannot listen")?;
    let udp = UdpSocket::bind((own, 0)).context("cannot bind")?;
    serve(maps, SERVICE, proto::TCP, 1, Some(tcp.local_addr()?))?;
    serve(maps, SERVICE, proto::UDP, 2, Some(udp.local_addr()?))?;
    serve(maps, EMPTY, proto::TCP, 3, None)?;
    serve(maps, LOOPBACK, proto::TCP, 1, Some(tcp.local_addr()?))?;

    let service = SocketAddr::from((SERVICE, PORT));
    let mapped = SocketAddr::from((Ipv4Addr::from(SERVICE).to_ipv6_mapped(), PORT));
    let loopback = [LOOPBACK, [127, 0, 0, 9], [0, 0, 0, 0]].map(|addr| SocketAddr::from((addr, PORT)));
    for to in [service, mapped].into_iter().chain(loopback) {
        let client = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
        ensure!(client.peer_addr()? == to, "connected to {to}, and is told {}", client.peer_addr()?);
        let (_, peer) = tcp.accept()?;
        ensure!(peer == unmapped(client.local_addr()?), "another connection came, from {peer}");
    }
    let client = UdpSocket::bind("0.0.0.0:0")?;
    client.send_to(b"?", service).context("cannot send to a Service")?;
    let mut buffer = [0; 16];
    let (_, peer) = udp.recv_from(&mut buffer)?;
    udp.send_to(b"!", peer)?;
    let (_, from) = client.recv_from(&mut buffer)?;
    ensure!(from == service, "asked {service}, and the answer is from {from}");

    let error = TcpStream::connect((Ipv4Addr::from(EMPTY), PORT)).err();
    let kind = error.context("connected to a Service without backends")?.kind();
    // Without a word from the program, as before 6.1, it is not permitted.
    ensure!(
        matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied),
        "a Service without backends does not refuse: {kind}"
    );
    Ok(())
}

fn serve(maps: &mut Maps, service: [u8; 4], proto: u8, row: u32, backend: Option<SocketAddr>) -> Result<()> {
    let mut set = ServiceRow::REFUSE;
    if let Some(backend) = backend {
        let backends = [Backend { addr: backend.ip(), port: backend.port() }].into();
        maps.apply(&Op::WriteBackends { base: row, backends })?;
        set = ServiceRow::new(row, 1, 1).context("the row is too large")?;
    }
    maps.apply(&Op::PutService(row, set))?;
    let frontend = Frontend { addr: service.into(), port: PORT, proto };
    let to = FrontendRow { svc: row, near: row, far: row, ..FrontendRow::default() };
    Ok(maps.apply(&Op::PutFrontend(frontend, to))?)
}

fn unmapped(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
