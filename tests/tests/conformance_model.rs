//! The agent's engine on rows in memory against conformance cases. No kernel, no root.

use std::path::Path;

use netpol_tests::{
    conformance::{Family, Stage, Suite, run_suite},
    station::ModelGround,
};

#[test]
fn our_own_cases_pass_on_rows_in_memory() {
    let suite = Suite::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance"), "").expect("a suite");
    for family in [Family::V4, Family::V6] {
        let mut stage = Stage::new(ModelGround::default()).expect("a stage");
        let report = run_suite(&suite, family, &mut stage);
        assert_eq!(report.failed(), 0, "{family:?}:\n{report}");
        assert_eq!(report.counts.verdicts, 3 * report.counts.probes, "each end and both");
    }
}
