//! Validated settings, made from [`Flags`].
//!
//! Options hold typed values: whoever has an `Options` can compute rules without further checks.
//! Every mistake in a flag gets a reason code. Nothing here reads files or runs programs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use ipnet::IpNet;

use crate::InitError;
use crate::flags::Flags;

/// Validated settings. `Options::default()` is what FSM does for a pod without annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where inbound connections are sent; FSM: 15003.
    pub inbound_port: NonZeroU16,
    /// Where outbound connections are sent; FSM: 15001. Differs from `inbound_port`.
    pub outbound_port: NonZeroU16,
    /// How the proxy's own traffic is recognised.
    pub proxy: ProxySelector,
    /// Destinations not captured, both families mixed.
    pub outbound_exclude: Vec<IpNet>,
    /// If not empty, the only destinations captured. Applies to both families: an IPv4-only list
    /// captures no IPv6.
    pub outbound_include: Vec<IpNet>,
    /// Destination ports not captured on the way out.
    pub outbound_exclude_ports: Vec<NonZeroU16>,
    /// Ports of the pod not captured on the way in.
    pub inbound_exclude_ports: Vec<NonZeroU16>,
    /// Interfaces not captured, in either direction.
    pub exclude_interfaces: Vec<InterfaceName>,
    /// Where the application's questions about names are sent; `None`: they are left alone.
    pub dns_port: Option<NonZeroU16>,
    /// PodIP mode (FSM `localProxyMode: PodIP`) for each family that has an address here.
    pub pod: PodAddresses,
    /// Which variant of iptables is used.
    pub backend: BackendChoice,
    /// Whether IPv6 is captured.
    pub ipv6: Ipv6Choice,
    /// How long the firewall lock is waited for; 1 s to 600 s.
    pub timeout: Duration,
    /// What the program does.
    pub action: Action,
    /// Print instead of change.
    pub dry_run: bool,
}

/// What one run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Bring the rules into place.
    #[default]
    Apply,
    /// Remove our rules.
    Clean,
}

/// Which variant of iptables to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// The one already in use, else nft, else legacy.
    #[default]
    Auto,
    /// `iptables-nft` only.
    Nft,
    /// `iptables-legacy` only.
    Legacy,
}

/// Whether IPv6 is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6Choice {
    /// Captured where the kernel has IPv6. Tolerates that it cannot be captured as long as no
    /// global IPv6 address exists; otherwise IPv6 would be a way around the mesh.
    #[default]
    Auto,
    /// Captured, or the run fails.
    On,
    /// Not captured.
    Off,
}

/// How packets of the proxy itself are told from the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySelector {
    /// By the user id of the socket's owner (FSM: 1500). Never root: root's traffic would bypass.
    Uid(NonZeroU32),
    /// By packet mark, for user namespaces where only one user id is mapped.
    Mark(PacketMark),
}

/// A packet mark with the bits that count. Invariant: `value & mask == value`, `value != 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketMark {
    value: u32,
    mask: u32,
}

/// The name of a network interface as iptables takes it: 1 to 15 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceName(String);

/// The pod's addresses for PodIP mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PodAddresses {
    /// IPv4 address, if PodIP mode is wanted for IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address, if PodIP mode is wanted for IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            inbound_port: const { nonzero_port(15003) },
            outbound_port: const { nonzero_port(15001) },
            proxy: ProxySelector::Uid(const { nonzero_uid(1500) }),
            outbound_exclude: Vec::new(),
            outbound_include: Vec::new(),
            outbound_exclude_ports: Vec::new(),
            inbound_exclude_ports: Vec::new(),
            exclude_interfaces: Vec::new(),
            dns_port: None,
            pod: PodAddresses::default(),
            backend: BackendChoice::Auto,
            ipv6: Ipv6Choice::Auto,
            timeout: Duration::from_secs(30),
            action: Action::Apply,
            dry_run: false,
        }
    }
}

impl TryFrom<Flags> for Options {
    type Error = InitError;

    /// Validates every flag.
    ///
    /// # Errors
    /// The first invalid flag as [`InitError::InvalidOption`], or [`InitError::Conflict`].
    fn try_from(flags: Flags) -> Result<Self, InitError> {
        let default = Options::default();
        let options = Options {
            inbound_port: one(&flags.inbound_port, "--inbound-port", port)?.unwrap_or(default.inbound_port),
            outbound_port: one(&flags.outbound_port, "--outbound-port", port)?.unwrap_or(default.outbound_port),
            proxy: proxy_selector(&flags)?,
            outbound_exclude: list(&flags.outbound_exclude_cidr, "--outbound-exclude-cidr", cidr)?,
            outbound_include: list(&flags.outbound_include_cidr, "--outbound-include-cidr", cidr)?,
            outbound_exclude_ports: list(&flags.outbound_exclude_port, "--outbound-exclude-port", port)?,
            inbound_exclude_ports: list(&flags.inbound_exclude_port, "--inbound-exclude-port", port)?,
            exclude_interfaces: list(&flags.exclude_interface, "--exclude-interface", |flag, text| {
                InterfaceName::parse(text).map_err(|why| invalid("init.invalid-interface", flag, text, why))
            })?,
            dns_port: one(&flags.dns_port, "--dns-port", port)?,
            pod: pod_addresses(&flags.pod_ip)?,
            backend: one(&flags.backend, "--backend", |flag, text| {
                choice(
                    flag,
                    text,
                    &[("auto", BackendChoice::Auto), ("nft", BackendChoice::Nft), ("legacy", BackendChoice::Legacy)],
                )
            })?
            .unwrap_or_default(),
            ipv6: one(&flags.ipv6, "--ipv6", |flag, text| {
                choice(flag, text, &[("auto", Ipv6Choice::Auto), ("on", Ipv6Choice::On), ("off", Ipv6Choice::Off)])
            })?
            .unwrap_or_default(),
            timeout: one(&flags.timeout, "--timeout", timeout)?.unwrap_or(default.timeout),
            action: if flags.clean { Action::Clean } else { Action::Apply },
            dry_run: flags.dry_run,
        };
        if options.inbound_port == options.outbound_port {
            return Err(InitError::Conflict(format!(
                "--inbound-port and --outbound-port are both {}: the proxy could not tell the directions apart; choose two ports",
                options.inbound_port
            )));
        }
        Ok(options)
    }
}

impl PacketMark {
    /// A mark compared under `mask`.
    ///
    /// # Errors
    /// A value of 0 (every unmarked packet would count as the proxy's) or bits outside the mask
    /// (nothing would ever match).
    pub fn new(value: u32, mask: u32) -> Result<Self, String> {
        if value == 0 {
            return Err("mark 0 is the mark of all other traffic; use another number".to_owned());
        }
        if value & mask != value {
            return Err(format!("the mark {value:#x} has bits outside the mask {mask:#x}, so nothing would match"));
        }
        Ok(Self { value, mask })
    }

    /// The bits a packet must carry.
    pub fn value(self) -> u32 {
        self.value
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (number(value)?, number(mask)?),
            None => (number(text)?, u32::MAX),
        };
        Self::new(value, mask)
    }
}

impl fmt::Display for PacketMark {
    /// As iptables-save prints it, so that saved rules compare equal to ours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mask == u32::MAX {
            write!(f, "{:#x}", self.value)
        } else {
            write!(f, "{:#x}/{:#x}", self.value, self.mask)
        }
    }
}

impl InterfaceName {
    /// Accepts what is safe to write into a rule. The kernel allows more (any byte but `/` and
    /// blanks); quotes, `!` and a leading `-` would change the meaning of the rule.
    ///
    /// # Errors
    /// The text says what is not allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 15 {
            return Err("an interface name has 1 to 15 characters".to_owned());
        }
        if text.starts_with('-') || text.starts_with('+') {
            return Err("an interface name starts with a letter or digit".to_owned());
        }
        match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-:@+".contains(*c)) {
            Some(c) => Err(format!(
                "the character {c:?} is not allowed; use letters, digits and . _ - : @, and + at the end for any suffix"
            )),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn proxy_selector(flags: &Flags) -> Result<ProxySelector, InitError> {
    let uid = one(&flags.proxy_uid, "--proxy-uid", uid)?;
    let mark = one(&flags.proxy_mark, "--proxy-mark", |flag, text| {
        PacketMark::parse(text).map_err(|why| invalid("init.invalid-mark", flag, text, why))
    })?;
    match (uid, mark) {
        (Some(uid), Some(mark)) => Err(InitError::Conflict(format!(
            "--proxy-uid {uid} and --proxy-mark {mark} are two ways to recognise the proxy: give one of them"
        ))),
        (_, Some(mark)) => Ok(ProxySelector::Mark(mark)),
        (Some(uid), None) => Ok(ProxySelector::Uid(uid)),
        (None, None) => Ok(Options::default().proxy),
    }
}

fn pod_addresses(texts: &[String]) -> Result<PodAddresses, InitError> {
    const FLAG: &str = "--pod-ip";
    let refuse = |text: String, why: &str| Err(invalid("init.invalid-pod-ip", FLAG, &text, why));
    let mut pod = PodAddresses::default();
    for address in list(texts, FLAG, |flag, text| {
        text.parse::<IpAddr>().map_err(|_| {
            invalid("init.invalid-pod-ip", flag, text, "write one address without a prefix length, e.g. 10.1.2.3")
        })
    })? {
        if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
            return refuse(address.to_string(), "this is not an address a pod can have");
        }
        match address {
            IpAddr::V4(v4) if pod.v4.is_none() => pod.v4 = Some(v4),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                return refuse(v6.to_string(), "write an IPv4 address as such");
            }
            IpAddr::V6(v6) if pod.v6.is_none() => pod.v6 = Some(v6),
            other => {
                return refuse(
                    other.to_string(),
                    "there is already an address of this family; give at most one IPv4 and one IPv6 address",
                );
            }
        }
    }
    Ok(pod)
}

/// Trimmed, non-empty items in order, without repetitions.
fn list<T: PartialEq>(
    texts: &[String],
    flag: &'static str,
    parse: impl Fn(&'static str, &str) -> Result<T, InitError>,
) -> Result<Vec<T>, InitError> {
    let mut items = Vec::new();
    for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let item = parse(flag, text)?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items)
}

/// A single value; empty counts as absent.
fn one<T>(
    text: &Option<String>,
    flag: &'static str,
    parse: impl Fn(&'static str, &str) -> Result<T, InitError>,
) -> Result<Option<T>, InitError> {
    match text.as_deref().map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => parse(flag, text).map(Some),
    }
}

fn cidr(flag: &'static str, text: &str) -> Result<IpNet, InitError> {
    let refuse = |why: &str| invalid("init.invalid-cidr", flag, text, why);
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| refuse("write a range such as 10.0.0.0/8 or fd00::/8"))?,
    };
    match net {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            Err(refuse("an IPv4 range in IPv6 clothes matches no packet; write it as IPv4"))
        }
        // Host bits are cut as iptables itself does; the rule then equals what iptables-save shows.
        net => Ok(net.trunc()),
    }
}

fn port(flag: &'static str, text: &str) -> Result<NonZeroU16, InitError> {
    text.parse().map_err(|_| invalid("init.invalid-port", flag, text, "a port is a number from 1 to 65535"))
}

fn uid(flag: &'static str, text: &str) -> Result<NonZeroU32, InitError> {
    let refuse = |why: &str| invalid("init.invalid-uid", flag, text, why);
    match text.parse::<u32>() {
        Ok(0) => Err(refuse(
            "all of root's traffic would bypass the mesh; run the proxy as a user of its own, or use --proxy-mark",
        )),
        // (uid_t) -1 means "no user" to the kernel.
        Ok(u32::MAX) | Err(_) => Err(refuse("a user id is a number from 1 to 4294967294")),
        Ok(number) => NonZeroU32::new(number).ok_or_else(|| refuse("a user id is not 0 here")),
    }
}

fn timeout(flag: &'static str, text: &str) -> Result<Duration, InitError> {
    match text.parse::<u64>() {
        Ok(seconds @ 1..=600) => Ok(Duration::from_secs(seconds)),
        _ => Err(invalid("init.invalid-timeout", flag, text, "write whole seconds from 1 to 600")),
    }
}

fn choice<T: Copy>(flag: &'static str, text: &str, choices: &[(&'static str, T)]) -> Result<T, InitError> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        invalid("init.invalid-choice", flag, text, format!("choose one of {}", names.join(", ")))
    })
}

fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a mark is a 32-bit number, decimal or with 0x".to_owned())
}

fn invalid(code: &'static str, flag: &'static str, value: &str, why: impl Into<String>) -> InitError {
    InitError::InvalidOption { code, flag, value: value.to_owned(), why: why.into() }
}

const fn nonzero_port(number: u16) -> NonZeroU16 {
    match NonZeroU16::new(number) {
        Some(port) => port,
        None => NonZeroU16::MIN,
    }
}

const fn nonzero_uid(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(uid) => uid,
        None => NonZeroU32::MIN,
    }
}

#[cfg(test)]
mod tests;
