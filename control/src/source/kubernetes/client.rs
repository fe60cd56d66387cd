//! The connection to an API server, with deadlines for all that it does.

use super::retry::describe;
use http::{HeaderName, HeaderValue};
use kube::{Client, Config};
use std::time::Duration;

/// To connect; a server that is there answers in milliseconds.
const CONNECT: Duration = Duration::from_secs(5);

/// To hand a request over.
const WRITE: Duration = Duration::from_secs(20);

/// A connection on which something is awaited is silent for at most so long: longer than a watch lasts.
pub(super) const SILENCE: Duration = Duration::from_secs(200);

/// There is no API server to speak to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody says where it is.
    #[error(
        "no API server is configured: {0}; run fsm-control in a pod of the cluster, or name a kubeconfig file in KUBECONFIG"
    )]
    NotConfigured(String),
    /// The configuration cannot be used.
    #[error("the configuration of the API server cannot be used: {0}")]
    Unusable(String),
}

/// A client of the API server that `KUBECONFIG` names, else of the cluster whose pod this is.
///
/// Nothing is asked yet: a server that is away is no error here.
///
/// # Errors
/// Neither of them is there, or its certificates cannot be used.
pub async fn connect() -> Result<Client, ConnectError> {
    let config = Config::infer().await.map_err(|error| ConnectError::NotConfigured(describe(&error)))?;
    client(config)
}

/// A client of the API server of `config`, with the deadlines that everything here relies on. Call it within a runtime.
///
/// # Errors
/// The certificates in the configuration cannot be used.
pub fn client(mut config: Config) -> Result<Client, ConnectError> {
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(WRITE);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    // Whoever asks knows better when to ask again.
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("fsm-control/", env!("CARGO_PKG_VERSION")));
    config.headers.push((HeaderName::from_static("user-agent"), agent));
    Client::try_from(config).map_err(|error| ConnectError::Unusable(describe(&error)))
}
