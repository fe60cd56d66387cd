//! UpstreamTrafficSetting: rate limits on the server, limits and circuit breakers of connections on the client.

use super::problems::Problems;
use super::view::View;
use crate::world::ServiceKey;
use fsm_api::config::{HttpRateLimit, RouteRule, TcpRateLimit};

/// The limit of new connections to the ports of a service.
pub(super) fn connection_limit(
    _view: &View<'_>,
    _service: &ServiceKey,
    _problems: &mut Problems,
) -> Option<TcpRateLimit> {
    None
}

/// The limit of requests to a service.
pub(super) fn request_limit(
    _view: &View<'_>,
    _service: &ServiceKey,
    _problems: &mut Problems,
) -> Option<HttpRateLimit> {
    None
}

/// Puts the limits of single routes on the rules with the same path.
pub(super) fn limit_routes(
    _view: &View<'_>,
    _service: &ServiceKey,
    _rules: &mut Vec<RouteRule>,
    _problems: &mut Problems,
) {
}
