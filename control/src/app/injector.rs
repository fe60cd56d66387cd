//! The injector: the webhook that puts sidecars into new pods, with what it needs of the world.
//!
//! It follows the mesh's Namespaces and MeshConfig, and nothing else. Ready means: these were read once and the port
//! listens. When it is not there, pods of the mesh's namespaces are not admitted, and all others are.

use super::controller::{EVENTS_AHEAD, followed, world_settings};
use super::standing::{Standing, listen, open_signer, with_port};
use crate::admin::Vitals;
use crate::leader::Leadership;
use crate::options::InjectorOptions;
use crate::options::injector::SERVICE;
use crate::push::Roster;
use crate::reconcile::Cluster;
use crate::source::kubernetes::{self, Interest};
use crate::telemetry::Telemetry;
use crate::webhook::configuration::{Registration, Webhooks};
use crate::webhook::{FollowedFacts, Webhook};
use crate::world::World;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::info;

/// The Lease of the replica that writes.
const LEASE: &str = "fsm-injector.flomesh.io";

pub(super) async fn run(options: InjectorOptions) -> anyhow::Result<()> {
    let standing = Standing::default();
    let client = kubernetes::connect().await?;
    let signer = open_signer(&options.certificates, &options.mesh, Some(&client)).await?;
    let issuer = signer.issuer();
    // Shared roots are changed by a controller, and followed here.
    let leads = if options.certificates.state_dir.is_some() { Leadership::always() } else { Leadership::never() };
    standing.tasks.spawn(signer.tend(leads, None, standing.stop.clone()));
    let telemetry = Arc::new(Telemetry::new(&Arc::new(Roster::default())));
    let webhook_port = listen(options.listen_webhook, "--listen-webhook")?;
    let admin_port = listen(options.operation.listen_admin, "--listen-admin")?;
    let port = webhook_port.local_addr()?.port();
    let addresses = json!({
        "pid": std::process::id(),
        "webhook": webhook_port.local_addr()?.to_string(),
        "admin": admin_port.local_addr()?.to_string(),
    });

    let (events, source_events) = mpsc::channel(EVENTS_AHEAD);
    let world = World::new(world_settings(&options.mesh));
    let (facts, follower) = FollowedFacts::new(world, source_events, telemetry.clone());
    let ready = facts.ready();
    standing.tasks.spawn(follower.run(standing.stop.clone()));
    let following = kubernetes::follow(client.clone(), followed(&options.mesh, Interest::Injection), events);

    let native = standing.native(options.injection.native_sidecars, Some(&client));
    let settings = options.injection.settings(&options.mesh);
    let names = options.certificates.names_of(SERVICE, &options.mesh.fsm_namespace);
    let webhook = Webhook { facts, settings, native, telemetry: telemetry.clone() };
    standing.serve_webhook(webhook_port, webhook, issuer.clone(), names).await?;
    let registration = registration(&options, port);
    let leadership = standing.candidate(client.clone(), LEASE, &options.mesh);
    standing.keep_registered(Webhooks::Injector, registration, Cluster::new(client), issuer, leadership, &telemetry);
    let waits_for = "Namespaces and MeshConfig have not been read yet";
    let vitals = Vitals { telemetry, ready: ready.clone(), waits_for };
    standing.tasks.spawn(vitals.serve(admin_port, standing.stop.clone()));

    standing.stand(ready, &addresses, &options.operation).await?;
    info!("ending");
    drop(following);
    standing.end().await;
    Ok(())
}

fn registration(options: &InjectorOptions, port: u16) -> Registration {
    let mesh = &options.mesh.mesh_name;
    let name = options.webhook_config_name.clone();
    Registration {
        name: name.unwrap_or_else(|| Webhooks::Injector.usual_name(mesh)),
        mesh: mesh.clone(),
        fsm_namespace: options.mesh.fsm_namespace.clone(),
        timeout: options.webhook_timeout,
        url: with_port(options.webhook_url.as_ref(), port),
        reconciled: options.upkeep.enable_reconciler,
    }
}
