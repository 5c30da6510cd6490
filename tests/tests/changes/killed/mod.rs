//! The agent is killed before every single write of a change: each pod is under its old or its new policy, and the next
//! agent ends where one would that begins with nothing.

mod cases;
mod eyes;
mod rig;
mod ways_in;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use cases::{Case, Grain, OTHERS, SERVICES};
use eyes::{Answers, Eyes, Opening, Way};
use rig::{End, Rig};
use ways_in::CLIENTS;

#[track_caller]
fn hold(case: Case) {
    let name = case.name;
    survive(&case).unwrap_or_else(|e| panic!("{name}: {e:#}"));
}

#[test]
fn killed_while_a_policy_is_edited() {
    hold(cases::edited_policy());
}

#[test]
fn killed_while_blocks_change() {
    hold(cases::blocks());
}

#[test]
fn killed_while_a_policy_comes_or_goes() {
    hold(cases::policy_comes());
}

#[test]
fn killed_while_labels_change() {
    hold(cases::labels());
}

#[test]
fn killed_while_a_namespace_is_labelled() {
    hold(cases::namespace_labels());
}

#[test]
fn killed_while_services_change() {
    hold(cases::services());
}

#[test]
fn killed_while_ways_in_from_outside_change() {
    hold(ways_in::outside());
}

#[test]
fn killed_while_source_ranges_change() {
    hold(ways_in::source_ranges());
}

#[test]
fn killed_while_the_external_policy_changes() {
    hold(ways_in::external_policy());
}

#[test]
fn killed_while_endpoints_change() {
    hold(ways_in::endpoints());
}

#[test]
fn killed_while_several_objects_change() {
    hold(cases::several());
}

#[test]
fn killed_while_a_pod_is_replaced() {
    hold(cases::replaced_pod());
}

#[test]
fn killed_during_the_first_sync_no_pod_is_open() {
    first_sync().unwrap_or_else(|e| panic!("{e:#}"));
}

fn addresses(texts: &[&str]) -> Result<Vec<IpAddr>> {
    texts.iter().map(|text| text.parse().with_context(|| (*text).to_owned())).collect()
}

/// What the node's pods would do now.
struct Watch {
    eyes: Eyes,
    openings: Vec<Opening>,
    services: Vec<IpAddr>,
}

impl Watch {
    fn new(rig: &Rig, pods: &[&str]) -> Result<Self> {
        let services = addresses(&SERVICES)?;
        let others = [addresses(&OTHERS)?, services.clone()].concat();
        let mut openings = rig.openings(pods, &others)?;
        openings.extend(rig.openings_outside(&addresses(&CLIENTS)?, &ways_in::asked_from_outside()?));
        Ok(Self { eyes: Eyes::open(&rig.bed, rig::NODE)?, openings, services })
    }

    /// In a state that is to be what the objects say.
    fn settled(&mut self, rig: &Rig) -> Result<Answers> {
        let answers = self.eyes.look(&self.openings)?;
        rig.check_answers(&answers, &self.services)?;
        Ok(answers)
    }
}

/// Back and forth between two states, killed before each write of the way there, and of the way back.
fn survive(case: &Case) -> Result<()> {
    let states = [case.from.as_slice(), case.to.as_slice()];
    let mut rig = Rig::new(states[0])?;
    rig.start(None)?;
    ensure!(rig.await_end()? == End::InSync, "the first agent ended");
    let mut watch = Watch::new(&rig, case.pods)?;
    let first = watch.settled(&rig)?;
    rig.change(states[0], states[1])?;
    ensure!(rig.await_end()? == End::InSync, "the first agent ended");
    let answers = [first, watch.settled(&rig)?];
    ensure!(case.grain == Grain::Nothing || answers[0] != answers[1], "the change changes nothing");
    let (mut at, mut kills, mut steps, mut through) = (1, 0, [0, 0], [false, !case.both_ways]);
    while through != [true, true] {
        let (old, new) = (at, 1 - at);
        rig.arm((!through[old]).then_some(steps[old]))?;
        rig.change(states[old], states[new])?;
        let end = rig.await_end()?;
        let when = format!("{old} → {new}, killed before write {}: {}", steps[old], rig.last_words());
        if end == End::Killed {
            let between = watch.eyes.look(&watch.openings)?;
            case.grain.check(&between, &answers[old], &answers[new]).context(when.clone())?;
            rig.arm(None)?;
            rig.recover().context(when.clone())?;
            kills += 1;
            steps[old] += 1;
        } else {
            through[old] = true;
            rig.arm(None)?;
        }
        let settled = watch.settled(&rig).context(when.clone())?;
        let others = settled.iter().map(|(opening, answer)| (opening, answer, answers[new][opening]));
        let others: Vec<_> = others.filter(|(_, answer, expected)| **answer != *expected).collect();
        ensure!(others.is_empty(), "{when}: another end: {others:?}");
        rig.check_rows(&watch.eyes).context(when)?;
        at = new;
    }
    println!("{}: killed before each of {kills} writes", case.name);
    ensure!(kills > 0, "nothing was written");
    Ok(())
}

fn first_sync() -> Result<()> {
    let case = cases::several();
    let objects: &[Value] = &case.to;
    let mut rig = Rig::new(objects)?;
    rig.start(None)?;
    ensure!(rig.await_end()? == End::InSync, "the first agent ended");
    let mut watch = Watch::new(&rig, case.pods)?;
    let all = watch.settled(&rig)?;
    for step in 0.. {
        drop(watch);
        rig.clean_up()?;
        rig.start(Some(step))?;
        let end = rig.await_end()?;
        watch = Watch {
            eyes: Eyes::open(&rig.bed, rig::NODE)?,
            openings: all.keys().cloned().collect(),
            services: addresses(&SERVICES)?,
        };
        let when = format!("killed before write {step}: {}", rig.last_words());
        if end == End::InSync {
            ensure!(step > 0, "nothing was written");
            println!("first sync: killed before each of {step} writes");
            return Ok(());
        }
        for (opening, between) in watch.eyes.look(&watch.openings)? {
            // What is no Service's yet is the node's own to answer.
            let asked = SocketAddr::new(opening.own, opening.port);
            let untouched = opening.way == Way::FromOutside && between == Some(asked);
            let fine = between.is_none() || between == all[&opening] || untouched;
            ensure!(fine, "{when}: {opening:?}: {between:?}");
        }
        rig.arm(None)?;
        rig.recover().context(when.clone())?;
        ensure!(watch.settled(&rig).context(when.clone())? == all, "{when}: another end");
        rig.check_rows(&watch.eyes).context(when)?;
    }
    Ok(())
}
