//! What an execution demands, as bits.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

use alloy_primitives::B256;

/// Demands of an order or a deal, one bit each. The chain gives meaning to bits 0 to 3 only; the others are
/// conventions between the parts that run tasks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tag(pub B256);

impl Tag {
    /// No demand.
    pub const NONE: Self = Self(B256::ZERO);
    /// Bit 0: runs in a trusted execution environment.
    pub const TEE: Self = Self::bit(0);
    /// Bit 1: SGX through Scone.
    pub const SCONE: Self = Self::bit(1);
    /// Bit 2: SGX through Gramine.
    pub const GRAMINE: Self = Self::bit(2);
    /// Bit 3: Intel TDX.
    pub const TDX: Self = Self::bit(3);
    /// Bit 8: needs a GPU.
    pub const GPU: Self = Self::bit(8);

    /// The tag with that one bit, 0 being the lowest.
    pub const fn bit(index: u8) -> Self {
        let mut word = [0u8; 32];
        word[31 - (index as usize) / 8] = 1 << (index % 8);
        Self(B256::new(word))
    }

    /// Whether every bit of `other` is set here too.
    pub fn contains(self, other: Self) -> bool {
        self & other == other
    }
}

impl BitOr for Tag {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Tag {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Tag {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_values_are_those_of_the_protocol() {
        let low = |tag: Tag| (tag.0[30], tag.0[31]);
        assert_eq!(low(Tag::TEE | Tag::SCONE), (0, 0x3));
        assert_eq!(low(Tag::TEE | Tag::GRAMINE), (0, 0x5));
        assert_eq!(low(Tag::TEE | Tag::TDX), (0, 0x9));
        assert_eq!(low(Tag::GPU), (1, 0));
    }

    #[test]
    fn containing_means_every_bit() {
        let both = Tag::TEE | Tag::TDX;
        assert!(both.contains(Tag::TDX));
        assert!(!Tag::TDX.contains(both));
        assert!(Tag::NONE.contains(Tag::NONE));
    }
}
