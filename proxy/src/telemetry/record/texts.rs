//! What a request says of itself, copied together into one piece of memory.
//!
//! A header's value is a part of the buffer that its connection was read into. A record that kept it would keep that whole
//! buffer, up to 64 KiB for a name of ten letters, from the moment when the request came until somebody has written the record
//! down; and the connection would need a new one. So texts are copied. The memory is used again for the next record.

use crate::limits;

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
/// An end before its start: no part of anything.
const NOWHERE: (u32, u32) = (1, 0);

/// The texts of one request.
#[derive(Debug)]
pub struct Texts {
    bytes: Vec<u8>,
    places: [(u32, u32); COUNT],
}

impl Default for Texts {
    fn default() -> Self {
        Self { bytes: Vec::new(), places: [NOWHERE; COUNT] }
    }
}

impl Texts {
    /// Takes a text; the last one of a kind counts.
    pub fn set(&mut self, text: Text, value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let place = u32::try_from(start).ok().zip(u32::try_from(self.bytes.len()).ok());
        self.places[text as usize] = place.unwrap_or(NOWHERE);
    }

    /// Takes all of these, as far as they are there, into memory that is got at once.
    pub fn fill(&mut self, texts: [(Text, Option<&[u8]>); COUNT]) {
        self.bytes.reserve(texts.iter().map(|(_, value)| value.map_or(0, <[u8]>::len)).sum());
        for (text, value) in texts {
            if let Some(value) = value {
                self.set(text, value);
            }
        }
    }

    /// A text, if the request has it.
    pub fn get(&self, text: Text) -> Option<&[u8]> {
        let (start, end) = self.places[text as usize];
        self.bytes.get(start as usize..end as usize)
    }

    /// Bytes of all of them.
    pub fn weight(&self) -> usize {
        self.bytes.len()
    }

    /// Without texts, but with the memory for the next ones.
    pub(super) fn clear(&mut self) {
        self.places = [NOWHERE; COUNT];
        self.bytes.clear();
        if self.bytes.capacity() > limits::SPARE_TEXT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn texts_are_kept_apart_and_forgotten() {
        let mut texts = Texts::default();
        texts.set(Text::Host, b"pay.shop");
        texts.set(Text::Target, b"");
        texts.set(Text::RequestId, b"old");
        texts.set(Text::RequestId, b"new");
        assert_eq!(texts.get(Text::Host).unwrap(), b"pay.shop");
        assert_eq!(texts.get(Text::Target).unwrap(), b"");
        assert_eq!(texts.get(Text::RequestId).unwrap(), b"new");
        assert_eq!(texts.get(Text::UserAgent), None);
        texts.clear();
        for text in [Text::Target, Text::Host, Text::UserAgent, Text::RequestId, Text::ForwardedFor] {
            assert_eq!(texts.get(text), None);
        }
    }

    #[test]
    fn the_memory_of_a_long_text_is_not_kept() {
        let mut texts = Texts::default();
        texts.set(Text::Target, &vec![b'a'; limits::SPARE_TEXT_BYTES + 1]);
        texts.clear();
        assert_eq!(texts.bytes.capacity(), 0);
        texts.set(Text::Target, b"/");
        let kept = texts.bytes.capacity();
        texts.clear();
        assert_eq!(texts.bytes.capacity(), kept);
    }
}
