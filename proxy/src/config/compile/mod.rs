//! From the wire form to a [`Snapshot`].
//!
//! Compiling is total: a part that cannot be used denies what it would have admitted and is reported as a
//! [`Problem`]; everything else works. State is carried over from the previous snapshot wherever the settings that it
//! belongs to did not change: counters by cluster name, connections by endpoint and transport, positions of round robin
//! by route and weights.

mod addresses;
mod certificates;
mod clusters;
mod endpoints;
mod gateways;
mod inbound;
mod limits;
mod observe;
mod outbound;

use super::snapshot::{Carried, MeshTls, Settings, Snapshot};
use crate::limits::RESPONSE_TIMEOUT;
use crate::route::matcher::{HeaderMatcher, MethodMatcher, PathMatcher};
use crate::route::split::Split;
use crate::route::table::Route;
use crate::telemetry::Direction;
use crate::tls::{Alpn, ClientCertificate, Identity, IdentityError, ServerTls};
use crate::upstream::cluster::Cluster;
use certificates::Variants;
use fsm_api::config::{Config, PathType, Problem, RouteRule, Severity};
use http::HeaderValue;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

pub use endpoints::with_other_endpoints;

/// What compilation needs to know besides the document.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Packet mark of the proxy's own sockets, where redirection tells them apart by mark.
    pub mark: Option<u32>,
    /// Who we are according to fsm-control; stands for a `Certificate` that only says `FsmIssued`.
    pub identity: Option<Arc<Identity>>,
}

/// Compiles a document; `problems` are those of reading it, `previous` is what is in force.
pub fn compile(
    document: Arc<Config>,
    problems: Vec<Problem>,
    previous: Option<&Snapshot>,
    environment: Environment,
) -> Snapshot {
    let mut compiler = Compiler::new(&document, problems, previous, environment);
    let identity = compiler.identity();
    let settings = compiler.settings();
    compiler.local_clusters(&settings);
    compiler.remote_clusters(&settings, identity.as_ref());
    let inbound = compiler.inbound(identity.as_ref());
    let outbound = compiler.outbound(&settings, &identity);
    let observe = compiler.observe();
    compiler.report_gateways();
    compiler.report_what_is_not_done();
    let Compiler { problems, carried, local, mut remote, variants, .. } = compiler;
    remote.extend(variants.by_name);
    let identity = match identity {
        Own::Ready(identity) => Some(identity),
        Own::None | Own::Broken => None,
    };
    Snapshot {
        version: document.version.clone().unwrap_or_default(),
        problems,
        clusters: local.into_values().chain(remote.into_values()).collect(),
        identity,
        settings,
        observe: Arc::new(observe),
        inbound: inbound.map(Arc::new),
        outbound: Arc::new(outbound),
        carried: Arc::new(carried),
        document: Arc::clone(&document),
    }
}

struct Compiler<'a> {
    document: &'a Config,
    previous: Option<&'a Snapshot>,
    environment: Environment,
    problems: Vec<Problem>,
    carried: Carried,
    start: usize,
    local: BTreeMap<Arc<str>, Arc<Cluster>>,
    remote: BTreeMap<Arc<str>, Arc<Cluster>>,
    /// Remote clusters once more, for ranges with certificates of their own.
    variants: Variants,
    /// Whether anything may leave the mesh as it is.
    passes_through: bool,
}

/// Our own certificate.
enum Own {
    /// mTLS is off.
    None,
    /// Usable.
    Ready(Arc<Identity>),
    /// Named in the document but unusable, and there is no earlier one.
    Broken,
}

impl Own {
    const fn as_ref(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Ready(identity) => Some(identity),
            Self::None | Self::Broken => None,
        }
    }
}

impl<'a> Compiler<'a> {
    fn new(
        document: &'a Config,
        problems: Vec<Problem>,
        previous: Option<&'a Snapshot>,
        environment: Environment,
    ) -> Self {
        Self {
            document,
            previous,
            environment,
            problems,
            carried: Carried::default(),
            // Many proxies get the same document at the same time; they must not all begin with the same target.
            start: usize::try_from(RandomState::new().hash_one(0) >> 33).unwrap_or(0),
            local: BTreeMap::new(),
            remote: BTreeMap::new(),
            variants: Variants::default(),
            passes_through: false,
        }
    }

    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::error(path, message));
    }

    /// Whether reading or compiling found an error at or below a path.
    fn has_errors(&self, path: &str) -> bool {
        let is_error = |problem: &&Problem| problem.severity == Severity::Error;
        self.problems.iter().filter(is_error).any(|problem| problem.path.starts_with(path))
    }

    fn identity(&mut self) -> Own {
        let Some(certificate) = &self.document.certificate else {
            return Own::None;
        };
        let earlier = self.previous.and_then(|previous| previous.identity.as_ref());
        if certificate.is_issued_by_control() {
            return self.issued_identity(earlier);
        }
        match Identity::from_config(certificate, &self.document.spec.service_identity) {
            Ok(identity) => match earlier.filter(|earlier| earlier.same_material(&identity)) {
                Some(earlier) => Own::Ready(Arc::clone(earlier)),
                None => Own::Ready(Arc::new(identity)),
            },
            Err(error) => {
                let consequence = match earlier {
                    Some(_) => "the previous certificate stays in use",
                    None => "nothing enters or leaves over mTLS until it is mended",
                };
                self.error(error.path().to_owned(), format!("{error}; {consequence}"));
                earlier.map_or(Own::Broken, |earlier| Own::Ready(Arc::clone(earlier)))
            }
        }
    }

    /// Our own identity where the document leaves it to fsm-control.
    fn issued_identity(&mut self, earlier: Option<&Arc<Identity>>) -> Own {
        let Some(own) = self.environment.identity.as_ref().or(earlier).map(Arc::clone) else {
            self.error(
                "Certificate",
                "`FsmIssued` means a certificate that fsm-control issues to this proxy, and none has been issued yet \
                 (it takes --control; see `control` in /config_status); nothing enters or leaves over mTLS until then",
            );
            return Own::Broken;
        };
        Own::Ready(own)
    }

    fn settings(&mut self) -> Settings {
        let spec = &self.document.spec;
        let service_identity = match HeaderValue::from_str(&spec.service_identity) {
            Ok(value) if !value.is_empty() => Some(value),
            Ok(_) => None,
            Err(_) => {
                self.error("Spec.ServiceIdentity", "is no header value; requests are sent without `serviceidentity`");
                None
            }
        };
        let timeout = spec.sidecar_timeout;
        Settings {
            service_identity,
            response_timeout: if timeout > 0 { Duration::from_secs(timeout) } else { RESPONSE_TIMEOUT },
            egress_passthrough: spec.traffic.enable_egress,
            http1_per_request: spec.traffic.http1_per_request_load_balancing,
            http2_per_request: spec.traffic.http2_per_request_load_balancing,
            auto_default_route: spec.feature_flags.enable_auto_default_route,
            stats_headers: !spec.feature_flags.hide_stats_headers,
        }
    }

    fn mesh_tls(&mut self, identity: Option<&Arc<Identity>>) -> MeshTls {
        let Some(identity) = identity else {
            return if self.document.certificate.is_some() { MeshTls::Broken } else { MeshTls::Off };
        };
        let server = |alpn| ServerTls::new(identity, ClientCertificate::Required, alpn);
        let own = self.document.certificate.as_ref();
        let workloads_only = own.is_some_and(|certificate| certificate.is_issued_by_control());
        let both = || {
            Ok::<_, IdentityError>(MeshTls::On {
                http: server(Alpn::MESH_HTTP)?,
                tcp: server(Alpn::MESH_TCP)?,
                tcp_outside: server(Alpn::ANY)?,
                workloads_only,
            })
        };
        both().unwrap_or_else(|error| {
            self.error(error.path().to_owned(), format!("{error}; nothing enters over mTLS until it is mended"));
            MeshTls::Broken
        })
    }

    /// One HTTP rule, or `None` if it is unusable: it then admits nothing.
    fn route(
        &mut self,
        rule: &RouteRule,
        path: &str,
        direction: Direction,
        known: &BTreeMap<Arc<str>, Arc<Cluster>>,
    ) -> Option<Arc<Route>> {
        self.route_variant(rule, path, direction, known, "")
    }

    /// The same where one rule is compiled several times, for different clusters; `variant` tells them apart.
    fn route_variant(
        &mut self,
        rule: &RouteRule,
        path: &str,
        direction: Direction,
        known: &BTreeMap<Arc<str>, Arc<Cluster>>,
        variant: &str,
    ) -> Option<Arc<Route>> {
        let id = format!("{}|{}|{path}{variant}", direction.name(), rule.path).into_boxed_str();
        let compiled = self.route_conditions(rule, path)?;
        let split = self.split(&rule.target_clusters, &format!("{path}.TargetClusters"), known, &id);
        let callers = rule.allowed_services.as_deref().map(callers);
        // Not by its number: rules move when others come and go, and their tokens must not.
        let service = path.rsplit_once(".RouteRules[").map_or(path, |(service, _)| service);
        let limited = format!("{service}|{}|{:?}|{:?}", rule.path, rule.methods, rule.headers);
        let limit = self.request_limit(rule.rate_limit.as_ref(), limited, &format!("{path}.RateLimit"));
        let (path, methods, headers) = compiled;
        let route = Arc::new(Route { id: id.clone(), path, methods, headers, callers, limit, split });
        self.carried.routes.insert(id, Arc::clone(&route));
        Some(route)
    }

    fn route_conditions(
        &mut self,
        rule: &RouteRule,
        path: &str,
    ) -> Option<(PathMatcher, MethodMatcher, Vec<HeaderMatcher>)> {
        let mut failures = Vec::new();
        let matcher = match rule.path_type {
            PathType::Regex => PathMatcher::regex(&rule.path),
            PathType::Exact => Ok(PathMatcher::Exact(rule.path.as_str().into())),
            PathType::Prefix => Ok(PathMatcher::prefix(&rule.path)),
        };
        let matcher = matcher.map_err(|error| failures.push((format!("{path}.Path"), error))).ok();
        let methods = MethodMatcher::new(rule.methods.as_deref());
        let methods = methods.map_err(|error| failures.push((format!("{path}.Methods"), error))).ok();
        let mut headers = Vec::with_capacity(rule.headers.len());
        for (name, pattern) in &rule.headers {
            match HeaderMatcher::new(name, pattern) {
                Ok(header) => headers.push(header),
                Err(error) => failures.push((format!("{path}.Headers[{name:?}]"), error)),
            }
        }
        if failures.is_empty() {
            return Some((matcher?, methods?, headers));
        }
        for (at, error) in failures {
            self.error(at, format!("{error}; the rule admits nothing until it is mended"));
        }
        None
    }

    fn split(
        &mut self,
        targets: &BTreeMap<String, u32>,
        path: &str,
        known: &BTreeMap<Arc<str>, Arc<Cluster>>,
        id: &str,
    ) -> Split {
        let mut clusters = Vec::with_capacity(targets.len());
        for (name, weight) in targets {
            match known.get(name.as_str()) {
                Some(cluster) => clusters.push((Arc::clone(cluster), *weight)),
                None => self.error(
                    format!("{path}[{name:?}]"),
                    "no cluster of this name is defined under `ClustersConfigs`; it gets no traffic",
                ),
            }
        }
        let previous = self.previous.and_then(|previous| previous.carried.routes.get(id));
        let same_clusters = |route: &&Arc<Route>| {
            let names = |split: &Split| {
                split.targets().iter().map(|(cluster, _)| Arc::clone(&cluster.name)).collect::<Vec<_>>()
            };
            names(&route.split) == clusters.iter().map(|(cluster, _)| Arc::clone(&cluster.name)).collect::<Vec<_>>()
        };
        let previous = previous.filter(same_clusters).map(|route| &route.split);
        Split::new(clusters, self.start, previous)
    }

    fn report_what_is_not_done(&mut self) {
        let document = self.document;
        let mut plugins = Vec::new();
        for (chain, stages) in &document.chains {
            for (index, stage) in stages.iter().enumerate().filter(|(_, stage)| stage.starts_with("plugins/")) {
                plugins.push((format!("Chains[{chain:?}][{index}]"), stage));
            }
        }
        for (path, stage) in plugins {
            self.error(path, format!("`{stage}`: this proxy does not run plugins yet; the stage is skipped"));
        }
    }
}

/// Callers in search order.
fn callers(names: &[String]) -> Box<[Box<str>]> {
    let mut callers: Vec<Box<str>> = names.iter().map(|name| name.as_str().into()).collect();
    callers.sort_unstable();
    callers.dedup();
    callers.into_boxed_slice()
}

#[cfg(test)]
mod tests;
