//! What can go wrong, with its code and its remedy.

use std::io;

/// A blob cannot be added or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no CID, or a CID of something that is not a file here.
    #[error("'{text}' is not the CID of a file: {detail}")]
    BadCid {
        /// The text.
        text: String,
        /// Why.
        detail: String,
    },
    /// More bytes than one blob may have.
    #[error("the blob has more than {limit} bytes")]
    TooLarge {
        /// The most.
        limit: u64,
    },
    /// There is no room left.
    #[error("the blob store takes no more: {reason}")]
    Full {
        /// What is used up.
        reason: &'static str,
    },
    /// A part of an upload that does not continue it.
    #[error("the upload goes on at byte {offset}")]
    Misplaced {
        /// Where it goes on.
        offset: u64,
    },
    /// What was uploaded is not what was announced.
    #[error("what was uploaded is not what was announced: its SHA-256 is another")]
    OtherContent,
    /// What a deal refers to is not known, so nothing is removed.
    #[error("nothing is removed while it is not known what deals refer to: {reason}")]
    Unsure {
        /// Why it is not known.
        reason: String,
    },
    /// The disk failed, or the sender broke off.
    #[error("the blob store failed while {doing}: {source}")]
    Io {
        /// What it was doing.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadCid { .. } => "GM-4301",
            Self::TooLarge { .. } => "GM-4302",
            Self::Io { .. } => "GM-4303",
            Self::Full { .. } => "GM-8601",
            Self::Misplaced { .. } => "GM-8602",
            Self::OtherContent => "GM-8603",
            Self::Unsure { .. } => "GM-8604",
        }
    }

    /// What can be done about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::BadCid { .. } => {
                "use a CID as printed when the file was added: Qm… or bafy…/bafk…"
            }
            Self::TooLarge { .. } => "add a smaller file, or several",
            Self::Io { .. } => "see whether the disk is full or read-only, and try again",
            Self::Full { .. } => {
                "the operator makes room: gristmill blobs gc, a larger disk, or a larger blobs.max_bytes"
            }
            Self::Misplaced { .. } => "go on from there",
            Self::OtherContent => "upload it again from the start",
            Self::Unsure { .. } => "see that the order book and the chain answer, and try again",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Full { .. } | Self::Unsure { .. })
    }
}

pub(crate) fn failed(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { doing, source }
}
