//! The demo, step by step: what is done, what is expected, and what it shows.

use crate::application::{ECHO_PORT, GRPC_PORT, HTTP_PORT};
use crate::capture::{self, Capture};
use crate::documents::{ADMINISTRATOR, CLIENT, CLUSTER_IP, Documents, SERVER, SERVICE_PORT};
use crate::ground::Ground;
use crate::pods::{Pods, SERVER_IP, inside};
use crate::shell::Workshop;
use anyhow::{Context, bail};
use serde_json::Value;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// curl that never waits long and never asks anybody else.
const CURL: &str = "curl -sS --max-time 5 --noproxy '*'";

/// Everything the steps need.
struct Story<'a> {
    ground: &'a Ground,
    workshop: &'a Workshop,
    pods: Pods,
    /// A word that occurs in every payload of this run and nowhere else.
    marker: String,
    steps: u32,
    held: u32,
    broken: Vec<String>,
}

/// Tells the whole story; `true` when every expectation held.
///
/// # Errors
/// When a step that the others rest on could not be made.
pub(crate) fn tell(ground: &Ground, workshop: &Workshop) -> anyhow::Result<bool> {
    let started = Instant::now();
    say!("FSM in one minute: two pods, a sidecar in each, and what happens between them.");
    say!("Running {ground}.");
    look_for_programs(workshop)?;
    say!("\n1. Two pods, and somebody outside the mesh: network namespaces on a bridge");
    let pods = Pods::make(workshop)?;
    let marker = format!("payload-{:016x}", RandomState::new().hash_one(started));
    let mut story = Story { ground, workshop, pods, marker, steps: 1, held: 0, broken: Vec::new() };
    story.start_the_mesh()?;
    let capture = Capture::start(&story.pods.server)?;
    story.http()?;
    story.grpc()?;
    story.tcp()?;
    story.on_the_wire(capture)?;
    story.in_the_proxys_words()?;
    story.refusals()?;
    Ok(story.ending(started))
}

/// Says how a person can repeat the commands while the pods are kept.
pub(crate) fn how_to_look_around(ground: &Ground) {
    say!("\nThe pods stay until you press Ctrl-C. In another terminal the commands above work as they are");
    match ground.way_in() {
        None => say!("(`ip netns list` shows the pods)."),
        Some(way_in) => say!("after this one, which goes where the pods are:\n   {way_in}"),
    }
}

fn look_for_programs(workshop: &Workshop) -> anyhow::Result<()> {
    let needed = ["ip", "nsenter", "setpriv", "curl", "bash", "timeout", "iptables-restore"];
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|program| {
            let found = workshop.run_quietly(&format!("command -v {program}"));
            found.is_ok_and(|found| found.code != Some(0))
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "programs are missing: {}; `make setup` installs them as root, or install iproute2, util-linux, curl, bash, \
         coreutils and iptables yourself",
        missing.join(", ")
    )
}

impl Story<'_> {
    fn step(&mut self, title: &str) {
        self.steps += 1;
        say!("\n{}. {title}", self.steps);
    }

    fn expect(&mut self, what: &str, holds: bool) {
        if holds {
            self.held += 1;
            say!("   ok: {what}");
        } else {
            self.broken.push(what.to_owned());
            say!("   NOT AS EXPECTED: {what}");
        }
    }

    fn start_the_mesh(&mut self) -> anyhow::Result<()> {
        let (workshop, ground) = (self.workshop, *self.ground);
        let (client, server) = (inside(&self.pods.client), inside(&self.pods.server));
        let (init, proxy) = (program(workshop, "fsm-init")?, program(workshop, "fsm-proxy")?);

        self.step("Redirection: from now on the kernel hands the pods' TCP connections to their sidecars");
        for pod in [&client, &server] {
            workshop.must(&format!("{pod} {} {}", init.display(), ground.init_arguments()))?;
        }

        self.step(&format!(
            "Identities: an authority made for this run certifies `{CLIENT}` and `{SERVER}`; both stand in the documents"
        ));
        let documents = Documents::make().context("certificates cannot be made")?;
        let client_document = self.write("client.json", &documents.client)?;
        let server_document = self.write("server.json", &documents.server)?;
        say!("   {}\n   {}", client_document.display(), server_document.display());

        self.step("A small server, which knows nothing of the mesh and speaks plaintext, and the two sidecars");
        let application = std::env::current_exe()?;
        let words: Vec<&str> = server.split(' ').chain(Ground::AS_OURSELVES.iter().copied()).collect();
        workshop.start("the application", &[words.as_slice(), &[text(&application)?, "application"]].concat())?;
        for (name, pod, document) in
            [("the client's sidecar", &client, &client_document), ("the server's sidecar", &server, &server_document)]
        {
            let mut words: Vec<&str> = pod.split(' ').chain(ground.as_proxy().iter().copied()).collect();
            words.extend([text(&proxy)?, "--config", text(document)?]);
            words.extend(ground.proxy_arguments());
            workshop.start(name, &words)?;
        }
        for pod in [&client, &server] {
            workshop.must(&format!("{pod} {} wait --timeout 20s", proxy.display()))?;
        }
        let quiet = format!(
            "{server} timeout 10 bash -c 'until (: >/dev/tcp/127.0.0.1/{HTTP_PORT}) 2>/dev/null; do sleep 0.05; done'"
        );
        if workshop.run_quietly(&quiet)?.code != Some(0) {
            bail!("the application does not listen");
        }
        Ok(())
    }

    fn http(&mut self) -> anyhow::Result<()> {
        self.step(&format!("An HTTP call; curl claims to be `{ADMINISTRATOR}`, which nobody shall believe"));
        let answer = self.workshop.run(&format!(
            "{} {CURL} --resolve {SERVER}:{SERVICE_PORT}:{CLUSTER_IP} -H 'serviceidentity: {ADMINISTRATOR}' -d '{}' http://{SERVER}/orders",
            inside(&self.pods.client),
            self.marker
        ))?;
        self.expect("the application answered", answer.has_line("the application was asked: POST /orders"));
        self.expect("what was sent arrived", answer.has_line(&format!("body: {}", self.marker)));
        self.expect(
            &format!("the application was told who calls, from the verified certificate: {CLIENT}"),
            answer.has_line(&format!("serviceidentity: {CLIENT}")),
        );
        Ok(())
    }

    fn grpc(&mut self) -> anyhow::Result<()> {
        self.step("A gRPC call over HTTP/2: one message there, the same message and the status in trailers back");
        // A gRPC message: not compressed, length in four bytes, content.
        let length = self.marker.len();
        let answer = self.workshop.run(&format!(
            "printf '\\000\\000\\000\\000\\{length:03o}{}' | {} {CURL} --http2-prior-knowledge --resolve {SERVER}:{GRPC_PORT}:{CLUSTER_IP} \
             -H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- --dump-header - --output {} http://{SERVER}:{GRPC_PORT}/demo.Echo/Say",
            self.marker,
            inside(&self.pods.client),
            self.workshop.directory().join("message").display(),
        ))?;
        let message = fs::read(self.workshop.directory().join("message")).unwrap_or_default();
        self.expect("HTTP/2, status 200", answer.has_line("HTTP/2 200"));
        self.expect("the trailer says that the call succeeded: grpc-status 0", answer.has_line("grpc-status: 0"));
        self.expect(&format!("called by {CLIENT}"), answer.has_line(&format!("x-called-by: {CLIENT}")));
        self.expect("the message came back whole", message.get(5..) == Some(self.marker.as_bytes()));
        Ok(())
    }

    fn tcp(&mut self) -> anyhow::Result<()> {
        self.step("Plain TCP: what one end says the other one echoes");
        let answer = self.workshop.run(&format!(
            "{} timeout 5 bash -c 'exec 3<>/dev/tcp/{CLUSTER_IP}/{ECHO_PORT}; echo {} >&3; read -r -u 3 line; echo \"$line\"'",
            inside(&self.pods.client),
            self.marker
        ))?;
        self.expect("the echo came back", answer.text.trim() == self.marker);
        Ok(())
    }

    fn on_the_wire(&mut self, capture: Capture) -> anyhow::Result<()> {
        self.step("On the wire: every packet of the server's pod was recorded meanwhile");
        let captured = capture.finish()?;
        let outside = captured.outside.len();
        let records = capture::tls_records(&captured.outside);
        let leaked = capture::containing(&captured.outside, &self.marker);
        let inside = capture::containing(&captured.loopback, &self.marker);
        say!("   between the pods: {outside} packets with payload, {records} of them begin with a TLS record");
        say!("   looking for what was sent, `{}`: {leaked} there, {inside} behind the sidecar", self.marker);
        self.expect(
            "between the pods there are TLS records, and what was sent is nowhere to be read",
            records > 0 && leaked == 0,
        );
        self.expect("behind the sidecar the application gets it in plaintext, three calls there and back", inside >= 6);
        Ok(())
    }

    fn in_the_proxys_words(&mut self) -> anyhow::Result<()> {
        self.step(
            "In the words of the server's sidecar: what it counted, who it is, and what the client's one expects",
        );
        let server = inside(&self.pods.server);
        let counted = self.workshop.run(&format!(
            "{server} {CURL} http://127.0.0.1:15010/stats/prometheus | grep '^fsm_proxy_tls_handshakes_total'"
        ))?;
        let handshakes = sample(&counted.text, "fsm_proxy_tls_handshakes_total", "inbound");
        self.expect("three connections, three mutual TLS handshakes", handshakes == Some(3));
        let certs = self.workshop.run_quietly(&format!("{server} {CURL} http://127.0.0.1:15000/certs"))?;
        say!("   $ {server} {CURL} http://127.0.0.1:15000/certs");
        let certificates = certificates(&certs.text);
        for (role, subject, names) in &certificates {
            say!("   | {role}: {subject} {names}");
        }
        let own = format!("{SERVER}.cluster.local");
        self.expect(
            &format!("its certificate names {own}, and no key is shown"),
            certificates.iter().any(|(role, _, names)| role == "mesh-chain" && names.contains(&own))
                && !certs.text.contains("PRIVATE"),
        );
        let client = inside(&self.pods.client);
        let unnamed = self.workshop.run_quietly(&format!("{client} {CURL} http://127.0.0.1:15010/stats/prometheus"))?;
        let unnamed: u64 = samples(&unnamed.text, "fsm_proxy_unnamed_server_identities_total").sum();
        self.expect(&format!("the client's sidecar accepted no server but {SERVER}"), unnamed == 0);
        Ok(())
    }

    fn refusals(&mut self) -> anyhow::Result<()> {
        let (client, server, outside) =
            (inside(&self.pods.client), inside(&self.pods.server), inside(&self.pods.outside));
        self.step(&format!("A refusal: rules let `{CLIENT}` call /orders, and only `{ADMINISTRATOR}` call /admin"));
        let answer = self.workshop.run(&format!(
            "{client} {CURL} --resolve {SERVER}:{SERVICE_PORT}:{CLUSTER_IP} --include http://{SERVER}/admin"
        ))?;
        self.expect("status 403", answer.has_line("HTTP/1.1 403"));
        self.expect("the reason is said", answer.has_line("x-fsm-reason: identity-not-allowed"));
        self.expect("the application was not asked", !answer.has_line("the application was asked"));

        self.step("Another one: somebody outside the mesh speaks plaintext to the server's pod");
        let answer = self.workshop.run(&format!("{outside} {CURL} http://{SERVER_IP}:{SERVICE_PORT}/orders"))?;
        self.expect("no answer", answer.code != Some(0) && !answer.has_line("the application was asked"));
        let counted = self.workshop.run(&format!(
            "{server} {CURL} http://127.0.0.1:15010/stats/prometheus | grep '^fsm_proxy_refusals_total'"
        ))?;
        let refused = |reason| sample(&counted.text, "fsm_proxy_refusals_total", reason) == Some(1);
        self.expect(
            "counted: identity-not-allowed and mtls-required, once each",
            refused("identity-not-allowed") && refused("mtls-required"),
        );
        let ended = self.workshop.ended_programs();
        self.expect(&format!("all three programs still run{}", list(&ended)), ended.is_empty());
        Ok(())
    }

    fn ending(&self, started: Instant) -> bool {
        say!("\nWhat this showed:");
        say!("  - applications changed nothing: plain curl, bash and a plaintext server, redirected by fsm-init;");
        say!("  - HTTP, gRPC and TCP crossed the wire in mutual TLS only;");
        say!(
            "  - the server's sidecar knew its caller by certificate, told the application, and refused what no rule permits;"
        );
        say!("  - a refusal says why, to the caller and in the metrics.");
        let seconds = started.elapsed().as_secs_f64();
        if self.broken.is_empty() {
            say!("\nAll {} expectations held; {seconds:.1} s.", self.held);
            return true;
        }
        say!("\n{} of {} expectations did NOT hold:", self.broken.len(), self.broken.len() as u32 + self.held);
        self.broken.iter().for_each(|what| say!("  - {what}"));
        false
    }

    fn write(&self, name: &str, document: &Value) -> anyhow::Result<PathBuf> {
        let path = self.workshop.directory().join(name);
        fs::write(&path, format!("{document:#}\n"))?;
        if *self.ground == Ground::Root {
            // It holds a private key: for the proxy's eyes only.
            std::os::unix::fs::chown(&path, Some(1500), Some(1500))?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }
}

/// The path of a built program that the proxy's user can reach: root's home directory, say, is closed to it.
fn program(workshop: &Workshop, name: &str) -> anyhow::Result<PathBuf> {
    let beside_us = || std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let directory = std::env::var_os("FSM_BIN_DIR").map(PathBuf::from).or_else(beside_us).unwrap_or_default();
    let built = directory.join(name);
    if !built.is_file() {
        bail!("{} does not exist; `make build` builds it", built.display());
    }
    let open = |directory: &Path| fs::metadata(directory).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if built.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty()).all(open) {
        return Ok(built);
    }
    let copy = workshop.directory().join(name);
    fs::copy(&built, &copy)
        .with_context(|| format!("{} cannot be copied to where every user may run it", built.display()))?;
    Ok(copy)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))
}

/// The value of the one sample of a metric that has this label value.
fn sample(page: &str, metric: &str, label: &str) -> Option<u64> {
    let label = format!("\"{label}\"");
    let line = page.lines().find(|line| line.starts_with(metric) && line.contains(&label))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The values of all samples of a metric.
fn samples<'a>(page: &'a str, metric: &'a str) -> impl Iterator<Item = u64> + 'a {
    let lines = page.lines().filter(move |line| line.starts_with(metric));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

/// Role, subject and names of each certificate that `/certs` shows.
fn certificates(page: &str) -> Vec<(String, String, String)> {
    let page: Value = serde_json::from_str(page).unwrap_or_default();
    let list = page.as_array().or_else(|| page["certificates"].as_array()).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter().map(|one| (text(&one["role"]), text(&one["subject"]), one["names"].to_string())).collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; ended: {}", names.join(", ")) }
}
