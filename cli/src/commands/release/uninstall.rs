//! `fsm uninstall mesh`: takes a release away, and if asked to what it leaves behind.

use std::io;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::explain;
use super::prompt::confirm;
use crate::cluster::{Cluster, ControlPlane, Helm, HelmError, Selector, Type, types};
use crate::commands::{MeshChoice, say_line};

/// `fsm uninstall`.
#[derive(Debug, Subcommand)]
pub(crate) enum Uninstall {
    /// Take a mesh off the cluster
    Mesh(Mesh),
}

/// `fsm uninstall mesh`.
#[derive(Debug, Args)]
#[command(
    after_help = "Definitions of custom resources, and with them all policies, stay unless -a is given. Pods keep their \
    sidecars until they are restarted: remove namespaces from the mesh first (`fsm namespace remove`), and restart their pods."
)]
pub(crate) struct Mesh {
    /// Ask nothing
    #[arg(short, long)]
    force: bool,
    /// Also delete definitions of custom resources with all their objects, webhooks and Secrets of meshes
    #[arg(short = 'a', long)]
    delete_cluster_wide_resources: bool,
    /// Also delete the namespace of the control plane
    #[arg(long)]
    delete_namespace: bool,
    /// Secret with the root of the mesh
    #[arg(long, value_name = "NAME", default_value = "fsm-ca-bundle")]
    ca_bundle_secret_name: String,
    /// Accepted for scripts: no port of this machine is needed
    #[arg(short = 'p', long, hide = true)]
    local_port: Option<u16>,
}

impl Uninstall {
    pub(crate) fn run(self, choice: &MeshChoice) -> Result<ExitCode> {
        let Self::Mesh(command) = self;
        let cluster = choice.cluster()?;
        let all = cluster.meshes()?;
        let named = choice.name.as_deref();
        let chosen: Vec<_> = all.iter().filter(|mesh| named.is_none_or(|name| mesh.mesh == name)).cloned().collect();
        if all.is_empty() {
            say_line(format!("No FSM control planes found in {}", cluster.describe()));
        } else if chosen.is_empty() {
            let there: Vec<_> = all.iter().map(|mesh| format!("{} in {}", mesh.mesh, mesh.namespace)).collect();
            say_line(format!("Did not find mesh [{}]; there are: {}", named.unwrap_or_default(), there.join(", ")));
        }
        if command.force && chosen.len() > 1 {
            bail!("there are several meshes: with --force say which one, with --mesh-name");
        }
        for mesh in &chosen {
            if command.confirmed(&format!(
                "Uninstall FSM [mesh name: {}] in namespace [{}] and/or FSM resources?",
                mesh.mesh, mesh.namespace
            ))? {
                command.uninstall(&cluster, choice, mesh)?;
            }
        }
        if command.delete_namespace && chosen.is_empty() && command.confirmed_namespace(choice)? {
            command.namespace(&cluster, &choice.fsm_namespace)?;
        }
        if command.delete_cluster_wide_resources {
            let left: Vec<_> = cluster.meshes()?.into_iter().map(|mesh| mesh.mesh).collect();
            return command.cluster_wide(&cluster, choice, &left);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Mesh {
    fn confirmed(&self, question: &str) -> Result<bool> {
        Ok(self.force || confirm(question, &mut io::stdin().lock(), &mut io::stdout().lock())?)
    }

    fn confirmed_namespace(&self, choice: &MeshChoice) -> Result<bool> {
        self.confirmed(&format!("Delete namespace [{}] with everything in it?", choice.fsm_namespace))
    }

    fn uninstall(&self, cluster: &Cluster, choice: &MeshChoice, mesh: &ControlPlane) -> Result<()> {
        let ControlPlane { mesh: name, namespace, .. } = mesh;
        let helm = Helm::find(&choice.access)?;
        match helm.run(["uninstall", name, "--namespace", namespace]) {
            Ok(_) => say_line(format!("FSM [mesh name: {name}] in namespace [{namespace}] uninstalled")),
            Err(HelmError::Failed { said }) if said.contains("not found") => {
                say_line(format!("No FSM control plane with mesh name [{name}] found in namespace [{namespace}]"));
                if !self.delete_cluster_wide_resources && !self.delete_namespace {
                    bail!(
                        "Deployment fsm-controller of namespace [{namespace}] is no part of a Helm release [{name}]: \
                         remove it in the way it was made"
                    );
                }
            }
            Err(error) => return Err(explain(error, name, namespace)),
        }
        if self.delete_namespace {
            self.namespace(cluster, namespace)?;
        }
        Ok(())
    }

    fn namespace(&self, cluster: &Cluster, namespace: &str) -> Result<()> {
        if cluster.delete(types::NAMESPACE, None, namespace)? {
            say_line(format!("FSM namespace [{namespace}] deleted successfully"));
        } else {
            say_line(format!("Ignoring - did not find FSM namespace [{namespace}]"));
        }
        Ok(())
    }

    fn cluster_wide(&self, cluster: &Cluster, choice: &MeshChoice, left: &[String]) -> Result<ExitCode> {
        let found = self.find(cluster, choice)?;
        if !left.is_empty() {
            say_line("Deleting cluster resources will affect current mesh(es) in cluster:");
            for mesh in left {
                say_line(format!("[{mesh}] mesh"));
            }
        }
        if found.is_empty() {
            say_line("Ignoring - did not find any FSM resources of the cluster");
            return Ok(ExitCode::SUCCESS);
        }
        say_line("These are deleted:");
        for item in &found {
            say_line(format!("  {}", item.describe()));
        }
        if !self.confirmed("Delete them?")? {
            return Ok(ExitCode::SUCCESS);
        }
        let mut failed = Vec::new();
        for item in &found {
            match cluster.delete(item.of, item.namespace.as_deref(), &item.name) {
                Ok(true) => say_line(format!("Successfully deleted FSM {}: {}", item.word(), item.name)),
                Ok(false) => say_line(format!("Ignoring - did not find FSM {}: {}", item.word(), item.name)),
                Err(error) => {
                    eprintln!("Failed to delete FSM {} {}: {error}", item.word(), item.name);
                    if !failed.contains(&item.word()) {
                        failed.push(item.word());
                    }
                }
            }
        }
        if failed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        bail!("Failed to completely delete the following FSM resource types: [{}]", failed.join(", "))
    }

    /// What meshes leave in a cluster.
    fn find(&self, cluster: &Cluster, choice: &MeshChoice) -> Result<Vec<Left>> {
        let mut found = Vec::new();
        let ours = "app.kubernetes.io/name=flomesh.io";
        let of_mesh = match &choice.name {
            Some(mesh) => format!("{ours},app.kubernetes.io/instance={mesh}"),
            None => ours.to_owned(),
        };
        for (of, labels) in [
            (types::MUTATING_WEBHOOK, format!("{of_mesh},app=fsm-injector")),
            (types::VALIDATING_WEBHOOK, format!("{of_mesh},app=fsm-controller")),
            (types::DEFINITION, ours.to_owned()),
        ] {
            for object in cluster.list(of, None, Selector::labels(&labels))? {
                found.push(Left::new(of, &object, None, objects_of(cluster, of, &object)?));
            }
        }
        for name in [self.ca_bundle_secret_name.as_str(), "fsm-remote-logging-secret"] {
            if let Some(object) = cluster.get(types::SECRET, Some(&choice.fsm_namespace), name)? {
                found.push(Left::new(types::SECRET, &object, Some(choice.fsm_namespace.clone()), None));
            }
        }
        Ok(found)
    }
}

/// Something that a mesh left.
struct Left {
    of: Type,
    namespace: Option<String>,
    name: String,
    /// Of a definition: how many objects go with it.
    objects: Option<usize>,
}

impl Left {
    fn new(of: Type, object: &Value, namespace: Option<String>, objects: Option<usize>) -> Self {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { of, namespace, name, objects }
    }

    /// FSM's word for its kind.
    fn word(&self) -> &'static str {
        if self.of == types::DEFINITION { "CRD" } else { self.of.kind }
    }

    fn describe(&self) -> String {
        let place = self.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        let objects = match self.objects {
            Some(1) => " with 1 object".to_owned(),
            Some(count) => format!(" with {count} objects"),
            None => String::new(),
        };
        format!("{} {}{place}{objects}", self.word(), self.name)
    }
}

/// How many objects go with a definition.
fn objects_of(cluster: &Cluster, of: Type, object: &Value) -> Result<Option<usize>> {
    if of != types::DEFINITION {
        return Ok(None);
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let versions = object.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let Some(version) = versions.into_iter().find(|version| version["storage"] == true) else { return Ok(None) };
    let version = version["name"].as_str().unwrap_or_default();
    let path = format!("/apis/{}/{version}/{}", text("/spec/group"), text("/spec/names/plural"));
    let list: Value = match cluster.text(&path) {
        Ok(text) => serde_json::from_str(&text)?,
        // The definition is about to go, or its version is not served any more.
        Err(error) if error.is_code(404) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(list["items"].as_array().map(Vec::len))
}
