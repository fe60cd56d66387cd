//! How single members are written so that a document has the form that FSM's own controller gives it.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// FSM writes a map that was never filled as `null`.
pub(super) fn null_when_empty<S, K, V>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    K: Serialize,
    V: Serialize,
{
    if map.is_empty() { serializer.serialize_none() } else { map.serialize(serializer) }
}

/// FSM writes seconds and ratios without a fraction part where there is none: `60`, not `60.0`.
pub(super) fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Above 2^53 the integer form would claim digits that the number does not have.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && (0.0..=EXACT).contains(value) {
        serializer.serialize_u64(*value as u64)
    } else {
        serializer.serialize_f64(*value)
    }
}

/// As [`number`]; `null` when unset.
pub(super) fn optional_number<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => number(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// FSM writes sampling fractions as strings with two decimals. More are written only where two would change the value.
pub(super) fn fraction_string<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(fraction) = value else {
        return serializer.serialize_none();
    };
    let short = format!("{fraction:.2}");
    if short.parse() == Ok(*fraction) {
        serializer.serialize_str(&short)
    } else {
        serializer.serialize_str(&fraction.to_string())
    }
}
