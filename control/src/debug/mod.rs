//! The debug server: what the control plane holds in memory, and where its processor time goes; for developers.
//!
//! Off unless MeshConfig says `spec.observability.enableDebugServer: true`, which is obeyed live: the port is opened and
//! closed while the control plane runs. It is bound to loopback only, so a port-forward is needed to reach it in a cluster;
//! web pages are refused. Nothing secret is shown: documents are redacted, of the authority only fingerprints. It changes
//! nothing. A profile costs some processor time while it is taken; one is taken at a time. Where memory is allocated is
//! remembered (by samples) while the port is open, and not otherwise.

mod heap;
mod profile;

pub use heap::Heap;

use crate::admin::{Authority, is_foreign};
use crate::controller::{Query, View};
use crate::http::{Ask, PortLimits, Reply, json, reads, reply, serve as serve_http, text};
use crate::limits;
use crate::push::{PodKey, Push};
use crate::world::Problem;
use arc_swap::ArcSwap;
use fsm_api::config::Config;
use http::StatusCode;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// FSM's port.
pub const PORT: u16 = 9092;

const LIMITS: PortLimits = PortLimits { connections: 8, body: 4 << 10, idle: limits::REQUEST_TIMEOUT };

/// Held by whoever takes a profile: the process has one timer for it.
static PROFILING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A port that is taken is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

const INDEX: &str = "\
fsm-control's debug server:
  GET  /debug                            this list
  GET  /debug/world                      namespaces, groups of proxies, versions
  GET  /debug/namespaces                 namespaces with what the mesh knows of them
  GET  /debug/policies                   policies by kind, as they count
  GET  /debug/config                     the MeshConfig that counts
  GET  /debug/feature-flags              its feature flags
  GET  /debug/problems                   what is wrong with objects
  GET  /debug/certs                      roots of the mesh and how their rotation stands
  GET  /debug/proxy                      connected proxies
  GET  /debug/proxy?pod=NS/NAME          the newest document of one, without secrets
  GET  /debug/pprof/profile?seconds=30   processor time, for `go tool pprof`
  GET  /debug/pprof/heap                 memory in use that was allocated since this port was opened
  GET  /debug/pprof/cmdline              how the program was started
";

/// What the debug server shows.
#[derive(Debug)]
pub struct Debug {
    /// Everything about proxies.
    pub push: Arc<Push>,
    /// Who signs certificates.
    pub authority: Arc<Authority>,
    /// What is wrong with the users' objects.
    pub problems: Arc<ArcSwap<Vec<Problem>>>,
    /// To the owner of the world.
    pub queries: mpsc::Sender<Query>,
    /// The program's allocator, if it can tell where memory is allocated.
    pub heap: Option<Arc<dyn Heap>>,
}

/// Serves while MeshConfig wants it, until `stop`; `port` 0 takes any. The address is told where somebody listens.
pub async fn serve_while_wanted(
    port: u16,
    debug: Arc<Debug>,
    mut wanted: watch::Receiver<bool>,
    stop: CancellationToken,
    address: watch::Sender<Option<SocketAddr>>,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            ended = wanted.wait_for(|wanted| *wanted) => if ended.is_err() { return },
        }
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => listener,
            Err(error) => {
                warn!(%error, port, "the debug server cannot listen; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let here = listener.local_addr().ok();
        info!(address = ?here, "the debug server listens: `spec.observability.enableDebugServer` of MeshConfig says so");
        debug.watch_heap(true).await;
        address.send_replace(here);
        let (end, asked) = (stop.child_token(), Arc::clone(&debug));
        let handler = move |ask| {
            let asked = Arc::clone(&asked);
            async move { asked.answer(ask).await }
        };
        let serving = serve_http(listener, handler, LIMITS, end.clone());
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => return,
            _ = wanted.wait_for(|wanted| !*wanted) => end.cancel(),
        }
        address.send_replace(None);
        serving.await;
        debug.watch_heap(false).await;
        info!("the debug server is closed");
    }
}

impl Debug {
    async fn answer(&self, ask: Ask) -> Reply {
        if is_foreign(&ask) {
            return text(StatusCode::FORBIDDEN, "this port answers programs on this machine, not web pages\n");
        }
        if !reads(ask.method()) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        }
        match ask.uri().path() {
            "/debug" | "/debug/" => text(StatusCode::OK, INDEX),
            "/debug/world" => self.view(View::World).await,
            "/debug/namespaces" => self.view(View::Namespaces).await,
            "/debug/policies" => self.view(View::Policies).await,
            "/debug/config" => self.view(View::MeshConfig).await,
            "/debug/feature-flags" => self.view(View::FeatureFlags).await,
            "/debug/problems" => json(&self.problems.load().iter().map(ToString::to_string).collect::<Vec<_>>()),
            "/debug/certs" => json(&self.authority.status()),
            "/debug/proxy" => self.proxies(&ask),
            "/debug/pprof/profile" => self.profile(&ask).await,
            "/debug/pprof/heap" => self.heap().await,
            "/debug/pprof/cmdline" => text(StatusCode::OK, std::env::args().collect::<Vec<_>>().join("\0")),
            path => text(StatusCode::NOT_FOUND, format!("there is no {path}\n\n{INDEX}")),
        }
    }

    async fn view(&self, view: View) -> Reply {
        let (answer, answered) = oneshot::channel();
        if self.queries.send(Query::View(view, answer)).await.is_err() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "fsm-control is being stopped\n");
        }
        match answered.await {
            Ok(shown) => json(&shown),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "fsm-control is being stopped\n"),
        }
    }

    fn proxies(&self, ask: &Ask) -> Reply {
        let Some(pod) = parameter(ask, "pod") else { return json(&self.push.roster.reports()) };
        let Some((namespace, name)) = pod.split_once('/') else {
            return text(StatusCode::BAD_REQUEST, "say which pod: /debug/proxy?pod=NAMESPACE/NAME\n");
        };
        let Some(seat) = self.push.board.seat(&PodKey::new(namespace, name)) else {
            return text(StatusCode::NOT_FOUND, format!("there is no document for pod {pod}\n"));
        };
        let publication = seat.publications.borrow().clone();
        match Config::read(publication.document()) {
            Ok((config, _)) => json(&config.redacted()),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the document cannot be shown: {error}\n")),
        }
    }

    async fn watch_heap(&self, on: bool) {
        let Some(heap) = self.heap.clone() else { return };
        let watching = tokio::task::spawn_blocking(move || heap.watch(on)).await;
        if let Ok(Err(why)) = watching {
            warn!(%why, "the debug server has no heap profiles");
        }
    }

    async fn heap(&self) -> Reply {
        const NONE: &str =
            "this program has no heap profiles: they need its allocator (jemalloc, on Linux with glibc)\n";
        let Some(heap) = self.heap.clone() else { return text(StatusCode::NOT_IMPLEMENTED, NONE) };
        let Ok(_one_at_a_time) = PROFILING.try_lock() else {
            return text(StatusCode::CONFLICT, "a profile is being taken already\n");
        };
        match tokio::task::spawn_blocking(move || heap.profile()).await {
            Ok(Ok(bytes)) => reply(StatusCode::OK, "application/octet-stream", bytes),
            Ok(Err(why)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("no profile can be taken: {why}\n")),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no profile can be taken\n"),
        }
    }

    async fn profile(&self, ask: &Ask) -> Reply {
        let seconds = parameter(ask, "seconds").map_or(Ok(30), |text| text.parse::<u64>());
        let Some(seconds) = seconds.ok().filter(|seconds| (1..=120).contains(seconds)) else {
            return text(StatusCode::BAD_REQUEST, "seconds is a number from 1 to 120\n");
        };
        let Ok(_one_at_a_time) = PROFILING.try_lock() else {
            return text(StatusCode::CONFLICT, "a profile is being taken already\n");
        };
        match profile::of_processor(Duration::from_secs(seconds)).await {
            Ok(bytes) => reply(StatusCode::OK, "application/octet-stream", bytes),
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("no profile can be taken: {why}\n")),
        }
    }
}

/// The value of a query parameter; names of pods need no decoding but that of `/`.
fn parameter(ask: &Ask, name: &str) -> Option<String> {
    let pairs = ask.uri().query().unwrap_or_default().split('&');
    let value = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    Some(value.replace("%2F", "/").replace("%2f", "/"))
}

#[cfg(test)]
mod tests;
