//! The webhooks that the controller serves: the validator's, and, where it is the injector too, that one's.

use super::controller::world_settings;
use super::standing::{Standing, listen, with_port};
use crate::cert::Issuer;
use crate::leader::Leadership;
use crate::limits;
use crate::options::controller::VALIDATOR_SERVICE;
use crate::options::{ControllerOptions, injector};
use crate::reconcile::Cluster;
use crate::source::Source;
use crate::telemetry::Telemetry;
use crate::webhook::configuration::{Registration, Webhooks};
use crate::webhook::{OwnerFacts, Validator, Webhook};
use serde_json::Value;
use std::sync::Arc;

/// What both stand on.
pub(super) struct Ground<'a> {
    pub(super) standing: &'a Standing,
    pub(super) options: &'a ControllerOptions,
    pub(super) api_server: Option<&'a kube::Client>,
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) telemetry: Arc<Telemetry>,
}

impl Ground<'_> {
    /// Serves what the flags ask for, and notes the addresses.
    pub(super) async fn serve(
        &self,
        owner: OwnerFacts,
        leadership: Leadership,
        addresses: &mut Value,
    ) -> anyhow::Result<()> {
        if self.options.listen_webhook.is_some() {
            addresses["webhook"] = self.serve_injector(owner.clone()).await?.into();
        }
        if self.options.listen_validator.is_some() {
            addresses["validator"] = self.serve_validator(owner, leadership).await?.into();
        }
        Ok(())
    }

    async fn serve_injector(&self, facts: OwnerFacts) -> anyhow::Result<Option<String>> {
        let Self { standing, options, .. } = self;
        let Some(address) = options.listen_webhook else { return Ok(None) };
        let listener = listen(address, "--listen-webhook")?;
        let address = listener.local_addr()?.to_string();
        let native = standing.native(options.injection.native_sidecars, self.api_server);
        let settings = options.injection.settings(&options.mesh);
        let names = options.certificates.names_of(injector::SERVICE, &options.mesh.fsm_namespace);
        let webhook = Webhook { facts, settings, native, telemetry: self.telemetry.clone() };
        standing.serve_webhook(listener, webhook, self.issuer.clone(), names).await?;
        Ok(Some(address))
    }

    /// Keeps the configuration in the cluster, too, if there is one.
    async fn serve_validator(&self, owner: OwnerFacts, leadership: Leadership) -> anyhow::Result<Option<String>> {
        let Self { standing, options, .. } = self;
        let Some(address) = options.listen_validator else { return Ok(None) };
        let listener = listen(address, "--listen-validator")?;
        let address = listener.local_addr()?;
        let mesh = &options.mesh;
        let validator = Validator::new(owner, world_settings(mesh), self.telemetry.clone());
        let names = options.certificates.names_of(VALIDATOR_SERVICE, &mesh.fsm_namespace);
        standing.serve_webhook(listener, validator, self.issuer.clone(), names).await?;
        if let Some(client) = self.api_server.filter(|_| options.source == Source::Kubernetes) {
            let webhooks = Webhooks::Validator { traffic_targets: options.validate_traffic_target };
            let name = options.validator_webhook_config.clone();
            let registration = Registration {
                name: name.unwrap_or_else(|| webhooks.usual_name(&mesh.mesh_name)),
                mesh: mesh.mesh_name.clone(),
                fsm_namespace: mesh.fsm_namespace.clone(),
                timeout: limits::VALIDATOR_TIMEOUT,
                url: with_port(options.validator_url.as_ref(), address.port()),
                reconciled: options.upkeep.enable_reconciler,
            };
            let (cluster, issuer) = (Cluster::new(client.clone()), self.issuer.clone());
            standing.keep_registered(webhooks, registration, cluster, issuer, leadership, &self.telemetry);
        }
        Ok(Some(address.to_string()))
    }
}
