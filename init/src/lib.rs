//! Programs a network namespace so that its TCP traffic passes through the sidecar.
//!
//! Three steps, each usable on its own:
//!
//! 1. [`Flags`] (command line and environment) become validated [`Options`];
//! 2. [`RuleSet::compute`] turns options into rules, purely: no I/O, same input, same rules;
//! 3. [`apply`] (or [`dry_run`], [`clean`]) brings the kernel's nat tables to that state with one
//!    `iptables-restore` transaction per address family.
//!
//! Everything works on the network namespace of the **calling thread**, so a program that runs
//! pods as namespaces can enter one on a thread and call [`apply`] there.
//!
//! The state afterwards depends on the options alone, not on what was applied before: a second run
//! changes nothing, a run with other options replaces the first. Rules that are not ours are never
//! touched. When any part fails, the parts already done are put back.

mod apply;
mod command;
mod error;
mod flags;
mod options;
mod rules;
mod tables;
mod xtables;

pub use apply::{Outcome, apply, clean, dry_run, preview, run};
pub use error::InitError;
pub use flags::Flags;
pub use options::{Action, BackendChoice, InterfaceName, Ipv6Choice, Options, PacketMark, PodAddresses, ProxySelector};
pub use rules::{Chain, Family, INBOUND_BYPASS_PORTS, Match, Operation, Rule, RuleSet, Target};
pub use xtables::Backend;
