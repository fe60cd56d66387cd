//! `fsm certificate`: the roots of a mesh, and replacing them.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::{MeshChoice, say};
use crate::reach::Place;
use crate::reach::http::Method;
use crate::views::{Format, Row, show};

/// `fsm certificate`.
#[derive(Debug, Subcommand)]
pub(super) enum Certificate {
    /// Show the roots of the mesh, and where a change of them stands
    Status(Show),
    /// Replace the root of the mesh, with overlap: no connection is cut, and running pods need nothing
    #[command(
        after_help = "The new root is trusted by everybody before it signs (10 minutes), and the old one until nothing that \
        it signed is valid any more (a day, usually). Roots of Vault or cert-manager are replaced there."
    )]
    Rotate(Show),
}

/// How to show it.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Format,
}

/// fsm-control's `/ca`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authority {
    #[serde(default)]
    provider: String,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    until: Option<String>,
    /// The MeshRootCertificate that signs, where they say who does.
    #[serde(default)]
    root_certificate: String,
    /// The one that takes over from it, or has just taken over.
    #[serde(default)]
    takes_over: String,
    roots: Vec<Root>,
}

/// A root of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Root {
    /// Whose it is, where several are trusted.
    #[serde(default)]
    provider: String,
    #[serde(default)]
    root_certificate: String,
    fingerprint: String,
    not_after: String,
    signs: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RootRow {
    provider: String,
    root_certificate: String,
    phase: String,
    until: String,
    signs: bool,
    expires: String,
    /// SHA-256 of the certificate.
    fingerprint: String,
}

impl Row for RootRow {
    const HEADINGS: &'static [&'static str] = &["PROVIDER", "PHASE", "UNTIL", "SIGNS", "EXPIRES", "ROOT (SHA-256)"];

    fn cells(&self) -> Vec<String> {
        let signs = if self.signs { "yes" } else { "no" };
        let named = match self.root_certificate.as_str() {
            "" => self.provider.clone(),
            name => format!("{} ({name})", self.provider),
        };
        let shown = [&named, &self.phase, &self.until, signs, &self.expires, &self.fingerprint];
        shown.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell.to_owned() }).collect()
    }
}

impl Certificate {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let mesh = choice.reach()?;
        let (authority, format) = match self {
            Self::Status(Show { output }) => (mesh.read(&Place::Control, "/ca")?, output),
            Self::Rotate(Show { output }) => {
                let page = mesh.page(&Place::Control, Method::Post, "/ca/rotate")?;
                if page.status != 202 {
                    bail!("the root is not replaced: {}", String::from_utf8_lossy(&page.body).trim());
                }
                let read = serde_json::from_slice(&page.body);
                (read.context("fsm-control answers with something that this fsm does not understand")?, output)
            }
        };
        say(&show(&rows(&authority), format));
        if let Some(note) = note(&authority).filter(|_| matches!(format, Format::Table | Format::Wide)) {
            eprintln!("{note}");
        }
        Ok(())
    }
}

fn rows(authority: &Authority) -> Vec<RootRow> {
    let Authority { provider, root_certificate, phase, until, roots, .. } = authority;
    let own = |root: &str, of_all: &str| if root.is_empty() { of_all.to_owned() } else { root.to_owned() };
    let row = |root: &Root| RootRow {
        provider: own(&root.provider, provider),
        root_certificate: own(&root.root_certificate, root_certificate),
        phase: phase.clone(),
        until: until.clone().unwrap_or_default(),
        signs: root.signs,
        expires: root.not_after.clone(),
        fingerprint: root.fingerprint.clone(),
    };
    roots.iter().map(row).collect()
}

/// What the table does not say.
fn note(Authority { root_certificate, takes_over, .. }: &Authority) -> Option<String> {
    match takes_over.as_str() {
        "" => None,
        new if new == root_certificate => {
            Some(format!("MeshRootCertificate {new} has taken over; the one of before is still trusted"))
        }
        new => Some(format!("MeshRootCertificate {new} is trusted and takes over from {root_certificate}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn each_root_has_a_row_and_what_is_unknown_a_dash() {
        let page = r#"{"provider": "tresor", "phase": "announced", "until": "2026-11-28T10:10:00Z", "roots": [
            {"fingerprint": "aa", "notAfter": "2036-11-25T10:00:00Z", "signs": true},
            {"fingerprint": "bb", "notAfter": "2036-11-26T10:00:00Z", "signs": false}]}"#;
        let shown = show(&rows(&serde_json::from_str(page).unwrap()), Format::Table);
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["tresor", "announced", "2026-11-28T10:10:00Z", "yes", "2036-11-25T10:00:00Z", "aa"]);
        assert_eq!(lines[2][3..], ["no", "2036-11-26T10:00:00Z", "bb"]);
        let vault = r#"{"provider": "vault", "roots": [{"fingerprint": "cc", "notAfter": "x", "signs": true}]}"#;
        let vault: Authority = serde_json::from_str(vault).unwrap();
        let shown = show(&rows(&vault), Format::Table);
        assert!(shown.lines().nth(1).unwrap().split_whitespace().eq(["vault", "-", "-", "yes", "x", "cc"]), "{shown}");
        assert_eq!(note(&vault), None);
    }

    #[test]
    fn while_one_object_takes_over_each_root_says_whose_it_is() {
        let page = r#"{"provider": "vault", "phase": "overlapping", "rootCertificate": "new", "takesOver": "new", "roots": [
            {"fingerprint": "cc", "notAfter": "x", "signs": true, "provider": "vault", "rootCertificate": "new"},
            {"fingerprint": "aa", "notAfter": "y", "signs": false, "provider": "tresor", "rootCertificate": "old"}]}"#;
        let shown = show(&rows(&serde_json::from_str(page).unwrap()), Format::Table);
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["vault", "(new)", "overlapping", "-", "yes", "x", "cc"]);
        assert_eq!(lines[2], ["tresor", "(old)", "overlapping", "-", "no", "y", "aa"]);
    }

    #[test]
    fn a_change_from_one_object_to_another_names_both() {
        let page = |signs: &str| {
            let page = format!(
                r#"{{"provider": "tresor", "phase": "announced", "until": null, "rootCertificate": "{signs}",
                    "takesOver": "vault", "roots": [{{"fingerprint": "cc", "notAfter": "x", "signs": true}}]}}"#
            );
            serde_json::from_str::<Authority>(&page).unwrap()
        };
        let shown = show(&rows(&page("own")), Format::Table);
        let cells = shown.lines().nth(1).unwrap().split_whitespace();
        assert!(cells.eq(["tresor", "(own)", "announced", "-", "yes", "x", "cc"]), "{shown}");
        assert_eq!(note(&page("own")).unwrap(), "MeshRootCertificate vault is trusted and takes over from own");
        assert!(note(&page("vault")).unwrap().starts_with("MeshRootCertificate vault has taken over"));
    }
}
