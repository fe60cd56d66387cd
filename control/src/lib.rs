//! The control plane: it follows the resources that users write ([`source`]), keeps them indexed ([`world`]), computes
//! what every group of proxies must do ([`catalog`]), gives every proxy its certificate ([`cert`]), and keeps all of
//! them up to date ([`push`]). Kubernetes is only a feeder; everything between the source and the push is pure.

pub mod catalog;
pub mod cert;
pub mod controller;
pub mod push;
pub mod source;
pub mod world;
