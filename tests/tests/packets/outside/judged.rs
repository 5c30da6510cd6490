//! A backend's policy and a client from outside, by whatever segment that one comes.

use anyhow::Result;
use netpol_agent::dataplane::Op;
use netpol_common::{
    direction::Direction::Ingress,
    endpoint::{EndpointRow, flags as endpoint},
    policy::SlotId,
    reason::DropReason,
};
use netpol_tests::packet::{
    Lab, PSH_ACK, Uplink::FromNetdev, Verdict::HandOver, World, open, slot_for_pods, tcp,
};

use super::{NODE_PORT, Outside};
use crate::table::{
    Expect::{self, Drop, OpensTranslated},
    row, send_all,
};

/// The client's own address is judged: `denied` becomes of its segment with these TCP flags, where that of a pod of another node,
/// in the class that the rule names, opens a connection until policy changes.
pub(super) fn own_address_is_judged(
    lab: &mut Lab,
    w: World,
    o: &Outside,
    way: u32,
    segment: u8,
    denied: Expect,
) -> Result<()> {
    o.settle(lab, &[w.b], 1, way)?;
    let slot = SlotId(0x51);
    lab.write(slot_for_pods(slot))?;
    let isolated = EndpointRow { slot_in: slot, flags: open().flags | endpoint::ISOLATED_IN, ..open() };
    lab.write([Op::PutEndpoint(lab.pods[1], isolated)])?;
    let (up, vip, b) = (lab.uplink, World::at(o.node, NODE_PORT), World::at(w.b, 8080));
    // A pod of another node is in the class that the rule names, the client is in none.
    let (c, pod) = (World::at(o.client, 4000), World::at(w.remote, 4000));
    send_all(
        lab,
        vec![
            row("a client", FromNetdev(up), tcp(c, vip, segment, b""), denied),
            row(
                "a pod elsewhere",
                FromNetdev(up),
                tcp(pod, vip, segment, b""),
                OpensTranslated(HandOver, tcp(pod, b, segment, b"")),
            ),
        ],
    )?;
    lab.write([
        Op::PutEndpoint(lab.pods[1], EndpointRow { slot_in: SlotId(0x99), ..isolated }),
        Op::AdvanceEpoch,
    ])?;
    send_all(
        lab,
        vec![row(
            "when policy has changed",
            FromNetdev(up),
            tcp(pod, vip, PSH_ACK, b""),
            Drop(DropReason::Policy, Ingress),
        )],
    )
}
