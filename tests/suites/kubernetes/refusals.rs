//! Who gets a certificate from fsm-control in a cluster, whose it is, and who gets none: seen from outside.

use super::control::start;
use super::program::Running;
use super::{account, namespace, pod, token, uid};
use fsm_control::cert::Identity;
use fsm_tests::{ApiServer, api_server, eventually};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

struct Control {
    running: Running,
    directory: TempDir,
}

impl Control {
    async fn start(server: &ApiServer, mesh: &str) -> Self {
        let (running, _) = start(server, mesh, "one").await;
        let directory = tempfile::tempdir_in(server.directory()).unwrap();
        let control = Self { running, directory };
        // As a pod finds the roots.
        let asked = ["-n", mesh, "get", "configmap", "fsm-trust-bundle", "-o", r"jsonpath={.data.ca\.crt}"];
        eventually("the roots are there", async || {
            let roots = server.kubectl(&asked, "").await.stdout;
            std::fs::write(control.roots(), &roots).unwrap();
            roots.contains("BEGIN CERTIFICATE")
        })
        .await;
        control
    }

    fn roots(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// Asks for a certificate; status and body.
    async fn ask(&self, token: &str, csr: &str) -> (u16, String) {
        let port = self.running.address("stream").rsplit_once(':').unwrap().1;
        let mut command = Command::new("curl");
        command.args(["-q", "-sS", "--http2", "--noproxy", "*", "--max-time", "15", "-w", "\n%{http_code}"]);
        command.arg("--cacert").arg(self.roots()).args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
        command.args(["-H", &format!("authorization: Bearer {token}"), "-H", "content-type: application/json"]);
        command.args(["-d", &json!({ "csr": csr }).to_string(), &format!("https://localhost:{port}/v1/identity")]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or_default(), body.to_owned())
    }

    /// How often something was refused for this reason.
    async fn refused(&self, kind: &str) -> u64 {
        let url = format!("http://{}/metrics", self.running.address("admin"));
        let mut command = Command::new("curl");
        command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "5", &url]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = format!("fsm_proxy_refused_count{{kind=\"{kind}\"}} ");
        page.lines().find_map(|text| text.strip_prefix(line.as_str())).map_or(0, |count| count.parse().unwrap())
    }
}

fn csr(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// Whose certificate an answer has in it.
fn identity(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let leaf = CertificateDer::from_pem_slice(answer["certificateChain"].as_str().unwrap().as_bytes()).unwrap();
    Identity::of_leaf(&leaf, "cluster.local").unwrap().to_string()
}

#[tokio::test]
async fn a_token_gets_the_certificate_of_its_own_account_and_nothing_else() {
    let Some(server) = api_server().await else { return };
    let objects = namespace("refusals-system", "none")
        + &namespace("refusals", "refusals")
        + &account("refusals", "buyer")
        + &account("refusals", "thief")
        + &pod("refusals", "buyer-0", "buyer")
        + &pod("refusals", "thief-0", "thief");
    server.apply(&objects).await;
    let control = Control::start(&server, "refusals").await;
    let (buyer_uid, thief_uid) = (uid(&server, "refusals", "buyer-0").await, uid(&server, "refusals", "thief-0").await);
    let buyer = token(&server, "refusals", "buyer", "fsm", Some(("buyer-0", &buyer_uid))).await;
    let thief = token(&server, "refusals", "thief", "fsm", Some(("thief-0", &thief_uid))).await;
    let plain = csr(|_| {});
    for (token, whose) in [(&buyer, "buyer.refusals"), (&thief, "thief.refusals")] {
        let (status, answer) = control.ask(token, &plain).await;
        assert_eq!((status, identity(&answer).as_str()), (200, whose), "{answer}");
    }

    // The thief asks to be the buyer.
    let disguised = csr(|params| {
        params.subject_alt_names =
            CertificateParams::new(vec!["buyer.refusals.cluster.local".into()]).unwrap().subject_alt_names
    });
    let (status, answer) = control.ask(&thief, &disguised).await;
    assert_eq!(status, 403, "{answer}");
    assert!(
        answer.contains(
            "claims the names buyer.refusals.cluster.local, but whoever asks is thief.refusals.cluster.local"
        )
    );
    assert_eq!(control.refused("other-names").await, 1);
    let (status, answer) = control.ask(&buyer, &disguised).await;
    assert_eq!((status, identity(&answer).as_str()), (200, "buyer.refusals"), "its own name is no offence");

    // Tokens that are good for something else, or for nothing.
    let own = "https://kubernetes.default.svc";
    let others = [
        token(&server, "refusals", "buyer", own, Some(("buyer-0", &buyer_uid))).await,
        token(&server, "refusals", "buyer", "fsm", None).await,
        "nonsense".to_owned(),
    ];
    for (number, other) in (1..).zip(&others) {
        let (status, answer) = control.ask(other, &plain).await;
        assert_eq!(status, 401, "{answer}");
        assert!(answer.contains("the token is unknown or has expired"), "{answer}");
        assert_eq!(control.refused("token").await, number);
    }
    let (status, answer) = control.ask(&buyer, "nonsense").await;
    assert_eq!((status, control.refused("signing-request").await), (400, 1), "{answer}");

    // With its pod a token is worth nothing any more, whoever shows it.
    let gone = server.kubectl(&["-n", "refusals", "delete", "pod", "buyer-0", "--grace-period=0", "--force"], "").await;
    assert_eq!(gone.code, 0, "{gone:?}");
    eventually("the token of the deleted pod is refused", async || control.ask(&buyer, &plain).await.0 == 401).await;
    // Also when another pod of that name has taken its place.
    server.apply(&pod("refusals", "buyer-0", "buyer")).await;
    eventually("it is refused still", async || {
        let (status, _) = control.ask(&buyer, &plain).await;
        assert_ne!(status, 200);
        status == 401
    })
    .await;
    eventually("others are served", async || control.ask(&thief, &plain).await.0 == 200).await;
}
