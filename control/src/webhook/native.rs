//! Whether injected sidecars are native ones: as the operator says, or as the API server's version allows.
//!
//! Native sidecars (init containers with `restartPolicy: Always`) are on by default from Kubernetes 1.29. An older server
//! would drop the field without a word, and a pod would wait for its sidecar's end for ever; so before the version is
//! known, no pod is admitted. The version is asked again now and then: API servers are upgraded under their webhooks.

use crate::limits;
use crate::source::kubernetes::describe;
use k8s_openapi::apimachinery::pkg::version::Info;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The first version (1.x) that has them without asking.
const SINCE: u32 = 29;

/// Whether sidecars are native; not known at first where the API server decides.
#[derive(Clone, Debug)]
pub struct Native(watch::Receiver<Option<bool>>);

impl Native {
    /// As the operator says.
    pub fn fixed(native: bool) -> Self {
        Self(watch::channel(Some(native)).1)
    }

    /// As the API server's version allows, and the task that finds out.
    pub fn of_server(client: kube::Client, stop: CancellationToken) -> (Self, impl Future<Output = ()>) {
        let (known, native) = watch::channel(None);
        (Self(native), follow(client, known, stop))
    }

    /// Whether they are.
    pub fn decided(&self) -> Option<bool> {
        *self.0.borrow()
    }
}

async fn follow(client: kube::Client, known: watch::Sender<Option<bool>>, stop: CancellationToken) {
    loop {
        let asked = timeout(limits::VERSION_TIMEOUT, client.apiserver_version());
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            asked = asked => asked,
        };
        let pause = match asked {
            Ok(Ok(version)) => {
                let native = knows(&version);
                if known.send_replace(Some(native)) != Some(native) {
                    let kind = if native { "native" } else { "ordinary" };
                    info!("the API server is of Kubernetes {}: sidecars are {kind} ones", version.git_version);
                }
                limits::VERSION_LOOK
            }
            Ok(Err(error)) => {
                warn!("the API server does not tell its version: {}", describe(&error));
                limits::VERSION_PAUSE
            }
            Err(_) => {
                warn!("the API server does not tell its version in time");
                limits::VERSION_PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Vendors write minors such as `29+`.
fn knows(version: &Info) -> bool {
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or(0);
    let (major, minor) = (number(&version.major), number(&version.minor));
    major > 1 || (major == 1 && minor >= SINCE)
}

#[cfg(test)]
mod tests;
