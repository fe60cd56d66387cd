//! `fsm policy`: what policies mean for a call.

mod check;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use fsm_api::resources::Kind;
use serde_json::Value;

use super::kinds::{self, Resource};
use super::select::Scope;
use super::{MeshChoice, pods, say};
use crate::output::Style;
use crate::reach::{Mesh, Place, PodName};
use crate::views::policy::{Explained, encoded};
use crate::views::{Format, policy};

/// `fsm policy`.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Say whether one pod may call another
    #[command(name = "check-pods")]
    CheckPods(check::CheckPods),
    /// Find policies of a namespace that contradict each other
    #[command(name = "check-conflicts")]
    CheckConflicts(check::CheckConflicts),
    /// Say whether a call is allowed, by which object and rule, or what keeps it out
    Explain(Explain),
}

/// `fsm policy explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "The answer is the control plane's: it follows the call through the configurations of the sidecars on its way. The \
    exit code is 0 if the call is allowed, 1 if it is not, 3 if some such calls are.\n\n\
    Examples:\n  fsm policy explain --from bookbuyer/bookbuyer-7c9 --to bookstore/bookstore GET /buy-a-book/new\n  \
    fsm policy explain --from deploy/bookthief -n bookthief --to bookstore/bookstore\n  \
    fsm policy explain --from sa/bookbuyer -n bookbuyer --to svc/bookstore --to-namespace bookstore"
)]
pub(super) struct Explain {
    /// Who calls: NAMESPACE/POD, or a pod, deploy/NAME or sa/NAME of the namespace given with -n
    #[arg(long, value_name = "CALLER")]
    from: String,
    /// Whom: NAMESPACE/SERVICE, or svc/NAME
    #[arg(long, value_name = "SERVICE")]
    to: String,
    /// Namespace of --to, where that is svc/NAME [default: that of -n]
    #[arg(long, value_name = "NS")]
    to_namespace: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Port of the service, if it has several
    #[arg(long)]
    port: Option<u16>,
    /// Method of the request [default: any]
    method: Option<String>,
    /// Path of the request [default: any]
    #[arg(requires = "method")]
    path: Option<String>,
    /// A header of the request, as `user-agent: curl`
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Format,
}

impl Policy {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        match self {
            Self::CheckPods(command) => command.run(mesh).map(|()| ExitCode::SUCCESS),
            Self::CheckConflicts(command) => command.run(mesh).map(|()| ExitCode::SUCCESS),
            Self::Explain(command) => command.run(mesh),
        }
    }
}

impl Explain {
    fn run(self, choice: &MeshChoice) -> Result<ExitCode> {
        let mesh = choice.reach()?;
        let from = self.caller(&mesh, choice)?;
        let to = service(&self.to, self.to_namespace.as_deref(), &self.scope, choice)?;
        let mut query = format!("/explain?from={}&to={}", encoded(&from), encoded(&to));
        if let Some(port) = self.port {
            query.push_str(&format!("&port={port}"));
        }
        for (name, value) in [("method", &self.method), ("path", &self.path)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        for header in &self.headers {
            query.push_str(&format!("&header={}", encoded(header)));
        }
        let explained: Explained = mesh.read(&Place::Control, &query)?;
        say(&match self.output {
            Format::Table | Format::Wide => {
                let asked =
                    self.method.as_ref().map(|method| format!("{method} {}", self.path.as_deref().unwrap_or("/")));
                policy::told(&explained, asked.as_deref(), Style::detect(false))
            }
            Format::Json => crate::output::json(&crate::views::value(&explained)),
            Format::Yaml => crate::output::yaml(&crate::views::value(&explained)),
        });
        Ok(match explained.verdict.as_str() {
            "allowed" => ExitCode::SUCCESS,
            "partly" => ExitCode::from(3),
            _ => ExitCode::FAILURE,
        })
    }

    /// As the control plane wants it: `namespace/pod`, or `account:namespace/name`.
    fn caller(&self, mesh: &Mesh, choice: &MeshChoice) -> Result<String> {
        let pod = |pod: &Value| PodName::of(pod).to_string();
        match self.from.split_once('/') {
            None => Ok(pod(&pods::find(mesh, choice, &self.scope, &self.from)?)),
            Some((word, name)) => match kinds::kind(word) {
                Ok(Kind::ServiceAccount) => {
                    let namespace = self.scope.namespace_of(&Resource::of(&Kind::ServiceAccount), choice);
                    Ok(format!("account:{namespace}/{name}"))
                }
                Ok(_) => Ok(pod(&pods::find(mesh, choice, &self.scope, &self.from)?)),
                Err(_) => Ok(self.from.clone()),
            },
        }
    }
}

/// `namespace/service`.
fn service(text: &str, namespace: Option<&str>, scope: &Scope, choice: &MeshChoice) -> Result<String> {
    let resource = Resource::of(&Kind::Service);
    let own = || namespace.map_or_else(|| scope.namespace_of(&resource, choice), str::to_owned);
    match text.split_once('/') {
        None => Ok(format!("{}/{text}", own())),
        Some((word, name)) => match kinds::kind(word) {
            Ok(Kind::Service) => Ok(format!("{}/{name}", own())),
            Ok(_) => bail!("`{text}` is no Service: calls go to Services, as svc/NAME or NAMESPACE/NAME"),
            Err(_) => Ok(text.to_owned()),
        },
    }
}
