//! The operator's port: which path does what, and who may ask.

use super::reply::{Ask, Reply, json, query, text, wrong_method};
use super::{AdminState, pages, prometheus, signals, tap};
use crate::telemetry::build::VERSION;
use crate::telemetry::certificates;
use crate::telemetry::stats_text::stats_text;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{StatusCode, Version};
use std::fmt::Write;
use tracing::{info, warn};

/// One path of the operator's port.
struct Endpoint {
    path: &'static str,
    methods: &'static [&'static str],
    help: &'static str,
    answer: fn(&Ask, &AdminState) -> Reply,
}

const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];

const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/ready",
        methods: GET,
        help: "200 when the pod may get traffic, else 503 and what is missing",
        answer: ready,
    },
    Endpoint {
        path: "/live",
        methods: GET,
        help: "200 as long as the proxy answers at all",
        answer: |_, _| text(StatusCode::OK, "LIVE\n"),
    },
    Endpoint {
        path: "/stats",
        methods: GET,
        help: "counters, one for each line; ?filter=TEXT keeps lines that contain TEXT",
        answer: stats,
    },
    Endpoint {
        path: "/stats/prometheus",
        methods: GET,
        help: "the same page that port 15010 serves",
        answer: |_, state| prometheus::page(state),
    },
    Endpoint {
        path: "/signals",
        methods: GET,
        help: "responses and latencies by cluster and by the workload at the other end, and refusals (JSON)",
        answer: |_, state| json(&signals::signals(state)),
    },
    Endpoint {
        path: "/tap",
        methods: GET,
        help: "requests as they end, one JSON object a line; filters: ?direction= method= path= status= to= from= reason= limit=",
        answer: tap::watch,
    },
    Endpoint {
        path: "/clusters",
        methods: GET,
        help: "clusters, their endpoints and counters; ?format=json",
        answer: clusters,
    },
    Endpoint {
        path: "/listeners",
        methods: GET,
        help: "open ports",
        answer: |_, state| text(StatusCode::OK, state.listeners.text()),
    },
    Endpoint {
        path: "/certs",
        methods: GET,
        help: "certificates and when they expire, without keys (JSON)",
        answer: certificate_list,
    },
    Endpoint {
        path: "/config_dump",
        methods: GET,
        help: "the configuration in force, without keys (JSON)",
        answer: |_, state| pages::config_dump(state),
    },
    Endpoint {
        path: "/config_status",
        methods: GET,
        help: "where the configuration comes from, how old it is, what is wrong with it (JSON)",
        answer: |_, state| json(&pages::config_status(state)),
    },
    Endpoint {
        path: "/reasons",
        methods: GET,
        help: "what the codes in x-fsm-reason mean",
        answer: |_, _| text(StatusCode::OK, pages::reasons()),
    },
    Endpoint {
        path: "/version",
        methods: GET,
        help: "version of the proxy (JSON)",
        answer: |_, _| json(&pages::version()),
    },
    Endpoint {
        path: "/logging",
        methods: &["GET", "PUT", "POST"],
        help: "GET shows the log level; POST or PUT with ?level=LEVEL changes it",
        answer: logging,
    },
    Endpoint { path: "/drain", methods: POST, help: "shut down gently, as on SIGTERM", answer: drain },
    Endpoint { path: "/quitquitquit", methods: POST, help: "end the proxy at once", answer: quit },
    Endpoint { path: "/", methods: GET, help: "this list", answer: |_, _| text(StatusCode::OK, list()) },
    Endpoint { path: "/help", methods: GET, help: "this list", answer: |_, _| text(StatusCode::OK, list()) },
];

/// Answers one request to the operator's port.
pub(super) fn answer(ask: &Ask, state: &AdminState) -> Reply {
    if let Some(refusal) = wrong_origin(ask) {
        return refusal;
    }
    let path = ask.uri().path();
    let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
        return text(StatusCode::NOT_FOUND, format!("Not Found\n\n{}", list()));
    };
    wrong_method(ask.method(), endpoint.methods).unwrap_or_else(|| (endpoint.answer)(ask, state))
}

/// Refuses requests that a web page made: through a name that leads to loopback (DNS rebinding: the host is not
/// loopback), or as a cross-site form (state changes with an `Origin`).
fn wrong_origin(ask: &Ask) -> Option<Reply> {
    let hosts: Vec<_> = ask.headers().get_all(HOST).iter().collect();
    let in_target = ask.uri().authority().is_none_or(|authority| is_loopback(authority.host()));
    let named = match hosts.as_slice() {
        [] => ask.version() == Version::HTTP_10,
        [host] => Authority::try_from(host.as_bytes()).is_ok_and(|authority| is_loopback(authority.host())),
        _ => false,
    };
    if !(in_target && named) {
        warn!("a request to the admin port was refused: its host is not loopback");
        return Some(text(
            StatusCode::FORBIDDEN,
            "this port answers to the hosts localhost, 127.0.0.1 and [::1] only\n",
        ));
    }
    if !ask.method().is_safe() && ask.headers().contains_key(ORIGIN) {
        warn!("a request to the admin port was refused: a web page made it");
        return Some(text(StatusCode::FORBIDDEN, "web pages may not change anything here\n"));
    }
    None
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || matches!(host, "127.0.0.1" | "[::1]")
}

fn list() -> String {
    let width = ENDPOINTS.iter().map(|endpoint| endpoint.path.len()).max().unwrap_or_default();
    let mut list = format!("fsm-proxy {}\n\n", VERSION);
    for endpoint in ENDPOINTS {
        let _ = writeln!(list, "{:width$}  {:13}  {}", endpoint.path, endpoint.methods.join(" "), endpoint.help);
    }
    list
}

fn ready(_: &Ask, state: &AdminState) -> Reply {
    let missing = state.readiness.missing();
    if missing.is_empty() {
        return text(StatusCode::OK, "LIVE\n");
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("NOT READY\n{}\n", missing.join("\n")))
}

fn stats(ask: &Ask, state: &AdminState) -> Reply {
    text(StatusCode::OK, stats_text(&state.view(), &query(ask, "filter").unwrap_or_default()))
}

fn clusters(ask: &Ask, state: &AdminState) -> Reply {
    let snapshot = state.store.snapshot();
    match query(ask, "format").as_deref() {
        None | Some("text") => text(StatusCode::OK, pages::clusters_text(snapshot.as_deref())),
        Some("json") => json(&pages::clusters_json(snapshot.as_deref())),
        Some(_) => text(StatusCode::BAD_REQUEST, "format is text or json\n"),
    }
}

fn certificate_list(_: &Ask, state: &AdminState) -> Reply {
    json(&state.store.snapshot().map(|snapshot| certificates::summaries(&snapshot)).unwrap_or_default())
}

fn logging(ask: &Ask, state: &AdminState) -> Reply {
    let level = query(ask, "level");
    match level {
        None => text(StatusCode::OK, format!("level: {}\nlost lines: {}\n", state.log.get(), state.log.dropped())),
        Some(_) if ask.method().is_safe() => text(StatusCode::BAD_REQUEST, "use POST or PUT to change the level\n"),
        Some(level) => match state.log.set(&level) {
            Ok(()) => {
                info!(
                    level = %state.log.get(),
                    "the log level was changed through the admin port"
                );
                text(StatusCode::OK, format!("level: {}\n", state.log.get()))
            }
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        },
    }
}

fn drain(_: &Ask, state: &AdminState) -> Reply {
    info!("the admin port was asked to drain");
    // At once, so that whoever asked sees it in the next answer of /ready.
    state.readiness.begin_draining();
    state.drain.cancel();
    text(StatusCode::OK, "DRAINING\n")
}

fn quit(_: &Ask, state: &AdminState) -> Reply {
    info!("the admin port was asked to quit");
    state.quit.cancel();
    text(StatusCode::OK, "DONE\n")
}
