//! `fsm support`: help with what went wrong.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::{MeshChoice, say};

mod bug_report;
mod codes;

use codes::CODES;

/// `fsm support`.
#[derive(Debug, Subcommand)]
pub(super) enum Support {
    /// Collect what helps to find out what is wrong with a mesh into one file
    #[command(name = "bug-report")]
    BugReport(bug_report::BugReport),
    /// Explain the error codes in the logs of FSM's controllers (Exxxx)
    #[command(name = "error-info", visible_alias = "error-code")]
    ErrorInfo(ErrorInfo),
}

/// `fsm support error-info`.
#[derive(Debug, Args)]
#[command(
    after_help = "These are the codes of FSM's own programs (field error_code of their log). The programs of this mesh give \
        reasons instead, in words: docs/reasons.md explains those of the sidecars, docs/policies.md those of policies.\n\n\
        Examples:\n  fsm support error-info\n  fsm support error-info E1000"
)]
pub(super) struct ErrorInfo {
    /// One code [default: all]
    code: Option<String>,
}

impl Support {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        match self {
            Self::BugReport(command) => command.run(choice),
            Self::ErrorInfo(command) => command.run(),
        }
    }
}

impl ErrorInfo {
    fn run(self) -> Result<()> {
        let Some(code) = self.code else {
            say(&bordered(CODES));
            return Ok(());
        };
        if !is_code(&code) {
            bail!(
                "error code '{code}' is not a valid error code format, should be of the form Exxxx, ex. E1000; \
                 `fsm support error-info` lists all"
            );
        }
        match CODES.iter().find(|(known, _)| *known == code) {
            Some(found) => say(&bordered(std::slice::from_ref(found))),
            None => bail!(
                "error code '{code}' is not a valid error code recognized by FSM; `fsm support error-info` lists all"
            ),
        }
        Ok(())
    }
}

fn is_code(text: &str) -> bool {
    text.strip_prefix('E').is_some_and(|number| number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A table with lines around its cells, as FSM prints this one.
fn bordered(rows: &[(&str, &str)]) -> String {
    let heading = ("ERROR CODE", "DESCRIPTION");
    let width = |cell: fn(&(&str, &str)) -> usize| rows.iter().chain([&heading]).map(cell).max().unwrap_or(0);
    let (first, second) = (width(|row| row.0.len()), width(|row| row.1.len()));
    let line = format!("+-{}-+-{}-+\n", "-".repeat(first), "-".repeat(second));
    let row = |(code, text): &(&str, &str)| format!("| {code:<first$} | {text:<second$} |\n");
    let rows: String = rows.iter().map(row).collect();
    format!("{line}{}{line}{rows}{line}", row(&heading))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::{CODES, ErrorInfo, bordered, is_code};

    #[test]
    fn every_code_is_there_once_in_order_and_says_something() {
        assert!(CODES.windows(2).all(|two| two[0].0 < two[1].0));
        assert!(CODES.iter().all(|(code, text)| is_code(code) && text.len() > 10));
    }

    #[test]
    fn a_table_has_lines_around_its_cells() {
        let table = bordered(&[("E1000", "An argument is wrong")]);
        assert_eq!(
            table,
            "+------------+----------------------+\n| ERROR CODE | DESCRIPTION          |\n\
             +------------+----------------------+\n| E1000      | An argument is wrong |\n\
             +------------+----------------------+\n"
        );
    }

    #[test]
    fn wrong_codes_are_told_apart_from_unknown_ones() {
        let error = |code: &str| ErrorInfo { code: Some(code.into()) }.run().unwrap_err().to_string();
        assert!(error("1000").contains("should be of the form Exxxx"));
        assert!(error("E9999").contains("recognized by FSM"));
        ErrorInfo { code: Some("E1000".into()) }.run().unwrap();
    }
}
