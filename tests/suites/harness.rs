//! The harness itself: what the other suites rely on, tried without a proxy in between.

use fsm_tests::h2raw::{DATA, END_STREAM, HEADERS, Outcome, RawHttp2, SETTINGS, frame};
use fsm_tests::{
    Application, Authority, DEADLINE, End, Fault, Gateway, LeafRequest, Mesh, Process, Recorder, TcpApplication,
    TlsClient, TlsServer, Wire, empty, eventually, full, http1, http2, next_data, request, within,
};
use std::net::SocketAddr;
use std::process::Command;

#[tokio::test]
async fn pods_reach_each_other_over_both_families() {
    let Some(mesh) = Mesh::create() else { return };
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    for ip in [server.ip(), server.ipv6()] {
        let at = SocketAddr::new(ip, 9000);
        let application = TcpApplication::banner(&server, at, b"hello ");
        let mut wire = Wire::connect(&client, at).await;
        wire.send("world").await;
        assert_eq!(wire.read_exact(11).await, b"hello world");
        wire.finish().await;
        assert_eq!(wire.rest().await, (b"bye".to_vec(), End::Closed));
        let peer = application.peers()[0].ip();
        assert!(client.addresses().contains(&peer), "{peer} is not the client's address");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses_at_once() {
    let Some(mesh) = Mesh::create() else { return };
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let refused = client.connect(SocketAddr::new(server.ip(), 1)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn pods_have_their_own_names_and_loopback() {
    let Some(mesh) = Mesh::create() else { return };
    let (one, other) = (mesh.pod("one"), mesh.pod("other"));
    one.hosts(&[("203.0.113.7", "feeds.example.org")]);
    let lookup = |pod: &fsm_tests::Pod| {
        let mut getent = Command::new("getent");
        getent.args(["hosts", "feeds.example.org"]);
        String::from_utf8(pod.run(getent).stdout).unwrap()
    };
    assert!(lookup(&one).contains("203.0.113.7"));
    assert_eq!(lookup(&other), "");
    let _listener = one.listen(([127, 0, 0, 1], 8080).into());
    assert!(one.connect(([127, 0, 0, 1], 8080).into()).await.is_ok());
    assert!(other.connect(([127, 0, 0, 1], 8080).into()).await.is_err());
}

#[tokio::test]
async fn processes_die_with_their_handle_and_tell_what_they_said() {
    let Some(mesh) = Mesh::create() else { return };
    let pod = mesh.pod("pod");
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$; exec sleep 1000"]);
    let mut process = Process::start(&pod, command);
    eventually("the shell says its number", async || !process.output().is_empty()).await;
    let entry = format!("/proc/{}", process.output()[0]);
    assert!(std::fs::exists(&entry).unwrap());
    assert!(process.exit_status().is_none());
    drop(process);
    assert!(!std::fs::exists(&entry).unwrap());
}

#[tokio::test]
async fn the_application_speaks_both_versions_of_http() {
    let Some(mesh) = Mesh::create() else { return };
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let at = SocketAddr::new(server.ip(), 8080);
    let application = Application::start(&server, &[at]);

    let mut one = http1(Wire::connect(&client, at).await).await;
    let reply = one.call(request("POST", "api", "/a?b", full("body"))).await.json();
    assert_eq!(reply["version"], "HTTP/1.1");
    assert_eq!(reply["target"], "/a?b");
    assert_eq!(reply["body"], "body");

    let mut two = http2(Wire::connect(&client, at).await).await;
    assert_eq!(two.get("api", "/x").await.json()["version"], "HTTP/2.0");
    let mut grpc = request("POST", "api", "http://api/shop.Echo/Say", full(&b"\0\0\0\0\x05hello"[..]));
    grpc.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let reply = two.call(grpc).await;
    assert_eq!(reply.body, b"\0\0\0\0\x05hello");
    assert_eq!(reply.trailer("grpc-status"), Some("0"));

    let mut events = one.send(request("GET", "api", "/sse", empty())).await;
    assert_eq!(next_data(&mut events).await.unwrap(), "data: first\n\n");
    application.release();
    assert_eq!(next_data(&mut events).await.unwrap(), "data: second\n\n");
    assert_eq!(next_data(&mut events).await, None);
    assert_eq!(application.connections(), 2);
}

#[tokio::test]
async fn hand_made_frames_are_understood() {
    let Some(mesh) = Mesh::create() else { return };
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let at = SocketAddr::new(server.ip(), 8080);
    let application = Application::start(&server, &[at]);
    let mut raw = RawHttp2::start(Wire::connect(&client, at).await).await;
    let base: [(&[u8], &[u8]); 4] =
        [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/p"), (b":authority", b"api")];
    raw.headers(1, &base, false).await;
    raw.send(DATA, END_STREAM, 1, b"body").await;
    assert_eq!(raw.outcome(1).await, Outcome::Status(200));
    // Statuses in the static table, and literal ones with and without Huffman coding.
    for (stream, status) in [(3, 404), (5, 403), (7, 503), (9, 418), (11, 204)] {
        let path = format!("/status/{status}");
        let get: [(&[u8], &[u8]); 4] =
            [(b":method", b"GET"), (b":scheme", b"http"), (b":path", path.as_bytes()), (b":authority", b"api")];
        raw.headers(stream, &get, true).await;
        assert_eq!(raw.outcome(stream).await, Outcome::Status(status));
    }
    // Long values need the long form of lengths.
    let long = "v".repeat(5000);
    let mut fields = base.to_vec();
    fields.push((b"x-long", long.as_bytes()));
    raw.headers(13, &fields, true).await;
    assert_eq!(raw.outcome(13).await, Outcome::Status(200));
    assert_eq!(application.last().header("x-long"), Some(long.as_str()));
    // A bad field is an error of the stream, a frame of the wrong size one of the connection.
    let mut bad = base.to_vec();
    bad.push((b"connection", b"close"));
    raw.headers(15, &bad, true).await;
    assert_eq!(raw.outcome(15).await, Outcome::Reset(1));
    raw.send(SETTINGS, 0, 0, b"odd").await;
    assert!(matches!(raw.outcome(17).await, Outcome::GoAway(1 | 6)));
    assert_eq!(frame(HEADERS, 5, 1, b"ab"), [0, 0, 2, 1, 5, 0, 0, 0, 1, b'a', b'b']);
}

#[tokio::test]
async fn the_recorder_tells_clean_requests_from_ambiguous_ones() {
    let Some(mesh) = Mesh::create() else { return };
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let at = SocketAddr::new(server.ip(), 8081);
    let recorder = Recorder::start(&server, at);
    let mut wire = Wire::connect(&client, at).await;
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n").await;
    assert_eq!(wire.response("POST").await.text(), "ok");
    let seen = &recorder.requests()[0];
    assert_eq!((seen.text().as_str(), seen.trailer("t")), ("abc", Some("1")));

    for head in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\nb: c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n folded: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        recorder.clear();
        let mut wire = Wire::connect(&client, at).await;
        wire.send(head).await;
        assert!(matches!(wire.try_response("GET").await, Err(Fault::Ended(..))), "{head:?}");
        assert_eq!(recorder.malformed().len(), 1, "{head:?}");
        assert!(recorder.received(&head.as_bytes()[..5]));
    }
}

#[tokio::test]
async fn tls_ends_demand_and_present_certificates() {
    let Some(mesh) = Mesh::create() else { return };
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let authority = Authority::new("mesh");
    let own = authority.issue(&LeafRequest::new("api.shop").hosts(&["api.shop.svc"]).rsa());
    let old = SocketAddr::new(server.ip(), 82);
    let at = SocketAddr::new(server.ip(), 80);
    Application::start_tls(&server, &[at], &TlsServer::new(&own));
    Application::start_tls(&server, &[old], &TlsServer::tls12(&own));
    let web = authority.leaf("web.shop");
    for to in [at, old] {
        let wire = TlsClient::new(&web).connect(&client, to).await.unwrap();
        assert_eq!(http1(wire).await.get("api", "/").await.status, 200);
    }
    let refused = [
        TlsClient::anonymous(),
        TlsClient::new(&Authority::new("other").leaf("web.shop")),
        TlsClient::new(&authority.issue(&LeafRequest::new("web.shop").expired())),
        TlsClient::new(&authority.issue(&LeafRequest::new("web.shop").not_yet_valid())),
    ];
    for tls in refused {
        if let Ok(mut wire) = tls.connect(&client, at).await {
            wire.offer("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert!(wire.try_response("GET").await.is_err());
        }
    }
    let spiffe = authority.issue(&LeafRequest::new("web.shop").spiffe());
    assert!(TlsClient::new(&spiffe).tls12().connect(&client, at).await.is_ok());
}

#[tokio::test]
async fn the_gateway_connects_from_its_own_pod() {
    let Some(mesh) = Mesh::create() else { return };
    let (client, gate, server) = (mesh.pod("client"), mesh.pod("gate"), mesh.pod("server"));
    let (at, target) = (SocketAddr::new(gate.ip(), 1080), SocketAddr::new(server.ip(), 9000));
    let application = TcpApplication::banner(&server, target, b"hi");
    let gateway = Gateway::start(&gate, at, &[("feeds.example.org:80", target)]);
    let stream = client.connect(at).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = within("the gateway is ready", sender.ready()).await.unwrap();
    let connect = http::Request::connect("feeds.example.org:80").body(()).unwrap();
    let (response, mut upload) = sender.send_request(connect, false).unwrap();
    let response = within("the gateway answers", response).await.unwrap();
    assert_eq!(response.status(), 200);
    upload.send_data("!".into(), true).unwrap();
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Some(chunk) = tokio::time::timeout(DEADLINE, body.data()).await.unwrap() {
        all.extend(chunk.unwrap());
    }
    assert_eq!(all, b"hi!bye");
    assert_eq!(application.peers()[0].ip(), gate.ip());
    assert_eq!(gateway.targets(), ["feeds.example.org:80"]);
}
