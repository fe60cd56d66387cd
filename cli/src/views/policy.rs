//! Whether a call is allowed, in words.

use serde::{Deserialize, Serialize};

use crate::output::Style;

/// The control plane's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explained {
    /// Who calls.
    pub caller: String,
    /// Whom.
    pub service: String,
    /// `allowed`, `denied`, `partly`.
    pub verdict: String,
    /// The reason that sidecars give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happens on the way.
    pub steps: Vec<Step>,
    /// The objects that decide.
    pub objects: Vec<Said>,
    /// What limits the call, or has it tried again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// What would change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A step on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Whether the call gets past it.
    pub passed: bool,
    /// What happens.
    pub text: String,
}

/// What an object says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// `Kind namespace/name`.
    pub object: String,
    /// Whether it lets the call through.
    pub allows: bool,
    /// Why.
    pub text: String,
}

/// An object that does not decide whether a call is allowed, but how it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// `Kind namespace/name`.
    pub object: String,
    /// What it does.
    pub text: String,
}

/// The answer for people.
#[must_use]
pub fn told(explained: &Explained, asked: Option<&str>, style: Style) -> String {
    let verdict = match explained.verdict.as_str() {
        "allowed" => style.good("ALLOWED"),
        "partly" => "PARTLY ALLOWED".to_owned(),
        _ => style.bad("DENIED"),
    };
    let reason = explained.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let asked = asked.map(|asked| format!(" with {asked}")).unwrap_or_default();
    let mut text =
        format!("{verdict}{reason}: {} calls {}{asked}\n\nOn the way\n", explained.caller, explained.service);
    let mark = |good: bool| if good { style.good("+") } else { style.bad("-") };
    for step in &explained.steps {
        text.push_str(&format!("  [{}] {}\n", mark(step.passed), step.text));
    }
    if !explained.objects.is_empty() {
        text.push_str("\nObjects\n");
    }
    for said in &explained.objects {
        text.push_str(&format!("  [{}] {}: {}\n", mark(said.allows), said.object, said.text));
    }
    if !explained.limits.is_empty() {
        text.push_str("\nLimits and retries\n");
    }
    for limit in &explained.limits {
        text.push_str(&format!("  {}: {}\n", limit.object, limit.text));
    }
    if let Some(remedy) = &explained.remedy {
        text.push_str(&format!("\nTo allow it: {remedy}\n"));
    }
    if let Some(reason) = &explained.reason {
        text.push_str(&format!("More about the reason: fsm explain {reason}\n"));
    }
    text
}

/// A value in a query.
#[must_use]
pub fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
