//! `fsm wait`: until objects are as they should be, for scripts.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use super::select::{self, Named, Scope, Selector};
use super::{MeshChoice, say_line};
use crate::local::state::{ObjectName, State};

/// How often objects are looked at. Reading them takes well under a millisecond each.
const INTERVAL: Duration = Duration::from_millis(100);

/// `fsm wait`.
#[derive(Debug, Args)]
#[command(
    after_help = "Unlike kubectl, this also waits until there is such an object at all: right after `fsm apply` of a \
    Deployment its pods may not have been made yet."
)]
pub(super) struct Wait {
    /// KIND, KIND NAME…, or KIND/NAME…
    #[arg(required = true, value_name = "KIND [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// condition=NAME[=VALUE], jsonpath='{.path}'=VALUE, or delete
    #[arg(long = "for", value_name = "WHAT")]
    what: Condition,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels; may be given several times
    #[arg(short = 'l', long)]
    selector: Vec<Selector>,
    /// All objects of the kind (which is what happens without a name anyway)
    #[arg(long)]
    all: bool,
    /// How long, as in 90s or 3m
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// A condition of the status has a value.
    Status(String, String),
    /// A field has a value.
    Field(String, String),
    /// The object is gone.
    Delete,
}

impl std::str::FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "delete" {
            return Ok(Self::Delete);
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (name, value) = condition.split_once('=').unwrap_or((condition, "True"));
            return Ok(Self::Status(name.to_owned(), value.to_owned()));
        }
        match text.strip_prefix("jsonpath=").and_then(|rest| rest.rsplit_once('=')) {
            Some((path, value)) => Ok(Self::Field(path.trim_matches('\'').to_owned(), value.to_owned())),
            None => Err("use condition=NAME, condition=NAME=VALUE, jsonpath='{.path}'=VALUE, or delete".to_owned()),
        }
    }
}

impl Condition {
    fn met(&self, object: &Value) -> Result<bool> {
        Ok(match self {
            Self::Delete => false,
            Self::Field(path, value) => crate::output::jsonpath::apply(path, object)? == *value,
            Self::Status(name, value) => {
                let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
                conditions.into_iter().flatten().any(|condition| {
                    let is = |field: &str, wanted: &str| {
                        condition
                            .get(field)
                            .and_then(Value::as_str)
                            .is_some_and(|text| text.eq_ignore_ascii_case(wanted))
                    };
                    is("type", name) && is("status", value)
                })
            }
        })
    }
}

impl Wait {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        let state = mesh.state()?;
        let named = select::named(&self.words)?;
        let deadline = Instant::now() + self.timeout;
        let mut told = Vec::new();
        loop {
            let waiting = self.look(&state, mesh, &named, &mut told)?;
            if waiting.as_ref().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let Some(waiting) = waiting else {
                    bail!(
                        "no matching resources found: nothing of that kind, name or label was there in {:?}",
                        self.timeout
                    )
                };
                bail!(
                    "timed out waiting for the condition on {}: `fsm get pods -A` and `fsm logs` tell what keeps them",
                    waiting.join(", ")
                );
            }
            if !state.is_running() {
                bail!(
                    "the mesh {} does not run (any more), so nothing will change: see {}",
                    state.mesh(),
                    state.daemon_log().display()
                );
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Names of objects that are not yet as they should be; `None` if there are no such objects yet.
    fn look(
        &self,
        state: &State,
        mesh: &MeshChoice,
        named: &[Named],
        told: &mut Vec<ObjectName>,
    ) -> Result<Option<Vec<String>>> {
        let selector = self.selector.iter().cloned().fold(Selector::default(), Selector::and);
        let mut waiting = Vec::new();
        let mut seen = self.what == Condition::Delete;
        for one in named {
            let namespace = self.scope.namespace_of(&one.resource, mesh);
            let namespace = (!self.all_namespaces || one.name.is_some()).then_some(namespace.as_str());
            let found = match select::read_with_status(state, one, namespace, &selector) {
                Ok(found) => found,
                Err(_) if self.what != Condition::Delete => return Ok(None),
                Err(_) => {
                    // What cannot be read at the moment is not gone for that.
                    if !is_gone(state, one, namespace) {
                        waiting.push(format!("{}/{}", one.resource.plural, one.name.as_deref().unwrap_or_default()));
                    }
                    continue;
                }
            };
            for object in found {
                let id = ObjectName::of(&object)?;
                // What is about to go will not become anything any more.
                if self.what != Condition::Delete && object.pointer("/metadata/deletionTimestamp").is_some() {
                    continue;
                }
                seen = true;
                // A job's pods are done, and will never be ready.
                let over =
                    one.name.is_none() && object.pointer("/status/phase").and_then(Value::as_str) == Some("Succeeded");
                if !self.what.met(&object)? && !over {
                    waiting.push(format!("{}/{}", one.resource.plural, id.name));
                } else if !told.contains(&id) && !over {
                    say_line(format!("{} condition met", one.resource.answer(&id.name)));
                    told.push(id);
                }
            }
        }
        Ok(seen.then_some(waiting))
    }
}

/// Whether an object that is named is not there.
fn is_gone(state: &State, one: &Named, namespace: Option<&str>) -> bool {
    let name = one.name.as_deref().unwrap_or_default();
    let id = ObjectName::new(&one.resource.directory(), namespace.unwrap_or_default(), name);
    matches!(state.objects().get(&id), Ok(None))
}

/// Reads a time span as Go writes it: `1m30s`, `500ms`, `2h`; a bare number means seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time span: write it as in 90s, 1m30s or 2h");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn time_spans_are_written_as_in_go() {
        for (text, milliseconds) in
            [("180s", 180_000), ("1m30s", 90_000), ("2h", 7_200_000), ("500ms", 500), ("1.5s", 1500), ("7", 7000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "1x", "1", "-1s", "1m30", "99999999999999999999h"].into_iter().filter(|text| *text != "1")
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn conditions_are_compared_without_case() {
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let met = |text: &str| text.parse::<Condition>().unwrap().met(&ready).unwrap();
        assert!(met("condition=ready") && met("condition=Ready=true") && met("jsonpath='{.status.phase}'=Running"));
        assert!(!met("condition=Ready=false") && !met("condition=Other") && !met("delete"));
        assert!("ready".parse::<Condition>().is_err());
    }
}
