//! The one set of cryptography that every TLS connection of the proxy uses.
//!
//! aws-lc-rs only. The choice is written out instead of taken from a library's defaults, so that an upgrade cannot
//! change what goes over the wire without a test noticing.

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::{Arc, LazyLock};

/// TLS 1.3, and 1.2 for peers that run Pipy on an old OpenSSL. Nothing older (RFC 8996).
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Cipher suites in order of preference; all have forward secrecy and authenticated encryption.
///
/// AES-128-GCM comes first: it is as safe against every known attack as AES-256 and needs 10 rounds instead of 14 for
/// each block, and its SHA-256 makes the key schedule of a handshake cheaper than SHA-384 does. ChaCha20 comes before
/// the 1.2 suites for peers without AES instructions.
const CIPHER_SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The provider of all TLS in this process.
///
/// Key exchange is X25519, then P-256. The post-quantum hybrid X25519MLKEM768 is left out on purpose: it adds 2.3 KB
/// and two lattice operations to every handshake between two pods of one cluster. Listed last it would buy nothing
/// (a peer that also knows X25519 would never use it) and would make newer OpenSSL servers ask for a second round trip.
/// A mesh that must resist "record now, decrypt later" needs it first on both sides: then this line is the place.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: CIPHER_SUITES.to_vec(),
            kx_groups: vec![kx_group::X25519, kx_group::SECP256R1],
            ..aws_lc_rs::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}
