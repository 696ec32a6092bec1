//! The files behind the names.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cid::Cid;
use parking_lot::Mutex;
use tempfile::{NamedTempFile, TempDir};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::error::{Error, failed};
use crate::room::{LOOK_EVERY_BYTES, Limits, Room};
use crate::tree::{CHUNK_BYTES, Layout, Tree};
use crate::uploads::{Uploads, Whole};

/// A store of blobs in a directory. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    /// Blobs being written; emptied at the start.
    incoming: PathBuf,
    durable: bool,
    pub(crate) room: Arc<Room>,
    /// Of results.
    uploads: Uploads,
    /// Of files, from anybody.
    parcels: Uploads,
    /// Held while a blob is put on its shelf, needed for longer, or taken off: so nothing is taken off in the moment in
    /// which somebody adds it again.
    pub(crate) shelves: Mutex<()>,
    /// Keeps a temporary store's directory alive.
    _temporary: Option<TempDir>,
}

/// Where a blob stands, which decides how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    /// What anybody added: programs, inputs, datasets.
    Files,
    /// Results of tasks.
    Results,
}

impl Shelf {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Files, Self::Results];

    /// Its directory's name.
    pub(crate) fn dir(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Results => "results",
        }
    }
}

/// How a blob is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddOptions {
    /// Name it by a CID of version 1 (`bafy…`); version 0 (`Qm…`) otherwise.
    pub v1: bool,
    /// Leaves hold the bytes themselves; kubo does so by default with version 1.
    pub raw_leaves: bool,
    /// Compute the name and keep nothing.
    pub only_hash: bool,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its name.
    pub cid: Cid,
    /// Its size in bytes.
    pub size: u64,
    /// The size of its blocks together: what kubo tells as an added file's `Size`.
    pub dag_size: u64,
}

/// A blob open for reading.
pub struct Blob {
    /// Its size in bytes.
    pub size: u64,
    file: File,
}

impl Blobs {
    /// A durable store: when [`Blobs::add`] returns, the blob survives a crash.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_with(dir, Limits::default())
    }

    /// The same within limits of its own.
    ///
    /// # Errors
    /// As [`Blobs::open`].
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Self, Error> {
        Self::at(dir, true, limits, None)
    }

    /// A store that another process serves, to look at it: nothing of it is tidied up.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn beside(dir: &Path) -> Result<Self, Error> {
        Self::in_place(dir, true, Limits::default(), None)
    }

    /// A store that lives as long as its last clone.
    ///
    /// # Errors
    /// There is no room for temporary files.
    pub fn temporary() -> Result<Self, Error> {
        let dir = tempfile::Builder::new()
            .prefix("gristmill-blobs-")
            .tempdir()
            .map_err(failed("making a directory"))?;
        let path = dir.path().to_owned();
        Self::at(&path, false, Limits::default(), Some(dir))
    }

    fn at(
        dir: &Path,
        durable: bool,
        limits: Limits,
        temporary: Option<TempDir>,
    ) -> Result<Self, Error> {
        let incoming = dir.join("incoming");
        if incoming.exists() {
            std::fs::remove_dir_all(&incoming).map_err(failed("tidying up"))?;
        }
        Self::in_place(dir, durable, limits, temporary)
    }

    fn in_place(
        dir: &Path,
        durable: bool,
        limits: Limits,
        temporary: Option<TempDir>,
    ) -> Result<Self, Error> {
        let incoming = dir.join("incoming");
        let shelves = Shelf::ALL.map(|shelf| dir.join(shelf.dir()));
        for dir in shelves.iter().chain([&incoming, &dir.join("pins")]) {
            std::fs::create_dir_all(dir).map_err(failed("making a directory"))?;
        }
        let room = Arc::new(Room::new(dir, limits));
        let within = |name: &str, shelf| Uploads::within(&dir.join(name), Arc::clone(&room), shelf);
        let uploads = within("uploads", Shelf::Results)?;
        let parcels = within("parcels", Shelf::Files)?;
        let inner = Inner {
            dir: dir.to_owned(),
            incoming,
            durable,
            room,
            uploads,
            parcels,
            shelves: Mutex::new(()),
            _temporary: temporary,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The most bytes that one blob may have.
    pub fn max_bytes(&self) -> u64 {
        self.inner.room.limits().blob_bytes_max
    }

    /// Uploads of results that may be interrupted and go on.
    pub fn uploads(&self) -> &Uploads {
        &self.inner.uploads
    }

    /// The same of files.
    pub(crate) fn parcels(&self) -> &Uploads {
        &self.inner.parcels
    }

    /// Gives up what nobody has gone on with for so long. Gives back how many uploads that were.
    pub async fn expire(&self, now: SystemTime, abandoned_after: Duration) -> usize {
        let results = self.uploads().expire(now, abandoned_after).await;
        results + self.parcels().expire(now, abandoned_after).await
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Adds what the reader gives, named as `ipfs add` names it by default.
    ///
    /// # Errors
    /// Too large, the reader breaks off, or the disk fails. Nothing is kept then.
    pub async fn add(&self, from: impl AsyncRead + Unpin) -> Result<Added, Error> {
        self.add_with(from, AddOptions::default()).await
    }

    /// Adds a result, which stays at least until then, however little room is left.
    ///
    /// # Errors
    /// As [`Blobs::add`].
    pub async fn add_result(
        &self,
        from: impl AsyncRead + Unpin,
        needed_until: SystemTime,
    ) -> Result<Added, Error> {
        let place = Place { shelf: Shelf::Results, needed_until };
        self.receive(from, AddOptions::default(), place).await
    }

    /// Adds what the reader gives, in memory of one chunk.
    ///
    /// # Errors
    /// As [`Blobs::add`].
    pub async fn add_with(
        &self,
        from: impl AsyncRead + Unpin,
        options: AddOptions,
    ) -> Result<Added, Error> {
        let place = Place { shelf: Shelf::Files, needed_until: SystemTime::now() };
        self.receive(from, options, place).await
    }

    /// Adds a finished upload of a result, which is moved rather than copied.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn add_uploaded(
        &self,
        uploaded: &Whole,
        needed_until: SystemTime,
    ) -> Result<Added, Error> {
        self.shelve(uploaded, Place { shelf: Shelf::Results, needed_until }).await
    }

    /// The same of a file.
    pub(crate) async fn add_parcel(&self, uploaded: &Whole) -> Result<Added, Error> {
        let place = Place { shelf: Shelf::Files, needed_until: SystemTime::now() };
        self.shelve(uploaded, place).await
    }

    async fn shelve(&self, uploaded: &Whole, place: Place) -> Result<Added, Error> {
        let file = File::open(uploaded.path()).await.map_err(failed("reading an upload"))?;
        let (cid, dag_size) = name_of(&file).await?;
        let arrived = Arrived::Upload(uploaded.path().to_owned());
        self.keep(&cid, place, arrived, file).await?;
        Ok(Added { cid, size: uploaded.size(), dag_size })
    }

    async fn receive(
        &self,
        mut from: impl AsyncRead + Unpin,
        options: AddOptions,
        place: Place,
    ) -> Result<Added, Error> {
        let room = &self.inner.room;
        let mut tree = Tree::new(Layout { v1: options.v1, raw_leaves: options.raw_leaves });
        if !options.only_hash {
            room.check(place.shelf, 0)?;
        }
        // The last chunk is written only when another follows, or when all of them have come and are new here: most
        // results are one chunk, and many are known.
        let (mut incoming, mut held) = (None, Vec::new());
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let (mut size, mut looked_at) = (0_u64, 0_u64);
        loop {
            chunk.clear();
            (&mut from)
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut chunk)
                .await
                .map_err(failed("receiving the blob"))?;
            if chunk.is_empty() {
                break;
            }
            size += chunk.len() as u64;
            let limit = self.max_bytes();
            if size > limit {
                return Err(Error::TooLarge { limit });
            }
            tree.push(&chunk);
            if options.only_hash {
                continue;
            }
            if size - looked_at >= LOOK_EVERY_BYTES {
                // What has come so far is on the disk already, but not yet among what is used.
                room.check(place.shelf, LOOK_EVERY_BYTES)?;
                looked_at = size;
            }
            if !held.is_empty() {
                incoming = Some(self.written(incoming, &held).await?);
            }
            std::mem::swap(&mut held, &mut chunk);
        }
        let (cid, dag_size) = tree.finish();
        let is_known =
            options.only_hash || incoming.is_none() && self.is_there(&cid, place).await?;
        if !is_known {
            let (temporary, mut file) = self.written(incoming, &held).await?;
            file.flush().await.map_err(failed("writing the blob"))?;
            self.keep(&cid, place, Arrived::Incoming(temporary), file).await?;
        }
        Ok(Added { cid, size, dag_size })
    }

    /// Opens a blob; nothing if it is not here. A name of version 0 and its equivalent of version 1 are the same blob.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn open_blob(&self, cid: &Cid) -> Result<Option<Blob>, Error> {
        for shelf in Shelf::ALL {
            match File::open(self.inner.path(shelf, &name(cid))).await {
                Ok(file) => {
                    let size = file.metadata().await.map_err(failed("opening a blob"))?.len();
                    return Ok(Some(Blob { size, file }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("opening a blob")(error)),
            }
        }
        Ok(None)
    }

    /// Reads a name in any of its spellings.
    ///
    /// # Errors
    /// It is no CID.
    pub fn parse_cid(text: &str) -> Result<Cid, Error> {
        // A CID has some 60 characters; a longer text is not worth decoding.
        if text.len() > 128 {
            let text = text.chars().take(40).collect();
            return Err(Error::BadCid { text, detail: "it is too long".to_owned() });
        }
        Cid::try_from(text)
            .map_err(|error| Error::BadCid { text: text.to_owned(), detail: error.to_string() })
    }

    /// Writes to the end of what is incoming, which begins with it.
    async fn written(
        &self,
        incoming: Option<(NamedTempFile, File)>,
        bytes: &[u8],
    ) -> Result<(NamedTempFile, File), Error> {
        let (temporary, mut file) = match incoming {
            Some(begun) => begun,
            None => {
                let making = failed("making a file");
                let temporary = NamedTempFile::new_in(&self.inner.incoming).map_err(&making)?;
                let file = temporary.reopen().map_err(&making)?;
                (temporary, File::from_std(file))
            }
        };
        file.write_all(bytes).await.map_err(failed("writing the blob"))?;
        Ok((temporary, file))
    }

    async fn is_there(&self, cid: &Cid, place: Place) -> Result<bool, Error> {
        let inner = Arc::clone(&self.inner);
        let path = inner.path(place.shelf, &name(cid));
        let looked = tokio::task::spawn_blocking(move || inner.is_there(&path, place.needed_until));
        looked
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(failed("keeping the blob"))
    }

    async fn keep(
        &self,
        cid: &Cid,
        place: Place,
        arrived: Arrived,
        file: File,
    ) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let name = name(cid);
        let file = file.into_std().await;
        let kept = tokio::task::spawn_blocking(move || inner.shelve(&name, place, arrived, &file));
        kept.await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(failed("keeping the blob"))
    }
}

/// Where a blob goes and until when it must stay.
#[derive(Debug, Clone, Copy)]
struct Place {
    shelf: Shelf,
    needed_until: SystemTime,
}

/// A whole blob that is not on its shelf yet.
enum Arrived {
    Incoming(NamedTempFile),
    Upload(PathBuf),
}

impl Inner {
    /// Where a blob is on that shelf.
    pub(crate) fn path(&self, shelf: Shelf, name: &str) -> PathBuf {
        self.dir.join(shelf.dir()).join(name)
    }

    /// Puts a blob on its shelf. Until when it is needed is its file's time of change: that costs no file of its own and
    /// is in place in the moment in which the blob is.
    fn shelve(
        &self,
        name: &str,
        place: Place,
        arrived: Arrived,
        file: &std::fs::File,
    ) -> io::Result<()> {
        let path = self.path(place.shelf, name);
        if self.is_there(&path, place.needed_until)? {
            return Ok(());
        }
        if self.durable {
            file.sync_all()?;
        }
        std::fs::File::options()
            .write(true)
            .open(arrived.path())?
            .set_modified(place.needed_until)?;
        let size = file.metadata()?.len();
        {
            let _alone = self.shelves.lock();
            match arrived {
                Arrived::Incoming(temporary) => {
                    temporary.persist(&path).map_err(|error| error.error)?;
                }
                Arrived::Upload(from) => std::fs::rename(from, &path)?,
            }
            self.room.grown(size);
        }
        if self.durable {
            // The rename itself must survive too.
            std::fs::File::open(self.dir.join(place.shelf.dir()))?.sync_all()?;
        }
        Ok(())
    }

    /// Whether the blob is there; if so it is needed until then, or longer.
    fn is_there(&self, path: &Path, needed_until: SystemTime) -> io::Result<bool> {
        let _alone = self.shelves.lock();
        let needed_now = match std::fs::metadata(path) {
            Ok(known) => known.modified()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if needed_now < needed_until {
            std::fs::File::options().write(true).open(path)?.set_modified(needed_until)?;
        }
        Ok(true)
    }
}

impl Arrived {
    fn path(&self) -> &Path {
        match self {
            Self::Incoming(temporary) => temporary.path(),
            Self::Upload(path) => path,
        }
    }
}

/// What a blob's file is called: by codec and hash, so that both versions of a name lead there.
pub(crate) fn name(cid: &Cid) -> String {
    let mut name = format!("{:x}-", cid.codec());
    for byte in cid.hash().to_bytes() {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// The name of a file that is here already, and the bytes of its blocks.
async fn name_of(file: &File) -> Result<(Cid, u64), Error> {
    let reading = failed("reading an upload");
    let mut file = file.try_clone().await.map_err(&reading)?;
    let mut tree = Tree::new(Layout::default());
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    loop {
        chunk.clear();
        (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await.map_err(&reading)?;
        if chunk.is_empty() {
            return Ok(tree.finish());
        }
        tree.push(&chunk);
    }
}

impl Blob {
    /// Reads all of it.
    pub fn into_reader(self) -> File {
        self.file
    }

    /// Reads `length` bytes from `start` on.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn into_range(
        mut self,
        start: u64,
        length: u64,
    ) -> Result<tokio::io::Take<File>, Error> {
        self.file.seek(SeekFrom::Start(start)).await.map_err(failed("reading a blob"))?;
        Ok(self.file.take(length))
    }
}
