//! From one issuer to another without a failed connection: what the states of MeshRootCertificates mean, and when they
//! move on. Pure.
//!
//! The states are FSM's. A new object is first only trusted (`validatingRollout`), until every pod can have heard of it.
//! Then it signs (`issuingRollout`), and the one of before is only trusted (`validatingRollback`), until nothing that it
//! signed is valid any more. Then one is `active` and the other `inactive`, and may be deleted. Everybody acts by the
//! states that are written; one process writes them.

use std::time::{Duration, SystemTime};

/// What a MeshRootCertificate is there for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was just made.
    New,
    /// Trusted, and to sign soon.
    ValidatingRollout,
    /// Signs; the one of before is trusted, too.
    IssuingRollout,
    /// Signs alone.
    Active,
    /// Trusted, and signs no more.
    ValidatingRollback,
    /// Not used.
    Inactive,
    /// Cannot be used.
    Error,
}

/// A MeshRootCertificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// Its state.
    pub state: State,
    /// When its state ends by itself.
    pub until: Option<SystemTime>,
}

/// How long the phases of a change are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A new one is trusted so long before it signs.
    pub announce: Duration,
    /// The longest validity of a certificate.
    pub longest_validity: Duration,
}

/// Another state for an object, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its name.
    pub name: String,
    /// The state.
    pub state: State,
    /// When it ends.
    pub until: Option<SystemTime>,
}

/// One takes over from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the one that takes over.
    pub to: String,
    /// Whether it signs already.
    pub signs: bool,
    /// When this phase ends.
    pub until: Option<SystemTime>,
}

impl State {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "",
            Self::ValidatingRollout => "validatingRollout",
            Self::IssuingRollout => "issuingRollout",
            Self::Active => "active",
            Self::ValidatingRollback => "validatingRollback",
            Self::Inactive => "inactive",
            Self::Error => "error",
        }
    }

    /// As it was written; what nobody here writes is as good as new.
    pub fn read(text: &str) -> Self {
        let all = [
            Self::ValidatingRollout,
            Self::IssuingRollout,
            Self::Active,
            Self::ValidatingRollback,
            Self::Inactive,
            Self::Error,
        ];
        all.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::New)
    }
}

/// Who signs, of these; `None`: nobody does yet.
pub fn signer(roots: &[Root]) -> Option<&Root> {
    let of = |state| oldest(roots, state);
    of(State::IssuingRollout).or_else(|| of(State::Active)).or_else(|| of(State::ValidatingRollback))
}

/// Who is trusted, whoever signs first.
pub fn trusted(roots: &[Root]) -> Vec<&Root> {
    let signer = signer(roots);
    let states = [State::IssuingRollout, State::Active, State::ValidatingRollback, State::ValidatingRollout];
    let others = roots.iter().filter(|root| states.contains(&root.state) && Some(*root) != signer);
    signer.into_iter().chain(others).collect()
}

/// The change that is under way.
pub fn change(roots: &[Root]) -> Option<Change> {
    let of = |state, signs| {
        let root = oldest(roots, state)?;
        Some(Change { to: root.name.clone(), signs, until: root.until })
    };
    of(State::IssuingRollout, true).or_else(|| of(State::ValidatingRollout, false))
}

/// What is to be written now.
pub fn moves(roots: &[Root], now: SystemTime, pace: Pace) -> Vec<Move> {
    let to = |root: &Root, state, until| Move { name: root.name.clone(), state, until };
    let is_over = |root: &Root| root.until.is_none_or(|until| now >= until);
    let before = oldest(roots, State::Active).or_else(|| oldest(roots, State::ValidatingRollback));
    if let Some(issuing) = oldest(roots, State::IssuingRollout) {
        if !is_over(issuing) {
            return Vec::new();
        }
        let old = roots.iter().filter(|root| matches!(root.state, State::Active | State::ValidatingRollback));
        let retired = old.map(|root| to(root, State::Inactive, None));
        return std::iter::once(to(issuing, State::Active, None)).chain(retired).collect();
    }
    let Some(before) = before else {
        // The first of a mesh has nobody to take over from.
        let first = oldest(roots, State::ValidatingRollout).or_else(|| oldest(roots, State::New));
        return first.map(|root| to(root, State::Active, None)).into_iter().collect();
    };
    if before.state == State::ValidatingRollback {
        // Who was to take over is gone.
        return vec![to(before, State::Active, None)];
    }
    if let Some(validating) = oldest(roots, State::ValidatingRollout) {
        if !is_over(validating) {
            return Vec::new();
        }
        let end = now + pace.longest_validity + super::CLOCK_SKEW;
        return vec![to(validating, State::IssuingRollout, Some(end)), to(before, State::ValidatingRollback, None)];
    }
    let next = oldest(roots, State::New);
    next.map(|root| to(root, State::ValidatingRollout, Some(now + pace.announce))).into_iter().collect()
}

fn oldest(roots: &[Root], state: State) -> Option<&Root> {
    roots.iter().filter(|root| root.state == state).min_by_key(|root| (root.created, &root.name))
}

#[cfg(test)]
mod tests;
