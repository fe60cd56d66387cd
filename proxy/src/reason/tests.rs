#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::Reason;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../docs/reasons.md");

/// Code → the other cells of its row.
fn rows() -> BTreeMap<String, Vec<String>> {
    let mut rows = BTreeMap::new();
    for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let code = cells[0].trim_matches('`').to_owned();
        assert!(rows.insert(code.clone(), cells[1..].to_vec()).is_none(), "docs/reasons.md has two rows for {code}");
    }
    rows
}

#[test]
fn the_page_has_exactly_one_row_for_every_reason() {
    let rows: BTreeSet<String> = rows().into_keys().collect();
    let codes: BTreeSet<String> = Reason::ALL.iter().map(|reason| reason.code().to_owned()).collect();
    let missing: Vec<_> = codes.difference(&rows).collect();
    let unknown: Vec<_> = rows.difference(&codes).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing in docs/reasons.md: {missing:?}, unknown: {unknown:?}");
}

#[test]
fn every_row_tells_status_place_cause_and_remedy() {
    let rows = rows();
    for reason in Reason::ALL {
        let cells = &rows[reason.code()];
        assert_eq!(cells.len(), 4, "row of {reason}: {cells:?}");
        assert_eq!(cells[0], format!("{} / {}", reason.status().as_u16(), reason.grpc_status()), "row of {reason}");
        for cell in &cells[1..] {
            assert!(cell.ends_with('.'), "row of {reason}: a cell is not a sentence: {cell:?}");
        }
    }
}

#[test]
fn codes_are_unique_and_kebab_case() {
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for code in codes {
        let words_are_plain =
            code.split('-').all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()));
        assert!(words_are_plain, "{code}");
    }
}

#[test]
fn every_reason_has_an_error_status_and_a_meaning() {
    for reason in Reason::ALL {
        assert!(reason.status().is_client_error() || reason.status().is_server_error(), "{reason}");
        assert!((1..=16).contains(&reason.grpc_status()), "{reason}");
        assert!(reason.meaning().ends_with('.') && !reason.meaning().starts_with(' '), "{:?}", reason.meaning());
    }
}

#[test]
fn the_index_of_a_reason_is_its_place_in_the_list() {
    // Counters of refusals are an array indexed by the discriminant.
    for (index, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index);
    }
}
