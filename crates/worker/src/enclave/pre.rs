//! Before the program: what it finds in `/iexec_in`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use seal::dataset::{DatasetError, DatasetKey, Decryptor};
use tokio::time::Instant;
use wire::link::Blame;
use wire::sms::{Session, Stage};
use zeroize::{Zeroize, Zeroizing};

use super::Mishap;
use crate::fetch::{FetchError, Fetched, Fetcher};
use crate::inputs::{ALL_BYTES_MAX, FILES_MAX, allowance, input_name};
use crate::space::{Scratch, remove_file};

const PIECE_BYTES: usize = 64 << 10;

/// Fetches, checks and decrypts everything that the session names into the run's own directory.
///
/// A dataset of a bulk request that does not fit the deal, or is not what its owner registered, is left out, and the
/// program runs without it: so the protocol has it. The one dataset of an ordinary request must be there.
pub(super) async fn compute(
    session: &Session,
    fetcher: &Fetcher,
    scratch: &Scratch,
) -> Result<(), Mishap> {
    if session.stage(Stage::PreCompute).is_none() {
        return Ok(());
    }
    let mut work = Work { session, fetcher, scratch, left: ALL_BYTES_MAX, began: Instant::now() };
    if work.text("IS_DATASET_REQUIRED") == Some("true") {
        work.dataset("IEXEC_DATASET").await?;
    }
    for number in 1..=work.count("IEXEC_BULK_SLICE_SIZE")? {
        match work.dataset(&format!("IEXEC_DATASET_{number}")).await {
            Err(mishap) if mishap.blame == Blame::Worker => return Err(mishap),
            Err(Mishap { cause, .. }) => {
                tracing::info!(number, cause, "a dataset of a bulk request is left out");
            }
            Ok(()) => {}
        }
    }
    for number in 1..=work.count("IEXEC_INPUT_FILES_NUMBER")? {
        work.input(number).await?;
    }
    Ok(())
}

struct Work<'a> {
    session: &'a Session,
    fetcher: &'a Fetcher,
    scratch: &'a Scratch,
    /// Bytes that may still be fetched.
    left: u64,
    began: Instant,
}

impl Work<'_> {
    /// A variable; nothing if it is not there or says nothing.
    fn text(&self, name: &str) -> Option<&str> {
        let value = self.session.variable(Stage::PreCompute, name)?;
        Some(value.expose().as_str()).filter(|text| !text.is_empty())
    }

    fn count(&self, name: &str) -> Result<usize, Mishap> {
        let count = self.text(name).map_or(Ok(0), str::parse::<usize>);
        let fits = count.ok().filter(|count| *count <= FILES_MAX);
        fits.ok_or_else(|| {
            let detail = format!("there are more than {FILES_MAX} files");
            Mishap::new("PRE_COMPUTE_FAILED_UNKNOWN_ISSUE", detail, Blame::Input)
        })
    }

    async fn dataset(&mut self, prefix: &str) -> Result<(), Mishap> {
        let missing = |what: &str| {
            let cause = format!("PRE_COMPUTE_DATASET_{what}_MISSING");
            Mishap::new(cause, "the session does not say it", Blame::Input)
        };
        let said = |what: &str| self.text(&format!("{prefix}_{what}")).ok_or_else(|| missing(what));
        let (url, name) = (said("URL")?.to_owned(), said("FILENAME")?.to_owned());
        let key = DatasetKey::from_base64(said("KEY")?).map_err(|error| undecryptable(&error))?;
        let checksum: B256 = said("CHECKSUM")?.parse().map_err(|_| {
            let cause = "PRE_COMPUTE_INVALID_DATASET_CHECKSUM";
            Mishap::new(cause, "the registered checksum is none", Blame::Input)
        })?;
        let to = self.scratch.inputs().join(plain(&name)?);
        let sealed = self.scratch.sealed();
        let fetched = self.fetch(&url, &sealed, Some(checksum)).await;
        fetched.map_err(|error| download("PRE_COMPUTE_DATASET_DOWNLOAD_FAILED", &error))?;
        let from = sealed.clone();
        let opened = tokio::task::spawn_blocking(move || open(&from, &to, &key, checksum)).await;
        remove_file(&sealed).await;
        let saving = "PRE_COMPUTE_SAVING_PLAIN_DATASET_FAILED";
        opened.unwrap_or_else(|error| Err(Mishap::ours(saving, &error)))
    }

    async fn input(&mut self, number: usize) -> Result<(), Mishap> {
        let url = self.text(&format!("IEXEC_INPUT_FILE_URL_{number}")).ok_or_else(|| {
            let cause = "PRE_COMPUTE_AT_LEAST_ONE_INPUT_FILE_URL_MISSING";
            Mishap::new(cause, format!("number {number}"), Blame::Input)
        })?;
        let url = url.to_owned();
        let path = self.scratch.inputs().join(input_name(&url));
        // The same URL twice is the same file.
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return Ok(());
        }
        let fetched = self.fetch(&url, &path, None).await;
        fetched.map_err(|error| download("PRE_COMPUTE_INPUT_FILE_DOWNLOAD_FAILED", &error))
    }

    async fn fetch(
        &mut self,
        url: &str,
        path: &Path,
        expected: Option<B256>,
    ) -> Result<(), FetchError> {
        let allowance = allowance(self.left, self.began);
        let Fetched { bytes, .. } = self.fetcher.to_file(url, path, allowance, expected).await?;
        self.left = self.left.saturating_sub(bytes);
        Ok(())
    }
}

fn download(cause: &str, error: &FetchError) -> Mishap {
    let blame = if error.is_ours() { Blame::Worker } else { Blame::Input };
    Mishap::new(cause, error.to_string(), blame)
}

fn undecryptable(error: &DatasetError) -> Mishap {
    let cause = match error {
        DatasetError::Checksum { .. } => "PRE_COMPUTE_INVALID_DATASET_CHECKSUM",
        DatasetError::Key | DatasetError::Undecryptable => "PRE_COMPUTE_DATASET_DECRYPTION_FAILED",
    };
    Mishap::new(cause, error.to_string(), Blame::Input)
}

/// A file's name, and nothing else.
fn plain(name: &str) -> Result<PathBuf, Mishap> {
    let fits = name.len() <= 255
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    fits.then(|| PathBuf::from(name)).ok_or_else(|| {
        let cause = "PRE_COMPUTE_DATASET_FILENAME_MISSING";
        Mishap::new(cause, "the dataset's name is no file name", Blame::Input)
    })
}

/// Decrypts a file piece by piece. Nothing is left of it when it is not the registered one.
fn open(from: &Path, to: &Path, key: &DatasetKey, checksum: B256) -> Result<(), Mishap> {
    let opened = try_open(from, to, key, checksum);
    if opened.is_err()
        && let Err(error) = std::fs::remove_file(to)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a half decrypted dataset stays until the run's directory goes");
    }
    opened
}

fn try_open(from: &Path, to: &Path, key: &DatasetKey, checksum: B256) -> Result<(), Mishap> {
    let saving = |error: io::Error| Mishap::ours("PRE_COMPUTE_SAVING_PLAIN_DATASET_FAILED", &error);
    let mut from = File::open(from).map_err(saving)?;
    let mut to = File::create(to).map_err(saving)?;
    let mut decryptor = Decryptor::new(key);
    let mut piece = vec![0; PIECE_BYTES];
    let mut clear = Zeroizing::new(Vec::with_capacity(2 * PIECE_BYTES));
    loop {
        let read = from.read(&mut piece).map_err(saving)?;
        if read == 0 {
            break;
        }
        decryptor.update(&piece[..read], &mut clear);
        to.write_all(&clear).map_err(saving)?;
        clear.zeroize();
    }
    let finished = decryptor.finish(Some(checksum), &mut clear);
    finished.map_err(|error| undecryptable(&error))?;
    to.write_all(&clear).map_err(saving)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_a_way_out() {
        for name in ["0xab", "dataset.zip", "a-b_c"] {
            assert_eq!(plain(name).unwrap(), Path::new(name));
        }
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a\0b", &"x".repeat(300)] {
            assert!(plain(name).is_err() || name.is_empty(), "{name}");
        }
    }

    #[test]
    fn of_a_dataset_that_is_not_the_registered_one_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (sealed, clear) = (dir.path().join("sealed"), dir.path().join("clear"));
        let mut fixed = |into: &mut [u8]| into.fill(7);
        let key = DatasetKey::generate(&mut fixed);
        let content = b"some very useful data ".repeat(10_000);
        let file = seal::dataset::encrypt(&key, &content, &mut fixed);
        std::fs::write(&sealed, &file).unwrap();
        open(&sealed, &clear, &key, seal::dataset::checksum(&file)).unwrap();
        assert_eq!(std::fs::read(&clear).unwrap(), content);
        let other = open(&sealed, &clear, &key, B256::ZERO).unwrap_err();
        assert_eq!(other.cause, "PRE_COMPUTE_INVALID_DATASET_CHECKSUM");
        assert!(!clear.exists());
    }
}
