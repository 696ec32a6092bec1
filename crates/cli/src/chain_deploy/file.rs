//! The file that remembers a deployment: used by one process at a time, and always whole.

use std::fs::{self, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chain::deploy::Deployment;

use crate::failure::{Exit, Failure};

/// A deployment's file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    known: Option<Deployment>,
    /// Held: nobody else writes meanwhile. Beside the file, because the file itself is replaced as a whole.
    _lock: fs::File,
}

impl File {
    /// Reads what is there, if there is something.
    ///
    /// # Errors
    /// GM-3208 it cannot be used: not readable, in use, or something else.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let unusable = |cause: String| {
            Failure::new("GM-3208", Exit::Usage, format!("{} cannot be used", path.display()))
                .because(cause)
                .fix("name another file with --out")
        };
        let lock = fs::File::create(beside(path, "lock")).map_err(|it| unusable(it.to_string()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(unusable("another process is deploying with it".to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error.to_string())),
        }
        let known = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(error.to_string())),
        };
        let known: Option<Deployment> =
            known
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| unusable(format!("it is not a deployment: {error}")))?;
        if known.as_ref().is_some_and(|known| !known.is_readable()) {
            return Err(unusable("it is of another version of gristmill".to_owned()));
        }
        Ok(Self { path: path.to_owned(), known, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was in it when it was opened.
    pub(super) fn known(&self) -> Option<&Deployment> {
        self.known.as_ref()
    }

    /// Replaces what is in it. On disk when this returns.
    pub(super) fn write(&self, deployment: &Deployment) -> io::Result<()> {
        let half = beside(&self.path, "new");
        let mut file = fs::File::create(&half)?;
        file.write_all(serde_json::to_string_pretty(deployment)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&half, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        // The new name itself; where a directory cannot be opened, the rename is all there is.
        if let Ok(directory) = fs::File::open(parent.unwrap_or(Path::new("."))) {
            directory.sync_all()?;
        }
        Ok(())
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}
