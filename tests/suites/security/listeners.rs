//! A21, A23: connections straight to the proxy's own ports, from inside and outside the pod.

use fsm_tests::{Fault, Pair, Pod, TlsClient, Wire};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Connects and asks; a refusal at any point within two seconds is what is wanted.
async fn refused_fast(pod: &Pod, to: SocketAddr) {
    let ask = async {
        let Ok(stream) = pod.connect(to).await else {
            return;
        };
        let mut wire = Wire::new(stream);
        wire.offer("GET /config_dump HTTP/1.1\r\nhost: api.shop\r\nconnection: close\r\n\r\n").await;
        match wire.try_response("GET").await {
            Ok(reply) => {
                assert!(reply.status() >= 400, "{to}: {}", reply.start);
                assert!(reply.reason().is_some(), "{to}: {}", reply.start);
            }
            // A TLS alert is no HTTP, and no application either.
            Err(Fault::Malformed(why)) => panic!("{to}: {why}"),
            Err(Fault::Ended(_, bytes)) => {
                assert!(bytes.is_empty() || bytes[0] == 0x15, "{to}: {bytes:?}");
            }
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(2), ask).await;
    assert!(asked.is_ok(), "{to} from {}: neither refused nor closed", pod.name());
}

#[tokio::test]
async fn a21_the_proxys_ports_are_closed_to_other_pods() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    for ip in [pair.scene.server.ip(), pair.scene.server.ipv6()] {
        for port in [15000, 15001, 15003, 6060, 12345] {
            refused_fast(&pair.scene.stranger, SocketAddr::new(ip, port)).await;
        }
    }
    // Nor with a certificate: nothing is configured for these ports.
    for port in [15000, 15001, 15003] {
        let at = SocketAddr::new(pair.scene.server.ip(), port);
        let tls = TlsClient::new(&pair.leaf("web.shop"));
        if let Ok(mut wire) = tls.connect(&pair.scene.stranger, at).await {
            wire.offer("GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n").await;
            if let Ok(reply) = wire.try_response("GET").await {
                assert!(reply.status() >= 400 && reply.reason().is_some(), "{at}: {}", reply.start);
            }
        }
    }
    pair.assert_healthy().await;
}

#[tokio::test]
async fn a23_a_connection_to_the_proxys_own_port_does_not_loop() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    for pod in [&pair.scene.client, &pair.scene.server] {
        for ip in LOOPBACK.into_iter().chain(pod.addresses().iter().copied()) {
            for port in [15001, 15003] {
                refused_fast(pod, SocketAddr::new(ip, port)).await;
            }
        }
    }
    pair.assert_healthy().await;
    // A loop would have shown in the number of connections.
    for sidecar in [&pair.client_sidecar, &pair.server_sidecar] {
        assert_eq!(sidecar.admin("/ready").await.status(), 200);
    }
}

#[tokio::test]
async fn a21_metrics_are_open_and_admin_is_not() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let at = SocketAddr::new(pair.scene.server.ip(), 15010);
    let mut wire = Wire::connect(&pair.scene.stranger, at).await;
    let metrics = wire.get("server", "/stats/prometheus").await;
    assert_eq!(metrics.status(), 200);
    assert!(metrics.text().contains("# TYPE"), "{}", metrics.text());
    let dump = pair.server_sidecar.admin("/config_dump").await;
    assert_eq!(dump.status(), 200);
    let certificates = pair.server_sidecar.admin("/certs").await;
    for text in [dump.text(), certificates.text(), metrics.text()] {
        assert!(!text.contains("BEGIN PRIVATE KEY"), "a private key is shown");
    }
}
