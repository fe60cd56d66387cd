//! What the validation webhook decides: whether a change of a policy or of MeshConfig is taken, as a pure function of the
//! world, the object, and what it was before.
//!
//! **Refused** is what can only be a mistake: FSM's own checks (also those that FSM has and never asks), and values that FSM
//! would silently replace by others. **Warned** is of what is taken and will not do what was meant: references to what is
//! not there, backends outside of the mesh, policies that contradict each other. These are the problems that the mesh
//! would report a moment later, found by trying: the change is made in a copy of the world, and what is then wrong about
//! the object is told, with the other object in it.
//!
//! What was wrong before a change never keeps the change out: it is warned of. So a check that came with an upgrade does not
//! make objects unchangeable that were there before it.

mod access;
mod egress;
mod ingress;
mod mesh_config;
mod multicluster;
mod plugin;
mod smi;
mod upstream;

use crate::catalog;
use crate::world::{Problem, World};
use fsm_api::resources::{Kind, Object, ObjectKey};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeSet;
use std::fmt;

/// Warnings that one answer has at most: `kubectl` prints each of them.
const MOST_WARNINGS: usize = 8;

/// Groups of proxies whose documents are computed for warnings at most.
const MOST_GROUPS: usize = 4;

/// A change that somebody wants to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The object as it is to be.
    pub object: Object,
    /// As it is; `None`: it is new.
    pub before: Option<Object>,
}

/// What becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Why it is not taken; empty: it is.
    pub faults: Vec<Fault>,
    /// What is to be said to whoever makes it.
    pub warnings: Vec<String>,
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where, as a path of fields.
    pub field: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.text)
    }
}

/// What checks find.
#[derive(Debug, Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.0.push(Fault { field: field.into(), text: text.into() });
    }
}

/// Judges a change. `now` is when it is made: what is new is younger than everything else.
pub fn judge(world: &World, proposal: &Proposal, now: Timestamp) -> Judgement {
    let mut judgement = Judgement { faults: faults(world, &proposal.object), ..Judgement::default() };
    if let Some(before) = &proposal.before {
        let known = faults(world, before);
        let (old, new) = judgement.faults.into_iter().partition(|fault| known.contains(fault));
        judgement.faults = new;
        let old: Vec<Fault> = old;
        judgement.warnings.extend(old.iter().map(|fault| format!("{fault} (it was so before)")));
    }
    if judgement.faults.is_empty() {
        judgement.warnings.extend(warnings(world, proposal, now));
        judgement.warnings.truncate(MOST_WARNINGS);
    }
    judgement
}

/// What is wrong with an object, as the world is.
fn faults(world: &World, object: &Object) -> Vec<Fault> {
    let mut faults = Faults::default();
    match object {
        Object::TrafficTarget(target) => smi::target(target, &mut faults),
        Object::TrafficSplit(split) => smi::split(split, &mut faults),
        Object::HttpRouteGroup(group) => smi::route_group(group, &mut faults),
        Object::IngressBackend(backend) => access::ingress_backend(world, backend, &mut faults),
        Object::AccessControl(control) => access::access_control(world, control, &mut faults),
        Object::AccessCert(certificate) => access::access_cert(world, certificate, &mut faults),
        Object::Egress(egress) => egress::egress(egress, &mut faults),
        Object::EgressGateway(gateway) => egress::gateway(world, gateway, &mut faults),
        Object::UpstreamTrafficSetting(setting) => upstream::setting(setting, &mut faults),
        Object::Isolation(isolation) => access::isolation(isolation, &mut faults),
        Object::Plugin(plugin) => plugin::plugin(world, plugin, &mut faults),
        Object::PluginChain(_) | Object::PluginConfig(_) => plugin::allowed(world, &mut faults),
        Object::Cluster(cluster) => multicluster::cluster(cluster, &mut faults),
        Object::GlobalTrafficPolicy(policy) => multicluster::policy(policy, &mut faults),
        Object::ServiceExport(export) => multicluster::export(world, export, &mut faults),
        Object::NamespacedIngress(found) => ingress::namespaced(world, found, &mut faults),
        Object::MeshConfig(config) => mesh_config::check(&config.spec, &mut faults),
        _ => {}
    }
    faults.0
}

/// What the mesh would report about the object after the change.
fn warnings(world: &World, proposal: &Proposal, now: Timestamp) -> Vec<String> {
    let key = proposal.object.key();
    let mut warnings = Vec::new();
    if let (Object::MeshConfig(config), before) = (&proposal.object, &proposal.before) {
        let before = match before {
            Some(Object::MeshConfig(before)) => Some(&before.spec),
            _ => None,
        };
        warnings.extend(mesh_config::warnings(&config.spec, before));
    }
    if let Object::NamespacedIngress(found) = &proposal.object {
        warnings.extend(ingress::warnings(found));
    }
    if let Object::ServiceExport(export) = &proposal.object {
        warnings.extend(multicluster::export_warnings(world, export));
    }
    let mut tried = world.clone();
    let dirty = tried.apply(dated(proposal.object.clone(), now));
    let mut problems: BTreeSet<Problem> = tried.problems().into_iter().collect();
    // What documents would be like is not asked of settings of the whole mesh: that concerns everything.
    if key.kind != Kind::MeshConfig {
        let groups = dirty.groups.iter().filter_map(|group| tried.group(*group));
        let found = groups.take(MOST_GROUPS).flat_map(|group| catalog::build(&tried, group).problems);
        problems.extend(found.filter(|problem| !tried.is_guess(problem)));
    }
    warnings.extend(problems.iter().filter_map(|problem| about(problem, &key)));
    let mut said = BTreeSet::new();
    warnings.retain(|warning| said.insert(warning.clone()));
    warnings
}

/// A problem as a warning, if it is about this object.
fn about(problem: &Problem, key: &ObjectKey) -> Option<String> {
    let name = key.to_string();
    let others: Vec<&str> = problem.objects.iter().map(String::as_str).filter(|object| *object != name).collect();
    if others.len() == problem.objects.len() {
        return None;
    }
    let first = problem.objects.first().is_some_and(|first| *first == name);
    // The one that has no effect comes first; where that is another object, it must be said which.
    let subject = if first { &name } else { problem.objects.first()? };
    let missing = others.iter().filter(|other| first && !mentions(&problem.text, other)).copied().collect::<Vec<_>>();
    let with = if missing.is_empty() { String::new() } else { format!(" [{}]", missing.join(", ")) };
    Some(format!("{subject}: {}{with} ({})", problem.text, problem.reason))
}

/// Whether a text says the name of an object (`Kind namespace/name`).
fn mentions(text: &str, object: &str) -> bool {
    object.rsplit(' ').next().is_some_and(|name| text.contains(name))
}

/// Objects that have no time of creation yet are new.
fn dated(mut object: Object, now: Timestamp) -> Object {
    macro_rules! date {
        ($($kind:ident)*) => {
            match &mut object {
                $(Object::$kind(object) => {
                    let metadata = &mut std::sync::Arc::make_mut(object).metadata;
                    metadata.creation_timestamp.get_or_insert(Time(now));
                })*
                _ => {}
            }
        };
    }
    date!(TrafficTarget TrafficSplit HttpRouteGroup IngressBackend AccessControl AccessCert Egress EgressGateway
        UpstreamTrafficSetting Retry Isolation Plugin PluginChain PluginConfig GlobalTrafficPolicy
        ServiceExport NamespacedIngress);
    object
}

#[cfg(test)]
mod tests;
