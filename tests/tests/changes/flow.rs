//! Streams of numbered records, and a server that sends each back.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use netpol_tests::{
    bed::{Bed, Netns},
    probe::Protocol,
};
use socket2::{Domain, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream, UdpSocket,
        tcp::{ReadHalf, WriteHalf},
    },
    time::{Interval, MissedTickBehavior, interval},
};

use super::random::PORT;

/// From one record of a stream to the next.
const PACE: Duration = Duration::from_millis(100);
/// Room for what arrives while a busy machine lets the server sleep.
const BUFFER: usize = 4 << 20;
const RECORD: usize = 8;

/// One connection that is kept for the whole test.
pub(crate) struct Flow {
    pub(crate) from: String,
    /// The pod that answers.
    pub(crate) to: String,
    pub(crate) target: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) log: Log,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {} at {}", self.protocol.name(), self.from, self.to, self.target)
    }
}

/// What became of a flow's records, by number.
#[derive(Default)]
pub(crate) struct Log {
    begun: AtomicU32,
    sent: AtomicU32,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    /// At the server.
    arrived: Vec<bool>,
    /// Back at the client.
    returned: Vec<bool>,
    failure: Option<String>,
}

impl Log {
    /// Records whose sending has begun.
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }
    /// Records that were handed to the kernel.
    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }
    /// Those of a range that have reached the server.
    pub(crate) fn arrived(&self, from: u32, to: u32) -> Vec<u32> {
        let marks = self.marks();
        (from..to).filter(|number| marks.arrived.get(*number as usize) == Some(&true)).collect()
    }
    /// Those of a range that have not come back.
    pub(crate) fn missing(&self, from: u32, to: u32) -> Vec<u32> {
        let marks = self.marks();
        (from..to).filter(|number| marks.returned.get(*number as usize) != Some(&true)).collect()
    }
    /// Why the connection is over, if it is.
    pub(crate) fn failure(&self) -> Option<String> {
        self.marks().failure.clone()
    }

    fn begin(&self) -> u32 {
        self.begun.fetch_add(1, Ordering::SeqCst)
    }
    fn note_sent(&self, number: u32) {
        self.sent.store(number + 1, Ordering::SeqCst);
    }
    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn fail(&self, error: &anyhow::Error) {
        self.marks().failure.get_or_insert_with(|| format!("{error:#}"));
    }
}

fn mark(all: &mut Vec<bool>, number: u32) {
    let number = number as usize;
    if all.len() <= number {
        all.resize(number + 1, false);
    }
    all[number] = true;
}

fn record(flow: usize, number: u32) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..4].copy_from_slice(&(flow as u32).to_be_bytes());
    record[4..].copy_from_slice(&number.to_be_bytes());
    record
}

fn parse(record: &[u8]) -> Result<(usize, u32)> {
    let word = |at: usize| record.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let (Some(flow), Some(number), RECORD) = (word(0), word(4), record.len()) else {
        bail!("a record of {} bytes", record.len())
    };
    Ok((flow as usize, number))
}

/// Starts servers in the pods that answer, and all streams.
pub(crate) fn start(bed: &Bed, flows: &Arc<Vec<Flow>>) -> Result<()> {
    let mut servers: Vec<&str> = flows.iter().map(|flow| flow.to.as_str()).collect();
    servers.sort_unstable();
    servers.dedup();
    let _within = bed.runtime().enter();
    for pod in servers {
        let netns = &bed.pod(pod)?.netns;
        let datagrams = Arc::new(UdpSocket::from_std(listen(netns, Type::DGRAM)?.into())?);
        bed.runtime().spawn(answer_datagrams(datagrams, flows.clone()));
        let streams = listen(netns, Type::STREAM)?;
        streams.listen(256)?;
        bed.runtime().spawn(answer_streams(TcpListener::from_std(streams.into())?, flows.clone()));
    }
    for (number, flow) in flows.iter().enumerate() {
        let domain = Domain::for_address(flow.target);
        let netns = &bed.pod(&flow.from)?.netns;
        let flows = flows.clone();
        match flow.protocol {
            Protocol::Udp => {
                let socket = netns.socket(domain, Type::DGRAM, None)?;
                socket.connect(&flow.target.into())?;
                let socket = UdpSocket::from_std(socket.into())?;
                bed.runtime().spawn(async move {
                    let log = &flows[number].log;
                    if let Err(e) = stream_datagrams(&socket, number, log).await {
                        log.fail(&e);
                    }
                });
            }
            Protocol::Tcp => {
                let socket = TcpSocket::from_std_stream(netns.socket(domain, Type::STREAM, None)?.into());
                bed.runtime().spawn(async move {
                    let flow = &flows[number];
                    let result =
                        async { stream_bytes(socket.connect(flow.target).await?, number, &flow.log).await };
                    if let Err(e) = result.await {
                        flow.log.fail(&e);
                    }
                });
            }
            _ => bail!("{flow}: no stream"),
        }
    }
    Ok(())
}

/// Dual-stack, so that one serves both families.
fn listen(netns: &Netns, kind: Type) -> Result<socket2::Socket> {
    let socket = netns.socket(Domain::IPV6, kind, None)?;
    socket.set_only_v6(false)?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
    let any = SocketAddr::new([0u16; 8].into(), PORT);
    socket.bind(&any.into()).with_context(|| format!("{} {any}", netns.name()))?;
    Ok(socket)
}

async fn answer_datagrams(socket: Arc<UdpSocket>, flows: Arc<Vec<Flow>>) {
    let mut datagram = [0; 64];
    loop {
        // Errors are those of earlier answers.
        let Ok((bytes, peer)) = socket.recv_from(&mut datagram).await else { continue };
        let Ok((flow, number)) = parse(&datagram[..bytes]) else { continue };
        let Some(flow) = flows.get(flow) else { continue };
        mark(&mut flow.log.marks().arrived, number);
        if let Err(e) = socket.send_to(&datagram[..bytes], peer).await {
            flow.log.fail(&anyhow::Error::from(e).context("answering"));
        }
    }
}

async fn answer_streams(listener: TcpListener, flows: Arc<Vec<Flow>>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let flows = flows.clone();
        tokio::spawn(async move {
            let mut bytes = [0; RECORD];
            while stream.read_exact(&mut bytes).await.is_ok() {
                let Ok((flow, number)) = parse(&bytes) else { return };
                let Some(flow) = flows.get(flow) else { return };
                mark(&mut flow.log.marks().arrived, number);
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn stream_datagrams(socket: &UdpSocket, flow: usize, log: &Log) -> Result<()> {
    tokio::try_join!(send_datagrams(socket, flow, log), receive_datagrams(socket, flow, log)).map(drop)
}

async fn send_datagrams(socket: &UdpSocket, flow: usize, log: &Log) -> Result<()> {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        let number = log.begin();
        let bytes = socket.send(&record(flow, number)).await.context("sending")?;
        ensure!(bytes == RECORD, "{bytes} bytes were sent");
        log.note_sent(number);
    }
}

async fn receive_datagrams(socket: &UdpSocket, flow: usize, log: &Log) -> Result<()> {
    let mut answer = [0; 64];
    loop {
        let bytes = socket.recv(&mut answer).await.context("receiving")?;
        take(&answer[..bytes], flow, log)?;
    }
}

async fn stream_bytes(mut stream: TcpStream, flow: usize, log: &Log) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.split();
    tokio::try_join!(send_bytes(writer, flow, log), receive_bytes(reader, flow, log)).map(drop)
}

async fn send_bytes(mut writer: WriteHalf<'_>, flow: usize, log: &Log) -> Result<()> {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        let number = log.begin();
        writer.write_all(&record(flow, number)).await.context("sending")?;
        log.note_sent(number);
    }
}

async fn receive_bytes(mut reader: ReadHalf<'_>, flow: usize, log: &Log) -> Result<()> {
    let mut answer = [0; RECORD];
    loop {
        reader.read_exact(&mut answer).await.context("receiving")?;
        take(&answer, flow, log)?;
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn take(answer: &[u8], flow: usize, log: &Log) -> Result<()> {
    let (of, number) = parse(answer)?;
    ensure!(of == flow, "an answer to another stream");
    mark(&mut log.marks().returned, number);
    Ok(())
}
