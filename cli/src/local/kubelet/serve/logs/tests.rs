#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use std::io::Cursor;

fn tail(text: &str, lines: u64) -> String {
    let from = last_lines(&mut Cursor::new(text), lines).unwrap();
    text[usize::try_from(from).unwrap()..].to_owned()
}

#[test]
fn the_last_lines_of_a_log_are_found() {
    for (text, lines, expected) in [
        ("a\nb\nc\n", 1, "c\n"),
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc\n", 9, "a\nb\nc\n"),
        ("a\nb\nc", 1, "c"),
        ("a\nb\n", 0, ""),
        ("", 3, ""),
    ] {
        assert_eq!(tail(text, lines), expected, "{text:?} {lines}");
    }
    let long = "x".repeat(100_000);
    assert_eq!(tail(&format!("{long}\n{long}\nend\n"), 2), format!("{long}\nend\n"));
}

#[test]
fn a_log_is_not_begun_in_the_middle_of_a_line() {
    for (text, place, expected) in
        [("ab\ncd\n", 0, 0), ("ab\ncd\n", 1, 0), ("ab\ncd\n", 3, 3), ("ab\ncd\n", 5, 3), ("ab\ncd\n", 6, 6)]
    {
        assert_eq!(line_of(&mut Cursor::new(text), place).unwrap(), expected, "{text:?} {place}");
    }
}
