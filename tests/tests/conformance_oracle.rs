//! The reference evaluator against everything that somebody else has worked out.

use std::path::{Path, PathBuf};

use netpol_tests::conformance::{Family, OracleTarget, Suite, run_suite};

fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn assert_agrees(dir: &Path, family: Family) {
    let suite = Suite::read(dir, "").expect("a suite of cases");
    let report = run_suite(&suite, family, &mut OracleTarget::default());
    assert_eq!(report.failed(), 0, "{} in {family:?}:\n{report}", dir.display());
    assert!(report.counts.denied > 0 && report.counts.probes > report.counts.denied, "{report}");
}

#[test]
fn the_oracle_agrees_with_our_own_cases() {
    assert_agrees(&own(), Family::V4);
    assert_agrees(&own(), Family::V6);
}

#[test]
fn the_oracle_agrees_with_the_public_cases_if_they_are_there() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/cyclonus");
    if !dir.is_dir() {
        println!("skipped: {} is not there", dir.display());
        return;
    }
    assert_agrees(&dir, Family::V4);
    assert_agrees(&dir, Family::V6);
}

#[test]
fn a_wrong_truth_is_a_failed_case() {
    let mut suite = Suite::read(&own(), "01-").expect("one case");
    let row = suite.cases[0].steps[0].matrix.get_mut("shop/web").expect("a row");
    row.insert("shop/db".into(), "i.ii".into());
    let report = run_suite(&suite, Family::V4, &mut OracleTarget::default());
    assert_eq!((report.passed(), report.failed()), (0, 1));
    let ends: Vec<_> = report.cases[0].failures.iter().map(|f| (f.port.as_str(), f.end)).collect();
    assert_eq!(ends, [("TCP/8443", "ingress"), ("TCP/8443", "combined")]);
}
