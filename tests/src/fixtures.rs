//! FSM's four example documents, with real certificates instead of placeholders.
//!
//! Addresses stay as they are: every test has a network of its own, so its pods take the document's addresses.

use crate::{Authority, Leaf, LeafRequest};
use serde_json::Value;
use std::path::Path;

/// An example document and the mesh it belongs to.
pub struct Fixture {
    /// The document, ready for a sidecar.
    pub document: Value,
    /// The mesh's authority.
    pub mesh: Authority,
    /// Issues the certificates for egress (`SourceCert`).
    pub partner: Authority,
}

impl Fixture {
    /// A leaf of the mesh.
    pub fn leaf(&self, identity: &str) -> Leaf {
        self.mesh.leaf(identity)
    }
}

/// Loads `tests/fixtures/documents/NAME.json`: `permissive`, `smi`, `egress` or `policies`.
pub fn fixture(name: &str) -> Fixture {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/documents");
    let path = directory.join(format!("{name}.json"));
    let text = std::fs::read(&path)
        .unwrap_or_else(|why| panic!("the example document {} cannot be read: {why}", path.display()));
    let mut document: Value = serde_json::from_slice(&text)
        .unwrap_or_else(|why| panic!("the example document {} is not JSON: {why}", path.display()));
    let mesh = Authority::new("fsm-ca.fsm.io");
    let partner = Authority::new("partner.test");
    let identity = document["Spec"]["ServiceIdentity"].as_str().expect("the example names its identity").to_owned();
    // RSA, as FSM's controller issues by default.
    let own = mesh.issue(&LeafRequest::new(&identity).rsa());
    fill(&mut document["Certificate"], &own);
    fill_source_certificates(&mut document["Outbound"], &partner.leaf("batch.jobs"));
    Fixture { document, mesh, partner }
}

fn fill(certificate: &mut Value, leaf: &Leaf) {
    if certificate.is_object() {
        certificate["CertChain"] = leaf.certificate.clone().into();
        certificate["PrivateKey"] = leaf.key.clone().into();
        certificate["IssuingCA"] = leaf.authority.clone().into();
    }
}

fn fill_source_certificates(within: &mut Value, leaf: &Leaf) {
    match within {
        Value::Object(members) => {
            for (name, value) in members {
                if name == "SourceCert" && value["FsmIssued"] == Value::Bool(false) {
                    fill(value, leaf);
                } else {
                    fill_source_certificates(value, leaf);
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                fill_source_certificates(element, leaf);
            }
        }
        _ => {}
    }
}
