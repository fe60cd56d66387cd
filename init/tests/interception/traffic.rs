//! Which connections arrive where.

use std::net::{SocketAddr, UdpSocket};

use crate::pod::{Client, DEADLINE, FAR_V4, FAR_V6, PEER_V4, PEER_V6, POD_V4, POD_V6, Pod, SECOND_V4};
use crate::{APPLICATION, PROXY, backends};

#[test]
fn outbound_tcp_arrives_at_the_outbound_port_with_its_destination() {
    for backend in backends() {
        let pod = Pod::new();
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "peer 10.99.0.1:80", "before");
        pod.init(&["--backend", backend]);
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "outbound 10.99.0.1:80");
        assert_eq!(pod.pod_dials(APPLICATION, FAR_V4, 443), "outbound 10.50.0.1:443");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V6, 80), "outbound [fd99::1]:80");
        assert_eq!(pod.pod_dials(APPLICATION, FAR_V6, 443), "outbound [fd50::1]:443");
        // Nobody listens there: it is captured all the same.
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 7), "outbound 10.99.0.1:7");
        // Another user than the test's own, and the remote admin port (FSM's row 12) are no way out.
        assert_eq!(pod.pod_dials(Client::User(1501), PEER_V4, 80), "outbound 10.99.0.1:80");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 15000), "outbound 10.99.0.1:15000");
    }
}

#[test]
fn inbound_tcp_arrives_at_the_inbound_port_with_its_destination() {
    for backend in backends() {
        let pod = Pod::new();
        assert_eq!(pod.peer_dials(POD_V4, 8080), "application 10.99.0.2:8080", "before");
        pod.init(&["--backend", backend]);
        assert_eq!(pod.peer_dials(POD_V4, 8080), "inbound 10.99.0.2:8080");
        assert_eq!(pod.peer_dials(POD_V6, 8080), "inbound [fd99::2]:8080");
        // The proxy's own ports are no back door for others: they count as any port.
        for port in [15000, 15001, 15003, 6060, 22] {
            assert_eq!(pod.peer_dials(POD_V4, port), format!("inbound 10.99.0.2:{port}"));
            assert_eq!(pod.peer_dials(POD_V6, port), format!("inbound [fd99::2]:{port}"));
        }
    }
}

#[test]
fn metrics_and_probe_ports_bypass_the_inbound_port() {
    for backend in backends() {
        let pod = Pod::new();
        pod.init(&["--backend", backend]);
        for (port, label) in
            [(15010, "metrics"), (15901, "liveness"), (15902, "readiness"), (15903, "startup"), (15904, "tcp-probe")]
        {
            assert_eq!(pod.peer_dials(POD_V4, port), format!("{label} 10.99.0.2:{port}"));
            assert_eq!(pod.peer_dials(POD_V6, port), format!("{label} [fd99::2]:{port}"));
        }
    }
}

#[test]
fn excluded_ranges_and_ports_bypass_in_their_direction_only() {
    for backend in backends() {
        let pod = Pod::new();
        pod.init(&[
            "--backend",
            backend,
            "--outbound-exclude-cidr=10.50.0.0/16,fd50::/16",
            "--outbound-exclude-port=443",
            "--inbound-exclude-port=9000",
        ]);
        assert_eq!(pod.pod_dials(APPLICATION, FAR_V4, 80), "peer 10.50.0.1:80");
        assert_eq!(pod.pod_dials(APPLICATION, FAR_V6, 80), "peer [fd50::1]:80");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 443), "peer 10.99.0.1:443");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V6, 443), "peer [fd99::1]:443");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "outbound 10.99.0.1:80");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V6, 80), "outbound [fd99::1]:80");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 9000), "outbound 10.99.0.1:9000");

        assert_eq!(pod.peer_dials(POD_V4, 9000), "application 10.99.0.2:9000");
        assert_eq!(pod.peer_dials(POD_V6, 9000), "application [fd99::2]:9000");
        assert_eq!(pod.peer_dials(POD_V4, 443), "inbound 10.99.0.2:443");
        assert_eq!(pod.peer_dials(POD_V6, 8080), "inbound [fd99::2]:8080");
    }
}

#[test]
fn an_excluded_interface_bypasses_both_directions() {
    for backend in backends() {
        for name in ["eth1", "th1+", "eth1+"] {
            let pod = Pod::new();
            pod.init(&["--backend", backend, "--exclude-interface", name]);
            let excluded = name.starts_with("eth1");
            let (outbound, inbound) = if excluded { ("peer", "application") } else { ("outbound", "inbound") };
            assert_eq!(pod.pod_dials(APPLICATION, SECOND_V4, 80), format!("{outbound} 10.98.0.1:80"));
            assert_eq!(pod.pod_dials(APPLICATION, "fd98::1", 80), format!("{outbound} [fd98::1]:80"));
            assert_eq!(pod.peer_dials("10.98.0.2", 8080), format!("{inbound} 10.98.0.2:8080"));
            assert_eq!(pod.peer_dials("fd98::2", 8080), format!("{inbound} [fd98::2]:8080"));
            assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "outbound 10.99.0.1:80");
            assert_eq!(pod.peer_dials(POD_V4, 8080), "inbound 10.99.0.2:8080");
        }
    }
}

#[test]
fn an_inclusion_list_captures_only_its_ranges_and_exclusions_come_first() {
    for backend in backends() {
        let pod = Pod::new();
        pod.init(&[
            "--backend",
            backend,
            "--outbound-include-cidr=10.50.0.0/16,10.98.0.0/24,fd50::/16",
            "--outbound-exclude-cidr=10.98.0.1",
        ]);
        assert_eq!(pod.pod_dials(APPLICATION, FAR_V4, 80), "outbound 10.50.0.1:80");
        assert_eq!(pod.pod_dials(APPLICATION, FAR_V6, 80), "outbound [fd50::1]:80");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "peer 10.99.0.1:80");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V6, 80), "peer [fd99::1]:80");
        assert_eq!(pod.pod_dials(APPLICATION, SECOND_V4, 80), "peer 10.98.0.1:80");
        assert_eq!(pod.peer_dials(POD_V4, 8080), "inbound 10.99.0.2:8080");

        pod.init(&["--backend", backend, "--outbound-include-cidr=10.50.0.0/16"]);
        assert_eq!(pod.pod_dials(APPLICATION, FAR_V6, 80), "peer [fd50::1]:80");
    }
}

#[test]
fn more_excluded_ports_than_one_rule_takes_all_bypass() {
    for backend in backends() {
        let pod = Pod::new();
        let ports: Vec<String> = (1..=15).map(|port| port.to_string()).collect();
        let list = ports.join(",") + ",80,8080";
        pod.init(&["--backend", backend, "--outbound-exclude-port", &list, "--inbound-exclude-port", &list]);
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "peer 10.99.0.1:80");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V6, 8080), "peer [fd99::1]:8080");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 7), "ConnectionRefused");
        assert_eq!(pod.peer_dials(POD_V4, 8080), "application 10.99.0.2:8080");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 443), "outbound 10.99.0.1:443");
    }
}

#[test]
fn the_proxys_own_connections_bypass_and_local_ones_stay_local() {
    for backend in backends() {
        let pod = Pod::new();
        pod.init(&["--backend", backend]);
        assert_eq!(pod.pod_dials(PROXY, PEER_V4, 80), "peer 10.99.0.1:80");
        assert_eq!(pod.pod_dials(PROXY, PEER_V6, 80), "peer [fd99::1]:80");
        for client in [APPLICATION, PROXY] {
            assert_eq!(pod.pod_dials(client, "127.0.0.1", 8080), "application 127.0.0.1:8080");
            assert_eq!(pod.pod_dials(client, "::1", 8080), "application [::1]:8080");
        }
        assert_eq!(pod.pod_dials(APPLICATION, "127.0.0.7", 8080), "application 127.0.0.7:8080");
    }
}

#[test]
fn a_call_to_the_own_pod_address_passes_the_inbound_side_when_the_proxy_makes_it() {
    for backend in backends() {
        let pod = Pod::new();
        pod.init(&["--backend", backend]);
        assert_eq!(pod.pod_dials(PROXY, POD_V4, 8080), "inbound 10.99.0.2:8080");
        assert_eq!(pod.pod_dials(PROXY, POD_V6, 8080), "inbound [fd99::2]:8080");
        // The application's own way to its own address is its own affair.
        assert_eq!(pod.pod_dials(APPLICATION, POD_V4, 8080), "application 10.99.0.2:8080");
        assert_eq!(pod.pod_dials(APPLICATION, POD_V6, 8080), "application [fd99::2]:8080");
    }
}

#[test]
fn pod_ip_mode_brings_the_proxys_loopback_connections_to_the_pod_address() {
    for backend in backends() {
        let mut pod = Pod::new();
        pod.listen_in_pod(POD_V4, 7000, "bound-to-pod-ip");
        pod.listen_in_pod(POD_V6, 7000, "bound-to-pod-ip");
        pod.init(&["--backend", backend]);
        assert_eq!(pod.pod_dials(PROXY, "127.0.0.1", 7000), "ConnectionRefused");
        pod.init(&["--backend", backend, "--pod-ip", &format!("{POD_V4},{POD_V6}")]);
        assert_eq!(pod.pod_dials(PROXY, "127.0.0.1", 7000), "bound-to-pod-ip 127.0.0.1:7000");
        assert_eq!(pod.pod_dials(PROXY, "::1", 7000), "bound-to-pod-ip [::1]:7000");
        assert_eq!(pod.pod_dials(APPLICATION, "127.0.0.1", 7000), "ConnectionRefused");
        assert_eq!(pod.pod_dials(APPLICATION, "::1", 7000), "ConnectionRefused");
        assert_eq!(pod.pod_dials(PROXY, POD_V4, 8080), "inbound 10.99.0.2:8080");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "outbound 10.99.0.1:80");
    }
}

#[test]
fn with_a_mark_the_mark_counts_and_the_user_does_not() {
    for backend in backends() {
        let pod = Pod::new();
        pod.init(&["--backend", backend, "--proxy-mark=0x500/0xff00", "--pod-ip", POD_V4]);
        let proxy = Client::Marked(0x5ab);
        assert_eq!(pod.pod_dials(proxy, PEER_V4, 80), "peer 10.99.0.1:80");
        assert_eq!(pod.pod_dials(proxy, PEER_V6, 80), "peer [fd99::1]:80");
        assert_eq!(pod.pod_dials(proxy, POD_V4, 8080), "inbound 10.99.0.2:8080");
        assert_eq!(pod.pod_dials(proxy, POD_V6, 8080), "inbound [fd99::2]:8080");
        assert_eq!(pod.pod_dials(proxy, "127.0.0.1", 8080), "application 127.0.0.1:8080");
        assert_eq!(pod.pod_dials(Client::Marked(0x6ab), PEER_V4, 80), "outbound 10.99.0.1:80");
        assert_eq!(pod.pod_dials(PROXY, PEER_V4, 80), "outbound 10.99.0.1:80");
        assert_eq!(pod.pod_dials(PROXY, PEER_V6, 80), "outbound [fd99::1]:80");
    }
}

#[test]
fn udp_is_not_captured() {
    for backend in backends() {
        let pod = Pod::new();
        pod.init(&["--backend", backend]);
        for (any, address) in [("0.0.0.0:0", PEER_V4), ("[::]:0", PEER_V6)] {
            let receiver = pod.peer.run(move || UdpSocket::bind(any).unwrap());
            let port = receiver.local_addr().unwrap().port();
            let target = SocketAddr::new(address.parse().unwrap(), port);
            let sender = pod.pod.run(move || UdpSocket::bind(any).unwrap());
            receiver.set_read_timeout(Some(DEADLINE / 50)).unwrap();
            // A link that has just come up may lose the first datagrams, and nobody repeats UDP.
            let arrived = (0..50).any(|_| {
                sender.send_to(b"datagram", target).unwrap();
                receiver.recv(&mut [0; 16]).is_ok_and(|length| length == 8)
            });
            assert!(arrived, "{backend}: no datagram to {target} arrived");
        }
    }
}

#[test]
fn ipv6_switched_off_is_left_alone_also_after_an_earlier_run() {
    for backend in backends() {
        let pod = Pod::new();
        pod.init(&["--backend", backend]);
        pod.init(&["--backend", backend, "--ipv6=off"]);
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V6, 80), "peer [fd99::1]:80");
        assert_eq!(pod.peer_dials(POD_V6, 8080), "application [fd99::2]:8080");
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "outbound 10.99.0.1:80");
    }
}
