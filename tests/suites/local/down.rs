//! `fsm down` leaves nothing, also after a crash.
//!
//! Each script runs in a network and a mount namespace of its own, which stand for the machine: so other tests that run at
//! the same time change nothing in what is compared.

use fsm_tests::{LocalMesh, binary};
use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::process::Command;

/// What a mesh could leave behind on the machine: named namespaces, links, addresses, routes, rules, mounts, sockets,
/// files, and processes that know of its directory.
const SHOW: &str = r##"
show() {
    echo '# namespaces'; ip netns list
    echo '# links'; ip -o link | sed 's/ qlen .*//'
    echo '# addresses'; ip -o address
    echo '# routes'; ip route show table all; ip rule
    for table in iptables-save ip6tables-save; do
        echo "# $table"; "$table" 2>/dev/null | grep -v '^#' | sed 's/\[[0-9:]*\]//'
    done
    if command -v nft >/dev/null; then echo '# nft'; nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'; fi
    echo '# mounts'; sed 's/^[0-9]* [0-9]* //' /proc/self/mountinfo
    echo '# sockets'; ss -Hltunp
    echo '# files'; find "$FSM_STATE_DIR" "$TMPDIR" 2>/dev/null | sort
    echo '# processes'
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qF "FSM_NODE=${mark:-none}" ||
            tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qF "$FSM_STATE_DIR/" ||
            readlink "$process/cwd" "$process/exe" "$process"/fd/* 2>/dev/null | grep -qF "$FSM_STATE_DIR/"; then
            echo "${process#/proc/} $(tr '\0' ' ' <"$process/cmdline")"
        fi
    done 2>/dev/null
}
is_zombie() { [ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status"; }
number() { python3 -c "import json,sys; print(json.load(open('$FSM_STATE_DIR/fsm/$1'))$2)"; }
"##;

/// Runs a script on a machine of its own, as root or by a program that gives that up, and gives what it prints.
async fn on_a_machine(mesh: &LocalMesh, by: &str, script: &str) -> String {
    std::fs::create_dir_all(mesh.path("tmp")).expect("a directory");
    for name in ["", "tmp"] {
        // Whoever runs the script keeps its things here.
        std::fs::set_permissions(mesh.path(name), Permissions::from_mode(0o777)).expect("the owner may");
    }
    let file = mesh.path("script");
    let text = format!("set -eu\nmark=\n{SHOW}\nmkdir -m 700 \"$FSM_STATE_DIR\"\n{script}");
    std::fs::write(&file, text).expect("a file");
    let (tmp, file) = (mesh.path("tmp").display().to_string(), file.display().to_string());
    mesh.shows(&format!(
        "TMPDIR='{tmp}' unshare --net --mount bash -c \"ip link set lo up && exec {by} bash '{file}'\""
    ))
    .await
}

/// A mesh with something in it: pods with sidecars, a Service, traffic.
const UP: &str = r#"
show >"$FSM_STATE_DIR.before"
fsm up "$EXAMPLE" --detach
fsm wait --for=condition=ready pod --all -A --timeout=60s
fsm exec deploy/curl -n curl -- curl -sf -o /dev/null --retry 10 --retry-all-errors http://httpbin.httpbin:14001/get
mark=$(number node/node.json '["mark"]')
daemon=$(number run.json '["daemon"]["pid"]')
show >"$FSM_STATE_DIR.during"
grep -q fsm-proxy "$FSM_STATE_DIR.during"
grep -q fsm-control "$FSM_STATE_DIR.during"
"#;

const NOTHING_LEFT: &str = r#"
show >"$FSM_STATE_DIR.after"
diff "$FSM_STATE_DIR.before" "$FSM_STATE_DIR.after"
fsm down | grep -q 'There is no mesh'
"#;

fn script(end: &str) -> String {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/httpbin");
    format!("EXAMPLE='{example}'\n{UP}\n{end}\n{NOTHING_LEFT}\necho nothing is left\n")
}

fn is_nothing(said: &str) {
    assert!(said.ends_with("nothing is left\n"), "{said}");
}

#[tokio::test]
async fn nothing_is_left() {
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    is_nothing(&on_a_machine(&mesh, "", &script("fsm down")).await);
}

#[tokio::test]
async fn nothing_is_left_after_a_crash() {
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    let crash = r#"kill -9 "$daemon"
        until is_zombie "$daemon"; do sleep 0.05; done
        fsm down"#;
    is_nothing(&on_a_machine(&mesh, "", &script(crash)).await);
}

#[tokio::test]
async fn a_mesh_comes_up_over_what_a_crash_has_left() {
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    let crash = r#"kill -9 "$daemon"
        fsm up "$EXAMPLE" --detach
        fsm wait --for=condition=ready pod --all -A --timeout=60s
        fsm exec deploy/curl -n curl -- curl -sf -o /dev/null --retry 10 --retry-all-errors http://httpbin.httpbin:14001/get
        fsm down"#;
    is_nothing(&on_a_machine(&mesh, "", &script(crash)).await);
}

#[tokio::test]
async fn nothing_is_left_without_root() {
    const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    // As on every machine where root has had a mesh: nobody else may enter, and the sidecar's own directories are below.
    let _ = std::fs::DirBuilder::new().mode(0o700).create("/run/fsm");
    let reach = format!("{NOBODY} test -x '{}'", binary("fsm").display());
    if !Command::new("sh").args(["-c", &reach]).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: another user cannot reach {}", binary("fsm").display());
        return;
    }
    let crash = r#"test "$(number run.json '["rootless"]')" = True
        kill -9 "$daemon"
        until is_zombie "$daemon"; do sleep 0.05; done
        fsm down"#;
    is_nothing(&on_a_machine(&mesh, NOBODY, &script(crash)).await);
}
