//! What a controller would give the two sidecars: certificates and `config.json`, in FSM's form.
//!
//! Service `api.shop` has three ports. On the first one `web.shop` may call `/orders`, `admin.ops` everything.

use crate::application::{ECHO_PORT, GRPC_PORT, HTTP_PORT};
use crate::pods::{CLIENT_IP, OUTSIDE_IP, SERVER_IP};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

/// Who calls: service account `web` of namespace `shop`.
pub(crate) const CLIENT: &str = "web.shop";
/// Who serves.
pub(crate) const SERVER: &str = "api.shop";
/// Who would be permitted to call everything.
pub(crate) const ADMINISTRATOR: &str = "admin.ops";
/// The address that stands for the service; nobody has it.
pub(crate) const CLUSTER_IP: &str = "10.96.0.1";
/// The name of the service and its HTTP port.
pub(crate) const SERVICE_PORT: u16 = 80;

/// Both sidecars' documents, with certificates of a new authority.
pub(crate) struct Documents {
    /// For the pod that calls.
    pub(crate) client: Value,
    /// For the pod that serves.
    pub(crate) server: Value,
}

impl Documents {
    /// Makes an authority, two certificates and two documents.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub(crate) fn make() -> Result<Self, rcgen::Error> {
        let authority = Authority::new()?;
        Ok(Self { client: client(authority.certificate(CLIENT)?), server: server(authority.certificate(SERVER)?) })
    }
}

fn client(certificate: Value) -> Value {
    let mut matches = serde_json::Map::new();
    let mut clusters = serde_json::Map::new();
    let ports = [(SERVICE_PORT, "http", HTTP_PORT), (GRPC_PORT, "grpc", GRPC_PORT), (ECHO_PORT, "tcp", ECHO_PORT)];
    for (port, protocol, target_port) in ports {
        let cluster = format!("shop/api|{target_port}");
        let mut entry = json!({
            "DestinationIPRanges": {format!("{CLUSTER_IP}/32"): null},
            "Port": port,
            "Protocol": protocol,
        });
        if protocol == "tcp" {
            entry["TcpServiceRouteRules"] = json!({"TargetClusters": {&cluster: 100}});
        } else {
            entry["HttpHostPort2Service"] = hosts(port);
            entry["HttpServiceRouteRules"] = json!({SERVER: {"RouteRules": [any_path(&cluster)]}});
        }
        matches.insert(port.to_string(), json!([entry]));
        let endpoints = json!({format!("{SERVER_IP}:{port}"): {"Weight": 100}});
        clusters.insert(cluster, json!({"Endpoints": endpoints, "ServiceIdentities": [SERVER]}));
    }
    document(
        CLIENT,
        certificate,
        json!({"TrafficMatches": {}, "ClustersConfigs": {}}),
        json!({"TrafficMatches": matches, "ClustersConfigs": clusters}),
    )
}

fn server(certificate: Value) -> Value {
    let cluster = |port: u16| format!("shop/api|{port}|local");
    let (http, grpc, echo) = (cluster(HTTP_PORT), cluster(GRPC_PORT), cluster(ECHO_PORT));
    let allowed = |mut rule: Value, caller: &str| {
        rule["AllowedServices"] = json!([caller]);
        rule
    };
    // As in SMI: rules permit, nothing forbids; what no rule permits is refused.
    let orders = json!({"Path": "/orders", "Type": "Prefix", "TargetClusters": {&http: 100}});
    let rules = json!([allowed(orders, CLIENT), allowed(any_path(&http), ADMINISTRATOR)]);
    let inbound = json!({
        "TrafficMatches": {
            SERVICE_PORT.to_string(): {
                "Port": HTTP_PORT,
                "Protocol": "http",
                "HttpHostPort2Service": hosts(SERVICE_PORT),
                "HttpServiceRouteRules": {SERVER: {"RouteRules": rules}},
            },
            GRPC_PORT.to_string(): {
                "Port": GRPC_PORT,
                "Protocol": "grpc",
                "HttpHostPort2Service": hosts(GRPC_PORT),
                "HttpServiceRouteRules": {SERVER: {"RouteRules": [allowed(any_path(&grpc), CLIENT)]}},
            },
            ECHO_PORT.to_string(): {
                "Port": ECHO_PORT,
                "Protocol": "tcp",
                "TcpServiceRouteRules": {"TargetClusters": {&echo: 100}, "AllowedServices": [CLIENT]},
            },
        },
        "ClustersConfigs": {
            &http: {format!("127.0.0.1:{HTTP_PORT}"): 100},
            &grpc: {format!("127.0.0.1:{GRPC_PORT}"): 100},
            &echo: {format!("127.0.0.1:{ECHO_PORT}"): 100},
        },
    });
    document(SERVER, certificate, inbound, json!({"TrafficMatches": {}, "ClustersConfigs": {}}))
}

fn document(identity: &str, certificate: Value, inbound: Value, outbound: Value) -> Value {
    json!({
        "Version": "1",
        "Spec": {"ServiceIdentity": identity, "Traffic": {"EnableEgress": false}},
        "Certificate": certificate,
        "Inbound": inbound,
        "Outbound": outbound,
        // The outsider's address may connect: what keeps it out is that it has no certificate.
        "AllowedEndpoints": {CLIENT_IP: "shop.web", SERVER_IP: "shop.api", OUTSIDE_IP: "outside"},
    })
}

fn any_path(cluster: &str) -> Value {
    json!({"Path": ".*", "Type": "Regex", "TargetClusters": {cluster: 100}})
}

fn hosts(port: u16) -> Value {
    let service = json!({"RuleName": SERVER});
    json!({SERVER: &service, format!("{SERVER}:{port}"): &service})
}

/// The mesh's certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = valid_for_a_day(CertificateParams::default(), "fsm-demo-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The document's `Certificate`: the identity is common name and DNS name, as FSM issues it.
    fn certificate(&self, identity: &str) -> Result<Value, rcgen::Error> {
        let name = format!("{identity}.cluster.local");
        let key = KeyPair::generate()?;
        let mut params = valid_for_a_day(CertificateParams::new(vec![name.clone()])?, &name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(json!({
            "CommonName": name,
            "CertChain": certificate.pem(),
            "PrivateKey": key.serialize_pem(),
            "IssuingCA": self.pem,
        }))
    }
}

fn valid_for_a_day(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::hours(24);
    params
}
