//! The compiler and the plan against everything that somebody else has worked out: the rows are judged, no kernel is
//! needed.

use std::path::{Path, PathBuf};

use netpol_tests::conformance::{Family, RowsTarget, Suite, run_suite};

fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn assert_agrees(dir: &Path, family: Family) {
    let suite = Suite::read(dir, "").expect("a suite of cases");
    let mut target = RowsTarget::default();
    let report = run_suite(&suite, family, &mut target);
    assert_eq!(report.failed(), 0, "{} in {family:?}:\n{report}", dir.display());
    assert!(report.counts.denied > 0 && report.counts.probes > report.counts.denied, "{report}");
    assert!(target.states > suite.cases.len(), "states in between were looked at");
}

#[test]
fn the_rows_agree_with_our_own_cases() {
    assert_agrees(&own(), Family::V4);
    assert_agrees(&own(), Family::V6);
}

#[test]
fn the_rows_agree_with_the_public_cases_if_they_are_there() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/cyclonus");
    if !dir.is_dir() {
        println!("skipped: {} is not there", dir.display());
        return;
    }
    assert_agrees(&dir, Family::V4);
    assert_agrees(&dir, Family::V6);
}
