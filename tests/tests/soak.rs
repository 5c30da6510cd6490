//! A few seconds of what `cargo xtask soak` does for as long as one likes.

use netpol_tests::soak::Soak;

#[test]
fn every_connection_and_every_denied_packet_is_told_of() {
    let report = Soak { seconds: 2, rate: 500, drops: 20, remember: 1 }.run().unwrap();
    assert!(report.balances(), "{report:#?}");
    for account in &report.accounts {
        assert!(account.sent > 0 && account.told > 0, "{account:?}");
    }
    assert!(report.cpu > 0.0 && report.resident.len() >= 2, "{report:?}");
}
