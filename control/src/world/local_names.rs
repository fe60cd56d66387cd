//! Names that sidecars answer by themselves: MeshConfig `sidecar.localDNSProxy`.

use fsm_api::resources::mesh_config::{DnsAddress, LocalDnsProxy};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Name of the wildcard in documents.
const WILDCARD: &str = "*";
/// What unknown names get if the wildcard names no address: FSM's.
const WILDCARD_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What sidecars answer by themselves, and whom they ask otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalNames {
    /// Resolvers to ask, the first first; none: the pod's own.
    pub resolvers: Vec<IpAddr>,
    /// Addresses by name (lower-case, without a dot at the end), and those of unknown names as `*`.
    pub records: BTreeMap<String, Vec<IpAddr>>,
}

impl LocalNames {
    /// What MeshConfig says; `None`: the section is off. What is no name or no address is left out.
    pub(super) fn read(section: &LocalDnsProxy) -> Option<Self> {
        if section.enable != Some(true) {
            return None;
        }
        let resolvers = [&section.primary_upstream_dns_server_ip_addr, &section.secondary_upstream_dns_server_ip_addr];
        let resolvers = resolvers.into_iter().filter_map(|address| address.as_ref()?.parse().ok()).collect();
        let derived = section.generate_ipv6_based_on_ipv4;
        let mut records = BTreeMap::new();
        for record in &section.db {
            let name = record.dn.trim().trim_end_matches('.').to_ascii_lowercase();
            let found = addresses(&record.ips, &record.ipv4, derived);
            if !name.is_empty() && !found.is_empty() {
                records.entry(name).or_insert_with(Vec::new).extend(found);
            }
        }
        if let Some(wildcard) = section.wildcard.as_ref().filter(|wildcard| wildcard.enable == Some(true)) {
            let mut found = addresses(&wildcard.ips, &wildcard.ipv4, derived);
            if found.is_empty() {
                found.push(WILDCARD_ADDRESS);
            }
            records.insert(WILDCARD.to_owned(), found);
        }
        Some(Self { resolvers, records })
    }
}

/// `derived`: each IPv4 address counts as an IPv6 one, too (`::ffff:a.b.c.d`).
fn addresses(pairs: &[DnsAddress], former: &[String], derived: bool) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut add = |address: IpAddr| {
        if !found.contains(&address) {
            found.push(address);
        }
    };
    let v4 = |text: &str| text.parse::<Ipv4Addr>().ok();
    for pair in pairs {
        if let Some(address) = v4(&pair.ipv4) {
            add(address.into());
        }
        let v6 = pair.ipv6.as_ref().and_then(|text| text.parse().ok()).map(IpAddr::V6);
        let made = v4(&pair.ipv4).filter(|_| derived).map(|address| address.to_ipv6_mapped().into());
        if let Some(address) = v6.or(made) {
            add(address);
        }
    }
    for address in former.iter().filter_map(|text| v4(text)) {
        add(address.into());
        if derived {
            add(address.to_ipv6_mapped().into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn read(section: serde_json::Value) -> Option<LocalNames> {
        LocalNames::read(&serde_json::from_value(section).unwrap())
    }

    #[test]
    fn records_and_resolvers_are_those_of_mesh_config() {
        let names = read(json!({"enable": true, "primaryUpstreamDNSServerIPAddr": "10.96.0.10",
            "secondaryUpstreamDNSServerIPAddr": "", "generateIPv6BasedOnIPv4": true,
            "db": [{"dn": "DB.example.", "ips": [{"ipv4": "192.0.2.1"}, {"ipv4": "192.0.2.2", "ipv6": "2001:db8::2"}]},
                {"dn": "old.example", "ipv4": ["192.0.2.3", "nonsense"]}, {"dn": "", "ips": [{"ipv4": "192.0.2.9"}]}]}))
        .unwrap();
        assert_eq!(names.resolvers, ["10.96.0.10".parse::<IpAddr>().unwrap()]);
        let of = |name: &str| names.records[name].iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("db.example"), ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::2"]);
        assert_eq!(of("old.example"), ["192.0.2.3", "::ffff:192.0.2.3"]);
        assert_eq!(names.records.len(), 2);
    }

    #[test]
    fn unknown_names_get_something_only_where_that_is_asked_for() {
        assert_eq!(
            read(json!({"db": [{"dn": "x", "ips": [{"ipv4": "192.0.2.1"}]}]})),
            None,
            "it is off unless enabled"
        );
        let wildcard = |section| read(json!({"enable": true, "wildcard": section})).unwrap().records;
        assert!(wildcard(json!({"enable": false, "ips": [{"ipv4": "240.0.0.1"}]})).is_empty());
        assert_eq!(wildcard(json!({"enable": true}))["*"], [WILDCARD_ADDRESS]);
        assert_eq!(
            wildcard(json!({"enable": true, "ips": [{"ipv4": "240.0.0.1"}]}))["*"],
            ["240.0.0.1".parse::<IpAddr>().unwrap()]
        );
    }
}
