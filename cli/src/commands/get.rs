//! `fsm get`: what there is.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::select::{self, Named, Scope, Selector};
use super::{MeshChoice, problems, say};
use crate::local::state::State;
use crate::output::columns::{self, Look};
use crate::output::{self, Format, jsonpath};

/// `fsm get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Kinds are written as with kubectl: pods, po, svc, deploy, trafficsplit, ts, egress, meshconfig … \
    Several are joined by commas, `all` means pods, services and workloads. Of policies the control plane is asked \
    whether they are in effect: STATUS and PROBLEM."
)]
pub(super) struct Get {
    /// KIND [NAME…], KIND,KIND, or KIND/NAME…
    #[arg(required = true, value_name = "KIND [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels, as in `app=curl,version!=v1`; may be given several times
    #[arg(short = 'l', long)]
    selector: Vec<Selector>,
    /// json, yaml, wide, name, or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    /// Without column headings
    #[arg(long)]
    no_headers: bool,
    /// Labels in a column of their own
    #[arg(long)]
    show_labels: bool,
    /// Say nothing of a named object that is not there
    #[arg(long)]
    ignore_not_found: bool,
    /// Print the table again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

impl Get {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        let state = mesh.state()?;
        let named = select::named(&self.words)?;
        let mut text = self.answer(&state, mesh, &named)?;
        say(&text);
        if !self.watch {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            // Files are cheap to read, and the ages in the table change anyway.
            std::thread::sleep(std::time::Duration::from_millis(500));
            let now = self.answer(&state, mesh, &named)?;
            let news: String = now
                .lines()
                .filter(|line| !text.lines().any(|old| same(old, line)))
                .map(|line| format!("{line}\n"))
                .collect();
            say(&news);
            text = now;
        }
    }

    fn answer(&self, state: &State, mesh: &MeshChoice, named: &[Named]) -> Result<String> {
        let selector = self.selector.iter().cloned().fold(Selector::default(), Selector::and);
        let mut groups: Vec<(&Named, Vec<Value>)> = Vec::new();
        for named in named {
            let namespace = self.scope.namespace_of(&named.resource, mesh);
            let namespace = (!self.all_namespaces || named.name.is_some()).then_some(namespace.as_str());
            let found = match select::read_with_status(state, named, namespace, &selector) {
                Err(_) if self.ignore_not_found && named.name.is_some() => Vec::new(),
                found => found?,
            };
            match groups.last_mut() {
                Some((last, objects)) if last.resource == named.resource => objects.extend(found),
                _ => groups.push((named, found)),
            }
        }
        let one = named.len() == 1 && named[0].name.is_some();
        match self.output.as_ref().unwrap_or(&Format::Table) {
            Format::Table => self.table(state, mesh, &groups, false),
            Format::Wide => self.table(state, mesh, &groups, true),
            Format::Json => Ok(output::json(&bundle(groups, one))),
            Format::Yaml => Ok(output::yaml(&bundle(groups, one))),
            Format::Name => Ok(names(&groups)),
            Format::JsonPath(template) => Ok(jsonpath::apply(template, &bundle(groups, one))?),
        }
    }

    fn table(&self, state: &State, mesh: &MeshChoice, groups: &[(&Named, Vec<Value>)], wide: bool) -> Result<String> {
        let mut tables = Vec::new();
        let several = groups.len() > 1;
        for (named, objects) in groups.iter().filter(|(_, objects)| !objects.is_empty()) {
            let resource = &named.resource;
            let look = Look {
                wide,
                namespaces: self.all_namespaces && resource.namespaced,
                labels: self.show_labels,
                prefix: several.then(|| resource.singular()),
                verdicts: problems::verdicts(state, resource),
            };
            let table = columns::table(&resource.directory(), objects, &look, Timestamp::now()).to_string();
            let headings = usize::from(self.no_headers);
            tables.push(table.split_inclusive('\n').skip(headings).collect::<String>());
        }
        if tables.is_empty() {
            let resource = &groups[0].0.resource;
            match self.scope.namespace_of(resource, mesh).as_str() {
                _ if self.ignore_not_found => {}
                namespace if !namespace.is_empty() && !self.all_namespaces => {
                    eprintln!("No resources found in {namespace} namespace.");
                }
                _ => eprintln!("No resources found"),
            }
        }
        Ok(tables.join("\n"))
    }
}

/// Whether two lines of a table differ in nothing but the age.
fn same(old: &str, new: &str) -> bool {
    let ageless =
        |line: &str| line.rsplit_once(' ').map_or(line.to_owned(), |(before, _)| before.trim_end().to_owned());
    ageless(old) == ageless(new)
}

/// The only object that was named, or a list as an API server gives it.
fn bundle(groups: Vec<(&Named, Vec<Value>)>, one: bool) -> Value {
    let mut items: Vec<Value> = groups.into_iter().flat_map(|(_, objects)| objects).collect();
    if one && items.len() == 1 {
        return items.remove(0);
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}})
}

fn names(groups: &[(&Named, Vec<Value>)]) -> String {
    let line = |named: &Named, object: &Value| {
        format!(
            "{}\n",
            named.resource.answer(object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default())
        )
    };
    groups.iter().flat_map(|(named, objects)| objects.iter().map(move |object| line(named, object))).collect()
}
