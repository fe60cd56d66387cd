//! How long certificates are valid.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::pem::Pem;

/// Seconds since 1970 at which the first of these certificates (PEM) becomes invalid; `None` if there is none to read.
pub(super) fn first_end(pem: &[u8]) -> Option<i64> {
    let certificates = Pem::iter_from_buffer(pem).filter_map(Result::ok).filter(|block| block.label == "CERTIFICATE");
    certificates.filter_map(|block| block.parse_x509().ok().map(|found| found.validity().not_after.timestamp())).min()
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
