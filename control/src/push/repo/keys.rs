//! Documents with certificate and private key in them, as FSM publishes them; only where `--repo-private-keys` asks for it.
//!
//! One key for each service account, made here and kept in memory only; renewed at two thirds of its validity and when
//! the roots change, which is another version of the code base.

use crate::cert::server::KeyAndChain;
use crate::cert::{Identity, LeafNames, TrustBundle, renew_after};
use crate::push::{Publication, Push};
use bytes::Bytes;
use fsm_api::config::{Certificate, Config};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::sync::Mutex;

/// Keys by account.
#[derive(Debug)]
pub(super) struct Keys {
    push: Arc<Push>,
    accounts: Mutex<HashMap<Identity, Account>>,
}

#[derive(Debug)]
struct Account {
    certificate: Certificate,
    bundle: Arc<TrustBundle>,
    renew: Instant,
    /// Tells one certificate from the next.
    salt: u64,
    /// The latest document that it was put into, by its version.
    document: Option<(Arc<str>, Bytes)>,
}

impl Keys {
    pub(super) fn new(push: Arc<Push>) -> Self {
        Self { push, accounts: Mutex::default() }
    }

    /// The document with the account's certificate, and a number that changes with it.
    pub(super) async fn document(
        &self,
        identity: &Identity,
        publication: &Publication,
    ) -> Result<(Bytes, u64), String> {
        let mut accounts = self.accounts.lock().await;
        let bundle = self.push.issuer.trust_bundle();
        let usable = |account: &Account| account.renew > Instant::now() && Arc::ptr_eq(&account.bundle, &bundle);
        if !accounts.get(identity).is_some_and(usable) {
            let account = self.make(identity, bundle).await?;
            accounts.insert(identity.clone(), account);
        }
        let account = accounts.get_mut(identity).ok_or("the key was just put in")?;
        if let Some((version, document)) = &account.document
            && version == publication.version()
        {
            return Ok((document.clone(), account.salt));
        }
        let document = fill_in(publication, &account.certificate, account.salt)?;
        account.document = Some((publication.version().clone(), document.clone()));
        Ok((document, account.salt))
    }

    async fn make(&self, identity: &Identity, bundle: Arc<TrustBundle>) -> Result<Account, String> {
        let names = LeafNames::of_workload(identity, &self.push.trust_domain);
        let validity = self.push.settings.load().leaf_validity;
        let made = KeyAndChain::make(self.push.issuer.as_ref(), names, validity).await;
        let KeyAndChain { key, issued } = made.map_err(|error| error.to_string())?;
        self.push.telemetry.certificates.add();
        let remaining = issued.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let expires = jiff::Timestamp::try_from(issued.not_after).map_err(|error| error.to_string())?;
        let certificate = Certificate {
            common_name: identity.principal(&self.push.trust_domain),
            expiration: expires.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            private_key: key,
            issuing_ca: bundle.pem.clone(),
            cert_chain: issued.chain,
            ..Certificate::default()
        };
        let salt = u64::from_be_bytes(
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.cert_chain.as_bytes())
                .as_ref()
                .first_chunk()
                .copied()
                .unwrap_or_default(),
        );
        Ok(Account { certificate, bundle, renew: Instant::now() + renew_after(remaining, 0.5), salt, document: None })
    }
}

/// A mesh without mTLS has no certificate in its documents, and gets none.
fn fill_in(publication: &Publication, certificate: &Certificate, salt: u64) -> Result<Bytes, String> {
    let (mut config, _) = Config::read(publication.document()).map_err(|error| error.to_string())?;
    if let Some(own) = &mut config.certificate {
        own.clone_from(certificate);
        // To our own proxies an empty list means that certificates decide; to Pipy's scripts, that nobody may connect.
        if config.allowed_endpoints.is_empty() {
            let anywhere = ["0.0.0.0/0", "::/0"].map(|range| (range.to_owned(), "any member of the mesh".to_owned()));
            config.allowed_endpoints.extend(anywhere);
        }
    }
    config.version = Some(super::version(publication.version(), salt));
    serde_json::to_vec(&config).map(Into::into).map_err(|error| error.to_string())
}
