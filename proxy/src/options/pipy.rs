//! Pipy's own flags, so that a manifest written for Pipy starts this proxy.
//!
//! `--log-level` and `--admin-port` mean the same here. What is harmless to ignore is ignored with a note; what would
//! silently weaken or change something (TLS towards the repository, scripts) is refused.

use super::{UsageError, raw::Given};
use std::ffi::OsString;

/// A command line with Pipy's own flags taken out.
pub(super) struct Translated {
    /// What is left for our own reader.
    pub(super) arguments: Vec<OsString>,
    /// Pipy's `--threads`, when it names a number.
    pub(super) threads: Option<Given>,
    /// What the operator should know.
    pub(super) notes: Vec<String>,
}

impl Translated {
    pub(super) fn untouched(arguments: Vec<OsString>) -> Self {
        Self { arguments, threads: None, notes: Vec::new() }
    }
}

/// Flags without effect here, each with the reason why that does no harm.
const IGNORED: &[(&str, &str)] = &[
    ("--admin-gui", "there is no graphical interface"),
    ("--admin-log-file", "admin requests are not logged"),
    ("--instance-name", "the pod's name is reported to the repository"),
    ("--instance-uuid", "a fresh identifier is reported to the repository"),
    ("--log-file", "the log goes to standard error"),
    ("--log-history-limit", "no log is kept in memory"),
    ("--log-local", "the log goes to standard error"),
    ("--log-local-only", "the log goes to standard error"),
    ("--no-graph", "there is no graph to switch off"),
    ("--no-metrics", "metrics cost nothing until somebody asks for them"),
    ("--no-status", "the status report is small and may be ignored by the repository"),
    ("--reuse-port", "the proxy shares ports between its own threads as it needs to"),
    ("--skip-redundant", "there are no scripts"),
    ("--skip-unfinished", "there are no scripts"),
];

/// Flags that cannot be ignored, each with reason and remedy.
const REFUSED: &[(&str, &str)] = &[
    ("--admin-tls-cert", "the admin port speaks plain HTTP on loopback; leave the flag out"),
    ("--admin-tls-key", "the admin port speaks plain HTTP on loopback; leave the flag out"),
    ("--admin-tls-trusted", "the admin port speaks plain HTTP on loopback; leave the flag out"),
    ("--eval", "fsm-proxy does not run Pipy scripts; give a repository URL or --config FILE"),
    ("-e", "fsm-proxy does not run Pipy scripts; give a repository URL or --config FILE"),
    ("--file", "fsm-proxy does not run Pipy scripts; give a repository URL or --config FILE"),
    ("-f", "fsm-proxy does not run Pipy scripts; give a repository URL or --config FILE"),
    ("--init-code", "fsm-proxy is not a repository; run FSM's controller for that"),
    ("--init-repo", "fsm-proxy is not a repository; run FSM's controller for that"),
    ("--openssl-engine", "fsm-proxy does not use OpenSSL; leave the flag out"),
    ("--tls-cert", "TLS towards the repository is not supported yet; use an http:// URL"),
    ("--tls-key", "TLS towards the repository is not supported yet; use an http:// URL"),
    ("--tls-trusted", "TLS towards the repository is not supported yet; use an http:// URL"),
    ("--verify", "fsm-proxy does not run Pipy scripts; leave the flag out"),
];

/// Takes Pipy's own flags out of a command line.
pub(super) fn translate(arguments: Vec<OsString>) -> Result<Translated, UsageError> {
    let mut translated = Translated::untouched(Vec::with_capacity(arguments.len()));
    for argument in arguments {
        let text = argument.to_string_lossy().into_owned();
        // Pipy knows `--flag=value` only, so a value is never an argument of its own.
        let (flag, value) = text.split_once('=').unwrap_or((&text, ""));
        if let Some((_, why)) = REFUSED.iter().find(|(name, _)| *name == flag) {
            return Err(UsageError::new(format!("{text}: {why}")));
        }
        if let Some((_, why)) = IGNORED.iter().find(|(name, _)| *name == flag) {
            translated.notes.push(format!("Pipy's {flag} has no effect: {why}"));
        } else if flag == "--threads" {
            if value != "max" {
                translated.threads = Some(Given::flag("--threads", value));
            }
        } else {
            translated.arguments.push(argument);
        }
    }
    Ok(translated)
}
