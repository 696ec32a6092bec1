//! The result archive: `/iexec_out` as a zip, and the digest recomputed from one.
//!
//! The same output always packs to the same bytes (sorted names, fixed times and modes), so that replicas upload one
//! blob. Reading back trusts nothing: an archive comes from a worker one need not know, so the number of entries, the
//! bytes they unpack to and their names are all bounded, and [`verify`] never writes to disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use alloy_primitives::Bytes;
use primitives::ResultDigest;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::contract::{COMPUTED, Computed, Declared, MAX_COMPUTED_BYTES, Undeclared};
use crate::digest;

/// What an archive may be at most when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Entries, directories included.
    pub entries: usize,
    /// Bytes of all entries together, unpacked.
    pub bytes: u64,
}

impl Default for Bounds {
    /// A little more than any run here may write: 2,000 entries, 1 GiB and 64 MiB.
    fn default() -> Self {
        Self { entries: 2_000, bytes: (1 << 30) + (64 << 20) }
    }
}

/// What an archive proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The digest, to be compared with the chain's.
    pub digest: ResultDigest,
    /// The callback bytes, when the result is a callback.
    pub callback_data: Option<Bytes>,
}

/// The archive gives no digest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It could not be read.
    #[error("the result archive cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not a zip, or a broken one.
    #[error("the result is not a usable zip archive: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// It unpacks to more than is accepted.
    #[error("the result archive unpacks to more than {what}")]
    TooLarge {
        /// The bound that it breaks.
        what: String,
    },
    /// A name in it is absolute, climbs, occurs twice, or is no plain file.
    #[error("the result archive has an entry that is not accepted: '{name}'")]
    BadEntry {
        /// The entry's name.
        name: String,
    },
    /// It does not say what the result is.
    #[error("the result archive declares no usable result: {detail}")]
    Undeclared {
        /// Why not.
        detail: String,
    },
}

impl ArchiveError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "GM-4140",
            Self::Zip(_) => "GM-4141",
            Self::TooLarge { .. } => "GM-4142",
            Self::BadEntry { .. } => "GM-4143",
            Self::Undeclared { .. } => "GM-4144",
        }
    }

    /// What can be done about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Io(_) => "download the result again",
            _ => "do not trust this result; the workerpool that delivered it answers for it",
        }
    }
}

/// Recomputes the digest of the result in an archive by the rules of the program contract.
///
/// # Errors
/// The archive is unreadable, larger than the bounds, holds names that are not accepted, or declares no result.
pub fn verify(archive: &Path, bounds: &Bounds) -> Result<Verified, ArchiveError> {
    let mut reader = Reader::open(archive, bounds)?;
    let computed = reader.small_file(COMPUTED)?;
    match Computed::declared(&computed) {
        Ok(Declared::Callback(data)) => {
            Ok(Verified { digest: digest::of_callback(&data), callback_data: Some(data.into()) })
        }
        Ok(Declared::Path(parts)) => {
            let digest = reader.digest_of(&parts.join("/"))?;
            Ok(Verified { digest, callback_data: None })
        }
        Err(Undeclared::Malformed(detail)) => Err(ArchiveError::Undeclared { detail }),
        Err(Undeclared::Outside(path)) => {
            Err(ArchiveError::Undeclared { detail: format!("'{path}' is not in /iexec_out") })
        }
    }
}

/// One file of an archive, e.g. `stdout.txt`; nothing if it is not there.
///
/// # Errors
/// As [`verify`]; also when the file has more than `max_bytes`.
pub fn read_file(
    archive: &Path,
    name: &str,
    max_bytes: u64,
    bounds: &Bounds,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let mut reader = Reader::open(archive, bounds)?;
    if !reader.files.contains_key(name) {
        return Ok(None);
    }
    reader.read(name, max_bytes).map(Some)
}

/// Unpacks an archive into a directory, which is created if needed; files there of the same name are replaced.
///
/// # Errors
/// As [`verify`], and the file system's own. What was unpacked before an error stays.
pub fn unpack(archive: &Path, into: &Path, bounds: &Bounds) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut reader = Reader::open(archive, bounds)?;
    fs::create_dir_all(into)?;
    for name in reader.directories.clone() {
        fs::create_dir_all(into.join(name))?;
    }
    let names: Vec<_> = reader.files.keys().cloned().collect();
    let mut written = Vec::with_capacity(names.len());
    for name in names {
        let path = into.join(&name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        remove(&path)?;
        let mut file = File::options().write(true).create_new(true).open(&path)?;
        let entry = reader.files[&name];
        let mut from = Bounded::of(&mut reader.left, reader.zip.by_index(entry)?);
        io::copy(&mut from, &mut file).map_err(unbound)?;
        written.push(path);
    }
    Ok(written)
}

/// Packs what is in `/iexec_out` into a new file.
pub(crate) fn pack(entries: &[Entry], into: &Path) -> io::Result<u64> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(io::BufWriter::new(File::create(into)?));
    for entry in entries {
        match entry.content.open()? {
            None => zip.add_directory(&*entry.name, options.unix_permissions(0o755))?,
            Some(mut bytes) => {
                zip.start_file(&*entry.name, options)?;
                io::copy(&mut bytes, &mut zip)?;
            }
        }
    }
    let mut file = zip.finish()?;
    file.flush()?;
    file.get_ref().metadata().map(|meta| meta.len())
}

/// One thing in `/iexec_out`.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Path below `/iexec_out`, with `/`.
    pub(crate) name: String,
    /// What it is.
    pub(crate) content: Content,
    /// Its size, 0 for a directory.
    pub(crate) bytes: u64,
}

/// What a thing in `/iexec_out` is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A directory.
    Directory,
    /// A plain file, and where it is on this machine.
    File(PathBuf),
    /// A file that was never on a disk.
    Held(Bytes),
}

impl Content {
    /// What a file holds; nothing for a directory.
    pub(crate) fn open(&self) -> io::Result<Option<Box<dyn Read + '_>>> {
        Ok(match self {
            Self::Directory => None,
            Self::File(path) => Some(Box::new(File::open(path)?)),
            Self::Held(bytes) => Some(Box::new(&bytes[..])),
        })
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An archive whose names have been checked and whose unpacked bytes are counted.
struct Reader {
    zip: ZipArchive<io::BufReader<File>>,
    files: BTreeMap<String, usize>,
    directories: Vec<String>,
    left: u64,
}

impl Reader {
    fn open(path: &Path, bounds: &Bounds) -> Result<Self, ArchiveError> {
        let mut zip = ZipArchive::new(io::BufReader::new(File::open(path)?))?;
        if zip.len() > bounds.entries {
            return Err(ArchiveError::TooLarge { what: format!("{} entries", bounds.entries) });
        }
        let (mut files, mut directories) = (BTreeMap::new(), Vec::new());
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index)?;
            let name = entry.name()?.into_owned();
            let plain = name.strip_suffix('/').unwrap_or(&name);
            if entry.encrypted() || entry.is_symlink() || !is_plain(plain) {
                return Err(ArchiveError::BadEntry { name });
            }
            if entry.is_dir() {
                directories.push(plain.to_owned());
            } else if files.insert(name.clone(), index).is_some() {
                return Err(ArchiveError::BadEntry { name });
            }
        }
        Ok(Self { zip, files, directories, left: bounds.bytes })
    }

    fn small_file(&mut self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        if !self.files.contains_key(name) {
            return Err(ArchiveError::Undeclared { detail: format!("it has no {name}") });
        }
        self.read(name, MAX_COMPUTED_BYTES)
    }

    fn read(&mut self, name: &str, max_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let entry = self.zip.by_index(self.files[name])?;
        let read = Bounded::of(&mut self.left, entry)
            .take(max_bytes.saturating_add(1))
            .read_to_end(&mut bytes);
        read.map_err(unbound)?;
        if bytes.len() as u64 > max_bytes {
            return Err(ArchiveError::TooLarge { what: format!("{max_bytes} bytes in {name}") });
        }
        Ok(bytes)
    }

    fn digest_of(&mut self, path: &str) -> Result<ResultDigest, ArchiveError> {
        if self.files.contains_key(path) {
            return self.hash(path).map(ResultDigest);
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let known = path.is_empty()
            || self.directories.iter().any(|dir| dir == path || dir.starts_with(&prefix))
            || self.files.keys().any(|file| file.starts_with(&prefix));
        if !known {
            return Err(ArchiveError::Undeclared { detail: format!("'{path}' is not in it") });
        }
        let mut direct: Vec<_> = self
            .files
            .keys()
            .filter(|file| file.strip_prefix(&prefix).is_some_and(|name| !name.contains('/')))
            .cloned()
            .collect();
        direct.sort_by(|a, b| digest::by_name(a, b));
        let hashes = direct.iter().map(|name| self.hash(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(digest::of_directory(hashes))
    }

    fn hash(&mut self, name: &str) -> Result<alloy_primitives::B256, ArchiveError> {
        let entry = self.zip.by_index(self.files[name])?;
        digest::sha256(Bounded::of(&mut self.left, entry)).map_err(unbound)
    }
}

/// A name that stays below the directory it is unpacked into, on any system.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 4096
        && !name.contains(['\\', '\0', ':'])
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Counts what was unpacked against what is left, whatever the entry's header promised.
struct Bounded<'a, R> {
    left: &'a mut u64,
    from: R,
}

impl<'a, R: Read> Bounded<'a, R> {
    fn of(left: &'a mut u64, from: R) -> Self {
        Self { left, from }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => *self.left = left,
            None => return Err(io::ErrorKind::FileTooLarge.into()),
        }
        Ok(n)
    }
}

fn unbound(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => {
            ArchiveError::TooLarge { what: "the accepted number of bytes".to_owned() }
        }
        _ => ArchiveError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// Writes a zip of those entries and says what `verify` thinks of it.
    fn check(entries: &[(&str, &[u8])], bounds: &Bounds, want: &Expect) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.zip");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        match verify(&path, bounds) {
            Ok(verified) => want.assert_eq(&verified.digest.to_string()),
            Err(error) => want.assert_eq(&format!("{} {error}", error.code())),
        }
    }

    const FILE: &[u8] = br#"{"deterministic-output-path":"/iexec_out/a.txt"}"#;
    const DIR: &[u8] = br#"{"deterministic-output-path":"/iexec_out/d"}"#;

    #[test]
    fn a_file_and_a_directory_are_digested_by_the_rules() {
        let bounds = Bounds::default();
        check(
            &[("computed.json", FILE), ("a.txt", b"abc")],
            &bounds,
            &expect!["0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
        );
        let in_order = digest::of_directory([
            digest::sha256(&b"1"[..]).unwrap(),
            digest::sha256(&b"2"[..]).unwrap(),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.zip");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in [("d/b", &b"2"[..]), ("d/a", b"1"), ("d/sub/c", b"3"), (COMPUTED, DIR)]
        {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        assert_eq!(verify(&path, &bounds).unwrap().digest, in_order);
    }

    #[test]
    fn hostile_archives_are_refused() {
        let bounds = Bounds { entries: 3, bytes: 1_000 };
        check(
            &[("../x", b"")],
            &bounds,
            &expect!["GM-4143 the result archive has an entry that is not accepted: '../x'"],
        );
        check(
            &[("/x", b"")],
            &bounds,
            &expect!["GM-4143 the result archive has an entry that is not accepted: '/x'"],
        );
        check(
            &[("a\\x", b"")],
            &bounds,
            &expect![[r"GM-4143 the result archive has an entry that is not accepted: 'a\x'"]],
        );
        check(
            &[("a", b""), ("b", b""), ("c", b""), ("d", b"")],
            &bounds,
            &expect!["GM-4142 the result archive unpacks to more than 3 entries"],
        );
        check(
            &[("computed.json", FILE), ("a.txt", &[0; 10_000])],
            &bounds,
            &expect![
                "GM-4142 the result archive unpacks to more than the accepted number of bytes"
            ],
        );
        check(
            &[("a.txt", b"abc")],
            &bounds,
            &expect![
                "GM-4144 the result archive declares no usable result: it has no computed.json"
            ],
        );
        check(
            &[("computed.json", DIR), ("a.txt", b"abc")],
            &bounds,
            &expect!["GM-4144 the result archive declares no usable result: 'd' is not in it"],
        );
    }
}
