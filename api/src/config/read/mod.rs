//! Reading a document tolerantly, and failing closed where it cannot be read.
//!
//! The bytes become a JSON tree first; a walk over the tree then makes the types. Unknown members are skipped without a
//! word (newer controllers may send more), and an absent member, `null` and an empty container are one and the same,
//! except in lists that say who may call: there, an empty list means nobody.
//!
//! Whatever has the wrong form is reported with its path, and the smallest unit around it pays:
//!
//! * A part that *restricts* (callers, methods, headers, principals, ranges …) never becomes "no restriction": the rule
//!   is left out, the source range refuses everyone, the certificate stays in place but is unusable.
//! * A part that *shapes* traffic (limits, retries, probes, logs) is left out, and its absence is reported.
//!
//! Reading fails only when there is no JSON object at all. It never panics, its memory is bounded by
//! [`MAX_DOCUMENT_BYTES`], and its recursion by the JSON parser's own limit of 128 levels.

mod bytes;
mod cursor;
mod inbound;
mod outbound;
mod policy;
mod rule;
mod spec;

pub use bytes::{MAX_DOCUMENT_BYTES, ReadError};

use super::{Certificate, Config, Problem};
use cursor::{Bearable, Loss, Node, Problems};
use std::collections::BTreeMap;

const INFORMATION: Loss = Loss::note("it only informs people and is left out");

impl Config {
    /// Reads a document, plain or gzip-compressed (told apart by the first bytes).
    ///
    /// The problems name every part that was left out, turned into a denial or repaired. An empty object reads without
    /// problems as the default; see [`Config::is_empty_placeholder`].
    ///
    /// # Errors
    /// [`ReadError`] when the bytes are no document at all. Everything less than that is a [`Problem`]
    /// and leaves the rest of the document in force.
    pub fn read(bytes: &[u8]) -> Result<(Self, Vec<Problem>), ReadError> {
        let document = bytes::parse(bytes)?;
        let problems = Problems::default();
        let config = read_config(&Node::root(&document, &problems));
        Ok((config, problems.into_list()))
    }
}

fn read_config(document: &Node<'_>) -> Config {
    const INBOUND: Loss = Loss::error("nothing may enter the pod");
    const OUTBOUND: Loss = Loss::error("no service is known to call");
    const ENDPOINT_LIST: Loss = Loss::error("no address is in the list of allowed endpoints");
    const LABEL: Loss = Loss::note("the address stays allowed, only its label is lost");
    const NAMES: Loss = Loss::error("no name is answered locally");
    const NAME: Loss = Loss::error("the name is not answered locally");

    let mut config = Config {
        ts: document.member("Ts").text(INFORMATION).value(),
        version: document.member("Version").text_or_number(INFORMATION).value(),
        metrics: document.member("Metrics").flag(INFORMATION).or_default(),
        spec: spec::read_spec(&document.member("Spec")),
        certificate: read_certificate(&document.member("Certificate")),
        inbound: document.member("Inbound").object(INBOUND).value().map(inbound::read_inbound),
        outbound: document.member("Outbound").object(OUTBOUND).value().map(outbound::read_outbound),
        forward: outbound::read_forward(&document.member("Forward")),
        allowed_endpoints: document
            .member("AllowedEndpoints")
            .map(ENDPOINT_LIST, |_, label| Some(label.text(LABEL).or_default()))
            .or_default(),
        chains: read_chains(&document.member("Chains")),
        dns_resolve_db: document
            .member("DNSResolveDB")
            .map(NAMES, |_, addresses| addresses.texts(NAME).value())
            .value(),
    };
    if config.spec.service_identity.is_empty() {
        config.spec.service_identity =
            identity_of_rule_sets(&config, &document.member("Spec").member("ServiceIdentity"));
    }
    config
}

/// A certificate, mesh or other. What is there but cannot be read stays there, unusable: to take it for absent would
/// turn TLS off.
fn read_certificate(node: &Node<'_>) -> Option<Certificate> {
    const UNUSABLE: Loss = Loss::error("the certificate is unusable and connections that need it are refused");
    let object = match node.object(UNUSABLE) {
        Ok(Some(object)) => object,
        Ok(None) => return None,
        Err(_) => return Some(Certificate::default()),
    };
    let pem = |name| object.member(name).text(UNUSABLE).or_default();
    Some(Certificate {
        fsm_issued: object.member("FsmIssued").flag(UNUSABLE).value(),
        common_name: object.member("CommonName").text(INFORMATION).or_default(),
        subject_alt_names: object.member("SubjectAltNames").texts(INFORMATION).or_default(),
        expiration: object.member("Expiration").text(INFORMATION).or_default(),
        cert_chain: pem("CertChain"),
        private_key: pem("PrivateKey"),
        issuing_ca: pem("IssuingCA"),
    })
}

/// A chain is read wholly or not at all: one that lost a stage could have lost the one that checks something.
fn read_chains(node: &Node<'_>) -> BTreeMap<String, Vec<String>> {
    const CHAIN: Loss = Loss::error("the chain consists of the built-in stages only");
    node.map(CHAIN, |_, chain| chain.texts(CHAIN).value()).or_default()
}

/// FSM 1.3.8 and older send the pod's identity with each outbound rule set instead of once.
fn identity_of_rule_sets(config: &Config, place: &Node<'_>) -> String {
    let rule_sets = config
        .outbound
        .iter()
        .flat_map(|outbound| outbound.traffic_matches.values().flatten())
        .flat_map(|element| element.http_service_route_rules.values());
    let mut identities =
        rule_sets.filter_map(|rules| rules.service_identity.as_deref()).filter(|identity| !identity.is_empty());
    let Some(first) = identities.next() else {
        return String::new();
    };
    if let Some(other) = identities.find(|identity| *identity != first) {
        place.report(
            &format!("the outbound rule sets name two identities, {first:?} and {other:?}"),
            Loss::error("the first is taken"),
        );
    }
    first.to_owned()
}
