//! What is in a nat table, what of it is ours, and the one transaction that leads from there to
//! where we want to be.
//!
//! Pure text work over the formats of `iptables-save` and `iptables-restore`; no I/O. Foreign rules
//! are read only to find the places of ours among them. Lines that are not understood are ignored.
//!
//! "Ours" are the `FSM_PROXY_…` chains with all they contain, and **hooks**: rules of other
//! chains that jump into them, and the PodIP rule in `OUTPUT` (see [`NatTable::hooks`]).

use std::fmt::Write as _;

use crate::rules::{Chain, Family, Match, Operation, Rule};

/// The nat table of one family, as `iptables-save` printed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NatTable {
    chains: Vec<String>,
    rules: Vec<SavedRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SavedRule {
    chain: String,
    specification: String,
}

/// All of ours that is, or shall be, in one nat table. Empty: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    chains: Vec<String>,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// A command that fills one of our chains; runs whenever the chain has been emptied.
    Own(String),
    /// A rule in somebody else's chain; added only if it is not there yet.
    Hook(Hook),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hook {
    chain: String,
    specification: String,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    /// Position in its chain, from 1: to put a removed hook back where it was.
    At(usize),
    Tail,
}

impl NatTable {
    /// Reads the `*nat` section of an `iptables-save` listing; without one the table is empty.
    pub(crate) fn parse(listing: &str) -> Self {
        let mut table = Self::default();
        let section = listing
            .lines()
            .map(str::trim)
            .skip_while(|line| *line != "*nat")
            .skip(1)
            .take_while(|line| *line != "COMMIT" && !line.starts_with('*'));
        for line in section {
            if let Some(declaration) = line.strip_prefix(':') {
                table.chains.extend(declaration.split_whitespace().next().map(str::to_owned));
            } else if let Some((chain, specification)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
            {
                table.rules.push(SavedRule { chain: chain.to_owned(), specification: specification.trim().to_owned() });
            }
        }
        table
    }

    /// Whether one of our chains exists.
    pub(crate) fn holds_ours(&self) -> bool {
        self.chains.iter().any(|chain| is_ours(chain))
    }

    /// What of ours is in here, precise enough to put it back.
    pub(crate) fn footprint(&self, family: Family) -> Footprint {
        let own = self.rules.iter().filter(|rule| is_ours(&rule.chain));
        Footprint {
            chains: self.chains.iter().filter(|chain| is_ours(chain)).cloned().collect(),
            lines: own
                .map(|rule| Line::Own(format!("-A {} {}", rule.chain, rule.specification)))
                .chain(self.hooks(family).into_iter().map(Line::Hook))
                .collect(),
        }
    }

    /// Our rules in chains that are not ours, in the order of the listing.
    ///
    /// A rule that jumps into our chains is ours. The PodIP rule carries no name of ours (it is
    /// FSM's rule to the letter, and a comment would need one more kernel module), so it counts as
    /// ours only if it has exactly our shape and names the same proxy as our own chain does.
    fn hooks(&self, family: Family) -> Vec<Hook> {
        let proxy = self.proxy_match();
        let mut position = 0;
        let mut previous = "";
        let mut hooks = Vec::new();
        for rule in &self.rules {
            position = if rule.chain == previous { position + 1 } else { 1 };
            previous = &rule.chain;
            if is_ours(&rule.chain) {
                continue;
            }
            let pod_ip_rule = rule.chain == Chain::Output.name()
                && proxy.is_some_and(|proxy| is_pod_ip_rule(&rule.specification, proxy, family));
            if jumps_to_ours(&rule.specification) || pod_ip_rule {
                hooks.push(Hook {
                    chain: rule.chain.clone(),
                    specification: rule.specification.clone(),
                    place: Place::At(position),
                });
            }
        }
        hooks
    }

    /// How the rules in force recognise the proxy, e.g. `-m owner --uid-owner 1500`.
    fn proxy_match(&self) -> Option<&str> {
        self.rules
            .iter()
            .filter(|rule| rule.chain == Chain::Outbound.name())
            .filter_map(|rule| rule.specification.strip_suffix(" -j RETURN"))
            .find(|matches| {
                ["-m owner --uid-owner ", "-m mark --mark "]
                    .iter()
                    .any(|start| matches.strip_prefix(start).is_some_and(|value| !value.contains(' ')))
            })
    }
}

impl Footprint {
    /// What the table shall hold for these rules.
    pub(crate) fn of(rules: &[Rule]) -> Self {
        let line = |rule: &Rule| {
            if rule.chain.is_builtin() {
                Line::Hook(Hook {
                    chain: rule.chain.name().to_owned(),
                    specification: rule.specification(),
                    place: match rule.operation {
                        Operation::Append => Place::Tail,
                        Operation::Insert => Place::Head,
                    },
                })
            } else {
                Line::Own(rule.to_string())
            }
        };
        // The chain for names is there only where names are answered.
        let used = |chain: &Chain| *chain != Chain::Names || rules.iter().any(|rule| rule.chain == *chain);
        Self {
            chains: Chain::OURS.iter().copied().filter(used).map(|chain| chain.name().to_owned()).collect(),
            lines: rules.iter().map(line).collect(),
        }
    }

    fn hooks(&self) -> impl Iterator<Item = &Hook> {
        self.lines.iter().filter_map(|line| match line {
            Line::Hook(hook) => Some(hook),
            Line::Own(_) => None,
        })
    }

    /// Hooks of one chain in the order in which packets meet them.
    fn hooks_in(&self, chain: &str) -> Vec<&Hook> {
        let mut hooks: Vec<&Hook> = self.hooks().filter(|hook| hook.chain == chain).collect();
        hooks.sort_by_key(|hook| match hook.place {
            Place::Head => 0,
            Place::At(position) => position,
            Place::Tail => usize::MAX,
        });
        hooks
    }
}

/// The input of `iptables-restore --noflush` that leads from `current` to `wanted`, or `None` if
/// neither holds anything of ours.
///
/// Our chains are emptied (a declaration does that) and filled again. Hooks that are in place stay
/// where they are among foreign rules; others are removed, missing ones added. The kernel takes all
/// of it or nothing.
pub(crate) fn transaction(current: &NatTable, wanted: &Footprint, family: Family) -> Option<String> {
    let present = current.footprint(family);
    if *wanted == Footprint::default() && present == Footprint::default() {
        return None;
    }
    let (stale, missing) = hook_changes(&present, wanted);
    let obsolete: Vec<&String> = present.chains.iter().filter(|chain| !wanted.chains.contains(chain)).collect();

    let mut text = String::from("*nat\n");
    for chain in &wanted.chains {
        let _ = writeln!(text, ":{chain} - [0:0]");
    }
    for hook in stale {
        let _ = writeln!(text, "-D {} {}", hook.chain, hook.specification);
    }
    for chain in &obsolete {
        let _ = writeln!(text, "-F {chain}");
    }
    for chain in &obsolete {
        let _ = writeln!(text, "-X {chain}");
    }
    for line in &wanted.lines {
        let _ = match line {
            Line::Own(command) => writeln!(text, "{command}"),
            Line::Hook(hook) if missing.contains(&hook) => {
                let Hook { chain, specification, place } = hook;
                match place {
                    Place::Head => writeln!(text, "-I {chain} {specification}"),
                    Place::At(position) => writeln!(text, "-I {chain} {position} {specification}"),
                    Place::Tail => writeln!(text, "-A {chain} {specification}"),
                }
            }
            Line::Hook(_) => Ok(()),
        };
    }
    text.push_str("COMMIT\n");
    Some(text)
}

/// Hooks to remove and hooks to add.
fn hook_changes<'a>(present: &'a Footprint, wanted: &'a Footprint) -> (Vec<&'a Hook>, Vec<&'a Hook>) {
    let mut chains: Vec<&str> = Vec::new();
    for hook in present.hooks().chain(wanted.hooks()) {
        if !chains.contains(&hook.chain.as_str()) {
            chains.push(&hook.chain);
        }
    }
    let (mut stale, mut missing) = (Vec::new(), Vec::new());
    for chain in chains {
        let here = present.hooks_in(chain);
        let there = wanted.hooks_in(chain);
        // Somebody else's chain that jumps into ours is somebody's wish; it must go only when our
        // chain goes, because a chain that is referred to cannot be deleted.
        let builtin = [Chain::Prerouting, Chain::Output].iter().any(|known| known.name() == chain);
        if !builtin && there.is_empty() && !wanted.chains.is_empty() {
            continue;
        }
        let kept: Vec<&Hook> = here.iter().copied().filter(|hook| there.iter().any(|want| same(hook, want))).collect();
        let kept_in_order = there
            .iter()
            .filter(|want| kept.iter().any(|hook| same(hook, want)))
            .map(|want| normalised(&want.specification))
            .eq(kept.iter().map(|hook| normalised(&hook.specification)));
        if kept_in_order {
            stale.extend(here.iter().copied().filter(|hook| !kept.contains(hook)));
            missing.extend(there.iter().copied().filter(|want| !kept.iter().any(|hook| same(hook, want))));
        } else {
            // Doubled (somebody appended without looking) or in the wrong order: start over.
            stale.extend(here);
            missing.extend(there);
        }
    }
    (stale, missing)
}

fn same(one: &Hook, other: &Hook) -> bool {
    one.chain == other.chain && normalised(&one.specification) == normalised(&other.specification)
}

fn is_ours(chain: &str) -> bool {
    Chain::OURS.iter().any(|ours| ours.name() == chain)
}

fn jumps_to_ours(specification: &str) -> bool {
    let mut words = specification.split_whitespace();
    words.any(|word| word == "-j" || word == "-g") && words.next().is_some_and(is_ours)
}

/// Exactly: TCP over loopback to the loopback address, sent by `proxy`, gets another address.
fn is_pod_ip_rule(specification: &str, proxy: &str, family: Family) -> bool {
    let shape =
        format!("{} {} {} {proxy} -j DNAT", Match::Destination(family.loopback()), Match::OutputLoopback, Match::Tcp);
    let mut groups = normalised(specification);
    let all = groups.len();
    groups.retain(|group| !group.starts_with("--to-destination "));
    groups.len() + 1 == all && groups == normalised(&shape)
}

/// The options of a rule, each with its value, sorted: tools differ in the order they print.
fn normalised(specification: &str) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    let mut negated = false;
    for word in specification.split_whitespace() {
        let starts_group = word == "!" || (word.starts_with('-') && !negated);
        negated = word == "!";
        match groups.last_mut() {
            Some(group) if !starts_group => {
                group.push(' ');
                group.push_str(word);
            }
            _ => groups.push(word.to_owned()),
        }
    }
    groups.sort();
    groups
}

#[cfg(test)]
mod tests;
