//! Objects and statuses as files.

use super::super::{COMMITTED, DirectoryWriter, Found, Owner, WriteError, Writer};
use super::{Hand, foreign, key, page_secret, page_wish, secret};
use fsm_api::resources::policy::PolicyStatus;
use fsm_api::resources::{Kind, Object, ObjectKey, manifest};
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

const FILE: &str = "objects/Secret/curl/curl-mtls-secret.yaml";

struct Place {
    writer: DirectoryWriter,
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let writer = DirectoryWriter::open(&directory.path().join("objects"), Owner::of_mesh("fsm")).unwrap();
        Self { writer, directory }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn read(&self) -> Value {
        serde_saphyr::from_str(&fs::read_to_string(self.path(FILE)).unwrap()).unwrap()
    }

    async fn secret(&self) -> Secret {
        secret(&page_wish(), &Hand::new().tresor(&self.path("ca"))).await
    }
}

#[tokio::test]
async fn a_secret_is_a_private_file_that_the_source_can_read() {
    let place = Place::new();
    place.writer.put_secret(place.secret().await).await.unwrap();
    let metadata = fs::metadata(place.path(FILE)).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let (objects, errors) = manifest::read(&fs::read_to_string(place.path(FILE)).unwrap(), FILE);
    assert!(errors.is_empty(), "{errors:?}");
    let Object::Secret(read) = &objects[0].value else { panic!("{:?}", objects[0].value) };
    assert!(Owner::of_mesh("fsm").made(&read.metadata));
    assert!(Found::read(read).serves(&page_wish()));
    assert!(read.metadata.uid.is_some() && read.metadata.creation_timestamp.is_some());
    assert_eq!(read.type_.as_deref(), Some("kubernetes.io/tls"));
    let names: Vec<&str> = read.data.as_ref().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["ca.crt", "tls.crt", "tls.key"]);
    let left: Vec<_> = fs::read_dir(place.path("objects/Secret/curl")).unwrap().map(Result::unwrap).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn what_others_wrote_into_its_metadata_stays() {
    let place = Place::new();
    place.writer.put_secret(place.secret().await).await.unwrap();
    let mut object = place.read();
    object["metadata"]["labels"]["team"] = "web".into();
    object["metadata"]["annotations"]["note"] = "keep".into();
    let (uid, key) = (object["metadata"]["uid"].clone(), object["data"]["tls.key"].clone());
    fs::write(place.path(FILE), serde_saphyr::to_string(&object).unwrap()).unwrap();
    place.writer.put_secret(place.secret().await).await.unwrap();
    let object = place.read();
    assert_eq!(object["metadata"]["uid"], uid);
    assert_eq!(object["metadata"]["labels"]["team"], "web");
    assert_eq!(object["metadata"]["annotations"]["note"], "keep");
    assert_eq!(object["metadata"]["annotations"]["flomesh.io/issued-for"], "AccessCert httpbin/curl-mtls-cert");
    assert_ne!(object["data"]["tls.key"], key);
}

#[tokio::test]
async fn somebody_elses_secret_is_neither_replaced_nor_removed() {
    let place = Place::new();
    let text = serde_saphyr::to_string(&foreign()).unwrap();
    fs::create_dir_all(place.path("objects/Secret/curl")).unwrap();
    for text in [text.as_str(), "kind: [unfinished", "metadata: 7"] {
        fs::write(place.path(FILE), text).unwrap();
        let put = place.writer.put_secret(place.secret().await).await.unwrap_err();
        let removed = place.writer.remove_secret(page_secret()).await.unwrap_err();
        for error in [put, removed] {
            assert!(matches!(error, WriteError::NotOurs { .. } | WriteError::Content { .. }), "{error}");
            assert!(error.to_string().contains("curl-mtls-secret"), "{error}");
        }
        assert_eq!(fs::read_to_string(place.path(FILE)).unwrap(), text);
    }
}

#[tokio::test]
async fn our_secret_is_removed_and_removing_it_again_is_no_error() {
    let place = Place::new();
    place.writer.put_secret(place.secret().await).await.unwrap();
    for _ in 0..2 {
        place.writer.remove_secret(page_secret()).await.unwrap();
        assert!(!place.path(FILE).exists());
    }
}

#[tokio::test]
async fn names_do_not_lead_out_of_the_directory() {
    let place = Place::new();
    for (namespace, name) in [("..", "a"), ("curl", "../a"), ("curl", ".a"), ("", "a"), ("curl", ""), ("a/b", "c")] {
        let removed = place.writer.remove_secret(key(namespace, name)).await;
        assert!(matches!(removed, Err(WriteError::Name { .. })), "{namespace}/{name}: {removed:?}");
        let policy = ObjectKey::new(Kind::Egress, namespace, name);
        let set = place.writer.set_status(policy, Some(PolicyStatus::default())).await;
        assert!(matches!(set, Err(WriteError::Name { .. })), "{namespace}/{name}: {set:?}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let place = Place::new();
    fs::write(place.path("objects/Secret"), "a file in the way").unwrap();
    let error = place.writer.put_secret(place.secret().await).await.unwrap_err().to_string();
    assert!(error.contains("objects/Secret"), "{error}");
}

#[tokio::test]
async fn statuses_are_files_beside_the_objects_and_are_found_again() {
    let place = Place::new();
    assert_eq!(place.writer.statuses().await.unwrap(), Some(BTreeMap::new()));
    let (one, all) = (ObjectKey::new(Kind::Egress, "shop", "out"), ObjectKey::new(Kind::Isolation, "", "i"));
    let status =
        |text: &str| PolicyStatus { current_status: Some(COMMITTED.to_owned()), reason: Some(text.to_owned()) };
    for policy in [&one, &all] {
        place.writer.set_status(policy.clone(), Some(status("first"))).await.unwrap();
        place.writer.set_status(policy.clone(), Some(status("then: \"more\""))).await.unwrap();
    }
    let files = ["status/Egress.policy.flomesh.io/shop/out.yaml", "status/Isolation.policy.flomesh.io/_cluster/i.yaml"];
    assert!(files.iter().all(|file| place.path(file).is_file()));
    fs::write(place.path("status/Egress.policy.flomesh.io/shop/bad.yaml"), "[").unwrap();
    let found = place.writer.statuses().await.unwrap().unwrap();
    assert_eq!(found, BTreeMap::from([(one.clone(), status("then: \"more\"")), (all, status("then: \"more\""))]));
    for _ in 0..2 {
        place.writer.set_status(one.clone(), None).await.unwrap();
    }
    assert_eq!(place.writer.statuses().await.unwrap().unwrap().len(), 1);
    assert!(fs::read_dir(place.path("objects")).unwrap().next().is_none());
}
