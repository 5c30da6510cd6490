use std::{collections::BTreeMap, os::unix::fs::symlink};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::model::{Manifest, Problem};

/// Longer than anything here takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a receiver knows: the label `app` of each pod, and the problems.
struct Receiver {
    events: mpsc::Receiver<Vec<SourceEvent>>,
    rescan: Rescan,
    pods: BTreeMap<String, String>,
    problems: Vec<Problem>,
    synced: usize,
}

impl Receiver {
    fn of(folder: &Path) -> Self {
        let source = DirSource::open(folder).unwrap();
        let rescan = source.rescan();
        let (sender, events) = mpsc::channel(8);
        tokio::spawn(source.run(sender));
        Self { events, rescan, pods: BTreeMap::new(), problems: Vec::new(), synced: 0 }
    }

    fn take(&mut self, batch: Vec<SourceEvent>) {
        for event in batch {
            match event {
                SourceEvent::Apply { manifest: Manifest::Pod(pod), .. } => {
                    let label = pod.metadata.labels.unwrap_or_default().remove("app").unwrap_or_default();
                    self.pods.insert(pod.metadata.name.unwrap(), label);
                }
                SourceEvent::Apply { manifest, .. } => panic!("{manifest:?}"),
                SourceEvent::Delete(object) => {
                    self.pods.remove(&object.name).unwrap();
                }
                SourceEvent::Problems(problems) => self.problems = problems,
                SourceEvent::Synced => self.synced += 1,
            }
        }
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let next = timeout(PATIENCE, self.events.recv()).await;
            let batch = next.unwrap_or_else(|_| panic!("{what}: still {:?} {:?}", self.pods, self.problems));
            self.take(batch.unwrap());
        }
    }

    async fn until_pods(&mut self, wanted: &[(&str, &str)]) {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|(n, l)| ((*n).to_owned(), (*l).to_owned())).collect();
        self.until(&format!("{wanted:?}"), |r| r.pods == wanted).await;
    }
}

fn pod(name: &str, label: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {label}}}}}\n")
}

fn write(folder: &TempDir, path: &str, text: &str) {
    fs::write(folder.path().join(path), text).unwrap();
}

#[tokio::test]
async fn everything_is_delivered_once_and_then_every_change() {
    let folder = TempDir::new().unwrap();
    write(&folder, "a.yaml", &pod("a", "v1"));
    write(&folder, ".hidden.yaml", &pod("hidden", "v1"));
    write(&folder, "a.yaml~", &pod("backup", "v1"));
    let mut receiver = Receiver::of(folder.path());
    receiver.until("synced", |r| r.synced == 1).await;
    receiver.until_pods(&[("a", "v1")]).await;
    // Written in place, created below, replaced by renaming, removed.
    write(&folder, "a.yaml", &pod("a", "v2"));
    receiver.until_pods(&[("a", "v2")]).await;
    fs::create_dir(folder.path().join("sub")).unwrap();
    write(&folder, "sub/b.yml", &pod("b", "v1"));
    receiver.until_pods(&[("a", "v2"), ("b", "v1")]).await;
    write(&folder, "sub/.b.yml.tmp", &pod("b", "v2"));
    fs::rename(folder.path().join("sub/.b.yml.tmp"), folder.path().join("sub/b.yml")).unwrap();
    receiver.until_pods(&[("a", "v2"), ("b", "v2")]).await;
    fs::remove_dir_all(folder.path().join("sub")).unwrap();
    receiver.until_pods(&[("a", "v2")]).await;
    assert_eq!(receiver.synced, 1);
}

/// The events alone say where to look; nobody asks for a look at everything.
#[tokio::test]
async fn folders_that_come_move_and_go_are_followed_by_events() {
    let folder = TempDir::new().unwrap();
    write(&folder, "a.yaml", &pod("a", "v1"));
    let mut receiver = Receiver::of(folder.path());
    receiver.until_pods(&[("a", "v1")]).await;
    let outside = TempDir::new().unwrap();
    write(&outside, "b.yaml", &pod("b", "v1"));
    write(&outside, "c.yaml", &pod("c", "v1"));
    let (away, below) = (outside.path().join("set"), folder.path().join("set"));
    fs::create_dir(&away).unwrap();
    for name in ["b.yaml", "c.yaml"] {
        fs::rename(outside.path().join(name), away.join(name)).unwrap();
    }
    fs::rename(&away, &below).unwrap();
    receiver.until_pods(&[("a", "v1"), ("b", "v1"), ("c", "v1")]).await;
    fs::remove_file(below.join("b.yaml")).unwrap();
    receiver.until_pods(&[("a", "v1"), ("c", "v1")]).await;
    fs::rename(&below, &away).unwrap();
    receiver.until_pods(&[("a", "v1")]).await;
    fs::rename(folder.path().join("a.yaml"), folder.path().join("a.txt")).unwrap();
    receiver.until_pods(&[]).await;
}

#[tokio::test]
async fn a_folder_behind_a_swapped_link_is_followed() {
    let folder = TempDir::new().unwrap();
    // As the kubelet lays out a mounted ConfigMap.
    for (version, label) in [("..1", "old"), ("..2", "new")] {
        fs::create_dir(folder.path().join(version)).unwrap();
        write(&folder, &format!("{version}/a.yaml"), &pod("a", label));
    }
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    let mut receiver = Receiver::of(folder.path());
    receiver.until_pods(&[("a", "old")]).await;
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    receiver.until_pods(&[("a", "new")]).await;
}

#[tokio::test]
async fn what_was_written_before_a_rescan_is_delivered_when_it_returns() {
    let folder = TempDir::new().unwrap();
    let mut receiver = Receiver::of(folder.path());
    receiver.until("synced", |r| r.synced == 1).await;
    for label in 0..20 {
        // Of equal size, and faster than the clock of the file system.
        write(&folder, "a.yaml", &pod("a", &format!("v{label:02}")));
        assert!(receiver.rescan.now().await);
        while let Ok(batch) = receiver.events.try_recv() {
            receiver.take(batch);
        }
        assert_eq!(receiver.pods["a"], format!("v{label:02}"));
    }
}

#[tokio::test]
async fn a_folder_that_vanishes_takes_nothing_with_it() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("manifests");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.yaml"), pod("a", "v1")).unwrap();
    let mut receiver = Receiver::of(&folder);
    receiver.until_pods(&[("a", "v1")]).await;
    fs::rename(&folder, parent.path().join("elsewhere")).unwrap();
    receiver.rescan.now().await;
    receiver.until("told", |r| !r.problems.is_empty()).await;
    assert!(receiver.problems[0].to_string().contains("what was read there before stays in force"));
    assert_eq!(receiver.pods.len(), 1);
    fs::create_dir(&folder).unwrap();
    receiver.until_pods(&[]).await;
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let error = anyhow::Error::new(DirSource::open("/nowhere/at-all").unwrap_err());
    let error = format!("{error:#}");
    assert!(error.starts_with("--source dir:/nowhere/at-all: No such file"), "{error}");
}
