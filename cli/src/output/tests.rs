#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::time::Duration;

use serde_json::json;

use super::*;

#[test]
fn columns_are_aligned_and_lines_end_without_blanks() {
    let mut table = Table::new(["NAME", "A", "AGE"]);
    table.row(["curl-5f4", "1", "3s"]);
    table.row(["é\nx", "", ""]);
    assert_eq!(table.to_string(), "NAME       A     AGE\ncurl-5f4   1     3s\né x\n");
    assert!(!table.is_empty() && Table::new(["A"]).is_empty());
}

#[test]
fn ages_are_as_short_as_kubectls() {
    for (seconds, text) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (599, "9m59s"),
        (601, "10m"),
        (10_799, "179m"),
        (10_860, "3h1m"),
        (28_800, "8h"),
        (172_800, "2d"),
        (176_400, "2d1h"),
        (691_200, "8d"),
        (34_560_000, "400d"),
        (63_072_000 + 86_400, "2y1d"),
        (315_360_000, "10y"),
    ] {
        assert_eq!(age::human(Duration::from_secs(seconds)), text, "{seconds}");
    }
    let now = "2026-11-21T10:00:00Z".parse().unwrap();
    assert_eq!(age::since(Some(&json!("2026-11-21T09:59:30Z")), now), "30s");
    assert_eq!(age::since(Some(&json!("2026-11-21T11:59:30Z")), now), "0s");
    assert_eq!(age::since(None, now), "<unknown>");
}

#[test]
fn formats_are_read_as_written() {
    for text in ["wide", "json", "yaml", "name", "jsonpath={.a}"] {
        assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
    }
    assert!("xml".parse::<Format>().unwrap_err().to_string().contains("use json"));
}
