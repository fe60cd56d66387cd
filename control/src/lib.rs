//! The control plane: it follows the resources that users write ([`source`]), keeps them indexed ([`world`]), computes
//! what every group of proxies must do ([`catalog`]), gives every proxy its certificate ([`cert`]) once it has said who
//! it is ([`auth`]), and keeps all of them up to date ([`push`]). [`controller`] ties these together in one owner task,
//! [`admin`] shows how things stand, and [`webhook`] puts sidecars into new pods. [`bootstrap`] prepares the cluster, and
//! [`reconcile`] keeps in it what the control plane needs there. Kubernetes is only a feeder; everything
//! between the source and the push is pure.

mod accept;
pub mod admin;
pub mod app;
pub mod auth;
pub mod bootstrap;
pub mod catalog;
pub mod cert;
pub mod controller;
pub mod debug;
mod http;
pub mod inject;
pub mod issued;
pub mod leader;
pub mod limits;
pub mod log;
pub mod options;
pub mod push;
pub mod reconcile;
pub mod source;
pub mod telemetry;
pub mod validate;
pub mod webhook;
pub mod world;
