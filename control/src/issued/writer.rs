//! Where objects are written.

use crate::world::NamespacedName;
use fsm_api::resources::ObjectKey;
use fsm_api::resources::policy::PolicyStatus;
use k8s_openapi::api::core::v1::Secret;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use thiserror::Error;

/// What a [`Writer`] answers some time later.
pub type WriteFuture<'a, T = ()> = Pin<Box<dyn Future<Output = Result<T, WriteError>> + Send + 'a>>;

/// Whoever writes objects to where the source reads them from.
///
/// The caller's knowledge may be old, so an implementation looks again at the moment of writing: a Secret that was not
/// made by this control plane is refused with [`WriteError::NotOurs`], never replaced. The caller sets a deadline.
pub trait Writer: fmt::Debug + Send + Sync {
    /// Creates a Secret, or replaces one that was made here. What others added to its metadata stays.
    fn put_secret(&self, secret: Secret) -> WriteFuture<'_>;

    /// Removes a Secret that was made here. One that is not there is no error.
    fn remove_secret(&self, secret: NamespacedName) -> WriteFuture<'_>;

    /// The statuses that were written earlier, to be asked once at the start; `None` where policies have them in
    /// themselves, so that the source tells what they are now.
    fn statuses(&self) -> WriteFuture<'_, Option<BTreeMap<ObjectKey, PolicyStatus>>>;

    /// Writes the status of a policy; `None` removes what was written of a policy that is gone.
    fn set_status(&self, policy: ObjectKey, status: Option<PolicyStatus>) -> WriteFuture<'_>;
}

/// Why an object was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// There is one that was made by somebody else.
    #[error("{object} exists and was not made by this control plane, so it is left alone; remove it, or name another")]
    NotOurs {
        /// Which.
        object: ObjectKey,
    },
    /// A name that cannot be part of a path.
    #[error("{object} cannot be written: its names must consist of letters, digits, '-' and '.'")]
    Name {
        /// Which.
        object: ObjectKey,
    },
    /// The file system refuses.
    #[error("{}: {doing} failed: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// What is there cannot be read, so nobody knows whose it is.
    #[error("{}: what is there cannot be read ({reason}), so it is left alone; mend or remove it", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The API server refuses, or does not answer.
    #[error("the API server does not take {object}: {reason}")]
    ApiServer {
        /// Which.
        object: ObjectKey,
        /// Why.
        reason: String,
    },
    /// The task that did it is gone; fsm-control is being stopped.
    #[error("writing was given up because fsm-control is being stopped")]
    Stopped,
}
