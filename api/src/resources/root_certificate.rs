//! Where the mesh's certificates come from: MeshRootCertificate, `config.flomesh.io/v1alpha3` (v1alpha2 is the same).

use k8s_openapi::api::core::v1::SecretReference;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the mesh's certificates come from.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "config.flomesh.io",
    version = "v1alpha3",
    kind = "MeshRootCertificate",
    plural = "meshrootcertificates",
    shortname = "mrc",
    namespaced,
    status = "MeshRootCertificateStatus",
    derive = "PartialEq",
    doc = "MeshRootCertificate says where the mesh's certificates come from."
)]
#[serde(rename_all = "camelCase")]
pub struct MeshRootCertificateSpec {
    /// Trust domain of the certificates.
    pub trust_domain: String,
    /// Who issues them.
    pub provider: CertificateProvider,
}

/// Who issues certificates: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateProvider {
    /// cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<CertManagerProvider>,
    /// HashiCorp Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultProvider>,
    /// The mesh itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tresor: Option<TresorProvider>,
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertManagerProvider {
    /// Name of the issuer.
    pub issuer_name: String,
    /// `Issuer` or `ClusterIssuer`.
    pub issuer_kind: String,
    /// `cert-manager.io`.
    pub issuer_group: String,
}

/// A Vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultProvider {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Role that certificates are asked for with.
    pub role: String,
    /// `http` or `https`.
    pub protocol: String,
    /// Where the token is kept.
    pub token: VaultToken,
}

/// Where a Vault's token is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultToken {
    /// The Secret and its key.
    pub secret_key_ref: SecretKeyRef,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// The key.
    pub key: String,
    /// Namespace of the Secret.
    pub namespace: String,
}

/// The mesh's own certificate authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TresorProvider {
    /// Its root.
    pub ca: TresorCa,
}

/// Where the root of the mesh's own certificate authority is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TresorCa {
    /// The Secret.
    pub secret_ref: SecretReference,
}

/// How far a change of the root has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeshRootCertificateStatus {
    /// `validatingRollout`, `issuingRollout`, `active`, `issuingRollback`, `validatingRollback`, `inactive` or `error`.
    pub state: String,
}
