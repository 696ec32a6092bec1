//! What a program prints, told as it comes.

use std::fmt;
use std::sync::Arc;

/// Where a program prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Its answer.
    Stdout,
    /// What it says beside.
    Stderr,
}

/// Somebody who wants to know what a program prints while it runs. Called from wherever the program runs, so it must
/// neither wait nor take long. Only what is within the limits is told, in order for each stream.
pub trait Listener: Send + Sync {
    /// The next piece; it may end in the middle of a character.
    fn heard(&self, stream: Stream, piece: &[u8]);
}

/// A listener, or nobody.
#[derive(Clone, Default)]
pub struct Ear(Option<Arc<dyn Listener>>);

impl Ear {
    /// That listener.
    pub fn of(listener: Arc<dyn Listener>) -> Self {
        Self(Some(listener))
    }

    /// Tells it, if there is one.
    pub fn heard(&self, stream: Stream, piece: &[u8]) {
        if let Some(listener) = self.0.as_ref().filter(|_| !piece.is_empty()) {
            listener.heard(stream, piece);
        }
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Ear(somebody)" } else { "Ear(nobody)" })
    }
}
