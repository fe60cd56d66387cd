//! The controller: everything that proxies need.
//!
//! Ready means: the source was read once, the documents of all groups are published, and all ports listen.

use super::standing::{Standing, listen, open_signer};
use super::webhooks::Ground;
use crate::admin::{self, Admin, Vitals};
use crate::auth::{ClusterTokens, TokenDirectory, TokenReview};
use crate::cert::Issuer;
use crate::cert::server::ServerTls;
use crate::controller::{self, Ends, Publisher};
use crate::debug::{self, Debug, Heap};
use crate::issued::{BundleKeeper, ClusterWriter, DirectoryWriter, Keeper, Ledger, Owner, Situation, Writer};
use crate::leader::{self, Leadership};
use crate::options::{ControllerOptions, MeshOptions, Tokens, WriteTo};
use crate::push::repo::{self, Repo};
use crate::push::{Board, Push, Roster, Settings, server};
use crate::source::kubernetes::{self, Interest};
use crate::source::{Event, Source};
use crate::telemetry::Telemetry;
use crate::webhook::OwnerFacts;
use crate::world::{self, World};
use anyhow::Context;
use arc_swap::ArcSwap;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};
use tracing::info;

/// Changes that the source may be ahead.
pub(super) const EVENTS_AHEAD: usize = 1024;

pub(super) async fn run(options: ControllerOptions, heap: Option<Arc<dyn Heap>>) -> anyhow::Result<()> {
    let standing = Standing::default();
    let (tasks, stop) = (&standing.tasks, &standing.stop);
    let api_server = connect(&options).await?;
    let signer = open_signer(&options.certificates, &options.mesh, api_server.as_ref()).await?;
    let (issuer, authority) = (signer.issuer(), Arc::new(admin::Authority::of(&signer)));
    let push = Arc::new(push(&options, &issuer, tokens(&options, api_server.as_ref())?));
    let tls = ServerTls::start(issuer.clone(), options.server_names(), options.write_ca_bundle.clone());
    let tls = Arc::new(tls.await.context("cannot make fsm-control's own certificate")?);

    let stream = listen(options.listen_stream, "--listen-stream")?;
    let admin_port = listen(options.operation.listen_admin, "--listen-admin")?;
    let repo_port = options.listen_repo.map(|address| listen(address, "--listen-repo")).transpose()?;
    let mut addresses = json!({
        "pid": std::process::id(),
        "stream": stream.local_addr()?.to_string(),
        "admin": admin_port.local_addr()?.to_string(),
    });

    let problems = Arc::new(ArcSwap::default());
    let world = World::new(world_settings(&options.mesh));
    let (events, source_events) = mpsc::channel(EVENTS_AHEAD);
    let (keeper, situation) = keeper(&options, api_server.as_ref(), &issuer, &push, events.clone())?.unzip();
    let bundles = bundles(&options, api_server.as_ref(), &issuer, situation.as_ref(), &events);
    let leadership = lead(&options, api_server.as_ref(), &standing);
    let changes_roots = match options.certificates.state_dir {
        Some(_) => Leadership::always(),
        None => leadership.clone(),
    };
    tasks.spawn(signer.tend(changes_roots, Some(events.clone()), stop.clone()));
    let mut ledger = Ledger::new(Owner::of_mesh(&options.mesh.mesh_name), options.server_names(), situation);
    if options.source == Source::Kubernetes {
        ledger = ledger.without_other_namespaces();
    }
    let publisher = Publisher::new(world, push.clone(), problems.clone()).with_ledger(ledger);
    let debug_wanted = publisher.wants_debug_server();
    let (queries, owner_queries) = mpsc::channel(16);
    let (ready, is_ready) = watch::channel(false);
    let ends = Ends { events: source_events, queries: owner_queries, ready, stop: stop.clone() };
    let owner = controller::start(publisher, ends).context("cannot start the thread that owns the world")?;
    let following = api_server.clone().map(|client| (client, followed(&options.mesh, Interest::Mesh)));
    let following = options.source.clone().follow(following, events)?;

    tasks.spawn(server::serve(stream, push.clone(), tls.clone(), stop.clone()));
    tasks.spawn({
        let stop = stop.clone();
        async move { tls.maintain(stop).await }
    });
    let ground = Ground {
        standing: &standing,
        options: &options,
        api_server: api_server.as_ref(),
        issuer: issuer.clone(),
        telemetry: push.telemetry.clone(),
    };
    let facts = OwnerFacts { queries: queries.clone(), ready: is_ready.clone() };
    ground.serve(facts, leadership.clone(), &mut addresses).await?;
    if let Some(bundles) = bundles {
        tasks.spawn(bundles.run_while_leading(leadership.clone(), stop.clone()));
    }
    if let Some(keeper) = keeper {
        tasks.spawn(keeper.run_while_leading(leadership, Arc::new(SystemTime::now), stop.clone()));
    }
    let vitals = Vitals {
        telemetry: push.telemetry.clone(),
        ready: is_ready.clone(),
        waits_for: "the source has not been read yet",
    };
    let debug = Debug {
        push: push.clone(),
        authority: authority.clone(),
        problems: problems.clone(),
        queries: queries.clone(),
        heap,
    };
    let told = watch::Sender::new(None);
    tasks.spawn(debug::serve_while_wanted(debug::PORT, Arc::new(debug), debug_wanted, stop.clone(), told));
    let admin = Admin { push: push.clone(), authority, problems, queries, vitals };
    tasks.spawn(admin::serve(admin_port, Arc::new(admin), stop.clone()));
    if let Some(port) = repo_port {
        addresses["repo"] = port.local_addr()?.to_string().into();
        let repo = Repo::open(push.clone(), options.repo_base.as_deref(), options.repo_private_keys)?;
        tasks.spawn(repo::serve(port, Arc::new(repo), stop.clone()));
    }

    standing.stand(is_ready, &addresses, &options.operation).await?;
    info!("ending; proxies keep what they have");
    drop(following);
    standing.end().await;
    // The owner has been told and waits for nothing but itself.
    tokio::task::spawn_blocking(move || owner.join()).await?.map_err(|_| anyhow::anyhow!("the owner task panicked"))
}

pub(super) fn world_settings(mesh: &MeshOptions) -> world::Settings {
    world::Settings {
        mesh_name: mesh.mesh_name.clone(),
        fsm_namespace: mesh.fsm_namespace.clone(),
        trust_domain: mesh.trust_domain.clone(),
        mesh_config_name: mesh.fsm_config_name.clone(),
    }
}

/// A connection to the API server, where something needs one.
async fn connect(options: &ControllerOptions) -> anyhow::Result<Option<kube::Client>> {
    let needed = options.source == Source::Kubernetes
        || matches!(options.tokens, Tokens::Kubernetes { .. })
        || options.certificates.provider.needs_api_server();
    Ok(if needed { Some(kubernetes::connect().await?) } else { None })
}

/// What of the cluster is followed.
pub(super) fn followed(mesh: &MeshOptions, interest: Interest) -> kubernetes::Settings {
    kubernetes::Settings { mesh_name: mesh.mesh_name.clone(), fsm_namespace: mesh.fsm_namespace.clone(), interest }
}

fn tokens(options: &ControllerOptions, api_server: Option<&kube::Client>) -> anyhow::Result<Arc<dyn TokenReview>> {
    Ok(match &options.tokens {
        Tokens::Directory(path) => Arc::new(TokenDirectory::new(path)),
        Tokens::Kubernetes { audience } => {
            let client = api_server.context("there is no connection to an API server that knows tokens")?;
            Arc::new(ClusterTokens::new(client.clone(), audience.clone()))
        }
    })
}

fn push(options: &ControllerOptions, issuer: &Arc<dyn Issuer>, tokens: Arc<dyn TokenReview>) -> Push {
    let roster = Arc::new(Roster::default());
    Push {
        board: Arc::new(Board::default()),
        telemetry: Arc::new(Telemetry::new(&roster)),
        roster,
        issuer: issuer.clone(),
        tokens,
        trust_domain: options.mesh.trust_domain.clone(),
        settings: ArcSwap::from_pointee(Settings::default()),
    }
}

/// Whoever keeps Secrets and statuses, if there is a place for them.
fn keeper(
    options: &ControllerOptions,
    api_server: Option<&kube::Client>,
    issuer: &Arc<dyn Issuer>,
    push: &Push,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<Option<(Keeper, watch::Sender<Arc<Situation>>)>> {
    let owner = Owner::of_mesh(&options.mesh.mesh_name);
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
    options: &ControllerOptions,
    api_server: Option<&kube::Client>,
    issuer: &Arc<dyn Issuer>,
    situation: Option<&watch::Sender<Arc<Situation>>>,
    events: &mpsc::Sender<Event>,
) -> Option<BundleKeeper> {
    let client = api_server.filter(|_| options.write_objects == Some(WriteTo::Kubernetes))?;
    Some(BundleKeeper {
        client: client.clone(),
        owner: Owner::of_mesh(&options.mesh.mesh_name),
        fsm_namespace: options.mesh.fsm_namespace.clone(),
        situation: situation?.subscribe(),
        issuer: issuer.clone(),
        events: events.clone(),
    })
}

/// Whether this controller is the one that writes, and that changes the roots: in a cluster, one of all replicas is.
fn lead(options: &ControllerOptions, api_server: Option<&kube::Client>, standing: &Standing) -> Leadership {
    let registers = options.listen_validator.is_some() && options.source == Source::Kubernetes;
    let writes = options.write_objects == Some(WriteTo::Kubernetes);
    let shares = writes || registers || options.certificates.state_dir.is_none();
    match api_server.filter(|_| shares) {
        Some(client) => standing.candidate(client.clone(), leader::LEASE_NAME, &options.mesh),
        None => Leadership::always(),
    }
}

fn directory_writer(options: &ControllerOptions, directory: &Path, owner: &Owner) -> anyhow::Result<DirectoryWriter> {
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
