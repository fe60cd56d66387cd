//! Whether the sidecars of a mesh have what its objects say: `fsm up` says "up" no sooner.
//!
//! A pod that is ready was written down, but its endpoint has still to be read by fsm-control, sent to every sidecar and put in
//! force there. Each of these is compared: the endpoints in the objects with those that fsm-control knows, and what each
//! sidecar has acknowledged with what its group should have.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use crate::local::state::State;
use crate::reach::{Mesh, Place};

/// Label of an EndpointSlice: whose it is.
const SERVICE: &str = "kubernetes.io/service-name";

/// What of fsm-control's `/world` is looked at.
#[derive(Debug, Default, Deserialize)]
struct World {
    /// Nothing that it has read is still to be published.
    #[serde(default)]
    settled: bool,
    /// `namespace/name` of each service, with the number of its endpoints that take traffic.
    #[serde(default)]
    endpoints: BTreeMap<String, usize>,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    pods: Vec<String>,
    version: Option<String>,
}

/// What of fsm-control's `/proxies` is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proxy {
    pod: String,
    /// `stream`, or `repository`: whoever polls that comes for what is new by itself, some seconds later.
    #[serde(default)]
    follows: String,
    version_acknowledged: Option<String>,
    last_nack: Option<Value>,
}

/// What is still to happen, in words; `None` when every sidecar has what the objects say.
pub(super) fn missing(state: &State) -> Result<Option<String>> {
    let slices = state.objects().list("EndpointSlice.discovery.k8s.io", None)?;
    let mesh = Mesh::Local(state.clone());
    let seen = mesh.read(&Place::Control, "/world").and_then(|world: World| {
        let proxies: Vec<Proxy> = mesh.read(&Place::Control, "/proxies")?;
        Ok(compare(&endpoints(&slices), &world, &proxies))
    });
    // It may be just being started again.
    Ok(seen.unwrap_or_else(|why| Some(format!("{why:#}"))))
}

/// How many endpoints of each service take traffic.
fn endpoints(slices: &[Value]) -> BTreeMap<String, usize> {
    let mut ready: BTreeMap<String, std::collections::BTreeSet<&str>> = BTreeMap::new();
    for slice in slices {
        let text = |path: &str| slice.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let service = slice.pointer("/metadata/labels").and_then(|labels| labels.get(SERVICE)).and_then(Value::as_str);
        let Some(service) = service else { continue };
        let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
        // As Kubernetes says: unknown is to be taken for ready.
        let takes =
            |endpoint: &&Value| endpoint.pointer("/conditions/ready").is_none_or(|ready| *ready == Value::Bool(true));
        let addresses = endpoints.filter(takes).filter_map(|endpoint| endpoint.pointer("/addresses/0")?.as_str());
        ready.entry(format!("{}/{service}", text("/metadata/namespace"))).or_default().extend(addresses);
    }
    ready.into_iter().map(|(service, addresses)| (service, addresses.len())).collect()
}

fn compare(endpoints: &BTreeMap<String, usize>, world: &World, proxies: &[Proxy]) -> Option<String> {
    let known = |service: &str| world.endpoints.get(service).copied().unwrap_or_default();
    if let Some((service, number)) = endpoints.iter().find(|(service, number)| known(service) != **number) {
        return Some(format!("fsm-control knows {} of {number} endpoints of service {service}", known(service)));
    }
    if !world.settled {
        return Some("fsm-control computes what changed".to_owned());
    }
    let proxies: BTreeMap<&str, &Proxy> = proxies.iter().map(|proxy| (proxy.pod.as_str(), proxy)).collect();
    for group in &world.groups {
        for pod in &group.pods {
            let Some(proxy) = proxies.get(pod.as_str()) else {
                return Some(format!("the sidecar of pod {pod} is not connected to fsm-control"));
            };
            if proxy.follows != "repository" && group.version.is_some() && proxy.version_acknowledged != group.version {
                let refused = proxy.last_nack.as_ref().and_then(|nack| nack.get("reason")).and_then(Value::as_str);
                let why = refused.map_or_else(String::new, |reason| format!("; it refused one: {reason}"));
                return Some(format!("the sidecar of pod {pod} does not have the newest configuration yet{why}"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn slice(ready: &[(&str, bool)]) -> Value {
        let endpoint =
            |(address, ready): &(&str, bool)| json!({"addresses": [address], "conditions": {"ready": ready}});
        json!({"metadata": {"namespace": "shop", "labels": {SERVICE: "web"}},
               "endpoints": ready.iter().map(endpoint).collect::<Vec<_>>()})
    }

    fn missing(slices: &[Value], world: &Value, proxies: &Value) -> Option<String> {
        let world = serde_json::from_value(world.clone()).unwrap();
        let proxies: Vec<Proxy> = serde_json::from_value(proxies.clone()).unwrap();
        compare(&endpoints(slices), &world, &proxies)
    }

    #[test]
    fn a_mesh_has_converged_when_every_sidecar_has_what_follows_from_every_endpoint() {
        let slices = [slice(&[("10.0.0.1", true), ("10.0.0.2", false)]), slice(&[("10.0.0.1", true)])];
        let groups = json!([{"pods": ["shop/web-0"], "version": "7"}]);
        let world = json!({"settled": true, "endpoints": {"shop/web": 1}, "groups": groups});
        let proxies = json!([{"pod": "shop/web-0", "versionAcknowledged": "7", "lastNack": null}]);
        assert_eq!(missing(&slices, &world, &proxies), None);

        let with = |path: &str, value: Value| {
            let mut other = json!({"world": world, "proxies": proxies});
            *other.pointer_mut(path).unwrap() = value;
            missing(&slices, &other["world"], &other["proxies"]).unwrap()
        };
        assert_eq!(with("/world/endpoints", json!({})), "fsm-control knows 0 of 1 endpoints of service shop/web");
        assert!(with("/world/settled", json!(false)).contains("computes"));
        assert!(with("/proxies", json!([])).contains("pod shop/web-0 is not connected"));
        let behind = with("/world/groups/0/version", json!("8"));
        assert_eq!(behind, "the sidecar of pod shop/web-0 does not have the newest configuration yet");
        let mut polls = json!({"pod": "shop/web-0", "follows": "repository", "versionAcknowledged": "of its own"});
        assert_eq!(missing(&slices, &world, &json!([polls])), None);
        polls["follows"] = json!("stream");
        assert!(missing(&slices, &world, &json!([polls])).is_some());
        let never = with("/proxies/0", json!({"pod": "shop/web-0", "lastNack": {"version": "7", "reason": "why"}}));
        assert!(never.ends_with("it refused one: why"), "{never}");
    }
}
