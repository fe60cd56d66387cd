//! Native sidecars of users (init containers with `restartPolicy: Always`), as real processes: they are up before the
//! containers, a Job ends although they run, and they end last.

use fsm_tests::LocalMesh;

/// What both kinds of containers write down goes into one file.
fn manifests(seen: &str) -> String {
    let side = format!(
        "echo side is up >> {seen}; trap 'echo side ends >> {seen}; exit 0' TERM; touch /shared/up; while :; do sleep 0.1; done"
    );
    let spec = |main: &str, policy: &str| {
        serde_json::json!({
            "restartPolicy": policy, "terminationGracePeriodSeconds": 10,
            "initContainers": [{
                "name": "side", "image": "busybox", "restartPolicy": "Always", "command": ["sh", "-c", side],
                "startupProbe": {"exec": {"command": ["test", "-e", "/shared/up"]}, "periodSeconds": 1},
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
            }],
            "containers": [{"name": "main", "image": "busybox", "command": ["sh", "-c", main]}],
            "volumes": [{"name": "shared", "emptyDir": {}}],
        })
    };
    let job = spec(&format!("echo main works >> {seen}"), "Never");
    let lasting = format!(
        "echo main works >> {seen}; trap 'sleep 0.5; echo main ends >> {seen}; exit 0' TERM; while :; do sleep 0.1; done"
    );
    let job = serde_json::json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "default", "name": "once"},
        "spec": {"template": {"spec": job}},
    });
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "lasting"},
        "spec": spec(&lasting, "Always"),
    });
    format!("{job}\n---\n{pod}")
}

#[tokio::test]
async fn a_native_sidecar_is_there_first_and_last_and_keeps_no_job_from_ending() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    let [job, pod] = ["of-job", "of-pod"].map(|name| mesh.path(name));
    for (number, file) in [&job, &pod].into_iter().enumerate() {
        let text = manifests(&file.display().to_string());
        let object = text.split("\n---\n").nth(number).expect("two objects");
        std::fs::write(mesh.path("objects.yaml"), object).expect("a file");
        mesh.shows(&format!("kubectl apply -f '{}'", mesh.path("objects.yaml").display())).await;
    }
    let seen = |file: &std::path::Path| std::fs::read_to_string(file).unwrap_or_default();
    mesh.eventually("kubectl get job once", |outcome| outcome.stdout.contains("Complete")).await;
    mesh.eventually("true", |_| seen(&job).ends_with("side ends\n")).await;
    assert_eq!(seen(&job), "side is up\nmain works\nside ends\n");

    let all = mesh.eventually("kubectl get pod lasting", |outcome| outcome.stdout.contains("Running")).await;
    assert!(all.stdout.lines().any(|line| line.contains("2/2") || line.contains("3/3")), "{all:?}");
    mesh.shows("kubectl delete pod lasting").await;
    mesh.eventually("true", |_| seen(&pod).ends_with("side ends\n")).await;
    assert_eq!(seen(&pod), "side is up\nmain works\nmain ends\nside ends\n");
}
