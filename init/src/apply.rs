//! Brings the nat tables of the calling thread's network namespace to the state the options ask
//! for, or back to what they were.
//!
//! One transaction per address family, each all or nothing in the kernel. If a later one fails, the
//! earlier ones are undone; only if that fails too is anything left half applied, and the error
//! says so. Two runs in the same namespace wait for each other. Never flushes a table, never
//! touches a rule that is not ours, never loads modules by itself.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::InitError;
use crate::options::{Action, BackendChoice, Ipv6Choice, Options};
use crate::rules::{Family, Rule, RuleSet};
use crate::tables::{Footprint, NatTable, transaction};
use crate::xtables::{Backend, Survey, Tools, candidates, survey};

/// What has been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The variant of iptables that holds the rules; `None` after cleaning.
    pub backend: Option<Backend>,
    /// Whether IPv6 is captured.
    pub ipv6: bool,
    /// What a person should know although it went well; complete sentences.
    pub notes: Vec<String>,
}

/// One restore command: run, and undone if a later one fails.
struct Step {
    tools: Tools,
    transaction: String,
    before: Footprint,
    /// The kernel may lack support; then the text tells what that means.
    optional: Option<&'static str>,
}

struct Plan {
    steps: Vec<Step>,
    notes: Vec<String>,
}

/// What IPv6 means in this namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ipv6Presence {
    /// The kernel runs without IPv6.
    Absent,
    /// No address beyond loopback and link-local.
    LocalOnly,
    /// There is an address others can reach.
    Global,
}

const IPV6_NOT_CAPTURED: &str = "The kernel cannot redirect IPv6 here, so IPv6 is not captured. \
    This namespace has no global IPv6 address, so nothing gets around the mesh today.";

/// Does what `options.action` says, with the default of applying. A dry run prints nothing itself:
/// use [`dry_run`].
///
/// # Errors
/// As [`apply`] and [`clean`].
pub fn run(options: &Options) -> Result<Outcome, InitError> {
    match options.action {
        Action::Apply => apply(options),
        Action::Clean => clean(options),
    }
}

/// Puts the rules for `options` into force. Harmless to repeat; replaces rules of an earlier run,
/// also those made with the other variant of iptables.
///
/// # Errors
/// Whatever stops it: missing programs, privileges or kernel support, a lock held for longer than
/// `options.timeout`, a refused transaction. Except for [`InitError::HalfApplied`] the tables are
/// then as they were.
pub fn apply(options: &Options) -> Result<Outcome, InitError> {
    let _lock = namespace_lock(options.timeout)?;
    let surveys = survey(options.timeout);
    let ipv6 = ipv6_presence();
    let mut backends = candidates(options.backend, &surveys).into_iter().peekable();
    let mut notes = Vec::new();
    while let Some(backend) = backends.next() {
        let attempt = plan_apply(options, backend, &surveys, ipv6).and_then(|plan| execute(plan, options.timeout));
        match attempt {
            Ok((ipv6, more)) => {
                notes.extend(more);
                return Ok(Outcome { backend: Some(backend), ipv6, notes });
            }
            // nft may list tables and still lack what the rules need; the older variant may work.
            Err(error @ InitError::KernelSupport { .. }) if backends.peek().is_some() => {
                notes.push(format!("The {backend} backend was tried first and failed: {error}."));
            }
            Err(error) => return Err(error),
        }
    }
    Err(no_iptables(options))
}

/// Removes every rule and chain of ours from both variants and both families, and nothing else.
/// Without anything of ours it does nothing.
///
/// # Errors
/// As [`apply`].
pub fn clean(options: &Options) -> Result<Outcome, InitError> {
    let _lock = namespace_lock(options.timeout)?;
    let surveys = survey(options.timeout);
    if surveys.is_empty() {
        return Err(no_iptables(options));
    }
    if surveys.iter().all(|one| one.table.is_none())
        && let Some(one) = surveys.first()
    {
        // Nothing could be read at all: say why instead of claiming success.
        one.tools.read(options.timeout)?;
    }
    let plan = Plan { steps: removals(&surveys, |_| true), notes: Vec::new() };
    let (_, notes) = execute(plan, options.timeout)?;
    Ok(Outcome { backend: None, ipv6: false, notes })
}

/// What [`run`] would give to each restore command now, each part headed by its command line.
///
/// Works without privileges and without iptables too: tables that cannot be read are taken for
/// empty, and a comment says so.
///
/// # Errors
/// As [`apply`], as far as it can be known without changing anything.
pub fn dry_run(options: &Options) -> Result<String, InitError> {
    let surveys = survey(options.timeout);
    let mut text = String::new();
    let plan = match options.action {
        Action::Clean => Plan { steps: removals(&surveys, |_| true), notes: Vec::new() },
        Action::Apply => match candidates(options.backend, &surveys).first() {
            Some(backend) if readable(&surveys, *backend) => plan_apply(options, *backend, &surveys, ipv6_presence())?,
            found => {
                let cause = match found {
                    Some(_) => "the tables cannot be read with these privileges",
                    None => "no suitable iptables is installed",
                };
                let _ = writeln!(text, "# {cause}: shown as for empty tables");
                return Ok(text + &preview(options));
            }
        },
    };
    for note in plan.notes {
        let _ = writeln!(text, "# {note}");
    }
    if plan.steps.is_empty() {
        text.push_str("# nothing to do\n");
    }
    for step in plan.steps {
        let _ = writeln!(text, "# {}", step.tools.command_line(options.timeout));
        text.push_str(&step.transaction);
    }
    Ok(text)
}

/// What the restore commands are given where nothing is in the tables yet: IPv4, then IPv6. Pure.
pub fn preview(options: &Options) -> String {
    let rules = RuleSet::compute(options);
    let part = |command: &str, rules: &[Rule], family| {
        let text = transaction(&NatTable::default(), &Footprint::of(rules), family);
        format!("# {command} --noflush\n{}", text.unwrap_or_default())
    };
    let v6 = rules.v6.map(|rules| part("ip6tables-restore", &rules, Family::V6));
    part("iptables-restore", &rules.v4, Family::V4) + &v6.unwrap_or_default()
}

fn readable(surveys: &[Survey], backend: Backend) -> bool {
    surveys.iter().any(|one| one.tools.backend == backend && one.table.is_some())
}

fn plan_apply(options: &Options, backend: Backend, surveys: &[Survey], ipv6: Ipv6Presence) -> Result<Plan, InitError> {
    let rules = RuleSet::compute(options);
    let find = |family: Family| surveys.iter().find(|one| one.tools.backend == backend && one.tools.family == family);
    let Some(v4) = find(Family::V4) else {
        return Err(no_iptables(options));
    };
    let mut plan = Plan { steps: vec![step(v4, &rules.v4, options.timeout)?], notes: Vec::new() };

    let mut ipv6_planned = false;
    if let Some(rules) = &rules.v6 {
        let must = options.ipv6 == Ipv6Choice::On || ipv6 == Ipv6Presence::Global;
        let planned = match (ipv6, find(Family::V6)) {
            (Ipv6Presence::Absent, _) => Err(InitError::Ipv6Unavailable {
                detail: "the kernel runs without IPv6; use --ipv6 auto or off".to_owned(),
            }),
            (_, None) => Err(InitError::Ipv6Unavailable {
                detail: format!("ip6tables-{backend} is not installed; install it, or use --ipv6 off"),
            }),
            (_, Some(v6)) => step(v6, rules, options.timeout).map_err(|error| match error {
                error @ (InitError::Permission { .. } | InitError::Timeout { .. }) => error,
                other => InitError::Ipv6Unavailable { detail: format!("{other}; or give up IPv6 with --ipv6 off") },
            }),
        };
        match planned {
            Ok(mut step) => {
                step.optional = (!must).then_some(IPV6_NOT_CAPTURED);
                ipv6_planned = true;
                plan.steps.push(step);
            }
            Err(error) if must => return Err(error),
            Err(InitError::Ipv6Unavailable { .. }) if ipv6 == Ipv6Presence::Absent => {}
            Err(_) => plan.notes.push(IPV6_NOT_CAPTURED.to_owned()),
        }
    }
    // Whatever an earlier run left elsewhere would redirect a second time.
    plan.steps
        .extend(removals(surveys, |tools| tools.backend != backend || (tools.family == Family::V6 && !ipv6_planned)));
    Ok(plan)
}

fn step(survey: &Survey, rules: &[Rule], timeout: Duration) -> Result<Step, InitError> {
    let tools = survey.tools.clone();
    let table = match &survey.table {
        Some(table) => table.clone(),
        None => tools.read(timeout)?,
    };
    let wanted = Footprint::of(rules);
    Ok(Step {
        transaction: transaction(&table, &wanted, tools.family).unwrap_or_default(),
        before: table.footprint(tools.family),
        optional: None,
        tools,
    })
}

fn removals(surveys: &[Survey], concerned: impl Fn(&Tools) -> bool) -> Vec<Step> {
    let removal = |one: &Survey| {
        let table = one.table.as_ref()?;
        let family = one.tools.family;
        Some(Step {
            transaction: transaction(table, &Footprint::default(), family)?,
            before: table.footprint(family),
            optional: None,
            tools: one.tools.clone(),
        })
    };
    surveys.iter().filter(|one| concerned(&one.tools)).filter_map(removal).collect()
}

/// Runs the steps; returns whether IPv6 rules went in, and notes.
fn execute(plan: Plan, timeout: Duration) -> Result<(bool, Vec<String>), InitError> {
    let mut notes = plan.notes;
    let mut done: Vec<&Step> = Vec::new();
    let mut ipv6 = false;
    for step in &plan.steps {
        match step.tools.restore(&step.transaction, timeout) {
            Ok(()) => {
                ipv6 |= step.tools.family == Family::V6;
                done.push(step);
            }
            Err(error @ InitError::KernelSupport { .. }) if step.optional.is_some() => {
                notes.push(format!("{} ({error})", step.optional.unwrap_or_default()));
            }
            Err(cause) => {
                if matches!(cause, InitError::Timeout { .. }) {
                    // It was killed at an unknown point, perhaps after it had done its work.
                    done.push(step);
                }
                return Err(undo(&done, cause, timeout));
            }
        }
    }
    Ok((ipv6, notes))
}

/// Puts back what the steps found, last step first, and returns the error to report.
fn undo(done: &[&Step], cause: InitError, timeout: Duration) -> InitError {
    for step in done.iter().rev() {
        let family = step.tools.family;
        let undone = step.tools.read(timeout).and_then(|table| {
            if table.footprint(family) == step.before {
                return Ok(());
            }
            match transaction(&table, &step.before, family) {
                Some(text) => step.tools.restore(&text, timeout),
                None => Ok(()),
            }
        });
        if let Err(rollback) = undone {
            return InitError::HalfApplied {
                cause: Box::new(cause),
                tool: step.tools.name(),
                rollback: Box::new(rollback),
            };
        }
    }
    cause
}

fn no_iptables(options: &Options) -> InitError {
    let wanted = match options.backend {
        BackendChoice::Auto => "iptables-save and iptables-restore".to_owned(),
        BackendChoice::Nft => "iptables-nft-restore".to_owned(),
        BackendChoice::Legacy => "iptables-legacy-restore".to_owned(),
    };
    InitError::NoIptables { wanted }
}

/// Two runs that read, then write, could both add the same hook. The namespace itself is the lock:
/// it is the same file for every process in it, in whatever container.
fn namespace_lock(timeout: Duration) -> Result<File, InitError> {
    const NAMESPACE: &str = "/proc/thread-self/ns/net";
    let unusable = |error: std::io::Error| InitError::Tool { tool: NAMESPACE.to_owned(), detail: error.to_string() };
    let file = File::open(NAMESPACE).map_err(unusable)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
            Err(TryLockError::WouldBlock) if started.elapsed() >= timeout => {
                return Err(InitError::Timeout {
                    what: "the lock of this network namespace".to_owned(),
                    waited: timeout,
                    detail: "another fsm-init is at work here; wait for it, or end it".to_owned(),
                });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn ipv6_presence() -> Ipv6Presence {
    // Not /proc/net: that is the main thread's namespace, and a library caller may be in another.
    match fs::read_to_string("/proc/thread-self/net/if_inet6") {
        Ok(addresses) => parse_ipv6_presence(&addresses),
        Err(_) => Ipv6Presence::Absent,
    }
}

/// Lines are: address, interface index, prefix length, scope (hexadecimal, 0 is global), flags, interface name.
fn parse_ipv6_presence(addresses: &str) -> Ipv6Presence {
    let global = addresses.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, _, _, "00", _, name] if name != "lo")
    });
    if global { Ipv6Presence::Global } else { Ipv6Presence::LocalOnly }
}

#[cfg(test)]
mod tests;
