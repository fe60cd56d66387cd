//! Builds every part of fsm-control in order, and ends them in order.
//!
//! Ready means: the source was read once, the documents of all groups are published, and all ports listen. On SIGTERM or
//! SIGINT everything ends within [`limits::SHUTDOWN_GRACE`]; proxies keep what they have.

use crate::admin::{self, Admin};
use crate::auth::{ClusterTokens, TokenDirectory, TokenReview};
use crate::cert::authority::{Provider, Signer};
use crate::cert::custody::Place;
use crate::cert::server::ServerTls;
use crate::cert::tresor::TresorSettings;
use crate::cert::{Issuer, SecretPlace};
use crate::controller::{self, Ends, Publisher};
use crate::issued::{BundleKeeper, ClusterWriter, DirectoryWriter, Keeper, Ledger, Owner, Situation, Writer};
use crate::leader::{self, Candidate, Leadership, LeaseSettings, Terms};
use crate::limits;
use crate::options::{Options, ProviderKind, Tokens, WriteTo};
use crate::push::repo::{self, Repo};
use crate::push::{Board, Push, Roster, Settings, server};
use crate::source::{Event, Source, kubernetes};
use crate::telemetry::Telemetry;
use crate::webhook::{self, OwnerFacts, Webhook};
use crate::world::{self, World};
use anyhow::Context;
use arc_swap::ArcSwap;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// Changes that the source may be ahead.
const EVENTS_AHEAD: usize = 1024;

/// Runs fsm-control until it is told to end.
///
/// # Errors
/// Whatever keeps it from starting: ports, the state directory, files that cannot be written.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let api_server = connect(&options).await?;
    let signer = open_signer(&options, api_server.as_ref()).await?;
    let (issuer, authority) = (signer.issuer(), admin::Authority::of(&signer));
    let push = Arc::new(push(&options, &issuer, tokens(&options, api_server.as_ref())?));
    let tls = ServerTls::start(issuer.clone(), options.server_names(), options.write_ca_bundle.clone());
    let tls = Arc::new(tls.await.context("cannot make fsm-control's own certificate")?);

    let stream = listen(options.listen_stream, "--listen-stream")?;
    let admin_port = listen(options.listen_admin, "--listen-admin")?;
    let repo_port = options.listen_repo.map(|address| listen(address, "--listen-repo")).transpose()?;
    let mut addresses = json!({
        "pid": std::process::id(),
        "stream": stream.local_addr()?.to_string(),
        "admin": admin_port.local_addr()?.to_string(),
    });

    let problems = Arc::new(ArcSwap::default());
    let world = World::new(world::Settings {
        mesh_name: options.mesh_name.clone(),
        fsm_namespace: options.fsm_namespace.clone(),
        trust_domain: options.trust_domain.clone(),
        mesh_config_name: options.fsm_config_name.clone(),
    });
    let (events, source_events) = mpsc::channel(EVENTS_AHEAD);
    let (keeper, situation) = keeper(&options, api_server.as_ref(), &issuer, &push, events.clone())?.unzip();
    let leadership = stand(&options, api_server.as_ref(), &tasks, &stop);
    let changes_roots = match options.state_dir {
        Some(_) => Leadership::always(),
        None => leadership.clone(),
    };
    tasks.spawn(signer.tend(changes_roots, Some(events.clone()), stop.clone()));
    let bundles = bundles(&options, api_server.as_ref(), &issuer, situation.as_ref(), &events);
    let ledger = Ledger::new(Owner::of_mesh(&options.mesh_name), options.server_names(), situation);
    let publisher = Publisher::new(world, push.clone(), problems.clone()).with_ledger(ledger);
    let (queries, owner_queries) = mpsc::channel(16);
    let (ready, mut is_ready) = watch::channel(false);
    let ends = Ends { events: source_events, queries: owner_queries, ready, stop: stop.clone() };
    let owner = controller::start(publisher, ends).context("cannot start the thread that owns the world")?;
    let api_server = api_server.map(|client| (client, followed(&options)));
    let following = options.source.clone().follow(api_server, events)?;

    tasks.spawn(server::serve(stream, push.clone(), tls.clone(), stop.clone()));
    tasks.spawn({
        let stop = stop.clone();
        async move { tls.maintain(stop).await }
    });
    if let Some(address) = options.listen_webhook {
        let listener = listen(address, "--listen-webhook")?;
        addresses["webhook"] = listener.local_addr()?.to_string().into();
        let facts = OwnerFacts { queries: queries.clone(), ready: is_ready.clone() };
        serve_webhook(listener, facts, &options, &push, &tasks, &stop).await?;
    }
    if let Some(keeper) = keeper {
        if let Some(bundles) = bundles {
            tasks.spawn(bundles.run_while_leading(leadership.clone(), stop.clone()));
        }
        tasks.spawn(keeper.run_while_leading(leadership, Arc::new(SystemTime::now), stop.clone()));
    }
    let admin = Admin { push: push.clone(), authority, problems, queries, ready: is_ready.clone() };
    tasks.spawn(admin::serve(admin_port, Arc::new(admin), stop.clone()));
    if let Some(port) = repo_port {
        addresses["repo"] = port.local_addr()?.to_string().into();
        let repo = Repo::open(push.clone(), options.repo_base.as_deref(), options.repo_private_keys)?;
        tasks.spawn(repo::serve(port, Arc::new(repo), stop.clone()));
    }

    let mut end = pin_signals()?;
    let became_ready = tokio::select! {
        ready = is_ready.wait_for(|ready| *ready) => ready.is_ok(),
        () = &mut end => false,
    };
    if became_ready {
        info!("ready: {addresses}");
        if let Some(file) = &options.ready_file {
            write_ready(file, &addresses)?;
        }
        end.await;
    }
    info!("ending; proxies keep what they have");
    if let Some(file) = &options.ready_file {
        // It may never have been written.
        let _ = std::fs::remove_file(file);
    }
    drop(following);
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(limits::SHUTDOWN_GRACE * 2, tasks.wait()).await.is_err() {
        warn!("some connections did not end in time and are cut off");
    }
    // The owner has been told and waits for nothing but itself.
    tokio::task::spawn_blocking(move || owner.join()).await?.map_err(|_| anyhow::anyhow!("the owner task panicked"))
}

async fn open_signer(options: &Options, api_server: Option<&kube::Client>) -> anyhow::Result<Signer> {
    let namespace = options.fsm_namespace.as_str();
    let provider = match options.provider.certificate_manager {
        ProviderKind::Tresor => tresor(options, api_server)?,
        ProviderKind::Vault => Provider::Vault(options.provider.vault(api_server, namespace)?),
        ProviderKind::CertManager => {
            let client = api_server.context("--certificate-manager cert-manager needs an API server")?;
            Provider::CertManager(client.clone(), options.provider.cert_manager(namespace)?)
        }
    };
    let opened = Signer::open(provider, Arc::new(SystemTime::now)).await;
    opened.context("cannot open the certificate authority")
}

fn tresor(options: &Options, api_server: Option<&kube::Client>) -> anyhow::Result<Provider> {
    let settings = TresorSettings { root_key: options.ca_key, announce: options.ca_announce };
    let place = match (&options.state_dir, api_server) {
        (Some(directory), _) => Place::Directory(directory.clone()),
        (None, Some(client)) if options.source == Source::Kubernetes => {
            let place = SecretPlace {
                namespace: options.fsm_namespace.clone(),
                name: options.ca_bundle_secret_name.clone(),
                mesh: options.mesh_name.clone(),
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

/// A connection to the API server, where something needs one.
async fn connect(options: &Options) -> anyhow::Result<Option<kube::Client>> {
    let needed = options.source == Source::Kubernetes
        || matches!(options.tokens, Tokens::Kubernetes { .. })
        || options.provider.needs_api_server();
    Ok(if needed { Some(kubernetes::connect().await?) } else { None })
}

/// What of the cluster is followed.
fn followed(options: &Options) -> kubernetes::Settings {
    kubernetes::Settings {
        mesh_name: options.mesh_name.clone(),
        fsm_namespace: options.fsm_namespace.clone(),
        interest: kubernetes::Interest::Mesh,
    }
}

fn tokens(options: &Options, api_server: Option<&kube::Client>) -> anyhow::Result<Arc<dyn TokenReview>> {
    Ok(match &options.tokens {
        Tokens::Directory(path) => Arc::new(TokenDirectory::new(path)),
        Tokens::Kubernetes { audience } => {
            let client = api_server.context("there is no connection to an API server that knows tokens")?;
            Arc::new(ClusterTokens::new(client.clone(), audience.clone()))
        }
    })
}

fn push(options: &Options, issuer: &Arc<dyn Issuer>, tokens: Arc<dyn TokenReview>) -> Push {
    let roster = Arc::new(Roster::default());
    Push {
        board: Arc::new(Board::default()),
        telemetry: Arc::new(Telemetry::new(&roster)),
        roster,
        issuer: issuer.clone(),
        tokens,
        trust_domain: options.trust_domain.clone(),
        settings: ArcSwap::from_pointee(Settings::default()),
    }
}

async fn serve_webhook(
    listener: TcpListener,
    facts: OwnerFacts,
    options: &Options,
    push: &Push,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let tls = ServerTls::start(push.issuer.clone(), options.webhook_names(), None);
    let tls = Arc::new(tls.await.context("cannot make the webhook's own certificate")?);
    let webhook = Webhook { facts, settings: options.injection(), telemetry: push.telemetry.clone() };
    tasks.spawn(webhook::serve(listener, Arc::new(webhook), tls.clone(), stop.clone()));
    let stop = stop.clone();
    tasks.spawn(async move { tls.maintain(stop).await });
    Ok(())
}

/// Whoever keeps Secrets and statuses, if there is a place for them.
fn keeper(
    options: &Options,
    api_server: Option<&kube::Client>,
    issuer: &Arc<dyn Issuer>,
    push: &Push,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<Option<(Keeper, watch::Sender<Arc<Situation>>)>> {
    let owner = Owner::of_mesh(&options.mesh_name);
    let writer: Arc<dyn Writer> = match &options.write_objects {
        None => return Ok(None),
        Some(WriteTo::Directory(directory)) => Arc::new(directory_writer(options, directory, &owner)?),
        Some(WriteTo::Kubernetes) => {
            anyhow::ensure!(
                options.source == Source::Kubernetes,
                "--write-objects kubernetes needs --source kubernetes"
            );
            let client = api_server.context("there is no connection to an API server to write to")?;
            Arc::new(ClusterWriter::new(client.clone(), owner.clone()))
        }
    };
    let (told, situation) = watch::channel(Arc::default());
    let (issuer, telemetry) = (issuer.clone(), push.telemetry.clone());
    Ok(Some((Keeper { owner, situation, issuer, writer, events, telemetry }, told)))
}

/// Whoever keeps the roots in every namespace of a cluster.
fn bundles(
    options: &Options,
    api_server: Option<&kube::Client>,
    issuer: &Arc<dyn Issuer>,
    situation: Option<&watch::Sender<Arc<Situation>>>,
    events: &mpsc::Sender<Event>,
) -> Option<BundleKeeper> {
    let client = api_server.filter(|_| options.write_objects == Some(WriteTo::Kubernetes))?;
    Some(BundleKeeper {
        client: client.clone(),
        owner: Owner::of_mesh(&options.mesh_name),
        fsm_namespace: options.fsm_namespace.clone(),
        situation: situation?.subscribe(),
        issuer: issuer.clone(),
        events: events.clone(),
    })
}

fn directory_writer(options: &Options, directory: &Path, owner: &Owner) -> anyhow::Result<DirectoryWriter> {
    let writer = DirectoryWriter::open(directory, owner.clone()).context("cannot write objects (--write-objects)")?;
    let Source::Directory(source) = &options.source else {
        anyhow::bail!("--write-objects {} is a directory, but --source is none", directory.display());
    };
    // Whatever is written must come back, or it would be missed and written again and again.
    let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    anyhow::ensure!(
        real(directory)?.starts_with(real(source)?),
        "--write-objects {} is not in the directory of --source, {}, so that what is written there would not be seen",
        directory.display(),
        source.display()
    );
    Ok(writer)
}

/// Whether this fsm-control is the one that writes, and that changes the roots: in a cluster, one of all replicas is.
fn stand(
    options: &Options,
    cluster: Option<&kube::Client>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Leadership {
    let shares = options.write_objects == Some(WriteTo::Kubernetes) || options.state_dir.is_none();
    let Some(client) = cluster.filter(|_| shares) else { return Leadership::always() };
    let settings = LeaseSettings {
        namespace: options.fsm_namespace.clone(),
        name: leader::LEASE_NAME.to_owned(),
        candidate: options.pod_name.clone(),
        terms: Terms::default(),
    };
    let (candidate, leadership) = Candidate::new(client.clone(), settings);
    tasks.spawn(candidate.run(stop.clone()));
    leadership
}

fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    server::bind(address).with_context(|| format!("cannot listen on {address} ({flag})"))
}

fn write_ready(file: &Path, addresses: &serde_json::Value) -> anyhow::Result<()> {
    crate::cert::server::write_whole(file, format!("{addresses}\n").as_bytes())
        .with_context(|| format!("cannot write {} (--ready-file)", file.display()))
}

/// Ends with the first signal to end.
fn pin_signals() -> anyhow::Result<std::pin::Pin<Box<impl Future<Output = ()>>>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }))
}
