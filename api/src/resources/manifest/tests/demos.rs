//! Every YAML of FSM's samples and of the demos' pages is read without an error. Skipped, loudly, where the folders are
//! not beside the checkout.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn beside(name: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("FSM_REFERENCE") {
        Some(reference) if name == "reference" => PathBuf::from(reference),
        Some(reference) => Path::new(&reference).parent()?.join(name),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?.join("shared").join(name),
    };
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is not there; set FSM_REFERENCE to the reference folder", folder.display());
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The texts between `<<EOF` and `EOF`, without the page's indentation, with variables replaced as the pages set them.
fn here_documents(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if !line.contains("kubectl apply") || !line.contains("<<EOF") {
            continue;
        }
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "EOF").collect();
        let indent = body.iter().find(|l| !l.trim().is_empty()).map_or(0, |l| l.len() - l.trim_start().len());
        let body: Vec<&str> = body.iter().map(|line| line.get(indent..).unwrap_or("")).collect();
        found.push((number + 1, expand(&(body.join("\n") + "\n"))));
    }
    found
}

/// Puts the lower case name of a variable in the place of `$NAME` and `${NAME}`; the pages set them to words of that form.
fn expand(text: &str) -> String {
    let mut parts = text.split('$');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let part = part.replacen(['{', '}'], "", if part.starts_with('{') { 2 } else { 0 });
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        expanded += &part[..end].to_lowercase().replace('_', "-");
        expanded += &part[end..];
    }
    expanded
}

fn check(text: &str, origin: &str) -> Vec<Object> {
    let (objects, problems) = read(text, origin);
    let errors: Vec<_> = problems.iter().filter(|p| p.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{text}");
    for warning in &problems {
        eprintln!("{warning}");
    }
    // What is written back is read as the same.
    for object in &objects {
        let written = serde_json::to_string(&object.value).unwrap();
        let (again, problems) = read(&written, origin);
        assert_eq!(problems, [], "{written}");
        assert_eq!(again[0].value, object.value);
        assert_eq!(Object::from_json(object.value.to_json().unwrap()).unwrap(), object.value);
    }
    objects.into_iter().map(|object| object.value).collect()
}

#[test]
fn all_samples_are_read() {
    let Some(folder) = beside("reference") else { return };
    let files = files(&folder.join("manifests"));
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        let objects = check(&fs::read_to_string(&file).unwrap(), &file.display().to_string());
        assert!(!objects.is_empty(), "{}", file.display());
    }
}

/// Mistakes of the page itself, which kubectl refuses too: lost indentation (TCP routing), and indentation by one
/// (Traefik).
const BROKEN: [&str; 2] = ["\nmetadata:\nname: ", "  - host: httpbin.org\n     http:"];

#[test]
fn all_demos_are_read() {
    let Some(folder) = beside("seeds") else { return };
    let page = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("001_"))
        .expect("the page of the demos is there");
    let documents = here_documents(&fs::read_to_string(page).unwrap());
    assert!(documents.len() >= 85, "{}", documents.len());
    let mut broken = 0;
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for (line, text) in documents {
        if BROKEN.iter().any(|mistake| text.contains(mistake)) {
            let (objects, problems) = read(&text, "page");
            assert!(objects.is_empty() && problems.iter().all(|p| p.severity == Severity::Error), "{problems:?}");
            broken += 1;
            continue;
        }
        for object in check(&text, &format!("page line {line}")) {
            *kinds.entry(object.kind().qualified()).or_default() += 1;
        }
    }
    for kind in
        ["Egress.policy.flomesh.io", "TrafficSplit.split.smi-spec.io", "GlobalTrafficPolicy.multicluster.flomesh.io"]
    {
        assert!(kinds.contains_key(kind), "{kinds:?}");
    }
    assert_eq!(broken, BROKEN.len());
    eprintln!("{kinds:?}");
}
