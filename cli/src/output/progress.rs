//! A line that tells how far long work is; only on a terminal, and only if the work takes long.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Shorter work needs no line.
const SILENT: Duration = Duration::from_millis(500);
/// Characters of the bar.
const WIDTH: usize = 30;

/// How far long work is.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    all: usize,
    done: AtomicUsize,
    drawn: AtomicBool,
    started: Instant,
    shown: bool,
}

impl Progress {
    /// Work of `all` parts has begun.
    #[must_use]
    pub fn new(what: &'static str, all: usize) -> Self {
        let shown = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (done, drawn) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { what, all, done, drawn, started: Instant::now(), shown }
    }

    /// One more part is done.
    pub fn one_more(&self) {
        let done = self.done.fetch_add(1, Relaxed) + 1;
        if self.shown && self.started.elapsed() > SILENT {
            self.drawn.store(true, Relaxed);
            // Nobody is to blame for a terminal that is gone.
            let _ = write!(std::io::stderr().lock(), "\r{}", bar(self.what, done, self.all));
        }
    }

    /// The work is over: the line goes.
    pub fn end(self) {
        if self.drawn.load(Relaxed) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn bar(what: &str, done: usize, all: usize) -> String {
    let full = (done * WIDTH).checked_div(all).unwrap_or(WIDTH).min(WIDTH);
    format!("{what} [{}{}] {done}/{all}", "#".repeat(full), " ".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_grows_with_the_work() {
        assert_eq!(bar("Asking", 0, 2), format!("Asking [{}] 0/2", " ".repeat(30)));
        assert_eq!(bar("Asking", 1, 2), format!("Asking [{}{}] 1/2", "#".repeat(15), " ".repeat(15)));
        assert_eq!(bar("Asking", 2, 2), format!("Asking [{}] 2/2", "#".repeat(30)));
    }
}
