//! The columns that `fsm get` shows of each kind: those of kubectl for the kinds it knows, and for the mesh's own kinds
//! what a person looks for first.
//!
//! Objects are untyped here: a table must still be drawn of an object that no type would accept.

mod pod;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{Table, age};

/// Whether an object is in effect, as the control plane sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// One word: `Accepted`, or the reason of the problem.
    pub status: String,
    /// What is wrong; empty if nothing is.
    pub problem: String,
}

/// What a table shows beside the objects' own fields.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// `-o wide`.
    pub wide: bool,
    /// A column with the namespace (`-A`).
    pub namespaces: bool,
    /// A column with the labels.
    pub labels: bool,
    /// Written before each name, as in `service/httpbin`; used when several kinds are listed.
    pub prefix: Option<String>,
    /// What control says of policies, by namespace and name; `None` if it could not be asked.
    pub verdicts: Option<BTreeMap<(String, String), Verdict>>,
}

/// Draws the objects of one kind (`Deployment.apps`).
#[must_use]
pub fn table(kind: &str, objects: &[Value], look: &Look, now: Timestamp) -> Table {
    let columns = columns(kind, look);
    let mut headings = Vec::new();
    if look.namespaces {
        headings.push("NAMESPACE");
    }
    headings.push("NAME");
    headings.extend(columns.iter().map(|column| column.heading));
    if look.labels {
        headings.push("LABELS");
    }
    let mut table = Table::new(headings);
    for object in objects {
        let name = text(object, "/metadata/name");
        let mut cells = Vec::new();
        if look.namespaces {
            cells.push(text(object, "/metadata/namespace"));
        }
        cells.push(look.prefix.as_ref().map_or_else(|| name.clone(), |prefix| format!("{prefix}/{name}")));
        cells.extend(columns.iter().map(|column| (column.show)(object, look, now)));
        if look.labels {
            cells.push(or_none(pairs(object.pointer("/metadata/labels"))));
        }
        table.row(cells);
    }
    table
}

/// READY and STATUS of a pod.
#[must_use]
pub fn pod_state(pod: &Value) -> (String, String) {
    (pod::ready(pod), pod::status(pod))
}

struct Column {
    heading: &'static str,
    show: fn(&Value, &Look, Timestamp) -> String,
}

const fn column(heading: &'static str, show: fn(&Value, &Look, Timestamp) -> String) -> Column {
    Column { heading, show }
}

fn columns(kind: &str, look: &Look) -> Vec<Column> {
    let mut columns = of_workloads(kind).or_else(|| of_core(kind)).unwrap_or_else(|| of_mesh(kind, look));
    columns.push(column("AGE", |object, _, now| age::since(object.pointer("/metadata/creationTimestamp"), now)));
    if look.wide {
        columns.extend(wide(kind));
    }
    columns
}

fn of_workloads(kind: &str) -> Option<Vec<Column>> {
    let ready =
        column("READY", |object, _, _| format!("{}/{}", number(object, "/status/readyReplicas"), desired(object)));
    Some(match kind {
        "Pod" => vec![
            column("READY", |object, _, _| pod::ready(object)),
            column("STATUS", |object, _, _| pod::status(object)),
            column("RESTARTS", pod::restarts),
        ],
        "Deployment.apps" => vec![
            ready,
            column("UP-TO-DATE", |object, _, _| number(object, "/status/updatedReplicas").to_string()),
            column("AVAILABLE", |object, _, _| number(object, "/status/availableReplicas").to_string()),
        ],
        "StatefulSet.apps" => vec![ready],
        "ReplicaSet.apps" => vec![
            column("DESIRED", |object, _, _| desired(object).to_string()),
            column("CURRENT", |object, _, _| number(object, "/status/replicas").to_string()),
            column("READY", |object, _, _| number(object, "/status/readyReplicas").to_string()),
        ],
        "DaemonSet.apps" => vec![
            column("DESIRED", |object, _, _| number(object, "/status/desiredNumberScheduled").to_string()),
            column("CURRENT", |object, _, _| number(object, "/status/currentNumberScheduled").to_string()),
            column("READY", |object, _, _| number(object, "/status/numberReady").to_string()),
            column("UP-TO-DATE", |object, _, _| number(object, "/status/updatedNumberScheduled").to_string()),
            column("AVAILABLE", |object, _, _| number(object, "/status/numberAvailable").to_string()),
        ],
        "Job.batch" => vec![
            column("STATUS", |object, _, _| job_status(object)),
            column("COMPLETIONS", |object, _, _| {
                let wanted = object.pointer("/spec/completions").and_then(Value::as_u64).unwrap_or(1);
                format!("{}/{wanted}", number(object, "/status/succeeded"))
            }),
        ],
        _ => return None,
    })
}

fn desired(object: &Value) -> u64 {
    object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
}

fn job_status(object: &Value) -> String {
    let is = |wanted| conditions(object).any(|(kind, status)| kind == wanted && status == "True");
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else {
        "Running"
    }
    .to_owned()
}

fn of_core(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Service" => vec![
            column("TYPE", |object, _, _| or(text(object, "/spec/type"), "ClusterIP")),
            column("CLUSTER-IP", |object, _, _| or_none(text(object, "/spec/clusterIP"))),
            column("EXTERNAL-IP", |object, _, _| or_none(text(object, "/spec/externalName"))),
            column("PORT(S)", |object, _, _| or_none(service_ports(object))),
        ],
        "Namespace" => vec![column("STATUS", |object, _, _| or(text(object, "/status/phase"), "Active"))],
        "Secret" => vec![
            column("TYPE", |object, _, _| or(text(object, "/type"), "Opaque")),
            column("DATA", |object, _, _| (count(object, "/data") + count(object, "/stringData")).to_string()),
        ],
        "ConfigMap" => {
            vec![column("DATA", |object, _, _| (count(object, "/data") + count(object, "/binaryData")).to_string())]
        }
        "ServiceAccount" => vec![column("SECRETS", |object, _, _| count(object, "/secrets").to_string())],
        "Endpoints" => vec![column("ENDPOINTS", |object, _, _| endpoints(object))],
        "EndpointSlice.discovery.k8s.io" => vec![
            column("ADDRESSTYPE", |object, _, _| text(object, "/addressType")),
            column("PORTS", |object, _, _| shortened(list(object, "/ports").map(|port| text(port, "/port")))),
            column("ENDPOINTS", |object, _, _| {
                shortened(list(object, "/endpoints").flat_map(|endpoint| strings(endpoint, "/addresses")))
            }),
        ],
        "Ingress.networking.k8s.io" => vec![
            column("CLASS", |object, _, _| or_none(text(object, "/spec/ingressClassName"))),
            column("HOSTS", |object, _, _| {
                let hosts: Vec<_> = list(object, "/spec/rules").map(|rule| or(text(rule, "/host"), "*")).collect();
                or(hosts.join(","), "*")
            }),
        ],
        _ => return None,
    })
}

fn of_mesh(kind: &str, look: &Look) -> Vec<Column> {
    let mut columns = match kind.split_once('.').map_or(kind, |(kind, _)| kind) {
        "TrafficSplit" => vec![
            column("SERVICE", |object, _, _| text(object, "/spec/service")),
            column("BACKENDS", |object, _, _| {
                let backends: Vec<_> = list(object, "/spec/backends")
                    .map(|backend| format!("{}={}", text(backend, "/service"), or(text(backend, "/weight"), "0")))
                    .collect();
                or_none(backends.join(","))
            }),
        ],
        "TrafficTarget" => vec![
            column("SOURCES", |object, _, _| {
                let sources: Vec<_> = list(object, "/spec/sources").map(account).collect();
                or_none(sources.join(","))
            }),
            column("DESTINATION", |object, _, _| object.pointer("/spec/destination").map(account).unwrap_or_default()),
        ],
        "MeshConfig" => vec![
            column("PERMISSIVE", |object, _, _| switch(object, "/spec/traffic/enablePermissiveTrafficPolicyMode")),
            column("EGRESS", |object, _, _| switch(object, "/spec/traffic/enableEgress")),
            column("MTLS", |object, _, _| {
                let off = object.pointer("/spec/sidecar/sidecarDisabledMTLS") == Some(&Value::Bool(true));
                if off { "off" } else { "on" }.to_owned()
            }),
        ],
        "Egress" => {
            vec![column("HOSTS", |object, _, _| or_none(strings(object, "/spec/hosts").collect::<Vec<_>>().join(",")))]
        }
        "UpstreamTrafficSetting" => vec![column("HOST", |object, _, _| text(object, "/spec/host"))],
        _ => Vec::new(),
    };
    if look.verdicts.is_some() {
        columns.push(column("STATUS", |object, look, _| {
            verdict(object, look).map_or("Accepted".to_owned(), |v| v.status.clone())
        }));
        columns.push(column("PROBLEM", |object, look, _| {
            or_none(verdict(object, look).map_or(String::new(), |v| clipped(&v.problem, look.wide)))
        }));
    }
    columns
}

/// The beginning of a long text, unless all of it is wanted.
fn clipped(text: &str, whole: bool) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) if !whole => format!("{}… (-o wide shows all)", text[..end].trim_end()),
        _ => text.to_owned(),
    }
}

fn verdict<'a>(object: &Value, look: &'a Look) -> Option<&'a Verdict> {
    look.verdicts.as_ref()?.get(&(text(object, "/metadata/namespace"), text(object, "/metadata/name")))
}

fn wide(kind: &str) -> Vec<Column> {
    match kind {
        "Pod" => vec![
            column("IP", |object, _, _| or_none(text(object, "/status/podIP"))),
            column("NODE", |object, _, _| or_none(text(object, "/spec/nodeName"))),
        ],
        "Deployment.apps" | "ReplicaSet.apps" | "StatefulSet.apps" | "DaemonSet.apps" | "Job.batch" => vec![
            column("CONTAINERS", |object, _, _| containers(object, "/name")),
            column("IMAGES", |object, _, _| containers(object, "/image")),
            column("SELECTOR", |object, _, _| or_none(pairs(object.pointer("/spec/selector/matchLabels")))),
        ],
        "Service" => vec![column("SELECTOR", |object, _, _| or_none(pairs(object.pointer("/spec/selector"))))],
        _ => Vec::new(),
    }
}

fn containers(object: &Value, field: &str) -> String {
    let names: Vec<_> =
        list(object, "/spec/template/spec/containers").map(|container| text(container, field)).collect();
    names.join(",")
}

fn account(reference: &Value) -> String {
    format!("{}/{}", or(text(reference, "/namespace"), "*"), or(text(reference, "/name"), "*"))
}

fn switch(object: &Value, path: &str) -> String {
    match object.pointer(path).and_then(Value::as_bool) {
        Some(true) => "on",
        Some(false) => "off",
        None => "<unset>",
    }
    .to_owned()
}

fn service_ports(object: &Value) -> String {
    let ports: Vec<_> = list(object, "/spec/ports")
        .map(|port| {
            let node = text(port, "/nodePort");
            let node = if node.is_empty() { node } else { format!(":{node}") };
            format!("{}{node}/{}", text(port, "/port"), or(text(port, "/protocol"), "TCP"))
        })
        .collect();
    ports.join(",")
}

fn endpoints(object: &Value) -> String {
    shortened(list(object, "/subsets").flat_map(|subset| {
        let ports: Vec<_> = list(subset, "/ports").map(|port| text(port, "/port")).collect();
        list(subset, "/addresses")
            .flat_map(|address| {
                let ip = text(address, "/ip");
                ports.iter().map(move |port| format!("{ip}:{port}")).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    }))
}

/// The first three, and how many more there are.
fn shortened(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    match items.len() {
        0 => "<none>".to_owned(),
        1..4 => items.join(","),
        count => format!("{} + {} more...", items[..3].join(","), count - 3),
    }
}

/// A scalar field as text; empty if it is missing or no scalar.
fn text(object: &Value, path: &str) -> String {
    match object.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => String::new(),
    }
}

fn number(object: &Value, path: &str) -> u64 {
    object.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn list<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn strings(object: &Value, path: &str) -> impl Iterator<Item = String> {
    list(object, path).filter_map(Value::as_str).map(str::to_owned)
}

fn count(object: &Value, path: &str) -> usize {
    match object.pointer(path) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    }
}

fn pairs(map: Option<&Value>) -> String {
    let pairs: Vec<_> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.join(",")
}

fn conditions(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    list(object, "/status/conditions")
        .filter_map(|condition| Some((condition.get("type")?.as_str()?, condition.get("status")?.as_str()?)))
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text }
}

fn or_none(text: String) -> String {
    or(text, "<none>")
}

#[cfg(test)]
mod tests;
