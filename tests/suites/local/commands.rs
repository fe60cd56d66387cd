//! What commands do with pods that run: exit codes, streams, logs, pages of sidecars; and how `fsm up` ends.

use fsm_tests::LocalMesh;

/// A client in the mesh, and one outside of it.
const CLIENTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: inside, namespace: inside}
spec:
  selector: {matchLabels: {app: inside}}
  template:
    metadata: {labels: {app: inside}}
    spec:
      containers:
        - {name: shell, image: curlimages/curl, command: [sleep, 365d]}
---
apiVersion: v1
kind: Namespace
metadata: {name: outside, annotations: {flomesh.io/sidecar-injection: disabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: outside}
spec:
  containers:
    - name: talker
      image: curlimages/curl
      command: [sh, -c, 'echo one; echo two; echo three >&2; : >>/work/more; exec tail -f /work/more']
      volumeMounts: [{name: work, mountPath: /work}]
    - {name: writer, image: curlimages/curl, command: [sleep, 365d], volumeMounts: [{name: work, mountPath: /work}]}
  volumes: [{name: work, emptyDir: {}}]
";

/// A script that may leave files: it runs in the mesh's own directory.
fn there(script: &str) -> String {
    format!("cd \"${{FSM_STATE_DIR%/*}}\"\n{script}")
}

async fn a_mesh() -> Option<LocalMesh> {
    LocalMesh::up(&[("clients.yaml", CLIENTS)]).await
}

#[tokio::test]
async fn exec_passes_on_exit_codes_and_streams() {
    let Some(mesh) = a_mesh().await else { return };
    for (command, code) in [
        ("true", 0),
        ("sh -c 'exit 42'", 42),
        ("sh -c 'kill -9 $$'", 137),
        ("no-such-program", 127),
        // Nobody listens there; the request does not go through the sidecar.
        ("curl -s http://127.0.0.1:9/", 7),
    ] {
        let outcome = mesh.page(&format!("fsm exec deploy/inside -n inside -- {command}")).await;
        assert_eq!(outcome.code, code, "{command}: {outcome:?}");
    }
    let streams = mesh.page("fsm exec deploy/inside -n inside -- sh -c 'echo out; echo err >&2; exit 3'").await;
    assert_eq!((streams.code, streams.stdout.as_str(), streams.stderr.as_str()), (3, "out\n", "err\n"));
    let counted = mesh.shows("head -c 5000000 /dev/zero | fsm exec -i deploy/inside -n inside -- wc -c").await;
    assert_eq!(counted.trim(), "5000000");
    // Without -i there is nothing to read, whatever our own standard input is.
    assert_eq!(mesh.shows("echo x | fsm exec deploy/inside -n inside -- wc -c").await.trim(), "0");
    let much = mesh.shows("fsm exec deploy/inside -n inside -- head -c 5000000 /dev/zero | wc -c").await;
    assert_eq!(much.trim(), "5000000");
    let wrong = mesh.page("fsm exec deploy/inside -n inside -c nobody -- true").await;
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("which has: shell, sidecar"), "{wrong:?}");
}

#[tokio::test]
async fn a_command_ends_with_whoever_ran_it() {
    let Some(mesh) = a_mesh().await else { return };
    mesh.shows(
        "fsm exec deploy/inside -n inside -- sleep 12345 & exec=$!
         until fsm exec deploy/inside -n inside -- pgrep -f '^sleep 12345'; do sleep 0.05; done
         kill -9 $exec
         while fsm exec deploy/inside -n inside -- pgrep -f '^sleep 12345'; do sleep 0.05; done",
    )
    .await;
}

#[tokio::test]
async fn logs_are_printed_and_followed() {
    let Some(mesh) = a_mesh().await else { return };
    mesh.eventually("fsm logs alone -n outside", |outcome| outcome.stdout.lines().count() == 3).await;
    assert_eq!(mesh.shows("fsm logs alone -n outside -c talker --tail 1").await.lines().count(), 1);
    let sidecar = mesh.shows("fsm logs deploy/inside -n inside -c sidecar").await;
    assert!(sidecar.contains("fsm-proxy"), "{sidecar}");
    assert!(mesh.shows("fsm logs control").await.contains("ready"), "control says when it is ready");
    let wrong = mesh.page("fsm logs alone -n outside -c sidecar").await;
    assert!(wrong.code == 1 && wrong.stderr.contains("which has: talker, writer"), "{wrong:?}");
    // It ends with its pod.
    let followed = mesh
        .shows(&there(
            "fsm logs -f alone -n outside -c talker >followed & follower=$!
             until grep -q two followed; do sleep 0.05; done
             fsm exec alone -n outside -c writer -- sh -c 'echo four >>/work/more'
             until grep -q four followed; do sleep 0.05; done
             fsm delete pod alone -n outside
             wait $follower
             cat followed",
        ))
        .await;
    assert!(followed.contains("one\ntwo\n") && followed.contains("four\n"), "{followed}");
}

#[tokio::test]
async fn sidecars_show_their_pages() {
    let Some(mesh) = a_mesh().await else { return };
    for (page, expected) in [
        ("config_dump", "\"Chains\""),
        ("config_status", "\"connected\": true"),
        ("stats", "cluster."),
        ("stats/prometheus", "# TYPE"),
        ("listeners", "15001"),
        ("certs", "CN=default.inside.cluster.local"),
        ("clusters", ""),
    ] {
        let text = mesh.shows(&format!("fsm proxy get {page} deploy/inside -n inside")).await;
        assert!(text.contains(expected), "{page}: {text}");
    }
    mesh.shows(&there("fsm proxy get ready deploy/inside -n inside -f page && test -s page")).await;
    let wrong = mesh.page("fsm proxy get nonsense deploy/inside -n inside").await;
    assert!(wrong.code == 1 && wrong.stderr.contains("404"), "{wrong:?}");
    let outside = mesh.page("fsm proxy get ready alone -n outside").await;
    assert_eq!(outside.code, 1);
    assert!(outside.stderr.contains("Pod alone in namespace outside is not a part of a mesh"), "{outside:?}");
}

#[tokio::test]
async fn a_workload_is_scaled_restarted_and_waited_for() {
    let Some(mesh) = a_mesh().await else { return };
    let pods = "fsm get pods -n inside -l app=inside -o name | sort";
    let first = mesh.shows(pods).await;
    mesh.shows("fsm scale deploy/inside -n inside --replicas 3 && fsm rollout status deploy/inside -n inside").await;
    let three = mesh.shows(pods).await;
    assert!(three.lines().count() == 3 && three.contains(first.trim()), "{first} {three}");
    mesh.shows("fsm rollout restart deploy inside -n inside && fsm rollout status deploy inside -n inside").await;
    let after = mesh.shows("fsm wait --for=condition=ready pod -n inside -l app=inside").await;
    assert!(!after.contains(first.trim().trim_start_matches("pod/")), "{first} {after}");
    let never = mesh.page("fsm wait --for=condition=ready pod -n inside -l app=other --timeout=1s").await;
    assert!(never.code == 1 && never.stderr.contains("no matching resources found"), "{never:?}");
}

#[tokio::test]
async fn one_mesh_of_a_name_runs_at_a_time_and_two_of_different_names_do() {
    let Some(mesh) = a_mesh().await else { return };
    let again = mesh.page("fsm up").await;
    assert!(again.code == 1 && again.stderr.contains("mesh fsm runs already"), "{again:?}");
    mesh.shows(&there("fsm up manifests --detach --name two && fsm exec --name two deploy/inside -n inside -- true"))
        .await;
    let which = mesh.page("fsm get pods -A").await;
    assert!(which.stderr.contains("several meshes (fsm, two)"), "{which:?}");
    mesh.shows("fsm down --name two && fsm get pods -A && fsm exec deploy/inside -n inside -- true").await;
}

#[tokio::test]
async fn pods_that_do_not_become_ready_are_named_with_the_reason() {
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    let broken = "
apiVersion: v1
kind: Pod
metadata: {name: broken, namespace: a}
spec:
  containers:
    - {name: app, image: curlimages/curl, command: [sh, -c, 'exit 3'], readinessProbe: {exec: {command: ['false']}}}
";
    std::fs::write(mesh.path("broken.yaml"), broken).expect("a file");
    let up = mesh.page(&there("fsm up broken.yaml --detach --timeout 4s")).await;
    assert_eq!(up.code, 1);
    assert!(up.stderr.contains("pod a/broken") && up.stderr.contains("fsm logs broken -n a -c app"), "{up:?}");
    // It is there to be looked at.
    assert!(mesh.shows("fsm get pod broken -n a").await.contains("broken"));
}

#[tokio::test]
async fn a_mesh_ends_when_its_directory_is_removed() {
    let Some(mesh) = a_mesh().await else { return };
    let daemon = mesh
        .shows("python3 -c \"import json; print(json.load(open('$FSM_STATE_DIR/fsm/run.json'))['daemon']['pid'])\"")
        .await;
    mesh.shows(&format!("rm -rf \"$FSM_STATE_DIR/fsm\"; while [ -e /proc/{} ]; do sleep 0.05; done", daemon.trim()))
        .await;
}

#[tokio::test]
async fn a_wrong_document_starts_nothing() {
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    std::fs::write(mesh.path("wrong.yaml"), "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: 7}\n")
        .expect("a file");
    let up = mesh.page(&there("fsm up wrong.yaml --detach")).await;
    assert_eq!(up.code, 1);
    assert!(up.stderr.contains("wrong.yaml:4") && up.stderr.contains("nothing was started"), "{up:?}");
    assert!(mesh.shows("fsm mesh list").await.contains("No fsm mesh control planes found"));
}

#[tokio::test]
async fn a_mesh_in_the_foreground_ends_with_ctrl_c_and_with_its_terminal() {
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    std::fs::write(mesh.path("clients.yaml"), CLIENTS).expect("a file");
    for end in ["INT", "HUP", "KILL"] {
        let said = mesh
            .shows(&there(&format!(
                "rm -f said
                 # Interrupts reach what a script runs in the background only after this.
                 python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' fsm up clients.yaml >said 2>&1 & up=$!
                 until grep -q 'is up with' said; do sleep 0.05; done
                 fsm get pods -A
                 kill -{end} $up
                 wait $up 2>/dev/null
                 until fsm mesh list | grep -q 'No fsm mesh'; do sleep 0.05; done
                 cat said"
            )))
            .await;
        assert!(said.contains("Ctrl-C takes everything down"), "{said}");
        assert_eq!(said.contains("Taking mesh [fsm] down"), end != "KILL", "{said}");
    }
}
