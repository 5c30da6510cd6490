use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::model::ObjectRef;

use super::{
    expect::{Seen, UNTOLD, describe, expected},
    format::{Probe, Scenario, Step},
    order::{Delivery, Order},
    report::{ProbeReport, ScenarioReport, StepReport},
    trying::{Kept, Trial, servers, start},
};
use crate::{
    bed::{AgentOptions, Bed, Cni, Family},
    flows::{FlowLog, status},
};

/// How long the agents may take to start.
const START: Duration = Duration::from_secs(30);
/// A step with changes lasts until the agents are in sync with them, if not longer than this: an answer that a change
/// takes away could else be met, and met again, before any agent has heard of the change.
const SETTLED: Duration = Duration::from_secs(2);
/// How long drops alike are counted and not told of: a second, and the time to look.
const COUNTED: Duration = Duration::from_secs(3);
/// Lines of each agent's log that a failure shows.
const LOG_LINES: usize = 12;

/// How to run scenarios.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run probes of these families only.
    pub families: Vec<Family>,
    /// With agents, or against what the kernel forwards by itself.
    pub agents: Option<AgentOptions>,
    /// In which order changes are made.
    pub order: Order,
    /// What shuffled orders come from.
    pub seed: u64,
    /// How many times as long as usual everything may take, for a machine that is busy.
    pub slack: u32,
    /// The plugin of all nodes, whatever the scenario says.
    pub cni: Option<Cni>,
    /// With XDP on the uplinks.
    pub xdp: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            families: Family::ALL.to_vec(),
            agents: Some(AgentOptions::default()),
            order: Order::default(),
            seed: 0,
            slack: 1,
            cni: None,
            xdp: false,
        }
    }
}

/// A scenario under way.
#[derive(Debug)]
pub struct Run<'a> {
    scenario: &'a Scenario,
    options: &'a Options,
    /// What agents are started with.
    agents: Option<AgentOptions>,
    bed: Bed,
    log: Option<FlowLog>,
    delivery: Delivery,
    /// Labelled connections, per family.
    kept: BTreeMap<(String, u8), Kept>,
}

impl Run<'_> {
    /// Runs a scenario to its end. The bed is returned too, if there is one, so that it can be kept.
    #[must_use]
    pub fn file(path: &Path, options: &Options) -> (ScenarioReport, Option<Bed>) {
        let file = path.display().to_string();
        match Scenario::read(path) {
            Ok(scenario) => Run::with(&scenario, &file, options, |_| Ok(())),
            Err(e) => (ScenarioReport::of_error(file, "cannot be read".to_owned(), &e), None),
        }
    }

    /// The same for a scenario that was read already; `prepare` sees the bed before the first step.
    #[must_use]
    pub fn with(
        scenario: &Scenario,
        file: &str,
        options: &Options,
        prepare: impl FnOnce(&Bed) -> Result<()>,
    ) -> (ScenarioReport, Option<Bed>) {
        let (started, mut steps) = (Instant::now(), Vec::new());
        match Run::start(scenario, options).and_then(|run| prepare(&run.bed).map(|()| run)) {
            Err(e) => (ScenarioReport::of_error(file.to_owned(), scenario.name.clone(), &e), None),
            Ok(mut run) => {
                let end = run.steps(&mut steps);
                let passed =
                    end.is_ok() && steps.iter().flat_map(|s: &StepReport| &s.probes).all(|p| p.passed);
                let report = ScenarioReport {
                    file: file.to_owned(),
                    name: scenario.name.clone(),
                    passed,
                    error: end.err().map(|e| format!("{e:#}")),
                    steps,
                    logs: if passed { Vec::new() } else { run.logs() },
                    milliseconds: milliseconds(started.elapsed()),
                };
                (report, Some(run.bed))
            }
        }
    }
}

impl<'a> Run<'a> {
    fn start(scenario: &'a Scenario, options: &'a Options) -> Result<Self> {
        let mut cluster = scenario.cluster();
        if let Some(cni) = options.cni {
            cluster.nodes.iter_mut().for_each(|node| node.cni = cni);
        }
        let mut bed = Bed::build(&cluster)?;
        let mut log = None;
        if options.xdp {
            bed.carry_frames()?;
        }
        let mut agents = options.agents.clone();
        if let Some(agents) = &mut agents {
            agents.arguments.extend_from_slice(scenario.agent_arguments());
            agents.arguments.extend(options.xdp.then(|| "--xdp=native".to_owned()));
            bed.start_agents(agents)?;
        }
        let mut delivery = Delivery::new(options.order, options.seed);
        delivery.deliver(&mut bed, &scenario.objects, &[]).context("objects")?;
        if options.agents.is_some() {
            bed.await_agents(START)?;
            for agent in bed.agents().iter().filter(|_| options.xdp) {
                let xdp = status(agent)?.xdp;
                ensure!(xdp == "eth0 native", "XDP on {}: {xdp}", agent.node);
            }
            log = Some(FlowLog::follow(bed.agents())?);
        }
        Ok(Self { scenario, options, agents, bed, log, delivery, kept: BTreeMap::new() })
    }

    /// Kills agents, and starts agents that are not there.
    fn exchange_agents(&mut self, step: &Step) -> Result<()> {
        let Some(options) = &self.agents else { return Ok(()) };
        for node in &step.stop {
            self.bed.take_agent(node)?.kill()?;
        }
        for node in &step.start {
            self.bed.start_agent(node, options)?;
        }
        if !step.start.is_empty() {
            self.bed.await_agents(START)?;
        }
        for agent in self.bed.agents().iter().filter(|agent| step.start.contains(&agent.node)) {
            self.log.iter().try_for_each(|log| log.follow_also(agent))?;
        }
        Ok(())
    }

    fn steps(&mut self, reports: &mut Vec<StepReport>) -> Result<()> {
        for step in &self.scenario.steps {
            let probes = self.step(step).with_context(|| format!("step {:?}", step.name))?;
            let passed = probes.iter().all(|p| p.passed);
            reports.push(StepReport { name: step.name.clone(), probes });
            if !passed {
                // Later steps build on this one.
                return Ok(());
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<Vec<ProbeReport>> {
        self.exchange_agents(step).context("agents")?;
        let gone: Vec<_> = step
            .delete
            .iter()
            .map(|d| ObjectRef { kind: d.kind.clone(), namespace: d.namespace.clone(), name: d.name.clone() })
            .collect();
        self.delivery.deliver(&mut self.bed, &step.apply, &gone).context("changes")?;
        let changed = Instant::now();
        let deadline = changed + step.within * self.options.slack;

        let mut trials = Vec::new();
        let mut reports = Vec::new();
        for probe in &step.probe {
            match self.possible(probe) {
                Ok(families) => trials.extend(families.into_iter().map(|family| (probe, family))),
                Err(e) => reports.push(failed(probe, 0, &format!("{e:#}"))),
            }
        }
        for (probe, family) in &trials {
            if let Some(label) = probe.label() {
                self.kept.entry((label.to_owned(), family.number())).or_default();
            }
        }
        let this = &*self;
        let prepared: Vec<_> = trials.iter().map(|(p, f)| (*p, *f, this.trial(p, *f))).collect();
        let runs = prepared.iter().map(|(probe, family, trial)| async move {
            let trial = match trial {
                Ok(trial) => trial,
                Err(e) => return Ok(failed(probe, family.number(), &format!("{e:#}"))),
            };
            let (seen, verdict) = trial.until(deadline).await?;
            anyhow::Ok(report(probe, *family, &seen, verdict, changed.elapsed()))
        });
        let mut met = this.bed.runtime().block_on(futures_util::future::try_join_all(runs))?;
        // Once met, it must still hold when the step ends.
        if !(step.apply.is_empty() && step.delete.is_empty()) {
            this.bed.await_sync(changed + SETTLED * self.options.slack);
        }
        let again = prepared.iter().zip(&mut met).map(|((probe, family, trial), before)| async move {
            if let (true, Ok(trial)) = (before.passed, trial) {
                let (mut seen, mut verdict) = trial.once().await?;
                if verdict.as_ref().is_err_and(|why| why == UNTOLD) {
                    (seen, verdict) = trial.until(Instant::now() + COUNTED).await?;
                }
                let verdict =
                    verdict.map_err(|why| format!("at first as expected, at the end of the step: {why}"));
                let milliseconds = before.milliseconds;
                *before =
                    ProbeReport { milliseconds, ..report(probe, *family, &seen, verdict, changed.elapsed()) };
            }
            anyhow::Ok(())
        });
        this.bed.runtime().block_on(futures_util::future::try_join_all(again))?;
        reports.append(&mut met);
        Ok(reports)
    }

    /// The families that a probe can be run in: those that both of its ends have.
    fn possible(&self, probe: &Probe) -> Result<Vec<Family>> {
        let targets = probe.to.resolve(&self.bed)?;
        let own = self.bed.addresses(&probe.from)?;
        let families: Vec<_> = (self.options.families.iter().copied())
            .filter(|f| self.scenario.families.contains(f))
            .filter(|f| {
                own.iter().any(|a| Family::of(*a) == *f) && targets.iter().any(|t| Family::of(t.ip()) == *f)
            })
            .collect();
        // A file may well be about one family only, when just the other one is to be run.
        let restricted = self.scenario.families.iter().any(|f| !self.options.families.contains(f));
        if families.is_empty() && !restricted {
            bail!("{} and {} have no address of the same family", probe.from, probe.to);
        }
        Ok(families)
    }

    fn trial<'b>(&'b self, probe: &'b Probe, family: Family) -> Result<Trial<'b>> {
        let target = probe.to.resolve_in(&self.bed, family)?.context("no address")?;
        Ok(Trial {
            bed: &self.bed,
            log: self.log.as_ref(),
            probe,
            protocol: probe.protocol,
            from: start(&self.bed, &probe.from)?,
            target,
            servers: servers(&self.bed, &probe.from, target),
            slack: self.options.slack,
            kept: probe.label().and_then(|l| self.kept.get(&(l.to_owned(), family.number())).cloned()),
        })
    }

    fn logs(&self) -> Vec<String> {
        let tail = |log: String| {
            let lines: Vec<_> = log.lines().collect();
            lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
        };
        self.bed.agents().iter().map(|a| format!("agent of {}:\n{}", a.node, tail(a.log()))).collect()
    }
}

fn title(probe: &Probe) -> String {
    let mut title = format!("{} → {} {}", probe.from, probe.to, probe.protocol.name());
    if let Some(label) = probe.label() {
        title += &format!(" on connection {label:?}");
    }
    title
}

fn failed(probe: &Probe, family: u8, seen: &str) -> ProbeReport {
    ProbeReport {
        probe: title(probe),
        family,
        passed: false,
        expected: expected(probe),
        seen: seen.to_owned(),
        flows: Vec::new(),
        milliseconds: 0,
    }
}

fn report(
    probe: &Probe,
    family: Family,
    seen: &Seen,
    verdict: Result<(), String>,
    after: Duration,
) -> ProbeReport {
    ProbeReport {
        probe: title(probe),
        family: family.number(),
        passed: verdict.is_ok(),
        expected: expected(probe),
        seen: match verdict {
            Err(why) => why,
            Ok(()) => seen.tries.first().map(|t| describe(&t.outcome)).unwrap_or_default(),
        },
        flows: seen.tries.iter().flat_map(|t| t.flows.clone()).collect(),
        milliseconds: milliseconds(after),
    }
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}
