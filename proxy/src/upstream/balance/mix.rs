//! Mixing of bits: stable hashes and numbers derived from an injected random one.
//!
//! The results must not change between versions or builds: every proxy that hashes a session must find the same
//! endpoint, also while half of the fleet is being upgraded. None of this resists an attacker who chooses keys; what
//! he gains is that his own requests meet at one endpoint, and bounded load limits that.

/// Spreads nearby numbers over the whole range (the finalizer of SplitMix64): a bijection.
pub(super) const fn scramble(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Two numbers as one.
pub(super) const fn combine(a: u64, b: u64) -> u64 {
    scramble(a ^ scramble(b.wrapping_add(GOLDEN_RATIO)))
}

/// The `turn`-th member of a sequence that fills the whole range evenly from its first members on.
pub(super) const fn spread(turn: u64) -> u64 {
    turn.wrapping_mul(GOLDEN_RATIO)
}

/// Brings a number of the whole range into `0..total`, keeping its relative place. 0 for a total of 0.
pub(super) const fn fraction_of(value: u64, total: u64) -> u64 {
    ((value as u128 * total as u128) >> 64) as u64
}

/// A stable 64-bit hash of bytes (FNV-1a, scrambled because FNV leaves its high bits poor for short input).
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    scramble(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// 2⁶⁴ divided by the golden ratio, odd.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
