//! Objects of a cluster, read and changed as JSON.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::TypeMeta;
use serde_json::Value;

use super::{Cluster, ClusterError};

/// How many objects one answer of a list has; lists of any length are read page by page.
const PAGE: u32 = 500;
/// How long a pod may take to say something that is only nice to know.
const POD: Duration = Duration::from_secs(5);
/// Who changes objects, as managed fields show it.
const MANAGER: &str = "fsm";

/// A type of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// Group; empty for the core group.
    pub group: &'static str,
    /// Version, as `v1`.
    pub version: &'static str,
    /// Kind, as `Deployment`.
    pub kind: &'static str,
    /// As in paths: `deployments`.
    pub plural: &'static str,
}

/// Types that commands need.
pub mod types {
    use super::Type;

    const fn of(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Type {
        Type { group, version, kind, plural }
    }

    /// Namespaces.
    pub const NAMESPACE: Type = of("", "v1", "Namespace", "namespaces");
    /// Pods.
    pub const POD: Type = of("", "v1", "Pod", "pods");
    /// Services.
    pub const SERVICE: Type = of("", "v1", "Service", "services");
    /// Secrets.
    pub const SECRET: Type = of("", "v1", "Secret", "secrets");
    /// ConfigMaps.
    pub const CONFIG_MAP: Type = of("", "v1", "ConfigMap", "configmaps");
    /// Events.
    pub const EVENT: Type = of("", "v1", "Event", "events");
    /// Service accounts.
    pub const SERVICE_ACCOUNT: Type = of("", "v1", "ServiceAccount", "serviceaccounts");
    /// Deployments.
    pub const DEPLOYMENT: Type = of("apps", "v1", "Deployment", "deployments");
    /// Replica sets.
    pub const REPLICA_SET: Type = of("apps", "v1", "ReplicaSet", "replicasets");
    /// Jobs.
    pub const JOB: Type = of("batch", "v1", "Job", "jobs");
    /// Definitions of custom resources.
    pub const DEFINITION: Type =
        of("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
    /// Mutating webhooks.
    pub const MUTATING_WEBHOOK: Type =
        of("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations");
    /// Validating webhooks.
    pub const VALIDATING_WEBHOOK: Type =
        of("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations");
    /// What the user may do.
    pub const SELF_ACCESS: Type =
        of("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews");
    /// The mesh's configuration.
    pub const MESH_CONFIG: Type = of("config.flomesh.io", "v1alpha3", "MeshConfig", "meshconfigs");
    /// Root certificates of a mesh.
    pub const MESH_ROOT_CERTIFICATE: Type =
        of("config.flomesh.io", "v1alpha3", "MeshRootCertificate", "meshrootcertificates");
}

impl Type {
    fn resource(&self) -> ApiResource {
        let api_version =
            if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) };
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version,
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}

/// Which objects of a type: by labels and by fields, as kubectl's `-l` and `--field-selector`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selector<'a> {
    /// Labels, as `app=fsm-controller`.
    pub labels: Option<&'a str>,
    /// Fields, as `status.phase=Running`.
    pub fields: Option<&'a str>,
}

impl<'a> Selector<'a> {
    /// By labels only.
    #[must_use]
    pub fn labels(labels: &'a str) -> Self {
        Self { labels: Some(labels), fields: None }
    }
}

/// A watch, or (by default) none.
#[derive(Default)]
pub struct Happenings {
    stream: Option<BoxStream<'static, Result<WatchEvent<DynamicObject>, kube::Error>>>,
}

impl Cluster {
    /// The objects of a type, in one namespace or (`None`) in all or none; empty where the type is not there.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses.
    pub fn list(&self, of: Type, namespace: Option<&str>, which: Selector<'_>) -> Result<Vec<Value>, ClusterError> {
        let what = format!("list {}{}", of.plural, within(namespace));
        let api = self.api(of, namespace);
        let mut parameters = ListParams::default().limit(PAGE);
        parameters.label_selector = which.labels.map(str::to_owned);
        parameters.field_selector = which.fields.map(str::to_owned);
        let mut found = Vec::new();
        loop {
            let page = match self.ask(&what, api.list(&parameters)) {
                Err(error) if error.is_code(404) => return Ok(found),
                page => page?,
            };
            for mut object in page.items {
                // Lists leave out what is the same for all.
                object.types = Some(TypeMeta { api_version: of.resource().api_version, kind: of.kind.to_owned() });
                found.push(self.value(&what, &object)?);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// What happens to the objects of a type in one namespace, beginning with those that are there.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses.
    pub fn watch(&self, of: Type, namespace: &str, labels: &str) -> Result<Happenings, ClusterError> {
        let what = format!("watch {}{}", of.plural, within(Some(namespace)));
        let parameters = WatchParams::default().labels(labels);
        let api = self.api(of, Some(namespace));
        let stream = self.ask(&what, async { api.watch(&parameters, "0").await.map(|events| events.boxed()) })?;
        Ok(Happenings { stream: Some(stream) })
    }

    /// Waits so long, and gives each object that came, changed or went meanwhile as it was then. A watch that breaks off tells
    /// nothing any more.
    pub fn happenings(&self, of: &mut Happenings, time: Duration) -> Vec<Value> {
        let mut seen = Vec::new();
        self.run(async {
            let pause = tokio::time::sleep(time);
            tokio::pin!(pause);
            while let Some(stream) = &mut of.stream {
                let event = tokio::select! {
                    biased;
                    event = stream.next() => event,
                    () = &mut pause => return,
                };
                match event {
                    Some(Ok(
                        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object),
                    )) => seen.push(object),
                    Some(Ok(WatchEvent::Bookmark(_))) => {}
                    Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => of.stream = None,
                }
            }
            pause.await;
        });
        seen.iter().filter_map(|object| serde_json::to_value(object).ok()).collect()
    }

    /// One object, if it is there.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses.
    pub fn get(&self, of: Type, namespace: Option<&str>, name: &str) -> Result<Option<Value>, ClusterError> {
        let what = format!("read {} {name}{}", of.kind, within(namespace));
        match self.ask(&what, self.api(of, namespace).get(name)) {
            Ok(object) => self.value(&what, &object).map(Some),
            Err(error) if error.is_code(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses; 409 if it is there already.
    pub fn create(&self, of: Type, namespace: Option<&str>, object: &Value) -> Result<Value, ClusterError> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let what = format!("create {} {name}{}", of.kind, within(namespace));
        let object: DynamicObject =
            serde_json::from_value(object.clone()).map_err(|error| self.answer(&what, &error))?;
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let made = self.ask(&what, self.api(of, namespace).create(&parameters, &object))?;
        self.value(&what, &made)
    }

    /// Lays a JSON merge patch over an object that must be there.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses; 404 if there is no such object.
    pub fn patch(&self, of: Type, namespace: Option<&str>, name: &str, patch: &Value) -> Result<Value, ClusterError> {
        let what = format!("change {} {name}{}", of.kind, within(namespace));
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.ask(&what, self.api(of, namespace).patch(name, &parameters, &Patch::Merge(patch)))?;
        self.value(&what, &patched)
    }

    /// Deletes an object, and what it owns in the background; `false` if it was not there.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses.
    pub fn delete(&self, of: Type, namespace: Option<&str>, name: &str) -> Result<bool, ClusterError> {
        let what = format!("delete {} {name}{}", of.kind, within(namespace));
        match self.ask(&what, self.api(of, namespace).delete(name, &DeleteParams::background())) {
            Ok(_) => Ok(true),
            Err(error) if error.is_code(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the API server answers to a GET of this path, such as `/version`.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses.
    pub fn text(&self, path: &str) -> Result<String, ClusterError> {
        let what = format!("read {path}");
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| self.answer(&what, &error))?;
        self.ask(&what, self.client().request_text(request))
    }

    /// What a port of a pod answers to a GET of this path, through the API server; `None` if it does not answer soon.
    ///
    /// For what is nice to know. It needs the right to `get pods/proxy`, and an API server that reaches pods.
    pub fn pod_text(&self, namespace: &str, pod: &str, port: u16, path: &str) -> Option<String> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        let asked = async { tokio::time::timeout(POD, self.client().request_text(request)).await };
        self.run(asked).ok()?.ok()
    }

    fn api(&self, of: Type, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = of.resource();
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client().clone(), namespace, &resource),
            None => Api::all_with(self.client().clone(), &resource),
        }
    }

    fn value(&self, what: &str, object: &DynamicObject) -> Result<Value, ClusterError> {
        serde_json::to_value(object).map_err(|error| self.answer(what, &error))
    }

    fn answer(&self, what: &str, error: &dyn std::error::Error) -> ClusterError {
        ClusterError::Answer { what: what.to_owned(), server: self.server().to_owned(), reason: error.to_string() }
    }
}

fn within(namespace: Option<&str>) -> String {
    namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default()
}
