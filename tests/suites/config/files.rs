//! A document on disk is followed however it is replaced.

use fsm_tests::{Pair, Sidecar, SidecarOptions, eventually};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A volume as the kubelet mounts a ConfigMap: the file is a link through `..data`, which each update points elsewhere.
struct ConfigMap {
    volume: PathBuf,
    generation: usize,
}

impl ConfigMap {
    fn new(within: &Path, content: &[u8]) -> Self {
        let volume = within.join("volume");
        fs::create_dir(&volume).unwrap();
        let mut map = Self { volume, generation: 0 };
        map.swap(content);
        symlink("..data/config.json", map.file()).unwrap();
        map
    }

    fn file(&self) -> PathBuf {
        self.volume.join("config.json")
    }

    /// The kubelet's own order: new directory, new link, rename over the old link, removal of the old directory.
    fn swap(&mut self, content: &[u8]) {
        let old = self.volume.join(format!("..generation_{}", self.generation));
        self.generation += 1;
        let name = format!("..generation_{}", self.generation);
        fs::create_dir(self.volume.join(&name)).unwrap();
        fs::write(self.volume.join(&name).join("config.json"), content).unwrap();
        symlink(&name, self.volume.join("..data_tmp")).unwrap();
        fs::rename(self.volume.join("..data_tmp"), self.volume.join("..data")).unwrap();
        let _ = fs::remove_dir_all(old);
    }
}

fn versioned(document: &Value, version: &str, open: bool) -> Vec<u8> {
    let mut document = document.clone();
    document["Version"] = json!(version);
    if !open {
        document["Inbound"]["TrafficMatches"]["80"]["HttpServiceRouteRules"]["api.shop"]["RouteRules"] = json!([]);
    }
    serde_json::to_vec(&document).unwrap()
}

async fn in_force(sidecar: &Sidecar, version: &str) {
    eventually(&format!("version {version} is in force"), async || sidecar.version().await == version).await;
}

#[tokio::test]
async fn a_config_map_is_followed_through_its_swaps() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    let document = pair.scene.server_document.json().clone();
    pair.server_sidecar.kill().await;
    let mut map = ConfigMap::new(pair.scene.server.directory(), &versioned(&document, "1", true));
    pair.server_sidecar = Sidecar::launch_at(&pair.scene.server, &map.file(), &SidecarOptions::default());
    pair.server_sidecar.ready().await;
    pair.assert_healthy().await;
    for (version, open) in [("2", false), ("3", true), ("4", false), ("5", true)] {
        map.swap(&versioned(&document, version, open));
        in_force(&pair.server_sidecar, version).await;
        let reply = pair.http1(&pair.scene.http).await.get("api.shop", "/").await;
        assert_eq!(reply.status, if open { 200 } else { 403 }, "version {version}: {:?}", reply.reason());
    }
    // A swap to something broken, and back.
    map.swap(b"{");
    pair.server_sidecar.logs("stays in force").await;
    assert_eq!(pair.server_sidecar.version().await, "5");
    pair.assert_healthy().await;
    map.swap(&versioned(&document, "6", true));
    in_force(&pair.server_sidecar, "6").await;
}

#[tokio::test]
async fn a_file_is_followed_through_every_kind_of_replacement() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let document = pair.scene.server_document.json().clone();
    let file = pair.scene.server.directory().join("config.json");
    let sidecar = &pair.server_sidecar;
    // Another file renamed over it.
    sidecar.replace(&versioned(&document, "1", true));
    in_force(sidecar, "1").await;
    // Written in place.
    fs::write(&file, versioned(&document, "2", true)).unwrap();
    in_force(sidecar, "2").await;
    // Removed, which changes nothing, and made anew.
    fs::remove_file(&file).unwrap();
    sidecar.logs("cannot be read").await;
    assert_eq!(sidecar.version().await, "2");
    pair.assert_healthy().await;
    fs::write(&file, versioned(&document, "3", true)).unwrap();
    in_force(sidecar, "3").await;
    // Replaced by a link to another file.
    let elsewhere = file.with_extension("elsewhere");
    fs::write(&elsewhere, versioned(&document, "4", true)).unwrap();
    symlink(&elsewhere, file.with_extension("link")).unwrap();
    fs::rename(file.with_extension("link"), &file).unwrap();
    in_force(sidecar, "4").await;
    pair.assert_healthy().await;
}
