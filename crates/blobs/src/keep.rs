//! What is kept and what goes.
//!
//! A blob stays as long as any of these holds:
//! - it is *pinned*: somebody said so, with a reason;
//! - it is *held*: its time of change lies ahead. A result is held until its deal cannot be open any more;
//! - it is *fresh*: its shelf's days have not passed since;
//! - it is *needed*: a [`Keeper`] names it. Asked only about what would go otherwise, and if it cannot tell, nothing goes.
//!
//! When there is more than the policy allows, what is merely fresh goes too, the longest unneeded first.
//!
//! Nothing but the files themselves says what is here: removing is one `unlink` each, so a death in between leaves a
//! smaller store and nothing else. This module knows nothing of deals; who does is a `Keeper`.

use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cid::Cid;
use cid::multihash::Multihash;

use crate::error::failed;
use crate::store::{Inner, Shelf, name};
use crate::uploads::ABANDONED_AFTER;
use crate::{Blobs, Error};

/// Blobs that go in one sweep; what is left goes with the next.
const SWEEP_MAX: usize = 20_000;
/// The most of a pin's reason.
const REASON_BYTES_MAX: usize = 1_024;

/// How long blobs are kept that nobody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Results, counted from when their deal can no longer be open.
    pub keep_results: Duration,
    /// Everything else, counted from when it was last added.
    pub keep_files: Duration,
    /// The most bytes of all together.
    pub all_bytes_max: Option<u64>,
}

impl Policy {
    fn keeps(&self, shelf: Shelf) -> Duration {
        match shelf {
            Shelf::Files => self.keep_files,
            Shelf::Results => self.keep_results,
        }
    }
}

/// Who knows what is needed.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// Everything that must stay, and for what. An error, in words, if that cannot be said now.
    async fn needed(&self) -> Result<HashMap<Cid, String>, String>;
}

/// A blob that a sweep looked at more closely, because neither pin nor time kept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub cid: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its shelf.
    pub shelf: Shelf,
    /// What keeps it; nothing if it goes.
    pub kept_for: Option<String>,
}

/// What a sweep found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs that were here.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that went, or would go.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Uploads that were given up.
    pub uploads: u64,
    /// All blobs that might have gone.
    pub verdicts: Vec<Verdict>,
}

/// A blob on its shelf.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    /// First, so that items sort by it.
    needed_until: SystemTime,
    shelf: Shelf,
    name: String,
    size: u64,
}

/// What one look over the shelves gives.
#[derive(Default)]
struct Looked {
    blobs: u64,
    bytes: u64,
    expired: Vec<Item>,
    expired_bytes: u64,
    /// Of those that are merely fresh, the longest unneeded.
    oldest: BinaryHeap<Item>,
}

impl Blobs {
    /// Removes what nobody needs any more, by that policy. With `dry_run` it only says what would go.
    ///
    /// # Errors
    /// The disk fails, or the keeper does not know.
    pub async fn sweep(
        &self,
        policy: Policy,
        keeper: &dyn Keeper,
        now: SystemTime,
        dry_run: bool,
    ) -> Result<Swept, Error> {
        let looked = self.blocking(move |inner| look(&inner, policy, now)).await?;
        self.inner().room.count(looked.bytes);
        let mut swept = Swept { blobs: looked.blobs, bytes: looked.bytes, ..Swept::default() };
        if !dry_run {
            let gone = self.expire(now, ABANDONED_AFTER).await;
            swept.uploads = u64::try_from(gone).unwrap_or(u64::MAX);
        }
        let candidates = candidates(looked, policy);
        if candidates.is_empty() {
            return Ok(swept);
        }
        let needed = keeper.needed().await.map_err(|reason| Error::Unsure { reason })?;
        let needed = needed.into_iter().map(|(cid, why)| (name(&cid), why)).collect();
        let verdicts =
            self.blocking(move |inner| judge(&inner, candidates, &needed, dry_run)).await?;
        for verdict in verdicts.iter().filter(|it| it.kept_for.is_none()) {
            swept.removed += 1;
            swept.removed_bytes += verdict.size;
        }
        swept.verdicts = verdicts;
        Ok(swept)
    }

    /// Counts what is here, so that the store's limit holds from now on.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn count(&self) -> Result<u64, Error> {
        let all = self.blocking(|inner| {
            let mut bytes = 0;
            for_each(&inner, |item| bytes += item.size)?;
            Ok(bytes)
        });
        let bytes = all.await?;
        self.inner().room.count(bytes);
        Ok(bytes)
    }

    /// The bytes of all blobs, if they were counted.
    pub fn used_bytes(&self) -> Option<u64> {
        let room = &self.inner().room;
        room.is_counted().then(|| room.used())
    }

    /// Keeps a blob until it is unpinned, whether it is here yet or not.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn pin(&self, cid: &Cid, reason: &str) -> Result<(), Error> {
        let name = name(cid);
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
        self.blocking(move |inner| std::fs::write(pin_of(&inner, &name), reason)).await
    }

    /// Takes a pin off; `false` if there was none.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn unpin(&self, cid: &Cid) -> Result<bool, Error> {
        let name = name(cid);
        self.blocking(move |inner| match std::fs::remove_file(pin_of(&inner, &name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Inner>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(self.inner());
        let done = tokio::task::spawn_blocking(move || work(inner)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(failed("looking after blobs"))
    }
}

fn pin_of(inner: &Inner, name: &str) -> PathBuf {
    inner.dir.join("pins").join(name)
}

fn for_each(inner: &Inner, mut each: impl FnMut(Item)) -> io::Result<()> {
    for shelf in Shelf::ALL {
        for entry in std::fs::read_dir(inner.dir.join(shelf.dir()))? {
            let entry = entry?;
            let known = match entry.metadata() {
                Ok(known) => known,
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let Ok(name) = entry.file_name().into_string() else { continue };
            each(Item { needed_until: known.modified()?, shelf, name, size: known.len() });
        }
    }
    Ok(())
}

fn look(inner: &Inner, policy: Policy, now: SystemTime) -> io::Result<Looked> {
    let mut looked = Looked::default();
    for_each(inner, |item| {
        looked.blobs += 1;
        looked.bytes += item.size;
        let Ok(unneeded) = now.duration_since(item.needed_until) else { return };
        if unneeded > policy.keeps(item.shelf) {
            if looked.expired.len() < SWEEP_MAX {
                looked.expired_bytes += item.size;
                looked.expired.push(item);
            }
        } else if policy.all_bytes_max.is_some() {
            looked.oldest.push(item);
            if looked.oldest.len() > SWEEP_MAX {
                looked.oldest.pop();
            }
        }
    })?;
    Ok(looked)
}

/// What has expired; and if that is not enough, the longest unneeded, until a tenth of the room is free.
fn candidates(looked: Looked, policy: Policy) -> Vec<Item> {
    let mut candidates = looked.expired;
    let most = policy.all_bytes_max.unwrap_or(u64::MAX);
    let mut left = looked.bytes.saturating_sub(looked.expired_bytes);
    if left > most {
        for item in looked.oldest.into_sorted_vec() {
            if left <= most / 10 * 9 {
                break;
            }
            left = left.saturating_sub(item.size);
            candidates.push(item);
        }
    }
    candidates
}

fn judge(
    inner: &Inner,
    candidates: Vec<Item>,
    needed: &HashMap<String, String>,
    dry_run: bool,
) -> io::Result<Vec<Verdict>> {
    let mut verdicts = Vec::with_capacity(candidates.len());
    for item in candidates {
        let pin = || std::fs::read_to_string(pin_of(inner, &item.name)).ok();
        let mut kept_for = needed.get(&item.name).cloned();
        if kept_for.is_none() {
            kept_for = pin().map(|why| format!("pinned: {why}"));
        }
        if kept_for.is_none() && !dry_run && !remove(inner, &item)? {
            kept_for = Some("added again meanwhile".to_owned());
        }
        let Item { shelf, size, .. } = item;
        verdicts.push(Verdict { cid: shown(&item.name), size, shelf, kept_for });
    }
    Ok(verdicts)
}

/// Removes a blob, unless it is needed for longer since it was looked at.
fn remove(inner: &Inner, item: &Item) -> io::Result<bool> {
    let path = inner.path(item.shelf, &item.name);
    let _alone = inner.shelves.lock();
    match std::fs::metadata(&path) {
        Ok(known) if known.modified()? != item.needed_until => return Ok(false),
        Ok(_) => std::fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    }
    inner.room.shrunk(item.size);
    Ok(true)
}

/// A file's name as the CID that it was made of; in version 0 where there is one.
fn shown(name: &str) -> String {
    let cid = || {
        let (codec, hash) = name.split_once('-')?;
        let codec = u64::from_str_radix(codec, 16).ok()?;
        let bytes: Option<Vec<u8>> = (0..hash.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(hash.get(at..at + 2)?, 16).ok())
            .collect();
        let hash: Multihash<64> = Multihash::from_bytes(&bytes?).ok()?;
        let first = (codec == crate::tree::DAG_PB).then(|| Cid::new_v0(hash).ok()).flatten();
        Some(first.unwrap_or_else(|| Cid::new_v1(codec, hash)).to_string())
    };
    cid().unwrap_or_else(|| name.to_owned())
}
