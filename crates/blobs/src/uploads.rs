//! Uploads that may be interrupted at any byte, by the death of either side too, and go on from there.
//!
//! ```text
//!   begin or continue at byte n ─► uploads/<key>-<size>-<sha256> ─► all there? ─► its SHA-256 as announced? ─► Whole
//!   broken off, killed: what came stays on the disk, and says by its length where to go on
//! ```
//!
//! The file's name holds all that must be known about it, so there is nothing beside it that could be lost or disagree.
//! Of a result, what was announced counts as used from the first byte; of a stranger's file, what has come. Who lets an
//! upload lie loses it.
//!
//! Not here: who may upload, and what becomes of a whole upload.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::error::failed;
use crate::room::{LOOK_EVERY_BYTES, Limits, Room};
use crate::store::Shelf;

/// Uploads that are open at once.
const OPEN_MAX: usize = 4_096;
/// Uploads that are over and still known, for a sender that did not hear so.
const FINISHED_KEPT: usize = 1_024;
/// How long an upload may lie before it is given up.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3_600);
const PIECE_BYTES: usize = 64 << 10;

/// Which upload: whoever gives them out makes sure that no two senders have the same.
pub type Key = [u8; 32];

/// What will have been uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it will be.
    pub announced: Announced,
    /// How many bytes of it are here.
    pub offset: u64,
}

/// What has become of an upload after one more part.
#[derive(Debug)]
pub enum Part {
    /// More is to come, from there on.
    UpTo(u64),
    /// It is all here, and is what was announced.
    Whole(Whole),
    /// It was over before: this is what was said of it then.
    Known(String),
}

/// Open uploads in a directory. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub struct Uploads {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    room: Arc<Room>,
    shelf: Shelf,
    open: Mutex<HashMap<Key, Arc<Slot>>>,
    finished: Mutex<VecDeque<(Key, Announced, String)>>,
}

/// One open upload.
#[derive(Debug)]
struct Slot {
    announced: Announced,
    /// Bytes of the store's room that it holds.
    held: AtomicU64,
    /// Cancelled by a sender that comes anew: of a connection that died without a word nobody hears.
    current: Mutex<CancellationToken>,
    turn: tokio::sync::Mutex<()>,
}

/// An upload that is all here. Until [`Whole::done`] it can be asked for again.
#[derive(Debug)]
pub struct Whole {
    uploads: Uploads,
    key: Key,
    announced: Announced,
    path: PathBuf,
}

impl Whole {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.announced.size
    }

    /// It is where it belongs; whoever asks again is told that word.
    pub async fn done(self, word: &str) {
        self.uploads.close(self.key, self.announced).await;
        let mut finished = self.uploads.inner.finished.lock();
        if finished.len() == FINISHED_KEPT {
            finished.pop_front();
        }
        finished.push_back((self.key, self.announced, word.to_owned()));
    }
}

impl Uploads {
    /// The uploads in that directory, which is made. They go on where they were.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, Error> {
        Self::within(dir, Arc::new(Room::new(dir, limits)), Shelf::Results)
    }

    pub(crate) fn within(dir: &Path, room: Arc<Room>, shelf: Shelf) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(failed("making a directory"))?;
        let mut open = HashMap::new();
        for entry in std::fs::read_dir(dir).map_err(failed("reading uploads"))? {
            let entry = entry.map_err(failed("reading uploads"))?;
            match entry.file_name().to_str().and_then(read_name) {
                Some((key, announced)) if open.len() < OPEN_MAX => {
                    let here = entry.metadata().map_err(failed("reading uploads"))?.len();
                    open.insert(key, Arc::new(Slot::new(announced, shelf, here, &room)));
                }
                _ => std::fs::remove_file(entry.path()).map_err(failed("tidying up"))?,
            }
        }
        let finished = Mutex::default();
        let inner = Inner { dir: dir.to_owned(), room, shelf, open: Mutex::new(open), finished };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How far an upload is; nothing if there is none of that key.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn standing(&self, key: Key) -> Result<Option<Standing>, Error> {
        let over = self.inner.finished.lock().iter().find(|(its, ..)| *its == key).cloned();
        if let Some((_, announced, _)) = over {
            return Ok(Some(Standing { announced, offset: announced.size }));
        }
        let Some(slot) = self.inner.open.lock().get(&key).cloned() else { return Ok(None) };
        let offset = length(&self.path(key, slot.announced)).await?;
        Ok(Some(Standing { announced: slot.announced, offset }))
    }

    /// Takes a part that begins at `offset`; 0 begins anew if something else was announced before. What came of a part
    /// that breaks off is kept.
    ///
    /// # Errors
    /// The part is misplaced, too much is announced or comes, there is no room, the whole is not what was announced, or
    /// the sender breaks off.
    pub async fn take(
        &self,
        key: Key,
        announced: Announced,
        offset: u64,
        from: impl AsyncRead + Unpin,
    ) -> Result<Part, Error> {
        if let Some(word) = self.said_of(key, announced) {
            return Ok(Part::Known(word));
        }
        let slot = self.slot(key, announced, offset).await?;
        let mine = CancellationToken::new();
        std::mem::replace(&mut *slot.current.lock(), mine.clone()).cancel();
        let _turn = slot.turn.lock().await;
        if let Some(word) = self.said_of(key, announced) {
            return Ok(Part::Known(word));
        }
        // Given up while this sender waited: what it wrote now nobody would ever tidy up.
        if !self.inner.open.lock().get(&key).is_some_and(|open| Arc::ptr_eq(open, &slot)) {
            return Err(Error::Misplaced { offset: 0 });
        }
        let path = self.path(key, announced);
        let here = length(&path).await?;
        if offset != here {
            return Err(Error::Misplaced { offset: here });
        }
        let reached = self.write(&path, here, &slot, from, &mine).await?;
        if reached < announced.size {
            return Ok(Part::UpTo(reached));
        }
        if sha256_of(&path).await? != announced.sha256 {
            self.close(key, announced).await;
            return Err(Error::OtherContent);
        }
        Ok(Part::Whole(Whole { uploads: self.clone(), key, announced, path }))
    }

    /// Gives up what nobody has gone on with for so long. Gives back how many uploads that were.
    pub async fn expire(&self, now: SystemTime, abandoned_after: Duration) -> usize {
        let open: Vec<_> =
            self.inner.open.lock().iter().map(|(k, s)| (*k, Arc::clone(s))).collect();
        let mut gone = 0;
        for (key, slot) in open {
            let Ok(_turn) = slot.turn.try_lock() else { continue };
            let path = self.path(key, slot.announced);
            let touched = tokio::fs::metadata(&path).await.and_then(|its| its.modified());
            let lain = touched.map(|then| now.duration_since(then).unwrap_or_default());
            if lain.map_or(true, |lain| lain >= abandoned_after) {
                self.close(key, slot.announced).await;
                gone += 1;
            }
        }
        gone
    }

    fn said_of(&self, key: Key, announced: Announced) -> Option<String> {
        let finished = self.inner.finished.lock();
        let same = |(its, what, _): &&(Key, Announced, String)| *its == key && *what == announced;
        finished.iter().find(same).map(|(.., word)| word.clone())
    }

    /// The open upload, begun if there is none.
    async fn slot(&self, key: Key, announced: Announced, offset: u64) -> Result<Arc<Slot>, Error> {
        let known = self.inner.open.lock().get(&key).cloned();
        match known {
            Some(slot) if slot.announced == announced => return Ok(slot),
            Some(_) | None if offset != 0 => return Err(Error::Misplaced { offset: 0 }),
            // The sender has another result now: what came of the first is of no use.
            Some(slot) => {
                slot.current.lock().cancel();
                let _turn = slot.turn.lock().await;
                self.close(key, slot.announced).await;
            }
            None => {}
        }
        let limit = self.inner.room.limits().blob_bytes_max;
        if announced.size > limit {
            return Err(Error::TooLarge { limit });
        }
        let mut open = self.inner.open.lock();
        if open.len() >= OPEN_MAX {
            return Err(Error::Full { reason: "too many uploads are open" });
        }
        let Inner { room, shelf, .. } = &*self.inner;
        room.check(*shelf, announced.size)?;
        let slot = open.entry(key);
        Ok(Arc::clone(slot.or_insert_with(|| Arc::new(Slot::new(announced, *shelf, 0, room)))))
    }

    /// Writes what comes behind what is here; gives back how much is here then.
    async fn write(
        &self,
        path: &Path,
        offset: u64,
        slot: &Slot,
        mut from: impl AsyncRead + Unpin,
        mine: &CancellationToken,
    ) -> Result<u64, Error> {
        let (announced, Inner { room, shelf, .. }) = (slot.announced, &*self.inner);
        if offset < announced.size {
            // Its own bytes are promised already.
            room.check(*shelf, 0)?;
        }
        let writing = failed("writing an upload");
        let options = std::fs::OpenOptions::new().create(true).append(true).clone();
        let mut file = tokio::fs::OpenOptions::from(options).open(path).await.map_err(&writing)?;
        let mut piece = vec![0; PIECE_BYTES];
        let (mut reached, mut looked_at) = (offset, offset);
        let ended = loop {
            let read = match mine.run_until_cancelled(from.read(&mut piece)).await {
                None => break Err(failed("receiving an upload")(replaced())),
                Some(Err(error)) => break Err(failed("receiving an upload")(error)),
                Some(Ok(0)) => break Ok(()),
                Some(Ok(read)) => read,
            };
            if reached + read as u64 > announced.size {
                break Err(Error::TooLarge { limit: announced.size });
            }
            file.write_all(&piece[..read]).await.map_err(&writing)?;
            reached += read as u64;
            slot.hold_up_to(reached, room);
            if reached - looked_at >= LOOK_EVERY_BYTES {
                room.check(*shelf, 0)?;
                looked_at = reached;
            }
        };
        file.flush().await.map_err(&writing)?;
        ended.map(|()| reached)
    }

    async fn close(&self, key: Key, announced: Announced) {
        let path = self.path(key, announced);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "an upload stays behind");
            }
            _ => {}
        }
        if let Some(slot) = self.inner.open.lock().remove(&key) {
            self.inner.room.released(slot.held.load(Ordering::Relaxed));
        }
    }

    /// Where what has come of an upload is, as long as it is open.
    pub fn path(&self, key: Key, announced: Announced) -> PathBuf {
        let (key, sha256) = (hex(&key), hex(&announced.sha256));
        self.inner.dir.join(format!("{key}-{}-{sha256}", announced.size))
    }
}

impl Slot {
    fn new(announced: Announced, shelf: Shelf, here: u64, room: &Room) -> Self {
        let (held, current, turn) = (AtomicU64::new(0), Mutex::default(), Default::default());
        let slot = Self { announced, held, current, turn };
        let promised = match shelf {
            // Who sends it was let in, and has computed it already: what was begun is to end well.
            Shelf::Results => announced.size,
            // Anybody may announce anything.
            Shelf::Files => here,
        };
        slot.hold_up_to(promised, room);
        slot
    }

    /// Holds so much of the room at least.
    fn hold_up_to(&self, bytes: u64, room: &Room) {
        let before = self.held.fetch_max(bytes, Ordering::Relaxed);
        room.promise(bytes.saturating_sub(before));
    }
}

fn replaced() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "the sender came anew")
}

async fn length(path: &Path) -> Result<u64, Error> {
    match tokio::fs::metadata(path).await {
        Ok(known) => Ok(known.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(failed("reading an upload")(error)),
    }
}

async fn sha256_of(path: &Path) -> Result<[u8; 32], Error> {
    let reading = failed("reading an upload");
    let mut file = File::open(path).await.map_err(&reading)?;
    file.rewind().await.map_err(&reading)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece).await.map_err(&reading)?;
        if read == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&piece[..read]);
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_name(name: &str) -> Option<(Key, Announced)> {
    let mut parts = name.split('-');
    let (key, size, sha256) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let announced = Announced { size: size.parse().ok()?, sha256: unhex(sha256)? };
    Some((unhex(key)?, announced))
}

pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}
