use super::*;
use crate::ctl::{State, api::EndpointState, fixture::Fixture};

fn only(explanation: &Explanation) -> &Way {
    let [way] = &explanation.ways[..] else { panic!("{explanation:?}") };
    way
}

#[test]
fn the_fixture_is_in_force() {
    let states: Vec<_> =
        Fixture::new().endpoints().iter().map(|e| (e.pod.clone().unwrap().name, e.state)).collect();
    assert_eq!(states, [("db-0".into(), EndpointState::Ready), ("web".into(), EndpointState::Ready)]);
}

#[test]
fn an_allowed_connection_names_the_rule_and_the_maps_agree() {
    let answer = Fixture::new().ask("shop/web", "shop/db-0", None).unwrap();
    assert!(answer.allowed && answer.consistent);
    assert_eq!(answer.question, "shop/web → shop/db-0, TCP port 5432");
    let way = only(&answer);
    assert_eq!(
        (way.egress.clone(), way.maps.egress.clone()),
        (Verdict::NotIsolated, MapsAnswer::NotIsolated)
    );
    let Verdict::Allowed { rules, .. } = &way.ingress else { panic!("{way:?}") };
    assert_eq!(rules[0].path, "spec.ingress[0]");
    assert_eq!(way.maps.ingress, MapsAnswer::Allowed("shop/db-ingress spec.ingress[0]".into()));
}

#[test]
fn a_denied_connection_names_the_policies_and_the_other_node_is_not_judged() {
    let answer = Fixture::new().ask("shop/stranger", "shop/db-0", None).unwrap();
    assert!(!answer.allowed && answer.consistent);
    let way = only(&answer);
    assert_eq!((&way.maps.egress, &way.maps.ingress), (&MapsAnswer::Elsewhere, &MapsAnswer::Denied));
    let miss = way.ingress.nearest_miss().unwrap().to_string();
    assert!(miss.contains("podSelector does not match pod shop/stranger"), "{miss}");
}

#[test]
fn a_service_is_explained_by_its_backends_under_name_and_address() {
    let fixture = Fixture::new();
    for to in ["service:shop/db", "10.96.0.9"] {
        let answer = fixture.ask("shop/web", to, Some(80)).unwrap();
        assert_eq!(answer.service, Some(Name::new("shop", "db")), "{to}");
        let way = only(&answer);
        assert_eq!((way.port, way.pod.clone()), (5432, Some(Name::new("shop", "db-0"))), "{to}");
        assert!(answer.allowed && answer.consistent, "{to}: {answer:?}");
    }
    let idle = fixture.ask("shop/web", "service:shop/idle", Some(80)).unwrap();
    assert!(idle.ways.is_empty() && !idle.allowed);
}

#[test]
fn the_own_node_always_reaches_its_pods_and_another_one_does_not() {
    let fixture = Fixture::new();
    let own = fixture.ask("node:n1", "shop/db-0", Some(5432)).unwrap();
    assert!(own.allowed && own.consistent);
    assert_eq!((&only(&own).ingress, &only(&own).maps.ingress), (&Verdict::OwnNode, &MapsAnswer::Always));
    let other = fixture.ask("node:n2", "shop/db-0", Some(5432)).unwrap();
    assert!(!other.allowed && other.consistent);
}

#[test]
fn a_pod_reaches_itself_in_both_families() {
    let answer = Fixture::new().ask("shop/web", "shop/web", None).unwrap();
    assert_eq!(answer.ways.len(), 2);
    assert!(answer.allowed && answer.ways.iter().all(|way| way.maps.ingress == MapsAnswer::Always));
}

#[test]
fn maps_that_contradict_the_policies_are_noticed() {
    let fixture = Fixture::new().without_rows_of_policies();
    let answer = fixture.ask("shop/web", "shop/db-0", None).unwrap();
    assert!(answer.allowed && !answer.consistent);
    assert_eq!(only(&answer).maps.ingress, MapsAnswer::Denied);
    // A way that the maps get right is no contradiction.
    assert!(fixture.ask("shop/stranger", "shop/db-0", None).unwrap().consistent);
}

#[test]
fn questions_that_mean_nothing_are_refused_with_what_could_be_meant() {
    let fixture = Fixture::new();
    for (from, to, port, words) in [
        ("web", "shop/db-0", None, "\"web\" is none of NAMESPACE/POD"),
        ("shop/web", "node:", None, "\"node:\" is none of"),
        ("shop/nobody", "shop/db-0", None, "there is no pod shop/nobody"),
        ("shop/web", "node:n9", Some(1), "there is no node n9"),
        ("service:shop/db", "shop/web", None, "a Service opens no connections"),
        ("shop/web", "service:shop/db", Some(81), "service shop/db has no TCP port 81; it has 80/TCP"),
        ("shop/web", "service:shop/idle", None, "--port is needed: service shop/idle has 80/TCP, 81/TCP"),
        ("shop/web", "service:shop/headless", None, "service shop/headless is headless"),
        (
            "shop/web",
            "shop/stranger",
            None,
            "--port is needed: pod shop/stranger has no ports that are known",
        ),
        ("fd00::99", "shop/db-0", None, "fd00::99 and shop/db-0 have no address family in common"),
    ] {
        let error = fixture.ask(from, to, port).unwrap_err().to_string();
        assert!(error.starts_with(words), "{from} → {to}: {error}");
    }
    assert_eq!(parse_protocol("icmpv6"), Ok(proto::ICMPV6));
    assert_eq!(parse_protocol("47"), Ok(47));
    assert!(parse_protocol("300").is_err());
}
