//! Which workload a pod belongs to.

use serde_json::Value;

/// What a pod is a pod of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// `deploy/name`, `sts/name`, …, `pod/name`.
    pub name: String,
    /// `<sa>.<ns>` of its pods.
    pub account: Option<String>,
}

impl Workload {
    /// The workload of a pod: its controller; of a ReplicaSet the Deployment whose hash its name ends with.
    #[must_use]
    pub fn of(pod: &Value) -> Self {
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str);
        let namespace = text("/metadata/namespace").unwrap_or_default();
        let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == Value::Bool(true));
        let owner = owner.or_else(|| owners.and_then(|owners| owners.first()));
        let named = owner.and_then(|owner| Some((owner["kind"].as_str()?, owner["name"].as_str()?)));
        let name = match named {
            Some(("ReplicaSet", set)) => {
                let hash = text("/metadata/labels/pod-template-hash").unwrap_or_default();
                match set.strip_suffix(hash).and_then(|name| name.strip_suffix('-')) {
                    Some(name) if !hash.is_empty() => format!("deploy/{name}"),
                    _ => format!("rs/{set}"),
                }
            }
            Some(("Deployment", name)) => format!("deploy/{name}"),
            Some(("StatefulSet", name)) => format!("sts/{name}"),
            Some(("DaemonSet", name)) => format!("ds/{name}"),
            Some((kind, name)) => format!("{}/{name}", kind.to_ascii_lowercase()),
            None => format!("pod/{}", text("/metadata/name").unwrap_or_default()),
        };
        let account = text("/spec/serviceAccountName").filter(|account| !account.is_empty()).unwrap_or("default");
        Self { namespace: namespace.to_owned(), name, account: Some(format!("{account}.{namespace}")) }
    }
}

/// The addresses of a pod.
#[must_use]
pub fn addresses(pod: &Value) -> Vec<String> {
    let first = pod.pointer("/status/podIP").and_then(Value::as_str);
    let all = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
    let mut found: Vec<String> = first.into_iter().map(str::to_owned).collect();
    for address in all.filter_map(|one| one["ip"].as_str()) {
        if !found.iter().any(|known| known == address) {
            found.push(address.to_owned());
        }
    }
    found
}
