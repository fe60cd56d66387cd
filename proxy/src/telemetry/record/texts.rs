//! What a request says of itself, copied together into one piece of memory.
//!
//! A header's value is a part of the buffer that its connection was read into. A record that kept it would keep that whole
//! buffer, up to 64 KiB for a name of ten letters, from the moment when the request came until somebody has written the record
//! down; and the connection would need a new one. So texts are copied. The memory is used again for the next record.

use smallvec::SmallVec;

/// One of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Path and query as the client wrote them.
    Target,
    /// The `host` header as the client wrote it, or where there is none the host of the target, as HTTP/2 has it.
    Host,
    /// `user-agent`
    UserAgent,
    /// `x-request-id`
    RequestId,
    /// `x-forwarded-for`
    ForwardedFor,
}

const COUNT: usize = 5;
/// Bytes that most requests do with, and that lie beside what else is known of them.
const INSIDE: usize = 112;
/// An end before its start: no part of anything.
const NOWHERE: (u32, u32) = (1, 0);

/// The texts of one request.
#[derive(Debug)]
pub struct Texts {
    bytes: SmallVec<[u8; INSIDE]>,
    places: [(u32, u32); COUNT],
}

impl Default for Texts {
    fn default() -> Self {
        Self { bytes: SmallVec::new(), places: [NOWHERE; COUNT] }
    }
}

impl Texts {
    /// Takes a text; the last one of a kind counts.
    pub fn set(&mut self, text: Text, value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.places[text as usize] = place(start, self.bytes.len());
    }

    /// Copies all of these, as far as they are there.
    #[inline]
    pub fn fill(&mut self, texts: [(Text, Option<&[u8]>); COUNT]) {
        let length: usize = texts.iter().map(|(_, value)| value.map_or(0, <[u8]>::len)).sum();
        let mut start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        for (text, value) in texts {
            let Some(value) = value else { continue };
            let end = start + value.len();
            self.bytes[start..end].copy_from_slice(value);
            self.places[text as usize] = place(start, end);
            start = end;
        }
    }

    /// A text, if the request has it.
    pub fn get(&self, text: Text) -> Option<&[u8]> {
        let (start, end) = self.places[text as usize];
        self.bytes.get(start as usize..end as usize)
    }

    /// Bytes of all of them.
    pub fn weight(&self) -> usize {
        if self.bytes.spilled() { self.bytes.capacity() } else { 0 }
    }
}

/// The limits of heads are far below four gigabytes.
#[allow(clippy::cast_possible_truncation)]
const fn place(start: usize, end: usize) -> (u32, u32) {
    (start as u32, end as u32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn texts_are_kept_apart() {
        let mut texts = Texts::default();
        texts.set(Text::Host, b"pay.shop");
        texts.set(Text::Target, b"");
        texts.set(Text::RequestId, b"old");
        texts.set(Text::RequestId, b"new");
        assert_eq!(texts.get(Text::Host).unwrap(), b"pay.shop");
        assert_eq!(texts.get(Text::Target).unwrap(), b"");
        assert_eq!(texts.get(Text::RequestId).unwrap(), b"new");
        assert_eq!(texts.get(Text::UserAgent), None);
    }

    #[test]
    fn a_long_text_lies_elsewhere_and_has_its_weight() {
        let mut texts = Texts::default();
        texts.fill([
            (Text::Target, Some(&[b'a'; INSIDE - 3])),
            (Text::Host, Some(b"pay")),
            (Text::UserAgent, None),
            (Text::RequestId, None),
            (Text::ForwardedFor, None),
        ]);
        assert_eq!(texts.weight(), 0);
        texts.set(Text::RequestId, b"x");
        assert!(texts.weight() > INSIDE);
        assert_eq!((texts.get(Text::Host), texts.get(Text::RequestId)), (Some(&b"pay"[..]), Some(&b"x"[..])));
    }
}
