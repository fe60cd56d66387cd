//! What all roles that keep running have in common: ports, the certificate authority, signals, an orderly end.

use crate::cert::server::{ServerNames, ServerTls};
use crate::cert::tresor::TresorSettings;
use crate::cert::{Issuer, Tresor};
use crate::inject;
use crate::leader::{Candidate, Leadership, LeaseSettings, Terms};
use crate::limits;
use crate::options::{CertificateOptions, MeshOptions, NativeSidecars, OperationOptions};
use crate::push::server;
use crate::reconcile::{Cluster, Keeper, wake_on_changes, wake_on_roots};
use crate::telemetry::Telemetry;
use crate::webhook::configuration::{INSTANCE_LABEL, Kept, Registration, Webhooks};
use crate::webhook::{self, Facts, Native, Webhook};
use anyhow::Context;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// The tasks of a role, and how they end.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Standing {
    /// Waits until the role is ready, says so, waits until it is told to end, and ends it.
    pub(super) async fn stand(
        &self,
        mut ready: watch::Receiver<bool>,
        addresses: &Value,
        operation: &OperationOptions,
    ) -> anyhow::Result<()> {
        let mut end = pin_signals()?;
        let became_ready = tokio::select! {
            ready = ready.wait_for(|ready| *ready) => ready.is_ok(),
            () = &mut end => false,
        };
        if became_ready {
            info!("ready: {addresses}");
            if let Some(file) = &operation.ready_file {
                write_ready(file, addresses)?;
            }
            end.await;
        }
        if let Some(file) = &operation.ready_file {
            // It may never have been written.
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }

    /// Ends all tasks.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(limits::SHUTDOWN_GRACE * 2, self.tasks.wait()).await.is_err() {
            warn!("some connections did not end in time and are cut off");
        }
    }

    /// Serves the injector's webhook, with a certificate of its own that is kept valid.
    pub(super) async fn serve_injection<F: Facts>(
        &self,
        listener: TcpListener,
        facts: F,
        injection: (inject::Settings, Native),
        identity: (Arc<Tresor>, ServerNames),
        telemetry: Arc<Telemetry>,
    ) -> anyhow::Result<()> {
        let (issuer, names) = identity;
        let tls = ServerTls::start(issuer, names, None).await.context("cannot make the webhook's own certificate")?;
        let tls = Arc::new(tls);
        let (settings, native) = injection;
        let webhook = Webhook { facts, settings, native, telemetry };
        self.tasks.spawn(webhook::serve(listener, Arc::new(webhook), tls.clone(), self.stop.clone()));
        let stop = self.stop.clone();
        self.tasks.spawn(async move { tls.maintain(stop).await });
        Ok(())
    }

    /// Keeps a webhook's configuration in the cluster, with the roots of the moment in it.
    pub(super) fn keep_registered(
        &self,
        webhooks: Webhooks,
        registration: Registration,
        cluster: Cluster,
        issuer: Arc<dyn Issuer>,
        leadership: Leadership,
        telemetry: &Arc<Telemetry>,
    ) {
        let wake = Arc::new(Notify::new());
        let roots = wake_on_roots(issuer.clone(), wake.clone(), self.stop.clone());
        self.tasks.spawn(roots);
        if registration.reconciled {
            // Of this mesh, whatever else was changed in it.
            let labels = format!("{INSTANCE_LABEL}={}", registration.mesh);
            let (cluster, stop) = (cluster.clone(), self.stop.clone());
            self.tasks.spawn(wake_on_changes(cluster, webhooks.resource(), labels, wake.clone(), stop));
        }
        let kept = Kept::new(cluster, webhooks, registration, issuer);
        let (keeper, _) = Keeper::new(kept, wake, leadership, telemetry.clone());
        self.tasks.spawn(keeper.run(self.stop.clone()));
    }

    /// Whether injected sidecars are native ones.
    pub(super) fn native(&self, wanted: NativeSidecars, api_server: Option<&kube::Client>) -> Native {
        match (wanted, api_server) {
            (NativeSidecars::Always, _) => Native::fixed(true),
            (NativeSidecars::Auto, Some(client)) => {
                let (native, finding_out) = Native::of_server(client.clone(), self.stop.clone());
                self.tasks.spawn(finding_out);
                native
            }
            (NativeSidecars::Auto | NativeSidecars::Never, _) => Native::fixed(false),
        }
    }

    /// Asks the authority now and then whether a step of a rotation is due.
    pub(super) fn tend(&self, tresor: Arc<Tresor>) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(limits::AUTHORITY_TICK) => {}
                }
                let tresor = tresor.clone();
                let ticked = tokio::task::spawn_blocking(move || tresor.tick()).await;
                if let Ok(Err(error)) = ticked {
                    warn!("the rotation of the roots does not go on: {error}; it is tried again");
                }
            }
        });
    }

    /// Stands for the Lease of this name: of all replicas of a role, one writes.
    pub(super) fn candidate(&self, client: kube::Client, lease: &str, mesh: &MeshOptions) -> Leadership {
        let settings = LeaseSettings {
            namespace: mesh.fsm_namespace.clone(),
            name: lease.to_owned(),
            candidate: mesh.pod_name.clone(),
            terms: Terms::default(),
        };
        let (candidate, leadership) = Candidate::new(client, settings);
        self.tasks.spawn(candidate.run(self.stop.clone()));
        leadership
    }
}

/// An address for API servers, with the port that is listened on in place of port 0.
pub(super) fn with_port(url: Option<&String>, port: u16) -> Option<String> {
    let url = url?.trim_end_matches('/');
    Some(url.strip_suffix(":0").map_or_else(|| url.to_owned(), |host| format!("{host}:{port}")))
}

/// The certificate authority.
pub(super) fn open_authority(options: &CertificateOptions) -> anyhow::Result<Tresor> {
    let settings = TresorSettings {
        state_dir: options.state_dir.clone(),
        root_key: options.ca_key,
        announce: options.ca_announce,
    };
    Tresor::open(settings, Arc::new(SystemTime::now)).context("cannot open the certificate authority")
}

pub(super) fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    server::bind(address).with_context(|| format!("cannot listen on {address} ({flag})"))
}

fn write_ready(file: &Path, addresses: &Value) -> anyhow::Result<()> {
    crate::cert::server::write_whole(file, format!("{addresses}\n").as_bytes())
        .with_context(|| format!("cannot write {} (--ready-file)", file.display()))
}

/// Ends with the first signal to end.
pub(super) fn pin_signals() -> anyhow::Result<Pin<Box<impl Future<Output = ()>>>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }))
}
