//! The files behind the names.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cid::Cid;
use tempfile::{NamedTempFile, TempDir};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::tree::{CHUNK_BYTES, Layout, Tree};

/// The largest blob that is taken unless told otherwise: 1 GiB.
const MAX_BLOB_BYTES: u64 = 1 << 30;

/// A store of blobs in a directory. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    /// Finished blobs.
    files: PathBuf,
    /// Blobs being written; emptied at the start.
    incoming: PathBuf,
    durable: bool,
    max_bytes: u64,
    /// Keeps a temporary store's directory alive.
    _temporary: Option<TempDir>,
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
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { doing, source }
}

impl Blobs {
    /// A durable store: when [`Blobs::add`] returns, the blob survives a crash.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::at(dir, true, None)
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
        Self::at(&path, false, Some(dir))
    }

    fn at(dir: &Path, durable: bool, temporary: Option<TempDir>) -> Result<Self, Error> {
        let (files, incoming) = (dir.join("files"), dir.join("incoming"));
        if incoming.exists() {
            std::fs::remove_dir_all(&incoming).map_err(failed("tidying up"))?;
        }
        for dir in [&files, &incoming] {
            std::fs::create_dir_all(dir).map_err(failed("making a directory"))?;
        }
        let inner =
            Inner { files, incoming, durable, max_bytes: MAX_BLOB_BYTES, _temporary: temporary };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The most bytes that one blob may have.
    pub fn max_bytes(&self) -> u64 {
        self.inner.max_bytes
    }

    /// Adds what the reader gives, named as `ipfs add` names it by default.
    ///
    /// # Errors
    /// Too large, the reader breaks off, or the disk fails. Nothing is kept then.
    pub async fn add(&self, from: impl AsyncRead + Unpin) -> Result<Added, Error> {
        self.add_with(from, AddOptions::default()).await
    }

    /// Adds what the reader gives, in memory of one chunk.
    ///
    /// # Errors
    /// As [`Blobs::add`].
    pub async fn add_with(
        &self,
        mut from: impl AsyncRead + Unpin,
        options: AddOptions,
    ) -> Result<Added, Error> {
        let mut tree = Tree::new(Layout { v1: options.v1, raw_leaves: options.raw_leaves });
        let mut incoming = if options.only_hash { None } else { Some(self.incoming()?) };
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut size = 0_u64;
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
            if size > self.inner.max_bytes {
                return Err(Error::TooLarge { limit: self.inner.max_bytes });
            }
            tree.push(&chunk);
            if let Some((_, file)) = &mut incoming {
                file.write_all(&chunk).await.map_err(failed("writing the blob"))?;
            }
        }
        let (cid, dag_size) = tree.finish();
        if let Some((temporary, file)) = incoming {
            self.keep(&cid, temporary, file).await?;
        }
        Ok(Added { cid, size, dag_size })
    }

    /// Opens a blob; nothing if it is not here. A name of version 0 and its equivalent of version 1 are the same blob.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn open_blob(&self, cid: &Cid) -> Result<Option<Blob>, Error> {
        let file = match File::open(self.path(cid)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("opening a blob")(error)),
        };
        let size = file.metadata().await.map_err(failed("opening a blob"))?.len();
        Ok(Some(Blob { size, file }))
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

    /// Where a blob is: by codec and hash, so that both versions of a name lead there.
    fn path(&self, cid: &Cid) -> PathBuf {
        let mut name = format!("{:x}-", cid.codec());
        for byte in cid.hash().to_bytes() {
            name.push_str(&format!("{byte:02x}"));
        }
        self.inner.files.join(name)
    }

    fn incoming(&self) -> Result<(NamedTempFile, File), Error> {
        let temporary =
            NamedTempFile::new_in(&self.inner.incoming).map_err(failed("making a file"))?;
        let file = temporary.reopen().map_err(failed("making a file"))?;
        Ok((temporary, File::from_std(file)))
    }

    async fn keep(&self, cid: &Cid, temporary: NamedTempFile, mut file: File) -> Result<(), Error> {
        file.flush().await.map_err(failed("writing the blob"))?;
        let path = self.path(cid);
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return Ok(());
        }
        if self.inner.durable {
            file.sync_all().await.map_err(failed("writing the blob"))?;
        }
        drop(file);
        let inner = self.inner.clone();
        let kept = tokio::task::spawn_blocking(move || {
            temporary.persist(&path).map_err(|error| error.error)?;
            if inner.durable {
                // The rename itself must survive too.
                std::fs::File::open(&inner.files)?.sync_all()?;
            }
            Ok(())
        });
        kept.await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(failed("keeping the blob"))
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
