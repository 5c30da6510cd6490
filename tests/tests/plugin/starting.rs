//! A pod that sends from its first moment: nothing that policy forbids leaves it or reaches it.

use std::{
    env,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use netpol_tests::bed::{Bed, Family, Place, object_ref, sandbox};
use serde_json::{Value, json};

use crate::{
    ground::{ALLOWED, FORBIDDEN, bed, container, policy, ptp, unstarted},
    sound::{Ear, Mouth},
};

/// How often a pod starts, unless the environment says otherwise.
const STARTS: usize = 20;
const STARTS_VARIABLE: &str = "NETPOL_STARTS";
const PATIENCE: Duration = Duration::from_secs(10);

fn targets(bed: &Bed, places: &[Place], port: u16) -> Vec<SocketAddr> {
    let addresses = places.iter().flat_map(|place| bed.addresses(place).unwrap());
    addresses.map(|addr| SocketAddr::new(*addr, port)).collect()
}

#[test]
fn a_pod_that_sends_from_before_its_interface_is_there_gets_nothing_past_its_policy() {
    let starts = env::var(STARTS_VARIABLE).map_or(STARTS, |text| text.parse().unwrap());
    let mut bed = bed(&Family::ALL);
    let witness = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "witness", "namespace": "t"},
        "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
    });
    bed.apply(&[policy(), witness]).unwrap();
    bed.await_agents(PATIENCE).unwrap();
    let places = [
        Place::Outside("world".to_owned()),
        Place::Node("node1".to_owned()),
        Place::Pod("t/witness".to_owned()),
    ];
    let ears: Vec<Ear> = places.iter().map(|p| Ear::at(&bed.netns(p).unwrap(), FORBIDDEN)).collect();
    let world = bed.netns(&places[0]).unwrap();
    let allowed = Ear::at(&world, ALLOWED);
    let node = bed.node("node1").unwrap();
    let fixed: Vec<IpAddr> = node.pod_ranges.iter().map(|range| range.hosts().nth(200).unwrap()).collect();
    let chain = ptp(node, &fixed);
    let mut added = Vec::new();
    let mut leaks = [0; 4];
    for round in 0..starts {
        let (name, uid) = (format!("p{round}"), format!("uid-{round}"));
        let object = unstarted(&name, &uid, "starting");
        let netns = sandbox(bed.node("node1").unwrap(), &format!("cni-{round}")).unwrap();
        let inbox = Ear::at(&netns, FORBIDDEN);
        let mut to = targets(&bed, &places, FORBIDDEN);
        to.extend(targets(&bed, &places[..1], ALLOWED));
        let (before, arrived) = (ears.iter().map(Ear::heard).collect::<Vec<_>>(), allowed.heard());
        let mouths = [
            Mouth::to(&netns, to),
            Mouth::to(&world, fixed.iter().map(|addr| SocketAddr::new(*addr, FORBIDDEN)).collect()),
        ];
        bed.tell(&object).unwrap();
        let who = container(&name, &uid, &netns);
        let node = bed.node("node1").unwrap();
        let called = chain.call(node, "ADD", &who, &Value::Null).unwrap();
        added.push(*called.took.last().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while allowed.heard() < arrived + 5 {
            assert!(Instant::now() < deadline, "round {round}: what is allowed does not arrive");
            thread::sleep(Duration::from_millis(1));
        }
        let sent: Vec<u64> = mouths.into_iter().map(Mouth::close).collect();
        assert!(sent.iter().all(|sent| *sent > 0), "{sent:?}");
        chain.call(node, "DEL", &who, &called.result).unwrap();
        for (at, ear) in ears.iter().enumerate() {
            leaks[at] += ear.heard() - before[at];
        }
        leaks[3] += inbox.heard();
        netns.delete().unwrap();
        bed.delete(&[object_ref(&object).unwrap()]).unwrap();
    }
    added.sort_unstable();
    println!(
        "{starts} starts; the plugin's ADD took {:?} at least, {:?} in the middle, {:?} at most",
        added[0],
        added[starts / 2],
        added[starts - 1]
    );
    assert_eq!(
        leaks,
        [0; 4],
        "to the world, the node, a pod beside; into the pod\n{}",
        bed.agents()[0].log()
    );
}
