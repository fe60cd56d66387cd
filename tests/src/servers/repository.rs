//! FSM's repository as a sidecar sees it: a codebase with a version, a list of files, and a place for status reports.

use crate::{Message, Pod, Wire};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Path of the only codebase.
const CODEBASE: &str = "/repo/fsm-sidecar/0b5d.sidecar.api.shop/";

/// The repository.
#[derive(Clone)]
pub struct Repository {
    at: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    version: u64,
    files: BTreeMap<String, Vec<u8>>,
    requests: Vec<(String, String)>,
    down: bool,
}

impl Repository {
    /// Starts an empty repository in a pod.
    pub fn start(pod: &Pod, at: SocketAddr) -> Self {
        let repository = Self { at, state: Arc::default() };
        let listener = pod.listen(at);
        let state = Arc::clone(&repository.state);
        tokio::spawn(async move {
            while let Ok(accepted) = listener.accept().await {
                let wire = Wire::of(accepted).0.without_deadline();
                tokio::spawn(serve(wire, Arc::clone(&state)));
            }
        });
        repository
    }

    /// What a sidecar gets on its command line.
    pub fn url(&self) -> String {
        format!("http://{}{CODEBASE}", self.at)
    }

    /// Replaces all files and gives the codebase a new version.
    pub fn publish(&self, files: &[(&str, &[u8])]) {
        let mut state = lock(&self.state);
        state.version += 1;
        state.files = files.iter().map(|&(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
        state.requests.clear();
    }

    /// From now on every connection is closed without an answer.
    pub fn go_down(&self) {
        lock(&self.state).down = true;
    }

    /// Method and file of every request since the last publication; the codebase itself is `""`.
    pub fn requests(&self) -> Vec<(String, String)> {
        lock(&self.state).requests.clone()
    }

    /// Whether this was asked for since the last publication.
    pub fn was_asked(&self, method: &str, file: &str) -> bool {
        self.requests().iter().any(|(found, path)| found == method && path == file)
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn serve(mut wire: Wire, state: Arc<Mutex<State>>) {
    while let Ok(request) = wire.try_request().await {
        let Some(answer) = answer(&request, &mut lock(&state)) else { return };
        wire.offer(answer).await;
    }
}

fn answer(request: &Message, state: &mut State) -> Option<Vec<u8>> {
    if state.down {
        return None;
    }
    let Some(file) = request.target().strip_prefix(CODEBASE) else {
        return Some(reply("404 Not Found", "", b"", false));
    };
    state.requests.push((request.method().to_owned(), file.to_owned()));
    let headers = format!("etag: \"{}\"\r\ndate: Mon, 02 Mar 2026 09:14:07 GMT\r\n", state.version);
    let head_only = request.method() == "HEAD";
    let reply = match (request.method(), file) {
        ("POST", "") => reply("201 Created", "", b"", false),
        ("GET" | "HEAD", "") if state.files.is_empty() => reply("404 Not Found", "", b"", head_only),
        ("GET" | "HEAD", "") => {
            let mut list = "/main.js\n".to_owned();
            for name in state.files.keys() {
                list.push_str(&format!("/{name}\n"));
            }
            reply("200 OK", &headers, list.as_bytes(), head_only)
        }
        ("GET" | "HEAD", file) => match state.files.get(file) {
            Some(bytes) => reply("200 OK", &headers, bytes, head_only),
            None => reply("404 Not Found", "", b"", head_only),
        },
        _ => reply("405 Method Not Allowed", "", b"", false),
    };
    Some(reply)
}

fn reply(status: &str, headers: &str, body: &[u8], head_only: bool) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n").into_bytes();
    if !head_only {
        bytes.extend(body);
    }
    bytes
}
