use std::sync::atomic::AtomicI64;

use super::*;
use crate::flow::{Test, Verdict, tests_support::sample};

fn dropped(length: u64) -> FlowRecord {
    FlowRecord { length, ..sample() }
}

fn lengths(records: &[Arc<FlowRecord>]) -> Vec<u64> {
    records.iter().map(|r| r.length).collect()
}

fn only(verdict: Verdict) -> Filter {
    Filter { only: vec![Test::Verdict(verdict)], ..Filter::default() }
}

#[test]
fn the_oldest_records_give_way() {
    let store = FlowStore::new(3, |_| {});
    (1..=5).for_each(|n| store.add(dropped(n)));
    assert_eq!(lengths(&store.recent(&Filter::default(), 10)), [3, 4, 5]);
    assert_eq!(lengths(&store.recent(&Filter::default(), 2)), [4, 5]);
    assert_eq!((store.counts().seen, store.counts().kept), (5, 3));
}

#[tokio::test]
async fn a_follower_gets_the_kept_ones_and_then_each_new_one_once() {
    let store = FlowStore::new(10, |_| {});
    (1..=3).for_each(|n| store.add(dropped(n)));
    let mut follower = store.follow(only(Verdict::Dropped), 2);
    store.add(FlowRecord { verdict: Verdict::Forwarded, ..dropped(4) });
    store.add(dropped(5));
    for expected in [2, 3, 5] {
        let Some(Followed::Record(record)) = follower.next().await else { panic!("no record") };
        assert_eq!(record.length, expected);
    }
}

#[tokio::test]
async fn a_slow_follower_is_told_how_much_it_lost() {
    let store = FlowStore::new(1, |_| {});
    let mut follower = store.follow(Filter::default(), 0);
    (0..LAG as u64 + 10).for_each(|n| store.add(dropped(n)));
    assert_eq!(follower.next().await, Some(Followed::Lost(10)));
    assert_eq!(store.counts().lost, 10);
}

#[tokio::test]
async fn whoever_adds_many_records_can_wait_for_followers_but_not_for_ever() {
    const ALL: u64 = 3 * LAG as u64;
    let far = || Instant::now() + Duration::from_secs(3600);
    let store = FlowStore::new(1, |_| {});
    let mut follower = store.follow(Filter::default(), 0);
    let adding = async {
        for n in 0..ALL {
            assert!(store.catch_up(far()).await);
            store.add(dropped(n));
        }
    };
    let following = async {
        for n in 0..ALL {
            let Some(Followed::Record(record)) = follower.next().await else { panic!("record {n} is lost") };
            assert_eq!(record.length, n);
        }
    };
    tokio::join!(adding, following);

    // This one takes nothing.
    (0..LAG as u64).for_each(|n| store.add(dropped(n)));
    assert!(!store.catch_up(far()).await);
    assert!(!store.catch_up(Instant::now()).await);
    drop(follower);
    // Nobody follows any more: there is nothing to wait for.
    assert!(store.catch_up(Instant::now()).await);
}

#[test]
fn forwarded_connections_are_asked_for_while_somebody_wants_them() {
    let switch = Arc::new(AtomicI64::new(0));
    let calls = switch.clone();
    let store = FlowStore::new(1, move |on| {
        calls.fetch_add(if on { 1 } else { -1 }, Ordering::SeqCst);
    });
    let drops = store.follow(only(Verdict::Dropped), 0);
    assert_eq!(switch.load(Ordering::SeqCst), 0);
    let all = store.follow(Filter::default(), 0);
    let forwarded = store.follow(only(Verdict::Forwarded), 0);
    assert_eq!(switch.load(Ordering::SeqCst), 1);
    drop((all, drops));
    assert_eq!(switch.load(Ordering::SeqCst), 1);
    drop(forwarded);
    assert_eq!(switch.load(Ordering::SeqCst), 0);
}
