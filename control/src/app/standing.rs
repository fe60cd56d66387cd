//! What all roles that keep running have in common: ports, the certificate authority, signals, an orderly end.

use crate::cert::authority::{Provider, Signer};
use crate::cert::cert_manager::CertManagerSettings;
use crate::cert::custody::Place;
use crate::cert::rollout::{Rollout, RolloutSettings};
use crate::cert::server::{ServerNames, ServerTls};
use crate::cert::tresor::TresorSettings;
use crate::cert::{Issuer, SecretPlace};
use crate::leader::{Candidate, Leadership, LeaseSettings, Terms};
use crate::limits;
use crate::options::{CertificateOptions, MeshOptions, NativeSidecars, OperationOptions, ProviderKind};
use crate::push::server;
use crate::reconcile::{Cluster, Keeper, wake_on_changes, wake_on_roots};
use crate::telemetry::Telemetry;
use crate::webhook::configuration::{INSTANCE_LABEL, Kept, Registration, Webhooks};
use crate::webhook::{self, Native, Reviewer};
use anyhow::Context;
use fsm_api::resources::root_certificate::CertificateProvider;
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

    /// Serves a webhook, with a certificate of its own that is kept valid.
    pub(super) async fn serve_webhook<R: Reviewer>(
        &self,
        listener: TcpListener,
        webhook: R,
        issuer: Arc<dyn Issuer>,
        names: ServerNames,
    ) -> anyhow::Result<()> {
        let tls = ServerTls::start(issuer, names, None).await.context("cannot make the webhook's own certificate")?;
        let tls = Arc::new(tls);
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

/// Whoever signs certificates. `api_server`: where the roots may be kept, and what providers may need.
pub(super) async fn open_signer(
    options: &CertificateOptions,
    mesh: &MeshOptions,
    api_server: Option<&kube::Client>,
) -> anyhow::Result<Signer> {
    let namespace = mesh.fsm_namespace.as_str();
    if options.enable_mesh_root_certificate {
        let client = api_server.context("--enable-mesh-root-certificate needs an API server")?;
        let rollout = Rollout::open(rollout_settings(options, mesh, client), Arc::new(SystemTime::now)).await;
        return Ok(Signer::Rollout(Box::new(rollout.context("cannot open the certificate authority")?)));
    }
    let provider = match options.provider.certificate_manager {
        ProviderKind::Tresor => tresor(options, mesh, api_server)?,
        ProviderKind::Vault => Provider::Vault(options.provider.vault(api_server, namespace)?),
        ProviderKind::CertManager => {
            let client = api_server.context("--certificate-manager cert-manager needs an API server")?;
            Provider::CertManager(client.clone(), options.provider.cert_manager(namespace)?)
        }
    };
    let opened = Signer::open(provider, Arc::new(SystemTime::now)).await;
    opened.context("cannot open the certificate authority")
}

/// How MeshRootCertificates are read.
fn rollout_settings(options: &CertificateOptions, mesh: &MeshOptions, client: &kube::Client) -> RolloutSettings {
    let provider = {
        let (options, client, namespace) = (options.clone(), client.clone(), mesh.fsm_namespace.clone());
        let mesh = mesh.mesh_name.clone();
        let tresor = TresorSettings { root_key: options.ca_key, announce: options.ca_announce };
        Arc::new(move |spec: &CertificateProvider| match spec {
            CertificateProvider { tresor: Some(own), vault: None, cert_manager: None } => {
                let secret = &own.ca.secret_ref;
                match (&secret.namespace, &secret.name) {
                    (Some(namespace), Some(name)) => {
                        let (namespace, name) = (namespace.clone(), name.clone());
                        let place = SecretPlace { namespace, name, mesh: mesh.clone() };
                        Ok(Provider::Tresor(Place::Secret(client.clone(), place), tresor.clone()))
                    }
                    _ => Err("spec.provider.tresor.ca.secretRef needs name and namespace".to_owned()),
                }
            }
            CertificateProvider { vault: Some(vault), tresor: None, cert_manager: None } => {
                let settings = options.provider.vault_of(vault, &client).map_err(|error| error.to_string())?;
                Ok(Provider::Vault(settings))
            }
            CertificateProvider { cert_manager: Some(manager), tresor: None, vault: None } => {
                let settings = CertManagerSettings {
                    namespace: namespace.clone(),
                    issuer_name: manager.issuer_name.clone(),
                    issuer_kind: manager.issuer_kind.clone(),
                    issuer_group: manager.issuer_group.clone(),
                };
                Ok(Provider::CertManager(client.clone(), settings))
            }
            _ => Err("spec.provider must have exactly one of tresor, vault and certManager".to_owned()),
        })
    };
    RolloutSettings {
        client: client.clone(),
        namespace: mesh.fsm_namespace.clone(),
        trust_domain: mesh.trust_domain.clone(),
        announce: options.ca_announce,
        provider,
    }
}

fn tresor(
    options: &CertificateOptions,
    mesh: &MeshOptions,
    api_server: Option<&kube::Client>,
) -> anyhow::Result<Provider> {
    let settings = TresorSettings { root_key: options.ca_key, announce: options.ca_announce };
    let place = match (&options.state_dir, api_server) {
        (Some(directory), _) => Place::Directory(directory.clone()),
        (None, Some(client)) => {
            let place = SecretPlace {
                namespace: mesh.fsm_namespace.clone(),
                name: options.ca_bundle_secret_name.clone(),
                mesh: mesh.mesh_name.clone(),
            };
            Place::Secret(client.clone(), place)
        }
        _ => anyhow::bail!(
            "there is no place for the roots of the mesh; give --state-dir DIRECTORY, or --source kubernetes to keep \
             them in a Secret"
        ),
    };
    Ok(Provider::Tresor(place, settings))
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
