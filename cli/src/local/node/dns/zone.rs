//! The names that are known, and the answers that follow from them. Pure: no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Seconds for which an answer may be kept: as short as Kubernetes has it, for pods come and go.
const TTL: u32 = 5;
/// How many aliases are followed: more is a circle or a mistake.
const MOST_ALIASES: usize = 8;
/// The largest UDP answer that no network breaks up (DNS flag day 2020).
pub(super) const LARGEST_DATAGRAM: u16 = 1232;

/// A name and what it stands for. Several records may have one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRecord {
    /// The whole name; a dot at its end makes no difference, nor does case. `_http._tcp.web.shop.svc.cluster.local` for
    /// a port of a Service.
    pub name: String,
    /// What it stands for.
    pub data: NameData,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameData {
    /// Addresses: one of a Service, those of the pods of a headless one. An empty list: the name exists, without any.
    /// Each address stands for its name too, unless an earlier record has claimed it (reverse lookup).
    Addresses(Vec<IpAddr>),
    /// Another name (`ExternalName`).
    Alias(String),
    /// A port at a name (SRV).
    Port {
        /// The port.
        port: u16,
        /// Where.
        target: String,
    },
}

impl NameRecord {
    /// A name of addresses.
    pub fn addresses(name: impl Into<String>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { name: name.into(), data: NameData::Addresses(addresses.into_iter().collect()) }
    }

    /// A name for another name.
    pub fn alias(name: impl Into<String>, target: impl Into<String>) -> Self {
        Self { name: name.into(), data: NameData::Alias(target.into()) }
    }

    /// A port at a name.
    pub fn port(name: impl Into<String>, port: u16, target: impl Into<String>) -> Self {
        Self { name: name.into(), data: NameData::Port { port, target: target.into() } }
    }
}

/// Everything that is known.
#[derive(Debug)]
pub(crate) struct Zone {
    domain: Name,
    records: BTreeMap<Name, Vec<RData>>,
    /// Names that exist because longer ones do (RFC 8020).
    above: BTreeSet<Name>,
    refused: Vec<NameRecord>,
}

/// The answer to a question.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This.
    Answer(Message),
    /// What is said about the name must come from elsewhere; what is known already (aliases) is in the message.
    Elsewhere(Message, Name),
}

impl Zone {
    pub(crate) fn new(domain: &str, records: Vec<NameRecord>) -> Self {
        let domain = parse(domain).unwrap_or_else(Name::root);
        let mut zone = Self { domain, records: BTreeMap::new(), above: BTreeSet::new(), refused: Vec::new() };
        for record in records {
            if zone.add(&record).is_none() {
                zone.refused.push(record);
            }
        }
        zone
    }

    /// Records that were left out since some name in them cannot be one.
    pub(crate) fn take_refused(&mut self) -> Vec<NameRecord> {
        std::mem::take(&mut self.refused)
    }

    fn add(&mut self, record: &NameRecord) -> Option<()> {
        let name = parse(&record.name)?;
        let mut data = Vec::new();
        match &record.data {
            NameData::Addresses(addresses) => {
                for address in addresses {
                    data.push(match address {
                        IpAddr::V4(v4) => RData::A(A(*v4)),
                        IpAddr::V6(v6) => RData::AAAA(AAAA(*v6)),
                    });
                    let reverse = self.records.entry(Name::from(*address)).or_default();
                    if reverse.is_empty() {
                        reverse.push(RData::PTR(PTR(name.clone())));
                    }
                }
            }
            NameData::Alias(target) => data.push(RData::CNAME(CNAME(parse(target)?))),
            NameData::Port { port, target } => data.push(RData::SRV(SRV::new(0, 1, *port, parse(target)?))),
        }
        let known = self.records.entry(name.clone()).or_default();
        for one in data {
            if !known.contains(&one) {
                known.push(one);
            }
        }
        let mut parent = name.base_name();
        while !parent.is_root() && self.above.insert(parent.clone()) {
            parent = parent.base_name();
        }
        Some(())
    }

    /// Answers a request. `turn` says with which of several addresses the answer begins.
    pub(super) fn answer(&self, request: &Message, turn: usize) -> Verdict {
        let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
        reply.metadata.recursion_desired = request.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.queries.clone_from(&request.queries);
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_DATAGRAM).set_version(0);
            reply.edns = Some(edns);
        }
        let refusal = match (request.metadata.op_code, &request.queries[..]) {
            (OpCode::Query, [query]) if query.query_class() == DNSClass::IN => None,
            (OpCode::Query, [_]) => Some(ResponseCode::Refused),
            (OpCode::Query, _) => Some(ResponseCode::FormErr),
            _ => Some(ResponseCode::NotImp),
        };
        match (refusal, request.queries.first()) {
            (Some(code), _) => reply.metadata.response_code = code,
            (None, Some(query)) => return self.look_up(reply, query, turn),
            (None, None) => {}
        }
        Verdict::Answer(reply)
    }

    fn look_up(&self, mut reply: Message, query: &Query, turn: usize) -> Verdict {
        let kind = query.query_type();
        let mut name = query.name().to_lowercase();
        name.set_fqdn(true);
        for _ in 0..=MOST_ALIASES {
            let Some(data) = self.records.get(&name) else {
                return self.unknown(reply, name);
            };
            reply.metadata.authoritative = true;
            let alias = data.iter().find_map(|one| match one {
                RData::CNAME(target) if kind != RecordType::CNAME => Some(target),
                _ => None,
            });
            if let Some(target) = alias {
                reply.answers.push(Record::from_rdata(name, TTL, RData::CNAME(target.clone())));
                name = target.0.to_lowercase();
                continue;
            }
            let wanted = |one: &&RData| kind == RecordType::ANY || one.record_type() == kind;
            let mut found: Vec<&RData> = data.iter().filter(wanted).collect();
            if found.is_empty() {
                self.name_the_zone(&mut reply, &name);
                return Verdict::Answer(reply);
            }
            let first = turn % found.len();
            found.rotate_left(first);
            for one in found {
                if let RData::SRV(port) = one {
                    self.add_addresses(&mut reply, &port.target);
                }
                reply.answers.push(Record::from_rdata(name.clone(), TTL, one.clone()));
            }
            return Verdict::Answer(reply);
        }
        // A circle of aliases: there will never be an answer.
        reply.metadata.response_code = ResponseCode::ServFail;
        Verdict::Answer(reply)
    }

    /// A name without records: one that longer names make exist, one that does not exist, or one of elsewhere.
    fn unknown(&self, mut reply: Message, name: Name) -> Verdict {
        if self.above.contains(&name) || name == self.domain {
            reply.metadata.authoritative = true;
            self.name_the_zone(&mut reply, &name);
        } else if self.domain.zone_of(&name) {
            reply.metadata.authoritative = true;
            reply.metadata.response_code = ResponseCode::NXDomain;
            self.name_the_zone(&mut reply, &name);
        } else if name.num_labels() < 2 {
            // A bare word that no search list has completed. Nobody outside needs to know of it.
            reply.metadata.response_code = ResponseCode::NXDomain;
        } else {
            return Verdict::Elsewhere(reply, name);
        }
        Verdict::Answer(reply)
    }

    /// RFC 2308: "there is nothing" may be kept only if the zone says for how long.
    fn name_the_zone(&self, reply: &mut Message, name: &Name) {
        if self.domain.zone_of(name) {
            let host = |label: &str| self.domain.prepend_label(label).unwrap_or_else(|_| self.domain.clone());
            let start = SOA::new(host("ns.dns"), host("hostmaster"), 1, 7200, 1800, 86400, TTL);
            reply.authorities.push(Record::from_rdata(self.domain.clone(), TTL, RData::SOA(start)));
        }
    }

    /// Spares clients of a SRV record the next question.
    fn add_addresses(&self, reply: &mut Message, target: &Name) {
        let known = self.records.get(&target.to_lowercase());
        for one in known.into_iter().flatten().filter(|one| matches!(one, RData::A(_) | RData::AAAA(_))) {
            let record = Record::from_rdata(target.clone(), TTL, one.clone());
            if !reply.additionals.contains(&record) {
                reply.additionals.push(record);
            }
        }
    }
}

/// Lower-case, absolute.
fn parse(name: &str) -> Option<Name> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return None;
    }
    let mut name = Name::from_str(name).ok()?.to_lowercase();
    name.set_fqdn(true);
    Some(name)
}
