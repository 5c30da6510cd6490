//! What happens on bad days: nothing is lost, nothing is taken to be gone that is there, and it is said what is wrong.

use std::time::Duration;

use serde_json::json;

use crate::client::{Served, TOKEN, pod, policy};

#[tokio::test]
async fn changes_that_nobody_heard_are_found_after_the_server_has_forgotten_them() {
    let served = Served::new();
    served.put(pod("a"));
    served.put(pod("b"));
    let mut source = served.follow().await;
    source.until_synced().await;
    served.server.set_faults(|faults| faults.unavailable = true);
    served.server.cut();
    served.delete("Pod", "shop", "a");
    served.put(pod("c"));
    served.server.compact();
    source.until("trouble", |source| source.problems.len() == 7).await;
    assert!(
        source.problems.iter().any(|p| p.contains("objects of kind Pod: etcd has no leader (503)")),
        "{:?}",
        source.problems
    );
    assert!(source.objects.contains("Pod shop/a"));
    served.server.set_faults(|faults| faults.unavailable = false);
    source.until_has("Pod shop/c").await;
    source.until("a is gone", |source| !source.objects.contains("Pod shop/a")).await;
    source.until("no problems", |source| source.problems.is_empty()).await;
}

#[tokio::test]
async fn a_watch_that_is_cut_is_taken_up_where_it_ended() {
    let served = Served::new();
    let mut source = served.follow().await;
    source.until_synced().await;
    for i in 0..20 {
        served.server.cut();
        served.put(pod(&format!("p{i}")));
    }
    source.until("all pods", |source| source.objects.len() == 20).await;
    assert_eq!(source.problems, [""; 0]);
}

#[tokio::test]
async fn an_empty_list_takes_nothing_away() {
    let served = Served::new();
    served.put(pod("a"));
    served.put(policy("p"));
    let mut source = served.follow().await;
    source.until_synced().await;
    served.server.set_faults(|faults| (faults.empty, faults.unavailable) = (true, true));
    served.server.cut();
    served.put(pod("b"));
    served.server.compact();
    source.until("trouble", |source| source.problems.len() == 7).await;
    served.server.set_faults(|faults| faults.unavailable = false);
    // Nodes, say, were none before: an empty list of them is believed.
    let doubted = |problem: &String| problem.contains("the server lists none, where 1 were known");
    source.until("doubt", |source| source.problems.len() == 2 && source.problems.iter().all(doubted)).await;
    assert_eq!(source.objects.len(), 2);
    served.server.set_faults(|faults| faults.empty = false);
    source.until_has("Pod shop/b").await;
    source.until("no doubt", |source| source.problems.is_empty()).await;
    assert_eq!(source.objects.len(), 3);
}

#[tokio::test]
async fn a_kind_that_may_not_be_read_is_named_and_nothing_is_complete_before() {
    let served = Served::new();
    served.put(pod("a"));
    served.server.set_faults(|faults| faults.forbidden = ["networkpolicies".to_owned()].into());
    let mut source = served.follow().await;
    source.until_has("Pod shop/a").await;
    source.until("refusal", |source| !source.problems.is_empty()).await;
    assert!(
        source.problems[0].contains("objects of kind NetworkPolicy: networkpolicies is forbidden"),
        "{:?}",
        source.problems
    );
    assert!(!source.synced);
    served.server.set_faults(|faults| faults.forbidden.clear());
    source.until_synced().await;
    source.until("no problems", |source| source.problems.is_empty()).await;
}

#[tokio::test]
async fn a_server_that_is_slow_and_one_that_is_not_there_yet_are_waited_for() {
    let served = Served::new();
    served.put(pod("a"));
    served.server.set_faults(|faults| {
        faults.unavailable = true;
        faults.delay = Duration::from_millis(300);
    });
    let mut source = served.follow().await;
    source.until("trouble", |source| source.problems.len() == 7).await;
    assert!(!source.synced);
    served.server.set_faults(|faults| faults.unavailable = false);
    source.until_synced().await;
}

#[tokio::test]
async fn whoever_has_no_valid_token_hears_so() {
    let served = Served::new();
    served.server.set_faults(|faults| faults.tokens = ["another".to_owned()].into());
    let mut source = served.follow().await;
    source.until("refusal", |source| source.problems.len() == 7).await;
    assert!(source.problems[0].contains("Unauthorized (401)"), "{:?}", source.problems);
    assert!(source.problems.iter().all(|p| !p.contains(TOKEN)), "{:?}", source.problems);
    served.server.set_faults(|faults| faults.tokens = [TOKEN.to_owned()].into());
    source.until_synced().await;
}

#[tokio::test]
async fn a_token_is_read_again_when_it_is_renewed() {
    let served = Served::new();
    served.server.set_faults(|faults| faults.tokens = [TOKEN.to_owned()].into());
    let mut source = served.follow().await;
    source.until_synced().await;
    std::fs::write(served.folder.path().join("token"), "renewed").unwrap();
    served.server.set_faults(|faults| faults.tokens = ["renewed".to_owned()].into());
    served.server.cut();
    source.until("refusal", |source| source.problems.len() == 7).await;
    source.until("renewed", |source| source.problems.is_empty()).await;
    served.put(pod("a"));
    source.until_has("Pod shop/a").await;
}

#[tokio::test]
async fn one_object_that_cannot_be_read_is_named_and_harms_no_other() {
    let served = Served::new();
    let mut broken = pod("broken");
    broken["spec"]["hostNetwork"] = json!("maybe");
    served.put(broken);
    served.put(pod("a"));
    let mut source = served.follow().await;
    source.until_synced().await;
    assert_eq!(source.objects.iter().collect::<Vec<_>>(), ["Pod shop/a"]);
    assert!(source.problems[0].contains("Pod shop/broken: spec.hostNetwork"), "{:?}", source.problems);
    served.put(pod("broken"));
    source.until_has("Pod shop/broken").await;
    source.until("no problems", |source| source.problems.is_empty()).await;
}
