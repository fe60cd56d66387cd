//! `fsm verify connectivity`: why one pod does not reach another.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use fsm_api::resources::Kind;
use jiff::Timestamp;
use serde_json::Value;

use super::select::Scope;
use super::{MeshChoice, pods, say};
use crate::output::Style;
use crate::reach::{Mesh, Place, PodName};
use crate::views::connectivity::{Check, Report, certified, known, permitted, ports, probed, synced, told};
use crate::views::pages::Proxy;
use crate::views::policy::{Explained, encoded};
use crate::views::status::{Said, status};
use crate::views::workload::addresses;
use crate::views::{Format, value};

/// `fsm verify`.
#[derive(Debug, Subcommand)]
pub(super) enum Verify {
    /// Look at all that has to be true for one pod to reach another
    Connectivity(Connectivity),
}

/// `fsm verify connectivity`.
#[derive(Debug, Args)]
#[command(
    after_help = "It looks at both pods, the Services that lead to the server, the sidecars' configurations, policies, \
    endpoints and certificates, and sends one real request (GET /) from the caller's container, if that has curl. The exit \
    code is 0 if nothing keeps the caller out, else 1.\n\n\
    Example: fsm verify connectivity --from-pod curl/curl-6f9 --to-pod httpbin/httpbin-5b8"
)]
pub(super) struct Connectivity {
    /// The caller: NAMESPACE/NAME, or deploy/NAME of the namespace given with -n
    #[arg(long, value_name = "POD")]
    from_pod: String,
    /// The server: NAMESPACE/NAME, or deploy/NAME of the namespace given with -n
    #[arg(long, value_name = "POD")]
    to_pod: String,
    /// The Service that is called, of the server's namespace [default: the first that leads to it]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// The Service's port [default: its first]
    #[arg(long)]
    port: Option<u16>,
    /// Do not send a request
    #[arg(long)]
    no_probe: bool,
    #[command(flatten)]
    scope: Scope,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Format,
}

impl Verify {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<ExitCode> {
        let Self::Connectivity(command) = self;
        let mesh_reached = mesh.reach()?;
        let report = command.look(&mesh_reached, mesh)?;
        say(&match command.output {
            Format::Table | Format::Wide => told(&report, Style::detect(false)),
            Format::Json => crate::output::json(&value(&report)),
            Format::Yaml => crate::output::yaml(&value(&report)),
        });
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Connectivity {
    fn look(&self, mesh: &Mesh, choice: &MeshChoice) -> Result<Report> {
        let (from, to) = (self.pod(mesh, choice, &self.from_pod)?, self.pod(mesh, choice, &self.to_pod)?);
        let (from_name, to_name) = (PodName::of(&from), PodName::of(&to));
        let mut report =
            Report { from_pod: from_name.to_string(), to_pod: to_name.to_string(), service: None, checks: Vec::new() };
        let checks = &mut report.checks;
        checks.extend([("caller", &from), ("server", &to)].map(|(who, pod)| member(who, pod)));
        let service = self.service(mesh, &to)?;
        let Some((service, port)) = service else {
            checks.push(Check::bad(
                format!("no Service of namespace {} leads to pod {}", to_name.namespace, to_name.name),
                "make one whose selector fits the pod's labels: the mesh knows pods by their Services",
            ));
            return Ok(report);
        };
        let called = format!("{}/{service}", to_name.namespace);
        report.service = Some(format!("{called}:{port}"));
        checks.push(Check::good(format!("Service {called} leads to the server on port {port}")));
        let both = [(&from, &from_name), (&to, &to_name)];
        checks.extend(newest(mesh, &both));
        let query = format!("/explain?from={}&to={}&port={port}", encoded(&report.from_pod), encoded(&called));
        checks.push(match mesh.read::<Explained>(&Place::Control, &query) {
            Ok(explained) => permitted(&explained),
            Err(why) => Check::unknown(format!("what policies say is not known: {why:#}")),
        });
        checks.extend(sidecars(mesh, &both, &addresses(&to)));
        if !self.no_probe {
            let url = format!("http://{service}.{}:{port}/", to_name.namespace);
            checks.push(probe(mesh, &from, &url));
        }
        Ok(report)
    }

    fn pod(&self, mesh: &Mesh, choice: &MeshChoice, text: &str) -> Result<Value> {
        if let Some((namespace, name)) = text.split_once('/')
            && super::kinds::kind(namespace).is_err()
        {
            let scope = Scope { namespace: Some(namespace.to_owned()) };
            return pods::find(mesh, choice, &scope, name);
        }
        pods::find(mesh, choice, &self.scope, text)
    }

    /// The Service and port that are called.
    fn service(&self, mesh: &Mesh, to: &Value) -> Result<Option<(String, u16)>> {
        let namespace = PodName::of(to).namespace;
        let mut found = mesh.list(&Kind::Service, Some(&namespace))?;
        found.retain(|service| pods::selector_of(service).is_some_and(|selector| selector.matches(to)));
        if let Some(wanted) = &self.service {
            found.retain(|service| PodName::of(service).name == *wanted);
            if found.is_empty() {
                bail!(
                    "Service {namespace}/{wanted} does not exist, or its selector does not fit pod {}",
                    PodName::of(to)
                );
            }
        }
        for service in &found {
            let ports = ports(service);
            let port = self.port.map_or(ports.first().copied(), |port| ports.contains(&port).then_some(port));
            if let Some(port) = port {
                return Ok(Some((PodName::of(service).name, port)));
            }
        }
        match self.port {
            Some(port) if !found.is_empty() => bail!("no Service of pod {} has TCP port {port}", PodName::of(to)),
            _ => Ok(None),
        }
    }
}

/// Whether a pod runs and is in the mesh.
fn member(who: &str, pod: &Value) -> Check {
    let name = PodName::of(pod);
    if !pods::is_ready(pod) {
        return Check::bad(
            format!("the {who} is not ready"),
            format!("`fsm get pod {} -n {}`, `fsm describe pod {0} -n {1}`", name.name, name.namespace),
        );
    }
    if !pods::has_sidecar(pod) {
        return Check::bad(
            format!("the {who} has no sidecar: it is not in the mesh"),
            format!("`fsm namespace add {}`, then restart its workload with `fsm rollout restart`", name.namespace),
        );
    }
    Check::good(format!("the {who} is ready and has a sidecar"))
}

/// Whether both sidecars have what control wants.
fn newest(mesh: &Mesh, both: &[(&Value, &PodName)]) -> Vec<Check> {
    let roster: Vec<Proxy> = match mesh.read(&Place::Control, "/proxies") {
        Ok(roster) => roster,
        Err(why) => {
            return vec![Check::unknown(format!("fsm-control does not say what sidecars should have: {why:#}"))];
        }
    };
    let with_sidecar = both.iter().filter(|(pod, _)| pods::has_sidecar(pod));
    let one = |(_, name): &(&Value, &PodName)| {
        let place = Place::Sidecar((*name).clone());
        let said = mesh
            .read(&place, "/config_status")
            .and_then(|config| Ok(Said { config, version: mesh.read(&place, "/version")? }));
        let why = said.as_ref().err().map(|why| format!("{why:#}")).unwrap_or_default();
        let entry = roster.iter().find(|entry| entry.pod == name.to_string());
        synced(&status(name, said.as_ref().map_err(|_| why.as_str()), entry, Timestamp::now()))
    };
    with_sidecar.map(one).collect()
}

/// What both sidecars know of each other.
fn sidecars(mesh: &Mesh, both: &[(&Value, &PodName); 2], addresses: &[String]) -> Vec<Check> {
    let [(from, from_name), (to, to_name)] = both;
    if !pods::has_sidecar(from) || !pods::has_sidecar(to) {
        return Vec::new();
    }
    let (caller, server) = (Place::Sidecar((*from_name).clone()), Place::Sidecar((*to_name).clone()));
    let mut checks = Vec::new();
    checks.push(match mesh.read::<Vec<_>>(&caller, "/clusters?format=json") {
        Ok(clusters) => known(&clusters, addresses),
        Err(why) => Check::unknown(format!("what the caller's sidecar knows is not known: {why:#}")),
    });
    match (mesh.read::<Vec<_>>(&caller, "/certs"), mesh.read::<Vec<_>>(&server, "/certs")) {
        (Ok(one), Ok(other)) => checks.extend(certified(&one, &other)),
        (Err(why), _) | (_, Err(why)) => checks.push(Check::unknown(format!("certificates are not known: {why:#}"))),
    }
    checks
}

/// One real request out of the caller's container.
fn probe(mesh: &Mesh, from: &Value, url: &str) -> Check {
    let name = PodName::of(from);
    let container = match pods::container(from, None) {
        Ok(container) => container,
        Err(why) => return Check::unknown(format!("no request was sent: {why}")),
    };
    let format = "%{http_code} %header{x-fsm-reason}";
    let command = ["curl", "-s", "-o", "/dev/null", "-m", "5", "-w", format, url];
    match mesh.run(&name, &container, &command.map(str::to_owned)) {
        Ok((code, output)) => probed(url, code, &output),
        Err(why) => Check::unknown(format!("no request was sent: {why:#}")),
    }
}
