use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn laughs(levels: usize) -> String {
    let mut text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..levels {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{below}]").unwrap();
    }
    text
}

#[test]
fn aliases_cannot_make_a_small_text_large() {
    let problem = problem(&laughs(9));
    assert!(problem.reason.contains("too many aliases"), "{problem}");
    // Nor can many small documents.
    let many = laughs(9) + "---\n";
    assert_eq!(read(&many.repeat(500), "a.yaml").1.len(), 500);
    // A few aliases are what people use.
    let (objects, _) = read(&laughs(2), "a.yaml");
    assert_eq!(objects.len(), 1);
}

/// Reads on a stack as tokio's workers have it: a stack that overflows ends the whole program.
fn read_on_a_small_stack(text: String) -> (Vec<Located<Object>>, Vec<ManifestError>) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(move || read(&text, "a.yaml")).unwrap().join().unwrap()
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    const HEAD: &str = "apiVersion: v1\nkind: X\nmetadata: {name: a}\nspec: ";
    for open in ["[", "a: ", "- ", "{a: ", "? ", "[{a: "] {
        let (objects, problems) = read_on_a_small_stack(format!("{HEAD}{}", open.repeat(100_000)));
        assert_eq!((objects.len(), problems.len()), (0, 1), "{open}");
    }
    let mut indented = HEAD.to_owned();
    for depth in 1..500 {
        write!(indented, "\n{}a:", " ".repeat(depth)).unwrap();
    }
    assert_eq!(read_on_a_small_stack(indented).0, []);
    let deepest = format!("{HEAD}{}{}", "[".repeat(47), "]".repeat(47));
    assert_eq!(read_on_a_small_stack(deepest).1, []);
    let deepest = format!("{HEAD}{}1{}", "{a: ".repeat(47), "}".repeat(47));
    assert_eq!(read_on_a_small_stack(deepest).1, []);
}

#[test]
fn a_large_text_is_refused() {
    let problem = problem(&"# nothing\n".repeat(MOST_BYTES / 10 + 1));
    assert!(problem.reason.contains("bytes"), "{problem}");
}

#[test]
fn endless_aliases_are_refused() {
    assert!(problem("apiVersion: v1\nkind: X\nmetadata: &m {name: a, x: *m}\n").reason.contains("alias"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&String::from_utf8_lossy(&bytes), "a.yaml");
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(
        words in proptest::collection::vec(
            prop_oneof![
                Just("---\n"), Just("...\n"), Just("\n"), Just("  "), Just("- "), Just(": "), Just("? "), Just("&a "), Just("*a"),
                Just("<<: *a\n"), Just("{"), Just("}"), Just("["), Just("]"), Just(", "), Just("|\n"), Just(">-\n"), Just("\""),
                Just("'"), Just("!!binary "), Just("!x "), Just("%YAML 1.2\n"), Just("# "), Just("\t"), Just("\r"), Just("kind: Service\n"),
                Just("apiVersion: v1\n"), Just("metadata: {name: a}\n"), Just("spec:\n"), Just("ports"), Just("~"), Just("0x"), Just(".inf"),
                Just("9223372036854775808"), Just("kind: List\nitems:\n"), Just("\u{feff}"), Just("\u{85}"), Just("é"),
            ],
            0..60,
        )
    ) {
        let _ = read(&words.concat(), "a.yaml");
    }

    #[test]
    fn no_changed_document_makes_the_reader_panic_or_lose_the_others(
        at in 0..SPLIT.len(), take in 0usize..12, put in "[ -~\n\t]{0,6}"
    ) {
        // A change that adds a document boundary or closes nothing stays in its own document.
        let mut changed = SPLIT.to_owned();
        let end = (at + take).min(changed.len());
        changed.replace_range(at..end, &put);
        let (objects, problems) = read(&format!("{changed}\n---\n{SPLIT}"), "a.yaml");
        let last = objects.last().expect("the second document is still read");
        prop_assert_eq!(&last.value, &super::objects(SPLIT)[0].value);
        for problem in problems {
            prop_assert!(problem.line >= 1 && problem.line as usize <= changed.lines().count() + 2, "{}", problem);
            prop_assert!(!problem.reason.is_empty() && !problem.remedy.is_empty());
        }
    }
}
