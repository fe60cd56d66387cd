//! Why the proxy refused or gave up: one stable code for every cause.
//!
//! The same code stands in the `x-fsm-reason` header, in the log, in the metric label `reason` and in the CLI, and
//! `docs/reasons.md` has a row for each (kept complete by a test). Codes are never renamed or reused.

use http::StatusCode;

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $code:literal, $status:literal, $grpc:literal, $body:literal;)+) => {
        /// Why the proxy refused or gave up.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $meaning])+ $variant),+ }

        impl Reason {
            /// Every reason, in declaration order.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),+];

            /// The stable code: kebab case, never renamed.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code),+ }
            }

            /// What the code means, in one sentence; causes and remedies are in `docs/reasons.md`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Reason::$variant => concat!($($meaning),+).trim_ascii()),+ }
            }

            /// HTTP status of the local reply. Connections that speak no HTTP are closed instead.
            pub fn status(self) -> StatusCode {
                let status: u16 = match self { $(Reason::$variant => $status),+ };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// `grpc-status` of the local reply to a gRPC request.
            pub const fn grpc_status(self) -> u8 {
                match self { $(Reason::$variant => $grpc),+ }
            }

            /// Body of the local reply; FSM's own texts where FSM has one.
            pub const fn body(self) -> &'static str {
                match self { $(Reason::$variant => $body),+ }
            }
        }
    };
}

reasons! {
    /// The request line, the headers or their framing are ambiguous or not allowed.
    BadRequest = "bad-request", 400, 3, "Bad Request";
    /// The request target cannot be brought into one canonical form.
    BadPath = "bad-path", 400, 3, "Bad Request";
    /// The host header is missing, repeated, malformed or contradicts the request target.
    BadHost = "bad-host", 400, 3, "Bad Request";
    /// CONNECT is not configured for this service.
    ConnectRefused = "connect-refused", 405, 12, "Method Not Allowed";
    /// No service is known for the host on this port.
    NoService = "no-service", 403, 7, "Access denied";
    /// The service has no rule for this method, path and headers.
    NoRoute = "no-route", 403, 7, "Access denied";
    /// A rule matches, but not for this client's verified identity.
    IdentityNotAllowed = "identity-not-allowed", 403, 7, "Access denied";
    /// The client's certificate names none of the principals that the source range admits.
    PrincipalNotAllowed = "principal-not-allowed", 403, 7, "Access denied";
    /// A rule was unreadable and denies until it is mended.
    BrokenRule = "broken-rule", 403, 7, "Access denied";
    /// Too many requests to the service.
    RateLimitedService = "rate-limited-service", 429, 8, "";
    /// Too many requests to the route.
    RateLimitedRoute = "rate-limited-route", 429, 8, "";
    /// Too many new connections to the port.
    RateLimitedConnections = "rate-limited-connections", 429, 8, "";
    /// The cluster's circuit breaker is open.
    CircuitOpen = "circuit-open", 503, 14, "Service Unavailable";
    /// The cluster has no endpoint that could take the request.
    NoEndpoint = "no-endpoint", 503, 14, "No endpoint available";
    /// The route names no cluster that exists.
    NoCluster = "no-cluster", 503, 14, "No endpoint available";
    /// The proxy or the cluster has as many connections or requests as it may have.
    Overloaded = "overloaded", 503, 14, "Service Unavailable";
    /// The endpoint refused the connection.
    UpstreamRefused = "upstream-refused", 502, 14, "Connection Refused";
    /// The endpoint could not be reached.
    UpstreamUnreachable = "upstream-unreachable", 502, 14, "Bad Gateway";
    /// The endpoint did not accept the connection in time.
    UpstreamConnectTimeout = "upstream-connect-timeout", 504, 14, "Gateway Timeout";
    /// The endpoint's name does not resolve.
    UpstreamUnresolved = "upstream-unresolved", 502, 14, "Cannot Resolve";
    /// The TLS handshake with the endpoint failed.
    UpstreamTls = "upstream-tls", 502, 14, "Bad Gateway";
    /// The endpoint's certificate does not name an identity of the cluster.
    UpstreamIdentity = "upstream-identity", 502, 14, "Bad Gateway";
    /// The endpoint closed or reset the connection before it answered.
    UpstreamReset = "upstream-reset", 502, 14, "Bad Gateway";
    /// The endpoint's answer is not HTTP.
    UpstreamProtocol = "upstream-protocol", 502, 14, "Bad Gateway";
    /// The endpoint did not answer in time.
    UpstreamTimeout = "upstream-timeout", 504, 4, "Gateway Timeout";
    /// The connection came straight to the proxy's own port instead of being redirected.
    DirectConnection = "direct-connection", 508, 9, "Loop Detected";
    /// The address may not connect to this pod.
    SourceNotAllowed = "source-not-allowed", 403, 7, "Access denied";
    /// The egress gateway does not connect to this destination.
    DestinationNotAllowed = "destination-not-allowed", 403, 7, "Access denied";
    /// Nothing is configured for this port.
    UnknownPort = "unknown-port", 403, 7, "Access denied";
    /// The destination is unknown and egress passthrough is off.
    UnknownDestination = "unknown-destination", 403, 7, "Access denied";
    /// The port wants mesh mTLS and the client spoke plaintext.
    MtlsRequired = "mtls-required", 403, 16, "Access denied";
    /// The client's TLS handshake failed: wrong, missing or expired certificate, or no TLS at all.
    DownstreamTls = "downstream-tls", 403, 16, "Access denied";
    /// The client did not finish its first bytes, its handshake or its headers in time.
    DownstreamTimeout = "downstream-timeout", 408, 4, "Request Timeout";
    /// A protocol that no rule of this port can decide on.
    UnknownProtocol = "unknown-protocol", 400, 3, "Bad Request";
    /// The TLS server name is missing or names no permitted host.
    UnknownServerName = "unknown-server-name", 403, 7, "Access denied";
    /// The configuration asks for something that this proxy cannot do yet.
    Unsupported = "unsupported", 501, 12, "Not Implemented";
    /// The proxy is shutting down.
    ShuttingDown = "shutting-down", 503, 14, "Service Unavailable";
    /// A defect of the proxy; please report it.
    Internal = "internal", 500, 13, "Internal Server Error";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests;
