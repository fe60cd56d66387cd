//! The services of a port, by host, and their routes in order.

use super::matcher::{HeaderMatcher, MethodMatcher, PathMatcher};
use super::split::Split;
use crate::http::target;
use crate::policy::rate::RequestLimit;
use crate::reason::Reason;
use http::{HeaderMap, Method};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::sync::Arc;

/// The services of a port, by host.
#[derive(Clone, Debug, Default)]
pub struct HostTable {
    services: FxHashMap<Box<str>, Arc<Service>>,
    /// The document's first host: where `EnableAutoDefaultRoute` sends requests for unknown ones.
    first: Option<Arc<Service>>,
}

/// A named set of routes.
#[derive(Debug)]
pub struct Service {
    /// Rule name, or the service's own name in packed documents.
    pub name: Arc<str>,
    /// In evaluation order: the first match wins.
    pub routes: Vec<Arc<Route>>,
    /// Limit of requests to the whole service.
    pub limit: Option<RequestLimit>,
    /// A rule of the document is missing here because it could not be used.
    pub broken: bool,
}

/// One rule.
#[derive(Debug)]
pub struct Route {
    /// Where the rule stands in the document; its state is found by it after an update.
    pub id: Box<str>,
    /// Path condition.
    pub path: PathMatcher,
    /// Method condition.
    pub methods: MethodMatcher,
    /// Header conditions; all must hold.
    pub headers: Vec<HeaderMatcher>,
    /// Permitted callers (`<service account>.<namespace>`), sorted; `None` admits anyone.
    pub callers: Option<Box<[Box<str>]>>,
    /// Limit of requests to this route.
    pub limit: Option<RequestLimit>,
    /// Where requests go.
    pub split: Split,
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Request method.
    pub method: &'a Method,
    /// Canonical path, without the query.
    pub path: &'a str,
    /// Request headers.
    pub headers: &'a HeaderMap,
    /// Verified identity of the caller (`<service account>.<namespace>`).
    pub caller: Option<&'a str>,
}

impl HostTable {
    /// Adds a host. Of two hosts that differ only in spelling the first one stays.
    pub fn insert(&mut self, host: &str, service: Arc<Service>) {
        self.first.get_or_insert_with(|| Arc::clone(&service));
        self.services.entry(target::canonical_host(host).into()).or_insert(service);
    }

    /// Adds every host of another table.
    pub fn extend(&mut self, other: Self) {
        if self.first.is_none() {
            self.first = other.first;
        }
        for (host, service) in other.services {
            self.services.entry(host).or_insert(service);
        }
    }

    /// The service of a host: compared without case and trailing dot, and without the port if it is not known with it.
    pub fn find(&self, host: &str) -> Option<&Arc<Service>> {
        if let Some(service) = self.services.get(host) {
            return Some(service);
        }
        let canonical: Cow<'_, str> = target::canonical_host(host);
        self.services.get(&*canonical).or_else(|| self.services.get(target::without_port(&canonical)))
    }

    /// The service for clients of `SourceIPRanges`.
    pub fn any(&self) -> Option<&Arc<Service>> {
        self.services.get("*")
    }

    /// The document's first service.
    pub fn first(&self) -> Option<&Arc<Service>> {
        self.first.as_ref()
    }

    /// Every host with its service.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Service>)> {
        self.services.iter().map(|(host, service)| (&**host, service))
    }
}

impl Service {
    /// The first rule that fits.
    ///
    /// # Errors
    /// [`Reason::IdentityNotAllowed`] when a rule fits but for the caller, else [`Reason::NoRoute`], or
    /// [`Reason::BrokenRule`] where a broken rule might have fitted.
    pub fn route(&self, question: Question<'_>) -> Result<&Arc<Route>, Reason> {
        let mut refusal = if self.broken { Reason::BrokenRule } else { Reason::NoRoute };
        for route in &self.routes {
            if !route.fits(question) {
                continue;
            }
            if route.admits(question.caller) {
                return Ok(route);
            }
            refusal = Reason::IdentityNotAllowed;
        }
        Err(refusal)
    }
}

impl Route {
    fn fits(&self, question: Question<'_>) -> bool {
        self.methods.matches(question.method)
            && self.path.matches(question.path)
            && self.headers.iter().all(|header| header.matches(question.headers))
    }

    fn admits(&self, caller: Option<&str>) -> bool {
        match (&self.callers, caller) {
            (None, _) => true,
            (Some(callers), Some(caller)) => callers.binary_search_by(|known| (**known).cmp(caller)).is_ok(),
            (Some(_), None) => false,
        }
    }
}
