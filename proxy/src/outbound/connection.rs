//! What the requests of one connection from our application have in common.

use crate::http::server::Version;
use crate::listen::ConnInfo;
use crate::runtime::drain::DrainWatch;
use crate::shared::Proxy;
use crate::telemetry::record::Session;
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// One HTTP connection from our application.
pub(super) struct Connection {
    pub(super) proxy: Arc<Proxy>,
    pub(super) info: ConnInfo,
    pub(super) drain: DrainWatch,
    pub(super) version: Version,
    /// The endpoint that this connection's requests go to, where the configuration wants one choice for each
    /// downstream connection.
    pub(super) chosen: Mutex<Option<(Arc<Cluster>, Arc<Endpoint>)>>,
    /// What records know of it, once there is one.
    pub(super) session: OnceLock<Arc<Session>>,
}
