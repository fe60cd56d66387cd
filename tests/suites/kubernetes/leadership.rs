//! Who holds the Lease.

use super::namespace;
use fsm_control::leader::{Candidate, Leadership, LeaseSettings, Terms};
use fsm_tests::{ApiServer, api_server, within};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Quick enough for a test; whole seconds are the least that a Lease can say.
const TERMS: Terms = Terms {
    lasts: Duration::from_secs(3),
    leads: Duration::from_secs(2),
    retry: Duration::from_millis(200),
    call: Duration::from_secs(5),
};

struct Standing {
    leadership: Leadership,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

async fn stand(server: &ApiServer, namespace: &str, name: &str) -> Standing {
    let settings = LeaseSettings {
        namespace: namespace.into(),
        name: "fsm-controller.flomesh.io".into(),
        candidate: name.into(),
        terms: TERMS,
    };
    let (candidate, leadership) = Candidate::new(server.client().await, settings);
    let stop = CancellationToken::new();
    Standing { leadership, task: tokio::spawn(candidate.run(stop.clone())), stop }
}

async fn lease(server: &ApiServer, namespace: &str, path: &str) -> String {
    let path = format!("jsonpath={path}");
    server.kubectl(&["-n", namespace, "get", "lease", "fsm-controller.flomesh.io", "-o", &path], "").await.stdout
}

#[tokio::test]
async fn one_of_two_leads_and_the_other_takes_over_when_it_falls_silent() {
    let Some(server) = api_server().await else { return };
    server.apply(&namespace("silent", "silent")).await;
    let mut first = stand(&server, "silent", "first").await;
    assert!(within("the first leads", first.leadership.changed()).await);
    let mut second = stand(&server, "silent", "second").await;
    // The Lease lasts three seconds: as long as the first one renews it, the second never leads.
    let waiting = tokio::time::timeout(TERMS.lasts + Duration::from_secs(1), second.leadership.changed());
    assert!(waiting.await.is_err() && first.leadership.leads() && !second.leadership.leads());
    assert!(lease(&server, "silent", "{.spec.holderIdentity}").await.starts_with("first_"));
    // It falls silent without giving anything back, as a process that is killed.
    first.task.abort();
    assert!(within("the second leads", second.leadership.changed()).await);
    assert!(!first.leadership.leads(), "never two at a time");
    assert!(!within("the first knows", first.leadership.changed()).await);
    assert!(lease(&server, "silent", "{.spec.holderIdentity}").await.starts_with("second_"));
    assert_eq!(lease(&server, "silent", "{.spec.leaseTransitions}").await, "1");
    second.stop.cancel();
    within("it ends", second.task).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_stops_gives_the_lease_back() {
    let Some(server) = api_server().await else { return };
    server.apply(&namespace("orderly", "orderly")).await;
    let mut first = stand(&server, "orderly", "first").await;
    assert!(within("the first leads", first.leadership.changed()).await);
    first.stop.cancel();
    within("it ends", first.task).await.unwrap();
    assert!(!first.leadership.leads());
    assert_eq!(lease(&server, "orderly", "{.spec.holderIdentity}").await, "");
    let mut second = stand(&server, "orderly", "second").await;
    // At its first look, not after the Lease has run out.
    let quick = tokio::time::timeout(TERMS.lasts, second.leadership.changed()).await;
    assert_eq!(quick, Ok(true));
    second.stop.cancel();
    within("it ends", second.task).await.unwrap();
}
