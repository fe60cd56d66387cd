//! Configuration: from bytes of some source to the immutable snapshot that every decision is made from.
//!
//! `source` fetches documents, [`store`] puts them in force (or keeps the last good one), [`compile`] turns the wire
//! form into a [`snapshot::Snapshot`].

pub mod cache;
pub mod compile;
pub mod snapshot;
pub mod source;
pub mod store;
