//! The addresses of external names.
//!
//! The system's resolver tells no TTL, so addresses are used for a fixed time ([`limits::RESOLVE_TTL`]). After that they
//! still serve, while a task of their own asks again: no connection waits for a refresh, and a resolver that is down
//! takes no working destination with it. Addresses that nobody has used for a long time
//! ([`limits::RESOLVE_STALE`]) are asked for anew before they are used, and used nevertheless if nobody answers.
//!
//! Fails when a name that was never resolved has no address or the resolver does not answer in time.

use super::connect::{Host, Target};
use super::error::UpstreamError;
use crate::limits;
use crate::reason::Reason;
use crate::runtime;
use arcstr::ArcStr;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// The addresses of one name and port. Cheap to clone; clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct ResolvedNames(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    addresses: Option<(Instant, Arc<[SocketAddr]>)>,
    /// Somebody is asking at the moment.
    refreshing: bool,
}

/// What is known, judged by its age.
enum Finding {
    Fresh(Arc<[SocketAddr]>),
    /// Usable; `ask` says whether it is the caller's turn to ask again.
    Stale {
        addresses: Arc<[SocketAddr]>,
        ask: bool,
    },
    Old(Arc<[SocketAddr]>),
    Nothing,
}

impl ResolvedNames {
    /// The addresses of a target, families in turn, the resolver's favourite first.
    ///
    /// # Errors
    /// [`Reason::UpstreamUnresolved`].
    pub async fn resolve(&self, target: &Target) -> Result<Arc<[SocketAddr]>, UpstreamError> {
        let unresolved =
            |why: &str| UpstreamError::unsent(Reason::UpstreamUnresolved, format!("endpoint {target}: {why}"));
        let name = match &target.host {
            Host::Address(address) => return Ok(Arc::new([SocketAddr::new(*address, target.port)])),
            Host::Below(_) => {
                return Err(unresolved("it stands for many hosts; only TLS clients that name one of them get there"));
            }
            Host::Name(name) => name,
        };
        let fallback = match self.find(Instant::now()) {
            Finding::Fresh(addresses) => return Ok(addresses),
            Finding::Stale { addresses, ask } => {
                if ask {
                    let (known, name, port) = (self.clone(), name.clone(), target.port);
                    runtime::spawn(async move {
                        let outcome = look_up(&name, port).await;
                        known.keep(outcome.ok());
                    });
                }
                return Ok(addresses);
            }
            Finding::Old(addresses) => Some(addresses),
            Finding::Nothing => None,
        };
        match look_up(name, target.port).await {
            Ok(addresses) => {
                self.keep(Some(Arc::clone(&addresses)));
                Ok(addresses)
            }
            Err(failure) => fallback.ok_or_else(|| unresolved(&failure)),
        }
    }

    fn find(&self, now: Instant) -> Finding {
        let mut known = self.0.lock();
        let Some((since, addresses)) = &known.addresses else { return Finding::Nothing };
        let age = now.saturating_duration_since(*since);
        let addresses = Arc::clone(addresses);
        if age < limits::RESOLVE_TTL {
            Finding::Fresh(addresses)
        } else if age < limits::RESOLVE_STALE {
            let ask = !std::mem::replace(&mut known.refreshing, true);
            Finding::Stale { addresses, ask }
        } else {
            Finding::Old(addresses)
        }
    }

    /// Ends a refresh; `None` leaves what was known.
    fn keep(&self, addresses: Option<Arc<[SocketAddr]>>) {
        let mut known = self.0.lock();
        known.refreshing = false;
        if let Some(addresses) = addresses {
            known.addresses = Some((Instant::now(), addresses));
        }
    }

    fn is_fresh(&self) -> bool {
        self.0.lock().addresses.as_ref().is_some_and(|(since, _)| since.elapsed() < limits::RESOLVE_TTL)
    }
}

/// The addresses of names that clients choose (below a wildcard). Their number is bounded, whatever clients ask for.
#[derive(Debug, Default)]
pub struct ChosenNames(Mutex<FxHashMap<ArcStr, ResolvedNames>>);

impl ChosenNames {
    /// What is known of a name.
    pub fn of(&self, name: &ArcStr) -> ResolvedNames {
        let mut names = self.0.lock();
        if let Some(known) = names.get(name) {
            return known.clone();
        }
        if names.len() >= limits::CHOSEN_NAMES {
            names.retain(|_, known| known.is_fresh());
        }
        let known = ResolvedNames::default();
        // With so many names in use at the same time, the newest are resolved for each connection.
        if names.len() < limits::CHOSEN_NAMES {
            names.insert(name.clone(), known.clone());
        }
        known
    }
}

async fn look_up(name: &str, port: u16) -> Result<Arc<[SocketAddr]>, String> {
    let looking = tokio::net::lookup_host((name, port));
    match tokio::time::timeout(limits::RESOLVE_TIMEOUT, looking).await {
        Ok(Ok(addresses)) => {
            let addresses = families_in_turn(addresses);
            if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses.into()) }
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer from the resolver after {:?}", limits::RESOLVE_TIMEOUT)),
    }
}

/// RFC 8305 §4: the resolver's order (RFC 6724), but one address of each family after the other, so that a family that
/// does not work costs one attempt and not all of them.
fn families_in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let Some(first) = all.first().map(SocketAddr::is_ipv6) else { return all };
    let (favourite, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| address.is_ipv6() == first);
    let mut ordered = Vec::with_capacity(favourite.len() + other.len());
    let (mut favourite, mut other) = (favourite.into_iter(), other.into_iter());
    loop {
        let pair = [favourite.next(), other.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests;
