//! `fsm top`: `fsm stat` again and again, the busiest first.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::stat::{Reading, Subject, Watch};
use super::{MeshChoice, duration, say};
use crate::output::terminal::Screen;
use crate::reach::Mesh;

/// `fsm top`.
#[derive(Debug, Args)]
#[command(
    after_help = "On a terminal it takes the whole screen until `q` or Ctrl-C; elsewhere it prints one table after another."
)]
pub(super) struct Top {
    #[command(flatten)]
    subject: Subject,
    /// Time between readings
    #[arg(short, long, default_value = "1s", value_name = "TIME", value_parser = duration)]
    interval: Duration,
    /// End after so many tables
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

impl Top {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let mesh = choice.reach()?;
        let interval = self.interval.max(Duration::from_millis(100));
        let screen =
            (std::io::stdout().is_terminal() && std::io::stdin().is_terminal()).then(Screen::enter).transpose()?;
        let mut before = self.subject.watch(&mesh, choice)?.read(&mesh);
        let mut shown = 0;
        while self.count.is_none_or(|count| shown < count) {
            match &screen {
                Some(screen) if screen.is_left_within(interval) => return Ok(()),
                Some(_) => {}
                None => std::thread::sleep(interval),
            }
            // Pods come and go.
            let watch = self.subject.watch(&mesh, choice)?;
            let now = watch.read(&mesh);
            let text = table(&mesh, &watch, &before, &now);
            match &screen {
                Some(screen) => screen.draw(&text),
                None if shown > 0 => say(&format!("\n{text}")),
                None => say(&text),
            }
            before = now;
            shown += 1;
        }
        Ok(())
    }
}

fn table(mesh: &Mesh, watch: &Watch, before: &Reading, now: &Reading) -> String {
    let mut text = format!("{mesh}, {}", jiff::Timestamp::now().strftime("%H:%M:%S UTC"));
    if !now.silent.is_empty() {
        text.push_str(&format!("; {} sidecars do not answer", now.silent.len()));
    }
    format!("{text}\n\n{}", watch.busiest(before, now))
}
