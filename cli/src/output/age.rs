//! Ages as kubectl writes them: few digits, always enough to tell.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// How long ago an RFC 3339 time was; `<unknown>` for what is no time. Times to come count as now.
#[must_use]
pub fn since(time: Option<&Value>, now: Timestamp) -> String {
    match time.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(time) => human(Duration::try_from(now.duration_since(time)).unwrap_or_default()),
        None => "<unknown>".to_owned(),
    }
}

/// A duration in kubectl's short form: `90s`, `5m3s`, `2h`, `3d4h`, `400d`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |first: u64, unit: &str, second: u64, smaller: &str| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{smaller}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}
