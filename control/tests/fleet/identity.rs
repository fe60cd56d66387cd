//! Who gets a certificate, and for whom.

use super::harness::{Control, Outgoing, patiently, pod};
use fsm_control::cert::Identity;
use http::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[tokio::test]
async fn a_token_gets_a_certificate_for_its_own_account() {
    let control = Control::start().await;
    let token = control.token(&pod("buyer-0"), "buyer", json!({}));
    let credentials = control.identity(Some(&token)).await.unwrap();
    let leaf = CertificateDer::from_pem_slice(credentials.issued.certificate_chain.as_bytes()).unwrap();
    assert_eq!(Identity::of_leaf(&leaf, "cluster.local").unwrap(), Identity::new("bookstore", "buyer").unwrap());
    let day = 24 * 3600;
    assert!((day * 59 / 100..=day * 67 / 100).contains(&credentials.issued.renew_after_seconds));
    assert!(control.push.telemetry.page().contains("fsm_cert_issued_count 1"));
}

#[tokio::test]
async fn forged_expired_and_missing_tokens_are_refused() {
    let control = Control::start().await;
    let good = control.token(&pod("buyer-0"), "buyer", json!({}));
    let refused = async |token: Option<&str>| control.identity(token).await.map(|_| ()).unwrap_err();
    let forged = format!("{good}x");
    let long = "x".repeat(9_000);
    for token in [None, Some(forged.as_str()), Some("../../state/ca"), Some(long.as_str())] {
        let refused = refused(token).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{token:?}");
        assert!(!refused.reason.contains(&good), "{refused:?}");
    }
    let expired = control.token(&pod("buyer-1"), "buyer", json!({"expires": "2020-01-01T00:00:00Z"}));
    assert_eq!(refused(Some(&expired)).await.status, StatusCode::UNAUTHORIZED);
    let odd = control.token(&pod("buyer-2"), "buyer", json!({"namespace": "a/sa/b"}));
    assert_eq!(refused(Some(&odd)).await.status, StatusCode::FORBIDDEN);
    assert!(control.identity(Some(&good)).await.is_ok());
    assert!(control.push.telemetry.page().contains("fsm_proxy_refused_count{kind=\"token\"} 6"));
}

#[tokio::test]
async fn a_refusal_waits_for_a_body_that_is_under_way() {
    let control = Control::start().await;
    let (body, outgoing) = mpsc::channel(2);
    body.send("{\"csr\":".into()).await.unwrap();
    let mut asking = pin!(control.post_body("/v1/identity", Some("nobody's"), Outgoing::Frames(outgoing), None));
    // Without waiting the answer is there at once, and what the client sends after it meets a closed stream.
    assert!(timeout(Duration::from_millis(300), &mut asking).await.is_err(), "answered in the middle of the request");
    body.send("\"x\"}".into()).await.unwrap();
    drop(body);
    assert_eq!(patiently(asking).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_bad_request_says_what_is_wrong_with_it() {
    let control = Control::start().await;
    let token = control.token(&pod("buyer-0"), "buyer", json!({}));
    let ask = async |body: Vec<u8>| control.post("/v1/identity", Some(&token), body, None).await;
    for (body, part) in [
        (b"".to_vec(), "csr"),
        (b"{}".to_vec(), "csr"),
        (json!({"csr": "nothing"}).to_string().into_bytes(), "PKCS #10"),
        (json!({"csr": "x".repeat(20_000)}).to_string().into_bytes(), "20000 bytes"),
        (vec![b' '; 100_000], "65536"),
    ] {
        let (status, reason) = ask(body).await;
        let reason = String::from_utf8_lossy(&reason);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{reason}");
        assert!(reason.contains(part), "{reason}");
    }
}
