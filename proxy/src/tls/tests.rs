//! Handshakes between our server, our client, and peers that are neither.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixtures::{Authority, Leaf, dns, uri};
use super::*;
use crate::limits::TLS_HANDSHAKE_TIMEOUT as DEADLINE;
use crate::reason::Reason;
use arcstr::ArcStr;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const MYSTERY: &[&[u8]] = &[b"mystery"];

type Outcome = (Result<Accepted<DuplexStream>, AcceptError>, Result<Connected<DuplexStream>, ConnectError>);

fn server(identity: &Identity) -> ServerTls {
    ServerTls::new(identity, ClientCertificate::Required, Alpn::HTTP).unwrap()
}

fn client(identity: &Identity, expect: Expect) -> ClientTls {
    ClientTls::new(Some(identity), identity.roots(), expect, Alpn::HTTP).unwrap()
}

fn principals(names: &[&str]) -> Expect {
    Expect::Principals(names.iter().copied().map(ArcStr::from).collect())
}

async fn handshake_as(server: &ServerTls, client: &ClientTls, server_name: Option<&str>) -> Outcome {
    let (ours, theirs) = duplex(1 << 14);
    tokio::join!(
        async {
            let mut accepted = server.accept(ours, DEADLINE).await;
            if let Ok(accepted) = &mut accepted {
                accepted.stream.flush().await.unwrap();
            }
            accepted
        },
        client.connect(theirs, server_name, DEADLINE)
    )
}

async fn handshake(server: &ServerTls, client: &ClientTls) -> Outcome {
    handshake_as(server, client, None).await
}

/// Sends raw bytes to a server and returns its verdict and its answer.
async fn raw(server: &ServerTls, bytes: &[u8], close: bool) -> (AcceptError, Vec<u8>) {
    let (ours, mut theirs) = duplex(1 << 20);
    theirs.write_all(bytes).await.unwrap();
    if close {
        theirs.shutdown().await.unwrap();
    }
    let error = server.accept(ours, DEADLINE).await.unwrap_err();
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    (error, answer)
}

/// The first flight of a real client.
async fn client_hello(config: ClientConfig) -> Vec<u8> {
    let mut connection =
        rustls::ClientConnection::new(Arc::new(config), ServerName::try_from("shop.example").unwrap()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

fn plain_client(authority: &Authority, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth()
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let authority = Authority::new();
    let (store, buyer) = (authority.identity("bookstore.shop"), authority.identity("bookbuyer.shop"));
    let (accepted, connected) =
        handshake(&server(&store), &client(&buyer, principals(&["other.shop", "bookstore.shop"]))).await;
    let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
    let peer = accepted.peer.unwrap();
    assert_eq!(peer.service.as_deref(), Some("bookbuyer.shop"));
    assert_eq!(peer.principal.as_deref(), Some("bookbuyer.shop.cluster.local"));
    assert_eq!(connected.peer.service.as_deref(), Some("bookstore.shop"));
    assert!(connected.named);
    assert_eq!((accepted.alpn, connected.alpn), (Alpn::H2, Alpn::H2));
    let (_, session) = accepted.stream.get_ref();
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(session.negotiated_cipher_suite().unwrap().suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519);
    assert_eq!(session.server_name(), None, "no SNI without a name");
}

#[tokio::test]
async fn bytes_pass_both_ways_after_the_handshake() {
    let authority = Authority::new();
    let identity = authority.identity("a.b");
    let (accepted, connected) = handshake(&server(&identity), &client(&identity, Expect::AnyOfMesh)).await;
    let (mut accepted, mut connected) = (accepted.unwrap().stream, connected.unwrap().stream);
    connected.write_all(b"ping").await.unwrap();
    connected.shutdown().await.unwrap();
    let mut received = Vec::new();
    accepted.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"ping");
    accepted.write_all(b"pong").await.unwrap();
    accepted.shutdown().await.unwrap();
    received.clear();
    connected.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"pong", "half-close works through TLS");
}

#[tokio::test]
async fn any_certificate_of_the_mesh_will_do_when_none_is_named_and_that_is_told() {
    let authority = Authority::new();
    let (_, connected) = handshake(
        &server(&authority.identity("somebody.else")),
        &client(&authority.identity("a.b"), Expect::AnyOfMesh),
    )
    .await;
    let connected = connected.unwrap();
    assert!(!connected.named);
    assert_eq!(connected.peer.service.as_deref(), Some("somebody.else"));
}

#[tokio::test]
async fn another_server_than_the_expected_one_is_an_identity_mismatch() {
    let authority = Authority::new();
    let buyer = authority.identity("bookbuyer.shop");
    let server = server(&authority.identity_of(&Leaf::fsm("evil.shop", &["bookstore.shop"])));
    for expect in [principals(&["bookstore.shop"]), principals(&["bookstore.shop.cluster.local"]), principals(&[])] {
        let (accepted, connected) = handshake(&server, &client(&buyer, expect)).await;
        let error = connected.unwrap_err();
        let ConnectError::Identity { presented, .. } = &error else { panic!("{error}") };
        assert_eq!(presented[0], "evil.shop.cluster.local");
        assert_eq!(error.reason(), Reason::UpstreamIdentity);
        assert!(matches!(accepted, Err(AcceptError::Protocol { .. })), "the server is told by an alert");
    }
}

#[tokio::test]
async fn a_server_can_be_named_by_spiffe_id_and_alternative_name() {
    let authority = Authority::new();
    let spiffe = "spiffe://cluster.local/ns/shop/sa/bookstore";
    let leaf = Leaf::named(None).with_names(vec![uri(spiffe), dns("books.example.com")]);
    let server = server(&authority.identity_of(&leaf));
    let buyer = authority.identity("bookbuyer.shop");
    for name in [spiffe, "bookstore.shop", "bookstore.shop.cluster.local", "books.example.com"] {
        let (_, connected) = handshake(&server, &client(&buyer, principals(&[name]))).await;
        assert!(connected.unwrap().named, "{name}");
    }
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused_on_both_sides() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (store, stranger) = (ours.identity("bookstore.shop"), other.identity("bookbuyer.shop"));
    // The client trusts the server, the server does not trust the client.
    let trusting = ClientTls::new(Some(&stranger), ours.roots(), Expect::AnyOfMesh, Alpn::HTTP).unwrap();
    let (accepted, _) = handshake(&server(&store), &trusting).await;
    let error = accepted.unwrap_err();
    assert!(matches!(&error, AcceptError::BadCertificate { .. }), "{error}");
    assert_eq!(error.reason(), Reason::DownstreamTls);
    // The client does not trust the server, whatever it expects.
    for expect in [Expect::AnyOfMesh, principals(&["bookstore.shop"]), Expect::HostName] {
        let (_, connected) =
            handshake_as(&server(&store), &client(&stranger, expect), Some("bookstore.shop.cluster.local")).await;
        let error = connected.unwrap_err();
        assert!(matches!(&error, ConnectError::Certificate { .. }), "{error}");
        assert_eq!(error.reason(), Reason::UpstreamTls);
    }
}

#[tokio::test]
async fn certificates_outside_their_validity_are_refused_on_both_sides() {
    let authority = Authority::new();
    let good = authority.identity("good.shop");
    let mut expired = Leaf::fsm("bad.shop", &[]);
    expired.not_before -= time::Duration::days(2);
    expired.not_after -= time::Duration::days(2);
    let mut future = Leaf::fsm("bad.shop", &[]);
    future.not_before += time::Duration::hours(12);
    for (leaf, word) in [(expired, "expired"), (future, "not valid yet")] {
        let bad = authority.identity_of(&leaf);
        let (accepted, _) = handshake(&server(&good), &client(&bad, Expect::AnyOfMesh)).await;
        let error = accepted.unwrap_err();
        assert!(matches!(&error, AcceptError::BadCertificate { detail } if detail.contains(word)), "{error}");
        for expect in [Expect::AnyOfMesh, principals(&["bad.shop"])] {
            let (_, connected) = handshake(&server(&bad), &client(&good, expect)).await;
            let error = connected.unwrap_err();
            assert!(matches!(&error, ConnectError::Certificate { detail } if detail.contains(word)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_certificate_for_another_purpose_is_refused() {
    let authority = Authority::new();
    let good = authority.identity("good.shop");
    let mut leaf = Leaf::fsm("bad.shop", &[]);
    leaf.usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let (accepted, _) = handshake(&server(&good), &client(&authority.identity_of(&leaf), Expect::AnyOfMesh)).await;
    assert!(matches!(accepted, Err(AcceptError::BadCertificate { .. })));
    leaf.usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let (_, connected) = handshake(&server(&authority.identity_of(&leaf)), &client(&good, Expect::AnyOfMesh)).await;
    assert!(matches!(connected, Err(ConnectError::Certificate { .. })));
}

#[tokio::test]
async fn a_client_with_a_common_name_only_is_verified_but_identifies_nobody() {
    let authority = Authority::new();
    let nobody = authority.identity_of(&Leaf::named(Some("bookbuyer.shop.cluster.local")));
    let (accepted, _) = handshake(&server(&authority.identity("a.b")), &client(&nobody, Expect::AnyOfMesh)).await;
    assert_eq!(accepted.unwrap().peer.unwrap(), Peer::default());
    let (_, connected) = handshake(&server(&nobody), &client(&nobody, principals(&["bookbuyer.shop"]))).await;
    assert!(matches!(connected, Err(ConnectError::Identity { .. })));
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_in_only_where_none_is_required() {
    let authority = Authority::new();
    let identity = authority.identity("a.b");
    let anonymous = ClientTls::new(None, authority.roots(), Expect::AnyOfMesh, Alpn::HTTP).unwrap();
    let (accepted, _) = handshake(&server(&identity), &anonymous).await;
    let error = accepted.unwrap_err();
    assert!(matches!(error, AcceptError::NoCertificate), "{error}");
    assert_eq!(error.reason(), Reason::DownstreamTls);
    for asked in [ClientCertificate::Optional, ClientCertificate::NotAsked] {
        let server = ServerTls::new(&identity, asked, Alpn::HTTP).unwrap();
        let (accepted, _) = handshake(&server, &anonymous).await;
        assert_eq!(accepted.unwrap().peer, None);
    }
}

#[tokio::test]
async fn an_optional_certificate_must_verify_when_shown() {
    let authority = Authority::new();
    let optional = ServerTls::new(&authority.identity("a.b"), ClientCertificate::Optional, Alpn::HTTP).unwrap();
    let stranger = Authority::new().identity("evil.shop");
    let trusting = ClientTls::new(Some(&stranger), authority.roots(), Expect::AnyOfMesh, Alpn::HTTP).unwrap();
    let (accepted, _) = handshake(&optional, &trusting).await;
    assert!(matches!(accepted, Err(AcceptError::BadCertificate { .. })));
    let (accepted, _) = handshake(&optional, &client(&authority.identity("c.d"), Expect::AnyOfMesh)).await;
    assert_eq!(accepted.unwrap().peer.unwrap().service.as_deref(), Some("c.d"));
}

#[tokio::test]
async fn a_host_name_is_compared_and_sent() {
    let authority = Authority::new();
    let leaf = Leaf::named(None).with_names(vec![dns("books.example.com")]);
    let server = server(&authority.identity_of(&leaf));
    let client = client(&authority.identity("a.b"), Expect::HostName);
    let (accepted, connected) = handshake_as(&server, &client, Some("books.example.com")).await;
    assert!(connected.unwrap().named);
    assert_eq!(accepted.unwrap().stream.get_ref().1.server_name(), Some("books.example.com"));
    let (_, connected) = handshake_as(&server, &client, Some("evil.example.com")).await;
    let error = connected.unwrap_err();
    assert!(matches!(&error, ConnectError::Identity { expected, .. } if expected == &["evil.example.com"]), "{error}");
    for name in [None, Some(""), Some("not a name"), Some("a..b")] {
        let (end, _kept) = duplex(1 << 10);
        let error = client.connect(end, name, DEADLINE).await.unwrap_err();
        assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
    }
}

#[tokio::test]
async fn chains_with_an_intermediate_verify() {
    let authority = Authority::new();
    let (intermediate, pem) = authority.intermediate("issuing authority");
    let mut certificate = intermediate.issue(&Leaf::fsm("a.b", &[]));
    certificate.cert_chain.push_str(&pem);
    let identity = Identity::from_config(&certificate, "a.b").unwrap();
    let (accepted, connected) = handshake(&server(&identity), &client(&identity, principals(&["a.b"]))).await;
    assert_eq!(accepted.unwrap().peer.unwrap().service.as_deref(), Some("a.b"));
    assert!(connected.is_ok());
    assert_eq!(identity.summary().len(), 3);
}

#[tokio::test]
async fn alpn_is_a_choice_only_where_we_have_an_opinion() {
    let authority = Authority::new();
    let identity = authority.identity("a.b");
    let offer = |alpn| ClientTls::new(Some(&identity), authority.roots(), Expect::AnyOfMesh, alpn).unwrap();
    let listen = |alpn| ServerTls::new(&identity, ClientCertificate::Required, alpn).unwrap();
    for (server, client, expected) in [
        (Alpn::HTTP, Alpn::HTTP1_ONLY, Alpn::Http1),
        (Alpn::HTTP, Alpn::H2_ONLY, Alpn::H2),
        (Alpn::HTTP, Alpn::ANY, Alpn::None),
        (Alpn::MESH_HTTP, Alpn::MESH_H2, Alpn::MeshH2),
        (Alpn::MESH_HTTP, Alpn::MESH_HTTP1, Alpn::MeshHttp1),
        // A sidecar of an earlier version, or somebody else, at one of the ends.
        (Alpn::MESH_HTTP, Alpn::H2_ONLY, Alpn::H2),
        (Alpn::HTTP, Alpn::MESH_H2, Alpn::H2),
        (Alpn::HTTP, Alpn::MESH_HTTP1, Alpn::Http1),
        (Alpn::ANY, Alpn::HTTP, Alpn::None),
        (Alpn::ANY, MYSTERY, Alpn::None),
        (MYSTERY, MYSTERY, Alpn::Other),
    ] {
        let (accepted, connected) = handshake(&listen(server), &offer(client)).await;
        assert_eq!((accepted.unwrap().alpn, connected.unwrap().alpn), (expected, expected));
    }
    let (accepted, connected) = handshake(&listen(Alpn::HTTP), &offer(MYSTERY)).await;
    assert!(matches!(accepted, Err(AcceptError::Protocol { .. })));
    assert!(matches!(&connected, Err(ConnectError::Protocol { detail }) if detail.contains("NoApplicationProtocol")));
}

#[tokio::test]
async fn a_peer_that_knows_only_tls_1_2_is_served() {
    let authority = Authority::new();
    let identity = authority.identity("a.b");
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.certified_key())));
    let (ours, theirs) = duplex(1 << 14);
    let name = ServerName::try_from("a.b.cluster.local").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let server = server(&identity);
    let (accepted, connected) = tokio::join!(server.accept(ours, DEADLINE), connector.connect(name, theirs));
    assert_eq!(accepted.unwrap().peer.unwrap().service.as_deref(), Some("a.b"));
    assert_eq!(connected.unwrap().get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
}

#[tokio::test]
async fn tls_1_1_is_refused_with_an_alert() {
    let server = server(&Authority::new().identity("a.b"));
    for (extensions, alert) in [
        // An old client knows no signature_algorithms, and its absence is noticed first: handshake_failure.
        (&[][..], 40),
        // One that does is told what is wrong: protocol_version.
        (&[0, 8, 0, 13, 0, 4, 0, 2, 4, 3][..], 70),
    ] {
        let mut hello = vec![1, 0, 0, 41 + u8::try_from(extensions.len()).unwrap(), 3, 2];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0, 0x2f, 1, 0]); // no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression
        hello.extend(extensions);
        let mut record = vec![0x16, 3, 1, 0, u8::try_from(hello.len()).unwrap()];
        record.extend(hello);
        let (error, answer) = raw(&server, &record, false).await;
        assert!(matches!(error, AcceptError::Protocol { .. }), "{error}");
        assert_eq!((answer[0], &answer[5..7]), (21, &[2, alert][..]), "{error}");
    }
}

#[tokio::test]
async fn plaintext_is_told_from_broken_tls() {
    let server = server(&Authority::new().identity("a.b"));
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x16\x47ET / HTTP/1.1\r\n",
    ] {
        let (error, _) = raw(&server, bytes, false).await;
        assert!(matches!(error, AcceptError::Plaintext), "{error} {bytes:?}");
        assert_eq!(error.reason(), Reason::MtlsRequired);
    }
    for bytes in [b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff".as_slice(), b"\x15\x03\x01\x00\x02\x02\x28"] {
        let (error, _) = raw(&server, bytes, true).await;
        assert!(!matches!(error, AcceptError::Plaintext), "{error} {bytes:?}");
        assert_eq!(error.reason(), Reason::DownstreamTls);
    }
}

#[tokio::test]
async fn every_truncated_hello_ends_as_closed() {
    let authority = Authority::new();
    let server = server(&authority.identity("a.b"));
    let hello = client_hello(plain_client(&authority, &[&TLS13])).await;
    for length in [0, 1, 4, 5, 6, 9, hello.len() / 2, hello.len() - 1] {
        let (error, _) = raw(&server, &hello[..length], true).await;
        assert!(matches!(error, AcceptError::Closed), "{error} after {length} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_peer_is_given_up_at_the_deadline_on_both_sides() {
    let authority = Authority::new();
    let identity = authority.identity("a.b");
    let hello = client_hello(plain_client(&authority, &[&TLS13])).await;
    for length in [0, 3, hello.len() / 2, hello.len()] {
        let (ours, mut theirs) = duplex(1 << 14);
        theirs.write_all(&hello[..length]).await.unwrap();
        let start = tokio::time::Instant::now();
        let error = server(&identity).accept(ours, DEADLINE).await.unwrap_err();
        assert!(matches!(error, AcceptError::Timeout(_)), "{error} after {length} bytes");
        assert_eq!(error.reason(), Reason::DownstreamTimeout);
        assert_eq!(start.elapsed(), DEADLINE);
    }
    let (ours, _silent) = duplex(1 << 14);
    let error = client(&identity, Expect::AnyOfMesh).connect(ours, None, DEADLINE).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout(_)), "{error}");
    assert_eq!(error.reason(), Reason::UpstreamConnectTimeout);
}

#[tokio::test]
async fn a_server_without_tls_or_without_patience_is_told_apart() {
    let identity = Authority::new().identity("a.b");
    let client = client(&identity, Expect::AnyOfMesh);
    let (ours, mut theirs) = duplex(1 << 14);
    theirs.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = client.connect(ours, None, DEADLINE).await.unwrap_err();
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
    let (ours, theirs) = duplex(1 << 14);
    drop(theirs);
    let error = client.connect(ours, None, DEADLINE).await.unwrap_err();
    assert!(matches!(error, ConnectError::Closed), "{error}");
    assert_eq!(error.reason(), Reason::UpstreamTls);
}

#[tokio::test]
async fn huge_chains_cost_little_and_are_refused() {
    let authority = Authority::new();
    let identity = authority.identity("a.b");
    // Enough for more than 64 KiB, and each a possible issuer of the next: a bomb for path building (RUSTSEC-2023-0052).
    let (decoy, decoy_pem) = Authority::new().intermediate("issuing authority");
    let mut certificate = decoy.issue(&Leaf::fsm("evil.shop", &[]));
    let count = (1 << 16) / (decoy_pem.len() * 3 / 4) + 8;
    for _ in 0..count {
        certificate.cert_chain.push_str(&decoy_pem);
    }
    for keep in [40, count] {
        let chain: Vec<&str> =
            certificate.cert_chain.split_inclusive("-----END CERTIFICATE-----\n").take(keep).collect();
        let presented = fsm_api::config::Certificate { cert_chain: chain.concat(), ..certificate.clone() };
        let evil = Identity::from_config(&presented, "").unwrap();
        let trusting = ClientTls::new(Some(&evil), authority.roots(), Expect::AnyOfMesh, Alpn::HTTP).unwrap();
        let start = std::time::Instant::now();
        let (accepted, _) = handshake(&server(&identity), &trusting).await;
        let error = accepted.unwrap_err();
        assert_eq!(error.reason(), Reason::DownstreamTls, "{error}");
        assert!(start.elapsed() < DEADLINE, "{:?} for {keep} certificates", start.elapsed());
    }
}

#[tokio::test]
async fn our_server_never_resumes_a_session() {
    let authority = Authority::new();
    let server = ServerTls::new(&authority.identity("a.b"), ClientCertificate::NotAsked, Alpn::ANY).unwrap();
    for versions in [&[&TLS13], &[&TLS12]] {
        let config = Arc::new(plain_client(&authority, versions)); // keeps sessions by default
        for round in 0..3 {
            let (ours, theirs) = duplex(1 << 14);
            let name = ServerName::try_from("a.b.cluster.local").unwrap();
            let connector = TlsConnector::from(Arc::clone(&config));
            let (accepted, connected) = tokio::join!(server.accept(ours, DEADLINE), connector.connect(name, theirs));
            let (mut accepted, mut connected) = (accepted.unwrap().stream, connected.unwrap());
            // A ticket would arrive with the first bytes.
            accepted.write_all(b"x").await.unwrap();
            accepted.flush().await.unwrap();
            assert_eq!(connected.read_u8().await.unwrap(), b'x');
            assert_eq!(connected.get_ref().1.tls13_tickets_received(), 0);
            assert_eq!(connected.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "round {round}");
        }
    }
}

#[tokio::test]
async fn our_client_never_resumes_a_session() {
    let authority = Authority::new();
    let identity = authority.identity("a.b");
    let client = client(&identity, Expect::AnyOfMesh);
    for versions in [&[&TLS13], &[&TLS12]] {
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let resolver = rustls::sign::SingleCertAndKey::from(identity.certified_key());
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        for round in 0..3 {
            let (ours, theirs) = duplex(1 << 14);
            let (connected, accepted) =
                tokio::join!(client.connect(ours, Some("a.b.cluster.local"), DEADLINE), acceptor.accept(theirs));
            let (mut connected, mut accepted) = (connected.unwrap().stream, accepted.unwrap());
            accepted.write_all(b"x").await.unwrap();
            accepted.flush().await.unwrap();
            assert_eq!(connected.read_u8().await.unwrap(), b'x');
            assert_eq!(connected.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "round {round}");
        }
    }
}

#[tokio::test]
async fn rsa_and_ecdsa_certificates_are_both_served() {
    let authority = Authority::new();
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let rsa = Identity::from_config(&authority.issue_for(&Leaf::fsm("rsa.shop", &[]), &key), "rsa.shop").unwrap();
    let ecdsa = authority.identity("ecdsa.shop");
    let (accepted, connected) = handshake(&server(&rsa), &client(&ecdsa, principals(&["rsa.shop"]))).await;
    assert!(accepted.is_ok() && connected.is_ok());
    let (accepted, connected) = handshake(&server(&ecdsa), &client(&rsa, principals(&["ecdsa.shop"]))).await;
    assert_eq!(accepted.unwrap().peer.unwrap().service.as_deref(), Some("rsa.shop"));
    assert!(connected.is_ok());
}

#[test]
fn the_cryptography_is_the_one_we_chose() {
    let provider = provider();
    let suites: Vec<CipherSuite> = provider.cipher_suites.iter().map(|suite| suite.suite()).collect();
    assert_eq!(
        suites,
        [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ]
    );
    let groups: Vec<NamedGroup> = provider.kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [NamedGroup::X25519, NamedGroup::secp256r1]);
}

/// What we take from the library's defaults: an upgrade that changes one of these must be noticed.
#[test]
fn the_defaults_we_rely_on_have_not_changed() {
    use rustls::SignatureScheme::*;
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    for needed in [RSA_PKCS1_SHA256, RSA_PSS_SHA256, ECDSA_NISTP256_SHA256, ECDSA_NISTP384_SHA384, ED25519] {
        assert!(schemes.contains(&needed), "{needed:?}");
    }
    for weak in [RSA_PKCS1_SHA1, ECDSA_SHA1_Legacy] {
        assert!(!schemes.contains(&weak), "{weak:?}");
    }
    let authority = Authority::new();
    let server =
        ServerTls::config(&authority.identity("a.b").material(), ClientCertificate::Required, Vec::new()).unwrap();
    assert!(!server.session_storage.can_cache() && !server.ticketer.enabled());
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(!server.send_half_rtt_data && !server.enable_secret_extraction && server.max_fragment_size.is_none());
    assert!(server.cert_compressors.is_empty() && server.cert_decompressors.is_empty(), "no decompression bombs");
    let client = ClientTls::config(None, authority.roots(), Expect::AnyOfMesh, None, Alpn::HTTP).unwrap();
    assert!(client.enable_sni && !client.enable_early_data && !client.enable_secret_extraction);
    assert!(client.cert_decompressors.is_empty() && !client.key_log.will_log("any"));
}

#[test]
fn configuration_is_shown_without_secrets() {
    let identity = Authority::new().identity("a.b");
    assert_eq!(format!("{:?}", server(&identity)), "ServerTls { client: Required, .. }");
    assert_eq!(format!("{:?}", client(&identity, Expect::AnyOfMesh)), "ClientTls { expect: AnyOfMesh, .. }");
}

#[tokio::test]
async fn a_renewed_identity_is_shown_and_its_roots_are_trusted_from_the_next_handshake_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let (store, buyer) = (old.identity("bookstore.shop"), old.identity("bookbuyer.shop"));
    let server = ServerTls::new(&store, ClientCertificate::Required, Alpn::HTTP).unwrap();
    let expect = Expect::of_mesh(&["bookstore.shop".to_owned()]);
    let client = ClientTls::of_mesh(&buyer, expect.clone(), Alpn::HTTP).unwrap();
    let fixed = ClientTls::new(Some(&buyer), buyer.roots(), expect, Alpn::HTTP).unwrap();
    let (accepted, connected) = handshake(&server, &client).await;
    let (mut theirs, mut ours) = (accepted.unwrap().stream, connected.unwrap().stream);

    // The authority is replaced: first everybody trusts both, then everybody gets a new certificate.
    for identity in [&store, &buyer] {
        identity.trust(&format!("{}{}", old.pem(), new.pem()), "bundle").unwrap();
    }
    assert!(store.renew(&new.identity("bookstore.shop")));
    let trusting_new_only = handshake(&server, &client).await;
    assert!(
        trusting_new_only.0.is_err(),
        "the server was renewed with new roots only, the client has the old certificate"
    );
    assert!(buyer.renew(&new.identity("bookbuyer.shop")));
    let (accepted, connected) = handshake(&server, &client).await;
    assert_eq!(accepted.unwrap().peer.unwrap().service.as_deref(), Some("bookbuyer.shop"));
    let shown = connected.unwrap();
    assert_eq!(shown.peer.service.as_deref(), Some("bookstore.shop"));
    assert_eq!(shown.stream.get_ref().1.peer_certificates().unwrap(), store.certificates().0);

    // What was open stays open, and who was told to trust the old roots alone does so.
    ours.write_all(b"still here").await.unwrap();
    ours.flush().await.unwrap();
    let mut heard = [0; 10];
    theirs.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
    assert!(handshake(&server, &fixed).await.1.is_err());
}
