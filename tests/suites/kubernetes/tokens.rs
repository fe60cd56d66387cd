//! Whose a token is, as the API server says it.

use super::{account, namespace, pod, token, uid};
use fsm_control::auth::{Caller, ClusterTokens, ReviewError, Token, TokenReview};
use fsm_control::cert::Identity;
use fsm_tests::{api_server, eventually, within};
use kube::Client;

async fn review(client: &Client, audience: Option<&str>, token: &str) -> Result<Caller, ReviewError> {
    let token = Token::bearer(Some(format!("Bearer {token}").as_bytes())).unwrap();
    // A new one each time: nothing is remembered.
    let tokens = ClusterTokens::new(client.clone(), audience.map(str::to_owned));
    within("the token is reviewed", tokens.review(&token)).await
}

#[tokio::test]
async fn a_pods_token_is_believed_and_no_other() {
    let Some(server) = api_server().await else { return };
    let objects = namespace("tokens", "tokens") + &account("tokens", "buyer") + &pod("tokens", "buyer-0", "buyer");
    server.apply(&objects).await;
    let client = server.client().await;
    let pod_uid = uid(&server, "tokens", "buyer-0").await;
    let bound = Some(("buyer-0", pod_uid.as_str()));
    let good = token(&server, "tokens", "buyer", "fsm", bound).await;
    let expected =
        Caller { identity: Identity::new("tokens", "buyer").unwrap(), pod: "buyer-0".into(), uid: pod_uid.clone() };
    assert_eq!(review(&client, Some("fsm"), &good).await.unwrap(), expected);
    let own = "https://kubernetes.default.svc";
    let for_server = token(&server, "tokens", "buyer", own, bound).await;
    assert_eq!(review(&client, None, &for_server).await.unwrap(), expected);
    let unbound = token(&server, "tokens", "buyer", "fsm", None).await;
    let mut forged = good.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.insert(forged.len() - 40, last);
    for (audience, refused) in [
        (Some("fsm"), &for_server),
        (None, &good),
        (Some("other"), &good),
        (Some("fsm"), &unbound),
        (Some("fsm"), &forged),
        (Some("fsm"), &"nonsense".to_owned()),
    ] {
        let reviewed = review(&client, audience, refused).await;
        assert!(matches!(reviewed, Err(ReviewError::Refused)), "{audience:?}: {reviewed:?}");
    }
    // With the pod goes the token.
    let gone = server.kubectl(&["-n", "tokens", "delete", "pod", "buyer-0", "--grace-period=0", "--force"], "").await;
    assert_eq!(gone.code, 0, "{gone:?}");
    eventually("the token of a deleted pod is refused", async || {
        matches!(review(&client, Some("fsm"), &good).await, Err(ReviewError::Refused))
    })
    .await;
}

#[tokio::test]
async fn without_an_answer_nobody_is_believed_and_nobody_is_refused_for_good() {
    let Some(server) = api_server().await else { return };
    server.apply(&(namespace("unasked", "unasked") + &account("unasked", "sa"))).await;
    // Somebody who may not ask, and nobody to ask.
    let powerless = token(&server, "unasked", "sa", "https://kubernetes.default.svc", None).await;
    let forbidden = Client::try_from(server.config_with_token(&powerless).await).unwrap();
    let mut nowhere = server.config().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    nowhere.cluster_url = format!("https://{closed}").parse().unwrap();
    for client in [forbidden, Client::try_from(nowhere).unwrap()] {
        let reviewed = review(&client, Some("fsm"), "whatever").await;
        assert!(matches!(reviewed, Err(ReviewError::Unavailable(_))), "{reviewed:?}");
    }
}
