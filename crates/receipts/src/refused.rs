//! Why a receipt is not believed.

use alloy_primitives::B256;
use orders::OrderKind;

/// Why a receipt is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// More than is read.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    /// Not a receipt at all, or of another version.
    #[error("it is not a receipt of this version: {0}")]
    Unreadable(String),
    /// It says the same in other bytes, or more than it may.
    #[error("it is not written as receipts are: printed again, it is different")]
    Respelled,
    /// A header that cannot be read.
    #[error("a block header is unreadable: {0}")]
    Header(&'static str),
    /// Headers that do not follow one another.
    #[error("block {0} is not the child of the block before it")]
    Broken(u64),
    /// The receipt hangs on a block that is not trusted.
    #[error("block {number} has the hash {hash}, which is not one that is trusted")]
    Untrusted {
        /// The block's number, as it says itself.
        number: u64,
        /// Its hash.
        hash: B256,
    },
    /// Something is not in the block that is said to hold it.
    #[error("{0} is not proven")]
    Unproven(String),
    /// A block's entry that cannot be read.
    #[error("{0} is unreadable")]
    Garbled(String),
    /// A part that nothing needs.
    #[error("{0} has nothing to do with the task")]
    Idle(String),
    /// No deal of that id was made in what is shown.
    #[error("it does not show how the deal was made")]
    NoDeal,
    /// An order is not the one that the deal was made of.
    #[error("the {0} order is not the one that the deal was made of")]
    OtherOrder(OrderKind),
    /// A signature that was not with the transaction.
    #[error("the {0} order's signature is not the one that the deal was made with")]
    OtherSignature(OrderKind),
    /// The ids do not follow from one another.
    #[error("{0}")]
    Ids(&'static str),
    /// The task's life is not one that a hub lets happen.
    #[error("the task's story does not hold: {0}")]
    Story(&'static str),
    /// The summary says something else than the proofs.
    #[error("what it claims is not what its proofs show")]
    OtherClaims,
}
