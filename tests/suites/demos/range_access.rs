//! Page 6.4, "IP range-based access control".

use super::service_access::start;
use super::{answers, certificate_of, fails};
use serde_json::Value;

/// Plaintext: reset (56) without an AccessControl; 200 for the pod's address; reset for another address's range.
#[tokio::test]
async fn page_6_4_an_address_outside_the_mesh_is_let_in_by_range() {
    let Some(access) = start().await else { return };
    fails(&access.get().await, 56);
    access.admit(&[("10.244.0.7/32", Value::Null)]).await;
    answers(&access.get().await, 200);
    access.admit(&[("10.244.0.8/32", Value::Null)]).await;
    fails(&access.get().await, 56);
    assert_eq!(access.website.asked().len(), 1);
}

/// "Encrypted transfers": a range and a principal; the certificate decides.
#[tokio::test]
async fn page_6_4_encrypted_transfers_from_a_range_need_the_principal() {
    let Some(access) = start().await else { return };
    access.admit(&[("10.244.0.0/16", certificate_of(&["curl.curl.cluster.local"]))]).await;
    answers(&access.get_as("curl.curl").await, 200);
    answers(&access.get_as("other.curl").await, 403);
}
