use anyhow::{Context, Result, ensure};

use super::{
    case::{Case, InitialCluster, Step, Suite},
    cluster::Cluster,
    family::Family,
    report::{CaseReport, Failure, Report},
    target::{Probe, Target},
    truth::truth,
};

/// Runs every case of the suite on one target, one after the other.
///
/// A case that cannot be carried out is a failed case, not an error of the run.
pub fn run_suite(suite: &Suite, family: Family, target: &mut dyn Target) -> Report {
    let mut report = Report::default();
    let mut round = 0;
    for case in &suite.cases {
        let outcome = run_case(case, &suite.initial, family, target, &mut round);
        report.counts += outcome.counts;
        report.cases.push(outcome);
    }
    report
}

fn run_case(
    case: &Case,
    initial: &InitialCluster,
    family: Family,
    target: &mut dyn Target,
    round: &mut u16,
) -> CaseReport {
    let mut report = CaseReport { id: case.id.clone(), ..CaseReport::default() };
    let mut cluster = Cluster::from(initial);
    let mut outcome = target.follow(&cluster, family).context("cannot set up the cluster");
    for (i, step) in case.steps.iter().enumerate() {
        *round += 1;
        outcome = outcome.and_then(|()| {
            for action in &step.actions {
                cluster.act(action)?;
                target.follow(&cluster, family).with_context(|| format!("cannot follow {action:?}"))?;
            }
            run_step(i + 1, step, &cluster, family, target, *round, &mut report)
        });
        if let Err(error) = outcome {
            report.failures.push(step_failure(i + 1, &error));
            break;
        }
    }
    report
}

fn step_failure(step: usize, error: &anyhow::Error) -> Failure {
    let nothing = String::new;
    Failure {
        step,
        from: nothing(),
        to: nothing(),
        port: nothing(),
        end: "combined",
        expected: nothing(),
        seen: format!("{error:#}"),
    }
}

fn run_step(
    number: usize,
    step: &Step,
    cluster: &Cluster,
    family: Family,
    target: &mut dyn Target,
    round: u16,
    report: &mut CaseReport,
) -> Result<()> {
    let mut probes = Vec::new();
    for from in cluster.pods.keys() {
        for to in cluster.pods.keys() {
            for (i, port) in step.matrix_ports.iter().enumerate() {
                if from == to {
                    report.counts.skipped_self += 1;
                } else if !target.knows(port) {
                    report.counts.skipped_protocol += 1;
                } else {
                    let expected = truth(cluster, family, step, from, to, i)?;
                    probes.push((Probe { from, to, port, round }, expected));
                }
            }
        }
    }
    let seen = target.probe_all(&probes)?;
    ensure!(seen.len() == probes.len(), "{} answers to {} probes", seen.len(), probes.len());
    for ((probe, expected), seen) in probes.into_iter().zip(seen) {
        report.counts.probes += 1;
        report.counts.denied += usize::from(!expected.combined());
        for (end, expected, seen) in [
            ("egress", expected.egress, seen.egress),
            ("ingress", expected.ingress, seen.ingress),
            ("combined", expected.combined(), seen.combined),
        ] {
            let Some(seen) = seen else { continue };
            report.counts.verdicts += 1;
            if seen != expected {
                report.failures.push(Failure {
                    step: number,
                    from: format!("{}/{}", probe.from.0, probe.from.1),
                    to: format!("{}/{}", probe.to.0, probe.to.1),
                    port: probe.port.text.clone(),
                    end,
                    expected: word(expected).into(),
                    seen: word(seen).into(),
                });
            }
        }
    }
    Ok(())
}

fn word(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "denied" }
}
