//! What people may see of a document.
//!
//! Private keys and the access log's credentials are taken out before a document is shown (`/config_dump`) or logged.
//! Plugin configurations are free-form; in them only private keys in PEM form can be told apart and are taken out.

use super::{Certificate, Config, Outbound, RemoteLogging};
use serde_json::Value;
use std::fmt;

/// Stands for something that was there and is not shown.
const REDACTED: &str = "<redacted>";

/// Every PEM label of a private key (`PRIVATE KEY`, `EC PRIVATE KEY`, `ENCRYPTED PRIVATE KEY`, …) ends so.
const PRIVATE_KEY_LABEL: &str = "PRIVATE KEY-----";

impl Config {
    /// The document without secrets: every `PrivateKey` is empty and a set `authorization` reads `<redacted>`.
    ///
    /// A certificate or CA member that carries a private key (a bundle of both, pasted into the wrong place) and any
    /// such text in a plugin's configuration are replaced by `<redacted>` as well.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut shown = self.clone();
        if let Some(logging) = &mut shown.spec.observability.remote_logging
            && !logging.authorization.is_empty()
        {
            logging.authorization = REDACTED.into();
        }
        if let Some(certificate) = &mut shown.certificate {
            certificate.redact();
        }
        for inbound in shown.inbound.iter_mut() {
            for port in inbound.traffic_matches.values_mut() {
                for rules in port.http_service_route_rules.values_mut() {
                    rules.plugins.values_mut().for_each(redact_json);
                }
                for rules in port.tcp_service_route_rules.iter_mut() {
                    rules.plugins.values_mut().for_each(redact_json);
                }
            }
        }
        if let Some(outbound) = &mut shown.outbound {
            redact_outbound(outbound);
        }
        shown
    }
}

impl Certificate {
    fn redact(&mut self) {
        self.private_key.clear();
        redact_text(&mut self.cert_chain);
        redact_text(&mut self.issuing_ca);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.clone();
        shown.redact();
        f.debug_struct("Certificate")
            .field("fsm_issued", &shown.fsm_issued)
            .field("common_name", &shown.common_name)
            .field("subject_alt_names", &shown.subject_alt_names)
            .field("expiration", &shown.expiration)
            .field("cert_chain", &shown.cert_chain)
            .field("private_key", &unless_empty(&self.private_key))
            .field("issuing_ca", &shown.issuing_ca)
            .finish()
    }
}

impl fmt::Debug for RemoteLogging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteLogging")
            .field("level", &self.level)
            .field("address", &self.address)
            .field("endpoint", &self.endpoint)
            .field("authorization", &unless_empty(&self.authorization))
            .field("sampled_fraction", &self.sampled_fraction)
            .finish()
    }
}

fn redact_outbound(outbound: &mut Outbound) {
    for element in outbound.traffic_matches.values_mut().flatten() {
        let ranges = element.destination_ip_ranges.iter_mut();
        for range in ranges.flat_map(|ranges| ranges.values_mut()).flatten() {
            if let Some(certificate) = &mut range.source_cert {
                certificate.redact();
            }
        }
        for rules in element.http_service_route_rules.values_mut() {
            rules.plugins.values_mut().for_each(redact_json);
        }
        for rules in element.tcp_service_route_rules.iter_mut() {
            rules.plugins.values_mut().for_each(redact_json);
        }
    }
    for cluster in outbound.clusters_configs.values_mut() {
        if let Some(certificate) = &mut cluster.source_cert {
            certificate.redact();
        }
    }
}

/// Recursion is bounded by the depth that the reader accepts.
fn redact_json(value: &mut Value) {
    match value {
        Value::String(text) => redact_text(text),
        Value::Array(list) => list.iter_mut().for_each(redact_json),
        Value::Object(map) => map.values_mut().for_each(redact_json),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn redact_text(text: &mut String) {
    if text.contains(PRIVATE_KEY_LABEL) {
        *text = REDACTED.into();
    }
}

fn unless_empty(secret: &str) -> &'static str {
    if secret.is_empty() { "" } else { REDACTED }
}
