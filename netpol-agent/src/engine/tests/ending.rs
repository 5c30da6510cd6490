//! Pods of a namespace that is being deleted stay isolated, in whatever order the rest of it goes.

use super::{Bed, pod, policy};
use crate::model::{Level, ObjectRef};

/// 2026-03-01T12:00:00Z
const TWELVE_S: i64 = 1_772_366_400;
const DB: &str =
    "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
const ALL: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

/// What is delivered.
#[derive(Clone, Copy, Debug)]
enum Step {
    Terminating,
    NamespaceGone,
    Policy(&'static str),
    Pod(&'static str),
}

fn namespace(more: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, uid: one, \
         creationTimestamp: '2026-01-01T00:00:00Z'{more}}}}}\n---\n"
    )
}

fn aged(name: &str, node: &str, labels: &str, address: &str, created: &str) -> String {
    let text = pod(name, node, labels, &[address], "");
    text.replacen("metadata: {", &format!("metadata: {{creationTimestamp: '{created}', "), 1)
}

fn running() -> Bed {
    let mut bed = Bed::new();
    bed.engine.set_time(TWELVE_S);
    bed.up(10, &["10.0.0.10"]);
    bed.apply(&namespace(""));
    bed.apply(&aged("shop/db", "node1", "{app: db}", "10.0.0.10", "2026-01-02T00:00:00Z"));
    bed.apply(&aged("shop/web", "node2", "{app: web}", "10.0.1.1", "2026-01-02T00:00:00Z"));
    bed.apply(&policy("shop/db", DB)).apply(&policy("shop/all", ALL));
    bed
}

fn take(bed: &mut Bed, step: Step) {
    let object = |kind: &str, namespace: &str, name: &str| ObjectRef {
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
    };
    match step {
        Step::Terminating => bed.feed(&namespace(", deletionTimestamp: '2026-03-01T12:00:00Z'")),
        Step::NamespaceGone => bed.engine.delete(&object("Namespace", "", "shop")),
        Step::Policy(name) => bed.engine.delete(&object("NetworkPolicy", "shop", name)),
        Step::Pod(name) => bed.engine.delete(&object("Pod", "shop", name)),
    }
}

/// As before: only web may reach db, and db may reach nobody.
fn assert_isolated(bed: &Bed, when: &str) {
    assert_eq!(bed.ingress_rule("10.0.1.1", "10.0.0.10", 80), "db spec.ingress[0]", "{when}");
    assert!(!bed.tcp("10.0.9.9", "10.0.0.10", 80).is_allowed(), "{when}");
    assert!(!bed.tcp("10.0.0.10", "10.0.9.9", 80).is_allowed(), "{when}");
}

#[test]
fn policies_of_a_namespace_stay_until_its_pods_are_gone_in_any_order_and_any_batches() {
    use Step::{NamespaceGone, Pod, Policy, Terminating};
    let orders = [
        [Terminating, Policy("db"), Policy("all"), NamespaceGone],
        [Terminating, Policy("all"), Policy("db"), NamespaceGone],
        // Each kind of object is watched by itself: policies may be seen to go first.
        [Policy("db"), Policy("all"), Terminating, NamespaceGone],
        [Policy("all"), Terminating, Policy("db"), NamespaceGone],
        [Terminating, NamespaceGone, Policy("db"), Policy("all")],
        [Terminating, Policy("db"), NamespaceGone, Policy("all")],
    ];
    for order in orders {
        // Bit n: what came so far is planned after step n.
        for batches in 0..8_u8 {
            let mut bed = running();
            let mut terminating = false;
            for (n, step) in order.into_iter().enumerate() {
                take(&mut bed, step);
                terminating |= matches!(step, Terminating);
                let planned = n == 3 || batches & 1 << n != 0;
                if planned {
                    bed.settle();
                    if terminating {
                        assert_isolated(&bed, &format!("{order:?} planned at {batches:03b}, step {n}"));
                    }
                }
            }
            for name in ["web", "db"] {
                take(&mut bed, Pod(name));
                bed.settle();
            }
            assert_eq!(bed.engine.policies(), [], "{order:?}: nothing is kept for nobody");
            assert!(bed.fake.rows().policy.is_empty());
        }
    }
}

#[test]
fn a_policy_deleted_long_before_its_namespace_does_not_return() {
    let mut bed = running();
    bed.engine.set_time(TWELVE_S - 30);
    bed.delete("NetworkPolicy", "shop", "db").delete("NetworkPolicy", "shop", "all");
    assert!(bed.tcp("10.0.9.9", "10.0.0.10", 80).is_allowed());
    bed.engine.set_time(TWELVE_S);
    take(&mut bed, Step::Terminating);
    bed.settle();
    assert!(bed.tcp("10.0.9.9", "10.0.0.10", 80).is_allowed());
}

#[test]
fn a_namespace_without_times_keeps_what_goes_together_with_it() {
    let mut bed = running();
    bed.feed("{apiVersion: v1, kind: Namespace, metadata: {name: shop}, status: {phase: Terminating}}");
    take(&mut bed, Step::Policy("all"));
    bed.settle();
    assert_isolated(&bed, "phase");
    take(&mut bed, Step::Policy("db"));
    bed.settle();
    assert_isolated(&bed, "phase, a batch later");
}

#[test]
fn a_namespace_that_is_made_anew_owes_nothing_to_the_policies_of_the_old_one() {
    let mut bed = running();
    for step in [Step::Terminating, Step::Policy("db"), Step::Policy("all"), Step::NamespaceGone] {
        take(&mut bed, step);
    }
    bed.settle();
    let anew = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, uid: two, creationTimestamp: '2026-03-01T13:00:00Z'}}";
    bed.apply(anew).up(11, &["10.0.0.11"]);
    bed.apply(&aged("shop/new", "node1", "{app: db}", "10.0.0.11", "2026-03-01T13:00:01Z"));
    assert!(bed.tcp("10.0.9.9", "10.0.0.11", 80).is_allowed(), "a pod of the new namespace");
    assert_isolated(&bed, "a pod that is still running");
    bed.delete("Pod", "shop", "db").delete("Pod", "shop", "web");
    assert_eq!(bed.engine.policies(), []);
}

#[test]
fn a_policy_applied_again_is_the_sources_word() {
    let mut bed = running();
    for step in [Step::Terminating, Step::Policy("db"), Step::Policy("all")] {
        take(&mut bed, step);
    }
    bed.settle();
    bed.apply(&policy("shop/all", ALL));
    let kept: Vec<_> = bed.engine.policies().into_iter().map(|view| (view.policy.name, view.kept)).collect();
    assert_eq!(kept, [("all".into(), false), ("db".into(), true)]);
}

#[test]
fn a_kept_policy_says_so_once_it_is_one() {
    let mut bed = running();
    assert!(bed.engine.problems().is_empty());
    for step in [Step::Terminating, Step::Policy("db")] {
        take(&mut bed, step);
    }
    bed.settle();
    let problems = bed.engine.problems();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem.level, Level::Note);
    assert_eq!(
        problem.to_string(),
        "test.yaml: NetworkPolicy shop/db: deleted with its namespace; it stays in force until the namespace's pods \
         are gone"
    );
    assert!(bed.engine.attribution().is_kept(&crate::model::Name::new("shop", "db")));
    assert!(!bed.engine.attribution().is_kept(&crate::model::Name::new("shop", "all")));
}

#[test]
fn after_a_restart_what_the_rows_isolate_stays_closed_if_the_namespace_is_ending() {
    let terminating = namespace(", deletionTimestamp: '2026-03-01T12:00:00Z'");
    let db = aged("shop/db", "node1", "{app: db}", "10.0.0.10", "2026-01-02T00:00:00Z");
    for (which, inbound, outbound) in [("db", false, true), ("all", false, false)] {
        let mut bed = running();
        bed.delete("NetworkPolicy", "shop", if which == "db" { "all" } else { "db" });
        bed.restart();
        bed.engine.set_time(TWELVE_S + 60);
        bed.engine.interface_up(super::interface(10, &["10.0.0.10"]));
        bed.feed(&terminating);
        bed.feed(&db);
        bed.engine.synced();
        bed.settle();
        assert_eq!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed(), inbound, "{which}");
        assert_eq!(bed.tcp("10.0.0.10", "10.0.9.9", 80).is_allowed(), outbound, "{which}");
        let endpoint = bed.engine.endpoints().remove(0);
        assert_eq!((endpoint.isolated_in, endpoint.isolated_out), (!inbound, !outbound));
        assert_eq!(bed.engine.problems().len(), 1, "{:?}", bed.engine.problems());
        // Another interface under the same number inherits nothing.
        bed.engine.interface_gone(10);
        bed.settle();
        bed.up(10, &["10.0.0.10"]);
        assert!(bed.tcp("10.0.1.1", "10.0.0.10", 80).is_allowed());
    }
    // In a namespace that lives, a policy that went while nobody looked is gone.
    let mut bed = running();
    bed.restart();
    bed.engine.interface_up(super::interface(10, &["10.0.0.10"]));
    bed.feed(&namespace(""));
    bed.feed(&db);
    bed.engine.synced();
    bed.settle();
    assert!(bed.tcp("10.0.9.9", "10.0.0.10", 80).is_allowed());
}
