//! A token of one service account gets neither another's certificate nor its configuration. Asked as a thief would ask: with
//! curl, from within a pod of the mesh, with all that the pod has.

use super::{TheMesh, fine};
use fsm_api::stream::{Hello, IDENTITY_PATH, IdentityResponse, ProxyMessage, STREAM_PATH};
use fsm_tests::Outcome;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::json;

/// Where the credentials of a sidecar are.
const IDENTITY: &str = "/var/run/fsm/identity";

pub(super) async fn a_token_is_good_for_its_own_account_only(mesh: &TheMesh) {
    let thief = Thief { mesh, pod: mesh.cluster.pod_of("client", "client").await };
    let server = mesh.cluster.pod_of("server", "server-v1").await;
    // A request that says it is the server's.
    let key = KeyPair::generate().unwrap();
    let mut wanted = CertificateParams::new(vec!["server.server.cluster.local".to_owned()]).unwrap();
    wanted.distinguished_name = DistinguishedName::new();
    wanted.distinguished_name.push(DnType::CommonName, "server.server.cluster.local");
    let request = json!({"csr": wanted.serialize_request(&key).unwrap().pem().unwrap()}).to_string();
    let refused = thief.ask(IDENTITY_PATH, &["--data", &request, "-H", "@/tmp/fsm-e2e-own"]).await;
    assert!(refused.stderr.ends_with("403") && refused.stdout.contains("claims the names server"), "{refused:?}");

    // One that claims nothing gets the names of whoever asks.
    wanted.subject_alt_names.clear();
    wanted.distinguished_name = DistinguishedName::new();
    let request = json!({"csr": wanted.serialize_request(&key).unwrap().pem().unwrap()}).to_string();
    let answer = fine(thief.ask(IDENTITY_PATH, &["--data", &request, "-H", "@/tmp/fsm-e2e-own"]).await);
    let answer: IdentityResponse = serde_json::from_str(&answer).unwrap_or_else(|why| panic!("{why}: {answer}"));
    let given = thief.names(&answer.certificate_chain).await;
    assert!(given.contains("client.client.cluster.local"), "it gets its own names: {given}");
    assert!(!given.contains("server"), "and no other: {given}");

    // The token that every pod has for the API server is not one for the mesh.
    let token = "echo \"Authorization: Bearer $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)\" > /tmp/fsm-e2e-other";
    fine(mesh.cluster.exec("client", &thief.pod, "client", &["sh", "-c", token]).await);
    let refused = thief.ask(IDENTITY_PATH, &["--data", &request, "-H", "@/tmp/fsm-e2e-other"]).await;
    assert!(refused.stderr.ends_with("401"), "{refused:?}");

    thief.keep("cert.pem", answer.certificate_chain.as_bytes()).await;
    thief.keep("key.pem", key.serialize_pem().as_bytes()).await;
    let follow = async |namespace: &str, pod: &str| {
        let hello = Hello {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: String::new(),
            proxy_version: "e2e".to_owned(),
            version: None,
            deltas: false,
        };
        thief.keep("hello", &ProxyMessage::Hello(hello).encode()).await;
        let mutual = ["--cert", "/tmp/fsm-e2e-cert.pem", "--key", "/tmp/fsm-e2e-key.pem", "-m", "3"];
        let arguments = [&mutual[..], &["--data-binary", "@/tmp/fsm-e2e-hello", "-o", "/tmp/fsm-e2e-answer"]].concat();
        thief.ask(STREAM_PATH, &arguments).await.stderr
    };
    // With the same certificate it may follow its own pod, so that the refusal is about whose document it is.
    assert!(follow("client", &thief.pod).await.ends_with("200"));
    let refused = follow("server", &server).await;
    assert!(refused.ends_with("403") || refused.ends_with("404"), "{refused}");
    thief.run("rm -f /tmp/fsm-e2e-*").await;
}

struct Thief<'a> {
    mesh: &'a TheMesh,
    pod: String,
}

impl Thief<'_> {
    /// As the sidecar, whose traffic nobody redirects.
    async fn run(&self, script: &str) -> Outcome {
        self.mesh.cluster.exec("client", &self.pod, "sidecar", &["sh", "-c", script]).await
    }

    /// Asks fsm-control; the status is the end of the standard error.
    async fn ask(&self, path: &str, arguments: &[&str]) -> Outcome {
        let own = format!("echo \"Authorization: Bearer $(cat {IDENTITY}/token)\" > /tmp/fsm-e2e-own");
        let quoted: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
        let url = format!("https://fsm-controller.fsm-system.svc:15128{path}");
        let curl = format!(
            "curl -s --http2 --cacert {IDENTITY}/ca.crt -H 'Content-Type: application/json' {} -w '%{{stderr}}%{{http_code}}' {url}",
            quoted.join(" ")
        );
        self.run(&format!("{own}; {curl}")).await
    }

    /// Puts a file into the pod.
    async fn keep(&self, name: &str, content: &[u8]) {
        let octal: String = content.iter().map(|byte| format!("\\0{byte:03o}")).collect();
        fine(self.run(&format!("printf '%b' '{octal}' > /tmp/fsm-e2e-{name}")).await);
    }

    /// Subject and other names of a certificate.
    async fn names(&self, chain: &str) -> String {
        self.keep("chain.pem", chain.as_bytes()).await;
        let script = "openssl x509 -in /tmp/fsm-e2e-chain.pem -noout -subject -ext subjectAltName";
        fine(self.run(script).await)
    }
}
