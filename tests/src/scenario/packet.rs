//! Tries with single packets: of protocols without servers, seen by witnesses at both ends.

use std::{
    net::SocketAddr,
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
        let arrived = async {
            while reached().is_empty() {
                tokio::time::sleep(POLL).await;
            }
        };
        if self.probe.expect == Expect::Drop {
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep(patience) => {}
                () = self.recorded(source, since) => tokio::time::sleep(AFTERMATH).await,
            }
            let one = Try { outcome: Outcome::Silent, reached: reached(), flows: Vec::new() };
            return Ok((source, one));
        }
        let answered = async {
            arrived.await;
            let (_, pod, _) =
                servers.iter().find(|(_, _, w)| w.saw(self.protocol, source, since)).context("gone")?;
            let answer = packet.answer(&pod.netns);
            answer.send()?;
            while !client.saw(self.protocol, answer.source, since) {
                tokio::time::sleep(POLL).await;
            }
            anyhow::Ok(())
        };
        let outcome = match tokio::time::timeout(patience, answered).await {
            Ok(sent) => sent.map(|()| Outcome::Answered(None))?,
            Err(_elapsed) => Outcome::Silent,
        };
        Ok((source, Try { outcome, reached: reached(), flows: Vec::new() }))
    }
}
