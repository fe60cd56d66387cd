//! What is answered to a question. Pure.

use fsm_api::config::Config;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// How long our answers may be kept, in seconds: a change of MeshConfig counts soon.
const TTL: u32 = 30;
/// Name of the wildcard in the document.
const WILDCARD: &str = "*";

/// A question.
pub(super) struct Question {
    message: Message,
    /// Lower-case, without the dot at the end; empty where there is not exactly one name.
    name: String,
}

/// What comes first.
pub(super) enum Step {
    /// It is answered at once.
    Reply(Vec<u8>),
    /// Somebody else is asked.
    Ask,
}

impl Question {
    /// Reads a datagram; `None` where nothing may be answered.
    pub(super) fn read(datagram: &[u8]) -> Option<Self> {
        let message = Message::from_vec(datagram).ok()?;
        // An answer to an answer could go on for ever.
        if message.metadata.message_type != MessageType::Query {
            return None;
        }
        let name = match &message.queries[..] {
            [query] => query.name().to_lowercase().to_ascii().trim_end_matches('.').to_owned(),
            _ => String::new(),
        };
        Some(Self { message, name })
    }

    /// Whether it is about addresses, and of which family.
    fn is_v6(&self) -> Option<bool> {
        let query = self.message.queries.first().filter(|_| !self.name.is_empty())?;
        if self.message.metadata.op_code != OpCode::Query || query.query_class() != DNSClass::IN {
            return None;
        }
        match query.query_type() {
            RecordType::A => Some(false),
            RecordType::AAAA => Some(true),
            _ => None,
        }
    }

    fn reply(&self) -> Message {
        let mut reply = Message::response(self.message.metadata.id, self.message.metadata.op_code);
        reply.metadata.recursion_desired = self.message.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.queries.clone_from(&self.message.queries);
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(1232).set_version(0);
            reply.edns = Some(edns);
        }
        reply
    }

    /// These addresses, as far as they are of the family asked for. None is "there is nothing of this kind".
    fn answered(&self, addresses: &[IpAddr], v6: bool) -> Vec<u8> {
        let mut reply = self.reply();
        reply.metadata.authoritative = true;
        let name = self.message.queries.first().map_or_else(Name::root, |query| query.name().clone());
        for address in addresses.iter().filter(|address| address.is_ipv6() == v6) {
            let data = match address {
                IpAddr::V4(address) => RData::A(A(*address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
            };
            reply.answers.push(Record::from_rdata(name.clone(), TTL, data));
        }
        reply.to_vec().unwrap_or_default()
    }
}

/// What is done with a question before anybody else is asked.
pub(super) fn first(question: &Question, document: Option<&Config>, searches: &[String]) -> Step {
    let fixed = question.is_v6().and_then(|v6| Some((fixed(document?, &question.name, searches)?, v6)));
    match fixed {
        Some((addresses, v6)) => Step::Reply(question.answered(&addresses, v6)),
        None => Step::Ask,
    }
}

/// What is answered after others were asked; `asked` is what they said.
pub(super) fn then(
    question: &Question,
    asked: Option<Vec<u8>>,
    document: Option<&Config>,
    searches: &[String],
) -> Vec<u8> {
    let Some(said) = asked else {
        let mut reply = question.reply();
        reply.metadata.response_code = ResponseCode::ServFail;
        return reply.to_vec().unwrap_or_default();
    };
    // A name with the search list's suffix is one of several tries: the client will ask for the name itself, too.
    let complete = without_search(&question.name, searches).is_none();
    let wildcard = document.and_then(|document| addresses(document, WILDCARD));
    match (question.is_v6().filter(|_| complete), wildcard) {
        (Some(v6), Some(addresses)) if knows_nothing(&said) => question.answered(&addresses, v6),
        _ => said,
    }
}

/// The search list of a `resolv.conf`: the last one counts.
pub(super) fn searches(text: &str) -> Vec<String> {
    let list = text.lines().rev().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "search").map(|_| words)
    });
    list.into_iter().flatten().map(|suffix| suffix.trim_matches('.').to_ascii_lowercase()).collect()
}

/// The fixed record of a name, as it was asked for or as it was before the search list completed it.
fn fixed(document: &Config, name: &str, searches: &[String]) -> Option<Vec<IpAddr>> {
    let of = |name: &str| addresses(document, name).filter(|_| name != WILDCARD);
    of(name).or_else(|| of(without_search(name, searches)?))
}

fn addresses(document: &Config, name: &str) -> Option<Vec<IpAddr>> {
    let texts = document.dns_resolve_db.as_ref()?.get(name)?;
    let found: Vec<IpAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    (!found.is_empty()).then_some(found)
}

fn without_search<'a>(name: &'a str, searches: &[String]) -> Option<&'a str> {
    let shorter = |suffix: &String| name.strip_suffix(suffix.as_str())?.strip_suffix('.');
    searches.iter().filter_map(shorter).filter(|rest| !rest.is_empty()).min_by_key(|rest| rest.len())
}

/// Whether the name does not exist, as far as others know.
fn knows_nothing(said: &[u8]) -> bool {
    // The last four bits of the flags are the code.
    said.get(3).is_some_and(|flags| flags & 0x0f == 3)
}
