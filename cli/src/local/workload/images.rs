//! What runs in place of a container image: the table that `docs/local-mesh.md` shows.
//!
//! There are no images on one machine. The images of the demos have stand-ins, most of them built in
//! ([`crate::programs`]); a container of any other image runs its `command` as a program of this machine, and one
//! without a command cannot run. Nothing is ever downloaded.

use super::pod::Refusal;
use crate::programs::respond;
use std::path::{Path, PathBuf};

/// Which programs this machine has.
pub trait Tools {
    /// The program `fsm` itself, which contains the built-in programs.
    fn fsm(&self) -> PathBuf;
    /// A program by its name (looked up in `FSM_TOOLS`, beside `fsm`, and on `PATH`) or by its absolute path.
    fn find(&self, program: &str) -> Option<PathBuf>;
}

/// What a container wants to run.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// The image, with registry and tag.
    pub image: &'a str,
    /// `command`, expanded; empty: the image's own.
    pub command: &'a [String],
    /// `args`, expanded.
    pub arguments: &'a [String],
    /// The first port that the container declares.
    pub port: Option<u16>,
    /// Files that appear in the container by path, for scripts that are looked into.
    pub files: &'a [(PathBuf, Vec<u8>)],
}

/// Images that programs of this machine stand in for: the image's repository, the program, its default arguments.
const HOST_PROGRAMS: [(&str, &str, &[&str]); 14] = [
    ("curlimages/curl", "curl", &[]),
    ("fortio/fortio", "fortio", &["server"]),
    ("istio/fortio", "fortio", &["server"]),
    ("nginx", "nginx", &["-g", "daemon off;"]),
    ("busybox", "sh", &[]),
    ("alpine", "sh", &[]),
    ("debian", "bash", &[]),
    ("ubuntu", "bash", &[]),
    ("bash", "bash", &[]),
    ("python", "python3", &[]),
    ("nicolaka/netshoot", "bash", &[]),
    ("redis", "redis-server", &[]),
    ("haproxy", "haproxy", &[]),
    ("envoyproxy/envoy", "envoy", &[]),
];

/// Images that built-in programs stand in for, by the last part of their repository.
const BUILT_IN: [(&str, &str); 9] = [
    ("httpbin", "httpbin"),
    ("go-httpbin", "httpbin"),
    ("bookbuyer", "bookbuyer"),
    ("bookthief", "bookthief"),
    ("bookstore", "bookstore"),
    ("bookwarehouse", "bookwarehouse"),
    ("tcp-echo-server", "echo"),
    ("tcp-echo", "echo"),
    ("http-echo", "respond"),
];

/// The mesh's own programs, which are built with `fsm`; an image whose name ends in one of them has it.
const OF_THE_MESH: [&str; 3] = ["fsm-proxy", "fsm-control", "fsm-init"];

/// The program and arguments to run.
///
/// # Errors
/// Reason `ErrImagePull` when nothing stands in for the image; the message says what would.
pub fn command(wanted: &Wanted<'_>, tools: &dyn Tools) -> Result<Vec<String>, Refusal> {
    let repository = repository(wanted.image);
    let last = repository.rsplit('/').next().unwrap_or_default();
    let first_word = wanted.command.first().map(|word| base_name(word));
    let of_mesh = |name: &str| OF_THE_MESH.into_iter().find(|program| name.ends_with(program));
    if let Some(program) =
        first_word.map_or_else(|| of_mesh(last), |word| OF_THE_MESH.into_iter().find(|one| *one == word))
    {
        return of_the_mesh(program, wanted, tools);
    }
    let is_pipy_image = last.starts_with("pipy") && wanted.command.is_empty();
    if first_word == Some("pipy") || is_pipy_image {
        return pipy(wanted, tools);
    }
    if let Some((_, program)) = BUILT_IN.iter().find(|(image, _)| *image == last) {
        let stands_in = match first_word {
            None => true,
            Some(word) => word == last || word == *program || ["gunicorn", "go-httpbin", "pipenv"].contains(&word),
        };
        if stands_in {
            return Ok(built_in(program, last, wanted, tools));
        }
    }
    if !wanted.command.is_empty() {
        return on_this_machine(wanted, &repository, tools);
    }
    let known = HOST_PROGRAMS.iter().find(|(image, ..)| *image == repository || *image == last);
    let Some((_, program, default_arguments)) = known else {
        return Err(no_image(format!(
            "nothing on this machine stands in for the image {}: give the container a `command` with a program of this \
             machine, or use one of the images that docs/local-mesh.md lists",
            wanted.image
        )));
    };
    let Some(path) = tools.find(program) else {
        return Err(no_image(format!(
            "the program {program} stands in for the image {}, but this machine has none: install it, or put it into \
             a directory that FSM_TOOLS names",
            wanted.image
        )));
    };
    let mut words = vec![path.to_string_lossy().into_owned()];
    match wanted.arguments {
        [] => words.extend(default_arguments.iter().map(|argument| (*argument).to_owned())),
        arguments => words.extend(arguments.iter().cloned()),
    }
    Ok(words)
}

fn of_the_mesh(program: &str, wanted: &Wanted<'_>, tools: &dyn Tools) -> Result<Vec<String>, Refusal> {
    let path = tools.find(program).ok_or_else(|| {
        no_image(format!(
            "the program {program} is neither beside fsm nor on PATH: build or install it (it comes with fsm), or name its \
             directory in FSM_TOOLS"
        ))
    })?;
    let mut words = vec![path.to_string_lossy().into_owned()];
    words.extend(wanted.command.iter().skip(1).chain(wanted.arguments).cloned());
    Ok(words)
}

fn on_this_machine(wanted: &Wanted<'_>, repository: &str, tools: &dyn Tools) -> Result<Vec<String>, Refusal> {
    let program = &wanted.command[0];
    // Images keep their programs elsewhere than this machine does: /bin/curl here may be /usr/bin/curl.
    let found = tools.find(program).or_else(|| tools.find(base_name(program)).filter(|_| is_usual_place(program)));
    let mounted = wanted.files.iter().any(|(path, _)| path.as_path() == Path::new(program));
    let path = match found {
        Some(path) => path.to_string_lossy().into_owned(),
        None if mounted => program.clone(),
        None => {
            return Err(no_image(format!(
                "the command {program} of the image {repository} is not on this machine, and images are not downloaded: \
                 install it, put it into a directory that FSM_TOOLS names, or use one of the images that \
                 docs/local-mesh.md lists"
            )));
        }
    };
    let mut words = vec![path];
    words.extend(wanted.command[1..].iter().chain(wanted.arguments).cloned());
    Ok(words)
}

fn built_in(program: &str, image: &str, wanted: &Wanted<'_>, tools: &dyn Tools) -> Vec<String> {
    let given: Vec<String> = wanted.command.iter().skip(1).chain(wanted.arguments).cloned().collect();
    let mut words = vec![tools.fsm().to_string_lossy().into_owned(), "program".to_owned(), program.to_owned()];
    if program == "httpbin" {
        // gunicorn -b ADDRESS:PORT, go-httpbin -port PORT; otherwise the port of the image.
        let usual = if image == "go-httpbin" { 8080 } else { 80 };
        let port = bound_port(&given).or(wanted.port).unwrap_or(usual);
        words.extend(["--port".to_owned(), port.to_string()]);
        return words;
    }
    if program == "respond" {
        words.extend(http_echo(&given));
        return words;
    }
    words.extend(given);
    words
}

/// The port in `-b 0.0.0.0:80`, `--bind=…`, `-port 80` and the like.
fn bound_port(arguments: &[String]) -> Option<u16> {
    const FLAGS: [&str; 6] = ["-b", "--bind", "-port", "--port", "-p", "-listen"];
    let port = |text: &str| text.rsplit(':').next().and_then(|port| port.parse().ok());
    arguments.iter().enumerate().find_map(|(index, argument)| match argument.split_once('=') {
        Some((flag, value)) if FLAGS.contains(&flag) => port(value),
        None if FLAGS.contains(&argument.as_str()) => port(arguments.get(index + 1)?),
        _ => None,
    })
}

/// `hashicorp/http-echo -listen=:5678 -text=hello`.
fn http_echo(arguments: &[String]) -> Vec<String> {
    let value = |name: &str| {
        arguments.iter().enumerate().find_map(|(index, argument)| {
            let flag = argument.trim_start_matches('-');
            match flag.split_once('=') {
                Some((flag, value)) => (flag == name).then(|| value.to_owned()),
                None => (flag == name).then(|| arguments.get(index + 1).cloned()).flatten(),
            }
        })
    };
    let port = bound_port(arguments).unwrap_or(5678);
    let text = value("text").unwrap_or_else(|| "hello-world".to_owned());
    vec!["--port".to_owned(), port.to_string(), "--body".to_owned(), format!("{text}\n")]
}

fn pipy(wanted: &Wanted<'_>, tools: &dyn Tools) -> Result<Vec<String>, Refusal> {
    let arguments: Vec<&String> = wanted.command.iter().skip(1).chain(wanted.arguments).collect();
    let inline = arguments.iter().position(|argument| matches!(argument.as_str(), "-e" | "--eval"));
    let script = match inline {
        Some(index) => arguments.get(index + 1).map(|script| (*script).clone()),
        None => arguments.iter().find(|argument| !argument.starts_with('-')).and_then(|path| {
            let file = wanted.files.iter().find(|(name, _)| name.as_path() == Path::new(path))?;
            String::from_utf8(file.1.clone()).ok()
        }),
    };
    let why = match script.as_deref().map(respond::Script::parse) {
        Some(Ok(_)) => {
            let fsm = tools.fsm().to_string_lossy().into_owned();
            let words = [fsm, "program".into(), "respond".into(), "--script".into(), script.unwrap_or_default()];
            return Ok(words.to_vec());
        }
        Some(Err(why)) => why.to_string(),
        None => "the container names no script, or one that is not in a mounted ConfigMap".to_owned(),
    };
    let Some(path) = tools.find("pipy") else {
        return Err(no_image(format!(
            "the built-in stand-in for {} cannot run this script: {why}. Scripts of the form \
             pipy().listen(PORT).serveHTTP(new Message(…)) it can; for others put pipy on PATH or into a directory that \
             FSM_TOOLS names",
            wanted.image
        )));
    };
    let mut words = vec![path.to_string_lossy().into_owned()];
    words.extend(arguments.into_iter().cloned());
    Ok(words)
}

/// `registry.example:5000/team/app:tag@sha256:…` → `team/app`.
fn repository(image: &str) -> String {
    let image = image.split('@').next().unwrap_or_default();
    let mut parts: Vec<&str> = image.split('/').collect();
    let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
    if parts.len() > 1 && is_registry(parts[0]) {
        parts.remove(0);
    }
    if parts.len() > 1 && parts[0] == "library" {
        parts.remove(0);
    }
    let path = parts.join("/");
    match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => path.to_owned(),
        _ => path,
    }
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Whether an absolute path is one where images and machines keep common programs in different places.
fn is_usual_place(program: &str) -> bool {
    let parent = program.rsplit_once('/').map_or("", |(parent, _)| parent);
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"].contains(&parent)
}

fn no_image(message: String) -> Refusal {
    Refusal { reason: "ErrImagePull".to_owned(), message }
}

#[cfg(test)]
mod tests;
