//! The READMEs of `examples/`, and pages of `docs/` that show a mesh, executed as they are written; `examples/README.md`
//! says how they are read.

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

/// A line without what differs from run to run: numbers, times, addresses, hashes, names of pods, and the width of columns.
fn shape(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(shape_of_word).collect();
    words.join(" ")
}

fn shape_of_word(word: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for c in word.chars() {
        match parts.last_mut() {
            Some(last) if c.is_ascii_alphanumeric() && last.ends_with(|l: char| l.is_ascii_alphanumeric()) => {
                last.push(c)
            }
            _ => parts.push(c.to_string()),
        }
    }
    let random = |part: &String, length: usize| {
        part.len() == length && part.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase())
    };
    for at in 0..parts.len().saturating_sub(2) {
        if random(&parts[at], 10) && parts[at + 1] == "-" && random(&parts[at + 2], 5) {
            (parts[at], parts[at + 2]) = ("H".to_owned(), "H".to_owned());
        }
    }
    let mut shape = String::new();
    for part in &parts {
        if part.len() >= 16 && part.chars().all(|c| c.is_ascii_hexdigit()) {
            shape.push('H');
            continue;
        }
        for c in part.chars() {
            match c {
                '0'..='9' if shape.ends_with('0') => {}
                '0'..='9' => shape.push('0'),
                _ => shape.push(c),
            }
        }
    }
    while shape.contains("0.0") {
        shape = shape.replace("0.0", "0");
    }
    shape
}

/// How a page's outputs are compared with what is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Text,
    /// Real output of some run: only its [`shape`].
    Shape,
}

impl Step {
    fn is_as_shown(&self, outcome: &Outcome, compare: Compare) -> bool {
        let lines: Vec<_> = outcome.stdout.lines().collect();
        let fits = || match compare {
            Compare::Text => matches(&self.shown, &lines),
            Compare::Shape => {
                let shown: Vec<String> = self.shown.iter().map(|line| shape(line)).collect();
                let lines: Vec<String> = lines.iter().map(|line| shape(line)).collect();
                matches(&shown, &lines.iter().map(String::as_str).collect::<Vec<_>>())
            }
        };
        outcome.code == self.code && (self.shown.is_empty() || fits())
    }

    async fn run(&self, mesh: &LocalMesh, page: &str, compare: Compare) {
        let script = format!("cd '{}'\n{}", repository().display(), self.command);
        let started = Instant::now();
        loop {
            let outcome = mesh.page(&script).await;
            if self.is_as_shown(&outcome, compare) {
                return;
            }
            let over = self.within.is_none_or(|limit| started.elapsed() > limit);
            assert!(
                !over,
                "{page}, line {}: {}\nexit code {} wanted, and this:\n{}\nseen: {outcome:#?}",
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
    page_works_as_written(&format!("examples/{example}/README.md"), Compare::Text).await;
}

async fn page_works_as_written(page: &str, compare: Compare) {
    let file = repository().join(page);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let steps = steps(&text);
    assert!(steps.len() > 3, "{steps:?}");
    assert!(steps.iter().any(|step| step.shown.iter().any(|line| line != "…")), "{steps:?}");
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    for step in steps {
        step.run(&mesh, page, compare).await;
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

#[tokio::test]
async fn the_page_about_looking_at_a_mesh() {
    page_works_as_written("docs/observe.md", Compare::Shape).await;
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
    let seen = "bookstore   web-p7nzk4dghr-qmv6h   12.5ms  10.244.0.3:80  at 2026-01-02T03:04:05Z 42f22631c2e9fe6f7823";
    let page = "bookstore web-zmcmcwlgjp-g7qcm 3ms 10.1.2.3:8080 at 2027-11-22T13:14:15Z deadbeefdeadbeef0";
    assert_eq!(shape(seen), shape(page));
    assert_ne!(shape("a 1ms"), shape("a -"));
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
