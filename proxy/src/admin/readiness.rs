//! Whether the proxy can do its work, and which ports are open.

use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What must be in place before the pod may get traffic. Every condition may be lost again.
#[derive(Debug)]
pub struct Readiness {
    config: AtomicBool,
    listeners: AtomicBool,
    identity: AtomicBool,
    draining: AtomicBool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Nothing is in place yet. The identity counts as present until somebody says that it is missing: a mesh without
    /// mTLS gives its pods none.
    pub fn new() -> Self {
        Self {
            config: AtomicBool::new(false),
            listeners: AtomicBool::new(false),
            identity: AtomicBool::new(true),
            draining: AtomicBool::new(false),
        }
    }

    /// Whether a configuration is in force.
    pub fn set_config(&self, in_place: bool) {
        self.config.store(in_place, Relaxed);
    }

    /// Whether every port that the configuration asks for is open.
    pub fn set_listeners(&self, in_place: bool) {
        self.listeners.store(in_place, Relaxed);
    }

    /// Whether the pod has a usable certificate, or needs none.
    pub fn set_identity(&self, in_place: bool) {
        self.identity.store(in_place, Relaxed);
    }

    /// The proxy is on its way out; there is no way back.
    pub fn begin_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether [`begin_draining`](Self::begin_draining) was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    /// What keeps the pod from being ready, in sentences for people; each begins with the condition's name.
    pub fn missing(&self) -> Vec<&'static str> {
        let conditions = [
            (self.config.load(Relaxed), "config: no usable configuration has arrived yet; see /config_status"),
            (
                self.listeners.load(Relaxed),
                "listeners: not every port of the configuration is open yet; see /listeners",
            ),
            (self.identity.load(Relaxed), "identity: the pod has no usable certificate; see /certs and /config_status"),
            (!self.is_draining(), "draining: the proxy is shutting down"),
        ];
        conditions.into_iter().filter(|(met, _)| !met).map(|(_, sentence)| sentence).collect()
    }
}

/// The open ports by name, as `/listeners` shows them.
#[derive(Debug, Default)]
pub struct Listeners(RwLock<BTreeMap<String, Vec<SocketAddr>>>);

impl Listeners {
    /// A port was opened. FSM's names: `outbound-listener`, `inbound-listener`, `inbound-prometheus-listener`.
    pub fn opened(&self, name: &str, address: SocketAddr) {
        let mut listeners = self.0.write();
        let addresses = listeners.entry(name.to_owned()).or_default();
        // One listener for each worker shares an address.
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// Every port of this name was closed.
    pub fn closed(&self, name: &str) {
        self.0.write().remove(name);
    }

    /// FSM's lines: `name::address`.
    pub fn text(&self) -> String {
        let listeners = self.0.read();
        let lines = listeners
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(move |address| format!("{name}::{address}\n")));
        lines.collect()
    }
}
