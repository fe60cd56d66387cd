//! `fsm create`: the few objects that are easier made than written.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::kinds::Resource;
use super::{MeshChoice, apply, manifest, merge, say_line};
use crate::local::state::ObjectName;

/// `fsm create`.
#[derive(Debug, Subcommand)]
pub(super) enum Create {
    /// Create a namespace
    #[command(visible_alias = "ns")]
    Namespace {
        /// Its name
        name: String,
    },
    /// Create a service account
    #[command(name = "serviceaccount", visible_alias = "sa")]
    ServiceAccount {
        /// Its name
        name: String,
        /// Namespace [default: default]
        #[arg(short, long, value_name = "NS")]
        namespace: Option<String>,
    },
    /// Create a config map from files or values
    #[command(name = "configmap", visible_alias = "cm")]
    ConfigMap(Contents),
    /// Create a secret
    #[command(subcommand)]
    Secret(Secret),
}

/// `fsm create secret`.
#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Create a secret from files or values
    Generic(Contents),
    /// Create a secret from a certificate and its key
    Tls {
        /// Its name
        name: String,
        /// File with the certificate, PEM
        #[arg(long)]
        cert: PathBuf,
        /// File with the key, PEM
        #[arg(long)]
        key: PathBuf,
        /// Namespace [default: default]
        #[arg(short, long, value_name = "NS")]
        namespace: Option<String>,
    },
}

/// What a config map or a secret contains.
#[derive(Debug, Args)]
pub(super) struct Contents {
    /// Its name
    name: String,
    /// Namespace [default: default]
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// A file, under its own name or another
    #[arg(long, value_name = "[KEY=]FILE")]
    from_file: Vec<String>,
    /// A value
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// Type of a secret
    #[arg(long = "type", default_value = "Opaque")]
    kind: String,
}

impl Create {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        let (kind, namespace, object) = match self {
            Self::Namespace { name } => ("namespaces", None, json!({"metadata": {"name": name}})),
            Self::ServiceAccount { name, namespace } => {
                ("serviceaccounts", namespace, json!({"metadata": {"name": name}}))
            }
            Self::ConfigMap(contents) => {
                let mut object = json!({"metadata": {"name": contents.name}});
                for (key, value) in contents.entries()? {
                    let (field, value) = match String::from_utf8(value) {
                        Ok(text) => ("data", text),
                        Err(error) => ("binaryData", base64(error.as_bytes())),
                    };
                    merge::patch(&mut object, &json!({field: {key: value}}));
                }
                ("configmaps", contents.namespace, object)
            }
            Self::Secret(Secret::Generic(contents)) => {
                let entries = contents.entries()?;
                let data: Map<String, Value> =
                    entries.into_iter().map(|(key, value)| (key, json!(base64(&value)))).collect();
                (
                    "secrets",
                    contents.namespace,
                    json!({"metadata": {"name": contents.name}, "type": contents.kind, "data": data}),
                )
            }
            Self::Secret(Secret::Tls { name, cert, key, namespace }) => {
                let data = json!({"tls.crt": base64(&contents_of(&cert)?), "tls.key": base64(&contents_of(&key)?)});
                ("secrets", namespace, json!({"metadata": {"name": name}, "type": "kubernetes.io/tls", "data": data}))
            }
        };
        create(mesh, &Resource::find(kind)?, namespace, object)
    }
}

impl Contents {
    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut entries = Vec::new();
        for file in &self.from_file {
            let (key, path) = match file.split_once('=') {
                Some((key, path)) => (key.to_owned(), PathBuf::from(path)),
                None => {
                    let path = PathBuf::from(file);
                    let name = path.file_name().ok_or_else(|| anyhow!("{file} is no file"))?;
                    (name.to_string_lossy().into_owned(), path)
                }
            };
            entries.push((key, contents_of(&path)?));
        }
        for literal in &self.from_literal {
            let (key, value) = literal.split_once('=').ok_or_else(|| anyhow!("`{literal}` is not KEY=VALUE"))?;
            entries.push((key.to_owned(), value.as_bytes().to_vec()));
        }
        Ok(entries)
    }
}

fn create(mesh: &MeshChoice, resource: &Resource, namespace: Option<String>, mut object: Value) -> Result<()> {
    let objects = mesh.state()?.objects();
    let namespace = if resource.namespaced { namespace.unwrap_or_else(|| "default".to_owned()) } else { String::new() };
    let whole = json!({"apiVersion": "v1", "kind": resource.kind});
    merge::patch(&mut object, &whole);
    if !namespace.is_empty() {
        merge::patch(&mut object, &json!({"metadata": {"namespace": namespace}}));
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    manifest::check(&object).with_context(|| resource.answer(&name))?;
    let id = ObjectName::new(&resource.directory(), &namespace, &name);
    apply::require_namespace(&objects, &id)?;
    let mut exists = false;
    objects.update(&id, |live| {
        exists = live.is_some();
        Some(live.unwrap_or(object))
    })?;
    if exists {
        bail!("{} \"{name}\" already exists", resource.plural);
    }
    if resource.kind == "Namespace" {
        apply::finish_namespace(&objects, &name)?;
    }
    say_line(format!("{} created", resource.answer(&name)));
    Ok(())
}

fn contents_of(path: &PathBuf) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// RFC 4648, with padding, as Kubernetes wants it.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = group >> (18 - 6 * index) & 63;
            text.push(if index <= chunk.len() { char::from(ALPHABET[digit as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_follows_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(super::base64(plain.as_bytes()), encoded);
        }
        assert_eq!(super::base64(&[0xff, 0xfe, 0xfb]), "//77");
    }
}
