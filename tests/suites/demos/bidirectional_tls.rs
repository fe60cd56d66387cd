//! Page 6.2, "Bi-direction TLS with FSM Ingress".
//!
//! The ingress controller is no sidecar: in scenarios 1 and 2 its pod runs curl, which connects to the pod behind the
//! service and its target port just as the controller does. In scenarios 3 and 4 clients come to the controller over TLS
//! and mutual TLS: there its pod runs nginx, set up as the page's Ingress says.

use super::{Demo, admit_outsiders, answers, any_path, certificate_of, egress_http, fails, inject, mount, mount_as};
use fsm_tests::{
    Authority, Clients, Document, LeafRequest, Outcome, Pod, Process, Service, Sidecar, Website, Wire, answered, curl,
    eventually, http1,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

const SERVER: &str = "server.egress-server.svc.cluster.local";
const SERVER_IP: &str = "10.96.50.50";

struct Bidirectional {
    ingress: Pod,
    service: Service,
    sidecar: Sidecar,
    document: Document,
    partner: Authority,
    server: Website,
    demo: Demo,
}

async fn start() -> Option<Bidirectional> {
    let demo = Demo::create()?;
    let partner = Authority::new("flomesh.io");
    // The server outside of the mesh wants certificates of its own authority.
    let server_pod = demo.pod("server", &[SERVER_IP]);
    let leaf = partner.issue(&LeafRequest::new("server.egress-server").hosts(&[SERVER]));
    let server = Website::start_tls(&server_pod, &format!("{SERVER_IP}:8443"), &leaf, Clients::OfItsAuthority, |_| {
        answered(200, "The current time: 2023-11-17 09:11:53\n")
    });
    // The middle asks the server in plaintext, through its own sidecar.
    let service = Service::new("middle", "egress-middle", "http", 8080, 8080, &["10.96.60.60"]);
    let middle = demo.pod("middle", &["10.244.0.9"]);
    middle.hosts(&[(SERVER_IP, SERVER)]);
    let caller = middle.clone();
    Website::start(&middle, "127.0.0.1:8080", move |asked| {
        let caller = caller.clone();
        Box::pin(async move {
            if asked.target != "/time" {
                return (200, "hello world.\n".to_owned());
            }
            let Ok(stream) = caller.connect(format!("{SERVER_IP}:8443").parse().unwrap()).await else {
                return (502, "no connection\n".to_owned());
            };
            let reply = http1(Wire::new(stream)).await.get(&format!("{SERVER}:8443"), "/time").await;
            (reply.status, reply.text())
        })
    });
    let ingress = demo.pod("fsm-ingress", &["10.244.0.40"]);
    let document = demo.document("middle.egress-middle").serve(&service).allow(&middle).set("/Outbound", Value::Null);
    let sidecar = inject(&middle, "middle", &document).await;
    Some(Bidirectional { ingress, service, sidecar, document, partner, server, demo })
}

impl Bidirectional {
    async fn apply(&self, document: &Document) {
        self.sidecar.update(document.json()).await;
    }

    /// The Egress policy: plain HTTP of the middle leaves with the secret's certificate.
    fn with_egress(&self, document: Document) -> Document {
        let leaf = self.partner.issue(&LeafRequest::new("middle.egress-middle").hosts(&["flomesh.io"]));
        let source = json!({
            "FsmIssued": false,
            "SubjectAltNames": ["flomesh.io"],
            "Expiration": "2030-1-1 00:00:00",
            "CertChain": leaf.certificate,
            "PrivateKey": leaf.key,
            "IssuingCA": leaf.authority,
        });
        let cluster = format!("{SERVER}:8443");
        egress_http(document, SERVER, 8443, &[any_path()])
            .set(&format!("/Outbound/ClustersConfigs/{cluster}/SourceCert"), source)
    }

    /// Plaintext from the ingress controller.
    async fn http(&self, path: &str) -> Outcome {
        curl(&self.ingress, &format!("-si -H host:fsm-ingress.fsm-system http://10.244.0.9:8080{path}")).await
    }

    /// Mutual TLS from the ingress controller, which verifies the upstream's name as its annotation says.
    async fn https(&self, path: &str, identity: &str) -> Outcome {
        let [certificate, key, roots] = mount(&self.ingress, &self.demo.authority.leaf(identity));
        let (certificate, key, roots) = (certificate.display(), key.display(), roots.display());
        let name = "middle.egress-middle.cluster.local:8080";
        let tls = format!("--connect-to {name}:10.244.0.9:8080 --cacert {roots} --cert {certificate} --key {key}");
        curl(&self.ingress, &format!("-si {tls} -H host:fsm-ingress.fsm-system https://{name}{path}")).await
    }
}

/// An ingress controller that serves TLS to its clients, with certificates of the partner's authority, and comes to the
/// middle over mutual TLS with the mesh's certificate for it, verifying the upstream's name.
struct Ingress {
    client: Pod,
    certificate: [PathBuf; 3],
    _nginx: Process,
}

impl Bidirectional {
    async fn ingress(&self, verify_clients: &str) -> Ingress {
        let host = "fsm-ingress.fsm-system";
        let served = self.partner.issue(&LeafRequest::new("ingress.pipy").hosts(&[host]));
        let [certificate, key, partner] = mount(&self.ingress, &served);
        let [mesh_certificate, mesh_key, mesh] =
            mount_as(&self.ingress, "mesh", &self.demo.authority.leaf("fsm.fsm-system"));
        let [certificate, key, partner, mesh_certificate, mesh_key, mesh] =
            [certificate, key, partner, mesh_certificate, mesh_key, mesh].map(|path| path.display().to_string());
        let directory = self.ingress.directory().display().to_string();
        let configuration = format!(
            "daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr;
             events {{}}
             http {{
                 access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};
                 fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
                 server {{
                     listen 443 ssl http2; server_name {host};
                     ssl_certificate {certificate}; ssl_certificate_key {key};
                     ssl_client_certificate {partner}; ssl_verify_client {verify_clients};
                     location / {{
                         proxy_pass https://10.244.0.9:8080; proxy_http_version 1.1;
                         proxy_set_header Host $host; proxy_ssl_protocols TLSv1.2 TLSv1.3;
                         proxy_ssl_certificate {mesh_certificate}; proxy_ssl_certificate_key {mesh_key};
                         proxy_ssl_trusted_certificate {mesh}; proxy_ssl_verify on;
                         proxy_ssl_name middle.egress-middle.cluster.local;
                     }}
                 }}
             }}"
        );
        let file = self.ingress.directory().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(&file).arg("-e").arg("stderr");
        let nginx = Process::start(&self.ingress, nginx);
        eventually("the ingress controller listens", async || {
            self.ingress.connect("10.244.0.40:443".parse().unwrap()).await.is_ok()
        })
        .await;
        let client = self.demo.pod("client", &["10.244.0.50"]);
        let certificate = mount(&client, &self.partner.issue(&LeafRequest::new("client.egress-client")));
        Ingress { client, certificate, _nginx: nginx }
    }
}

impl Ingress {
    /// The page's client, with its certificate or without.
    async fn get(&self, path: &str, with_certificate: bool) -> Outcome {
        let [certificate, key, authority] = self.certificate.each_ref().map(|path| path.display());
        let proof = if with_certificate { format!("--cert {certificate} --key {key}") } else { String::new() };
        let host = "fsm-ingress.fsm-system";
        let arguments =
            format!("-si --resolve {host}:443:10.244.0.40 --cacert {authority} {proof} https://{host}{path}");
        curl(&self.client, &arguments).await
    }
}

fn hello(outcome: &Outcome) {
    answers(outcome, 200);
    assert_eq!(outcome.header("fsm-stats"), Some("egress-middle,Deployment,middle,middle-5b8b94b9-lt2vs"));
    assert!(outcome.stdout.ends_with("\r\n\r\nhello world.\n"), "{outcome:?}");
}

fn time(outcome: &Outcome) {
    answers(outcome, 200);
    assert_eq!(outcome.header("fsm-stats"), Some("egress-middle,Deployment,middle,middle-5b8b94b9-lt2vs"));
    assert!(outcome.stdout.contains("\r\n\r\nThe current time: "), "{outcome:?}");
}

/// Scenario 1: HTTP ingress and mutual TLS on egress.
#[tokio::test]
async fn page_6_2_http_ingress_and_mutual_tls_egress() {
    let Some(page) = start().await else { return };
    fails(&page.http("/hello").await, 56);
    let admitted = admit_outsiders(page.document.clone(), &page.service, &[("10.244.0.40/32", Value::Null)]);
    page.apply(&admitted).await;
    hello(&page.http("/hello").await);

    page.apply(&page.with_egress(admitted)).await;
    time(&page.http("/time").await);
    let asked = page.server.asked();
    assert_eq!(asked[0].host, format!("{SERVER}:8443"));
    let certificate = asked[0].certificate.as_deref().expect("a client certificate");
    assert!(certificate.windows(10).any(|part| part == b"flomesh.io"), "the secret's certificate, not the mesh's");
}

/// Scenario 2: mutual TLS on ingress, with the principal of the ingress controller, and on egress.
#[tokio::test]
async fn page_6_2_mutual_tls_ingress_and_mutual_tls_egress() {
    let Some(page) = start().await else { return };
    let ranges = [("10.244.0.40/32", certificate_of(&["fsm.fsm-system.cluster.local"]))];
    let admitted = admit_outsiders(page.document.clone(), &page.service, &ranges);
    page.apply(&admitted).await;
    hello(&page.https("/hello", "fsm.fsm-system").await);
    answers(&page.https("/hello", "other.fsm-system").await, 403);

    page.apply(&page.with_egress(admitted)).await;
    time(&page.https("/time", "fsm.fsm-system").await);
    assert_eq!(page.server.asked().len(), 1);
}

/// Scenario 3: TLS to the ingress controller, mutual TLS from there, and on egress.
#[tokio::test]
async fn page_6_2_tls_to_the_ingress_controller() {
    let Some(page) = start().await else { return };
    let ingress = page.ingress("off").await;
    answers(&ingress.get("/hello", false).await, 502);

    let ranges = [("10.244.0.40/32", certificate_of(&["fsm.fsm-system.cluster.local"]))];
    let admitted = admit_outsiders(page.document.clone(), &page.service, &ranges);
    page.apply(&admitted).await;
    hello(&ingress.get("/hello", false).await);

    page.apply(&page.with_egress(admitted)).await;
    time(&ingress.get("/time", false).await);
    assert_eq!(page.server.asked().len(), 1);
}

/// Scenario 4: mutual TLS to the ingress controller as well.
#[tokio::test]
async fn page_6_2_mutual_tls_to_the_ingress_controller() {
    let Some(page) = start().await else { return };
    let ingress = page.ingress("on").await;
    let ranges = [("10.244.0.40/32", certificate_of(&["fsm.fsm-system.cluster.local"]))];
    let admitted = admit_outsiders(page.document.clone(), &page.service, &ranges);
    page.apply(&admitted).await;
    hello(&ingress.get("/hello", true).await);
    answers(&ingress.get("/hello", false).await, 400);

    page.apply(&page.with_egress(admitted)).await;
    time(&ingress.get("/time", true).await);
    assert_eq!(page.server.asked().len(), 1);
}
