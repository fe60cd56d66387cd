//! Names of kinds on the command line and in answers: `svc`, `services`, `service/httpbin`, `deployment.apps/curl`.

use anyhow::{Result, anyhow};
use fsm_api::resources::{Kind, Scope};

/// A kind of objects, with the names that answers need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    /// As in YAML: `Deployment`.
    pub(super) kind: String,
    /// Group; empty for the core group.
    pub(super) group: String,
    /// For messages: `deployments`.
    pub(super) plural: String,
    /// Whether its objects are in namespaces.
    pub(super) namespaced: bool,
}

/// Kinds without a type here, that are in no namespace; what applying a whole chart brings with it.
const CLUSTER_WIDE: [&str; 12] = [
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CSIDriver",
    "CustomResourceDefinition",
    "GatewayClass",
    "MutatingWebhookConfiguration",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "StorageClass",
    "ValidatingWebhookConfiguration",
];

/// The kind that a word on the command line means.
pub(super) fn kind(word: &str) -> Result<Kind> {
    // What kubectl understands too: `trafficsplit.v1alpha2.split.smi-spec.io`.
    let kind = Kind::find(word).or_else(|| {
        let (name, rest) = word.split_once('.')?;
        let (version, group) = rest.split_once('.')?;
        version.starts_with('v').then(|| Kind::find(&format!("{name}.{group}"))).flatten()
    });
    kind.ok_or_else(|| {
        let known: Vec<_> = Kind::ALL.iter().filter_map(Kind::names).map(|names| names.plural).collect();
        anyhow!("there is no kind of object `{word}`; there are: {}", known.join(", "))
    })
}

impl Resource {
    /// The names of the kind that a word on the command line means.
    pub(super) fn find(word: &str) -> Result<Self> {
        kind(word).map(|kind| Self::of(&kind))
    }

    /// The names of a kind.
    pub(super) fn of(kind: &Kind) -> Self {
        let name = kind.name().to_owned();
        let plural =
            kind.names().map_or_else(|| format!("{}s", name.to_ascii_lowercase()), |names| names.plural.to_owned());
        let namespaced = match kind.scope() {
            Some(scope) => scope == Scope::Namespaced,
            None => !CLUSTER_WIDE.contains(&name.as_str()),
        };
        Self { kind: name, group: kind.group().to_owned(), plural, namespaced }
    }

    /// Directory of its objects in the state directory.
    pub(super) fn directory(&self) -> String {
        match self.group.as_str() {
            "" => self.kind.clone(),
            group => format!("{}.{group}", self.kind),
        }
    }

    /// As answers begin: `service`, `deployment.apps`.
    pub(super) fn singular(&self) -> String {
        self.directory().replacen(&self.kind, &self.kind.to_ascii_lowercase(), 1)
    }

    /// `service/httpbin`, `deployment.apps/curl`.
    pub(super) fn answer(&self, name: &str) -> String {
        format!("{}/{name}", self.singular())
    }
}
