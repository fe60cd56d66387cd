//! Which certificates are wished for, by whom, and which wishes cannot be granted.
//!
//! A certificate of the mesh's authority says who somebody is, so not every name is given to everybody: the names of the
//! control plane itself are given to nobody, and those of a workload of the mesh only to a policy of that workload's own
//! namespace (or of the control plane's, where only operators write).

use super::Ledger;
use super::status::FEATURE_FLAG;
use crate::cert::LeafNames;
use crate::world::{NamespacedName, Problem, Severity, World};
use fsm_api::resources::mesh_config::{IngressGatewayCertificate, MeshConfig};
use fsm_api::resources::policy::AccessCert;
use fsm_api::resources::{GoDuration, Kind, ObjectKey};
use k8s_openapi::api::core::v1::SecretReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// What FSM says where AccessCert is switched off.
const PROHIBITED: &str = "FSM is prohibited to issue certificates for external services.";

/// Certificates are valid for at least so long: with less, renewing is all that a mesh does.
const LEAST_VALIDITY: Duration = Duration::from_secs(60);

/// More names than any client has; a certificate with more is larger than what servers read of a handshake.
const MOST_NAMES: usize = 100;

/// A certificate that is to be kept in a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Who asks for it.
    pub owner: ObjectKey,
    /// Where it is put.
    pub secret: NamespacedName,
    /// What it says.
    pub names: Names,
    /// How long it is to be valid.
    pub validity: GoDuration,
}

/// The names of a certificate: at least one DNS name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Common name, and DNS name.
    first: String,
    /// Further DNS names.
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// All wishes, and what keeps others from being granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By the Secret that they are to be in.
    pub wishes: BTreeMap<NamespacedName, Wish>,
    /// Secrets of policies that are not granted; those that exist stay as they are.
    pub suspended: BTreeSet<NamespacedName>,
    /// The namespaces of the mesh.
    pub namespaces: BTreeSet<String>,
    /// Policies of other meshes.
    pub of_others: BTreeSet<ObjectKey>,
    /// Why which policy is not granted.
    pub problems: BTreeSet<Problem>,
}

impl Wanted {
    /// What the policies of a world ask for. `ledger` knows which Secrets are there.
    pub fn of(world: &World, ledger: &Ledger) -> Self {
        let mut clerk = Clerk { world, ledger, wanted: Self::default() };
        let monitored = world.namespaces().filter(|namespace| namespace.monitored);
        clerk.wanted.namespaces = monitored.map(|namespace| namespace.name.clone()).collect();
        if let Some(config) = world.mesh_config() {
            clerk.hear_mesh_config(config);
        }
        for policy in world.access_certs() {
            clerk.hear_access_cert(policy);
        }
        for policy in ledger.access_certs() {
            clerk.hear_outsider(policy);
        }
        let of_others = ledger.policies().filter(|policy| world.is_of_another_mesh(&policy.namespace));
        clerk.wanted.of_others = of_others.cloned().collect();
        clerk.wanted
    }
}

impl Names {
    /// Reads the names that a user wrote; the first is the common name too.
    ///
    /// # Errors
    /// Says what is wrong, and what would be right.
    pub(super) fn read(written: &[String]) -> Result<Self, String> {
        if written.len() > MOST_NAMES {
            return Err(format!("has {} names, and a certificate may have {MOST_NAMES}", written.len()));
        }
        let (mut dns, mut addresses) = (Vec::new(), Vec::new());
        for (index, name) in written.iter().map(|name| name.trim()).enumerate() {
            match name.parse::<IpAddr>() {
                Ok(_) if index == 0 => {
                    return Err(format!("begins with the address {name}; the first name must be a DNS name"));
                }
                Ok(address) if !addresses.contains(&address) => addresses.push(address),
                Err(_) if !is_dns_name(name) => {
                    return Err(format!(
                        "has {name:?}, which is neither a DNS name nor an address; write names like \
                         curl.curl.cluster.local, without *"
                    ));
                }
                Err(_) if !dns.iter().any(|known: &String| known.eq_ignore_ascii_case(name)) => {
                    dns.push(name.to_owned());
                }
                _ => {}
            }
        }
        if dns.is_empty() {
            return Err("has no name; write at least one".to_owned());
        }
        let first = dns.remove(0);
        Ok(Self { first, dns, addresses })
    }

    /// As the authority wants them.
    pub(super) fn leaf(&self) -> LeafNames {
        LeafNames {
            common_name: self.first.clone(),
            dns: self.dns.clone(),
            spiffe: None,
            addresses: self.addresses.clone(),
        }
    }

    /// As texts, without their order.
    pub(super) fn all(&self) -> BTreeSet<String> {
        self.dns().map(str::to_owned).chain(self.addresses.iter().map(IpAddr::to_string)).collect()
    }

    fn dns(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.first.as_str()).chain(self.dns.iter().map(String::as_str))
    }
}

/// What a policy asks for, unchecked.
struct Claim<'a> {
    owner: ObjectKey,
    names: &'a [String],
    /// Name of the field of the names.
    field: &'static str,
    secret: &'a SecretReference,
    validity: Duration,
}

struct Clerk<'a> {
    world: &'a World,
    ledger: &'a Ledger,
    wanted: Wanted,
}

impl Clerk<'_> {
    fn hear_mesh_config(&mut self, config: &MeshConfig) {
        let certificate = config.spec.certificate.as_ref();
        let Some(gateway) = certificate.and_then(|certificate| certificate.ingress_gateway.as_ref()) else { return };
        let owner = key(Kind::MeshConfig, &config.metadata);
        let granted = validity(gateway, &owner).and_then(|validity| {
            self.granted(Claim {
                owner,
                names: &gateway.subject_alt_names,
                field: "spec.certificate.ingressGateway.subjectAltNames",
                secret: &gateway.secret,
                validity,
            })
        });
        self.answer(granted, &gateway.secret);
    }

    fn hear_access_cert(&mut self, policy: &AccessCert) {
        let owner = key(Kind::AccessCert, &policy.metadata);
        let granted = match self.world.mesh().features.access_cert_policy {
            true => self.granted(Claim {
                owner,
                names: &policy.spec.subject_alt_names,
                field: "spec.subjectAltNames",
                secret: &policy.spec.secret,
                validity: self.world.mesh().certificate_validity,
            }),
            false => {
                let settings = self.world.settings();
                Err(error(
                    [owner],
                    "CertificatesProhibited",
                    format!(
                        "{PROHIBITED} Set featureFlags.{FEATURE_FLAG} of MeshConfig {}/{} to true to allow it",
                        settings.fsm_namespace, settings.mesh_config_name
                    ),
                ))
            }
        };
        self.answer(granted, &policy.spec.secret);
    }

    /// A policy of a namespace that is not in the mesh does not count. Of those of another mesh nothing is said.
    fn hear_outsider(&mut self, policy: &AccessCert) {
        let owner = key(Kind::AccessCert, &policy.metadata);
        let namespace = owner.namespace.clone();
        let counts = self.world.is_monitored(&namespace) || namespace == self.world.settings().fsm_namespace;
        if counts || self.world.is_of_another_mesh(&namespace) {
            return;
        }
        let text = format!(
            "has no effect because namespace {namespace} is not in the mesh; run `fsm namespace add {namespace}`, or \
             remove the object"
        );
        let problem = Problem { severity: Severity::Warning, ..error([owner], "NamespaceNotInMesh", text) };
        self.answer(Err(problem), &policy.spec.secret);
    }

    fn answer(&mut self, granted: Result<Wish, Problem>, secret: &SecretReference) {
        match granted {
            Ok(wish) => drop(self.wanted.wishes.insert(wish.secret.clone(), wish)),
            Err(problem) => {
                self.wanted.problems.insert(problem);
                self.wanted.suspended.extend(secret_name(secret));
            }
        }
    }

    fn granted(&self, claim: Claim<'_>) -> Result<Wish, Problem> {
        let Claim { owner, names, field, secret, validity } = claim;
        let Some(secret) = secret_name(secret) else {
            let text = "no certificate is issued because the Secret is not named, or no Secret can be named so; give \
                        its namespace and name";
            return Err(error([owner], "InvalidSecret", text.to_owned()));
        };
        let names = Names::read(names).map_err(|why| {
            let text = format!("no certificate is issued because {field} {why}");
            error([owner.clone()], "InvalidNames", text)
        })?;
        self.may_have(&owner, &names)?;
        let object = ObjectKey::new(Kind::Secret, &secret.namespace, &secret.name);
        if !self.ledger.is_writing() {
            let text = format!(
                "no certificate is issued because fsm-control has nowhere to put {object}: it was started without \
                 --write-objects"
            );
            return Err(error([owner], "NowhereToWrite", text));
        }
        // An API server always has the default one, written or not.
        let may_exist = secret.namespace == "default" || !self.ledger.sees_all_namespaces();
        if !may_exist && self.world.namespace(&secret.namespace).is_none() {
            let text = format!(
                "no certificate is issued because there is no namespace {} for {object}; create it",
                secret.namespace
            );
            return Err(error([owner, object], "UnknownNamespace", text));
        }
        if self.ledger.is_foreign(&secret) {
            let text = format!(
                "no certificate is issued because {object} exists and was not made by this control plane, so it is not \
                 overwritten; remove it, or name another Secret"
            );
            return Err(error([owner, object], "SecretConflict", text));
        }
        if let Some(first) = self.wanted.wishes.get(&secret) {
            let text = format!(
                "no certificate is issued because {} already has its certificate in {object}; name another Secret",
                first.owner
            );
            return Err(error([owner, first.owner.clone()], "SecretConflict", text));
        }
        Ok(Wish { owner, secret, names, validity: validity.max(LEAST_VALIDITY).into() })
    }

    /// Whether a policy may ask for names.
    fn may_have(&self, owner: &ObjectKey, names: &Names) -> Result<(), Problem> {
        let own = self.ledger.own_names();
        let of_control = names.dns().find(|name| own.dns.iter().any(|own| own.eq_ignore_ascii_case(name)));
        let of_control = of_control
            .map(str::to_owned)
            .or_else(|| names.addresses.iter().find(|address| own.addresses.contains(address)).map(IpAddr::to_string));
        if let Some(name) = of_control {
            let text = format!(
                "no certificate is issued because {name} is a name of the control plane itself: with it one could take \
                 its place towards every proxy; choose another name"
            );
            return Err(error([owner.clone()], "ReservedName", text));
        }
        if owner.kind == Kind::MeshConfig || owner.namespace == self.world.settings().fsm_namespace {
            return Ok(());
        }
        let of_others = names.dns().find_map(|name| {
            let namespace = self.namespace_of_principal(name)?;
            (namespace != owner.namespace && self.world.is_monitored(&namespace)).then_some((name, namespace))
        });
        let Some((name, namespace)) = of_others else { return Ok(()) };
        let text = format!(
            "no certificate is issued because {name} is the identity of a workload in namespace {namespace} of the mesh; \
             create the AccessCert in that namespace, or choose another name"
        );
        Err(error([owner.clone()], "ReservedName", text))
    }

    /// The namespace in `<account>.<namespace>.<trust domain>`.
    fn namespace_of_principal(&self, name: &str) -> Option<String> {
        let trust_domain = self.world.mesh().trust_domain.to_ascii_lowercase();
        let name = name.to_ascii_lowercase();
        let account = name.strip_suffix(&trust_domain)?.strip_suffix('.')?;
        account.rsplit_once('.').map(|(_, namespace)| namespace.to_owned())
    }
}

fn validity(gateway: &IngressGatewayCertificate, owner: &ObjectKey) -> Result<Duration, Problem> {
    let written = gateway.validity_duration.trim();
    match written.parse::<GoDuration>().map(Duration::from) {
        Ok(validity) if !validity.is_zero() => Ok(validity),
        _ => Err(error(
            [owner.clone()],
            "InvalidValidity",
            format!(
                "no certificate is issued because spec.certificate.ingressGateway.validityDuration {written:?} is no \
                 time; write for example 24h"
            ),
        )),
    }
}

/// `None` unless both parts are names that Kubernetes accepts; they become part of paths.
fn secret_name(secret: &SecretReference) -> Option<NamespacedName> {
    let (namespace, name) = (secret.namespace.as_deref()?, secret.name.as_deref()?);
    let label = |text: &str| is_label(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let whole = name.len() <= 253 && name.split('.').all(label) && label(namespace);
    whole.then(|| NamespacedName::new(namespace, name))
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

/// A part of a DNS name. Underscores are in no host's name, but in many others'.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn key(kind: Kind, metadata: &ObjectMeta) -> ObjectKey {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default");
    ObjectKey::new(kind, namespace, metadata.name.as_deref().unwrap_or_default())
}

fn error(objects: impl IntoIterator<Item = ObjectKey>, reason: &'static str, text: String) -> Problem {
    let objects = objects.into_iter().map(|object| object.to_string()).collect();
    Problem { severity: Severity::Error, objects, reason, text }
}
