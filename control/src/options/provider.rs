//! Flags about who issues certificates, with FSM's names.

use crate::cert::cert_manager::CertManagerSettings;
use crate::cert::vault::{TokenSource, VaultAddress, VaultSettings};
use clap::{Args, ValueEnum};
use fsm_api::resources::root_certificate::VaultProvider;
use kube::Client;
use std::path::PathBuf;
use thiserror::Error;

/// Who issues certificates.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Certificate provider")]
pub struct ProviderOptions {
    /// Who signs certificates: tresor, fsm-control itself; vault, a Vault or OpenBao; cert-manager
    #[arg(long, env = "FSM_CONTROL_CERTIFICATE_MANAGER", value_name = "PROVIDER", default_value = "tresor")]
    pub certificate_manager: ProviderKind,
    /// Host of the Vault
    #[arg(long, env = "FSM_CONTROL_VAULT_HOST", value_name = "HOST", default_value = "", hide_default_value = true)]
    pub vault_host: String,
    /// Port of the Vault
    #[arg(long, env = "FSM_CONTROL_VAULT_PORT", value_name = "PORT", default_value_t = 8200)]
    pub vault_port: u16,
    /// How to speak to the Vault. With http whoever is on the way can take its token
    #[arg(long, env = "FSM_CONTROL_VAULT_PROTOCOL", value_name = "PROTOCOL", default_value = "http",
        value_parser = ["http", "https"])]
    pub vault_protocol: String,
    /// Roots that the Vault's own certificate hangs on (PEM) [default: this system's]
    #[arg(long, env = "FSM_CONTROL_VAULT_CA_FILE", value_name = "FILE")]
    pub vault_ca_file: Option<PathBuf>,
    /// Path that the Vault's PKI engine is mounted at; it should be the mesh's own, for all its issuers are trusted
    #[arg(long, env = "FSM_CONTROL_VAULT_MOUNT", value_name = "PATH", default_value = "pki")]
    pub vault_mount: String,
    /// Role of the PKI engine that certificates are asked for with
    #[arg(long, env = "FSM_CONTROL_VAULT_ROLE", value_name = "ROLE", default_value = "flomesh")]
    pub vault_role: String,
    /// Token for the Vault; better in a Secret or a file, for everybody on the machine sees a command line
    #[arg(
        long,
        env = "FSM_CONTROL_VAULT_TOKEN",
        value_name = "TOKEN",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub vault_token: String,
    /// File with the token for the Vault, read again when it does not work any more
    #[arg(long, env = "FSM_CONTROL_VAULT_TOKEN_FILE", value_name = "FILE")]
    pub vault_token_file: Option<PathBuf>,
    /// Secret in --fsm-namespace with the token for the Vault, read again when it does not work any more
    #[arg(
        long,
        env = "FSM_CONTROL_VAULT_TOKEN_SECRET_NAME",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub vault_token_secret_name: String,
    /// Key of that Secret
    #[arg(
        long,
        env = "FSM_CONTROL_VAULT_TOKEN_SECRET_KEY",
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    pub vault_token_secret_key: String,
    /// Name of cert-manager's issuer
    #[arg(long, env = "FSM_CONTROL_CERT_MANAGER_ISSUER_NAME", value_name = "NAME", default_value = "fsm-ca")]
    pub cert_manager_issuer_name: String,
    /// Kind of cert-manager's issuer: Issuer (in --fsm-namespace), ClusterIssuer, or an external one's
    #[arg(long, env = "FSM_CONTROL_CERT_MANAGER_ISSUER_KIND", value_name = "KIND", default_value = "Issuer")]
    pub cert_manager_issuer_kind: String,
    /// API group of that kind
    #[arg(
        long,
        env = "FSM_CONTROL_CERT_MANAGER_ISSUER_GROUP",
        value_name = "GROUP",
        default_value = "cert-manager.io"
    )]
    pub cert_manager_issuer_group: String,
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProviderKind {
    /// fsm-control itself.
    Tresor,
    /// A Vault or OpenBao.
    Vault,
    /// cert-manager.
    CertManager,
}

/// Flags that do not go together, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ProviderError(String);

impl ProviderOptions {
    /// Whether an API server is needed for the provider itself.
    pub fn needs_api_server(&self) -> bool {
        match self.certificate_manager {
            ProviderKind::Tresor => false,
            ProviderKind::Vault => !self.vault_token_secret_name.is_empty(),
            ProviderKind::CertManager => true,
        }
    }

    /// The Vault.
    ///
    /// # Errors
    /// Something is missing, or said twice.
    pub fn vault(&self, client: Option<&Client>, namespace: &str) -> Result<VaultSettings, ProviderError> {
        let wrong = |what: &str| Err(ProviderError(what.to_owned()));
        if self.vault_host.is_empty() {
            return wrong("--certificate-manager vault needs --vault-host: the host name or address of the Vault");
        }
        if self.vault_role.is_empty() || self.vault_mount.trim_matches('/').is_empty() {
            return wrong("--vault-role and --vault-mount must not be empty; FSM's are flomesh and pki");
        }
        let secret = (self.vault_token_secret_name.as_str(), self.vault_token_secret_key.as_str());
        let given = !self.vault_token.is_empty();
        let file = self.vault_token_file.as_ref();
        if usize::from(given) + usize::from(file.is_some()) + usize::from(!secret.0.is_empty()) > 1 {
            return wrong("give one of --vault-token, --vault-token-file and --vault-token-secret-name, not several");
        }
        let token = match (secret, file, client) {
            (("", ""), None, _) if given => TokenSource::Given(self.vault_token.clone()),
            (("", ""), Some(file), _) => TokenSource::File(file.clone()),
            (("", ""), None, _) => {
                return wrong(
                    "--certificate-manager vault needs a token: --vault-token-secret-name and --vault-token-secret-key \
                     (a Secret in --fsm-namespace), --vault-token-file, or --vault-token",
                );
            }
            (("", _) | (_, ""), _, _) => {
                return wrong("--vault-token-secret-name and --vault-token-secret-key go together: give both");
            }
            ((name, key), _, Some(client)) => TokenSource::Secret {
                client: client.clone(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                key: key.to_owned(),
            },
            _ => return wrong("--vault-token-secret-name needs an API server; give --vault-token-file instead"),
        };
        Ok(VaultSettings {
            address: VaultAddress {
                protocol: self.vault_protocol.clone(),
                host: self.vault_host.clone(),
                port: self.vault_port,
                ca_file: self.vault_ca_file.clone(),
            },
            mount: self.vault_mount.trim_matches('/').to_owned(),
            role: self.vault_role.clone(),
            token,
        })
    }

    /// The Vault of a MeshRootCertificate; what it has no field for is as the flags say.
    ///
    /// # Errors
    /// Something is missing.
    pub fn vault_of(&self, spec: &VaultProvider, client: &Client) -> Result<VaultSettings, ProviderError> {
        let reference = &spec.token.secret_key_ref;
        let own = Self {
            vault_host: spec.host.clone(),
            vault_port: spec.port,
            vault_protocol: spec.protocol.clone(),
            vault_role: spec.role.clone(),
            vault_token: String::new(),
            vault_token_file: None,
            vault_token_secret_name: reference.name.clone(),
            vault_token_secret_key: reference.key.clone(),
            ..self.clone()
        };
        own.vault(Some(client), &reference.namespace)
    }

    /// cert-manager's issuer.
    ///
    /// # Errors
    /// Something is missing.
    pub fn cert_manager(&self, namespace: &str) -> Result<CertManagerSettings, ProviderError> {
        for (flag, value) in [
            ("--cert-manager-issuer-name", &self.cert_manager_issuer_name),
            ("--cert-manager-issuer-kind", &self.cert_manager_issuer_kind),
            ("--cert-manager-issuer-group", &self.cert_manager_issuer_group),
        ] {
            if value.is_empty() {
                return Err(ProviderError(format!(
                    "--certificate-manager cert-manager needs {flag}: see `kubectl get issuers,clusterissuers -A`"
                )));
            }
        }
        Ok(CertManagerSettings {
            namespace: namespace.to_owned(),
            issuer_name: self.cert_manager_issuer_name.clone(),
            issuer_kind: self.cert_manager_issuer_kind.clone(),
            issuer_group: self.cert_manager_issuer_group.clone(),
        })
    }
}
