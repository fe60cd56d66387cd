//! The kinds that the mesh knows: their groups, versions and names.

use std::fmt;
use std::sync::Arc;

use super::table::every_kind;

/// Whether objects of a kind belong to a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They belong to the whole cluster.
    Cluster,
}

/// Names of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindNames {
    /// The kind as it is written in YAML, for example `TrafficSplit`.
    pub kind: &'static str,
    /// Its group; empty for Kubernetes' core group.
    pub group: &'static str,
    /// The versions that are read; the first one is written.
    pub versions: &'static [&'static str],
    /// Older groups under which the kind is read too.
    pub former_groups: &'static [&'static str],
    /// Plural, lower case.
    pub plural: &'static str,
    /// Short names for the command line.
    pub short_names: &'static [&'static str],
    /// Whether objects belong to a namespace.
    pub scope: Scope,
}

macro_rules! define_kinds {
    (@own kubernetes) => { false };
    (@own mesh) => { true };
    ($($family:ident $variant:ident($type:ty) $kind:literal $group:literal $versions:tt $former:tt $plural:literal
        $short:tt $scope:ident;)*) => {
        /// A kind of object. The order is the one in which objects are best created: what others refer to comes first.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(
                #[doc = concat!("`", $plural, "`, `", $group, "`")]
                $variant,
            )*
            /// A kind that the mesh does not know, as `Kind.group` (only `Kind` for the core group).
            Other(Arc<str>),
        }

        impl Kind {
            /// All kinds that the mesh knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Names of the kind; none for kinds that the mesh does not know.
            #[must_use]
            pub fn names(&self) -> Option<&'static KindNames> {
                Some(match self {
                    $(Self::$variant => &KindNames {
                        kind: $kind,
                        group: $group,
                        versions: &$versions,
                        former_groups: &$former,
                        plural: $plural,
                        short_names: &$short,
                        scope: Scope::$scope,
                    },)*
                    Self::Other(_) => return None,
                })
            }

            /// Whether the kind is one of the mesh's own or of SMI, which an API server knows by
            /// [definition](super::crds).
            #[must_use]
            pub fn has_definition(&self) -> bool {
                match self {
                    $(Self::$variant => define_kinds!(@own $family),)*
                    Self::Other(_) => false,
                }
            }
        }
    };
}

every_kind!(define_kinds);

impl Kind {
    /// The kind that `text` names on a command line: a plural (`trafficsplits`), a kind in any case (`trafficsplit`), a
    /// short name (`ts`), or one of these with a group (`trafficsplits.split.smi-spec.io`).
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if let Some(kind) = named(&text).next() {
            return Some(kind.clone());
        }
        let (word, group) = text.split_once('.')?;
        named(word).find(|kind| kind.names().is_some_and(|names| names.is_in(group))).cloned()
    }

    /// The kind of an object with these `apiVersion` and `kind`. Kinds that the mesh knows are found under their older
    /// groups and under every version of Kubernetes' own groups; everything else is [`Kind::Other`].
    #[must_use]
    pub fn of(api_version: &str, kind: &str) -> Self {
        let (group, _) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Self::ALL
            .iter()
            .find(|known| known.names().is_some_and(|names| names.kind == kind && names.is_in(group)))
            .cloned()
            .unwrap_or_else(|| {
                Self::Other(if group.is_empty() { kind.into() } else { format!("{kind}.{group}").into() })
            })
    }

    /// The kind as it is written in YAML, for example `TrafficSplit`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other(name) => name.split_once('.').map_or(name, |(kind, _)| kind),
            known => known.names().map_or("", |names| names.kind),
        }
    }

    /// The group; empty for Kubernetes' core group.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Other(name) => name.split_once('.').map_or("", |(_, group)| group),
            known => known.names().map_or("", |names| names.group),
        }
    }

    /// `apiVersion` of objects of the kind; none for kinds that the mesh does not know.
    #[must_use]
    pub fn api_version(&self) -> Option<String> {
        self.names().map(KindNames::api_version)
    }

    /// Whether objects belong to a namespace; none for kinds that the mesh does not know.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        self.names().map(|names| names.scope)
    }

    /// `Kind.group`, or only `Kind` for the core group: good for a folder's name.
    #[must_use]
    pub fn qualified(&self) -> String {
        match self.group() {
            "" => self.name().to_owned(),
            group => format!("{}.{group}", self.name()),
        }
    }
}

impl KindNames {
    /// `apiVersion` of objects of the kind: group and first version.
    #[must_use]
    pub fn api_version(&self) -> String {
        let version = self.versions.first().copied().unwrap_or_default();
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    fn is_called(&self, word: &str) -> bool {
        self.plural == word || self.kind.eq_ignore_ascii_case(word) || self.short_names.contains(&word)
    }

    /// Whether `group` is the kind's group, or an older one.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.group == group || self.former_groups.contains(&group)
    }
}

fn named(word: &str) -> impl Iterator<Item = &'static Kind> {
    Kind::ALL.iter().filter(move |kind| kind.names().is_some_and(|names| names.is_called(word)))
}

/// The kind as it is written in YAML.
impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
