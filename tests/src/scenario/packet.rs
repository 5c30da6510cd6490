//! Tries with single packets: of protocols without servers, seen by witnesses at both ends.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    expect::Try,
    format::Expect,
    trying::{AFTERMATH, POLL, Trial},
};
use crate::probe::{Outcome, Packet, Witness};

impl Trial<'_> {
    /// Sends one packet. Where an answer is expected, whoever it reached sends one back, which must arrive as well.
    pub(super) async fn packet(&self, patience: Duration) -> Result<(SocketAddr, Try)> {
        let runtime = self.bed.runtime();
        let servers = self.servers.iter().map(|name| {
            let pod = self.bed.pod(name)?;
            anyhow::Ok((name, pod, Witness::start(runtime, &pod.netns)?))
        });
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let client = Witness::start(runtime, &self.from)?;

        let packet = Packet::opening(&self.from, self.protocol, self.target)?;
        let (source, since) = (packet.source, Instant::now());
        packet.send()?;
        let reached = || {
            let saw = |w: &Witness| w.saw(self.protocol, source, since);
            servers.iter().filter(|(_, _, w)| saw(w)).map(|(name, ..)| (*name).clone()).collect::<Vec<_>>()
        };
        if self.probe.expect == Expect::Drop {
            tokio::select! {
                _ = within(patience, || !reached().is_empty()) => {}
                () = self.recorded(source, since) => tokio::time::sleep(AFTERMATH).await,
            }
            let one = Try { outcome: Outcome::Silent, reached: reached(), flows: Vec::new() };
            return Ok((source, one));
        }
        // Nobody repeats a single packet that got lost, but the two ends.
        let server = || servers.iter().find(|(_, _, w)| w.saw(self.protocol, source, since));
        let answered = async {
            loop {
                if let Some((_, pod, _)) = server() {
                    let answer = packet.answer(&pod.netns);
                    // A Service's pod answers under its own address, and the client sees the Service's.
                    let own = |addr: &&IpAddr| addr.is_ipv4() == self.target.is_ipv4();
                    let own = pod.addresses.iter().find(own).context("a pod without address")?;
                    answer.send_as(*own)?;
                    if within(REPEAT, || client.saw(self.protocol, answer.source, since)).await {
                        return anyhow::Ok(());
                    }
                } else if !within(REPEAT, || server().is_some()).await {
                    packet.send()?;
                }
            }
        };
        let outcome = match tokio::time::timeout(patience, answered).await {
            Ok(sent) => sent.map(|()| Outcome::Answered(None))?,
            Err(_elapsed) => Outcome::Silent,
        };
        Ok((source, Try { outcome, reached: reached(), flows: Vec::new() }))
    }
}

/// After which a packet is sent once more.
const REPEAT: Duration = Duration::from_millis(200);

/// Whether it comes true in time.
async fn within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let met = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(time, met).await.is_ok()
}
