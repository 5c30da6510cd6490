//! The Peer service, by which Relay finds the nodes.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt, stream};
use tonic::body::Body;

use super::{
    Cluster, Hubble,
    messages::{ChangeNotification, ChangeNotificationType, Empty, PeerTls},
    rpc::{self, Answers, Calls},
};

/// `peer.Peer`
pub(super) struct Peers<C>(pub(super) Arc<Hubble<C>>);

impl<C: Cluster> Calls for Peers<C> {
    const NAME: &'static str = "peer.Peer";

    async fn call(self: Arc<Self>, request: http::Request<Body>) -> http::Response<Body> {
        let hubble = self.0.clone();
        match request.uri().path() {
            "/peer.Peer/Notify" => rpc::streaming(request, move |_: Empty| Ok(notifications(hubble))).await,
            other => rpc::unknown(other),
        }
    }
}

/// All peers, and then every change.
fn notifications<C: Cluster>(hubble: Arc<Hubble<C>>) -> Answers<ChangeNotification> {
    let turns = hubble.cluster.turns();
    let state = (hubble, turns, BTreeMap::new(), None);
    let changes = stream::unfold(state, |(hubble, mut turns, mut known, mut version)| async move {
        loop {
            // Asked for first: a change that comes meanwhile is another version.
            let now = hubble.cluster.nodes_version();
            if version != Some(now) {
                version = Some(now);
                let peers = peers(&hubble);
                let changes = difference(&known, &peers, hubble.reach.tls);
                known = peers;
                if !changes.is_empty() {
                    return Some((stream::iter(changes), (hubble, turns, known, version)));
                }
            }
            turns.changed().await.ok()?;
        }
    });
    changes.flatten().map(Ok).boxed()
}

/// Where each node answers. Without a port for other nodes there is only this one, by its socket.
fn peers<C: Cluster>(hubble: &Hubble<C>) -> BTreeMap<String, String> {
    match hubble.reach.port {
        Some(_) => hubble
            .cluster
            .nodes()
            .into_iter()
            .filter_map(|(name, address)| Some((name, hubble.reach.address(address)?)))
            .collect(),
        None => [(hubble.cluster.name().to_string(), hubble.reach.own(&hubble.cluster))].into(),
    }
}

fn difference(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    tls: bool,
) -> Vec<ChangeNotification> {
    let notification = |name: &String, address: &String, kind: ChangeNotificationType| ChangeNotification {
        name: name.clone(),
        address: address.clone(),
        r#type: kind.into(),
        tls: tls.then(|| PeerTls { server_name: server_name(name) }),
    };
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    let gone = gone.map(|(name, address)| notification(name, address, ChangeNotificationType::PeerDeleted));
    let there = new.iter().filter_map(|(name, address)| match old.get(name) {
        None => Some(notification(name, address, ChangeNotificationType::PeerAdded)),
        Some(before) if before != address => {
            Some(notification(name, address, ChangeNotificationType::PeerUpdated))
        }
        Some(_) => None,
    });
    gone.chain(there).collect()
}

/// The name that a node's certificate is checked for, as Cilium's certificates have it (`*.default.hubble-grpc.cilium.io`): one
/// label for the node, so that a wildcard fits.
pub(super) fn server_name(node: &str) -> String {
    format!("{}.default.hubble-grpc.cilium.io", node.replace('.', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once() {
        let peers =
            |all: &[(&str, &str)]| all.iter().map(|(n, a)| ((*n).to_owned(), (*a).to_owned())).collect();
        let old = peers(&[("a", "1:1"), ("b", "1:2"), ("c", "1:3")]);
        let new = peers(&[("b", "1:2"), ("c", "1:4"), ("d.x", "1:5")]);
        let told: Vec<_> = difference(&old, &new, true)
            .into_iter()
            .map(|n| (n.name, n.address, n.r#type, n.tls.unwrap().server_name))
            .collect();
        let name = |node: &str| format!("{node}.default.hubble-grpc.cilium.io");
        assert_eq!(
            told,
            [
                ("a".into(), "1:1".into(), 2, name("a")),
                ("c".into(), "1:4".into(), 3, name("c")),
                ("d.x".into(), "1:5".into(), 1, name("d-x")),
            ]
        );
        assert_eq!(difference(&new, &new, false), []);
    }
}
