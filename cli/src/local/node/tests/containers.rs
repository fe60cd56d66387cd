//! What a container sees, how it ends, and programs beside it.

use super::*;
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

#[tokio::test]
async fn a_container_has_processes_hostname_and_environment_of_its_own() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let script = "echo $$ $(hostname) $HOSTNAME $COLOUR $(ls -d /proc/[0-9]* | wc -l) ${HOME-none}; pwd; exit 3";
    let (code, output) = ground
        .run_as(&pod, &["sh", "-c", script], |process| {
            process.env = vec![("COLOUR".to_owned(), "green".to_owned())];
            process.directory = Some("/usr".into());
        })
        .await;
    // Processes: sh, its subshell, ls and wc, in some order of starting.
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!((code, &words[..4], words[5], words[6]), (3, &["1", "web", "web", "green"][..], "none", "/usr"));
    assert!((1..=4).contains(&words[4].parse::<u32>().unwrap()), "{output}: only its own processes");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let why = pod.spawn(process(&["no-such-program", "x"])).unwrap_err().to_string();
    assert!(why.contains("`no-such-program`") && why.contains("PATH"), "{why}");
    let (code, _) = ground.run(&pod, &["true"]).await;
    assert_eq!(code, 0, "the next one starts all the same");
}

#[tokio::test]
async fn asking_ends_a_program_with_and_without_a_handler() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let flag = ground.state.path().join("handled");
    let script =
        format!("trap 'echo ended > {0}; exit 5' TERM; echo ready > {0}; while :; do sleep 0.02; done", flag.display());
    let container = pod.spawn(process(&["sh", "-c", &script])).unwrap();
    eventually("the handler is in place", || fs::read_to_string(&flag).is_ok_and(|text| text == "ready\n")).await;
    assert_eq!(container.stop(PATIENCE).await.unwrap().code(), Some(5));
    assert_eq!(fs::read_to_string(&flag).unwrap(), "ended\n");
    assert!(!container.kill(), "it is gone");
    // Without a handler the first process of a namespace would ignore it for ever.
    let started = Instant::now();
    let container = pod.spawn(process(&["sleep", "1000"])).unwrap();
    let ended = container.stop(PATIENCE).await.unwrap();
    assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32));
    assert!(started.elapsed() < PATIENCE / 2, "it was not waited for in vain");
}

#[tokio::test]
async fn a_program_that_ignores_the_request_is_killed_after_the_grace() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let flag = ground.state.path().join("handled");
    let script = format!("trap : TERM; echo > {}; while :; do sleep 0.02; done", flag.display());
    let container = pod.spawn(process(&["sh", "-c", &script])).unwrap();
    eventually("the handler is in place", || flag.exists()).await;
    let ended = container.stop(Duration::from_millis(100)).await.unwrap();
    assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32));
}

#[tokio::test]
async fn whatever_a_container_has_started_ends_with_it() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let mark = ground.state.path().join("stays").display().to_string();
    let script = "setsid sh -c 'sleep 1000' & exec sleep 1000";
    let mut program = process(&["sh", "-c", script]);
    program.env = vec![("WHO".to_owned(), mark.clone())];
    let container = pod.spawn(program).unwrap();
    eventually("both run", || processes_with(&mark).len() >= 2).await;
    container.kill();
    container.wait().await.unwrap();
    eventually("none is left", || processes_with(&mark).is_empty()).await;
}

#[tokio::test]
async fn a_sidecar_runs_as_its_own_user_and_without_groups() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let (_, output) = ground
        .run_as(&pod, &["sh", "-c", "id -u; id -g; id -G; ulimit -n"], |process| {
            process.user = User::SIDECAR;
            process.limits = Limits { open_files: Some(123) };
        })
        .await;
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["1500", "1500", "1500", "123"]);
}

#[tokio::test]
async fn mounts_appear_where_the_machine_has_nothing_and_leave_it_as_it_is() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let source = ground.state.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("token"), "secret").unwrap();
    let mount = |target: &str, read_only| Mount { source: source.clone(), target: target.into(), read_only };
    let token = |target: &str| Mount { source: source.join("token"), target: target.into(), read_only: true };
    let mounts = vec![
        mount("/var/run/secrets/kubernetes.io/serviceaccount", true),
        mount("/fsm-test-data/deep/er", false),
        token("/fsm-test-data/deep/er/again"),
        token("/etc/fsm-test/token"),
        token("/etc/shells"),
    ];
    let script = "cat /var/run/secrets/kubernetes.io/serviceaccount/token /etc/fsm-test/token /etc/shells; \
        ls /fsm-test-data/deep/er /etc/passwd /usr/bin/env /proc/self/stat; id -un; \
        echo new > /fsm-test-data/deep/er/written && cat /etc/resolv.conf | head -1; \
        (echo x > /var/run/secrets/kubernetes.io/serviceaccount/x) 2>/dev/null || echo refused; \
        (echo x > /etc/fsm-test/token) 2>/dev/null || echo refused; touch /etc/fsm-test/only-here && echo made";
    // The file over which a mount goes must exist in the directory of the mount before.
    fs::write(source.join("again"), "").unwrap();
    let (code, output) = ground.run_as(&pod, &["sh", "-c", script], |process| process.mounts = mounts).await;
    let lines: Vec<&str> = output.lines().collect();
    let expected = [
        "secretsecretsecret/etc/passwd",
        "/proc/self/stat",
        "/usr/bin/env",
        "",
        "/fsm-test-data/deep/er:",
        "again",
        "token",
        "root",
        "nameserver 10.96.0.10",
        "refused",
        "refused",
        "made",
    ];
    assert_eq!((code, &lines[..]), (0, &expected[..]), "{output}");
    assert_eq!(fs::read_to_string(source.join("written")).unwrap(), "new\n");
    for path in ["/fsm-test-data", "/etc/fsm-test", "/.machine"] {
        assert!(!Path::new(path).exists(), "{path} is on the machine");
    }
    let relative = Mount { source: source.clone(), target: "data".into(), read_only: false };
    let missing = Mount { source: source.join("nothing"), target: "/data".into(), read_only: false };
    for wrong in [relative, missing] {
        let named = wrong.source.display().to_string();
        let why = pod.spawn(ContainerProcess { mounts: vec![wrong], ..process(&["true"]) }).unwrap_err().to_string();
        assert!(why.contains(&named), "{why}");
    }
}

#[tokio::test]
async fn a_mount_below_a_private_directory_of_the_machine_is_reached_by_every_user() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let private = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(private.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(private.path().join("own"), "private").unwrap();
    fs::set_permissions(private.path().join("own"), fs::Permissions::from_mode(0o600)).unwrap();
    let source = ground.state.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("token"), "secret").unwrap();
    let target = private.path().join("identity");
    let script = format!("cat {}/token; cat {}/own || echo refused", target.display(), private.path().display());
    let (_, output) = ground
        .run_as(&pod, &["sh", "-c", &script], |process| {
            process.mounts = vec![Mount { source: source.clone(), target: target.clone(), read_only: true }];
            process.user = User::SIDECAR;
        })
        .await;
    assert!(output.starts_with("secret") && output.trim_end().ends_with("refused"), "{output}");
    assert_eq!(fs::metadata(private.path()).unwrap().permissions().mode() & 0o777, 0o700, "the machine's is as it was");
}

#[tokio::test]
async fn the_log_has_both_streams_and_is_continued() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let log = ground.state.path().join("web.log");
    for line in ["first", "second"] {
        let script = format!("echo {line}; echo {line} error >&2");
        let program = ContainerProcess { output: Output::File(log.clone()), ..process(&["sh", "-c", &script]) };
        pod.spawn(program).unwrap().wait().await.unwrap();
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "first\nfirst error\nsecond\nsecond error\n");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn programs_run_beside_a_container_with_pipes() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let mut program = process(&["sleep", "1000"]);
    program.env = vec![("COLOUR".to_owned(), "green".to_owned())];
    let container = pod.spawn(program).unwrap();
    let request = ExecRequest {
        command: ["sh", "-c", "read line; echo $line $COLOUR $SHAPE $(hostname) $(cat /proc/1/comm); exit 7"]
            .map(str::to_owned)
            .into(),
        env: vec![("SHAPE".to_owned(), "round".to_owned())],
        directory: None,
        user: None,
        io: ExecIo::Pipes { stdin: true },
    };
    let mut exec = container.exec(request).unwrap();
    exec.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, exec.wait()).await.unwrap().unwrap().code(), Some(7));
    let mut output = String::new();
    exec.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "hello green round web sleep\n");
    let program = |words: &[&str]| ExecRequest {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        directory: None,
        user: None,
        io: ExecIo::Null,
    };
    // One that nobody waits for any more is ended.
    let exec = container.exec(program(&["sleep", "2000"])).unwrap();
    let pid = exec.pid();
    drop(exec);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    // And all end with the container.
    let exec = container.exec(program(&["sleep", "2000"])).unwrap();
    container.kill();
    container.wait().await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, exec.wait()).await.unwrap().unwrap();
    assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32));
    assert!(container.exec(program(&["true"])).unwrap_err().to_string().contains("has ended"));
}

#[tokio::test]
async fn programs_run_beside_a_container_at_a_terminal() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let container = pod.spawn(process(&["sleep", "1000"])).unwrap();
    let request = ExecRequest {
        command: ["sh", "-c", "stty size; tty >/dev/null && read line < /dev/tty && stty size; echo said $line"]
            .map(str::to_owned)
            .into(),
        env: Vec::new(),
        directory: None,
        user: None,
        io: ExecIo::Terminal { rows: 30, columns: 100 },
    };
    let exec = container.exec(request).unwrap();
    let mut terminal = exec.terminal.as_ref().unwrap().try_clone().unwrap();
    let mut screen = Vec::new();
    let mut read_until = |text: &str| {
        let mut buffer = [0; 256];
        while !String::from_utf8_lossy(&screen).contains(text) {
            let length = terminal.read(&mut buffer).expect("the program still talks");
            screen.extend_from_slice(&buffer[..length]);
        }
    };
    read_until("30 100\r\n");
    exec.resize(40, 120).unwrap();
    exec.terminal.as_ref().unwrap().write_all(b"hello\n").unwrap();
    read_until("40 120\r\n");
    read_until("said hello\r\n");
    assert!(tokio::time::timeout(PATIENCE, exec.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn a_program_in_the_node_s_network_is_reached_by_pods() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "web");
    let script = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => 9090, \
        Listen => 5) or die; $| = 1; print \"ready\\n\"; my $c = $s->accept; print $c 'node'; close $c;";
    let log = ground.state.path().join("node.log");
    let program = ContainerProcess { output: Output::File(log.clone()), ..process(&["perl", "-e", script]) };
    let container = ground.node.spawn(program).unwrap();
    eventually("it listens", || fs::read_to_string(&log).is_ok_and(|text| text == "ready\n")).await;
    let to = SocketAddr::from((ground.node.address(), 9090));
    assert_eq!(greeting(pod.connect(to, PATIENCE).await).await.unwrap(), "node");
    assert!(container.wait().await.unwrap().success());
}
