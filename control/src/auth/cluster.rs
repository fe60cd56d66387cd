//! Tokens of a cluster: its API server says whose a token is (TokenReview of `authentication.k8s.io/v1`).
//!
//! Only tokens of service accounts that were made for a pod count: those that kubelets project into pods. The API server
//! refuses such a token once its pod is gone, so a leaked one is worth nothing after that; tokens from Secrets, which
//! never expire, and tokens for people are refused here. Where an audience is set, tokens for another one (the API server's
//! own, for example) are refused too, and the token of a proxy opens no door but fsm-control's.
//!
//! Answers are kept for seconds, because a mesh that reconnects asks the same again; a deleted pod's token is refused that
//! much later. Every question has a deadline, and only so many are asked at once.

use super::{Caller, ReviewError, ReviewFuture, Token, TokenReview};
use crate::cert::Identity;
use crate::source::kubernetes::describe;
use k8s_openapi::api::authentication::v1::{
    TokenReview as Review, TokenReviewSpec, TokenReviewStatus as Status, UserInfo,
};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

/// An answer is given again for so long.
pub(super) const KEPT: Duration = Duration::from_secs(5);

/// For a question, waiting for its turn included.
const DEADLINE: Duration = Duration::from_secs(8);

/// Questions at once: after a restart all proxies of a mesh come together, and the API server limits what it is asked.
const AT_ONCE: usize = 32;

/// Answers that are kept; beyond it the oldest half is forgotten.
const MOST_KEPT: usize = 8192;

/// How every service account's user name begins.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The API server's knowledge of tokens.
#[derive(Clone, Debug)]
pub struct ClusterTokens {
    inner: Arc<Inner>,
}

struct Inner {
    reviews: Api<Review>,
    audience: Option<String>,
    turns: Semaphore,
    kept: Mutex<Kept>,
}

/// By fingerprint: when it was said, and whose the token is; `None`: nobody's.
type Kept = HashMap<String, (Instant, Option<Caller>)>;

impl ClusterTokens {
    /// Asks through this client. Tokens must be for `audience`; `None`: for the API server itself, which is what a token
    /// is for that names no audience.
    pub fn new(client: Client, audience: Option<String>) -> Self {
        let inner = Inner {
            reviews: Api::all(client),
            audience: audience.filter(|audience| !audience.is_empty()),
            turns: Semaphore::new(AT_ONCE),
            kept: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl TokenReview for ClusterTokens {
    fn review<'a>(&'a self, token: &'a Token) -> ReviewFuture<'a> {
        Box::pin(async move {
            let fingerprint = token.fingerprint();
            if let Some(answer) = remembered(&self.inner.kept.lock(), &fingerprint, Instant::now()) {
                return answer.ok_or(ReviewError::Refused);
            }
            let asked = Instant::now();
            let caller = match timeout(DEADLINE, self.inner.ask(token)).await {
                Ok(answer) => answer?,
                Err(_) => return Err(ReviewError::Unavailable("the API server does not answer".to_owned())),
            };
            remember(&mut self.inner.kept.lock(), fingerprint, asked, caller.clone());
            caller.ok_or(ReviewError::Refused)
        })
    }
}

impl Inner {
    async fn ask(&self, token: &Token) -> Result<Option<Caller>, ReviewError> {
        let unavailable = |reason: String| ReviewError::Unavailable(reason);
        let _turn = self.turns.acquire().await.map_err(|error| unavailable(error.to_string()))?;
        let spec = TokenReviewSpec {
            token: token.expose().to_owned(),
            audiences: self.audience.clone().map(|audience| vec![audience]),
        };
        let review = Review { spec, ..Review::default() };
        let answer = self.reviews.create(&PostParams::default(), &review).await;
        let status = answer.map(|review| review.status.unwrap_or_default()).map_err(|error| {
            let reason = describe(&error);
            match error {
                kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                    warn!("fsm-control may not create tokenreviews.authentication.k8s.io, so nobody gets a certificate: {reason}");
                    unavailable("the API server does not let fsm-control ask".to_owned())
                }
                _ => {
                    debug!("a token cannot be reviewed: {reason}");
                    unavailable("the API server cannot be asked".to_owned())
                }
            }
        })?;
        judge(&status, self.audience.as_deref())
    }
}

/// Whose token it is, from what the API server says about it; `None`: nobody's whom fsm-control knows.
fn judge(status: &Status, audience: Option<&str>) -> Result<Option<Caller>, ReviewError> {
    if status.authenticated != Some(true) {
        debug!("a token is refused: {}", status.error.as_deref().unwrap_or("the API server does not know it"));
        return Ok(None);
    }
    // A server that does not know audiences leaves them out, and then every token of the cluster would do.
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if let Some(audience) = audience
        && !audiences.iter().any(|said| said == audience)
    {
        debug!("a token is refused: it is for {audiences:?}, not for {audience}");
        return Ok(None);
    }
    let Some(user) = &status.user else { return Ok(None) };
    let name = user.username.as_deref().unwrap_or_default();
    let Some((namespace, account)) = name.strip_prefix(SERVICE_ACCOUNT).and_then(|name| name.split_once(':')) else {
        debug!("a token is refused: {name:?} is no service account");
        return Ok(None);
    };
    let (pod, uid) = (extra(user, POD_NAME), extra(user, POD_UID));
    let (Some(pod), Some(uid)) = (pod, uid) else {
        warn!("a token of service account {namespace}/{account} is refused: it was not made for a pod");
        return Ok(None);
    };
    let identity = Identity::new(namespace, account)?;
    Ok(Some(Caller { identity, pod: pod.to_owned(), uid: uid.to_owned() }))
}

fn extra<'a>(user: &'a UserInfo, name: &str) -> Option<&'a str> {
    match user.extra.as_ref()?.get(name)?.as_slice() {
        [value] if !value.is_empty() => Some(value),
        _ => None,
    }
}

/// An answer that is still good.
fn remembered(kept: &Kept, fingerprint: &str, now: Instant) -> Option<Option<Caller>> {
    let (said, answer) = kept.get(fingerprint)?;
    (now.duration_since(*said) < KEPT).then(|| answer.clone())
}

fn remember(kept: &mut Kept, fingerprint: String, said: Instant, answer: Option<Caller>) {
    if kept.len() >= MOST_KEPT {
        kept.retain(|_, (before, _)| said.saturating_duration_since(*before) < KEPT);
    }
    if kept.len() >= MOST_KEPT {
        let mut ages: Vec<Instant> = kept.values().map(|(before, _)| *before).collect();
        ages.sort_unstable();
        let middle = ages.get(ages.len() / 2).copied().unwrap_or(said);
        kept.retain(|_, (before, _)| *before > middle);
    }
    kept.insert(fingerprint, (said, answer));
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ClusterTokens").field("audience", &self.audience).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
