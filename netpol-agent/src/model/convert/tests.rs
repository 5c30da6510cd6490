use super::{convert, reference};
use crate::model::{Block, Level, Manifest, Object, Peer, Peers, Ports, Problem, TargetPort};

fn policy(spec: &str) -> (crate::model::Policy, Vec<Problem>) {
    let text = format!("{{metadata: {{name: p, namespace: shop}}, spec: {spec}}}");
    let manifest = Manifest::NetworkPolicy(serde_saphyr::from_str(&text).expect("a policy"));
    let converted = convert(&manifest, "p.yaml");
    let Some(Object::Policy(policy)) = converted.object else { panic!("a policy") };
    (policy, converted.problems)
}

/// The fields that a policy with this spec is reported for.
fn fields(spec: &str) -> Vec<String> {
    policy(spec).1.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn host_bits_of_a_block_are_masked_and_noted() {
    let (policy, problems) = policy("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.1.2.3/8}}]}]}");
    let Peers::Of(peers) = &policy.ingress.expect("it isolates")[0].peers else { panic!("peers") };
    let masked = Block { cidr: "10.0.0.0/8".parse().expect("a prefix"), except: Vec::new() };
    assert_eq!(peers[..], [Peer::Block(masked)]);
    assert_eq!(problems[0].level, Level::Note);
    assert_eq!(problems[0].message, "10.1.2.3/8 has bits set behind its prefix; read as 10.0.0.0/8");
}

#[test]
fn every_invalid_field_is_named() {
    for (spec, field) in [
        (
            "{podSelector: {matchExpressions: [{key: a, operator: Like}]}}",
            "spec.podSelector.matchExpressions[0].operator",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: In}]}}",
            "spec.podSelector.matchExpressions[0].values",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}}",
            "spec.podSelector.matchExpressions[0].values",
        ),
        (
            "{podSelector: {matchExpressions: [{operator: In, values: [x]}]}}",
            "spec.podSelector.matchExpressions[0].key",
        ),
        ("{podSelector: {matchLabels: {'': x}}}", "spec.podSelector.matchLabels"),
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchExpressions: [{operator: DoesNotExist}]}}]}]}",
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].key",
        ),
        (
            "{podSelector: {}, ingress: [{ports: [{protocol: '', port: 80}]}]}",
            "spec.ingress[0].ports[0].protocol",
        ),
        ("{podSelector: {}, policyTypes: [Ingress, Sideways]}", "spec.policyTypes[1]"),
        ("{podSelector: {}, ingress: [{}, {from: [{}]}]}", "spec.ingress[1].from[0]"),
        (
            "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
            "spec.egress[0].to[0].ipBlock",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/33}}]}]}",
            "spec.ingress[0].from[1].ipBlock.cidr",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}",
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]}",
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/16, 11.0.0.0/8]}}]}]}",
            "spec.ingress[0].from[0].ipBlock.except[1]",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/8']}}]}]}",
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}",
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: a, operator: X}]}}]}]}",
            "spec.ingress[0].from[0].namespaceSelector.matchExpressions[0].operator",
        ),
        (
            "{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 79}]}]}",
            "spec.ingress[0].ports[0].endPort",
        ),
        ("{podSelector: {}, ingress: [{ports: [{endPort: 79}]}]}", "spec.ingress[0].ports[0].endPort"),
        (
            "{podSelector: {}, ingress: [{ports: [{port: http, endPort: 79}]}]}",
            "spec.ingress[0].ports[0].endPort",
        ),
        ("{podSelector: {}, ingress: [{ports: [{port: 0}]}]}", "spec.ingress[0].ports[0].port"),
        ("{podSelector: {}, ingress: [{ports: [{port: 65536}]}]}", "spec.ingress[0].ports[0].port"),
        ("{podSelector: {}, ingress: [{ports: [{port: '80'}]}]}", "spec.ingress[0].ports[0].port"),
        (
            "{podSelector: {}, ingress: [{ports: [{port: 1, protocol: ICMP}]}]}",
            "spec.ingress[0].ports[0].protocol",
        ),
    ] {
        assert_eq!(fields(spec), [field], "{spec}");
    }
    assert_eq!(
        fields("{podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}"),
        [""; 0]
    );
}

#[test]
fn directions_are_defaulted_as_the_api_does() {
    for (spec, ingress, egress) in [
        ("{podSelector: {}}", true, false),
        ("{podSelector: {}, policyTypes: []}", true, false),
        ("{podSelector: {}, egress: []}", true, false),
        ("{podSelector: {}, egress: [{}]}", true, true),
        ("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", false, true),
        ("{podSelector: {}, policyTypes: [Nonsense]}", true, true),
    ] {
        let (policy, _) = policy(spec);
        assert_eq!((policy.ingress.is_some(), policy.egress.is_some()), (ingress, egress), "{spec}");
    }
}

#[test]
fn absent_and_empty_lists_mean_what_the_api_says() {
    let rule = |spec: &str| policy(spec).0.ingress.expect("isolates").into_iter().next();
    assert_eq!(rule("{podSelector: {}}"), None);
    assert_eq!(rule("{podSelector: {}, ingress: []}"), None);
    for open in ["{}", "{from: []}", "{ports: []}"] {
        let rule = rule(&format!("{{podSelector: {{}}, ingress: [{open}]}}")).expect("a rule");
        assert_eq!((rule.peers, rule.ports), (Peers::Any, Ports::Any), "{open}");
    }
    // A list of which nothing could be read is not an empty list.
    let closed = rule("{podSelector: {}, ingress: [{from: [{}], ports: [{port: 0}]}]}").expect("a rule");
    assert_eq!((closed.peers, closed.ports), (Peers::Of(vec![]), Ports::Of(vec![])));
}

#[test]
fn host_bits_are_masked_and_only_noted_names_are_notes() {
    let (policy, problems) = policy("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.1.2.3/8}}]}]}");
    let Some([rule]) = policy.ingress.as_deref() else { panic!("a rule") };
    assert!(format!("{:?}", rule.peers).contains("10.0.0.0/8"));
    assert_eq!(
        problems[0].to_string(),
        "p.yaml: NetworkPolicy shop/p: spec.ingress[0].from[0].ipBlock.cidr: 10.1.2.3/8 has bits set behind its prefix; read as 10.0.0.0/8"
    );
    let (_, problems) = super::tests::policy("{podSelector: {}, ingress: [{ports: [{port: '80'}]}]}");
    assert_eq!(problems[0].level, Level::Note);
}

#[test]
fn an_object_without_a_name_is_reported_and_one_without_a_namespace_is_in_default() {
    let manifest = Manifest::Pod(Box::default());
    let converted = convert(&manifest, "x.yaml");
    assert_eq!((converted.object, converted.problems.len()), (None, 1));
    let manifest = Manifest::Pod(serde_saphyr::from_str("{metadata: {name: a}}").expect("a pod"));
    assert_eq!(reference(&manifest).to_string(), "Pod default/a");
}

#[test]
fn pods_keep_their_good_parts() {
    let text = "{metadata: {name: a}, spec: {hostNetwork: true, nodeName: n, containers: [{name: c, ports: [{name: x, \
                containerPort: 1}, {name: x, containerPort: 2}, {name: y, containerPort: 70000}, {containerPort: 3}]}], \
                initContainers: [{name: i, ports: [{name: once, containerPort: 4}]}, {name: s, restartPolicy: Always, ports: \
                [{name: side, containerPort: 5, protocol: UDP}]}]}, status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, \
                {ip: 'fd00::1'}, {ip: '::ffff:10.0.0.1'}, {ip: nonsense}], phase: Succeeded, conditions: [{type: Ready, \
                status: 'False'}]}}";
    let converted = convert(&Manifest::Pod(serde_saphyr::from_str(text).expect("a pod")), "");
    let Some(Object::Pod(pod)) = converted.object else { panic!("a pod") };
    assert!(pod.host_network && pod.ended && !pod.ready && !pod.policed());
    assert_eq!(pod.addresses.len(), 2);
    assert_eq!(pod.numbers_of("x", 6).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(pod.numbers_of("side", 17).collect::<Vec<_>>(), [5]);
    assert_eq!(pod.numbers_of("once", 6).count(), 0);
    let fields: Vec<&str> = converted.problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        ["status.podIPs[2].ip", "status.podIPs[3].ip", "spec.containers[0].ports[2].containerPort"]
    );
}

#[test]
fn services_keep_their_good_ports() {
    let text = "{metadata: {name: a}, spec: {clusterIPs: [10.96.0.1, x], type: Node, internalTrafficPolicy: Some, externalTrafficPolicy: None, ports: \
                [{port: 80}, {name: n, port: 81, targetPort: web}, {port: 80, targetPort: 1}, {port: 0}, {port: 9, targetPort: 10, \
                protocol: SCTP}, {port: 80, protocol: UDP, targetPort: 99}]}}";
    let converted = convert(&Manifest::Service(serde_saphyr::from_str(text).expect("a service")), "");
    let Some(Object::Service(service)) = converted.object else { panic!("a service") };
    let ports: Vec<_> = service.ports.iter().map(|p| (p.port, p.proto, p.target.clone())).collect();
    let named = TargetPort::Named("web".into());
    assert_eq!(ports, [(80, 6, TargetPort::Number(80)), (81, 6, named), (80, 17, TargetPort::Number(99))]);
    let fields: Vec<&str> = converted.problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.clusterIPs[1]",
            "spec.internalTrafficPolicy",
            "spec.type",
            "spec.ports[2].port",
            "spec.ports[3].port",
            "spec.ports[4].targetPort",
            "spec.externalTrafficPolicy",
        ]
    );
}

#[test]
fn a_pod_belongs_to_what_its_owner_references_say() {
    let workload = |text: &str| {
        let pod = Manifest::Pod(serde_saphyr::from_str(&format!("{{metadata: {text}}}")).expect("a pod"));
        let Some(Object::Pod(pod)) = convert(&pod, "").object else { panic!("a pod") };
        pod.workload.map(|workload| format!("{} {}", workload.kind, workload.name))
    };
    let owner = |kind: &str, name: &str| {
        format!(
            "ownerReferences: [{{kind: Node, name: n}}, {{kind: {kind}, name: {name}, controller: true}}]"
        )
    };
    let owned = |labels: &str, kind: &str, name: &str| {
        workload(&format!("{{name: a, labels: {{{labels}}}, {}}}", owner(kind, name)))
    };
    assert_eq!(workload("{name: a}"), None);
    assert_eq!(workload("{name: a, ownerReferences: [{kind: Node, name: n}]}"), None);
    assert_eq!(owned("", "StatefulSet", "db").as_deref(), Some("StatefulSet db"));
    let hash = "pod-template-hash: 6d4b75cb6d";
    assert_eq!(owned(hash, "ReplicaSet", "web-6d4b75cb6d").as_deref(), Some("Deployment web"));
    // One that people made, and one whose name says something else than the hash.
    assert_eq!(owned("", "ReplicaSet", "web-6d4b75cb6d").as_deref(), Some("ReplicaSet web-6d4b75cb6d"));
    assert_eq!(owned(hash, "ReplicaSet", "web-other").as_deref(), Some("ReplicaSet web-other"));
    assert_eq!(owned(hash, "Job", "web-6d4b75cb6d").as_deref(), Some("Job web-6d4b75cb6d"));
}
