//! Names of 32 bytes, one type for each kind, so that a deal is never passed where a task is meant.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{B256, U256};

/// The text is not `0x` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} is 0x followed by 64 hexadecimal digits, not '{text}'")]
pub struct ParseIdError {
    kind: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub B256);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<B256> for $name {
            fn from(word: B256) -> Self {
                Self(word)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let refused = || ParseIdError { kind: $kind, text: text.chars().take(80).collect() };
                if !text.starts_with("0x") || text.len() != 66 {
                    return Err(refused());
                }
                text.parse().map(Self).map_err(|_| refused())
            }
        }
    };
}

id!(
    /// A deal: `keccak256(request order hash ‖ volume of it consumed before the match)`.
    DealId,
    "deal id"
);
id!(
    /// A task: `keccak256(deal id ‖ index)`.
    TaskId,
    "task id"
);
id!(
    /// An order: its whole EIP-712 hash, domain included, as in events and in the order book.
    OrderHash,
    "order hash"
);
id!(
    /// What a program produced, hashed; the value that workers agree on and the chain keeps.
    ResultDigest,
    "result digest"
);
id!(
    /// A digest bound to its task: what a worker contributes.
    ResultHash,
    "result hash"
);
id!(
    /// A digest bound to its task and worker: shows at the reveal that the worker knew the digest all along.
    ResultSeal,
    "result seal"
);

/// A category's number. Categories fix how long a task may run; the contract numbers them from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CategoryId(pub U256);

impl CategoryId {
    /// The category of that number.
    pub fn new(number: u64) -> Self {
        Self(U256::from(number))
    }
}

impl fmt::Display for CategoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for CategoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CategoryId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, accepted: bool) {
        assert_eq!(text.parse::<TaskId>().is_ok(), accepted, "{text}");
    }

    #[test]
    fn ids_are_exactly_32_bytes_of_hex_with_a_prefix() {
        let digits = "ab".repeat(32);
        check(&format!("0x{digits}"), true);
        check(&digits, false);
        check(&format!("0x{}", &digits[1..]), false);
        check(&format!("0x{digits}00"), false);
        check(&format!("0x{}zz", &digits[2..]), false);
        check("", false);
    }

    #[test]
    fn ids_print_as_they_parse() {
        let id = DealId(B256::repeat_byte(0x5a));
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
