//! The configurations by which API servers know the webhooks, as FSM names them. The objects are pure; [`Kept`] keeps one
//! of them in the cluster with the roots of the mesh in it.
//!
//! A mesh must never block its cluster. So both webhooks are asked about namespaces of this mesh only, never about the
//! control plane's own, nor about those that are labelled `control-plane` or `flomesh.io/ignore`; the control
//! plane's own pods start without anybody being asked. Within the mesh the injector's failure stops pods (one without a sidecar would be
//! outside of all policies), and the validator's failure stops changes of policies: `failurePolicy: Fail`, as in FSM. Neither
//! stops deletions.

use crate::cert::Issuer;
use crate::reconcile::{Cluster, ClusterError, Place, RECONCILE_LABEL, Step, Upkeep, as_kept, resource, step};
use fsm_api::resources::{Kind, KindNames, Scope};
use k8s_openapi::ByteString;
use kube::core::ApiResource;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// What both configurations have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Name of the configuration.
    pub name: String,
    /// Name of the mesh.
    pub mesh: String,
    /// Namespace of the control plane, where the Services are.
    pub fsm_namespace: String,
    /// How long API servers wait for an answer.
    pub timeout: Duration,
    /// `https://HOST:PORT` instead of the Service.
    pub url: Option<String>,
    /// Whether it is restored when somebody changes or deletes it.
    pub reconciled: bool,
}

/// Which webhook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhooks {
    /// The injector's, about new pods.
    Injector,
    /// The validator's, about changes of policies.
    Validator {
        /// TrafficTargets, too.
        traffic_targets: bool,
    },
}

/// Why a configuration cannot be kept.
#[derive(Debug, Error)]
pub enum RegistrationError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Somebody else's.
    #[error(
        "{place} belongs to the mesh {other:?} (its label app.kubernetes.io/instance), not to {mesh:?}: give this mesh another \
         name, or name another configuration with {flag}"
    )]
    Foreign {
        /// The object.
        place: String,
        /// Whose it is.
        other: String,
        /// Whose it should be.
        mesh: String,
        /// How to avoid it.
        flag: &'static str,
    },
}

/// The label of what belongs to FSM.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Its value.
pub const NAME: &str = "flomesh.io";
/// The label with the name of the mesh.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

const GROUP: &str = "admissionregistration.k8s.io";

impl Webhooks {
    /// The kind of its configuration.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Injector => resource(GROUP, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
            Self::Validator { .. } => {
                resource(GROUP, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
            }
        }
    }

    /// FSM's name of its configuration.
    pub fn usual_name(self, mesh: &str) -> String {
        match self {
            Self::Injector => format!("fsm-webhook-{mesh}"),
            Self::Validator { .. } => format!("fsm-validator-mesh-{mesh}"),
        }
    }

    /// Service and port.
    fn service(self) -> (&'static str, u16) {
        match self {
            Self::Injector => ("fsm-injector", 9090),
            Self::Validator { .. } => ("fsm-validator", 9093),
        }
    }

    fn app(self) -> &'static str {
        match self {
            Self::Injector => "fsm-injector",
            Self::Validator { .. } => "fsm-controller",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Injector => "--webhook-config-name",
            Self::Validator { .. } => "--validator-webhook-config",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Injector => super::MUTATE_PATH,
            Self::Validator { .. } => super::VALIDATE_PATH,
        }
    }

    /// The configuration as it should be.
    pub fn configuration(self, registration: &Registration, roots: &str) -> Value {
        let resource = self.resource();
        let Registration { name, mesh, .. } = registration;
        let mut labels = json!({
            NAME_LABEL: NAME, INSTANCE_LABEL: mesh, "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
            "app": self.app(),
        });
        labels[RECONCILE_LABEL] = registration.reconciled.to_string().into();
        json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name, "labels": labels},
            "webhooks": self.webhooks(registration, roots),
        })
    }

    fn webhooks(self, registration: &Registration, roots: &str) -> Value {
        let webhook = |name: &str, selector: Value, rules: Value| {
            let mut webhook = json!({
                "name": name,
                "admissionReviewVersions": ["v1"],
                "clientConfig": self.client(registration, roots),
                "failurePolicy": "Fail",
                "matchPolicy": "Exact",
                "namespaceSelector": selector,
                "rules": rules,
                // Nothing is written, so a dry run may ask, too.
                "sideEffects": "None",
                "timeoutSeconds": registration.timeout.as_secs().clamp(1, 30),
            });
            if self == Self::Injector {
                webhook["reinvocationPolicy"] = "Never".into();
            }
            webhook
        };
        let Registration { mesh, fsm_namespace, .. } = registration;
        let of_mesh = json!({
            "matchLabels": {"flomesh.io/monitored-by": mesh},
            "matchExpressions": [
                {"key": "flomesh.io/ignore", "operator": "DoesNotExist"},
                {"key": "name", "operator": "NotIn", "values": [fsm_namespace]},
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [fsm_namespace, "kube-system", "kube-public"]},
                {"key": "control-plane", "operator": "DoesNotExist"},
            ],
        });
        let rule = |operations: Value, group: &str, versions: Value, resources: Value, scope: &str| {
            json!({
                "operations": operations, "apiGroups": [group], "apiVersions": versions, "resources": resources, "scope": scope,
            })
        };
        match self {
            Self::Injector => json!([webhook(
                "fsm-inject.k8s.io",
                of_mesh,
                json!([rule(json!(["CREATE"]), "", json!(["v1"]), json!(["pods"]), "Namespaced")])
            )]),
            Self::Validator { traffic_targets } => {
                let changes = json!(["CREATE", "UPDATE"]);
                let kinds = super::VALIDATED
                    .iter()
                    .filter(|kind| traffic_targets || **kind != Kind::TrafficTarget)
                    .filter_map(Kind::names);
                let (wide, namespaced): (Vec<_>, Vec<_>) = kinds.partition(|names| names.scope == Scope::Cluster);
                let rules = |kinds: Vec<&KindNames>, scope: &str| -> Value {
                    let of = |names: &KindNames| {
                        rule(changes.clone(), names.group, json!(["*"]), json!([names.plural]), scope)
                    };
                    kinds.into_iter().map(of).collect()
                };
                let (wide, namespaced) = (rules(wide, "Cluster"), rules(namespaced, "Namespaced"));
                let config =
                    rule(changes.clone(), "config.flomesh.io", json!(["*"]), json!(["meshconfigs"]), "Namespaced");
                // API servers before 1.21 do not label namespaces with their names: which one it is, is looked at here.
                let mut settings = webhook("fsm-mesh-config-validator.k8s.io", json!({}), json!([config]));
                // The one object that an operator needs to repair a mesh must never wait for that mesh.
                settings["failurePolicy"] = "Ignore".into();
                // What belongs to no namespace is asked about whatever the selector says, by the API servers of every mesh's
                // cluster: a mesh that does not answer must not keep the others from changing it.
                let mut shared = webhook("fsm-cluster-validator.k8s.io", json!({}), wide);
                shared["failurePolicy"] = "Ignore".into();
                json!([webhook("fsm-validator.k8s.io", of_mesh, namespaced), shared, settings])
            }
        }
    }

    fn client(self, registration: &Registration, roots: &str) -> Value {
        let roots = json!(ByteString(roots.as_bytes().to_vec()));
        match &registration.url {
            Some(url) => json!({"caBundle": roots, "url": format!("{}{}", url.trim_end_matches('/'), self.path())}),
            None => {
                let (service, port) = self.service();
                let namespace = &registration.fsm_namespace;
                let service = json!({"namespace": namespace, "name": service, "path": self.path(), "port": port});
                json!({"caBundle": roots, "service": service})
            }
        }
    }
}

/// Keeps a configuration in the cluster, with the roots that certificates have at the moment.
#[derive(Debug)]
pub struct Kept {
    cluster: Cluster,
    webhooks: Webhooks,
    registration: Registration,
    issuer: Arc<dyn Issuer>,
    /// What the API server made of what was written last, and that.
    taken: Option<(Value, Value)>,
}

impl Kept {
    /// Keeps it as soon as it is asked to.
    pub fn new(cluster: Cluster, webhooks: Webhooks, registration: Registration, issuer: Arc<dyn Issuer>) -> Self {
        Self { cluster, webhooks, registration, issuer, taken: None }
    }

    /// What is wanted of what is there.
    fn wanted(&self) -> (Value, Value) {
        let wanted = self.webhooks.configuration(&self.registration, &self.issuer.trust_bundle().pem);
        let normal = match &self.taken {
            Some((before, normal)) if *before == wanted => normal.clone(),
            _ => wanted.clone(),
        };
        (wanted, normal)
    }
}

impl Upkeep for Kept {
    type Error = RegistrationError;

    fn kind(&self) -> &'static str {
        match self.webhooks {
            Webhooks::Injector => "MutatingWebhookConfiguration",
            Webhooks::Validator { .. } => "ValidatingWebhookConfiguration",
        }
    }

    async fn bring(&mut self) -> Result<usize, RegistrationError> {
        let place = Place::new(self.webhooks.resource(), "", &self.registration.name);
        let found = self.cluster.get(&place).await?;
        let other = found.as_ref().and_then(|found| found["metadata"]["labels"][INSTANCE_LABEL].as_str());
        if let Some(other) = other
            && other != self.registration.mesh
        {
            return Err(RegistrationError::Foreign {
                place: place.to_string(),
                other: other.to_owned(),
                mesh: self.registration.mesh.clone(),
                flag: self.webhooks.flag(),
            });
        }
        let (wanted, normal) = self.wanted();
        let kept = match step(found.as_ref(), &normal) {
            Step::Nothing => return Ok(0),
            Step::Create(_) => self.cluster.create(&place, &wanted).await?,
            Step::Replace(object) => self.cluster.replace(&place, &object).await?,
        };
        let normal = as_kept(&wanted, &kept);
        self.taken = Some((wanted, normal));
        Ok(1)
    }
}

#[cfg(test)]
mod tests;
