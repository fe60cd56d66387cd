//! What traffic may do: the kinds of `policy.flomesh.io/v1alpha1`.
//!
//! Every field that FSM's custom resource definitions leave optional is optional here. Strings with a known set of
//! values (protocols, kinds of sources…) stay strings, because FSM accepts any text there and judges
//! it later; the world reports what it cannot use.

use k8s_openapi::api::core::v1::{SecretReference, TypedLocalObjectReference};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;

mod limits;

pub use limits::*;

/// What became of a policy: written by the control plane, read by people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// One word, for example `committed` or `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_status: Option<String>,
    /// Why the policy is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which programs of the mesh may reach which destinations outside of it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "Egress",
    plural = "egresses",
    shortname = "egress",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "Egress lets programs of the mesh reach destinations outside of it."
)]
#[serde(rename_all = "camelCase")]
pub struct EgressSpec {
    /// Who may use this rule.
    pub sources: Vec<EgressSource>,
    /// Host names: the `Host` header for http, the server name (SNI) for https; not looked at for tcp.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Destination ranges in CIDR notation, for tcp and https; not looked at for http.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// Destination ports and what is spoken there: `http`, `https`, `tcp` or `tcp-server-first`.
    pub ports: Vec<PolicyPort>,
    /// Further conditions: HTTPRouteGroups of SMI, and at most one UpstreamTrafficSetting, of the same namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<TypedLocalObjectReference>,
}

/// Who may use an [`Egress`] rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressSource {
    /// Kind of the source: `ServiceAccount`.
    pub kind: String,
    /// Name of the source.
    pub name: String,
    /// Namespace of the source.
    pub namespace: String,
    /// The client certificate to present outside of the mesh; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<EgressMtls>,
}

/// The client certificate that a source presents to a destination outside of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressMtls {
    /// `fsm`: the proxy presents its certificate of the mesh; `other`, empty or absent: the one in `cert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// A certificate that does not come from the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<EgressCertificate>,
}

/// A client certificate that somebody else issued, kept in a Secret with the keys `ca.crt`, `tls.crt` and `tls.key`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressCertificate {
    /// Serial number; when it changes, the Secret is read again.
    pub sn: i64,
    /// When the certificate ends, as text.
    pub expiration: String,
    /// Names that the certificate is for.
    pub subject_alt_names: Vec<String>,
    /// Where the certificate is kept.
    pub secret: SecretReference,
}

/// A port and the protocol that is spoken there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPort {
    /// Port number.
    pub number: u16,
    /// Protocol: `http`, `https`, `grpc`, `tcp` or `tcp-server-first`, as far as the kind allows it.
    pub protocol: String,
}

/// The gateways through which egress traffic of the whole mesh leaves.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "EgressGateway",
    plural = "egressgateways",
    shortname = "egressgateway",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "EgressGateway sends traffic that leaves the mesh through gateways."
)]
#[serde(rename_all = "camelCase")]
pub struct EgressGatewaySpec {
    /// Gateways for everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub global: Vec<EgressGatewayTarget>,
}

/// One Service of egress gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressGatewayTarget {
    /// Name of the Service.
    pub service: String,
    /// Namespace of the Service.
    pub namespace: String,
    /// Share of the traffic, relative to the other gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Which ingress may reach which Services of this namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "IngressBackend",
    plural = "ingressbackends",
    shortname = "ingressbackend",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "IngressBackend lets an ingress reach Services of the mesh."
)]
#[serde(rename_all = "camelCase")]
pub struct IngressBackendSpec {
    /// The Services that may be reached.
    pub backends: Vec<Backend>,
    /// Who may reach them.
    pub sources: Vec<AccessSource>,
    /// Accepted for compatibility; FSM never applied it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<TypedLocalObjectReference>,
}

/// A Service of the policy's namespace, at one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Name of the Service.
    pub name: String,
    /// The port that the application listens on (the Service's target port, not the Service's own port).
    pub port: PolicyPort,
    /// How TLS of the client is treated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
}

/// How a client outside of the mesh must speak TLS to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTls {
    /// True: any client certificate, or none, is accepted.
    pub skip_client_cert_validation: bool,
    /// Server names that clients may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sni_hosts: Vec<String>,
}

/// Who may reach a backend from outside of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessSource {
    /// `Service`, `IPRange` or `AuthenticatedPrincipal`.
    pub kind: String,
    /// Name of the Service, the range in CIDR notation, or the certificate's common name (`*`: any).
    pub name: String,
    /// Namespace of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Who outside of the mesh may reach the Services of this namespace, without an ingress.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "AccessControl",
    plural = "accesscontrols",
    shortname = "accesscontrol",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "AccessControl lets clients outside of the mesh reach Services of the mesh."
)]
#[serde(rename_all = "camelCase")]
pub struct AccessControlSpec {
    /// The Services that may be reached; none: FSM lets every Service of the mesh be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    /// Who may reach them.
    pub sources: Vec<AccessSource>,
    /// Accepted for compatibility; FSM never applied it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<TypedLocalObjectReference>,
}

/// A certificate for a client outside of the mesh, issued by the mesh into a Secret.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "AccessCert",
    plural = "accesscerts",
    shortname = "acct",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "AccessCert has a client certificate for a program outside of the mesh issued into a Secret."
)]
#[serde(rename_all = "camelCase")]
pub struct AccessCertSpec {
    /// Names that the certificate is for; the first is its common name too.
    pub subject_alt_names: Vec<String>,
    /// Where the certificate is put.
    pub secret: SecretReference,
}

/// Address ranges that the mesh leaves alone: endpoints and proxies with such an address are in nobody's configuration.
/// One object counts for the whole cluster.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "Isolation",
    plural = "isolations",
    shortname = "iso",
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "Isolation names address ranges that are left out of everybody's configuration."
)]
#[serde(rename_all = "camelCase")]
pub struct IsolationSpec {
    /// Ranges in CIDR notation, at least one.
    #[schemars(length(min = 1))]
    pub cidrs: Vec<String>,
}

/// How requests of one account to Services are tried again.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "Retry",
    plural = "retries",
    shortname = "retry",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "Retry has failed requests tried again."
)]
#[serde(rename_all = "camelCase")]
pub struct RetrySpec {
    /// Whose requests.
    pub source: NamespacedRef,
    /// Requests to which Services.
    pub destinations: Vec<NamespacedRef>,
    /// When and how often.
    pub retry_policy: RetryPolicy,
}

/// An object by kind, name and namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedRef {
    /// Kind: `ServiceAccount` for sources, `Service` for destinations.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// When a request is tried again, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// Conditions, separated by commas: `5xx`, `gateway-error`, `connect-failure`…
    pub retry_on: String,
    /// How long one try may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<GoDuration>,
    /// How many tries follow the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<u32>,
    /// The pause before the first repetition; later ones grow from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_backoff_base_interval: Option<GoDuration>,
}

/// Limits of the traffic to one host: connections, circuit breaking, rates.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "UpstreamTrafficSetting",
    plural = "upstreamtrafficsettings",
    shortname = "upstreamtrafficsetting",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "UpstreamTrafficSetting limits the traffic to one host."
)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTrafficSettingSpec {
    /// `<service>.<namespace>` or `<service>.<namespace>.svc.<trust domain>`; for an Egress rule that names this object
    /// in `matches`: any host.
    pub host: String,
    /// Limits of the connections to the host, kept by clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_settings: Option<ConnectionSettings>,
    /// Limits of the rate, kept by each instance of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Limits of the rate of single routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_routes: Vec<HttpRouteSetting>,
}

/// How new instances of a Service get their share of the traffic step by step. Counts for the Service of the same name
/// in the same namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.flomesh.io",
    version = "v1alpha1",
    kind = "TrafficWarmup",
    plural = "trafficwarmups",
    shortname = "trafficwarmup",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "TrafficWarmup gives new instances of a Service their traffic step by step."
)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficWarmupSpec {
    /// Whether it counts at all.
    pub enable: bool,
    /// How long until an instance gets its full share.
    pub duration: GoDuration,
    /// Weight at the start, in percent of the full one.
    #[schemars(range(max = 100))]
    pub min_weight: u32,
    /// Weight at the end, in percent of the full one.
    #[schemars(range(max = 100))]
    pub max_weight: u32,
    /// Form of the curve: 1 is a straight line, more starts steeper.
    #[schemars(range(min = 1))]
    pub aggression: f64,
}

impl Default for TrafficWarmupSpec {
    fn default() -> Self {
        Self { enable: true, duration: GoDuration::from_seconds(90), min_weight: 10, max_weight: 100, aggression: 1.0 }
    }
}
