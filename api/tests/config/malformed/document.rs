//! Top-level members, the certificate, and what FSM 1.3 sent besides.

use super::*;

pub(super) fn rows() -> Vec<Row> {
    vec![
        note(SMI, "/Ts", json!(5), "Ts", Instead("/Ts", Value::Null)),
        note(SMI, "/Version", json!([]), "Version", Instead("/Version", Value::Null)),
        note(SMI, "/Metrics", json!("yes"), "Metrics", Instead("/Metrics", json!(false))),
        row(SMI, "/Certificate", json!("PEM"), "Certificate", Instead("/Certificate", no_certificate())),
        row(
            SMI,
            "/Certificate/PrivateKey",
            json!(5),
            "Certificate.PrivateKey",
            Instead("/Certificate/PrivateKey", json!("")),
        ),
        row(
            SMI,
            "/Certificate/CertChain",
            json!([]),
            "Certificate.CertChain",
            Instead("/Certificate/CertChain", json!("")),
        ),
        row(
            SMI,
            "/Certificate/IssuingCA",
            json!({}),
            "Certificate.IssuingCA",
            Instead("/Certificate/IssuingCA", json!("")),
        ),
        note(SMI, "/Certificate/CommonName", json!(1), "Certificate.CommonName", Missing("/Certificate/CommonName")),
        row(SMI, "/Inbound", json!([1]), "Inbound", Instead("/Inbound", Value::Null)),
        row(SMI, "/Outbound", json!(true), "Outbound", Instead("/Outbound", Value::Null)),
        row(
            SMI,
            "/AllowedEndpoints",
            json!(["10.244.1.11"]),
            "AllowedEndpoints",
            Instead("/AllowedEndpoints", json!({})),
        ),
        note(
            SMI,
            "/AllowedEndpoints/10.244.1.11",
            json!(1),
            r#"AllowedEndpoints["10.244.1.11"]"#,
            Instead("/AllowedEndpoints/10.244.1.11", json!("")),
        ),
        row(SMI, "/Chains", json!("inbound-http"), "Chains", Missing("/Chains")),
        row(SMI, "/Chains/inbound-http/3", json!(7), r#"Chains["inbound-http"][3]"#, Missing("/Chains/inbound-http")),
        row(LEGACY, "/DNSResolveDB", json!(7), "DNSResolveDB", Missing("/DNSResolveDB")),
        row(LEGACY, "/DNSResolveDB/*", json!(["1.2.3.4", 7]), r#"DNSResolveDB["*"][1]"#, Missing("/DNSResolveDB/*")),
    ]
}
