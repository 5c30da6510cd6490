//! Queues on the node's side of pods' interfaces: limits of what a pod receives and sends (the CNI plugin `bandwidth`), which a packet that is
//! handed over does not meet.

use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    tc::{TcAttribute, TcMessage},
};

use super::{super::netlink::Netlink, Found, Obstacle, Pod};

/// What an interface has without anybody's doing, and what holds programs.
const HARMLESS: [&str; 8] = ["noqueue", "noop", "mq", "pfifo_fast", "fq", "fq_codel", "sfq", "clsact"];

/// `pods` in the order of their indices.
pub(super) fn look(netlink: &mut Netlink, pods: &[Pod<'_>]) -> Found {
    let request = Message::GetQueueDiscipline(TcMessage::default());
    let answers = netlink
        .dump("list queues", &request)
        .map_err(|error| Obstacle::Unknown(format!("{error}: {}", error.source)))?;
    for answer in &answers {
        let Message::NewQueueDiscipline(queue) = answer else { continue };
        let ifindex = queue.header.index.cast_unsigned();
        let Ok(place) = pods.binary_search_by_key(&ifindex, |pod| pod.ifindex) else { continue };
        let Some(pod) = pods.get(place) else { continue };
        for attribute in &queue.attributes {
            if let TcAttribute::Kind(kind) = attribute
                && !HARMLESS.contains(&kind.as_str())
            {
                return Err(Obstacle::Queue { kind: kind.clone(), interface: pod.name.to_owned() });
            }
        }
    }
    Ok(())
}
