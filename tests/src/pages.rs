//! Pages that show commands and what they print: read, and compared with what is seen. `examples/README.md` says how they
//! are read.

use crate::Outcome;
use std::time::{Duration, Instant};

/// What a page has its reader type, and what it says that one sees.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it begins.
    pub line: usize,
    /// What is typed.
    pub command: String,
    /// How long it is repeated until it shows what is wanted.
    pub within: Option<Duration>,
    /// What is printed; nothing: whatever.
    pub shown: Vec<String>,
    /// The exit code.
    pub code: i32,
}

/// The commands of all blocks that begin with this line, such as "```console".
///
/// # Panics
/// When an output belongs to no command.
pub fn steps(text: &str, fence: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        if line != fence {
            continue;
        }
        let mut has_command = false;
        while let Some((number, line)) = lines.next().filter(|(_, line)| *line != "```") {
            if let Some(command) = line.strip_prefix("$ ") {
                has_command = true;
                let mut command = command.to_owned();
                while command.ends_with('\\') {
                    let (_, more) = lines.next().expect("a line after a backslash");
                    command = format!("{command}\n{more}");
                }
                if command.contains("<<EOF") {
                    loop {
                        let (_, more) = lines.next().expect("a line `EOF`");
                        command = format!("{command}\n{more}");
                        if more == "EOF" {
                            break;
                        }
                    }
                }
                let within = command.rsplit_once(" # within ").and_then(|(_, limit)| {
                    let seconds = limit.strip_suffix(" s")?.parse().ok()?;
                    Some(Duration::from_secs(seconds))
                });
                steps.push(Step { line: number + 1, command, within, shown: Vec::new(), code: 0 });
                continue;
            }
            assert!(has_command, "line {}: {line:?} is the output of no command", number + 1);
            let step = steps.last_mut().expect("a command");
            let code = line.strip_prefix("(exit code ").and_then(|rest| rest.strip_suffix(')')?.parse().ok());
            match code {
                Some(code) => step.code = code,
                None => step.shown.push(line.to_owned()),
            }
        }
    }
    steps
}

/// Whether a text has these lines: `…` is any text inside of a line, and as a line any number of lines.
fn matches(shown: &[String], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((any, later)), rest) if any == "…" => {
            matches(later, lines) || rest.is_some_and(|(_, lines)| matches(shown, lines))
        }
        (Some((wanted, later)), Some((line, lines))) => line_matches(wanted, line) && matches(later, lines),
        (Some(_), None) => false,
    }
}

fn line_matches(wanted: &str, line: &str) -> bool {
    match wanted.split_once('…') {
        None => wanted == line,
        Some((start, later)) => line.strip_prefix(start).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_matches(later, &rest[at..]))
        }),
    }
}

/// A line without what differs from run to run: numbers, times, addresses, hashes, names of pods, and the width of columns.
fn shape(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(shape_of_word).collect();
    words.join(" ")
}

fn shape_of_word(word: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for c in word.chars() {
        match parts.last_mut() {
            Some(last) if c.is_ascii_alphanumeric() && last.ends_with(|l: char| l.is_ascii_alphanumeric()) => {
                last.push(c)
            }
            _ => parts.push(c.to_string()),
        }
    }
    // As Kubernetes makes them: the hash of a template has a letter for each digit of a number of 32 bits.
    let random = |part: &String, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c))
    };
    for at in 0..parts.len().saturating_sub(2) {
        if random(&parts[at], 6..=10) && parts[at + 1] == "-" && random(&parts[at + 2], 5..=5) {
            (parts[at], parts[at + 2]) = ("H".to_owned(), "H".to_owned());
        }
    }
    let mut shape = String::new();
    for part in &parts {
        if part.len() >= 16 && part.chars().all(|c| c.is_ascii_hexdigit()) {
            shape.push('H');
            continue;
        }
        for c in part.chars() {
            match c {
                '0'..='9' if shape.ends_with('0') => {}
                '0'..='9' => shape.push('0'),
                _ => shape.push(c),
            }
        }
    }
    while shape.contains("0.0") {
        shape = shape.replace("0.0", "0");
    }
    shape
}

/// How a page's outputs are compared with what is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The text that is written there.
    Text,
    /// Real output of some run: only its [`shape`].
    Shape,
}

impl Step {
    fn is_as_shown(&self, outcome: &Outcome, compare: Compare) -> bool {
        let lines: Vec<_> = outcome.stdout.lines().collect();
        let fits = || match compare {
            Compare::Text => matches(&self.shown, &lines),
            Compare::Shape => {
                let shown: Vec<String> = self.shown.iter().map(|line| shape(line)).collect();
                let lines: Vec<String> = lines.iter().map(|line| shape(line)).collect();
                matches(&shown, &lines.iter().map(String::as_str).collect::<Vec<_>>())
            }
        };
        outcome.code == self.code && (self.shown.is_empty() || fits())
    }

    /// Runs the command until it shows what the page says, or for too long.
    ///
    /// # Panics
    /// When it does not.
    pub async fn run(&self, page: &str, compare: Compare, mut command: impl AsyncFnMut() -> Outcome) {
        let started = Instant::now();
        loop {
            let outcome = command().await;
            if self.is_as_shown(&outcome, compare) {
                return;
            }
            let over = self.within.is_none_or(|limit| started.elapsed() > limit);
            assert!(
                !over,
                "{page}, line {}: {}\nexit code {} wanted, and this:\n{}\nseen: {outcome:#?}",
                self.line,
                self.command,
                self.code,
                self.shown.join("\n")
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readmes_are_read_as_they_say() {
        let text =
            "```console\n$ a \\\n  b # within 7 s\nx…y\n…\n$ c <<EOF\nd\nEOF\n(exit code 3)\n```\n```yaml\n$ no\n```\n";
        let read = steps(text, "```console");
        let step = |line, command: &str, within, shown: &[&str], code| Step {
            line,
            command: command.to_owned(),
            within,
            shown: shown.iter().map(|line| (*line).to_owned()).collect(),
            code,
        };
        let wanted = [
            step(2, "a \\\n  b # within 7 s", Some(Duration::from_secs(7)), &["x…y", "…"], 0),
            step(6, "c <<EOF\nd\nEOF", None, &[], 3),
        ];
        assert_eq!(read, wanted);
        let shown = &read[0].shown;
        assert!(matches(shown, &["xy"]) && matches(shown, &["x12y", "more", "lines"]));
        assert!(!matches(shown, &["xyz"]) && !matches(shown, &[]) && !matches(shown, &["more", "xy"]));
        let seen =
            "bookstore   web-p7nzk4dghr-qmv6h   12.5ms  10.244.0.3:80  at 2026-01-02T03:04:05Z 42f22631c2e9fe6f7823";
        let page = "bookstore web-zmcmcwlgjp-g7qcm 3ms 10.1.2.3:8080 at 2027-11-22T13:14:15Z deadbeefdeadbeef0";
        assert_eq!(shape(seen), shape(page));
        assert_ne!(shape("a 1ms"), shape("a -"));
    }
}
