//! What users write: the kinds of the mesh, typed, with their schemas.
//!
//! * one file for each group of kinds: [`policy`], [`smi`], [`mesh_config`], [`multicluster`], [`plugin`],
//!   [`root_certificate`], [`ingress`], [`connector`]; a new kind is a type there and a line in `table.rs`;
//! * [`Object`] is any of them, or one of Kubernetes' own kinds; [`ObjectKey`] tells objects apart, [`Kind`] knows names
//!   and groups;
//! * [`manifest::read`] reads files; [`crds`] gives the definitions for an API server.
//!
//! Nothing here panics on what users write, and nothing here does I/O.

pub mod connector;
mod crd;
mod duration;
pub mod ingress;
mod kind;
pub mod manifest;
pub mod mesh_config;
pub mod multicluster;
mod number;
mod object;
pub mod plugin;
pub mod policy;
pub mod root_certificate;
mod schema;
pub mod smi;
mod table;

pub use crd::{crds, crds_yaml};
pub use duration::{GoDuration, InvalidDuration};
pub use kind::{Kind, KindNames, Scope};
pub use manifest::{Located, ManifestError, Severity};
pub use object::{InvalidObject, Object, ObjectKey};
