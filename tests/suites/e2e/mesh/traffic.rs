//! A client that goes on asking, in its pod, while something else happens: nothing of that may be seen by it.

use super::{TheMesh, fine};
use std::time::Instant;

/// What of its kind there is in the pod.
const STOP: &str = "/tmp/fsm-e2e-stop";
const SEEN: &str = "/tmp/fsm-e2e-seen";

/// Requests of the client to the server, one after another, at most 20 in a second. They need nothing from outside of the
/// pod but the server: neither this test, nor the node, nor the API server.
pub(super) struct Traffic {
    pod: String,
    begun: Instant,
}

impl Traffic {
    pub(super) async fn begin(mesh: &TheMesh) -> Self {
        let pod = mesh.cluster.pod_of("client", "client").await;
        let script = format!(
            "rm -f {STOP}; (while [ ! -e {STOP} ]; do \
             curl -s -m 5 -o /dev/null -w '%{{http_code}}\\n' http://server.server:14001/get; sleep 0.05; \
             done > {SEEN}) > /dev/null 2>&1 &"
        );
        fine(mesh.cluster.exec("client", &pod, "client", &["sh", "-c", &script]).await);
        Self { pod, begun: Instant::now() }
    }

    /// Ends it; nothing of it may have failed.
    pub(super) async fn ends_well(self, mesh: &TheMesh, what: &str) {
        let took = self.begun.elapsed();
        let count = format!("touch {STOP}; sleep 0.3; sort {SEEN} | uniq -c; rm -f {SEEN} {STOP}");
        let seen = fine(mesh.cluster.exec("client", &self.pod, "client", &["sh", "-c", &count]).await);
        let lines: Vec<&str> = seen.lines().map(str::trim).collect();
        let [only] = lines.as_slice() else { panic!("{what}: not all requests were answered alike: {lines:?}") };
        let (number, status) = only.split_once(' ').unwrap_or_else(|| panic!("{only}"));
        assert_eq!(status, "200", "{what}: {seen}");
        let number: u64 = number.parse().unwrap_or_else(|why| panic!("{why}: {only}"));
        eprintln!("{number} requests in {:.1} s, {what}, none of them failed", took.as_secs_f64());
        assert!(number > took.as_secs(), "{what}: the client must not have stood still: {number} in {took:?}");
    }
}
