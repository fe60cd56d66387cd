//! READY, STATUS and RESTARTS of a pod, by kubectl's rules: the status is the phase, unless a container has a better
//! word for what is going on.

use jiff::Timestamp;
use serde_json::Value;

use super::{Look, conditions, list, number, or, text};
use crate::output::age;

/// Containers that are ready, of how many.
pub(super) fn ready(pod: &Value) -> String {
    let initial = list(pod, "/status/initContainerStatuses").filter(|status| is_native(pod, status));
    let statuses = list(pod, "/status/containerStatuses").chain(initial);
    let ready = statuses.filter(|status| status["ready"] == Value::Bool(true)).count();
    // The sidecar may be known to the status only.
    let all = list(pod, "/spec/containers").count().max(list(pod, "/status/containerStatuses").count());
    let native = list(pod, "/spec/initContainers").filter(|container| keeps_running(container)).count();
    format!("{ready}/{}", all + native)
}

/// Whether an init container is a native sidecar.
fn keeps_running(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

/// Whether the status of an init container is that of a native sidecar.
fn is_native(pod: &Value, status: &Value) -> bool {
    list(pod, "/spec/initContainers").any(|container| container["name"] == status["name"] && keeps_running(container))
}

/// How often containers were started again, and when last.
pub(super) fn restarts(pod: &Value, _: &Look, now: Timestamp) -> String {
    let restarts: u64 = list(pod, "/status/containerStatuses").map(|status| number(status, "/restartCount")).sum();
    let last = list(pod, "/status/containerStatuses")
        .filter_map(|status| status.pointer("/lastState/terminated/finishedAt"))
        .max_by_key(|time| time.as_str().unwrap_or_default().to_owned());
    match last {
        Some(_) if restarts > 0 => format!("{restarts} ({} ago)", age::since(last, now)),
        _ => restarts.to_string(),
    }
}

/// What is going on with the pod, in one word.
pub(super) fn status(pod: &Value) -> String {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating".to_owned();
    }
    if let Some(initial) = starting(pod) {
        return initial;
    }
    let phase = or(text(pod, "/status/reason"), &or(text(pod, "/status/phase"), "Pending"));
    let mut word = phase;
    let mut running = false;
    for status in list(pod, "/status/containerStatuses").collect::<Vec<_>>().into_iter().rev() {
        if let Some(reason) = stopped(status) {
            word = reason;
        } else if status["ready"] == Value::Bool(true) && status.pointer("/state/running").is_some() {
            running = true;
        }
    }
    if word == "Completed" && running {
        let ready = conditions(pod).any(|(kind, value)| kind == "Ready" && value == "True");
        return if ready { "Running" } else { "NotReady" }.to_owned();
    }
    word
}

/// `Init:…` while init containers are at work.
fn starting(pod: &Value) -> Option<String> {
    let all = list(pod, "/spec/initContainers").count();
    for (index, status) in list(pod, "/status/initContainerStatuses").enumerate() {
        // It runs on beside the containers, and ends after them; they have their turn when it has started.
        if is_native(pod, status) && status["started"] == Value::Bool(true) {
            continue;
        }
        match status.pointer("/state/terminated") {
            // It ends after the containers, whichever way.
            Some(_) if is_native(pod, status) => {}
            Some(end) if number(end, "/exitCode") == 0 => {}
            Some(_) => return Some(format!("Init:{}", stopped(status).unwrap_or_default())),
            None => {
                let waiting = text(status, "/state/waiting/reason");
                let told = !waiting.is_empty() && waiting != "PodInitializing";
                return Some(if told { format!("Init:{waiting}") } else { format!("Init:{index}/{all}") });
            }
        }
    }
    None
}

/// Why a container does not run, if it does not.
fn stopped(status: &Value) -> Option<String> {
    if let Some(waiting) = status.pointer("/state/waiting") {
        return Some(text(waiting, "/reason")).filter(|reason| !reason.is_empty());
    }
    let end = status.pointer("/state/terminated")?;
    let reason = text(end, "/reason");
    Some(match (reason.is_empty(), number(end, "/signal")) {
        (false, _) => reason,
        (true, 0) => format!("ExitCode:{}", number(end, "/exitCode")),
        (true, signal) => format!("Signal:{signal}"),
    })
}
