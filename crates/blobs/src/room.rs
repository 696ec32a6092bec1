//! How much may still be written: the disk is never filled, and the store never grows beyond what it was given.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Error;
use crate::store::Shelf;

/// What a store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one blob.
    pub blob_bytes_max: u64,
    /// The most bytes of all of them together; nothing: as many as the disk has.
    pub all_bytes_max: Option<u64>,
    /// What stays free on the disk, for everything else that writes there.
    pub free_bytes_min: u64,
}

impl Default for Limits {
    /// A blob may be a little larger than what any program may write, since packing and encrypting add some.
    fn default() -> Self {
        let blob_bytes_max = (1 << 30) + (64 << 20);
        Self { blob_bytes_max, all_bytes_max: None, free_bytes_min: 512 << 20 }
    }
}

/// Bytes written between two looks at what is left.
pub(crate) const LOOK_EVERY_BYTES: u64 = 8 << 20;
/// Files of strangers leave the last fifth to results: whoever fills the store must not stop the market.
const FILES_SHARE_OF_FIVE: u64 = 4;

/// The room of one store.
#[derive(Debug)]
pub(crate) struct Room {
    dir: PathBuf,
    limits: Limits,
    /// Bytes of all blobs, as far as they were counted.
    used: AtomicU64,
    /// Whether all were counted. Counting takes long where there are many, so it is not done at the start.
    counted: AtomicBool,
    /// Bytes of resumable uploads: what has come and what is to come.
    promised: AtomicU64,
}

impl Room {
    pub(crate) fn new(dir: &Path, limits: Limits) -> Self {
        Self {
            dir: dir.to_owned(),
            limits,
            used: AtomicU64::new(0),
            counted: AtomicBool::new(false),
            promised: AtomicU64::new(0),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether that many bytes more may be written for that shelf.
    pub(crate) fn check(&self, shelf: Shelf, more: u64) -> Result<(), Error> {
        let wanted = more.saturating_add(self.promised.load(Ordering::Relaxed));
        if let Some(most) = self.limits.all_bytes_max {
            let most = match shelf {
                Shelf::Files => most / 5 * FILES_SHARE_OF_FIVE,
                Shelf::Results => most,
            };
            if self.used.load(Ordering::Relaxed).saturating_add(wanted) > most {
                return Err(Error::Full { reason: "it holds as much as it was given" });
            }
        }
        // A disk that does not tell its size is not refused: writing to it tells soon enough.
        let free = free_bytes(&self.dir).unwrap_or(u64::MAX);
        if free < self.limits.free_bytes_min.saturating_add(wanted) {
            return Err(Error::Full { reason: "its disk is nearly full" });
        }
        Ok(())
    }

    pub(crate) fn grown(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn shrunk(&self, bytes: u64) {
        subtract(&self.used, bytes);
    }

    pub(crate) fn promise(&self, bytes: u64) {
        self.promised.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn released(&self, bytes: u64) {
        subtract(&self.promised, bytes);
    }

    /// What all blobs were found to take.
    pub(crate) fn count(&self, bytes: u64) {
        self.used.store(bytes, Ordering::Relaxed);
        self.counted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_counted(&self) -> bool {
        self.counted.load(Ordering::Relaxed)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

fn subtract(from: &AtomicU64, bytes: u64) {
    // Never fails: the closure always gives a value.
    let _ = from
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |had| Some(had.saturating_sub(bytes)));
}

fn free_bytes(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
