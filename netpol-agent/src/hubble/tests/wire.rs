//! The numbers of fields, read from the bytes by hand.

use std::collections::BTreeMap;

use prost::Message;

use crate::{
    flow::{FlowRecord, Verdict, tests_support::sample},
    hubble::{
        map,
        messages::{FlowsItem, GetFlowsRequest, GetFlowsResponse},
    },
    model::{Name, Workload},
};

/// Fields by number: a number, or bytes.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Fields(BTreeMap<u64, Vec<Value>>);

impl Fields {
    fn read(mut bytes: &[u8]) -> Self {
        let mut fields = Self::default();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => Value::Number(varint(&mut bytes)),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).unwrap();
                    let (value, rest) = bytes.split_at(length);
                    bytes = rest;
                    Value::Bytes(value.to_vec())
                }
                other => panic!("wire type {other} of field {}", key >> 3),
            };
            fields.0.entry(key >> 3).or_default().push(value);
        }
        fields
    }

    fn number(&self, field: u64) -> u64 {
        match self.0.get(&field).map(Vec::as_slice) {
            Some([Value::Number(number)]) => *number,
            other => panic!("field {field} is {other:?}"),
        }
    }

    fn texts(&self, field: u64) -> Vec<String> {
        let all = self.0.get(&field).into_iter().flatten();
        all.map(|value| match value {
            Value::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            other @ Value::Number(_) => panic!("field {field} is {other:?}"),
        })
        .collect()
    }

    fn text(&self, field: u64) -> String {
        self.texts(field).join("|")
    }

    fn message(&self, field: u64) -> Self {
        match self.0.get(&field).map(Vec::as_slice) {
            Some([Value::Bytes(bytes)]) => Self::read(bytes),
            other => panic!("field {field} is {other:?}"),
        }
    }

    fn has(&self, field: u64) -> bool {
        self.0.contains_key(&field)
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(record: &FlowRecord) -> Fields {
    let response = GetFlowsResponse {
        item: Some(FlowsItem::Flow(Box::new(map::flow(record)))),
        node_name: "node-1".into(),
        time: Some(map::time(record)),
    };
    let response = Fields::read(&response.encode_to_vec());
    assert_eq!(response.text(1000), "node-1");
    assert_eq!(response.message(1001), response.message(1).message(1));
    response.message(1)
}

#[test]
fn a_drop_has_hubbles_numbers() {
    let mut record = sample();
    let workload = Workload { kind: "StatefulSet".into(), name: "db".into() };
    record.destination.as_mut().unwrap().workload = Some(workload.into());
    let flow = fields(&record);
    assert_eq!((flow.message(1).number(1), flow.message(1).number(2)), (1_772_366_584, 512_000_000));
    assert_eq!((flow.number(2), flow.number(3), flow.number(25)), (2, 133, 133));
    let ip = flow.message(5);
    assert_eq!((ip.text(1), ip.text(2), ip.number(3)), ("10.244.1.13".into(), "10.244.1.20".into(), 1));
    let tcp = flow.message(6).message(1);
    assert_eq!((tcp.number(1), tcp.number(2), tcp.message(3).number(2)), (43122, 5432, 1));
    let (source, destination) = (flow.message(8), flow.message(9));
    assert_eq!((source.text(3), source.text(5)), ("shop".into(), "frontend".into()));
    assert_eq!(source.text(4), "k8s:app=frontend|k8s:io.kubernetes.pod.namespace=shop");
    assert!(source.number(2) >= 256 && !source.has(6));
    let workload = destination.message(6);
    assert_eq!((workload.text(1), workload.text(2)), ("db".into(), "StatefulSet".into()));
    assert_eq!((flow.number(10), flow.text(11)), (1, "node-1".into()));
    assert_eq!((flow.message(19).number(1), flow.number(22)), (5, 1));
    // A BoolValue of false is there, and empty.
    assert_eq!(flow.message(26), Fields::default());
    assert_eq!(flow.message(28).number(1), 11);
    assert_eq!(flow.text(34).len(), 36);
    assert_eq!(flow.message(41).text(1), "netpol");
    assert_eq!(flow.text(100_000), "TCP Flags: SYN");
    let policy = flow.message(21_005);
    assert_eq!((policy.text(1), policy.text(2), policy.number(4)), ("db-ingress".into(), "shop".into(), 3));
    assert_eq!(policy.text(5), "NetworkPolicy");
    assert!(!flow.has(21_001) && !flow.has(21_002) && !flow.has(21_004));
    assert_eq!(flow.texts(21_006), ["reason: policy", "egress: not-isolated"]);
}

#[test]
fn a_connection_through_a_service_has_its_backend_and_who_allowed_it() {
    let mut record = FlowRecord { verdict: Verdict::Forwarded, reason: None, ..sample() };
    record.translated = record.destination.clone();
    let destination = record.destination.as_mut().unwrap();
    (destination.namespace, destination.pod) = (None, None);
    (destination.service, destination.port) = (Some(Name::new("shop", "data")), 80);
    record.policies[0].rule = Some("spec.ingress[0]".into());
    let flow = fields(&record);
    assert_eq!((flow.number(2), flow.number(23)), (1, 2));
    assert!(!flow.has(3) && !flow.has(25));
    assert_eq!(flow.message(9).text(5), "db-0");
    assert_eq!(flow.message(6).message(1).number(2), 5432);
    assert_eq!((flow.message(21).text(1), flow.message(21).text(2)), ("data".into(), "shop".into()));
    assert_eq!(flow.message(21_002).text(1), "db-ingress");
    assert!(!flow.has(21_005));
}

#[test]
fn everybody_else_is_reserved() {
    let mut record = FlowRecord { reason: Some("no-backend".into()), protocol: "ICMPv6".into(), ..sample() };
    record.policies.clear();
    record.icmp_type = Some(128);
    let (source, destination) = (record.source.as_mut().unwrap(), record.destination.as_mut().unwrap());
    for party in [source, destination] {
        (party.namespace, party.pod) = (None, None);
        party.labels = crate::model::Labels::default();
    }
    record.source.as_mut().unwrap().node = Some("node-1".into());
    let flow = fields(&record);
    assert_eq!((flow.message(19).number(1), flow.message(19).number(2)), (1, 158));
    assert_eq!((flow.message(8).number(2), flow.message(8).text(4)), (1, "reserved:host".into()));
    assert_eq!((flow.message(9).number(2), flow.message(9).text(4)), (2, "reserved:world".into()));
    assert_eq!(flow.message(6).message(4).number(1), 128);
    assert!(!flow.has(26));
    record.source.as_mut().unwrap().node = Some("node-2".into());
    assert_eq!(fields(&record).message(8).text(4), "reserved:remote-node");
}

/// What the command sends for `hubble observe --last 5 --follow --verdict DROPPED --to-pod shop/db`, written by hand.
#[test]
fn a_request_is_read_by_its_numbers() {
    let filter = [&[0x22, 7][..], b"shop/db", &[0x2a, 1, 2]].concat();
    let length = u8::try_from(filter.len()).unwrap();
    let bytes = [&[0x08, 5, 0x18, 1, 0x32, length][..], &filter].concat();
    let request = GetFlowsRequest::decode(&bytes[..]).unwrap();
    assert_eq!((request.number, request.follow, request.first), (5, true, false));
    let [filter] = &request.whitelist[..] else { panic!("{request:?}") };
    assert_eq!((filter.destination_pod.join("|"), &filter.verdict[..]), ("shop/db".into(), &[2][..]));
}
