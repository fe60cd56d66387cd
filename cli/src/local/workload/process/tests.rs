#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::local::workload::objects::Wanted as Objects;
use serde_json::{Value, json};
use std::path::Path;

struct Everything;

impl Tools for Everything {
    fn fsm(&self) -> PathBuf {
        "/opt/fsm".into()
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        Some(Path::new("/bin").join(program))
    }
}

fn objects() -> Objects {
    let mut objects = Objects::default();
    let key = |name: &str| ("shop".to_owned(), name.to_owned());
    let map = json!({"metadata": {}, "data": {"COLOR": "red", "main.conf": "text"}});
    objects.apply("ConfigMap", key("map"), &map).unwrap();
    let secret = json!({"metadata": {}, "data": {"password": "c2VzYW1l"}, "stringData": {"user": "me"}});
    objects.apply("Secret", key("secret"), &secret).unwrap();
    objects
}

fn process(spec: Value) -> Result<Process, Refusal> {
    let metadata = json!({
        "namespace": "shop", "name": "web-0", "uid": "u", "labels": {"app": "web"}, "annotations": {"a": "b"},
    });
    let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    of_container(&pod, &container, &["10.0.0.9".parse().unwrap()], &objects(), &Everything)
}

fn value<'a>(process: &'a Process, name: &str) -> Option<&'a str> {
    process.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn the_environment_comes_from_everywhere() {
    let process = process(json!({
        "serviceAccountName": "web",
        "containers": [{
            "name": "main",
            "command": ["run", "$(GREETING)", "$$(GREETING)", "$(UNKNOWN)"],
            "envFrom": [{"configMapRef": {"name": "map"}, "prefix": "CM_"}, {"secretRef": {"name": "none", "optional": true}}],
            "env": [
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "ACCOUNT", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
                {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "COLOR"}}},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "password"}}},
                {"name": "GREETING", "value": "$(NAME) is $(COLOR)"},
            ],
        }],
    }))
    .unwrap();
    assert_eq!(process.command, ["/bin/run", "web-0 is red", "$(GREETING)", "$(UNKNOWN)"]);
    let expected = [
        ("NAME", "web-0"),
        ("IP", "10.0.0.9"),
        ("APP", "web"),
        ("ACCOUNT", "web"),
        ("PASSWORD", "sesame"),
        ("CM_COLOR", "red"),
        ("HOSTNAME", "web-0"),
    ];
    for (name, wanted) in expected {
        assert_eq!(value(&process, name), Some(wanted), "{name}");
    }
}

#[test]
fn volumes_become_mounts() {
    let process = process(json!({
        "containers": [{
            "name": "main", "command": ["run"],
            "volumeMounts": [
                {"name": "conf", "mountPath": "/etc/app"},
                {"name": "conf", "mountPath": "/one.conf", "subPath": "main.conf", "readOnly": true},
                {"name": "keys", "mountPath": "/keys"},
                {"name": "scratch", "mountPath": "/scratch"},
                {"name": "claimed", "mountPath": "/claimed"},
            ],
        }],
        "volumes": [
            {"name": "conf", "configMap": {"name": "map"}},
            {"name": "keys", "secret": {"secretName": "secret", "items": [{"key": "user", "path": "a/b"}]}},
            {"name": "scratch", "emptyDir": {}},
        ],
    }))
    .unwrap();
    let sources: Vec<&MountSource> = process.mounts.iter().map(|mount| &mount.source).collect();
    let files = |files: &[(&str, &str)]| {
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    let volume = |name: &str, content| {
        MountSource::Volume(runtime::Volume { name: name.to_owned(), files: files(content), tokens: Vec::new() })
    };
    assert_eq!(*sources[0], volume("conf", &[("COLOR", "red"), ("main.conf", "text")]));
    assert_eq!(*sources[1], MountSource::File(b"text".to_vec()));
    assert!(process.mounts[1].read_only);
    assert_eq!(*sources[2], volume("keys", &[("a/b", "me")]));
    assert_eq!(*sources[3], MountSource::Shared("scratch".to_owned()));
    assert_eq!(*sources[4], MountSource::Shared("claimed".to_owned()));
}

#[test]
fn what_is_missing_is_named() {
    let missing = [
        json!({"containers": [{"name": "m", "command": ["x"], "envFrom": [{"configMapRef": {"name": "gone"}}]}]}),
        json!({"containers": [{
            "name": "m", "command": ["x"],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "gone"}}}],
        }]}),
        json!({
            "containers": [{"name": "m", "command": ["x"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "configMap": {"name": "gone"}}],
        }),
        json!({
            "containers": [{
                "name": "m", "command": ["x"], "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../gone"}],
            }],
            "volumes": [{"name": "v", "configMap": {"name": "map"}}],
        }),
    ];
    for spec in missing {
        let refusal = process(spec).unwrap_err();
        assert_eq!(refusal.reason, "CreateContainerConfigError");
        assert!(refusal.message.contains("gone"), "{}", refusal.message);
    }
}
