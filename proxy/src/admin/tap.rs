//! `/tap`: requests as they end.

use super::AdminState;
use super::reply::{Ask, Reply, lines, query, text};
use crate::telemetry::Direction;
use crate::telemetry::tap::{Filter, Statuses};
use http::StatusCode;

/// Filters that a question may name.
const PARAMETERS: [&str; 8] = ["direction", "method", "path", "status", "to", "from", "reason", "limit"];

/// Answers with one line for each request that the filters admit.
pub(super) fn watch(ask: &Ask, state: &AdminState) -> Reply {
    let (filter, limit) = match filter(ask) {
        Ok(filter) => filter,
        Err(problem) => return text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
    };
    match state.telemetry.observers.tap.watch(filter) {
        Ok(watch) => lines(watch, limit),
        Err(busy) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{busy}\n")),
    }
}

fn filter(ask: &Ask) -> Result<(Filter, Option<u64>), String> {
    // A filter that is spelled wrong must not show everything.
    let names = ask.uri().query().into_iter().flat_map(|query| query.split('&'));
    let mut names = names.map(|pair| pair.split('=').next().unwrap_or_default()).filter(|name| !name.is_empty());
    if let Some(unknown) = names.find(|name| !PARAMETERS.contains(name)) {
        let unknown: String = unknown.chars().take(32).collect();
        return Err(format!("{unknown:?} is no filter: use {}", PARAMETERS.join(", ")));
    }
    let given = |name| query(ask, name).filter(|value| !value.is_empty());
    let direction = given("direction");
    if let Some(direction) = &direction
        && Direction::ALL.iter().all(|known| known.name() != direction)
    {
        return Err("direction is inbound or outbound".to_owned());
    }
    let status = given("status").map(|text| text.parse::<Statuses>()).transpose().map_err(|error| error.to_string())?;
    let limit = given("limit").map(|text| text.parse::<u64>()).transpose();
    let limit = limit.map_err(|_| "limit is a number of requests".to_owned())?;
    let filter = Filter {
        direction,
        method: given("method"),
        path: given("path"),
        status,
        to: given("to"),
        from: given("from"),
        reason: given("reason"),
    };
    Ok((filter, limit))
}

#[cfg(test)]
mod tests;
