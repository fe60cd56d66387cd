//! Which kinds are followed, and how much of them: one line for whatever is not as usual.

use super::{Interest, Settings};
use fsm_api::resources::Kind;
use kube::runtime::watcher;

/// A namespace with this label belongs to the mesh that it names.
pub(super) const MONITORED_BY: &str = "flomesh.io/monitored-by";

/// Kubernetes' own kinds that the control plane reads.
const READ: [Kind; 7] =
    [Kind::Namespace, Kind::Secret, Kind::Service, Kind::EndpointSlice, Kind::Endpoints, Kind::IngressClass, Kind::Pod];

/// Registries of services have programs of their own.
const READ_BY_OTHERS: [Kind; 3] = [Kind::ConsulConnector, Kind::EurekaConnector, Kind::NacosConnector];

/// A pod that has ended serves nobody.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Secrets that are never certificates: what Helm, kubelets and service accounts keep, which is most of what there is.
/// Certificates may be in Secrets of any other type: FSM's pages make them with `kubectl create secret generic`.
const MAY_BE_CERTIFICATES: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
    type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/dockercfg,type!=kubernetes.io/basic-auth,\
    type!=kubernetes.io/ssh-auth,type!=bootstrap.kubernetes.io/token";

/// A page of a list is whole in memory for a moment, and each Secret may have a megabyte.
const SECRETS_AT_ONCE: u32 = 50;

/// Where most of what is listed may be dropped at once, as much memory as a page takes is all that it costs.
const AT_ONCE: u32 = 100;

/// The namespaces whose objects count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// All.
    Everywhere,
    /// Those of the mesh, and the control plane's own.
    Mesh,
    /// The same, and those that policies of the mesh name.
    Needed,
}

/// How a kind is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The kind.
    pub(super) kind: Kind,
    /// Only objects with these labels.
    pub(super) labels: Option<String>,
    /// Only objects with these fields.
    pub(super) fields: Option<&'static str>,
    /// Only objects of these namespaces.
    pub(super) within: Within,
    /// Beside them the Secrets that the control plane of this mesh made, wherever they are: nobody else would remove them.
    pub(super) own_secrets_of: Option<String>,
    /// Whether what nobody reads is dropped.
    pub(super) trimmed: bool,
    /// Only where the API server does not have this kind.
    pub(super) instead_of: Option<Kind>,
}

impl View {
    /// All objects of a kind, whole.
    fn whole(kind: Kind) -> Self {
        Self {
            kind,
            labels: None,
            fields: None,
            within: Within::Everywhere,
            own_secrets_of: None,
            trimmed: false,
            instead_of: None,
        }
    }

    /// How the control plane follows a kind.
    fn of_mesh(kind: Kind, settings: &Settings) -> Self {
        let view = Self { trimmed: true, ..Self::whole(kind.clone()) };
        match kind {
            // A namespace that leaves the mesh is thereby gone for the injector. The controller knows those of other meshes
            // too: what is in them is not to be judged.
            Kind::Namespace if settings.interest == Interest::Injection => {
                Self { labels: Some(format!("{MONITORED_BY}={}", settings.mesh_name)), ..view }
            }
            Kind::Namespace => Self { labels: Some(MONITORED_BY.to_owned()), ..view },
            Kind::Pod => Self { within: Within::Mesh, fields: Some(NOT_ENDED), ..view },
            Kind::Secret => Self {
                within: Within::Needed,
                own_secrets_of: Some(settings.mesh_name.clone()),
                fields: Some(MAY_BE_CERTIFICATES),
                ..view
            },
            Kind::Service | Kind::EndpointSlice => Self { within: Within::Needed, ..view },
            // Everything that is in Endpoints is in slices too, where there are slices.
            Kind::Endpoints => Self { within: Within::Needed, instead_of: Some(Kind::EndpointSlice), ..view },
            _ => view,
        }
    }

    /// Whether objects of this kind say what else is needed.
    pub(super) fn names_others(&self) -> bool {
        self.trimmed && (self.kind.has_definition() || self.kind == Kind::IngressClass)
    }

    /// What the API server is asked for.
    pub(super) fn config(&self, timeout_seconds: u32) -> watcher::Config {
        let mut config = watcher::Config::default().timeout(timeout_seconds);
        config.label_selector = self.labels.clone();
        config.field_selector = self.fields.map(str::to_owned);
        config.page_size = match (&self.kind, self.within) {
            (Kind::Secret, _) => Some(SECRETS_AT_ONCE),
            (_, Within::Everywhere) => config.page_size,
            (_, Within::Mesh | Within::Needed) => Some(AT_ONCE),
        };
        config
    }
}

/// How every kind is followed that is.
pub(super) fn views(settings: &Settings) -> Vec<View> {
    match &settings.interest {
        Interest::Mesh => Kind::ALL
            .iter()
            .filter(|kind| READ.contains(kind) || (kind.has_definition() && !READ_BY_OTHERS.contains(kind)))
            .map(|kind| View::of_mesh(kind.clone(), settings))
            .collect(),
        Interest::Injection => {
            [Kind::Namespace, Kind::MeshConfig].into_iter().map(|kind| View::of_mesh(kind, settings)).collect()
        }
        Interest::Whole(kinds) => kinds.iter().cloned().map(View::whole).collect(),
    }
}
