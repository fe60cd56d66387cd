//! Page 6.3, "Service-based access control".

use super::{Demo, admit_outsiders, answers, certificate_of, fails, inject, knows, mount};
use fsm_tests::{Document, Pod, Service, Sidecar, Website, curl, httpbin};
use serde_json::Value;

/// httpbin in the mesh, curl outside of it. The server's pod has the service's cluster IP too: kube-proxy's part.
pub(super) struct Access {
    pub(super) client: Pod,
    pub(super) service: Service,
    pub(super) sidecar: Sidecar,
    pub(super) document: Document,
    pub(super) website: Website,
    pub(super) demo: Demo,
}

pub(super) async fn start() -> Option<Access> {
    let demo = Demo::create()?;
    let service = Service::new("httpbin", "httpbin", "http", 14001, 14001, &["10.96.198.23"]);
    let server = demo.pod("httpbin", &["10.244.0.9", "10.96.198.23"]);
    let client = demo.pod("curl", &["10.244.0.7"]);
    let website = Website::start(&server, "127.0.0.1:14001", httpbin);
    knows(&client, &service);
    let document = demo.document("httpbin.httpbin").serve(&service).allow(&server);
    let sidecar = inject(&server, "httpbin", &document).await;
    Some(Access { client, service, sidecar, document, website, demo })
}

impl Access {
    /// The AccessControl: these ranges may enter.
    pub(super) async fn admit(&self, ranges: &[(&str, Value)]) {
        let document = admit_outsiders(self.document.clone(), &self.service, ranges);
        self.sidecar.update(document.json()).await;
    }

    /// The page's request.
    pub(super) async fn get(&self) -> fsm_tests::Outcome {
        curl(&self.client, "-sI http://httpbin.httpbin:14001/get").await
    }

    /// The same with TLS and the certificate of an AccessCert. The server's certificate names its service account.
    pub(super) async fn get_as(&self, principal: &str) -> fsm_tests::Outcome {
        let [certificate, key, roots] = mount(&self.client, &self.demo.authority.leaf(principal));
        let (certificate, key, roots) = (certificate.display(), key.display(), roots.display());
        let name = "httpbin.httpbin.cluster.local:14001";
        let tls =
            format!("--connect-to {name}:httpbin.httpbin:14001 --cacert {roots} --cert {certificate} --key {key}");
        curl(&self.client, &format!("-sI {tls} https://{name}/get")).await
    }
}

/// Plaintext: reset (56) without an AccessControl; 200 with one for the Service curl, with the server's pod in the
/// headers; reset again when it is deleted.
#[tokio::test]
async fn page_6_3_a_service_outside_the_mesh_is_let_in_by_name() {
    let Some(access) = start().await else { return };
    fails(&access.get().await, 56);
    // A Service as a source stands for the addresses of its pods.
    access.admit(&[("10.244.0.7/32", Value::Null)]).await;
    let outcome = access.get().await;
    answers(&outcome, 200);
    // The page has four headers of an older release; FSM joined them into one.
    assert_eq!(outcome.header("fsm-stats"), Some("httpbin,Deployment,httpbin,httpbin-5b8b94b9-lt2vs"));
    access.sidecar.update(access.document.json()).await;
    fails(&access.get().await, 56);
    assert_eq!(access.website.asked().len(), 1);
}

/// "Encrypted transfers": the certificate of the AccessCert is let in, another one of the mesh's authority gets 403.
#[tokio::test]
async fn page_6_3_encrypted_transfers_need_the_principal() {
    let Some(access) = start().await else { return };
    access.admit(&[("10.244.0.7/32", certificate_of(&["curl.curl.cluster.local"]))]).await;
    answers(&access.get_as("curl.curl").await, 200);
    let refused = access.get_as("other.curl").await;
    answers(&refused, 403);
    assert_eq!(refused.header("x-fsm-reason"), Some("principal-not-allowed"));
    let plain = access.get().await;
    assert!(matches!(plain.code, 52 | 56), "{plain:?}");
    assert_eq!(access.website.asked().len(), 1);
}
