//! The programs' command lines: `--flag VALUE`, `--flag=VALUE`, and with one dash as well.

use super::Usage;
use std::str::FromStr;

pub(super) struct Arguments<'a> {
    rest: std::slice::Iter<'a, String>,
    /// The value behind `=` of the flag that was read last.
    attached: Option<String>,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(arguments: &'a [String]) -> Self {
        Self { rest: arguments.iter(), attached: None }
    }

    /// The next flag, written with two dashes.
    pub(super) fn flag(&mut self) -> Result<Option<String>, Usage> {
        if let Some(value) = self.attached.take() {
            return Err(Usage::new(format!("the value {value:?} was given to a flag that takes none")));
        }
        let Some(word) = self.rest.next() else { return Ok(None) };
        let Some(name) = word.strip_prefix('-') else {
            return Err(Usage::new(format!("{word:?} is not expected here: options begin with --")));
        };
        let name = name.trim_start_matches('-');
        Ok(Some(match name.split_once('=') {
            Some((name, value)) => {
                self.attached = Some(value.to_owned());
                format!("--{name}")
            }
            None => format!("--{name}"),
        }))
    }

    /// The value of the flag that was read last.
    pub(super) fn value(&mut self, flag: &str) -> Result<String, Usage> {
        let value = self.attached.take().or_else(|| self.rest.next().cloned());
        value.ok_or_else(|| Usage::new(format!("{flag} needs a value")))
    }

    pub(super) fn number<T: FromStr>(&mut self, flag: &str) -> Result<T, Usage> {
        let value = self.value(flag)?;
        value.parse().map_err(|_| Usage::new(format!("{flag} {value}: this is not a number in its range")))
    }

    pub(super) fn port(&mut self, flag: &str) -> Result<u16, Usage> {
        self.number(flag)
    }
}
