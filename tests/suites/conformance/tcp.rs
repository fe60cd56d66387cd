//! TCP services: bytes, ends, and destinations nobody configured.

use fsm_tests::{Application, BANNER, End, Pair, Scene, TcpApplication, Wire, http1};
use std::net::SocketAddr;

#[tokio::test]
async fn bytes_pass_both_ways_and_through_mtls() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.tcp).await;
    wire.send("ping").await;
    assert_eq!(wire.read_exact(4).await, b"ping");
    assert_eq!(pair.echo.peers()[0].ip().to_string(), "127.0.0.6");
}

#[tokio::test]
async fn ipv6_services_carry_tcp() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    scene.client_document = scene.client_document.clone().call(&scene.tcp, &[scene.server.ipv6()]);
    let at = SocketAddr::new(scene.tcp.cluster_ips[1], 9000);
    let pair = scene.start().await;
    let mut wire = Wire::connect(&pair.scene.client, at).await;
    wire.send("six").await;
    assert_eq!(wire.read_exact(3).await, b"six");
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.tcp).await;
    wire.send("last").await;
    wire.finish().await;
    // The echo says `bye` only after it has seen the client's end.
    assert_eq!(wire.rest().await, (b"lastbye".to_vec(), End::Closed));
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.banner).await;
    assert_eq!(wire.read_exact(BANNER.len()).await, BANNER);
    wire.send("EHLO").await;
    assert_eq!(wire.read_exact(4).await, b"EHLO");
}

#[tokio::test]
async fn megabytes_pass_unchanged() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let wire = pair.dial(&pair.scene.tcp).await;
    let sent: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(wire.into_stream());
    let upload = async {
        use tokio::io::AsyncWriteExt;
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let download = async {
        use tokio::io::AsyncReadExt;
        fsm_tests::within("the echo", read.read_to_end(&mut received)).await.unwrap();
    };
    tokio::join!(upload, download);
    assert_eq!(received.len(), sent.len() + 3);
    assert!(received.starts_with(&sent) && received.ends_with(b"bye"));
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_application() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let held = fsm_tests::Service::new("held", "shop", "tcp", 9100, 9100, &["10.96.0.9"]);
    scene.server_document = scene.server_document.clone().serve(&held);
    scene.client_document = scene.client_document.clone().call(&held, &[scene.server.ip()]);
    let upstream = scene.server.listen(([127, 0, 0, 1], 9100).into());
    let pair = scene.start().await;
    let mut client = pair.dial(&held).await;
    client.send("x").await;
    let mut server = Wire::accept(&upstream).await;
    assert_eq!(server.read_exact(1).await, b"x");
    drop(client);
    assert_eq!(server.rest().await.0, b"");
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let held = fsm_tests::Service::new("held", "shop", "tcp", 9100, 9100, &["10.96.0.9"]);
    scene.server_document = scene.server_document.clone().serve(&held);
    scene.client_document = scene.client_document.clone().call(&held, &[scene.server.ip()]);
    let upstream = scene.server.listen(([127, 0, 0, 1], 9100).into());
    let pair = scene.start().await;

    let mut client = pair.dial(&held).await;
    client.send("x").await;
    let (server, _) = fsm_tests::within("the connection", upstream.accept()).await.unwrap();
    server.writable().await.unwrap();
    assert_eq!(server.try_write(b"half").unwrap(), 4);
    assert_eq!(client.read_exact(4).await, b"half");
    server.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(client.rest().await.1, End::Reset, "half an answer must not look like a whole one");

    let client = pair.scene.client.connect(held.address()).await.unwrap();
    client.writable().await.unwrap();
    assert_eq!(client.try_write(b"y").unwrap(), 1);
    let mut server = Wire::accept(&upstream).await;
    assert_eq!(server.read_exact(1).await, b"y");
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(server.rest().await.1, End::Reset, "half an upload must not look like a whole one");
}

#[tokio::test]
async fn a_tcp_service_whose_application_is_down_closes_the_connection() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let down = fsm_tests::Service::new("down", "shop", "tcp", 9009, 9009, &["10.96.0.9"]);
    scene.server_document = scene.server_document.clone().serve(&down);
    scene.client_document = scene.client_document.clone().call(&down, &[scene.server.ip()]);
    let pair = scene.start().await;
    let mut wire = pair.dial(&down).await;
    wire.offer("anyone?").await;
    assert_eq!(wire.rest().await.0, b"");
}

#[tokio::test]
async fn unknown_destinations_are_closed_when_egress_is_off() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let outside = pair.scene.mesh.pod_at("outside", &["203.0.113.9".parse().unwrap()]);
    let at = SocketAddr::new(outside.ip(), 7000);
    let application = TcpApplication::echo(&outside, at);
    let mut wire = Wire::connect(&pair.scene.client, at).await;
    wire.offer("hello?").await;
    assert_eq!(wire.rest().await.0, b"");
    assert_eq!(application.connections(), 0);
}

#[tokio::test]
async fn unknown_destinations_pass_through_when_egress_is_on() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    scene.client_document = scene.client_document.clone().egress(true);
    let outside = scene.mesh.pod_at("outside", &["203.0.113.9".parse().unwrap()]);
    let (echo_at, web_at) = (SocketAddr::new(outside.ip(), 7000), SocketAddr::new(outside.ip(), 7080));
    let _echo = TcpApplication::banner(&outside, echo_at, b"hi ");
    let web = Application::start(&outside, &[web_at]);
    let pair = scene.start().await;
    let mut wire = Wire::connect(&pair.scene.client, echo_at).await;
    wire.send("there").await;
    wire.finish().await;
    assert_eq!(wire.rest().await, (b"hi therebye".to_vec(), End::Closed));
    let mut client = http1(Wire::connect(&pair.scene.client, web_at).await).await;
    assert_eq!(client.get("example.org", "/").await.status, 200);
    let seen = web.last();
    assert_eq!(seen.header("serviceidentity"), None, "identities stay in the mesh");
    assert_eq!(seen.remote.ip(), pair.scene.client.ip());
}
