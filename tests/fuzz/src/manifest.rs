//! Texts as a folder may hold them: nothing panics, and a policy that has a name isolates what it selects, whatever else is
//! wrong with it.

mod expected;
mod mutate;

use netpol_agent::{
    model::{Manifest, Object, Policy, convert, reference},
    oracle::World,
    source::{Contents, read},
};
use netpol_common::direction::Direction;
use netpol_tests::station::{Desired, ModelJudge, Station};
use serde_json::Value;

use crate::{choices::Choices, policy};
use expected::Expected;

/// The first byte says how the text is named, and whether the rest is the text or changes of a policy that is well written.
///
/// # Panics
/// If a policy isolates less than it should, allows what nobody wrote, or is judged otherwise than by the evaluator.
pub(crate) fn manifest(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let path = if how & 1 == 0 { "a.yaml" } else { "a.json" };
    let (text, value) = if how & 2 == 0 {
        let text = String::from_utf8_lossy(rest).into_owned();
        let value =
            if how & 1 == 0 { serde_saphyr::from_str(&text).ok() } else { serde_json::from_str(&text).ok() };
        (text, value)
    } else {
        let value = mutate::policy(&mut Choices::new(rest));
        (value.to_string(), Some(value))
    };
    let Contents { manifests, problems } = read(path, &text);
    for problem in &problems {
        assert!(!problem.message.is_empty() && !problem.to_string().contains('\n'), "{problem:?}");
    }
    if let Some(expected) = value.as_ref().and_then(Expected::of) {
        check(&expected, &manifests, &problems.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    run(manifests);
}

fn check(expected: &Expected<'_>, manifests: &[Manifest], problems: &[String]) {
    let [manifest] = manifests else { panic!("{expected:?} is not there but {manifests:?}") };
    let converted = convert(manifest, "");
    let Some(Object::Policy(policy)) = converted.object else { panic!("{expected:?} became {converted:?}") };
    assert_eq!((&*policy.name.namespace, &*policy.name.name), (expected.namespace, expected.name));
    for direction in [Direction::Ingress, Direction::Egress] {
        let rules = policy.rules(direction);
        for labels in expected::all_labels() {
            let isolates =
                rules.is_some() && policy.subject.matches(&netpol_agent::model::Labels::new(labels.clone()));
            let should = expected.isolates(&labels, direction);
            let exact = problems.is_empty() && converted.problems.is_empty();
            assert!(
                isolates || !should,
                "{direction:?} of pods with {labels:?} stays open: {expected:?} became {policy:?}"
            );
            assert!(!exact || isolates == should, "{direction:?} of {labels:?}: {expected:?}, {policy:?}");
        }
    }
    if !expected.fits() {
        let allows =
            |policy: &Policy, direction| policy.rules(direction).is_some_and(|rules| !rules.is_empty());
        let allows = [Direction::Ingress, Direction::Egress].map(|direction| allows(&policy, direction));
        assert!(allows == [false; 2] && !problems.is_empty(), "{expected:?} became {policy:?}: {problems:?}");
    }
}

/// All objects through the engine, and the policies against the evaluator.
fn run(manifests: Vec<Manifest>) {
    let mut world: World = policy::first();
    for manifest in &manifests {
        if let Manifest::NetworkPolicy(new) = manifest {
            policy::put_policy(&mut world, (**new).clone());
        }
    }
    if !world.policies.is_empty() {
        policy::ask(world, &[80, 53, 443], Vec::new());
    }
    if manifests.iter().any(|manifest| !matches!(manifest, Manifest::NetworkPolicy(_))) {
        let objects = manifests.into_iter().map(|manifest| (reference(&manifest), manifest));
        let desired = Desired { objects: objects.collect(), ..Desired::default() };
        let followed = Station::new("here", ModelJudge::default()).and_then(|mut station| {
            station.follow(desired)?;
            station.check_rows()
        });
        followed.unwrap_or_else(|error| panic!("{error:#}"));
    }
}

/// A field that says something.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}
