//! The terminal that a command runs on: its size, typing without lines, and a screen that is drawn again and again.
//!
//! The settings are those of the program `stty`, so that no unsafe code is needed here. They are restored when the values
//! are dropped; what ends the program at once (SIGKILL) leaves them as they are, and `reset` helps.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, bail};

/// Lines and columns.
#[must_use]
pub fn size() -> Option<(u16, u16)> {
    let size = stty(&["size"]).ok()?;
    let (rows, columns) = size.trim().split_once(' ')?;
    Some((rows.parse().ok()?, columns.parse().ok()?))
}

/// The terminal passes everything on as it is typed, Ctrl-C too, until this is dropped.
#[derive(Debug)]
pub struct Raw {
    before: String,
}

impl Raw {
    /// Begins.
    ///
    /// # Errors
    ///
    /// If the standard input is no terminal, or there is no `stty`.
    pub fn enter() -> Result<Self> {
        let before = stty(&["-g"])?;
        stty(&["raw", "-echo"])?;
        Ok(Self { before: before.trim().to_owned() })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = stty(&[&self.before]);
    }
}

fn stty(arguments: &[&str]) -> Result<String> {
    let output = Command::new("stty").args(arguments).stdin(Stdio::inherit()).stderr(Stdio::null()).output();
    let output = output.context("cannot run stty, which this needs (package coreutils)")?;
    if !output.status.success() {
        bail!("stty {} failed", arguments.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A whole screen of its own. What was there before comes back when it is dropped.
#[derive(Debug)]
pub struct Screen {
    keys: Receiver<u8>,
    _raw: Raw,
}

impl Screen {
    /// Takes the screen.
    ///
    /// # Errors
    ///
    /// As [`Raw::enter`].
    pub fn enter() -> Result<Self> {
        let raw = Raw::enter()?;
        let (typed, keys) = channel();
        std::thread::spawn(move || {
            let mut key = [0];
            while matches!(io::stdin().lock().read(&mut key), Ok(1)) {
                if typed.send(key[0]).is_err() {
                    return;
                }
            }
        });
        write("\x1b[?1049h\x1b[?25l");
        Ok(Self { keys, _raw: raw })
    }

    /// Draws lines from the top, as many and as much of them as there is room for.
    pub fn draw(&self, text: &str) {
        write(&frame(text, size().unwrap_or((24, 80))));
    }

    /// Waits; whether somebody has typed `q`, Escape or Ctrl-C meanwhile.
    #[must_use]
    pub fn is_left_within(&self, time: std::time::Duration) -> bool {
        let until = std::time::Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            match self.keys.recv_timeout(left) {
                Ok(b'q' | b'Q' | 3 | 27) => return true,
                Ok(_) => {}
                Err(_) => {
                    // Without a keyboard the time has still to pass.
                    std::thread::sleep(until.saturating_duration_since(std::time::Instant::now()));
                    return false;
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write("\x1b[?25h\x1b[?1049l");
    }
}

fn write(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

fn frame(text: &str, (rows, columns): (u16, u16)) -> String {
    let mut frame = String::from("\x1b[H");
    for line in text.lines().take(usize::from(rows).saturating_sub(1)) {
        frame.extend(line.chars().take(usize::from(columns)));
        frame.push_str("\x1b[K\r\n");
    }
    frame + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn a_frame_fits_the_screen() {
        let drawn = frame("abcdef\nsecond\nthird\n", (3, 4));
        assert_eq!(drawn, "\x1b[Habcd\x1b[K\r\nseco\x1b[K\r\n\x1b[J");
    }
}
