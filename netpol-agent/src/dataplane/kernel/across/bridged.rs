//! An uplink that is a bridge with pods on it: other nodes' pods are their neighbours there. What they send each other is not routed, and
//! must arrive with its hops and MAC addresses as they are.

use super::{Found, Interface, Obstacle, Pod};

pub(super) fn look(uplinks: &[Interface<'_>], pods: &[Pod<'_>]) -> Found {
    for Interface { ifindex, name } in uplinks {
        if pods.iter().any(|pod| pod.bridge == *ifindex) {
            return Err(Obstacle::Bridged((*name).to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bridge_that_is_an_uplink_is_in_the_way() {
        let uplinks = [Interface { ifindex: 2, name: "eth0" }, Interface { ifindex: 3, name: "br0" }];
        let pod = |bridge| Pod { ifindex: 7, name: "veth7", bridge };
        assert_eq!(look(&uplinks, &[pod(0), pod(4)]), Ok(()));
        assert_eq!(look(&uplinks, &[pod(0), pod(3)]), Err(Obstacle::Bridged("br0".to_owned())));
    }
}
