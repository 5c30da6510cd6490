//! What the kernels said, side by side.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, bail};

use super::series::Series;

/// How one kernel fared. The guest prints `VMPROGRAM name instructions`, `VMATTACH kind`, `VMTEST name passed failed impossible`, and
/// last `VMRESULT release rc=N`.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its package is not to be had.
    Skipped,
    /// The guest ended with 0.
    Passed(Said),
    /// It ended otherwise or not at all; the end of what it printed.
    Failed(Said, String),
}

/// The guest's figures.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Program → instructions the verifier walked, `-` where the kernel does not say (before 5.16).
    instructions: BTreeMap<String, String>,
    attached: String,
    tests_passed: u32,
    tests_failed: u32,
    /// Tests that need what this kernel's `BPF_PROG_TEST_RUN` does not offer.
    tests_impossible: u32,
}

const TAIL_LINES: usize = 30;

impl Outcome {
    /// From all that came over the serial line.
    pub(super) fn read(serial: &str, log: &Path) -> Self {
        let mut said = Said::default();
        let mut result = None;
        for line in serial.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("VMPROGRAM"), Some(program), Some(count), None) => {
                    said.instructions.insert(program.to_owned(), count.to_owned());
                }
                (Some("VMATTACH"), Some(kind), None, None) => said.attached = kind.to_owned(),
                (Some("VMTEST"), Some(_), Some(passed), Some(failed)) => {
                    said.tests_passed += passed.parse().unwrap_or(0);
                    // A count we cannot read must not look like success.
                    said.tests_failed += failed.parse().unwrap_or(1);
                    said.tests_impossible += words.next().and_then(|count| count.parse().ok()).unwrap_or(0);
                }
                (Some("VMRESULT"), Some(_), Some(code), None) => result = Some(code.to_owned()),
                _ => {}
            }
        }
        if result.as_deref() == Some("rc=0") && said.tests_failed == 0 && said.tests_passed > 0 {
            return Self::Passed(said);
        }
        let lines: Vec<&str> = serial.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        Self::Failed(said, format!("{tail}\n(all of it: {})", log.display()))
    }

    pub(super) fn in_words(&self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Passed(_) => "passed",
            Self::Failed(..) => "FAILED",
        }
    }

    fn said(&self) -> Option<&Said> {
        match self {
            Self::Skipped => None,
            Self::Passed(said) | Self::Failed(said, _) => Some(said),
        }
    }
}

struct Row {
    series: &'static Series,
    kernel: String,
    outcome: Outcome,
}

/// All kernels.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn add(&mut self, series: &'static Series, kernel: String, outcome: Outcome) {
        self.rows.push(Row { series, kernel, outcome });
    }

    /// The table kernel × program × verified instructions, and the end of what failed kernels said.
    pub(super) fn print(&self) {
        for Row { kernel, outcome, .. } in &self.rows {
            if let Outcome::Failed(_, tail) = outcome {
                println!("\n--- {kernel} ---\n{tail}");
            }
        }
        println!(
            "\nInstructions the verifier walked (- where the kernel does not say), by kernel and program:"
        );
        for line in self.table() {
            println!("{line}");
        }
    }

    fn table(&self) -> Vec<String> {
        let said = || self.rows.iter().filter_map(|row| row.outcome.said());
        let mut programs: Vec<&String> = said().flat_map(|said| said.instructions.keys()).collect();
        programs.sort();
        programs.dedup();
        let mut cells: Vec<Vec<String>> = vec![
            std::iter::once("kernel".to_owned())
                .chain(programs.iter().map(|&name| name.clone()))
                .chain(["attached by", "tests", "result"].map(str::to_owned))
                .collect(),
        ];
        for Row { kernel, outcome, .. } in &self.rows {
            let nothing = Said::default();
            let said = outcome.said().unwrap_or(&nothing);
            let count = |name: &&String| said.instructions.get(*name).map_or("", String::as_str).to_owned();
            let tests = match (said.tests_passed + said.tests_failed, said.tests_impossible) {
                (0, 0) => String::new(),
                (all, 0) => format!("{}/{all}", said.tests_passed),
                (all, impossible) => format!("{}/{all}, {impossible} impossible", said.tests_passed),
            };
            cells.push(
                std::iter::once(kernel.clone())
                    .chain(programs.iter().map(count))
                    .chain([said.attached.clone(), tests, outcome.in_words().to_owned()])
                    .collect(),
            );
        }
        let columns = cells.first().map_or(0, Vec::len);
        let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        cells.iter().map(line).collect()
    }

    /// # Errors
    /// If a kernel failed, or a required one did not run.
    pub(super) fn verdict(&self) -> Result<()> {
        let names = |wrong: fn(&Row) -> bool| -> Vec<&str> {
            self.rows.iter().filter(|row| wrong(row)).map(|row| row.kernel.as_str()).collect()
        };
        let failed = names(|row| matches!(row.outcome, Outcome::Failed(..)));
        let missing = names(|row| row.series.required && matches!(row.outcome, Outcome::Skipped));
        let skipped = names(|row| matches!(row.outcome, Outcome::Skipped)).len();
        let passed = self.rows.len() - failed.len() - skipped;
        println!("\nkernels: {passed} passed, {} failed, {skipped} skipped", failed.len());
        if !failed.is_empty() {
            bail!("failed on {}", failed.join(", "));
        }
        if !missing.is_empty() {
            bail!("{} must run, and could not be had", missing.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::series::SERIES;

    fn read(serial: &str) -> Outcome {
        Outcome::read(serial, Path::new("log"))
    }

    #[test]
    fn a_guest_that_says_nothing_has_failed() {
        assert!(matches!(read("Booting\nKernel panic\n"), Outcome::Failed(..)));
    }

    #[test]
    fn a_failed_test_outweighs_a_good_ending() {
        assert!(matches!(read("VMTEST load 3 1 0\nVMRESULT 6.1 rc=0\n"), Outcome::Failed(..)));
    }

    #[test]
    fn a_kernel_on_which_no_test_ran_has_failed() {
        assert!(matches!(read("VMTEST load 0 0 3\nVMRESULT 6.1 rc=0\n"), Outcome::Failed(..)));
    }

    #[test]
    fn figures_appear_in_the_table() {
        let mut report = Report::default();
        let serial = "VMPROGRAM from_pod 1234\nVMATTACH tcx\nVMTEST load 3 0 0\nVMRESULT 6.12 rc=0\n";
        report.add(&SERIES[0], "6.12.1".to_owned(), read(serial));
        assert_eq!(
            report.table(),
            ["kernel  from_pod  attached by  tests  result", "6.12.1  1234      tcx          3/3    passed"]
        );
        report.verdict().unwrap();
    }

    #[test]
    fn a_required_kernel_may_not_be_skipped() {
        let required = SERIES.iter().find(|series| series.required).unwrap();
        let mut report = Report::default();
        report.add(required, required.name.to_owned(), Outcome::Skipped);
        assert!(report.verdict().is_err());
    }
}
