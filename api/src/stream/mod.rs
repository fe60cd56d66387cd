//! The messages by which fsm-control keeps a proxy's document up to date.
//!
//! A proxy speaks HTTP/2 over TLS to fsm-control:
//!
//! 1. `POST` [`IDENTITY_PATH`] with its service-account token (`authorization: Bearer …`) and an [`IdentityRequest`]: it
//!    makes its key itself and gets an [`IdentityResponse`] for the account that the token names. The server is verified
//!    against the trust bundle that the pod was given.
//! 2. `POST` [`STREAM_PATH`] over *mutual* TLS with that identity. Request and response body are endless sequences
//!    of [frames](frame) of one message each, [`ProxyMessage`] upwards and [`ControlMessage`] downwards. The first message
//!    upwards is [`Hello`].
//!
//! Every [`Update`] and [`Delta`] is answered by one [`Ack`] or [`Nack`] of its version; control may send a newer
//! version without waiting. A document is sent without certificate and key: where the mesh uses mutual TLS its
//! `Certificate` is `{"FsmIssued": true}`, in whose place the proxy puts its own identity.
//!
//! A [`Delta`] is sent only to a proxy whose [`Hello`] says that it takes them, and builds upon the version that it acknowledged
//! last. The proxy compares what it has made with the digest that comes along. Where that differs (the proxy does not know
//! some member that fsm-control wrote) or the base is not the one in force, nothing changes, and the answer is a [`Nack`] with
//! `wantsWhole`; the whole document follows as an [`Update`] of the same version. A delta never has more than a quarter of the
//! bytes of its document, or 4 KiB.
//!
//! [`Trust`] has no answer; the proxy trusts the roots at once and asks for a new certificate soon. [`Current`] has none
//! either; a proxy that has another version in force takes it for a misunderstanding, ends the stream and comes back without
//! a version.
//!
//! Where the authority takes names from requests, a request for a certificate is answered with status 428 and
//! [`IdentityNames`], and the proxy repeats it with these names in it.
//!
//! A request that is refused has a status and a sentence for people as its body: 401 for a token or certificate that is
//! not accepted, 403 for one that is somebody else's (a proxy asks for a new certificate then), anything else for what may
//! pass by itself (it tries again with growing pauses). Either side may end the stream at any time; the proxy comes
//! back with the version it has.
//!
//! Unknown message types and members are ignored, so that either side may be newer. These types only say what is on the
//! wire; limits of time and who may ask are the business of the two sides. Kinds of messages that went out of use (17) are not given to
//! others.

pub mod frame;

use crate::config::Change;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Where a proxy asks for its certificate.
pub const IDENTITY_PATH: &str = "/v1/identity";

/// Where a proxy follows its document.
pub const STREAM_PATH: &str = "/v1/stream";

/// The port of fsm-control that proxies speak to (FSM's `ads` port).
pub const DEFAULT_PORT: u16 = 15128;

/// What a proxy sends to be given a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRequest {
    /// PEM: PKCS #10 request. Only its public key counts: the names follow from the token. It may carry these names, and
    /// no others; some authorities want them there, see [`IdentityNames`].
    pub csr: String,
}

/// Body of status 428 (precondition required) to an [`IdentityRequest`]: the authority of this mesh takes names from the
/// request, so it is to be repeated with these. They are the caller's own; others are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IdentityNames {
    /// Common name of the subject.
    pub common_name: String,
    /// Alternative names: DNS.
    pub dns: Vec<String>,
    /// Alternative names: URIs.
    pub uris: Vec<String>,
}

/// A proxy's certificate, and whom to trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityResponse {
    /// PEM: the leaf and intermediates. Its subject is the principal `<service account>.<namespace>.<trust domain>`.
    pub certificate_chain: String,
    /// PEM: the roots of the mesh; several during a rotation.
    pub trust_bundle: String,
    /// Seconds after which a new certificate should be asked for, jitter included.
    pub renew_after_seconds: u64,
}

/// From a proxy to fsm-control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyMessage {
    /// First of all.
    Hello(Hello),
    /// A version is in force.
    Ack(Ack),
    /// A version is not in force; the one before stays.
    Nack(Nack),
    /// Something of a newer proxy.
    Unknown,
}

/// Who follows, and from where on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod, when the proxy knows it.
    #[serde(default)]
    pub uid: String,
    /// Version of fsm-proxy.
    pub proxy_version: String,
    /// Version of the document in force, from before the connection broke or from the cache.
    #[serde(default)]
    pub version: Option<String>,
    /// The proxy takes [`Delta`]s.
    #[serde(default)]
    pub deltas: bool,
}

/// A version is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// Which.
    pub version: String,
    /// What was found in it and did not keep it from taking force.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// A version is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nack {
    /// Which.
    pub version: String,
    /// Why, for people.
    pub reason: String,
    /// The version is no defect: it builds upon a document that this proxy does not have. The whole document helps.
    #[serde(default)]
    pub wants_whole: bool,
}

/// From fsm-control to a proxy.
#[derive(Clone, Debug)]
pub enum ControlMessage {
    /// A whole document.
    Update(Update),
    /// What differs from another version.
    Delta(Delta),
    /// The version that the proxy said hello with is the newest.
    Current(Current),
    /// Other roots to trust; also a reason to ask for a new certificate.
    Trust(Trust),
    /// Something of a newer control plane.
    Unknown,
}

/// A whole document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Its version.
    pub version: String,
    /// The document, as [`Config::read`](crate::config::Config::read) takes it.
    pub document: Box<RawValue>,
}

/// What differs from a document that the proxy has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    /// The version that the document has then.
    pub version: String,
    /// The version that it builds upon.
    pub base: String,
    /// SHA-256, hexadecimal, of the text that the document has then without its stamps
    /// ([`Config::stampless`](crate::config::Config::stampless)).
    pub digest: String,
    /// To be made one after another.
    pub changes: Vec<Change>,
}

/// The proxy's version is the newest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Current {
    /// Which.
    pub version: String,
}

/// Other roots to trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trust {
    /// PEM: the roots of the mesh.
    pub trust_bundle: String,
}
