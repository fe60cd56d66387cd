//! `fsm explain`: what a reason means, and what to do.

use anyhow::{Result, bail};
use clap::Args;

use super::say;
use crate::output::Table;
use crate::views::explain::{self, Explanation};
use crate::views::{Format, value};

/// `fsm explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reasons are in the header `x-fsm-reason` of a refused request, in `fsm tap`, in logs and metrics of \
    sidecars, and in the STATUS of `fsm get` for policies.\nExample: fsm explain identity-not-allowed"
)]
pub(super) struct Explain {
    /// The reason, as no-route or MissingRoute [default: a list of all]
    reason: Option<String>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Format,
}

impl Explain {
    pub(super) fn run(self) -> Result<()> {
        let Some(reason) = &self.reason else {
            say(&match self.output {
                Format::Table | Format::Wide => list(&explain::all()),
                Format::Json => crate::output::json(&value(&explain::all())),
                Format::Yaml => crate::output::yaml(&value(&explain::all())),
            });
            return Ok(());
        };
        let Some(found) = explain::find(reason) else {
            let similar = explain::similar(reason);
            let hint =
                if similar.is_empty() { String::new() } else { format!(" Is it one of {}?", similar.join(", ")) };
            bail!("there is no reason `{reason}`: `fsm explain` lists them all.{hint}");
        };
        say(&match self.output {
            Format::Table | Format::Wide => told(&found),
            Format::Json => crate::output::json(&value(&found)),
            Format::Yaml => crate::output::yaml(&value(&found)),
        });
        Ok(())
    }
}

fn list(all: &[Explanation]) -> String {
    let mut table = Table::new(["REASON", "STATUS", "CAUSE"]);
    for known in all {
        let first = known.cause.split_inclusive(". ").next().unwrap_or_default().trim_end();
        table.row([known.reason.as_str(), known.status.as_deref().unwrap_or("-"), first]);
    }
    table.to_string()
}

fn told(found: &Explanation) -> String {
    let mut text = format!("{}: a reason for {}\n", found.reason, found.about);
    let mut part = |name: &str, what: Option<&str>| {
        if let Some(what) = what {
            text.push_str(&format!("\n{name}\n"));
            wrap(what, &mut text);
        }
    };
    part("What happened, and why", Some(&found.cause));
    part("Where", found.place.as_deref());
    part("What to do", found.remedy.as_deref());
    let status = found.status.as_ref().map(|status| format!("{status} (HTTP / gRPC); other connections are closed"));
    part("What the client sees", status.as_deref());
    text
}

/// Lines of at most 100 characters, indented.
fn wrap(what: &str, text: &mut String) {
    let mut line = String::new();
    for word in what.split(' ') {
        if line.chars().count() + word.chars().count() > 96 {
            text.push_str(&format!("  {}\n", line.trim_end()));
            line.clear();
        }
        line.push_str(word);
        line.push(' ');
    }
    text.push_str(&format!("  {}\n", line.trim_end()));
}
