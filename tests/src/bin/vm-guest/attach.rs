//! The programs on a pod's interface of this kernel, put there as the agent does it, and a packet that meets them.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netpol_agent::dataplane::kernel::{
    AcrossChoice, AttachMode, Kernel, KernelOptions, NodeServices, Sizes, Timeouts, UplinkChoice,
    UplinkOptions, XdpChoice,
};
use netpol_common::{direction::Direction, reason::DropReason, stats};
use netpol_tests::bed::Netns;

use super::{ip, sockets};

const NAMESPACES: &str = "/run/netns";
const PATIENCE: Duration = Duration::from_secs(30);

/// Attaches to an uplink, and to one pod's interface and sends from it. The pod has no row, so the packet must be dropped as pending. Then has this machine's own
/// processes reach Services.
///
/// # Errors
/// If the programs cannot be attached, or let the packet pass uncounted.
pub(super) fn attach() -> Result<AttachMode> {
    let pod = Netns::create("pod", &Path::new(NAMESPACES).join("pod"))?;
    ip("link add host0 type veth peer name eth0 netns /run/netns/pod")?;
    ip("addr add 10.1.1.1/24 dev host0")?;
    ip("link set host0 up")?;
    // An uplink.
    ip("link add up0 type veth peer name up1")?;
    ip("link set up0 up")?;
    ip("link set up1 up")?;
    pod.ip(&["addr add 10.1.1.2/24 dev eth0", "link set lo up", "link set eth0 up"].map(str::to_owned))?;
    let mut kernel = Kernel::open(&KernelOptions {
        pin_dir: "/sys/fs/bpf/netpol".into(),
        netns_dir: NAMESPACES.into(),
        sizes: Sizes::small(),
        attach: None,
        node_services: NodeServices::Auto(None),
        timeouts: Timeouts::default(),
        quota: netpol_common::limits::CT,
        outside_quota: netpol_common::limits::CT,
        uplinks: UplinkOptions {
            choice: UplinkChoice::Named(["up0".to_owned()].into()),
            xdp: XdpChoice::Native,
            ..UplinkOptions::default()
        },
        across: AcrossChoice::Auto,
    })?;
    let xdp = kernel.xdp.summary();
    ensure!(xdp == "up0 native", "XDP on the uplink: {xdp}");
    ensure!(kernel.known.len() == 1, "one interface leads to a pod, found {:?}", kernel.known);

    let pending = || -> Result<u64> {
        let row = stats::index(DropReason::Pending as u8, Direction::Egress);
        let counters = kernel.stats.read()?;
        Ok(counters.get(row as usize).context("no counter of pending packets")?.packets)
    };
    let before = pending()?;
    pod.enter(|| {
        let socket = UdpSocket::bind("10.1.1.2:0").context("cannot bind in the pod")?;
        socket.send_to(b"?", SocketAddr::from(([10, 1, 1, 1], 9))).context("cannot send from the pod")?;
        Ok(())
    })?;
    let deadline = Instant::now() + PATIENCE;
    // Counters announce nothing.
    while pending()? == before {
        ensure!(Instant::now() < deadline, "a packet of a pod without a row was not dropped as pending");
        std::thread::yield_now();
    }
    sockets::reach(&mut kernel.maps, &kernel.node_services, [10, 1, 1, 1].into())?;
    Ok(kernel.mode)
}
