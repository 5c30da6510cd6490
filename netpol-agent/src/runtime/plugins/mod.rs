//! Answers the CNI plugin: ADD once the pod's policy is in the maps (`docs/cni.md`).

mod known;
mod listen;

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc, time::Duration};

use netpol_cni::{
    Records, SOCKET,
    protocol::{Answer, Attachment, NetnsId, Request, Wiring},
};
use tokio::time::{Instant, timeout_at};

use self::known::Known;
use super::{Shared, status::Wired};
use crate::{
    config::RunArgs,
    ctl::{Audience, Socket, SocketError},
    engine::{
        Engine,
        view::{EndpointState, Progress},
    },
    index,
    model::Name,
};

/// No runtime waits for longer.
const LONGEST: Duration = Duration::from_secs(300);

/// The socket for plugins, and what they have told.
pub(super) struct Plugins {
    socket: Socket,
    desk: Desk,
}

/// What answers.
pub(super) struct Desk {
    known: Known,
    netns_dir: PathBuf,
}

impl Plugins {
    /// Takes the socket, and reads what an agent before was told.
    pub(super) fn open(args: &RunArgs) -> Result<Self, SocketError> {
        let socket = Socket::bind(&args.cni_dir.join(SOCKET), Audience::Owner)?;
        let netns_dir = args.netns_dir.clone();
        Ok(Self {
            socket,
            desk: Desk { known: Known::read(Records::below(&args.cni_dir), &netns_dir), netns_dir },
        })
    }

    /// Has an engine know the pods that an agent before was told of.
    pub(super) fn recall(&self, engine: &mut Engine) {
        for wiring in self.desk.known.all() {
            engine.wire(&pod(&wiring), wired(&wiring));
        }
    }

    /// Answers until the future is dropped.
    pub(super) async fn run(self, shared: Shared) -> std::io::Result<()> {
        let Self { socket, desk } = self;
        listen::run(socket, Arc::new(desk), shared).await
    }
}

fn pod(wiring: &Wiring) -> Name {
    Name::new(&wiring.namespace, &wiring.name)
}

fn wired(wiring: &Wiring) -> index::Wired {
    index::Wired {
        attachment: wiring.attachment.to_string(),
        uid: wiring.uid.clone(),
        addresses: wiring.addresses.clone(),
    }
}

impl Desk {
    async fn answer(&self, request: Request, shared: &Shared) -> Answer {
        let outcome = match request {
            Request::Add { wiring, timeout_ms } => {
                return self.add(*wiring, Duration::from_millis(timeout_ms), shared).await;
            }
            Request::Check { wiring } => self.check(&wiring, shared).await,
            Request::Del { attachment } => self.forget(&[attachment], shared).await,
            Request::Gc { network, valid } => {
                let gone: Vec<Attachment> = self.known.others(&network, &valid);
                self.forget(&gone, shared).await
            }
            Request::Status => status(shared),
        };
        outcome.map_or_else(Answer::Failed, |()| Answer::Done)
    }

    async fn add(&self, wiring: Wiring, patience: Duration, shared: &Shared) -> Answer {
        let began = Instant::now();
        let deadline = began + patience.min(LONGEST);
        if !wiring.attachment.is_valid() || wiring.addresses.is_empty() {
            return Answer::Refused("not an attachment with addresses".to_owned());
        }
        if let Some(first) = self.known.first_of(&wiring.attachment) {
            return Answer::Refused(format!(
                "{first} is policed already, and policies are about one interface of a pod: leave netpol-cni out of the \
                 configurations of further networks"
            ));
        }
        if let Err(error) = self.known.insert(&wiring) {
            return Answer::Failed(format!("cannot write the record of {}: {error}", wiring.attachment));
        }
        // Before the first look, so that none is missed.
        let mut turns = shared.turns();
        if !shared.caught_up_with(Wired::Up(pod(&wiring), wired(&wiring))).await {
            return Answer::Failed(ENDS.to_owned());
        }
        loop {
            let why = match self.look(&wiring, shared) {
                Ok(()) => {
                    let (pod, elapsed) = (pod(&wiring), began.elapsed());
                    tracing::info!(%pod, ?elapsed, "policed before its containers start");
                    return Answer::Done;
                }
                Err(why) => why,
            };
            if let Some(what) = wiring.addresses.iter().find_map(|addr| shared.unpoliced(*addr)) {
                return Answer::Refused(format!(
                    "{what}, with no side on this node: netpol can only police pods that a veth leads to"
                ));
            }
            match timeout_at(deadline, turns.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Answer::Failed(ENDS.to_owned()),
                Err(_) => return Answer::Failed(format!("not policed within {patience:?}: {why}")),
            }
        }
    }

    /// Discovery looks whether its programs are where they should be, and puts them back.
    async fn check(&self, wiring: &Wiring, shared: &Shared) -> Result<(), String> {
        if !shared.caught_up().await {
            return Err(ENDS.to_owned());
        }
        self.look(wiring, shared)
    }

    async fn forget(&self, gone: &[Attachment], shared: &Shared) -> Result<(), String> {
        for attachment in gone {
            let forgotten = self.known.remove(attachment);
            let wiring =
                forgotten.map_err(|error| format!("cannot remove the record of {attachment}: {error}"))?;
            let Some(wiring) = wiring else { continue };
            if !shared.tell(Wired::Down(pod(&wiring), attachment.to_string())).await {
                return Err(ENDS.to_owned());
            }
        }
        Ok(())
    }

    /// Whether a pod is policed on this very interface, and else why not.
    fn look(&self, wiring: &Wiring, shared: &Shared) -> Result<(), String> {
        let progress = shared.engine().progress(&pod(wiring), &wiring.uid);
        match progress {
            Progress::Unknown => Err("the source has not told of the Pod".to_owned()),
            Progress::Another(uid) => {
                Err(format!("the source has not told of the Pod, only of an earlier one with UID {uid}"))
            }
            Progress::Elsewhere => {
                Err("its Pod is another node's, has ended, or uses its node's network".to_owned())
            }
            Progress::Pending(reason) => Err(reason.message().to_owned()),
            Progress::Policed { netns, .. } if self.id(&netns) != Some(wiring.netns) => {
                Err(format!("its addresses are on an interface of another network namespace, {netns}"))
            }
            Progress::Policed { state: EndpointState::Ready, .. } => Ok(()),
            Progress::Policed { .. } => Err("its policy is about to be written".to_owned()),
        }
    }

    fn id(&self, netns: &str) -> Option<NetnsId> {
        let file = fs::metadata(self.netns_dir.join(netns)).ok()?;
        Some(NetnsId { dev: file.dev(), ino: file.ino() })
    }
}

const ENDS: &str = "the agent is about to end";

fn status(shared: &Shared) -> Result<(), String> {
    let status = shared.status();
    match (status.synced, status.failure) {
        (false, _) => Err("the source has not delivered everything yet".to_owned()),
        (true, Some(failure)) => Err(failure),
        (true, None) => Ok(()),
    }
}
