//! The READMEs of `examples/`, executed as they are written; `examples/README.md` says how they are read.

use fsm_tests::{LocalMesh, Outcome};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a README has its reader type, and what it says that one sees.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    line: usize,
    command: String,
    /// How long it is repeated until it shows what is wanted.
    within: Option<Duration>,
    shown: Vec<String>,
    code: i32,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// The commands of all `console` blocks.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        if line != "```console" {
            continue;
        }
        let mut has_command = false;
        while let Some((number, line)) = lines.next().filter(|(_, line)| *line != "```") {
            if let Some(command) = line.strip_prefix("$ ") {
                has_command = true;
                let mut command = command.to_owned();
                while command.ends_with('\\') {
                    let (_, more) = lines.next().expect("a line after a backslash");
                    command = format!("{command}\n{more}");
                }
                if command.contains("<<EOF") {
                    loop {
                        let (_, more) = lines.next().expect("a line `EOF`");
                        command = format!("{command}\n{more}");
                        if more == "EOF" {
                            break;
                        }
                    }
                }
                let within = command.rsplit_once(" # within ").and_then(|(_, limit)| {
                    let seconds = limit.strip_suffix(" s")?.parse().ok()?;
                    Some(Duration::from_secs(seconds))
                });
                steps.push(Step { line: number + 1, command, within, shown: Vec::new(), code: 0 });
                continue;
            }
            assert!(has_command, "line {}: {line:?} is the output of no command", number + 1);
            let step = steps.last_mut().expect("a command");
            let code = line.strip_prefix("(exit code ").and_then(|rest| rest.strip_suffix(')')?.parse().ok());
            match code {
                Some(code) => step.code = code,
                None => step.shown.push(line.to_owned()),
            }
        }
    }
    steps
}

/// Whether a text has these lines: `…` is any text inside of a line, and as a line any number of lines.
fn matches(shown: &[String], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((any, later)), rest) if any == "…" => {
            matches(later, lines) || rest.is_some_and(|(_, lines)| matches(shown, lines))
        }
        (Some((wanted, later)), Some((line, lines))) => line_matches(wanted, line) && matches(later, lines),
        (Some(_), None) => false,
    }
}

fn line_matches(wanted: &str, line: &str) -> bool {
    match wanted.split_once('…') {
        None => wanted == line,
        Some((start, later)) => line.strip_prefix(start).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_matches(later, &rest[at..]))
        }),
    }
}

impl Step {
    fn is_as_shown(&self, outcome: &Outcome) -> bool {
        let lines: Vec<_> = outcome.stdout.lines().collect();
        outcome.code == self.code && (self.shown.is_empty() || matches(&self.shown, &lines))
    }

    async fn run(&self, mesh: &LocalMesh, example: &str) {
        let script = format!("cd '{}'\n{}", repository().display(), self.command);
        let started = Instant::now();
        loop {
            let outcome = mesh.page(&script).await;
            if self.is_as_shown(&outcome) {
                return;
            }
            let over = self.within.is_none_or(|limit| started.elapsed() > limit);
            assert!(
                !over,
                "examples/{example}/README.md, line {}: {}\nexit code {} wanted, and this:\n{}\nseen: {outcome:#?}",
                self.line,
                self.command,
                self.code,
                self.shown.join("\n")
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn works_as_written(example: &str) {
    let file = repository().join("examples").join(example).join("README.md");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let steps = steps(&text);
    assert!(steps.len() > 3, "{steps:?}");
    assert!(steps.iter().any(|step| step.shown.iter().any(|line| line != "…")), "{steps:?}");
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    for step in steps {
        step.run(&mesh, example).await;
    }
}

#[tokio::test]
async fn httpbin() {
    works_as_written("httpbin").await;
}

#[tokio::test]
async fn canary() {
    works_as_written("canary").await;
}

#[tokio::test]
async fn bookstore() {
    works_as_written("bookstore").await;
}

#[tokio::test]
async fn egress() {
    works_as_written("egress").await;
}

#[test]
fn every_example_has_a_test() {
    let source = include_str!("examples.rs");
    for entry in std::fs::read_dir(repository().join("examples")).expect("examples") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        assert!(
            entry.path().is_file() || source.contains(&format!("works_as_written(\"{name}\")")),
            "examples/{name} has no test"
        );
    }
}

#[test]
fn readmes_are_read_as_they_say() {
    let text =
        "```console\n$ a \\\n  b # within 7 s\nx…y\n…\n$ c <<EOF\nd\nEOF\n(exit code 3)\n```\n```yaml\n$ no\n```\n";
    let read = steps(text);
    let step = |line, command: &str, within, shown: &[&str], code| Step {
        line,
        command: command.to_owned(),
        within,
        shown: shown.iter().map(|line| (*line).to_owned()).collect(),
        code,
    };
    let wanted = [
        step(2, "a \\\n  b # within 7 s", Some(Duration::from_secs(7)), &["x…y", "…"], 0),
        step(6, "c <<EOF\nd\nEOF", None, &[], 3),
    ];
    assert_eq!(read, wanted);
    let shown = &read[0].shown;
    assert!(matches(shown, &["xy"]) && matches(shown, &["x12y", "more", "lines"]));
    assert!(!matches(shown, &["xyz"]) && !matches(shown, &[]) && !matches(shown, &["more", "xy"]));
}

/// "Up" is said when every sidecar has acknowledged what follows from every endpoint, and no sooner.
#[tokio::test]
async fn the_first_request_after_up_is_answered() {
    let Some(mesh) = LocalMesh::up_example("examples/httpbin").await else { return };
    let proxies = mesh.page(PROXIES).await;
    let get = r#"fsm exec "$(pod_of curl)" -n curl -c curl -- curl -s -o /dev/null -w '%{http_code}' http://httpbin.httpbin:14001/get"#;
    let first = mesh.page(get).await;
    assert_eq!((first.code, first.stdout.as_str()), (0, "200"), "{first:?}");
    let proxies: Vec<serde_json::Value> =
        serde_json::from_str(&proxies.stdout).unwrap_or_else(|_| panic!("{proxies:?}"));
    assert!(!proxies.is_empty());
    for proxy in proxies {
        assert!(proxy["versionWanted"].is_string(), "{proxy}");
        assert_eq!(proxy["versionWanted"], proxy["versionAcknowledged"], "{proxy}");
    }
}

/// What fsm-control says of sidecars.
const PROXIES: &str = r#"
control=$(grep -A2 '"control"' "$FSM_STATE_DIR/fsm/run.json" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
user=; grep -q '"rootless": true' "$FSM_STATE_DIR/fsm/run.json" && user='--user --preserve-credentials'
nsenter $user --net --target "$control" curl -sf http://127.0.0.1:9091/proxies
"#;
