//! Cuts a text into documents, so that a mistake in one of them stays there.

/// One document of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    /// The line of the file where the document's text begins, from 1.
    pub(super) first_line: u32,
}

impl<'a> Document<'a> {
    /// The documents of a text.
    ///
    /// YAML 1.2 §9.1.2 forbids `---` and `...` at the start of a line inside of a document, even in quoted and block
    /// text: cutting there is right whatever the documents contain.
    pub(super) fn all(text: &'a str) -> Vec<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut all = Vec::new();
        let (mut start, mut first_line, mut at) = (0, 1, 0);
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
            if is_marker(line, "---") && !is_prologue(&text[start..at]) {
                all.push(Self { text: &text[start..at], first_line });
                (start, first_line) = (at, number);
            }
            at += line.len();
            if is_marker(line, "...") {
                all.push(Self { text: &text[start..at], first_line });
                (start, first_line) = (at, number.saturating_add(1));
            }
        }
        all.push(Self { text: &text[start..], first_line });
        all.retain(|document| !document.is_blank());
        all
    }

    /// Kind, namespace and name as far as they can be seen without reading the YAML, which may be broken.
    pub(super) fn guess(self) -> (Option<&'a str>, Option<&'a str>, Option<&'a str>) {
        let (mut kind, mut namespace, mut name) = (None, None, None);
        let mut in_metadata = false;
        for line in self.text.lines() {
            let value = |field: &str| {
                let (before, after) = line.split_once(':')?;
                let word = after.split('#').next()?.trim().trim_matches(['"', '\'']);
                (before.trim() == field && !word.is_empty()).then_some(word)
            };
            if !line.starts_with([' ', '\t', '#']) && !line.trim().is_empty() {
                in_metadata = line.starts_with("metadata:");
                kind = kind.or(value("kind"));
            } else if in_metadata {
                namespace = namespace.or(value("namespace"));
                name = name.or(value("name"));
            }
        }
        (kind, namespace, name)
    }

    fn is_blank(self) -> bool {
        let text = self.text.strip_prefix("---").unwrap_or(self.text);
        text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim() == "...")
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a text is what may stand before the first `---`: comments and directives such as `%YAML 1.2`.
fn is_prologue(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.starts_with(['#', '%']))
}
