//! What commands that look at a mesh show: pure functions from admin pages and objects to rows.
//!
//! * [`pages`]: the admin pages of sidecars and of fsm-control, as far as they are looked at;
//! * [`proxy`]: one sidecar: routes, clusters, endpoints, listeners, certificates;
//! * [`status`]: every sidecar in one line; [`diff`]: what one was told and what it has;
//! * [`traffic`]: success rates and latencies between two readings; [`edges`]: who talks to whom;
//! * [`policy`]: whether a call is allowed; [`connectivity`]: whether it works;
//! * [`tap`]: requests while they happen;
//! * [`explain`]: what a reason means.
//!
//! Nothing here asks anybody or looks at a clock: readings and the time are given. Rows are shown as a table, or as JSON
//! or YAML with the same content.

pub mod connectivity;
pub mod diff;
pub mod edges;
pub mod explain;
pub mod pages;
pub mod policy;
pub mod proxy;
pub mod status;
pub mod tap;
pub mod traffic;
pub mod workload;

use clap::ValueEnum;
use serde::Serialize;

use crate::output::{self, Table};

/// How rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// JSON, for programs.
    Json,
    /// YAML.
    Yaml,
}

/// One row of a view.
pub trait Row: Serialize {
    /// Headings of all columns. Those that begin with `+` are shown by `-o wide` only.
    const HEADINGS: &'static [&'static str];

    /// A cell for each heading.
    fn cells(&self) -> Vec<String>;
}

/// Rows as text that ends with a newline; a table without rows is empty.
#[must_use]
pub fn show<R: Row>(rows: &[R], format: Format) -> String {
    match format {
        Format::Table | Format::Wide if rows.is_empty() => String::new(),
        Format::Table => table(rows, false),
        Format::Wide => table(rows, true),
        Format::Json => output::json(&value(rows)),
        Format::Yaml => output::yaml(&value(rows)),
    }
}

/// Something as JSON; what a view is made of always has a JSON form.
#[must_use]
pub fn value<T: Serialize + ?Sized>(what: &T) -> serde_json::Value {
    serde_json::to_value(what).unwrap_or_default()
}

fn table<R: Row>(rows: &[R], wide: bool) -> String {
    let shown = |heading: &str| wide || !heading.starts_with('+');
    let headings = R::HEADINGS.iter().filter(|heading| shown(heading));
    let mut table = Table::new(headings.map(|heading| heading.trim_start_matches('+')));
    for row in rows {
        let cells = row.cells().into_iter().zip(R::HEADINGS).filter(|(_, heading)| shown(heading));
        table.row(cells.map(|(cell, _)| cell));
    }
    table.to_string()
}

#[cfg(test)]
mod tests;
