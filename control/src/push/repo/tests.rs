#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::tests::{config, publish, tenant};
use super::{BaseError, Repo, http_date, split, version};
use crate::auth::TokenDirectory;
use crate::cert::tresor::TresorSettings;
use crate::cert::{Issuer, Tresor};
use crate::http::{Ask, Reply};
use crate::push::{Board, PodKey, Publication, Push, Roster, Settings, Tenant};
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use bytes::Bytes;
use fsm_api::config::{Certificate, Config};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const CODE_BASE: &str = "/repo/fsm-sidecar/aaaa-bbbb.sidecar.buyer.bookstore/";

struct Fixture {
    directory: TempDir,
    push: Arc<Push>,
    tresor: Arc<Tresor>,
}

impl Fixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let tresor = Arc::new(
            Tresor::open(&directory.path().join("state"), TresorSettings::default(), Arc::new(SystemTime::now))
                .unwrap(),
        );
        let roster = Arc::new(Roster::default());
        let push = Arc::new(Push {
            board: Arc::new(Board::default()),
            telemetry: Arc::new(Telemetry::new(&roster)),
            roster,
            issuer: tresor.clone(),
            tokens: Arc::new(TokenDirectory::new("/nonexistent")),
            trust_domain: "cluster.local".into(),
            settings: ArcSwap::from_pointee(Settings::default()),
        });
        Self { directory, push, tresor }
    }

    fn place(&self, publication: &Arc<Publication>) {
        let tenant = Tenant { proxy_uuid: "aaaa-bbbb".into(), ..tenant("buyer", "u-1") };
        self.push.board.publish(&PodKey::new("bookstore", "buyer-0"), &tenant, publication);
    }

    fn repo(&self, private_keys: bool) -> Repo {
        Repo::open(self.push.clone(), None, private_keys).unwrap()
    }

    fn plain(&self) {
        self.push.settings.store(Arc::new(Settings { compress: false, ..Settings::default() }));
    }
}

/// A document of a mesh with mutual TLS.
fn secured() -> Config {
    let certificate = Certificate { fsm_issued: Some(true), ..Certificate::default() };
    Config { certificate: Some(certificate), ..config(&[("a|80", &["10.0.0.1:80"])]) }
}

async fn ask(repo: &Repo, method: Method, path: &str) -> Reply {
    let request: Ask = Request::builder().method(method).uri(path).body(Some(Bytes::new())).unwrap();
    repo.answer(request).await
}

async fn body(reply: Reply) -> Bytes {
    reply.into_body().collect().await.unwrap().to_bytes()
}

fn etag(reply: &Reply) -> String {
    reply.headers()[header::ETAG].to_str().unwrap().to_owned()
}

#[test]
fn paths_are_split_with_and_without_a_prefix() {
    assert_eq!(split("/repo/fsm-sidecar/x/"), Some(("x", "")));
    assert_eq!(split("/repo/some/prefix/fsm-sidecar/x/plugins/a.js"), Some(("x", "plugins/a.js")));
    for nothing in ["/", "/repo/", "/repo/fsm-sidecar/x", "/api/v1/repo", "/fsm-sidecar/x/"] {
        assert_eq!(split(nothing), None, "{nothing}");
    }
}

#[test]
fn versions_are_decimal_digits_of_63_bits() {
    assert_eq!(version("42", 0), "42");
    assert_eq!(version("42", 1 << 63), "42");
    assert_ne!(version("42", 7), "42");
    assert!(version("9223372036854775807", u64::MAX / 3).parse::<i64>().is_ok());
}

#[test]
fn dates_are_those_of_http() {
    // The example of RFC 9110.
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[tokio::test]
async fn a_code_base_has_a_list_a_version_and_its_document() {
    let fixture = Fixture::new();
    let repo = fixture.repo(false);
    let published = publish(secured(), None);
    fixture.place(&published);
    let list = ask(&repo, Method::GET, CODE_BASE).await;
    assert_eq!(etag(&list), **published.version());
    assert_eq!(list.headers()[header::DATE], http_date(published.published()).as_str());
    assert_eq!(body(list).await, "/config.json.gz\n");
    let head = ask(&repo, Method::HEAD, CODE_BASE).await;
    assert_eq!((head.status(), etag(&head)), (StatusCode::OK, published.version().to_string()));
    let document = body(ask(&repo, Method::GET, &format!("{CODE_BASE}config.json.gz")).await).await;
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&document[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, published.document()[..]);
    // With compression on, the other name must not be there: proxies try both.
    let plain = ask(&repo, Method::GET, &format!("{CODE_BASE}config.json")).await;
    assert_eq!(plain.status(), StatusCode::NOT_FOUND);
    fixture.plain();
    let plain = body(ask(&repo, Method::GET, &format!("{CODE_BASE}config.json")).await).await;
    assert_eq!(plain, published.document());
    let etags = body(ask(&repo, Method::GET, &format!("{CODE_BASE}_etags")).await).await;
    assert_eq!(etags, format!("/config.json#{}\n", published.version()));

    let next = publish(config(&[("a|80", &[])]), Some(&published));
    fixture.place(&next);
    assert_eq!(etag(&ask(&repo, Method::HEAD, CODE_BASE).await), **next.version());
}

#[tokio::test]
async fn who_does_not_know_all_of_the_name_gets_nothing() {
    let fixture = Fixture::new();
    let repo = fixture.repo(false);
    fixture.place(&publish(secured(), None));
    for path in [
        "/repo/fsm-sidecar/aaaa-bbbc.sidecar.buyer.bookstore/",
        "/repo/fsm-sidecar/aaaa-bbbb.sidecar.thief.bookstore/",
        "/repo/fsm-sidecar/aaaa-bbbb.sidecar.buyer.bank/",
        "/repo/fsm-sidecar/aaaa-bbbb.sidecar.buyer.bookstore",
        "/repo/fsm-sidecar/.sidecar.buyer.bookstore/",
        "/repo/fsm-sidecar/aaaa-bbbb/",
        "/repo/fsm-sidecar/aaaa-bbbb.sidecar.buyer.bookstore/../../etc/passwd",
        "/",
    ] {
        assert_eq!(ask(&repo, Method::GET, path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(ask(&repo, Method::DELETE, CODE_BASE).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_status_report_is_taken_whatever_is_in_it() {
    let fixture = Fixture::new();
    let repo = fixture.repo(false);
    fixture.place(&publish(secured(), None));
    for report in [
        Some(Bytes::from_static(br#"{"timestamp": 1, "version": "77", "modules": {"a": {}}, "metrics": []}"#)),
        Some(Bytes::from_static(b"no JSON")),
        None,
    ] {
        let request = Request::post(CODE_BASE).body(report).unwrap();
        assert_eq!(repo.answer(request).await.status(), StatusCode::CREATED);
    }
    let reports = fixture.push.roster.reports();
    assert_eq!((reports.len(), reports[0].follows, &*reports[0].pod), (1, "repository", "bookstore/buyer-0"));
}

#[tokio::test]
async fn there_is_no_private_key_unless_asked_for() {
    let fixture = Fixture::new();
    fixture.plain();
    fixture.place(&publish(secured(), None));
    let text = body(ask(&fixture.repo(false), Method::GET, &format!("{CODE_BASE}config.json")).await).await;
    assert!(!String::from_utf8_lossy(&text).contains("BEGIN"));
    let (read, _) = Config::read(&text).unwrap();
    assert_eq!(read.certificate.unwrap().fsm_issued, Some(true));
}

#[tokio::test]
async fn with_private_keys_a_document_is_complete_and_follows_the_roots() {
    let fixture = Fixture::new();
    fixture.plain();
    let repo = fixture.repo(true);
    let published = publish(secured(), None);
    fixture.place(&published);
    let document = format!("{CODE_BASE}config.json");
    let first = ask(&repo, Method::GET, &document).await;
    let version = etag(&first);
    assert_ne!(version, **published.version());
    assert!(version.parse::<i64>().is_ok());
    let text = body(first).await;
    let (read, problems) = Config::read(&text).unwrap();
    assert_eq!(problems, []);
    assert_eq!(read.version.as_deref(), Some(&*version));
    let anywhere: Vec<&str> = read.allowed_endpoints.keys().map(String::as_str).collect();
    assert_eq!(anywhere, ["0.0.0.0/0", "::/0"], "Pipy's scripts take an empty list for nobody");
    let certificate = read.certificate.unwrap();
    assert_eq!(certificate.common_name, "buyer.bookstore.cluster.local");
    assert_eq!(certificate.issuing_ca, fixture.tresor.trust_bundle().pem);
    assert!(certificate.private_key.contains("PRIVATE KEY") && certificate.cert_chain.contains("BEGIN CERTIFICATE"));
    // The same key as long as it is good, whoever asks.
    let again = ask(&repo, Method::GET, &document).await;
    assert_eq!((etag(&again), body(again).await), (version.clone(), text));
    assert_eq!(fixture.push.telemetry.certificates.get(), 1);

    fixture.tresor.rotate().await.unwrap();
    let head = ask(&repo, Method::HEAD, CODE_BASE).await;
    assert_ne!(etag(&head), version);
    let text = body(ask(&repo, Method::GET, &document).await).await;
    let (read, _) = Config::read(&text).unwrap();
    assert_eq!(read.certificate.unwrap().issuing_ca.matches("BEGIN CERTIFICATE").count(), 2);

    // A mesh without mutual TLS has no certificate, and gets none.
    fixture.place(&publish(config(&[]), None));
    let text = body(ask(&repo, Method::GET, &document).await).await;
    let (read, _) = Config::read(&text).unwrap();
    assert_eq!((read.certificate, read.allowed_endpoints.len()), (None, 0), "there addresses decide");
}

#[tokio::test]
async fn scripts_are_inherited_and_are_a_part_of_the_version() {
    let fixture = Fixture::new();
    let published = publish(secured(), None);
    fixture.place(&published);
    let scripts = fixture.directory.path().join("scripts");
    std::fs::create_dir_all(scripts.join("modules")).unwrap();
    let open = || Repo::open(fixture.push.clone(), Some(&scripts), false);
    assert!(matches!(open(), Err(BaseError::NoEntry(_))));
    std::fs::write(scripts.join("main.js"), "pipy()").unwrap();
    std::fs::write(scripts.join("config.js"), "{}").unwrap();
    std::fs::write(scripts.join("modules/a.js"), "a").unwrap();
    std::fs::write(scripts.join(".hidden"), "no").unwrap();
    let repo = open().unwrap();
    let list = ask(&repo, Method::GET, CODE_BASE).await;
    let version = etag(&list);
    assert_eq!(body(list).await, "/main.js\n/config.js\n/modules/a.js\n/config.json.gz\n");
    assert_eq!(body(ask(&repo, Method::GET, &format!("{CODE_BASE}modules/a.js")).await).await, "a");
    assert_eq!(ask(&repo, Method::GET, &format!("{CODE_BASE}.hidden")).await.status(), StatusCode::NOT_FOUND);
    std::fs::write(scripts.join("modules/a.js"), "b").unwrap();
    assert_ne!(etag(&ask(&open().unwrap(), Method::HEAD, CODE_BASE).await), version);
}
