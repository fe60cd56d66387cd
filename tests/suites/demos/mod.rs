//! The owner's demo pages as executable scenarios: the documents that FSM's controller makes of each page's resources,
//! real interception, curl and fortio as on the page, and what the page shows as assertions.
//!
//! Where a page's numbers cannot be met exactly (they are those of one run, or of an older release), the test says so
//! beside the assertion.

mod bidirectional_tls;
mod canary;
mod churn;
mod circuit_breaking;
mod egress_gateway_passthrough;
mod egress_gateway_policy;
mod egress_passthrough;
mod egress_policy;
mod failing_upstreams;
mod http_rate_limit;
mod outbound_exclusions;
mod permissive;
mod range_access;
mod retry;
mod service_access;
mod tcp_rate_limit;
mod tcp_routing;

use fsm_tests::{
    Authority, Document, Leaf, LeafRequest, Mesh, Outcome, Pod, Service, Sidecar, SidecarOptions, hosts_of,
};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::path::PathBuf;

/// One cluster with FSM, as the pages set it up.
struct Demo {
    mesh: Mesh,
    authority: Authority,
}

impl Demo {
    /// An empty cluster; `None` when the test cannot run here.
    fn create() -> Option<Self> {
        Some(Self { mesh: Mesh::create()?, authority: Authority::new("fsm-ca.fsm.io") })
    }

    /// A pod with exactly these addresses.
    fn pod(&self, name: &str, addresses: &[&str]) -> Pod {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.mesh.pod_at(name, &addresses)
    }

    /// The document of a pod whose service account is `<sa>.<ns>`, before it serves or calls anything.
    fn document(&self, identity: &str) -> Document {
        // RSA, as FSM's controller issues by default.
        Document::new(&self.authority.issue(&LeafRequest::new(identity).rsa()))
    }

    /// The document of a pod that may call nothing and serves nothing: the controller sends nulls.
    fn isolated(&self, identity: &str) -> Document {
        nothing_inbound(self.document(identity)).set("/Outbound", Value::Null)
    }
}

/// What the controller sends for a pod that no service selects.
fn nothing_inbound(document: Document) -> Document {
    document.set("/Inbound", json!({"TrafficMatches": null, "ClustersConfigs": null}))
}

/// Starts the sidecar with the environment that FSM's injector gives it. `app` is the Deployment's name.
async fn inject(pod: &Pod, app: &str, document: &Document) -> Sidecar {
    inject_with(pod, app, document, &[]).await
}

/// The same with arguments of the init container.
async fn inject_with(pod: &Pod, app: &str, document: &Document, init: &[&str]) -> Sidecar {
    let identity = document.json()["Spec"]["ServiceIdentity"].as_str().unwrap();
    let (account, namespace) = identity.split_once('.').unwrap();
    let pod_name = format!("{app}-5b8b94b9-lt2vs");
    let environment = [
        ("POD_NAMESPACE", namespace),
        ("POD_NAME", pod_name.as_str()),
        ("POD_CONTROLLER_KIND", "Deployment"),
        ("SERVICE_ACCOUNT", account),
    ];
    let options = SidecarOptions {
        init: init.iter().map(|&argument| argument.to_owned()).collect(),
        environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..SidecarOptions::default()
    };
    Sidecar::start_with(pod, document.json(), &options).await
}

/// Cluster DNS: the service's names lead to its cluster IP.
fn knows(pod: &Pod, service: &Service) {
    let address = service.cluster_ips[0].to_string();
    let names = hosts_of(&service.name, &service.namespace, service.port);
    let entries: Vec<_> =
        names.iter().filter(|name| !name.contains(':')).map(|name| (address.as_str(), name.as_str())).collect();
    pod.hosts(&entries);
}

/// An HTTP egress policy's part of the outbound document, as the controller writes it for one host and port.
fn egress_http(document: Document, host: &str, port: u16, rules: &[Value]) -> Document {
    let cluster = format!("{host}:{port}");
    let rules: Vec<Value> = rules
        .iter()
        .cloned()
        .map(|mut rule| {
            rule["TargetClusters"] = json!({&cluster: 100});
            rule
        })
        .collect();
    document.set(
        "/Outbound",
        json!({
            "TrafficMatches": {port.to_string(): [{
                "DestinationIPRanges": null,
                "Port": port,
                "Protocol": "http",
                "HttpHostPort2Service": {host: {"RuleName": host}, &cluster: {"RuleName": host}},
                "HttpServiceRouteRules": {host: {"RouteRules": rules, "EgressForwardGateway": "*"}},
            }]},
            "ClustersConfigs": {&cluster: {"Endpoints": {&cluster: {"Weight": 100}}}},
        }),
    )
}

/// The only rule of most documents: any path, any method.
fn any_path() -> Value {
    json!({"Path": ".*", "Type": "Regex"})
}

/// Lets sources outside of the mesh in, as IngressBackend and AccessControl do: `ranges` with what is asked of them, a
/// rule set `*`, and their addresses among those that may connect.
fn admit_outsiders(document: Document, service: &Service, ranges: &[(&str, Value)]) -> Document {
    let port = service.port;
    let at = |key: &str| format!("/Inbound/TrafficMatches/{port}/{key}");
    let map: Map<String, Value> = ranges.iter().map(|(range, demand)| ((*range).to_owned(), demand.clone())).collect();
    let mut document = document
        .set(&at("SourceIPRanges"), Value::Object(map))
        .set(&at("HttpHostPort2Service/*"), json!({"RuleName": "*"}))
        .set(
            &at("HttpServiceRouteRules/*"),
            json!({"RouteRules": [{"Path": ".*", "Type": "Regex", "TargetClusters": {service.local_cluster(): 100}}]}),
        );
    for (range, _) in ranges {
        let key = range.trim_end_matches("/32").replace('/', "~1");
        document = document.set(&format!("/AllowedEndpoints/{key}"), json!("Ingress/Accessor"));
    }
    document
}

/// The range's demand when the backend's protocol is https: a certificate with one of these names.
fn certificate_of(principals: &[&str]) -> Value {
    json!({"mTLS": true, "SkipClientCertValidation": false, "AuthenticatedPrincipals": principals})
}

/// Puts a leaf where the pod's programs find it, like a mounted secret: certificate, key, authority.
fn mount(pod: &Pod, leaf: &Leaf) -> [PathBuf; 3] {
    mount_as(pod, "secret", leaf)
}

/// The same for one of several secrets.
fn mount_as(pod: &Pod, secret: &str, leaf: &Leaf) -> [PathBuf; 3] {
    let files = [("tls.crt", &leaf.certificate), ("tls.key", &leaf.key), ("ca.crt", &leaf.authority)];
    files.map(|(name, text)| {
        let path = pod.directory().join(format!("{secret}-{name}"));
        std::fs::write(&path, text).unwrap();
        path
    })
}

/// Asserts curl's exit code.
#[track_caller]
fn fails(outcome: &Outcome, code: i32) {
    assert_eq!(outcome.code, code, "{outcome:?}");
}

/// Asserts a response's status.
#[track_caller]
fn answers(outcome: &Outcome, status: u16) {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.status(), status, "{outcome:?}");
}
