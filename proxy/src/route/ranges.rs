//! Looking an address up among addresses and CIDRs: the longest prefix wins.

use ipnet::IpNet;
use rustc_hash::FxHashMap;
use std::net::IpAddr;

/// A map from addresses and CIDRs to values.
#[derive(Clone, Debug)]
pub struct Ranges<V> {
    exact: FxHashMap<IpAddr, V>,
    networks: Vec<(IpNet, V)>,
}

impl<V> Default for Ranges<V> {
    fn default() -> Self {
        Self { exact: FxHashMap::default(), networks: Vec::new() }
    }
}

impl<V> Ranges<V> {
    /// Adds a range; of two equal ranges the first one stays (FSM's rule).
    pub fn insert(&mut self, range: IpNet, value: V) {
        let range = range.trunc();
        if range.prefix_len() == range.max_prefix_len() {
            self.exact.entry(range.addr()).or_insert(value);
            return;
        }
        if self.networks.iter().any(|(known, _)| *known == range) {
            return;
        }
        let at = self.networks.partition_point(|(known, _)| known.prefix_len() >= range.prefix_len());
        self.networks.insert(at, (range, value));
    }

    /// The value of the longest range that contains the address.
    pub fn find(&self, address: IpAddr) -> Option<&V> {
        if let Some(value) = self.exact.get(&address) {
            return Some(value);
        }
        self.networks.iter().find(|(range, _)| range.contains(&address)).map(|(_, value)| value)
    }

    /// Whether there is no range at all.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.networks.is_empty()
    }
}

/// Parses `10.0.0.0/8`, or a bare address as a range of one.
///
/// # Errors
/// A sentence that says what would be right.
pub fn parse_range(text: &str) -> Result<IpNet, String> {
    let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    range.map_err(|_| format!("`{text}` is no IP address or CIDR; write `10.0.0.0/8`, `10.1.2.3` or `fd00::/64`"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mut ranges = Ranges::default();
        for (text, value) in
            [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.3", 3), ("fd00::/64", 4), ("0.0.0.0/0", 5)]
        {
            ranges.insert(parse_range(text).unwrap(), value);
        }
        let find = |address: &str| ranges.find(address.parse().unwrap()).copied();
        assert_eq!(find("10.1.2.3"), Some(3));
        assert_eq!(find("10.1.2.4"), Some(2));
        assert_eq!(find("10.9.9.9"), Some(1));
        assert_eq!(find("fd00::1"), Some(4));
        assert_eq!(find("9.9.9.9"), Some(5));
        assert_eq!(find("fe80::1"), None);
    }

    #[test]
    fn host_bits_are_ignored_and_the_first_of_equal_ranges_stays() {
        let mut ranges = Ranges::default();
        ranges.insert(parse_range("10.1.2.3/16").unwrap(), "first");
        ranges.insert(parse_range("10.1.0.0/16").unwrap(), "second");
        assert_eq!(ranges.find("10.1.9.9".parse().unwrap()), Some(&"first"));
        assert!(parse_range("10.1.2.3/40").unwrap_err().contains("10.1.2.3/40"));
    }
}
