//! What happens on good days.

use crate::client::{Served, pod, policy};

#[tokio::test]
async fn everything_is_delivered_and_then_every_change() {
    let served = Served::new();
    served.put(pod("a"));
    served.put(policy("p"));
    let mut source = served.follow().await;
    source.until_synced().await;
    assert_eq!(source.objects.iter().collect::<Vec<_>>(), ["NetworkPolicy shop/p", "Pod shop/a"]);
    served.put(pod("b"));
    source.until_has("Pod shop/b").await;
    served.delete("Pod", "shop", "a");
    source.until("a is gone", |source| !source.objects.contains("Pod shop/a")).await;
    assert_eq!(source.problems, [""; 0]);
}

#[tokio::test]
async fn lists_are_read_in_pages_where_they_are_not_streamed() {
    let served = Served::new();
    served.server.set_faults(|faults| faults.no_streaming = true);
    (0..1234).for_each(|i| served.put(pod(&format!("p{i}"))));
    let mut source = served.follow().await;
    source.until_synced().await;
    assert_eq!(source.objects.len(), 1234);
    served.put(pod("later"));
    source.until_has("Pod shop/later").await;
}

#[tokio::test]
async fn a_server_that_does_not_know_of_streamed_lists_is_found_out() {
    let served = Served::new();
    served.server.set_faults(|faults| faults.ignores_streaming = true);
    served.put(pod("a"));
    let mut source = served.follow().await;
    source.until_synced().await;
    source.until_has("Pod shop/a").await;
}

#[tokio::test]
async fn a_cluster_without_service_cidrs_is_complete() {
    let served = Served::new();
    served.server.set_faults(|faults| faults.absent = ["servicecidrs".to_owned()].into());
    served.put(pod("a"));
    let mut source = served.follow().await;
    source.until_synced().await;
    assert_eq!(source.watches.all()["ServiceCIDR"].phase.name(), "absent");
}

#[tokio::test]
async fn versions_say_how_far_the_watches_have_come() {
    let served = Served::new();
    let mut source = served.follow().await;
    source.until_synced().await;
    served.put(pod("a"));
    source.until_has("Pod shop/a").await;
    let version = || source.watches.all()["Pod"].version.clone();
    while version() != "1" {
        tokio::task::yield_now().await;
    }
}
