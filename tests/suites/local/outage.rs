//! fsm-control dies, or does not answer: applications see nothing of it, and what users say afterwards counts.
//!
//! `FSM_TEST_OUTAGE_SECONDS=60` makes the outage as long as the one that fsm is made to survive; by default it is short.

use super::{MANIFESTS, answered, deploy_curl, deploy_httpbin, in_curl, patch};
use fsm_tests::LocalMesh;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::time::{Duration, Instant};

fn outage() -> Duration {
    let seconds = std::env::var("FSM_TEST_OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// The process of fsm-control that `run.json` names, alive or not.
fn control(mesh: &LocalMesh) -> Pid {
    let run = fs::read(mesh.path("state/fsm/run.json")).expect("run.json");
    let run: serde_json::Value = serde_json::from_slice(&run).expect("JSON");
    let pid = run.pointer("/control/pid").and_then(serde_json::Value::as_i64).expect("fsm-control runs");
    Pid::from_raw(i32::try_from(pid).expect("a process id"))
}

/// The next process of fsm-control, after `last` was killed.
async fn next_control(mesh: &LocalMesh, last: Pid) -> Pid {
    let started = Instant::now();
    loop {
        let now = control(mesh);
        if now != last {
            return now;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "fsm-control is not started again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The running sidecar of a pod, by what its command line or environment says.
fn sidecar(pod: &str) -> Option<Pid> {
    let pids = fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found = pids.filter(|pid: &i32| {
        let of = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let name = format!("POD_NAME={pod}");
        of("comm") == b"fsm-proxy\n" && of("environ").split(|byte| *byte == 0).any(|word| word == name.as_bytes())
    });
    found.next().map(Pid::from_raw)
}

fn is_stopped(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// Requests on new connections and on kept ones, until the file is there; one status a line, `000` for none.
fn load(until: &str) -> String {
    let url = "http://httpbin.httpbin:14001/get";
    let curl = "curl -s -o /dev/null --max-time 10 -w \"%{http_code}\\n\"";
    in_curl(&format!(
        "sh -c '(while [ ! -e {until} ]; do {curl} --rate 50/s \"{url}?[1-50]\"; done) &
                while [ ! -e {until} ]; do {curl} {url}; sleep 0.02; done; wait'"
    ))
}

/// The lines of these fields, of all certificates.
fn fields<'a>(certificates: &'a str, names: &[&str]) -> Vec<&'a str> {
    let is_wanted = |line: &&str| names.iter().any(|name| line.trim_start().starts_with(&format!("\"{name}\":")));
    let lines: Vec<_> = certificates.lines().filter(is_wanted).collect();
    assert!(lines.len() >= 4 * names.len(), "two leaves and two roots: {certificates}");
    lines
}

#[tokio::test]
async fn nothing_fails_while_the_control_plane_is_away() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true,"enableEgress":false}}"#).await;
    deploy_httpbin(&mesh).await;
    deploy_curl(&mesh, true).await;
    mesh.shows(&format!(
        "kubectl create namespace spare && fsm namespace add spare &&
         kubectl apply -f {MANIFESTS}/samples/httpbin/httpbin.yaml -n spare &&
         kubectl wait --for=condition=ready pod -n spare -l app=httpbin --timeout=60s"
    ))
    .await;
    let get = in_curl("curl -sI http://httpbin.httpbin:14001/get");
    let spare = in_curl("curl -sI http://httpbin.spare:14001/get");
    mesh.eventually(&get, answered(200)).await;
    mesh.eventually(&spare, answered(200)).await;
    let certificates = "fsm proxy get certs deploy/curl -n curl && fsm proxy get certs deploy/httpbin -n httpbin";
    let before = mesh.shows(certificates).await;

    let stop = mesh.path("stop").display().to_string();
    let script = load(&stop);
    let away = async {
        let began = Instant::now();
        let first = control(&mesh);
        kill(first, Signal::SIGKILL).expect("fsm-control can be killed");
        // The next one accepts connections, or not even that, and answers nothing.
        let second = next_control(&mesh, first).await;
        kill(second, Signal::SIGSTOP).expect("fsm-control can be stopped");

        let pod = mesh.shows("kubectl get pod -n spare -l app=httpbin -o jsonpath='{.items[0].metadata.name}'").await;
        let old = sidecar(&pod).expect("the pod has a sidecar");
        kill(old, Signal::SIGKILL).expect("the sidecar can be killed");
        mesh.eventually(&spare, answered(200)).await;
        let new = sidecar(&pod).expect("the sidecar was started again");
        assert_ne!(new, old);
        assert!(is_stopped(second), "the control plane was to be away until now");
        assert_eq!(control(&mesh), second);

        tokio::time::sleep(outage().saturating_sub(began.elapsed())).await;
        let during = mesh.shows(certificates).await;
        assert_eq!(fields(&during, &["serial"]), fields(&before, &["serial"]));
        assert!(is_stopped(second), "the control plane was to be away until now");
        kill(second, Signal::SIGKILL).expect("fsm-control can be killed");
        next_control(&mesh, second).await;

        // What is wanted now reaches every proxy, also the one that lived on its cache.
        patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true,"enableEgress":true}}"#).await;
        mesh.eventually(
            "fsm proxy get config_dump deploy/curl -n curl && fsm proxy get config_dump deploy/httpbin -n spare",
            |outcome| outcome.code == 0 && outcome.stdout.matches(r#""EnableEgress": true"#).count() == 2,
        )
        .await;
        fs::write(&stop, "").expect("a file");
    };
    let (outcome, ()) = tokio::join!(mesh.page(&script), away);

    assert_eq!(outcome.code, 0, "{outcome:?}");
    let statuses: Vec<_> = outcome.stdout.lines().collect();
    let good = statuses.iter().filter(|status| **status == "200").count();
    let bad: Vec<_> = statuses.iter().filter(|status| **status != "200").collect();
    println!("{good} requests during an outage of {:?}", outage());
    assert!(bad.is_empty(), "{} of {} requests failed: {bad:?}", bad.len(), statuses.len());
    assert!(good as u64 >= outage().as_secs() * 5, "only {good} requests");

    // Proxies that could not tell why nobody answered have asked for a new certificate: it is of the same root.
    let after = mesh.shows(certificates).await;
    assert_eq!(fields(&after, &["subject", "issuer"]), fields(&before, &["subject", "issuer"]));
    patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":false,"enableEgress":false}}"#).await;
    mesh.eventually(&get, |outcome| [7, 52, 56].contains(&outcome.code)).await;
}
