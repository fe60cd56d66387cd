#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const ANY_PORT_V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

type Arrival = (TcpStream, ConnInfo, OwnedSemaphorePermit);

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

fn serve(address: SocketAddr, places: usize) -> Running {
    let listener = TcpListener::from_std(bind(address, false).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (sender, arrivals) = mpsc::unbounded_channel();
    let handle = move |stream, info, permit| sender.send((stream, info, permit)).unwrap();
    let task = tokio::spawn(accept_loop(listener, stop.clone(), Arc::new(Semaphore::new(places)), handle));
    Running { address, stop, arrivals, task }
}

/// Containers without IPv6 exist; what needs it is skipped there.
fn has_ipv6() -> bool {
    match bind(ANY_PORT_V6, false) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.address_missing(), "{error}");
            false
        }
    }
}

#[tokio::test]
async fn a_direct_connection_is_known_as_not_redirected() {
    for address in [Some(ANY_PORT), has_ipv6().then_some(ANY_PORT_V6)].into_iter().flatten() {
        let mut running = serve(address, 10);
        let client = TcpStream::connect(running.address).await.unwrap();
        let (_stream, info, _permit) = running.arrivals.recv().await.unwrap();
        assert_eq!(
            info,
            ConnInfo {
                peer: client.local_addr().unwrap(),
                local: running.address,
                destination: running.address,
                redirected: false,
            }
        );
    }
}

#[tokio::test]
async fn accepted_sockets_have_no_delay_and_keep_alive() {
    let mut running = serve(ANY_PORT, 10);
    let _client = TcpStream::connect(running.address).await.unwrap();
    let (stream, _, _permit) = running.arrivals.recv().await.unwrap();
    assert!(stream.nodelay().unwrap());
    let socket = SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), TCP_KEEP_ALIVE);
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_until_a_place_is_free() {
    let mut running = serve(ANY_PORT, 1);
    let _first = TcpStream::connect(running.address).await.unwrap();
    let _second = TcpStream::connect(running.address).await.unwrap();
    let (_stream, _, permit) = running.arrivals.recv().await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(running.arrivals.try_recv().is_err(), "no place is free");
    drop(permit);
    assert!(running.arrivals.recv().await.is_some());
}

#[tokio::test]
async fn stopping_closes_the_port_and_leaves_connections_alone() {
    let mut running = serve(ANY_PORT, 1);
    let mut client = TcpStream::connect(running.address).await.unwrap();
    let (mut stream, ..) = running.arrivals.recv().await.unwrap();
    running.stop.cancel();
    running.task.await.unwrap().unwrap();
    assert_eq!(TcpStream::connect(running.address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_free_place() {
    let mut running = serve(ANY_PORT, 1);
    let _client = TcpStream::connect(running.address).await.unwrap();
    let _arrival = running.arrivals.recv().await.unwrap();
    running.stop.cancel();
    running.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_resets_before_it_is_served_costs_nothing() {
    let mut running = serve(ANY_PORT, 10);
    let client = TcpStream::connect(running.address).await.unwrap();
    crate::tcp::reset_on_close(&client);
    drop(client);
    let _client = TcpStream::connect(running.address).await.unwrap();
    let own = _client.local_addr().unwrap();
    loop {
        let (_, info, _) = running.arrivals.recv().await.unwrap();
        if info.peer == own {
            break;
        }
    }
    assert!(!running.task.is_finished());
}

#[test]
fn both_versions_of_ip_can_have_the_same_port() {
    if !has_ipv6() {
        return;
    }
    // Another process may take the port in between: a few tries.
    let pair = (0..20).find_map(|_| {
        let v4 = bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), false).unwrap();
        let port = v4.local_addr().unwrap().port();
        bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), false).ok().map(|v6| (v4, v6))
    });
    assert!(pair.is_some());
}

#[test]
fn several_workers_can_share_a_port_if_all_want_to() {
    let first = bind(ANY_PORT, true).unwrap();
    let address = first.local_addr().unwrap();
    assert!(bind(address, true).is_ok());
    assert!(matches!(bind(address, false), Err(BindError::InUse { .. })));
}

#[test]
fn a_port_that_cannot_be_opened_says_why_and_what_to_do() {
    let taken = bind(ANY_PORT, false).unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(address, false).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("ss -ltnp"), "{text}");
    assert!(!error.address_missing());
    // TEST-NET-1 is on no machine.
    let elsewhere = bind("192.0.2.1:0".parse().unwrap(), false).unwrap_err();
    assert!(elsewhere.address_missing() && elsewhere.to_string().contains("192.0.2.1:0"), "{elsewhere}");
}

#[test]
fn mapped_addresses_are_shown_as_ipv4() {
    assert_eq!(canonical("[::ffff:10.0.0.1]:80".parse().unwrap()), "10.0.0.1:80".parse().unwrap());
    assert_eq!(canonical("[fe80::1%3]:80".parse().unwrap()), "[fe80::1]:80".parse().unwrap());
    assert_eq!(canonical("10.0.0.1:80".parse().unwrap()), "10.0.0.1:80".parse().unwrap());
}

#[test]
fn failures_of_accept_are_told_apart() {
    for (code, expected) in [
        (libc::ECONNABORTED, AcceptFailure::Connection),
        (libc::EPROTO, AcceptFailure::Connection),
        (libc::EPERM, AcceptFailure::Connection),
        (libc::EMFILE, AcceptFailure::Resource),
        (libc::ENFILE, AcceptFailure::Resource),
        (libc::ENOBUFS, AcceptFailure::Resource),
        (libc::ENOMEM, AcceptFailure::Resource),
        (libc::EBADF, AcceptFailure::Permanent),
        (libc::EINVAL, AcceptFailure::Permanent),
        (libc::ENOTSOCK, AcceptFailure::Permanent),
        (libc::EIO, AcceptFailure::Resource),
    ] {
        let error = io::Error::from_raw_os_error(code);
        assert_eq!(AcceptFailure::of(&error), expected, "{error}");
    }
    assert_eq!(AcceptFailure::of(&io::Error::other("unknown")), AcceptFailure::Resource);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_shortage_is_reported_now_and_then() {
    let mut shortage = Shortage::default();
    let mut reports = 0;
    for _ in 0..1000 {
        reports += u32::from(shortage.is_due(Instant::now()));
        tokio::time::advance(ACCEPT_BACKOFF).await;
    }
    // 50 seconds: at 0, 10, 20, 30 and 40.
    assert_eq!(reports, 5);
}

#[tokio::test]
async fn a_socket_that_does_not_listen_ends_the_loop_with_an_error() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP)).unwrap();
    socket.bind(&ANY_PORT.into()).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let ended = accept_loop(listener, CancellationToken::new(), Arc::new(Semaphore::new(1)), |_, _, _| {}).await;
    assert_eq!(ended.unwrap_err().raw_os_error(), Some(libc::EINVAL));
}
