//! The pod's traffic goes through its sidecar.

use super::*;
use fsm_init::{Action, Options};

#[tokio::test]
async fn the_pod_s_traffic_goes_to_the_sidecar_s_ports_but_the_sidecar_s_own() {
    let Some(ground) = ground() else { return };
    let (client, server) = (ground.pod("shop", "client"), ground.pod("shop", "server"));
    greeter(&server, 8080, "application");
    greeter(&server, 15003, "inbound");
    greeter(&client, 15001, "outbound");
    let to = endpoint(&server, 8080).into();
    let outcome = server.redirect(&Options::default()).unwrap();
    assert!(outcome.backend.is_some());
    let heard = greeting(client.connect(to, PATIENCE).await).await.unwrap();
    assert!(heard.starts_with("inbound "), "{heard}");
    let heard = greeting(ground.node.connect(to, PATIENCE).await).await.unwrap();
    assert!(heard.starts_with("inbound "), "{heard}: as probes of a kubelet");
    client.redirect(&Options::default()).unwrap();
    let heard = greeting(client.connect(to, PATIENCE).await).await.unwrap();
    assert!(heard.starts_with("outbound "), "{heard}");
    // The sidecar's user gets through, the application does not.
    let script = format!("exec 3<>/dev/tcp/{}/8080; cat <&3", server.address());
    let (_, heard) = ground.run_as(&client, &["bash", "-c", &script], |process| process.user = User::SIDECAR).await;
    assert!(heard.starts_with("inbound "), "{heard}");
    let (_, heard) = ground.run(&client, &["bash", "-c", &script]).await;
    assert!(heard.starts_with("outbound "), "{heard}");
    for pod in [&client, &server] {
        pod.redirect(&Options { action: Action::Clean, ..Options::default() }).unwrap();
    }
    let heard = greeting(client.connect(to, PATIENCE).await).await.unwrap();
    assert!(heard.starts_with("application "), "{heard}");
}

#[tokio::test]
async fn many_pods_can_be_made_and_redirected_at_once() {
    let Some(ground) = ground() else { return };
    let names: Vec<String> = (0..8).map(|number| format!("pod-{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| ground.pod("many", name).redirect(&Options::default()).unwrap());
        }
    });
    let addresses: BTreeSet<Ipv4Addr> = ground.node.pods().iter().map(PodNamespace::address).collect();
    assert_eq!(addresses.len(), names.len());
}
