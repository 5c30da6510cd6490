//! The page about drop reasons says what the list in the code says.

use std::collections::BTreeMap;

use netpol_common::reason::DropReason;

#[test]
fn the_page_lists_every_reason_with_number_word_and_advice() {
    let page = include_str!("../../../docs/drop-reasons.md");
    let mut told = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(Ok(number)) = cells.first().map(|cell| cell.parse::<u8>()) else { continue };
        let [_, word, meaning, advice] = cells[..] else { panic!("not four columns: {line}") };
        assert!(!meaning.is_empty() && !advice.is_empty(), "{line}");
        assert_eq!(told.insert(number, word.trim_matches('`').to_owned()), None, "twice: {line}");
    }
    let listed = DropReason::ALL.iter().map(|reason| (*reason as u8, reason.name().to_owned())).collect();
    assert_eq!(told, listed);
}
