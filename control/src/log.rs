//! What is logged, to the standard error; its level can be changed while the program runs.
//!
//! `observability.fsmLogLevel` of MeshConfig counts as soon as it is known, as in FSM, and `--log-level` before that and
//! where MeshConfig says nothing. A filter with targets in `--log-level` (`info,fsm_control::push=debug`) is somebody's who
//! looks for something: it stays, whatever MeshConfig says.

use crate::options::{LogFormat, LogOptions};
use std::io::IsTerminal;
use std::sync::OnceLock;
use thiserror::Error;
use tracing::{info, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// There is one log in a process.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    /// As the program was started.
    started: String,
}

/// A level that is none.
#[derive(Debug, Error)]
#[error("--log-level {level}: {source}; use for example info")]
pub struct NoLevel {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Begins to log.
///
/// # Errors
/// The level is none.
pub fn start(options: &LogOptions) -> Result<(), NoLevel> {
    let level = &options.log_level;
    let filter = EnvFilter::try_new(level).map_err(|source| NoLevel { level: level.clone(), source })?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match options.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }
    // Whoever starts twice keeps the first.
    let _ = LOG.set(Log { filter: handle, started: options.log_level.clone() });
    Ok(())
}

/// Follows what MeshConfig says; `None`: nothing. Where nobody has [started](start) a log there is nothing to change.
pub fn follow(level: Option<&str>) {
    let Some(log) = LOG.get() else { return };
    let wanted = wanted(&log.started, level);
    let now = log.filter.with_current(ToString::to_string).unwrap_or_default();
    let Ok(filter) = EnvFilter::try_new(&wanted) else { return };
    if now == filter.to_string() {
        return;
    }
    match log.filter.reload(filter) {
        Ok(()) => info!("the log level is {wanted} now, as MeshConfig says"),
        Err(error) => warn!("the log level cannot be changed: {error}"),
    }
}

/// FSM's levels have more names than there are.
fn wanted(started: &str, level: Option<&str>) -> String {
    let level = match level {
        _ if started.contains(['=', ',']) => None,
        Some(level @ ("trace" | "debug" | "info" | "warn" | "error")) => Some(level),
        Some("fatal" | "panic") => Some("error"),
        Some("disabled") => Some("off"),
        _ => None,
    };
    level.unwrap_or(started).to_owned()
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn mesh_config_decides_unless_somebody_is_looking_for_something() {
        assert_eq!(wanted("info", None), "info");
        assert_eq!(wanted("info", Some("debug")), "debug");
        assert_eq!(wanted("debug", Some("panic")), "error");
        assert_eq!(wanted("info", Some("disabled")), "off");
        assert_eq!(wanted("warn", Some("loud")), "warn");
        assert_eq!(wanted("info,fsm_control::push=debug", Some("error")), "info,fsm_control::push=debug");
    }
}
