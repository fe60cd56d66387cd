//! What the micro benches work on: the documents of the tests' fixtures, generated documents of any size, and first
//! bytes of connections. Everything is made once, outside of what is measured. The load comparison is in `load/`.

mod connections;
mod documents;

pub use connections::{client_hello, http1_request, http2_preface};
pub use documents::{FIXTURES, Rules, fixture, mesh, with_identity, with_rules};

#[cfg(test)]
mod tests;
