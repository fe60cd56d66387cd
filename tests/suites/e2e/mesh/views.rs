//! The commands that look at a mesh, against a cluster: through the API server, with the rights of whoever asks.

use super::{TheMesh, until};

/// Each command says what is true of this mesh.
pub(super) async fn the_mesh_is_looked_at(mesh: &TheMesh) {
    let pod = mesh.cluster.pod_of("client", "client").await;
    let from = format!("client/{pod}");
    mesh.call("/get").await;
    for (command, expected) in [
        (vec!["proxy", "status"], vec!["client ", "server ", "Synced", "0.1.0"]),
        (vec!["stat", "--window", "0"], vec!["client ", "server ", "server-v1", "%"]),
        (vec!["edges"], vec!["client.client", "server.server", "mTLS"]),
        (vec!["proxy", "clusters", &pod, "-n", "client"], vec!["server/server", "outbound"]),
        (
            vec!["policy", "explain", "--from", &from, "--to", "server/server", "GET", "/get"],
            vec!["ALLOWED", "TrafficTarget server/"],
        ),
    ] {
        let line = format!("fsm {}", command.join(" "));
        let shown = until(&line, async || {
            let outcome = mesh.cluster.fsm(&command).await;
            let right = outcome.code == 0 && expected.iter().all(|text| outcome.stdout.contains(text));
            if !right {
                eprintln!("not yet: {line}: {outcome:?}");
            }
            right.then_some(outcome.stdout)
        })
        .await;
        eprintln!("$ {line}\n{shown}");
    }
}
