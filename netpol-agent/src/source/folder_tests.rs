use super::*;

fn text(path: &str, text: &str) -> FileChange {
    FileChange { path: path.to_owned(), content: Content::Text(text.to_owned()) }
}

fn pod(name: &str, label: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {label}}}}}\n"
    )
}

/// One word per event: `+name` applied, `-name` deleted, `!n` problems.
fn words(events: &[SourceEvent]) -> Vec<String> {
    let word = |event: &SourceEvent| match event {
        SourceEvent::Apply { manifest: Manifest::Pod(pod), origin } => {
            format!("+{}@{origin}", pod.metadata.name.as_deref().unwrap())
        }
        SourceEvent::Apply { manifest, .. } => format!("+{manifest:?}"),
        SourceEvent::Delete(object) => format!("-{}", object.name),
        SourceEvent::Problems(problems) => format!("!{}", problems.len()),
        SourceEvent::Synced => "synced".to_owned(),
    };
    events.iter().map(word).collect()
}

fn update(folder: &mut Folder, changes: Vec<FileChange>) -> Vec<String> {
    words(&folder.update(changes, &[]))
}

fn problems(folder: &Folder) -> Vec<String> {
    folder.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn only_what_changed_is_told() {
    let mut folder = Folder::default();
    let both = pod("a", "x") + &pod("b", "x");
    assert_eq!(update(&mut folder, vec![text("f.yaml", &both)]), ["+a@f.yaml", "+b@f.yaml"]);
    assert!(update(&mut folder, vec![text("f.yaml", &format!("# a comment\n{both}"))]).is_empty());
    assert_eq!(
        update(&mut folder, vec![text("f.yaml", &(pod("b", "z") + &pod("c", "x")))]),
        ["+b@f.yaml", "+c@f.yaml", "-a"]
    );
    let gone = FileChange { path: "f.yaml".into(), content: Content::Gone };
    assert_eq!(update(&mut folder, vec![gone]), ["-b", "-c"]);
}

#[test]
fn an_object_that_moves_to_another_file_is_never_deleted() {
    let mut folder = Folder::default();
    update(&mut folder, vec![text("f.yaml", &pod("a", "x"))]);
    let gone = FileChange { path: "f.yaml".into(), content: Content::Gone };
    assert_eq!(update(&mut folder, vec![gone, text("g.yaml", &pod("a", "x"))]), ["+a@g.yaml"]);
}

#[test]
fn the_first_file_by_name_wins_and_the_other_is_named() {
    let mut folder = Folder::default();
    assert_eq!(update(&mut folder, vec![text("b.yaml", &pod("a", "b"))]), ["+a@b.yaml"]);
    assert_eq!(update(&mut folder, vec![text("a.yaml", &pod("a", "a"))]), ["+a@a.yaml", "!1"]);
    assert_eq!(problems(&folder), ["b.yaml: Pod shop/a: stands in a.yaml too; that one is used"]);
    let gone = FileChange { path: "a.yaml".into(), content: Content::Gone };
    assert_eq!(update(&mut folder, vec![gone]), ["+a@b.yaml", "!0"]);
}

#[test]
fn the_first_of_two_in_one_file_wins() {
    let mut folder = Folder::default();
    assert_eq!(
        update(&mut folder, vec![text("f.yaml", &(pod("a", "v") + &pod("a", "w")))]),
        ["+a@f.yaml", "!1"]
    );
    assert_eq!(
        problems(&folder),
        ["f.yaml, document 2: Pod shop/a: stands in this file more than once; the first one is used"]
    );
}

#[test]
fn a_file_that_stops_parsing_keeps_what_was_good() {
    let mut folder = Folder::default();
    update(&mut folder, vec![text("f.yaml", &(pod("a", "x") + &pod("b", "x")))]);
    // `a` has changed, `b` stands where the text makes no sense any more.
    let broken = pod("a", "z") + "---\nkind: [Pod\n";
    assert_eq!(update(&mut folder, vec![text("f.yaml", &broken)]), ["+a@f.yaml", "!2"]);
    let told = problems(&folder);
    assert!(told[0].starts_with("f.yaml, document 2: line "), "{told:?}");
    assert_eq!(told[1], "f.yaml: 1 of its objects stay in force as they were before");
    // A second broken version changes nothing for them.
    assert!(!update(&mut folder, vec![text("f.yaml", "{")]).contains(&"-b".to_owned()));
    let unreadable = FileChange { path: "f.yaml".into(), content: Content::Unreadable("denied".into()) };
    assert_eq!(update(&mut folder, vec![unreadable]), ["!2"]);
    assert_eq!(update(&mut folder, vec![text("f.yaml", &pod("b", "x"))]), ["-a", "!0"]);
}

#[test]
fn a_file_as_it_stands_goes_before_one_that_only_keeps() {
    let mut folder = Folder::default();
    update(&mut folder, vec![text("a.yaml", &pod("p", "old"))]);
    update(&mut folder, vec![text("a.yaml", "{")]);
    let told = update(&mut folder, vec![text("b.yaml", &pod("p", "new"))]);
    assert_eq!(told[0], "+p@b.yaml");
}

#[test]
fn an_object_that_cannot_be_read_any_more_stays_as_it_was() {
    let mut folder = Folder::default();
    update(&mut folder, vec![text("f.yaml", &(pod("a", "x") + &pod("b", "x")))]);
    let wrong = pod("a", "x").replace("app: x", "app: 1");
    // `b` is really gone: nothing in the file is of unknown name.
    assert_eq!(update(&mut folder, vec![text("f.yaml", &wrong)]), ["-b", "!2"]);
}

#[test]
fn other_kinds_are_told_once_as_a_note() {
    let mut folder = Folder::default();
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n";
    update(&mut folder, vec![text("a.yaml", &format!("{other}---\n{other}")), text("b.yaml", other)]);
    assert_eq!(problems(&folder), ["a.yaml: Deployment (apps/v1) is not read by netpol: 3 ignored"]);
    assert_eq!(folder.problems[0].level, Level::Note);
}

#[test]
fn lists_are_unpacked_whatever_they_are_called() {
    let mut folder = Folder::default();
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}}]},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}]}"#;
    assert_eq!(update(&mut folder, vec![text("l.json", list)]), ["+a@l.json", "+b@l.json"]);
}
