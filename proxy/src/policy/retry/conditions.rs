//! What is retried: the names and numbers of `RetryOn`.

use super::AttemptOutcome;
use crate::reason::Reason;

/// Every name that is understood, for messages.
const KNOWN: &str = "5xx (any Nxx), a status such as 503, gateway-error, connect-failure, refused-stream, reset, \
                     retriable-4xx, retriable-status-codes, cancelled, deadline-exceeded, internal, \
                     resource-exhausted, unavailable";

/// A set of conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conditions {
    statuses: StatusSet,
    /// Bit n: gRPC status n.
    grpc: u32,
    connect_failure: bool,
    refused_stream: bool,
    reset: bool,
}

impl Conditions {
    /// Reads a list separated by commas. Nothing at all means `5xx`; a list of which nothing is understood means
    /// nothing, because retrying for other reasons than asked does harm.
    pub(super) fn parse(list: &str, problems: &mut Vec<String>) -> Self {
        let mut conditions = Self::default();
        let mut tokens = list.split(',').map(str::trim).filter(|token| !token.is_empty()).peekable();
        if tokens.peek().is_none() {
            conditions.statuses.insert_class(5);
        }
        for token in tokens {
            if !conditions.insert(&token.to_ascii_lowercase()) {
                problems.push(format!("`RetryOn`: the condition `{token}` is unknown and never met; known: {KNOWN}"));
            }
        }
        conditions
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether broken connections are to be retried whatever the method.
    pub(super) const fn names_reset(&self) -> bool {
        self.reset
    }

    /// Failures without a response count as the status that the proxy answers with, as in FSM, besides their names.
    pub(super) fn match_outcome(&self, outcome: AttemptOutcome, grpc: bool) -> bool {
        let local = |reason: Reason| {
            self.statuses.contains(reason.status().as_u16()) || (grpc && self.contains_grpc(reason.grpc_status()))
        };
        match outcome {
            AttemptOutcome::Status(status) => self.statuses.contains(status),
            AttemptOutcome::GrpcStatus(status) => self.contains_grpc(status),
            AttemptOutcome::NotSent(reason) => {
                let refused = matches!(reason, Reason::UpstreamReset | Reason::UpstreamProtocol);
                let named = if refused { self.refused_stream } else { self.connect_failure };
                is_of_endpoint(reason) && (named || self.reset || local(reason))
            }
            AttemptOutcome::Reset(reason) => self.reset || local(reason),
            AttemptOutcome::Timeout => self.reset || local(Reason::UpstreamTimeout),
        }
    }

    fn contains_grpc(&self, status: u8) -> bool {
        1_u32.checked_shl(status.into()).is_some_and(|bit| self.grpc & bit != 0)
    }

    /// False if the token is unknown.
    fn insert(&mut self, token: &str) -> bool {
        match token {
            "gateway-error" => [502, 503, 504].into_iter().for_each(|status| self.statuses.insert(status)),
            "connect-failure" => self.connect_failure = true,
            "refused-stream" => self.refused_stream = true,
            "reset" => self.reset = true,
            "retriable-4xx" => self.statuses.insert(409),
            // Envoy keeps the numbers elsewhere; here they stand in the same list.
            "retriable-status-codes" => {}
            "cancelled" => self.grpc |= 1 << 1,
            "deadline-exceeded" => self.grpc |= 1 << 4,
            "resource-exhausted" => self.grpc |= 1 << 8,
            "internal" => self.grpc |= 1 << 13,
            "unavailable" => self.grpc |= 1 << 14,
            _ => return self.insert_number(token),
        }
        true
    }

    fn insert_number(&mut self, token: &str) -> bool {
        match (token.as_bytes(), token.parse()) {
            ([digit @ b'2'..=b'5', b'x', b'x'], _) => self.statuses.insert_class(u16::from(digit - b'0')),
            ([b'2'..=b'5', _, _], Ok(status)) => self.statuses.insert(status),
            _ => return false,
        }
        true
    }
}

/// Whether it is an endpoint that failed. What the proxy refuses by itself (no endpoint, limits, an open breaker) is
/// not retried: it would be refused again.
fn is_of_endpoint(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UpstreamRefused
            | Reason::UpstreamUnreachable
            | Reason::UpstreamConnectTimeout
            | Reason::UpstreamUnresolved
            | Reason::UpstreamTls
            | Reason::UpstreamIdentity
            | Reason::UpstreamReset
            | Reason::UpstreamProtocol
            | Reason::UpstreamTimeout
    )
}

/// Statuses 200 to 599.
#[derive(Clone, Debug, Default, PartialEq)]
struct StatusSet([u64; 7]);

impl StatusSet {
    fn insert(&mut self, status: u16) {
        if let Some((word, bit)) = Self::place(status) {
            self.0[word] |= bit;
        }
    }

    fn insert_class(&mut self, class: u16) {
        (class * 100..class * 100 + 100).for_each(|status| self.insert(status));
    }

    fn contains(&self, status: u16) -> bool {
        Self::place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    fn place(status: u16) -> Option<(usize, u64)> {
        let offset = status.checked_sub(200).filter(|offset| *offset < 400)?;
        Some((usize::from(offset / 64), 1 << (offset % 64)))
    }
}
