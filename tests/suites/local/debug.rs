//! The debug server of the control plane, as its developers use it: MeshConfig opens it, and closes it again.

use flate2::read::GzDecoder;
use fsm_tests::{LocalMesh, Outcome};
use std::io::Read;

/// A profile in pprof's format, as far as it is looked at here.
struct Profile {
    samples: usize,
    texts: Vec<String>,
}

impl Profile {
    /// Reads a profile, which may be compressed; every byte must be accounted for.
    fn read(answer: &[u8]) -> Self {
        let mut bytes = Vec::new();
        if answer.starts_with(&[0x1f, 0x8b]) {
            GzDecoder::new(answer).read_to_end(&mut bytes).expect("a compressed profile");
        } else {
            bytes.extend(answer);
        }
        let (mut samples, mut texts) = (0, Vec::new());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let key = number(&mut rest);
            match key & 7 {
                0 => drop(number(&mut rest)),
                2 => {
                    let length = usize::try_from(number(&mut rest)).expect("a length");
                    let (field, after) = rest.split_at(length);
                    rest = after;
                    match key >> 3 {
                        2 => samples += 1,
                        6 => texts.push(String::from_utf8(field.to_vec()).expect("text")),
                        _ => {}
                    }
                }
                other => panic!("profiles have no fields of type {other}"),
            }
        }
        Self { samples, texts }
    }

    fn names(&self, part: &str) -> bool {
        self.texts.iter().any(|text| text.contains(part))
    }
}

/// A number of protobuf's.
fn number(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a number does not end in the middle");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("no number is so long")
}

/// Asks the debug server, which is on the loopback of the mesh's node.
async fn ask(mesh: &LocalMesh, path: &str, file: &str) -> Outcome {
    mesh.page(&format!(
        "nsenter -t \"$(pgrep -f '[f]sm-control.*{state}' | head -1)\" -n \
         curl -s -m 60 -o {file} -w '%{{http_code}}' 'http://127.0.0.1:9092{path}'",
        state = mesh.path("state").display(),
        file = mesh.path(file).display(),
    ))
    .await
}

async fn profile(mesh: &LocalMesh, path: &str) -> Profile {
    let asked = ask(mesh, path, "profile").await;
    let body = std::fs::read(mesh.path("profile")).unwrap_or_default();
    assert_eq!(asked.stdout, "200", "{path}: {asked:?}: {}", String::from_utf8_lossy(&body));
    Profile::read(&body)
}

async fn switch(mesh: &LocalMesh, on: bool) {
    mesh.shows(&format!(
        r#"fsm patch meshconfig fsm-mesh-config -n fsm-system --type=merge \
             -p '{{"spec":{{"observability":{{"enableDebugServer":{on}}}}}}}'"#
    ))
    .await;
}

#[tokio::test]
async fn profiles_of_the_control_plane_name_its_functions_while_the_debug_server_is_open() {
    let Some(mesh) = LocalMesh::up_example("examples/httpbin").await else { return };
    assert_eq!(ask(&mesh, "/debug", "index").await.code, 7, "nothing listens before it is asked for");
    switch(&mesh, true).await;
    let started = std::time::Instant::now();
    while ask(&mesh, "/debug", "index").await.stdout != "200" {
        assert!(started.elapsed().as_secs() < 20, "the debug server does not open");
    }

    // What is allocated while the port is open is seen, by samples: documents of many services are enough for some.
    for round in 0..3 {
        let services: String = (0..60)
            .map(|number| {
                format!(
                    "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{round}-{number}, namespace: httpbin}}\n\
                     spec: {{selector: {{app: httpbin}}, ports: [{{port: {}, targetPort: 14001, appProtocol: http}}]}}\n",
                    20_000 + number
                )
            })
            .collect();
        std::fs::write(mesh.path("services.yaml"), services).expect("a file");
        mesh.shows(&format!("fsm apply -f {}", mesh.path("services.yaml").display())).await;
    }
    let started = std::time::Instant::now();
    let heap = loop {
        let heap = profile(&mesh, "/debug/pprof/heap").await;
        if heap.samples > 0 && heap.names("fsm_control::") {
            break heap;
        }
        assert!(started.elapsed().as_secs() < 30, "{} samples name {:?}", heap.samples, heap.texts);
    };
    assert!(heap.names("inuse_space") || heap.names("space"), "{:?}", heap.texts);

    let busy =
        mesh.in_background("while :; do fsm policy explain --from deploy/curl -n curl --to httpbin/httpbin; done");
    let time = profile(&mesh, "/debug/pprof/profile?seconds=3").await;
    drop(busy);
    assert!(time.samples > 0 && time.names("cpu"), "{} samples name {:?}", time.samples, time.texts);

    switch(&mesh, false).await;
    let started = std::time::Instant::now();
    while ask(&mesh, "/debug/pprof/heap", "profile").await.code != 7 {
        assert!(started.elapsed().as_secs() < 20, "the debug server does not close");
    }
}
