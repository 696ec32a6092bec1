//! Money.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use alloy_primitives::U256;

const NRLC_PER_RLC: u64 = 1_000_000_000;
const RLC_DECIMALS: usize = 9;

/// An amount in nRLC; 1 RLC = 1e9 nRLC. Arithmetic is checked: money never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nrlc(pub U256);

/// The text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNrlcError {
    /// Neither a number nor a number with a known unit.
    #[error("'{0}' is not an amount: write it like 0.5RLC or 500000000nRLC")]
    NotAnAmount(String),
    /// More than nine decimals of an RLC, or a fraction of an nRLC.
    #[error("'{0}' is finer than 1 nRLC (0.000000001 RLC)")]
    TooFine(String),
    /// More than 256 bits.
    #[error("'{0}' does not fit in 256 bits")]
    TooLarge(String),
}

impl Nrlc {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);
    /// As much as a word can hold.
    pub const MAX: Self = Self(U256::MAX);

    /// That many nRLC.
    pub fn new(nrlc: u64) -> Self {
        Self(U256::from(nrlc))
    }

    /// That many whole RLC.
    pub fn from_rlc(rlc: u64) -> Self {
        Self(U256::from(rlc) * U256::from(NRLC_PER_RLC))
    }

    /// `self + other`, or nothing on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `self − other`, or nothing if that would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// `self × times`, or nothing on overflow.
    pub fn checked_mul(self, times: U256) -> Option<Self> {
        self.0.checked_mul(times).map(Self)
    }

    /// `self − other`, at least zero: what is still missing.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

/// Saturates at [`Nrlc::MAX`]: a sum too large to be true is shown as such rather than wrapped.
impl Sum for Nrlc {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.fold(U256::ZERO, |sum, amount| sum.saturating_add(amount.0)))
    }
}

impl From<U256> for Nrlc {
    fn from(nrlc: U256) -> Self {
        Self(nrlc)
    }
}

/// In RLC with as many decimals as needed: `0.25 RLC`, `3 RLC`.
impl fmt::Display for Nrlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = self.0.div_rem(U256::from(NRLC_PER_RLC));
        if rest.is_zero() {
            return f.pad(&format!("{whole} RLC"));
        }
        let decimals = format!("{:0>width$}", rest.to_string(), width = RLC_DECIMALS);
        f.pad(&format!("{whole}.{} RLC", decimals.trim_end_matches('0')))
    }
}

impl fmt::Debug for Nrlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nRLC", self.0)
    }
}

/// Reads `12nRLC`, `0.5RLC`, with or without a space, in any case; a bare number is nRLC, as in orders.
impl FromStr for Nrlc {
    type Err = ParseNrlcError;

    fn from_str(text: &str) -> Result<Self, ParseNrlcError> {
        let lower = text.trim().to_ascii_lowercase();
        let (number, decimals) = if let Some(number) = lower.strip_suffix("nrlc") {
            (number, 0)
        } else if let Some(number) = lower.strip_suffix("rlc") {
            (number, RLC_DECIMALS)
        } else {
            (lower.as_str(), 0)
        };
        scaled(number.trim(), decimals, text).map(Self)
    }
}

fn scaled(number: &str, decimals: usize, text: &str) -> Result<U256, ParseNrlcError> {
    let shown = || text.chars().take(80).collect::<String>();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(ParseNrlcError::NotAnAmount(shown()));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals {
        return Err(ParseNrlcError::TooFine(shown()));
    }
    let all = format!("{whole}{fraction:0<decimals$}");
    U256::from_str_radix(&all, 10).map_err(|_| ParseNrlcError::TooLarge(shown()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<u64, &str>) {
        let actual = text.parse::<Nrlc>().map_err(|error| error.to_string());
        let expected = expected.map(Nrlc::new);
        match (actual, expected) {
            (Ok(actual), Ok(expected)) => assert_eq!(actual, expected, "{text}"),
            (Err(actual), Err(expected)) => assert!(actual.contains(expected), "{text}: {actual}"),
            (actual, expected) => panic!("{text}: {actual:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn amounts_read_in_both_units() {
        check("12", Ok(12));
        check("12 nRLC", Ok(12));
        check("0.5RLC", Ok(500_000_000));
        check("1.000000001 rlc", Ok(1_000_000_001));
        check("1.50 RLC", Ok(1_500_000_000));
        check("1.5", Err("finer"));
        check("1.0000000001RLC", Err("finer"));
        check("", Err("not an amount"));
        check("-1", Err("not an amount"));
        check(".5RLC", Err("not an amount"));
        check("1e9", Err("not an amount"));
        check(&"9".repeat(90), Err("256 bits"));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nrlc in any::<u64>()) {
            let amount = Nrlc::new(nrlc);
            prop_assert_eq!(amount.to_string().parse::<Nrlc>(), Ok(amount));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Nrlc>();
        }
    }
}
