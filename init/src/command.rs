//! Runs a program with an input, a deadline and captured output.
//!
//! A program that overruns is killed. Nothing is retried, no shell is involved. The child runs in
//! the network namespace of the calling thread.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::InitError;

/// What a program left behind.
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) output: String,
    pub(crate) complaint: String,
}

/// Runs `program` to its end.
///
/// # Errors
/// [`InitError::Tool`] if it cannot be started, [`InitError::Timeout`] if it takes longer than
/// `deadline` (then it has been killed). A failing exit status is not an error here.
pub(crate) fn run(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, &str)],
    input: &str,
    deadline: Duration,
) -> Result<Ended, InitError> {
    let unusable =
        |error: std::io::Error| InitError::Tool { tool: program.display().to_string(), detail: error.to_string() };
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        // Messages are compared with known texts below and shown to people: one language.
        .env("LC_ALL", "C")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unusable)?;

    let (sender, receiver) = mpsc::channel();
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_owned();
        // A program that ends without reading all breaks this pipe; its exit status tells the story.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    }
    for (name, pipe) in [("output", child.stdout.take().map(boxed)), ("complaint", child.stderr.take().map(boxed))] {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            let _ = sender.send((name, String::from_utf8_lossy(&bytes).into_owned()));
        });
    }

    let mut ended = Ended { success: false, output: String::new(), complaint: String::new() };
    for _ in 0..2 {
        match receiver.recv_timeout(deadline.saturating_sub(started.elapsed())) {
            Ok(("output", text)) => ended.output = text,
            Ok((_, text)) => ended.complaint = text,
            Err(_) => return Err(kill(child, program, deadline)),
        }
    }
    loop {
        match child.try_wait().map_err(unusable)? {
            Some(status) => {
                ended.success = status.success();
                return Ok(ended);
            }
            None if started.elapsed() >= deadline => return Err(kill(child, program, deadline)),
            // Both pipes are closed: it is about to end.
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn boxed<R: Read + Send + 'static>(pipe: R) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

fn kill(mut child: Child, program: &Path, waited: Duration) -> InitError {
    let _ = child.kill();
    let _ = child.wait();
    InitError::Timeout {
        what: program.display().to_string(),
        waited,
        detail: "it was killed; find out what holds the firewall lock (fuser /run/xtables.lock), or raise --timeout"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
