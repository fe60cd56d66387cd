//! Why redirection could not be set up: one variant, one stable code, one exit code per cause.
//!
//! The codes are documented in `docs/interception.md`; scripts may rely on them.

use std::time::Duration;

/// Everything that can stop fsm-init. Each message names the object, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A flag (or its environment variable) has a value that cannot be used.
    #[error("`{value}` is not valid for {flag}: {why}")]
    InvalidOption {
        /// Stable code of the kind of value, e.g. `init.invalid-cidr`.
        code: &'static str,
        /// The flag as the user writes it.
        flag: &'static str,
        /// The offending value.
        value: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// Two flags contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// A program that is needed is not installed.
    #[error(
        "no usable {wanted} found (looked in PATH, /usr/sbin, /sbin, /usr/local/sbin): install the iptables package in this image"
    )]
    NoIptables {
        /// What was looked for.
        wanted: String,
    },
    /// The kernel refused because of missing privileges.
    #[error(
        "not allowed to change the nat table: {detail}; run as root, or grant the init container the capabilities NET_ADMIN and NET_RAW"
    )]
    Permission {
        /// What the tool said.
        detail: String,
    },
    /// The kernel lacks the nat table or a match that is needed.
    #[error(
        "the kernel cannot hold the rules ({tool}: {detail}): load the modules named in docs/interception.md on the node, or choose the other --backend"
    )]
    KernelSupport {
        /// The program that reported it.
        tool: String,
        /// What it said.
        detail: String,
    },
    /// IPv6 was demanded, or is in use here, and cannot be captured.
    #[error("IPv6 traffic cannot be captured: {detail}")]
    Ipv6Unavailable {
        /// Why, and what to do.
        detail: String,
    },
    /// Somebody else held the lock, or a program did not end, for too long.
    #[error("gave up on {what} after {waited:?}: {detail}")]
    Timeout {
        /// The program or lock.
        what: String,
        /// How long was waited.
        waited: Duration,
        /// What to do.
        detail: String,
    },
    /// The tool refused the transaction; nothing of it was applied.
    #[error("{tool} refused the rules, nothing was changed: {detail}")]
    Refused {
        /// The program.
        tool: String,
        /// What it said.
        detail: String,
    },
    /// A tool could not be run or its answer could not be read.
    #[error("{tool} could not be used: {detail}")]
    Tool {
        /// The program or file.
        tool: String,
        /// What went wrong.
        detail: String,
    },
    /// A later part failed and an earlier part could not be put back.
    #[error(
        "the rules are HALF APPLIED: {cause}; and putting {tool} back failed: {rollback}; run `fsm-init --clean`, or delete the pod"
    )]
    HalfApplied {
        /// The first failure.
        cause: Box<InitError>,
        /// The program whose change stands.
        tool: String,
        /// Why it could not be undone.
        rollback: Box<InitError>,
    },
}

impl InitError {
    /// The stable reason code, as printed before the message.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidOption { code, .. } => code,
            Self::Conflict(_) => "init.conflict",
            Self::NoIptables { .. } => "init.no-iptables",
            Self::Permission { .. } => "init.permission",
            Self::KernelSupport { .. } => "init.kernel-support",
            Self::Ipv6Unavailable { .. } => "init.ipv6-unavailable",
            Self::Timeout { .. } => "init.timeout",
            Self::Refused { .. } => "init.refused",
            Self::Tool { .. } => "init.tool",
            Self::HalfApplied { .. } => "init.half-applied",
        }
    }

    /// The exit code of the program, as listed in `--help`: 2 to 9.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::InvalidOption { .. } | Self::Conflict(_) => 2,
            Self::NoIptables { .. } => 3,
            Self::Permission { .. } => 4,
            Self::KernelSupport { .. } | Self::Ipv6Unavailable { .. } => 5,
            Self::Timeout { .. } => 6,
            Self::Refused { .. } => 7,
            Self::HalfApplied { .. } => 8,
            Self::Tool { .. } => 9,
        }
    }
}
