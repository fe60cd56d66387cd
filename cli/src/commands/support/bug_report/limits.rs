//! How much of the logs goes into a bug report, so that one of a big mesh can still be sent to somebody. Pure.

use std::time::Duration;

use clap::Args;

use crate::cluster::duration;

/// Bytes of one log at most, whatever was asked for.
pub(super) const BYTES: usize = 4 << 20;

/// Which part of logs is wanted.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Limits {
    /// Of each log so many of the last lines, and 4 MB at most
    #[arg(long, value_name = "LINES", default_value_t = 10_000)]
    pub(super) tail: usize,
    /// Only what was said in this time, such as 90s or 2h; in a cluster
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) since: Option<Duration>,
    /// All logs together, before they are packed, such as 500MB; those that come later are shortened or left out, and named
    #[arg(long, value_name = "SIZE", default_value = "200MB", value_parser = size)]
    pub(super) max_logs: usize,
}

/// `500MB`, `1GB`, `64kB`; a bare number is bytes.
fn size(text: &str) -> Result<usize, String> {
    let refused = || format!("{text:?} is no size; give for example 500MB or 64kB");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match lower[digits.len()..].trim().trim_end_matches('b') {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return Err(refused()),
    };
    digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(refused)
}

/// The last lines of a text, of which the last bytes at most.
pub(super) fn end(text: &str, lines: usize, bytes: usize) -> &str {
    let within = text.strip_suffix('\n').unwrap_or(text);
    let from = match lines {
        0 => text.len(),
        _ => within.rmatch_indices('\n').nth(lines - 1).map_or(0, |(at, _)| at + 1),
    };
    let mut from = from.max(text.len().saturating_sub(bytes));
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn sizes_are_written_as_people_write_them() {
        for (text, wanted) in
            [("0", 0), ("17", 17), ("17b", 17), ("64kB", 64_000), ("500MB", 500_000_000), (" 1 g ", 1_000_000_000)]
        {
            assert_eq!(size(text), Ok(wanted), "{text}");
        }
        for wrong in ["", "MB", "-1", "1.5MB", "7 apples", "99999999999GB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_end_of_a_text_is_its_last_lines_and_of_these_the_last_bytes() {
        for (text, lines, bytes, wanted) in [
            ("a\nb\nc\n", 2, 100, "b\nc\n"),
            ("a\nb\nc", 2, 100, "b\nc"),
            ("a\nb\n", 5, 100, "a\nb\n"),
            ("a\nb\n", 0, 100, ""),
            ("a\nbcd\n", 5, 3, "cd\n"),
            ("aé", 5, 1, ""),
            ("", 5, 5, ""),
        ] {
            assert_eq!(end(text, lines, bytes), wanted, "{text:?} {lines} {bytes}");
        }
    }
}
