//! Numbers as people write them: a weight of `50.0` is the whole number 50, a share is a number or its text.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A whole number of 0 to 4294967295, which may be written with an empty fraction (`50.0`).
pub(super) fn whole<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    const EXPECTED: &str = "a whole number of 0 to 4294967295";
    let number = serde_json::Number::deserialize(input)?;
    if let Some(value) = number.as_u64() {
        return u32::try_from(value).map_err(|_| Error::invalid_value(Unexpected::Unsigned(value), &EXPECTED));
    }
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value) => Ok(value as u32),
        Some(value) => Err(Error::invalid_value(Unexpected::Float(value), &EXPECTED)),
        None => Err(Error::invalid_value(Unexpected::Other("a number"), &EXPECTED)),
    }
}

/// Text, or a number that is kept as its text.
pub(super) fn as_text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    input.deserialize_any(TextOrNumber)
}

struct TextOrNumber;

impl Visitor<'_> for TextOrNumber {
    type Value = Option<String>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a number, or a number as text")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(value.to_owned()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
