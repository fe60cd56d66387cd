//! Why a call is allowed or denied: which documents say so, and which objects made them say it.
//!
//! The verdict is read off the very documents that the caller's and the server's sidecars follow ([`follow`]), so it cannot
//! differ from them; the objects are found by asking the world the questions that the catalog asked ([`blame`]). Pure, like
//! the catalog. What limits a call that is allowed is told besides ([`limits`]). What documents do not know is not known here:
//! whether pods are ready in this moment, whether a limit is reached, what sidecars have not received yet, and plugins.

mod blame;
mod follow;
mod limits;

use crate::world::{Account, Group, Pod, PodKey, ServiceKey, World};
use fsm_api::config::Config;
use fsm_api::resources::Kind;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A pod.
    Pod(PodKey),
    /// Any pod of a service account.
    Account(Account),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who calls.
    pub from: Caller,
    /// Whom.
    pub to: ServiceKey,
    /// On which port of the service; `None`: its only one.
    pub port: Option<u16>,
    /// Method and path; `None`: any request.
    pub request: Option<Asked>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// Whether a call is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Allowed,
    /// It is not.
    Denied,
    /// Some requests are, or only by some of the servers.
    Partly,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who calls: `<sa>.<ns>`, or the pod if it has no identity.
    pub caller: String,
    /// `namespace/service:port`.
    pub service: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason that the sidecars would give, if it is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What happens on the way, step by step.
    pub steps: Vec<Step>,
    /// The objects that decide, and what each of them says.
    pub objects: Vec<Said>,
    /// What limits the call, or has it tried again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// What would change the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// One step on the way of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Whether the request gets past it.
    pub passed: bool,
    /// What happens.
    pub text: String,
}

/// What an object says about the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// `Kind namespace/name`.
    pub object: String,
    /// Whether it lets the call through.
    pub allows: bool,
    /// Why, or why not.
    pub text: String,
}

/// An object that does not decide whether a call is allowed, but how it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// `Kind namespace/name`.
    pub object: String,
    /// What it does.
    pub text: String,
}

/// The question cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotExplain {
    /// The caller does not exist.
    #[error("there is no pod {0}")]
    NoPod(PodKey),
    /// No pod acts for the account.
    #[error("no pod with a sidecar runs under the service account {0}, so nobody can call in its name")]
    NoPodOf(Account),
    /// The service does not exist.
    #[error("there is no Service {0}")]
    NoService(ServiceKey),
    /// Whether it exists is not known.
    #[error(
        "namespace {namespace} is not in the mesh and no policy names it, so its Services are not followed: whether there is a \
         Service {namespace}/{name} is not known here, and no sidecar of its pods is asked; calls to it are egress"
    )]
    NotFollowed {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The service has no such port, or several.
    #[error("Service {service} has the TCP ports {ports}: say which one is called")]
    Port {
        /// Which.
        service: ServiceKey,
        /// All of them.
        ports: String,
    },
}

/// Who calls, as far as sidecars can know.
struct Origin<'a> {
    pod: Option<&'a Pod>,
    account: &'a Account,
    group: Option<&'a Group>,
}

impl Origin<'_> {
    fn addresses(&self) -> &[IpAddr] {
        self.pod.map_or(&[], |pod| &pod.ips)
    }

    fn identity(&self) -> String {
        self.account.identity()
    }
}

/// Answers a question.
///
/// # Errors
/// Caller, service or port do not exist.
pub fn explain(world: &World, question: &Question) -> Result<Explanation, CannotExplain> {
    let origin = origin(world, &question.from)?;
    let service = world.service(&question.to).ok_or_else(|| {
        let ServiceKey { namespace, name } = question.to.clone();
        match world.is_complete_in(&Kind::Service, &namespace) {
            true => CannotExplain::NoService(question.to.clone()),
            false => CannotExplain::NotFollowed { namespace, name },
        }
    })?;
    let port = match question.port {
        Some(number) => service.ports.iter().find(|port| port.port == number),
        None if service.ports.len() == 1 => service.ports.first(),
        None => None,
    };
    let port = port.ok_or_else(|| {
        let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
        CannotExplain::Port { service: question.to.clone(), ports: ports.join(", ") }
    })?;
    let way = follow::Way::new(world, &origin, service, port, question.request.as_ref());
    let found = way.walk();
    let objects = blame::objects(world, &origin, &question.to, port, question.request.as_ref(), &found);
    let limits = limits::limits(world, &origin, &question.to, port, question.request.as_ref());
    let caller = if origin.group.is_some() {
        origin.identity()
    } else {
        origin.pod.map_or_else(|| origin.identity(), |pod| format!("pod {}", pod.key))
    };
    Ok(Explanation {
        caller,
        service: format!("{}:{}", question.to, port.port),
        verdict: found.verdict(),
        reason: found.reason(),
        remedy: blame::remedy(&origin, &question.to, &found),
        steps: found.steps,
        objects,
        limits,
    })
}

fn origin<'a>(world: &'a World, caller: &'a Caller) -> Result<Origin<'a>, CannotExplain> {
    let group_of = |pod: &Pod| world.group_of(&pod.key).and_then(|group| world.group(group));
    match caller {
        Caller::Pod(key) => {
            let pod = world.pod(key).ok_or_else(|| CannotExplain::NoPod(key.clone()))?;
            Ok(Origin { pod: Some(pod), account: &pod.account, group: group_of(pod) })
        }
        Caller::Account(account) => {
            let mut pods = world.pods_of_account(account).filter_map(|pod| Some((pod, group_of(pod)?)));
            let (pod, group) = pods.next().ok_or_else(|| CannotExplain::NoPodOf(account.clone()))?;
            Ok(Origin { pod: Some(pod), account, group: Some(group) })
        }
    }
}

/// The document of a group, as its sidecars have it.
fn document(world: &World, group: &Group) -> Config {
    super::build(world, group).config
}
