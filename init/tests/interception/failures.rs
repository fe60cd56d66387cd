//! Tools that refuse, hang or lack kernel support, and users without privileges. The faults are
//! programs found before the system's own; everything else is real.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs};

use crate::pod::{Namespace, PEER_V4, Pod, init_command};
use crate::{APPLICATION, Scratch, announce, backends, scratch};

#[test]
fn a_failure_for_ipv6_takes_ipv4_back() {
    for backend in backends() {
        let tool = format!("ip6tables-{backend}-restore");
        let broken =
            scratch(&format!("broken-{backend}"), &[(&tool, "cat >/dev/null; echo 'line 3 failed' >&2; exit 2")]);
        for earlier in [None, Some(["--proxy-uid=1337", "--pod-ip=10.99.0.2"])] {
            let pod = Pod::new();
            if let Some(earlier) = earlier {
                pod.init(&[&["--backend", backend], &earlier[..]].concat());
            }
            let before = pod.rules(backend);
            let output = with_programs(&pod, &broken, &["--backend", backend, "--pod-ip=10.99.0.3"]);
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(7), "{complaint}");
            assert!(complaint.contains("init.refused") && complaint.contains("line 3 failed"));
            assert_eq!(pod.rules(backend), before);
        }
    }
}

#[test]
fn a_restore_that_hangs_is_ended_and_ipv4_taken_back() {
    for backend in backends() {
        let tool = format!("ip6tables-{backend}-restore");
        let hanging = scratch(&format!("hanging-{backend}"), &[(&tool, "exec sleep 600")]);
        let pod = Pod::new();
        let output = with_programs(&pod, &hanging, &["--backend", backend, "--timeout=1"]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(6), "{complaint}");
        assert!(complaint.contains("init.timeout") && complaint.contains(&tool), "{complaint}");
        assert_eq!(pod.rules(backend), [""; 0]);
    }
}

#[test]
fn what_cannot_be_taken_back_is_called_half_applied() {
    for backend in backends() {
        let v4 = format!("iptables-{backend}-restore");
        let v6 = format!("ip6tables-{backend}-restore");
        let once = "[ -e \"$0.used\" ] && exit 2; touch \"$0.used\"; exec /usr/sbin/TOOL \"$@\"";
        let real = PathBuf::from("/usr/sbin").join(&v4);
        if !real.exists() {
            continue;
        }
        let broken = scratch(&format!("half-{backend}"), &[(&v4, &once.replace("TOOL", &v4)), (&v6, "exit 2")]);
        let pod = Pod::new();
        let output = with_programs(&pod, &broken, &["--backend", backend]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(8), "{complaint}");
        assert!(complaint.contains("init.half-applied"), "{complaint}");
        pod.init(&["--clean"]);
        assert_eq!(pod.rules(backend), [""; 0]);
    }
}

#[test]
fn without_kernel_support_for_nft_rules_legacy_is_tried() {
    let [_, _] = backends()[..] else { return };
    let broken = scratch(
        "no-nft",
        &[(
            "iptables-nft-restore",
            "echo 'line 9: RULE_APPEND failed (No such file or directory): rule in chain OUTPUT' >&2; exit 4",
        )],
    );
    let pod = Pod::new();
    let output = with_programs(&pod, &broken, &[]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaint}");
    assert!(complaint.contains("nft backend was tried first"), "{complaint}");
    assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "outbound 10.99.0.1:80");
    assert_eq!(pod.rules("nft"), [""; 0]);

    let pod = Pod::new();
    let output = with_programs(&pod, &broken, &["--backend=nft"]);
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn missing_ipv6_support_is_an_error_where_ipv6_is_in_use() {
    for backend in backends() {
        let tool = format!("ip6tables-{backend}-restore");
        let complaint = "echo \"can't initialize ip6tables table \\`nat': Table does not exist\" >&2; exit 3";
        let broken = scratch(&format!("no-ipv6-{backend}"), &[(&tool, complaint)]);

        let in_use = Pod::new();
        let output = with_programs(&in_use, &broken, &["--backend", backend]);
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert_eq!(in_use.rules(backend), [""; 0]);

        let unused = Namespace::new();
        let with_ipv6_on = run_in(&unused, &broken, &["--backend", backend, "--ipv6=on"]);
        assert_eq!(with_ipv6_on.status.code(), Some(5), "{with_ipv6_on:?}");
        let output = run_in(&unused, &broken, &["--backend", backend]);
        assert!(output.status.success(), "{output:?}");
        let note = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(note.contains("IPv6 is not captured"), "{note}");
        assert!(unused.tool(&format!("iptables-{backend}-save")).contains("FSM_PROXY_OUTBOUND"));
    }
}

#[test]
fn without_privileges_nothing_happens_and_the_message_says_so() {
    use std::os::unix::process::CommandExt;
    for backend in backends() {
        let directory = scratch(&format!("unprivileged-{backend}"), &[]);
        let program = directory.join("fsm-init");
        fs::copy(env!("CARGO_BIN_EXE_fsm-init"), &program).unwrap();
        let namespace = Namespace::new();
        for (arguments, code) in [(&[][..], 4), (&["--clean"], 4), (&["--dry-run"], 0)] {
            let mut command = Command::new(&program);
            command.args(["--backend", backend]).args(arguments).uid(65534).gid(65534);
            let output = namespace.command(command);
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complaint}");
            assert_eq!(complaint.contains("init.permission"), code == 4, "{complaint}");
        }
    }
}

#[test]
fn a_user_namespace_of_an_ordinary_user_is_enough() {
    for backend in backends() {
        let directory = scratch(&format!("rootless-{backend}"), &[]);
        let program = directory.join("fsm-init");
        fs::copy(env!("CARGO_BIN_EXE_fsm-init"), &program).unwrap();
        let rootless = |script: &str| {
            Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .args(["unshare", "--user", "--map-root-user", "--net", "/bin/sh", "-ec", script])
                .output()
                .unwrap()
        };
        if !rootless("true").status.success() {
            announce("this kernel gives no user namespaces to ordinary users");
            continue;
        }
        let output = rootless(&format!(
            "{0} --backend {backend} --proxy-mark 0x539\n{0} --backend {backend} --proxy-mark 0x539\niptables-{backend}-save -t nat",
            program.display()
        ));
        let rules = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(rules.matches("-A OUTPUT -p tcp -j FSM_PROXY_OUTBOUND").count(), 1, "{rules}");
    }
}

fn with_programs(pod: &Pod, programs: &Scratch, arguments: &[&str]) -> Output {
    run_in(&pod.pod, programs, arguments)
}

/// Runs fsm-init so that it finds these programs before the system's.
fn run_in(namespace: &Namespace, programs: &Scratch, arguments: &[&str]) -> Output {
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(programs.0.clone()).chain(env::split_paths(&path));
    let mut command = init_command(arguments);
    command.env("PATH", env::join_paths(paths).unwrap());
    namespace.command(command)
}
