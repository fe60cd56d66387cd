//! `fsm support bug-report`: what somebody else needs to see to find out what is wrong, in one file.
//!
//! Only looks, and asks with the rights of whoever runs it. What cannot be got is named in the report's `summary.txt` and
//! keeps nothing else out of it. Secrets are taken out ([`redact`]); the report is never sent anywhere.

mod archive;
mod choose;
mod limits;
mod part;
mod redact;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use jiff::Timestamp;

use self::archive::Archive;
use self::choose::Group;
use self::limits::Limits;
use super::super::{MeshChoice, VERSION, say_line};
use crate::output::Style;
use crate::reach::Mesh;

/// `fsm support bug-report`.
#[derive(Debug, Args)]
#[command(
    after_help = "In it: the configuration and the policies of the mesh, its control plane with logs and events, what `fsm check` and \
    `fsm proxy status` say; and of the applications chosen their pods, events, and what their sidecars know and said. Logs of \
    applications are not in it. Private keys, tokens and passwords are taken out as far as they can be told; read it before \
    you send it. What could not be collected is named in its summary.txt.\n\n\
    Examples:\n  fsm support bug-report --all\n  fsm support bug-report --app-namespaces bookbuyer,bookstore -o report.tar.gz\n  \
    fsm support bug-report --app-deployments bookstore/bookstore-v1 --app-pods bookbuyer/bookbuyer-7c9"
)]
pub(in super::super) struct BugReport {
    /// Look into all pods of the mesh
    #[arg(long)]
    all: bool,
    /// Look into the pods of these namespaces
    #[arg(long, value_name = "NS", value_delimiter = ',')]
    app_namespaces: Vec<String>,
    /// Look into the pods of these Deployments
    #[arg(long, value_name = "NS/NAME", value_delimiter = ',')]
    app_deployments: Vec<String>,
    /// Look into these pods
    #[arg(long, value_name = "NS/NAME", value_delimiter = ',')]
    app_pods: Vec<String>,
    /// Take Ingresses with it
    #[arg(long)]
    ingress: bool,
    #[command(flatten)]
    limits: Limits,
    /// Write the report to this file [default: TIME_fsm-bug-report.tar.gz in the directory for temporary files]
    #[arg(short, long, value_name = "FILE")]
    out_file: Option<PathBuf>,
}

/// What was collected, and what not.
#[derive(Default)]
struct Kept {
    archive: Option<Archive>,
    /// Bytes of logs that may still be taken.
    room: usize,
    /// Logs that were shortened or left out for want of it.
    cut: usize,
    /// A line for each part.
    told: Vec<String>,
    failed: usize,
    /// The archive cannot be written.
    broken: Option<anyhow::Error>,
}

impl BugReport {
    pub(in super::super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let mesh = choice.reach()?;
        if matches!(mesh, Mesh::Local(_)) && self.limits.since.is_some() {
            bail!(
                "--since works in a cluster only: logs of this machine do not say when a line was written; use --tail"
            );
        }
        let now = Timestamp::now();
        let path = self.out_file.clone().unwrap_or_else(|| {
            let time = now.strftime("%Y%m%d-%H%M%S");
            std::env::temp_dir().join(format!("{time}_fsm-bug-report.tar.gz"))
        });
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let archive = Some(Archive::create(&path, seconds)?);
        let kept = Mutex::new(Kept { archive, room: self.limits.max_logs, ..Kept::default() });
        let (mut groups, unusable) = self.groups(&mesh);
        for why in &unusable {
            eprintln!("[!] {why}");
        }
        let arguments = choice.arguments();
        // What is about the whole mesh first: if somebody is in a hurry, that is there.
        let whole: Vec<Group> = groups.drain(..1).collect();
        for groups in [whole, groups] {
            mesh.each(&groups, |mesh, group| collect(mesh, group, &arguments, self.limits, &kept));
        }
        let mut kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = kept.broken {
            return Err(error);
        }
        let mut archive = kept.archive.take().ok_or_else(|| anyhow!("the report is gone"))?;
        let (parts, failed, cut) = (kept.told.len(), kept.failed, kept.cut);
        kept.told.sort();
        let summary = format!(
            "fsm {VERSION} looked at {mesh}, at {now}\n\n{}\nParts (× could not be collected):\n{}\n",
            unusable.iter().map(|why| format!("! {why}\n")).collect::<String>(),
            kept.told.join("\n")
        );
        archive.add("summary.txt", redact::text(&summary).as_bytes())?;
        let size = archive.finish()?;
        say_line(format!("[+] Bug report: {} ({} kB, {parts} parts)", path.display(), size.div_ceil(1000)));
        if failed > 0 {
            say_line(format!("[!] {failed} parts could not be collected: summary.txt in it says why"));
        }
        if cut > 0 {
            say_line(format!(
                "[!] {cut} logs were shortened or left out, since all together are more than --max-logs: summary.txt says which"
            ));
        }
        say_line("[+] Secrets were taken out where they could be told. Read it before you send it to anybody.");
        Ok(())
    }
}

impl Kept {
    /// What there is still room for of a log: its end.
    fn log(&mut self, path: &str, content: String) -> String {
        let taken = limits::end(&content, usize::MAX, self.room);
        let missing = content.len() - taken.len();
        let note =
            if missing > 0 { format!(" (without its first {missing} bytes: --max-logs)") } else { String::new() };
        self.told.push(format!("√ {path}{note}"));
        self.cut += usize::from(missing > 0);
        self.room -= taken.len();
        taken.to_owned()
    }
}

/// Collects a group, and tells how it went.
fn collect(mesh: &Mesh, group: &Group, arguments: &[String], limits: Limits, kept: &Mutex<Kept>) {
    let style = Style::detect(false);
    let mut failures = Vec::new();
    for part in &group.parts {
        let collected = part.collect(mesh, arguments, limits);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.broken.is_some() {
            return;
        }
        let content = match collected {
            Ok(content) if part.is_log() => kept.log(&part.path, content),
            Ok(content) => {
                kept.told.push(format!("√ {}", part.path));
                content
            }
            Err(error) => {
                let why = format!("{} {}: {error:#}", '×', part.path);
                kept.told.push(why.replace('\n', " "));
                kept.failed += 1;
                failures.push(format!("    {} {}: {error:#}", style.bad("×"), part.path));
                continue;
            }
        };
        let added = kept.archive.as_mut().map(|archive| archive.add(&part.path, content.as_bytes()));
        if let Some(Err(error)) = added {
            kept.broken = Some(error);
        }
    }
    let mark = if failures.is_empty() { style.good("√") } else { style.bad("‼") };
    let lines: String = failures.iter().map(|failure| format!("\n{}", redact::text(failure))).collect();
    say_line(format!("[+] Collecting information from {} {mark}{lines}", group.title));
}
