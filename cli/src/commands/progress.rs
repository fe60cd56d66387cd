//! What `fsm up` waits for, and how it tells of it: pure functions over the objects of a mesh.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pods;
use crate::output::columns;

/// What is known of the pods at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// `namespace/name` of each pod, with how it is.
    pub(super) pods: BTreeMap<String, Pod>,
    /// Workloads that do not have all their pods yet, with what is missing.
    pub(super) missing: BTreeMap<String, String>,
}

/// One pod at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    /// As `fsm get pods` shows it: `1/2 Running`.
    pub(super) shown: String,
    /// Whether nothing more is to be waited for: it is ready, or has done its work.
    pub(super) good: bool,
    /// What keeps it, if anything is known.
    pub(super) why: Option<String>,
}

impl Progress {
    /// Looks at pods and workloads (by `Kind.group`).
    pub(super) fn of(pods: &[Value], workloads: &[(&str, Vec<Value>)]) -> Self {
        let pods = pods.iter().map(|pod| {
            let (namespace, name) = pods::name(pod);
            (format!("{namespace}/{name}"), Pod::of(pod))
        });
        let missing =
            workloads.iter().flat_map(|(kind, objects)| objects.iter().filter_map(|object| missing(kind, object)));
        Self { pods: pods.collect(), missing: missing.collect() }
    }

    /// Whether there is nothing to wait for.
    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty() && self.pods.values().all(|pod| pod.good)
    }

    /// A line for each pod that is not as it was before.
    pub(super) fn news(&self, before: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, pod) in &self.pods {
            if before.pods.get(name).is_none_or(|old| old.shown != pod.shown) {
                lines.push(format!("pod {name}: {}", pod.shown));
            }
        }
        for name in before.pods.keys().filter(|name| !self.pods.contains_key(*name)) {
            lines.push(format!("pod {name}: gone"));
        }
        lines
    }

    /// What is not as it should be, one line each.
    pub(super) fn complaints(&self) -> Vec<String> {
        let bad = self.pods.iter().filter(|(_, pod)| !pod.good);
        let pods = bad.map(|(name, pod)| match &pod.why {
            Some(why) => format!("pod {name}: {}: {why}", pod.shown),
            None => format!("pod {name}: {}", pod.shown),
        });
        pods.chain(self.missing.iter().map(|(name, what)| format!("{name}: {what}"))).collect()
    }
}

impl Pod {
    fn of(pod: &Value) -> Self {
        let (ready, status) = columns::pod_state(pod);
        let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
        let done = phase == "Succeeded";
        Self { shown: format!("{ready} {status}"), good: done || pods::is_ready(pod), why: why(pod) }
    }
}

/// What the first container that is not well says of itself.
fn why(pod: &Value) -> Option<String> {
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|path| pod.pointer(path).and_then(Value::as_array))
        .flatten();
    for status in statuses.filter(|status| status["ready"] != Value::Bool(true)) {
        let name = status["name"].as_str().unwrap_or_default();
        let (namespace, pod_name) = pods::name(pod);
        let logs = format!("fsm logs {pod_name} -n {namespace} -c {name}");
        let text = |path: &str| status.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(message) = text("/state/waiting/message") {
            return Some(format!("container {name}: {message} (`{logs}`)"));
        }
        if let Some(code) = ["/state/terminated/exitCode", "/lastState/terminated/exitCode"]
            .into_iter()
            .find_map(|path| status.pointer(path).and_then(Value::as_i64))
            .filter(|code| *code != 0)
        {
            return Some(format!("container {name} ended with exit code {code} (`{logs}`)"));
        }
        if status.pointer("/state/running").is_some() {
            return Some(format!("container {name} runs and is not ready (`{logs}`)"));
        }
    }
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).map(str::to_owned);
    text("/status/message").or_else(|| text("/status/reason"))
}

/// A workload whose status does not tell of all the pods that it wants.
fn missing(kind: &str, object: &Value) -> Option<(String, String)> {
    let number = |path: &str| object.pointer(path).and_then(Value::as_u64);
    let (namespace, name) = pods::name(object);
    let word = kind.split('.').next().unwrap_or(kind).to_ascii_lowercase();
    let (wanted, ready) = match kind {
        "DaemonSet.apps" => (number("/status/desiredNumberScheduled").unwrap_or(1), number("/status/numberReady")),
        // Its pods are looked at one by one; here only whether it has begun.
        "Job.batch" => {
            let begun =
                ["/status/active", "/status/succeeded", "/status/failed"].iter().any(|path| number(path).is_some());
            (1, begun.then_some(1))
        }
        _ => (number("/spec/replicas").unwrap_or(1), number("/status/readyReplicas")),
    };
    let ready = ready.unwrap_or(0);
    (ready < wanted).then(|| (format!("{word} {namespace}/{name}"), format!("{ready} of {wanted} pods are ready")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn pod(status: Value) -> Value {
        json!({"metadata": {"namespace": "n", "name": "p"}, "spec": {"containers": [{"name": "app"}]}, "status": status})
    }

    fn deployment(status: Value) -> Value {
        json!({"metadata": {"namespace": "n", "name": "d"}, "spec": {"replicas": 2}, "status": status})
    }

    #[test]
    fn a_mesh_is_up_when_each_workload_has_its_pods_and_they_are_ready() {
        let ready = pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                               "containerStatuses": [{"name": "app", "ready": true, "state": {"running": {}}}]}));
        let nothing = Progress::of(&[], &[("Deployment.apps", vec![deployment(json!({}))])]);
        assert!(!nothing.is_done());
        assert_eq!(nothing.complaints(), ["deployment n/d: 0 of 2 pods are ready"]);
        let all = Progress::of(
            std::slice::from_ref(&ready),
            &[("Deployment.apps", vec![deployment(json!({"readyReplicas": 2}))])],
        );
        assert!(all.is_done() && all.complaints().is_empty());
        assert_eq!(all.news(&nothing), ["pod n/p: 1/1 Running"]);
        assert_eq!(nothing.news(&all), ["pod n/p: gone"]);
        assert!(all.news(&all).is_empty());
        assert!(Progress::of(&[pod(json!({"phase": "Succeeded"}))], &[]).is_done());
    }

    #[test]
    fn what_keeps_a_pod_is_told_with_the_command_that_tells_more() {
        let cases = [
            (json!({"waiting": {"reason": "CreateContainerError", "message": "no such program"}}), "no such program"),
            (json!({"terminated": {"exitCode": 3}}), "exit code 3"),
            (json!({"running": {}}), "is not ready"),
        ];
        for (state, expected) in cases {
            let pod = pod(
                json!({"phase": "Pending", "containerStatuses": [{"name": "app", "ready": false, "state": state}]}),
            );
            let complaints = Progress::of(&[pod], &[]).complaints();
            assert!(
                complaints[0].contains(expected) && complaints[0].contains("fsm logs p -n n -c app"),
                "{complaints:?}"
            );
        }
    }
}
