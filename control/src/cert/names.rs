//! The names in a signing request or a certificate, all of them: so that nothing which nobody asked for slips through.

use super::LeafNames;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

/// All names of a request or certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllNames {
    common: Vec<String>,
    dns: BTreeSet<String>,
    uris: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    /// Mail addresses, directory names and what else there is.
    others: Vec<String>,
}

impl AllNames {
    /// Those of a request.
    pub(super) fn of_request(request: &X509CertificationRequest<'_>) -> Self {
        let mut names = Self::default();
        names.hear_subject(&request.certification_request_info.subject);
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(alternative) = extension {
                alternative.general_names.iter().for_each(|name| names.hear(name));
            }
        }
        names
    }

    /// Those of a certificate.
    pub(super) fn of_certificate(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        names.hear_subject(certificate.subject());
        match certificate.subject_alternative_name() {
            Ok(Some(alternative)) => alternative.value.general_names.iter().for_each(|name| names.hear(name)),
            Ok(None) => {}
            Err(_) => names.others.push("alternative names that cannot be read".to_owned()),
        }
        names
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing is among them that is not among these.
    pub(super) fn are_within(&self, wanted: &LeafNames) -> bool {
        let wanted = Self::wanted(wanted);
        let short = |name: &String| wanted.dns.iter().any(|dns| dns == name || dns.get(..64) == Some(name.as_str()));
        self.common.iter().all(short)
            && self.dns.is_subset(&wanted.dns)
            && self.uris.is_subset(&wanted.uris)
            && self.addresses.is_subset(&wanted.addresses)
            && self.others.is_empty()
    }

    /// Those of these that are missing, as people write them. The common name does not count: it is a DNS name too.
    pub(super) fn missing(&self, wanted: &LeafNames) -> Vec<String> {
        let wanted = Self::wanted(wanted);
        let dns = wanted.dns.difference(&self.dns).map(|name| format!("DNS name {name}"));
        let uris = wanted.uris.difference(&self.uris).map(|name| format!("URI {name}"));
        let addresses = wanted.addresses.difference(&self.addresses).map(|address| format!("address {address}"));
        dns.chain(uris).chain(addresses).collect()
    }

    fn wanted(names: &LeafNames) -> Self {
        Self {
            common: vec![names.common_name.clone()],
            dns: names.all_dns().map(str::to_owned).collect(),
            uris: names.spiffe.iter().cloned().collect(),
            addresses: names.addresses.iter().copied().collect(),
            others: Vec::new(),
        }
    }

    fn hear_subject(&mut self, subject: &X509Name<'_>) {
        let text = |name: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            name.as_str().map_or_else(|_| "(unreadable)".to_owned(), str::to_owned)
        };
        self.common.extend(subject.iter_common_name().map(text));
    }

    fn hear(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => drop(self.dns.insert((*name).to_owned())),
            GeneralName::URI(uri) => drop(self.uris.insert((*uri).to_owned())),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                match address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)) {
                    Ok(address) => drop(self.addresses.insert(address)),
                    Err(_) => self.others.push("an address that is none".to_owned()),
                }
            }
            other => self.others.push(other.to_string()),
        }
    }
}

impl fmt::Display for AllNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let all: BTreeSet<String> = (self.common.iter().cloned())
            .chain(self.dns.iter().cloned())
            .chain(self.uris.iter().cloned())
            .chain(addresses)
            .chain(self.others.iter().cloned())
            .collect();
        match all.is_empty() {
            true => f.write_str("nothing"),
            false => f.write_str(&all.into_iter().collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
