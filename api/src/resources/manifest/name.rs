//! Whether names are such that an API server takes them. The names become folders and files elsewhere: what could leave
//! a folder (`../x`) must stop here.

use crate::resources::kind::Kind;

/// Kubernetes' limit for the name of an object.
const MOST_NAME: usize = 253;

/// Kubernetes' limit for the name of a namespace (RFC 1123 label).
const MOST_LABEL: usize = 63;

/// What is wrong with a name.
pub(super) struct WrongName {
    pub(super) field: &'static str,
    pub(super) reason: String,
    pub(super) remedy: String,
}

/// Checks version, kind, namespace and name of an object.
pub(super) fn check_names(kind: &Kind, api_version: &str, namespace: &str, name: &str) -> Result<(), WrongName> {
    let wrong = |field, reason: String, remedy: &str| Err(WrongName { field, reason, remedy: remedy.to_owned() });
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if !(group.is_empty() || is_subdomain(group)) || !is_label(version) {
        let reason = format!("{api_version:?} is not a version of an API");
        return wrong("apiVersion", reason, "write group/version, for example apps/v1, or v1 for the core kinds");
    }
    if !is_kind(kind.name()) {
        let reason = format!("{:?} is not a kind", kind.name());
        return wrong("kind", reason, "write letters and digits only, for example TrafficSplit");
    }
    if let Some(names) = kind.names()
        && !names.versions.contains(&version)
    {
        let reason = format!("{kind} has no version {version:?} of {group}");
        return wrong("apiVersion", reason, &format!("write {}", names.api_version()));
    }
    if name.is_empty() {
        return wrong("metadata.name", "the name is missing, or not a text".to_owned(), "add it");
    }
    let name_is_good = match kind {
        // Kubernetes lets kinds allow more, for example the colons of RBAC, but nothing that could leave a folder.
        Kind::Other(_) => is_path_segment(name),
        Kind::Namespace => is_label(name),
        _ => is_subdomain(name),
    };
    if !name_is_good {
        let reason = format!("{name:?} is not a name");
        return wrong("metadata.name", reason, "write lower case letters, digits, '-' and '.' only");
    }
    if !namespace.is_empty() && !is_label(namespace) {
        let reason = format!("{namespace:?} is not the name of a namespace");
        return wrong("metadata.namespace", reason, "write at most 63 lower case letters, digits and '-' only");
    }
    Ok(())
}

/// RFC 1123 label: what a namespace's name is.
fn is_label(text: &str) -> bool {
    text.len() <= MOST_LABEL && is_word(text)
}

/// RFC 1123 subdomain: what most objects' names are. Kubernetes does not limit the length of its parts.
fn is_subdomain(text: &str) -> bool {
    text.len() <= MOST_NAME && text.split('.').all(is_word)
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_kind(text: &str) -> bool {
    text.len() <= MOST_LABEL
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// What Kubernetes demands of every name: it can be a part of a path.
fn is_path_segment(text: &str) -> bool {
    text.len() <= MOST_NAME
        && text != "."
        && text != ".."
        && !text.starts_with('.')
        && text.chars().all(|c| !c.is_control() && c != '/' && c != '%' && c != '\\')
}
