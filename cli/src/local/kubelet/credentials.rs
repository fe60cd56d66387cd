//! Tokens of pods, issued by the API server (TokenRequest), each for one pod and worth nothing after it.

use crate::local::workload::on_node::{Issued, Tokens};
use crate::local::workload::runtime::{PodId, TokenWish};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use std::time::{Duration, SystemTime};

/// A day, after which the kubelet renews even tokens that are good for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct ClusterTokens {
    client: Client,
    runtime: tokio::runtime::Handle,
}

impl ClusterTokens {
    /// To be made inside of the runtime that the client belongs to.
    pub(super) fn new(client: Client) -> Self {
        Self { client, runtime: tokio::runtime::Handle::current() }
    }
}

impl Tokens for ClusterTokens {
    fn issue(&self, pod: &PodId, wish: &TokenWish) -> Result<Issued, String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &pod.namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: wish.audience.clone().map(|audience| vec![audience]),
                expiration_seconds: i64::try_from(wish.lifetime.as_secs()).ok(),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(pod.name.clone()),
                    uid: Some(pod.uid.clone()),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let account = &wish.service_account;
        let parameters = PostParams::default();
        let asked = tokio::time::timeout(PATIENCE, accounts.create_token_request(account, &parameters, &request));
        let answer = self.runtime.block_on(asked).map_err(|_| "the API server does not answer".to_owned());
        let answer = answer.and_then(|answer| answer.map_err(|error| error.to_string()));
        let answer = answer.map_err(|why| format!("no token for the service account {account}: {why}"))?;
        let token = answer.status.and_then(|status| status.token).ok_or("the API server's answer has no token")?;
        // At four fifths, as the kubelet does.
        Ok(Issued { token, renew: Some(SystemTime::now() + (wish.lifetime * 4 / 5).min(LONGEST)) })
    }

    fn forget(&self, _pod: &PodId) {}
}
