//! Numbers as people write them: a weight of `50.0` is the whole number 50, a share is a number or its text.

use serde::de::{Error, Unexpected};
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
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Number(serde_json::Number),
    }
    Ok(Option::<Written>::deserialize(input)?.map(|written| match written {
        Written::Text(text) => text,
        Written::Number(number) => number.to_string(),
    }))
}
