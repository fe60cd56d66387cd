//! What `fsm check` found, and how it is told.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::output::Style;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// Which group of checks it belongs to.
    pub(super) category: &'static str,
    /// What should be so, as a sentence.
    pub(super) what: String,
    /// Whether it is.
    pub(super) outcome: Outcome,
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Outcome {
    /// It is so.
    Pass,
    /// It is not, and the mesh works nevertheless.
    Warn(Finding),
    /// It is not, and something does not work.
    Fail(Finding),
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Finding {
    pub(in crate::commands) why: String,
    pub(in crate::commands) remedy: String,
}

impl Outcome {
    pub(super) fn warn(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Warn(Finding { why: why.into(), remedy: remedy.into() })
    }

    pub(super) fn fail(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Fail(Finding { why: why.into(), remedy: remedy.into() })
    }
}

/// All checks, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Report {
    checks: Vec<Check>,
}

impl Report {
    /// Adds one; whether it passed or may be lived with.
    pub(super) fn add(&mut self, category: &'static str, what: impl Into<String>, outcome: Outcome) -> bool {
        let goes_on = !matches!(outcome, Outcome::Fail(_));
        self.checks.push(Check { category, what: what.into(), outcome });
        goes_on
    }

    /// Whether nothing failed.
    pub(super) fn is_good(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.outcome, Outcome::Fail(_)))
    }

    /// For people: categories with a line under them, one line for each check, what is wrong below it.
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let mut category = "";
        for check in &self.checks {
            if check.category != category {
                category = check.category;
                let gap = if text.is_empty() { "" } else { "\n" };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{gap}{category}\n{}", "-".repeat(category.len()));
            }
            let (mark, finding) = match &check.outcome {
                Outcome::Pass => (style.good("√"), None),
                Outcome::Warn(finding) => (style.bad("‼"), Some(finding)),
                Outcome::Fail(finding) => (style.bad("×"), Some(finding)),
            };
            let _ = writeln!(text, "{mark} {}", check.what);
            if let Some(finding) = finding {
                let _ = writeln!(text, "    {}", finding.why.replace('\n', "\n    "));
                let _ = writeln!(text, "    → {}", finding.remedy.replace('\n', "\n      "));
            }
        }
        let mark = if self.is_good() { style.good("√") } else { style.bad("×") };
        let _ = writeln!(text, "\nStatus check results are {mark}");
        text
    }

    /// For machines, in the form that Linkerd's check has.
    pub(super) fn json(&self) -> Value {
        let mut categories: Vec<Value> = Vec::new();
        for check in &self.checks {
            if categories.last().is_none_or(|last| last["categoryName"] != check.category) {
                categories.push(json!({"categoryName": check.category, "checks": []}));
            }
            let mut said = json!({"description": check.what, "result": "success"});
            if let Outcome::Warn(finding) | Outcome::Fail(finding) = &check.outcome {
                let failed = matches!(check.outcome, Outcome::Fail(_));
                said["result"] = if failed { "error" } else { "warning" }.into();
                said["error"] = finding.why.as_str().into();
                said["hint"] = finding.remedy.as_str().into();
            }
            if let Some(checks) = categories.last_mut().and_then(|last| last["checks"].as_array_mut()) {
                checks.push(said);
            }
        }
        json!({"success": self.is_good(), "categories": categories})
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        assert!(report.add("one", "a is so", Outcome::Pass));
        assert!(report.add("one", "b is so", Outcome::warn("it is not", "do this")));
        assert!(!report.add("two", "c is so", Outcome::fail("it is not", "do that")));
        report
    }

    #[test]
    fn each_check_is_a_line_and_what_is_wrong_is_below_it() {
        let wanted = "one\n---\n√ a is so\n‼ b is so\n    it is not\n    → do this\n\ntwo\n---\n× c is so\n    it is not\n    \
            → do that\n\nStatus check results are ×\n";
        assert_eq!(report().text(Style::detect(false)), wanted);
    }

    #[test]
    fn machines_get_the_same() {
        let said = report().json();
        assert_eq!(said["success"], false);
        assert_eq!(said["categories"][0]["checks"][1]["result"], "warning");
        assert_eq!(said["categories"][1]["checks"][0]["hint"], "do that");
        assert_eq!(Report::default().json(), json!({"success": true, "categories": []}));
    }
}
