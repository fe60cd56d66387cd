//! Hooks of a container: what runs right after its start (`postStart`), and before it is asked to end (`preStop`).
//!
//! A hook is a look at the container ([`super::super::runtime::Check`]) whose outcome counts once. Until the first has
//! succeeded the container counts as not started; if it fails, the container is ended. What the second says does not
//! matter: the container is asked to end when it is over.

use super::super::runtime::Check;
use super::super::runtime::Process;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use std::net::IpAddr;

/// How far a hook is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hook {
    /// There is none, or it is not its time.
    #[default]
    None,
    /// To be run.
    Due,
    /// It runs, as the look with this ticket.
    Runs(u64),
    /// It is over.
    Done,
}

impl Hook {
    pub(super) fn of(handler: Option<&LifecycleHandler>) -> Self {
        if handler.is_some() { Self::Due } else { Self::None }
    }

    /// Whether nobody has to wait for it.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::None | Self::Done)
    }

    /// Takes the outcome with this ticket; says whether it is this hook's.
    pub(super) fn learn(&mut self, ticket: u64) -> bool {
        let is_own = *self == Self::Runs(ticket);
        if is_own {
            *self = Self::Done;
        }
        is_own
    }
}

pub(super) fn post_start(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref()?.post_start.as_ref()
}

pub(super) fn pre_stop(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref()?.pre_stop.as_ref()
}

/// What a hook does; `None`: nothing (`sleep` too: an end must not wait for nothing on one machine).
pub(super) fn check(
    handler: &LifecycleHandler,
    container: &Container,
    addresses: &[IpAddr],
    process: Option<&Process>,
) -> Result<Option<Check>, String> {
    if let Some(exec) = &handler.exec {
        return Ok(Some(super::look::exec(exec, process)));
    }
    let Some(get) = &handler.http_get else { return Ok(None) };
    let pod = addresses.first().copied().ok_or("the pod has no address")?;
    super::look::http_check(get, container, pod).map(Some)
}
