#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

/// A machine with these programs.
struct Machine(&'static [&'static str]);

impl Tools for Machine {
    fn fsm(&self) -> PathBuf {
        "/opt/fsm".into()
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        let name = program.strip_prefix("/usr/bin/").unwrap_or(program);
        self.0.contains(&name).then(|| Path::new("/usr/bin").join(name))
    }
}

const PLAIN: Machine = Machine(&["curl", "sleep", "sh"]);

fn run(image: &str, command: &[&str], arguments: &[&str], machine: &Machine) -> Result<Vec<String>, Refusal> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let (words, arguments) = (owned(command), owned(arguments));
    super::command(&Wanted { image, command: &words, arguments: &arguments, ..Wanted::default() }, machine)
}

#[test]
fn images_of_the_demos_have_stand_ins() {
    let fortio = Machine(&["fortio"]);
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a Machine, &'a [&'a str]);
    let table: [Row<'_>; 12] = [
        ("curlimages/curl", &["sleep", "365d"], &[], &PLAIN, &["/usr/bin/sleep", "365d"]),
        ("docker.io/curlimages/curl:8.4.0", &[], &["-s", "x"], &PLAIN, &["/usr/bin/curl", "-s", "x"]),
        ("fortio/fortio:latest_release", &[], &[], &fortio, &["/usr/bin/fortio", "server"]),
        ("fortio/fortio", &[], &["load", "x"], &fortio, &["/usr/bin/fortio", "load", "x"]),
        (
            "flomesh/httpbin:ken",
            &["gunicorn", "-b", "0.0.0.0:14001", "httpbin:app", "-k", "gevent"],
            &[],
            &PLAIN,
            &["/opt/fsm", "program", "httpbin", "--port", "14001"],
        ),
        ("kennethreitz/httpbin", &[], &[], &PLAIN, &["/opt/fsm", "program", "httpbin", "--port", "80"]),
        (
            "ghcr.io/mccutchen/go-httpbin@sha256:0",
            &[],
            &[],
            &PLAIN,
            &["/opt/fsm", "program", "httpbin", "--port", "8080"],
        ),
        (
            "flomesh/bookstore:latest",
            &["/bookstore"],
            &["--port", "14001"],
            &PLAIN,
            &["/opt/fsm", "program", "bookstore", "--port", "14001"],
        ),
        ("flomesh/bookthief", &["/bookthief"], &[], &PLAIN, &["/opt/fsm", "program", "bookthief"]),
        (
            "flomesh/tcp-echo-server:latest",
            &["/tcp-echo-server"],
            &["--port", "9000"],
            &PLAIN,
            &["/opt/fsm", "program", "echo", "--port", "9000"],
        ),
        ("busybox:1.36", &["/bin/sh", "-c", "x"], &[], &PLAIN, &["/usr/bin/sh", "-c", "x"]),
        (
            "hashicorp/http-echo",
            &[],
            &["-listen=:80", "-text=hi"],
            &PLAIN,
            &["/opt/fsm", "program", "respond", "--port", "80", "--body", "hi\n"],
        ),
    ];
    for (image, command, arguments, machine, expected) in table {
        assert_eq!(run(image, command, arguments, machine).unwrap(), expected, "{image}");
    }
}

#[test]
fn scripts_of_pipy_become_the_responder() {
    let script = "pipy().listen(8080).serveHTTP(new Message('Hi'))";
    let expected = ["/opt/fsm", "program", "respond", "--script", script];
    assert_eq!(run("flomesh/pipy:latest", &["pipy", "-e", script], &[], &PLAIN).unwrap(), expected);
    assert_eq!(run("flomesh/pipy-nightly", &[], &["pipy", "-e", script], &PLAIN).unwrap(), expected);
    assert_eq!(run("addozhang/httpbin", &["pipy", "-e", script], &[], &PLAIN).unwrap(), expected);
    let files = [(PathBuf::from("/scripts/main.js"), script.as_bytes().to_vec())];
    let words = ["pipy".to_owned(), "/scripts/main.js".to_owned(), "--log-level=error".to_owned()];
    let wanted = Wanted { image: "flomesh/pipy", command: &words, files: &files, ..Wanted::default() };
    assert_eq!(super::command(&wanted, &PLAIN).unwrap(), expected);
}

#[test]
fn other_scripts_run_where_there_is_a_pipy() {
    let words = ["pipy", "-e", "pipy().listen(1).demuxHTTP()"];
    let refusal = run("flomesh/pipy", &words, &[], &PLAIN).unwrap_err();
    assert!(refusal.message.contains("FSM_TOOLS") && refusal.message.contains("line 1"), "{}", refusal.message);
    assert_eq!(run("flomesh/pipy", &words, &[], &Machine(&["pipy"])).unwrap()[0], "/usr/bin/pipy");
}

#[test]
fn what_nothing_stands_in_for_is_refused_with_a_remedy() {
    for (image, command) in [
        ("mariadb:10.7.4", &[][..]),
        ("fortio/fortio", &[][..]),
        ("cybwan/mtls-egress-demo-server", &["/server"][..]),
        ("example/app", &["missing"][..]),
    ] {
        let refusal = run(image, command, &[], &PLAIN).unwrap_err();
        assert_eq!(refusal.reason, "ErrImagePull");
        let remedies = ["docs/local-mesh.md", "FSM_TOOLS"];
        assert!(remedies.iter().any(|remedy| refusal.message.contains(remedy)), "{image}: {}", refusal.message);
    }
}

#[test]
fn images_of_the_mesh_are_its_programs() {
    let machine = Machine(&["fsm-proxy", "fsm-init", "fsm-control"]);
    let table: [(&str, &[&str], &str); 4] = [
        ("registry.example/team/fsm-control:1.0", &[], "fsm-control"),
        ("flomesh/fsm-proxy:dev", &[], "fsm-proxy"),
        // One image has both programs.
        ("flomesh/fsm-proxy:dev", &["fsm-init"], "fsm-init"),
        ("whatever", &["/fsm-proxy"], "fsm-proxy"),
    ];
    for (image, command, program) in table {
        let words = run(image, command, &["--flag"], &machine).unwrap();
        assert_eq!(words, [format!("/usr/bin/{program}"), "--flag".to_owned()], "{image}");
    }
    assert!(run("flomesh/fsm-proxy:dev", &[], &[], &PLAIN).unwrap_err().message.contains("fsm-proxy"));
}
