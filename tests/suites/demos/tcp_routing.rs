//! Page 1.3, "TCP Traffic Routing".

use super::{Demo, inject, knows, nothing_inbound};
use fsm_tests::{Outcome, Pod, Service, eventually, execute};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Permissive mode: the echo answers. SMI mode without policies: `nc` fails with 1. With a TrafficTarget and a TCPRoute
/// the echo answers again.
#[tokio::test]
async fn page_1_3_tcp_is_routed_in_permissive_mode_and_by_smi_policy() {
    let Some(demo) = Demo::create() else { return };
    let service = Service::new("tcp-echo", "tcp-demo", "tcp", 9000, 9000, &["10.0.216.68"]);
    let (server, client) = (demo.pod("tcp-echo", &["10.244.0.9"]), demo.pod("curl", &["10.244.0.7"]));
    echo(&server);
    knows(&client, &service);
    let served = demo.document("tcp-echo.tcp-demo").allow(&client).allow(&server);
    let mut permissive = served.clone().serve(&service);
    let called = nothing_inbound(demo.document("curl.curl")).allow(&client).allow(&server);
    let calling = called.clone().call(&service, &[server.ip()]);
    let server_sidecar = inject(&server, "tcp-echo", &permissive).await;
    let client_sidecar = inject(&client, "curl", &calling).await;
    heard(&say_hello(&client).await);

    // SMI mode without policies: the caller knows no service. The server still has its port: FSM's documents do not
    // tell who may open TCP connections.
    client_sidecar.update(called.clone().set("/Outbound", Value::Null).json()).await;
    eventually("the outbound port is closed", async || client.connect(service.address()).await.is_err()).await;
    let refused = say_hello(&client).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");

    // The TrafficTarget gives the caller its service back.
    permissive =
        permissive.set("/Inbound/TrafficMatches/9000/TcpServiceRouteRules/AllowedServices", json!(["curl.curl"]));
    server_sidecar.update(permissive.json()).await;
    client_sidecar.update(calling.json()).await;
    eventually("the outbound port is open", async || client.connect(service.address()).await.is_ok()).await;
    heard(&say_hello(&client).await);
}

#[track_caller]
fn heard(outcome: &Outcome) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "echo response: hello\n"), "{outcome:?}");
}

/// `-N` is for OpenBSD's nc, which would otherwise not tell the server that its input has ended; busybox's does.
async fn say_hello(pod: &Pod) -> Outcome {
    execute(pod, "sh", &["-c", "echo hello | nc -N tcp-echo.tcp-demo 9000"]).await
}

/// The demo's tcp-echo: each line comes back behind a prefix.
fn echo(pod: &Pod) {
    let listener = pod.listen(([127, 0, 0, 1], 9000).into());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if write.write_all(format!("echo response: {line}\n").as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}
