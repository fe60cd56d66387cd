//! Rate limits and circuit breakers: settings from the document, state from the previous snapshot.

use super::Compiler;
use crate::config::snapshot::ConnectionLimit;
use crate::policy::breaker::{Breaker, BreakerSettings};
use crate::policy::rate::{LimitedAnswer, RateLimit, RateLimiter, RequestLimit};
use fsm_api::config::{CircuitBreaking, HttpRateLimit, TcpRateLimit};
use std::sync::Arc;

impl Compiler<'_> {
    /// The limit of new connections to a port. `id` finds its tokens after an update.
    pub(super) fn connection_limit(
        &mut self,
        limit: Option<&TcpRateLimit>,
        port: u16,
        protocol: &str,
        path: &str,
    ) -> Option<ConnectionLimit> {
        let local = limit?.local.as_ref()?;
        let settings = self.usable(RateLimit::from_tcp(local), path)?;
        let limiter = self.limiter(settings, format!("connections|{path}"));
        Some(ConnectionLimit::new(limiter, port, protocol.to_owned()))
    }

    /// The limit of requests to a service or a route. `id` finds its tokens after an update.
    pub(super) fn request_limit(
        &mut self,
        limit: Option<&HttpRateLimit>,
        id: String,
        path: &str,
    ) -> Option<RequestLimit> {
        let local = limit?.local.as_ref()?;
        let settings = self.usable(RateLimit::from_http(local), path)?;
        let (answer, problems) = LimitedAnswer::from_http(local);
        for problem in problems {
            self.error(format!("{path}.Local"), problem);
        }
        Some(RequestLimit { limiter: self.limiter(settings, id), answer: Arc::new(answer) })
    }

    /// The breaker of a cluster.
    pub(super) fn breaker(&mut self, config: &CircuitBreaking, cluster: &str, path: &str) -> Option<Arc<Breaker>> {
        let settings = BreakerSettings::from_config(config).unwrap_or_else(|error| {
            self.error(format!("{path}.ConnectionSettings.http.CircuitBreaking"), error);
            None
        });
        let previous = self.previous.and_then(|previous| previous.carried.breakers.get(cluster));
        let breaker = Breaker::carry_over(settings?, previous);
        self.carried.breakers.insert(cluster.to_owned(), Arc::clone(&breaker));
        Some(breaker)
    }

    fn limiter(&mut self, limit: RateLimit, id: String) -> Arc<RateLimiter> {
        let previous = self.previous.and_then(|previous| previous.carried.limiters.get(&id));
        let limiter = RateLimiter::carry_over(limit, previous);
        self.carried.limiters.insert(id, Arc::clone(&limiter));
        limiter
    }

    fn usable(&mut self, settings: Result<RateLimit, String>, path: &str) -> Option<RateLimit> {
        settings.map_err(|error| self.error(format!("{path}.Local"), error)).ok()
    }
}
