//! Keys, certificates and files by which the programs of a cluster know each other.

use super::programs::Ports;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;
use std::path::Path;

/// Where the node makes connections for the API server, in the server's directory.
pub(crate) const EGRESS_SOCKET: &str = "egress.sock";

/// The authority, the server's and the administrator's certificate, the key of service accounts, a kubeconfig.
pub(super) fn write(directory: &Path, ports: Ports) {
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).expect("the directory is ours");
    let key = KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::default();
    params.distinguished_name = name("fsm-tests", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = params.self_signed(&key).expect("a certificate can be signed").pem();
    let issuer = Issuer::new(params, key);
    let issue = |names: &[&str], subject: DistinguishedName, purpose: ExtendedKeyUsagePurpose| {
        let key = KeyPair::generate().expect("a key can be made");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names are valid");
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &issuer).expect("a certificate can be signed");
        (certificate.pem(), key.serialize_pem())
    };
    let server_names = ["localhost", "kubernetes.default.svc", "127.0.0.1", "10.96.0.1"];
    let (certificate, key) = issue(&server_names, name("server", None), ExtendedKeyUsagePurpose::ServerAuth);
    write("ca.crt", &authority);
    write("server.crt", &certificate);
    write("server.key", &key);
    let (certificate, key) = issue(&[], name("admin", Some("system:masters")), ExtendedKeyUsagePurpose::ClientAuth);
    write("admin.crt", &certificate);
    write("admin.key", &key);
    let kubelet_client = name("kube-apiserver-kubelet-client", Some("system:masters"));
    let (certificate, key) = issue(&[], kubelet_client, ExtendedKeyUsagePurpose::ClientAuth);
    write("kubelet-client.crt", &certificate);
    write("kubelet-client.key", &key);
    let accounts = KeyPair::generate().expect("a key can be made");
    write("sa.key", &accounts.serialize_pem());
    write("sa.pub", &accounts.public_key_pem());
    let file = |name: &str| directory.join(name).display().to_string();
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "t",
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "admin"}}],
        "clusters": [{"name": "t", "cluster": {
            "server": format!("https://127.0.0.1:{}", ports.server), "certificate-authority": file("ca.crt"),
        }}],
        "users": [{"name": "admin", "user": {
            "client-certificate": file("admin.crt"), "client-key": file("admin.key"),
        }}],
    });
    write("admin.kubeconfig", &kubeconfig.to_string());
    // Connections to Services, pods and nodes are asked for at the node.
    let transport = json!({"uds": {"udsName": file(EGRESS_SOCKET)}});
    let egress = json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [
            {"name": "cluster", "connection": {"proxyProtocol": "HTTPConnect", "transport": transport}},
        ],
    });
    write("egress.yaml", &egress.to_string());
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}
