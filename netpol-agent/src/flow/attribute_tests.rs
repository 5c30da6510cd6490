use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    flow::decode::Ends,
    model::{Labels, Workload},
};

#[derive(Default)]
struct Known {
    rules: BTreeMap<u64, RuleRef>,
    slots: BTreeMap<u64, SlotRef>,
    interfaces: BTreeMap<u32, PodRef>,
    addresses: BTreeMap<IpAddr, Identity>,
    kept: Vec<Name>,
}

impl Names for Known {
    fn rule(&self, id: RuleId) -> Option<&RuleRef> {
        self.rules.get(&id.0)
    }
    fn slot(&self, id: SlotId) -> Option<&SlotRef> {
        self.slots.get(&id.0)
    }
    fn is_kept(&self, policy: &Name) -> bool {
        self.kept.contains(policy)
    }
    fn generation(&self, _: &Name) -> i64 {
        3
    }
    fn interface(&self, ifindex: u32) -> Option<&PodRef> {
        self.interfaces.get(&ifindex)
    }
    fn address(&self, address: IpAddr) -> Option<Identity> {
        self.addresses.get(&address).cloned()
    }
}

fn pod(name: &str) -> PodRef {
    let labels = Labels::new([("app".to_owned(), name.to_owned())].into());
    let workload = Workload { kind: "Deployment".into(), name: name.into() };
    PodRef { pod: Name::new("shop", name), labels, workload: Some(workload.into()) }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const RULE: u64 = RuleId::HASHED | 7;

fn known() -> Known {
    let rule = RuleRef {
        policy: Name::new("shop", "web-egress"),
        generation: 1,
        direction: Direction::Egress,
        index: 1,
        path: "spec.egress[1]".into(),
    };
    let policies = vec![Name::new("shop", "db-ingress"), Name::new("shop", "deny-all")];
    Known {
        rules: [(RULE, rule)].into(),
        slots: [(3, SlotRef { direction: Direction::Ingress, policies })].into(),
        interfaces: [(11, pod("db-0")), (12, pod("frontend"))].into(),
        kept: vec![Name::new("shop", "deny-all")],
        addresses: [
            (address("10.0.0.1"), Identity::Pod(pod("frontend"))),
            (address("10.96.0.9"), Identity::Service(Name::new("shop", "db"))),
            (address("192.0.2.1"), Identity::Node("n1".into())),
        ]
        .into(),
    }
}

fn event(outcome: Outcome) -> Decoded {
    Decoded {
        outcome,
        direction: Direction::Ingress,
        ends: Some(Ends {
            source: (address("10.0.0.1"), 43122),
            destination: (address("10.96.0.9"), 80),
            translated: (address("10.0.0.2"), 5432),
        }),
        protocol: proto::TCP,
        tcp_flags: 0x12,
        ifindex: 12,
        endpoint: 11,
        length: 74,
        jiffies: 0,
        rule_egress: RuleId(RULE),
        rule_ingress: RuleId::NONE,
        slot: SlotId(3),
    }
}

fn record(event: &Decoded) -> FlowRecord {
    attribute(event, SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_700), &"n1".into(), &known())
}

#[test]
fn a_policy_drop_names_pods_service_and_the_policies_that_isolate() {
    let record = record(&event(Outcome::Dropped(DropReason::Policy)));
    let text = |party: &Option<PartyRecord>| party.as_ref().unwrap().to_string();
    assert_eq!(text(&record.source), "shop/frontend:43122");
    assert_eq!(text(&record.destination), "service:shop/db:80");
    // Not by address, which nobody knows here, but by the interface.
    assert_eq!(text(&record.translated), "shop/db-0:5432");
    let source = record.source.as_ref().unwrap();
    assert_eq!(source.workload.as_ref().unwrap().kind, "Deployment");
    assert_eq!(source.labels.get("app"), Some("frontend"));
    let policies: Vec<_> = record.policies.iter().map(ToString::to_string).collect();
    assert_eq!(policies, ["shop/db-ingress", "shop/deny-all (kept)"]);
    assert_eq!((record.egress.as_str(), record.ingress.as_str()), ("shop/web-egress spec.egress[1]", ""));
    assert_eq!((record.reason.as_deref(), record.tcp_flags.as_str()), (Some("policy"), "SYN,ACK"));
    assert_eq!(record.time.to_string(), "1970-01-01T00:00:01.5Z");
}

#[test]
fn a_forwarded_connection_names_the_rules_that_allowed_it() {
    let record = record(&Decoded { rule_ingress: RuleId::NOT_ISOLATED, ..event(Outcome::Forwarded) });
    let policies: Vec<_> = record.policies.iter().map(ToString::to_string).collect();
    assert_eq!(policies, ["shop/web-egress spec.egress[1]"]);
    let PolicyRecord { generation, direction, index, .. } = &record.policies[0];
    assert_eq!((*generation, direction.as_str(), *index), (1, "egress", Some(1)));
    assert_eq!((record.reason, record.ingress.as_str()), (None, "not-isolated"));
    let gone = Decoded { rule_egress: RuleId(RuleId::HASHED | 8), ..event(Outcome::Forwarded) };
    assert_eq!(
        attribute(&gone, SystemTime::UNIX_EPOCH, &"n1".into(), &known()).egress,
        "rule 0x8000000000000008, which is gone"
    );
}

#[test]
fn other_drops_blame_no_policy_and_a_forged_source_names_no_pod() {
    let spoofed = Decoded {
        direction: Direction::Egress,
        endpoint: 12,
        ends: Some(Ends {
            source: (address("203.0.113.5"), 1),
            destination: (address("192.0.2.1"), 22),
            translated: (address("192.0.2.1"), 22),
        }),
        ..event(Outcome::Dropped(DropReason::Spoofed))
    };
    let record = record(&spoofed);
    assert!(record.policies.is_empty() && record.translated.is_none());
    assert_eq!(record.source.unwrap().to_string(), "203.0.113.5:1");
    assert_eq!(record.destination.unwrap().to_string(), "node:n1:22");
}

#[test]
fn a_packet_without_addresses_has_no_ends() {
    let record =
        record(&Decoded { ends: None, protocol: 0, ..event(Outcome::Dropped(DropReason::Malformed)) });
    assert_eq!((record.source, record.protocol.as_str()), (None, ""));
}
