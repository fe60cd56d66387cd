//! The commands that look at a mesh, against a cluster: through the API server, with the rights of whoever asks. They are
//! those of docs/observe.md, and have to print what is written there, but for numbers, times and random names. What they do
//! print is on this test's standard error.

use super::{TheMesh, fine, until};
use fsm_tests::pages::{Compare, steps};
use std::time::Duration;

const PAGE: &str = include_str!("../../../../docs/observe.md");

/// Every block of the page that is about a cluster, while the client calls the server.
pub(super) async fn every_command_that_looks_at_a_mesh_works_on_a_cluster(mesh: &TheMesh) {
    // The one before it was told to go some steps ago.
    until("there is one client", async || {
        let pods = fine(mesh.cluster.kubectl(&["get", "pods", "-n", "client", "-o", "name"], "").await);
        (pods.lines().count() == 1).then_some(())
    })
    .await;
    let calling = async {
        loop {
            assert_eq!(mesh.status("/get").await, "200");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let looking = async {
        let steps = steps(PAGE, "```console cluster");
        assert!(steps.len() > 10, "{steps:?}");
        for step in steps {
            let typed = step.command.split(" # within ").next().unwrap_or_default();
            let words: Vec<&str> = typed.split_whitespace().collect();
            assert_eq!(words[0], "fsm", "{typed}");
            let looks = async || {
                let outcome = mesh.cluster.fsm(&words[1..]).await;
                eprintln!("$ {typed}\n{}{}(exit code {})", outcome.stdout, outcome.stderr, outcome.code);
                outcome
            };
            step.run("docs/observe.md", Compare::Shape, looks).await;
        }
    };
    tokio::select! {
        () = calling => {}
        () = looking => {}
    }
}
