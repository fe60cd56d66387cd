//! A real OpenBao signs, and says no in all the ways that people meet.

use super::{is_trusted, leaf, names};
use fsm_control::cert::authority::{Provider, Signer};
use fsm_control::cert::vault::{TokenSource, Vault, VaultAddress, VaultError, VaultSettings};
use fsm_control::cert::{Identity, IssueError, Issuer};
use fsm_control::leader::Leadership;
use fsm_tests::{OpenBao, api_server, eventually, within};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3600);
const WEB: &str = "web.shop.cluster.local";

/// What docs/certificates.md tells people to write.
pub(crate) const ROLE: &str = r#"{"allow_any_name": true, "enforce_hostnames": false, "allowed_uri_sans": "spiffe://cluster.local/*",
    "key_type": "any", "require_cn": false, "use_csr_common_name": false, "use_csr_sans": false, "max_ttl": "72h"}"#;

pub(super) fn engine(bao: &OpenBao, mount: &str) {
    bao.set(&format!("sys/mounts/{mount}"), r#"{"type": "pki", "config": {"max_lease_ttl": "87600h"}}"#);
    let root = json!({"common_name": format!("{mount} root"), "ttl": "87600h", "key_type": "ec"}).to_string();
    bao.set(&format!("{mount}/root/generate/internal"), &root);
}

fn settings(bao: &OpenBao, mount: &str, role: &str, token: TokenSource) -> VaultSettings {
    let address = VaultAddress {
        protocol: "https".into(),
        host: "127.0.0.1".into(),
        port: bao.port(),
        ca_file: Some(bao.ca_file()),
    };
    VaultSettings { address, mount: mount.into(), role: role.into(), token }
}

async fn open(settings: VaultSettings) -> Result<Vault, VaultError> {
    within("Vault answers", Vault::open(settings, Arc::new(SystemTime::now))).await
}

async fn refusal(vault: &Vault) -> String {
    match within("Vault answers", vault.issue(leaf(names("shop", "web"), HOUR))).await {
        Err(IssueError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn vault_signs_requests_and_all_its_issuers_are_trusted() {
    let Some(bao) = OpenBao::start() else { return };
    engine(&bao, "mesh");
    bao.set("mesh/roles/fsm", ROLE);
    let policy = r#"{"policy": "path \"mesh/sign/fsm\" { capabilities = [\"update\"] }"}"#;
    bao.set("sys/policies/acl/fsm", policy);
    let given = bao.set("auth/token/create", r#"{"policies": ["fsm"], "period": "1h", "no_parent": true}"#);
    let token = given["auth"]["client_token"].as_str().unwrap().to_owned();

    let vault = open(settings(&bao, "mesh", "fsm", TokenSource::Given(token))).await.unwrap();
    let bundle = vault.trust_bundle();
    assert_eq!(bundle.pem.matches("BEGIN CERTIFICATE").count(), 1);
    let issued = within("it signs", vault.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
    assert!(is_trusted(&issued.chain, &bundle.pem, WEB));
    let der = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
    assert_eq!(Identity::of_leaf(&der, "cluster.local").unwrap().to_string(), "web.shop");
    let validity = issued.not_after.duration_since(SystemTime::now()).unwrap();
    assert!((Duration::from_secs(3500)..=HOUR).contains(&validity), "{validity:?}");
    // A name longer than a common name can be is still certified.
    let long = names("shop", &format!("{}.{}", "a".repeat(60), "b".repeat(60)));
    let issued = within("it signs", vault.issue(leaf(long.clone(), HOUR))).await.unwrap();
    assert!(is_trusted(&issued.chain, &bundle.pem, &long.common_name));

    // A second issuer is trusted as soon as it is there, and long before it signs.
    let other = json!({"common_name": "other root", "ttl": "87600h", "key_type": "ec", "issuer_name": "other"});
    bao.set("mesh/issuers/generate/root/internal", &other.to_string());
    let changes = vault.changes();
    within("it looks", vault.tend()).await.unwrap();
    assert!(changes.has_changed().unwrap());
    let both = vault.trust_bundle();
    assert_eq!(both.pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(both.pem.starts_with(&bundle.pem), "the one that signs comes first");
    bao.set("mesh/config/issuers", r#"{"default": "other"}"#);
    let issued = within("the other one signs", vault.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
    assert!(is_trusted(&issued.chain, &both.pem, WEB) && !is_trusted(&issued.chain, &bundle.pem, WEB));
}

#[tokio::test]
async fn what_vault_does_not_do_is_said_with_a_remedy() {
    let Some(bao) = OpenBao::start() else { return };
    engine(&bao, "pki");
    let root = || TokenSource::Given(bao.root_token().into());
    let vault = open(settings(&bao, "pki", "flomesh", root())).await.unwrap();
    let reason = refusal(&vault).await;
    assert!(
        reason.contains("unknown role") && reason.contains("vault write pki/roles/flomesh allow_any_name"),
        "{reason}"
    );
    let any = r#"{"allow_any_name": true, "enforce_hostnames": false, "key_type": "any"}"#;
    for (role, remedy) in [
        (r#"{"allow_any_name": true, "enforce_hostnames": false}"#, "Write the role with: key_type=any"),
        (r#"{"key_type": "any", "allowed_uri_sans": "spiffe://*"}"#, "allow_any_name=true"),
        (any, "allowed_uri_sans=\"spiffe://cluster.local/*\""),
    ] {
        bao.set("pki/roles/flomesh", role);
        let reason = refusal(&vault).await;
        assert!(reason.contains("Vault's role flomesh") && reason.contains(remedy), "{reason}");
    }
    // The defaults, which take names from requests, will do: requests carry them.
    let defaults =
        r#"{"allow_any_name": true, "enforce_hostnames": false, "key_type": "any", "allowed_uri_sans": "spiffe://*"}"#;
    bao.set("pki/roles/flomesh", defaults);
    within("it signs", vault.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
    // For servers only is not enough for a mesh, and is noticed although it was signed.
    let servers = defaults.replace("\"key_type\"", "\"client_flag\": false, \"key_type\"");
    bao.set("pki/roles/flomesh", &servers);
    let reason = refusal(&vault).await;
    assert!(reason.contains("server_flag=true client_flag=true"), "{reason}");

    let wrong = open(settings(&bao, "pki", "flomesh", TokenSource::Given("s.nobody".into()))).await.unwrap_err();
    assert!(matches!(wrong, VaultError::Denied { .. }) && !wrong.is_passing(), "{wrong}");
    let nowhere = open(settings(&bao, "nowhere", "flomesh", root())).await.unwrap_err().to_string();
    assert!(nowhere.contains("nowhere"), "{nowhere}");
    bao.set("sys/mounts/empty", r#"{"type": "pki"}"#);
    let empty = open(settings(&bao, "empty", "flomesh", root())).await.unwrap_err().to_string();
    assert!(empty.contains("has no issuer") && empty.contains("root/generate/internal"), "{empty}");
}

#[tokio::test]
async fn a_token_that_was_replaced_is_read_again_and_a_sealed_vault_is_worth_another_try() {
    let Some(bao) = OpenBao::start() else { return };
    engine(&bao, "pki");
    bao.set("pki/roles/fsm", ROLE);
    let file = tempfile::NamedTempFile::new().unwrap();
    let create = || {
        bao.set("auth/token/create", r#"{"policies": ["root"]}"#)["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let first = create();
    std::fs::write(file.path(), format!("{first}\n")).unwrap();
    let vault = open(settings(&bao, "pki", "fsm", TokenSource::File(file.path().to_owned()))).await.unwrap();
    within("it signs", vault.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
    bao.set("auth/token/revoke", &json!({"token": first}).to_string());
    let reason = refusal(&vault).await;
    assert!(reason.contains("capabilities = [\"update\"]"), "{reason}");
    assert!(!reason.contains(&first), "the token is not told");
    std::fs::write(file.path(), create()).unwrap();
    within("it signs with the other token", vault.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();

    assert_eq!(bao.ask("PUT", "sys/seal", "").0, 204);
    match within("it gives up in time", vault.issue(leaf(names("shop", "web"), HOUR))).await {
        Err(IssueError::Unavailable { reason, .. }) => assert!(reason.contains("is sealed; unseal it"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let roots = vault.trust_bundle();
    assert!(within("it is asked", vault.tend()).await.unwrap_err().is_passing());
    assert_eq!(vault.trust_bundle(), roots, "what is trusted stays");
    drop(bao);
    match within("it gives up in time", vault.issue(leaf(names("shop", "web"), HOUR))).await {
        Err(IssueError::Unavailable { reason, .. }) => assert!(reason.contains("does not answer"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// A token that may do what docs/certificates.md says, for as long as it is renewed.
fn limited_token(bao: &OpenBao, ttl: &str) -> String {
    let policy = r#"{"policy": "path \"pki/sign/fsm\" { capabilities = [\"update\"] }"}"#;
    bao.set("sys/policies/acl/fsm", policy);
    let wanted = json!({"policies": ["fsm"], "period": ttl, "no_parent": true}).to_string();
    bao.set("auth/token/create", &wanted)["auth"]["client_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_in_time_for_as_long_as_it_is_needed() {
    let Some(bao) = OpenBao::start() else { return };
    engine(&bao, "pki");
    bao.set("pki/roles/fsm", ROLE);
    let [token, forgotten] = [(); 2].map(|()| limited_token(&bao, "5s"));
    let begun = Instant::now();
    let settings = settings(&bao, "pki", "fsm", TokenSource::Given(token.clone()));
    let opened = Signer::open(Provider::Vault(settings), Arc::new(SystemTime::now));
    let signer = within("Vault answers", opened).await.unwrap();
    let (issuer, stop) = (signer.issuer(), CancellationToken::new());
    let tended = tokio::spawn(signer.tend(Leadership::always(), None, stop.clone()));
    eventually("it is older than one of its lives", async || begun.elapsed() > Duration::from_secs(8)).await;
    within("it still signs", issuer.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
    let question = json!({"token": forgotten}).to_string();
    assert_eq!(bao.ask("POST", "auth/token/lookup", &question).0, 403, "one that nobody renews is over");
    stop.cancel();
    within("it ends", tended).await.unwrap();
}

#[tokio::test]
async fn a_token_in_a_secret_is_read_again_when_it_was_replaced() {
    let Some(server) = api_server().await else { return };
    let Some(bao) = OpenBao::start() else { return };
    engine(&bao, "pki");
    bao.set("pki/roles/fsm", ROLE);
    let secret = |token: &str| {
        let metadata = json!({"namespace": "vaulted-system", "name": "vault"});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": token}}).to_string()
    };
    let first = limited_token(&bao, "1h");
    server.apply(&(crate::kubernetes::namespace("vaulted-system", "none") + &secret(&first))).await;
    let source = TokenSource::Secret {
        client: server.client().await,
        namespace: "vaulted-system".into(),
        name: "vault".into(),
        key: "token".into(),
    };
    let vault = open(settings(&bao, "pki", "fsm", source)).await.unwrap();
    assert_eq!(vault.next_look(), Duration::from_secs(30), "there is nothing to be done about the token for long");
    within("it signs", vault.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
    bao.set("auth/token/revoke", &json!({"token": first}).to_string());
    let reason = refusal(&vault).await;
    assert!(reason.contains("the token is wrong or has expired"), "{reason}");
    server.apply(&secret(&limited_token(&bao, "1h"))).await;
    within("it signs again", vault.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
}
