//! Where things are on this machine: the data directory, and which markets run.
//!
//! A running market leaves a small file with its origin under `running/` in Gristmill's home, whatever its own data
//! directory is, so that `gristmill run` in another terminal finds it. The home is `$GRISTMILL_HOME`, else the
//! platform's data directory for the user.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use etcetera::BaseStrategy;
use serde_json::{Value, json};
use url::Url;

use crate::failure::{Exit, Failure, OrFail};

/// The form of a data directory that this binary reads and writes. Raise it when an older binary could not read it, or
/// this one could not read an older one's.
const DATA_VERSION: u64 = 2;

/// Gristmill's home on this machine.
pub fn home() -> PathBuf {
    if let Some(home) = std::env::var_os("GRISTMILL_HOME") {
        return PathBuf::from(home);
    }
    match etcetera::choose_base_strategy() {
        Ok(base) => base.data_dir().join("gristmill"),
        Err(_) => PathBuf::from(".gristmill"),
    }
}

/// A data directory that this process alone uses, of a version it knows. Unlocked when dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the directory, making it if need be; `fresh` empties it first.
    ///
    /// # Errors
    /// GM-6001 it is of another version, GM-6002 another process uses it, GM-6003 it cannot be used.
    pub fn open(path: &Path, fresh: bool) -> Result<Self, Failure> {
        let unusable = |error: io::Error| {
            Failure::new(
                "GM-6003",
                Exit::Market,
                format!("cannot use the data directory {}", path.display()),
            )
            .because(error)
            .fix("name another one with --data-dir, or make this one writable")
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = File::create(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(
                    "GM-6002",
                    Exit::Market,
                    format!("another process uses the data directory {}", path.display()),
                )
                .fix("stop it, or name another directory with --data-dir"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        if fresh {
            empty(path).map_err(unusable)?;
        }
        check_version(path)?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes what this program put there, and nothing else: a mistaken `--data-dir ~ --fresh` must cost no one their files.
fn empty(path: &Path) -> io::Result<()> {
    let ours = path.join("version").exists();
    let mut names = vec!["version", "market.json", "service.key"];
    if ours {
        names.extend(["chain", "store", "blobs", "workers", "vault"]);
    }
    for name in names {
        let entry = path.join(name);
        let removed =
            if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn check_version(path: &Path) -> Result<(), Failure> {
    let file = path.join("version");
    let failure = |what: String| {
        Failure::new("GM-6001", Exit::Market, what).fix(
            "use the gristmill that made it, name another directory with --data-dir, or start over with --fresh",
        )
    };
    match fs::read_to_string(&file) {
        Ok(text) if text.trim() == DATA_VERSION.to_string() => Ok(()),
        Ok(text) => Err(failure(format!(
            "the data directory {} is of version {}; this gristmill reads version {DATA_VERSION}",
            path.display(),
            text.trim().chars().take(20).collect::<String>()
        ))),
        Err(_) if path.join("market.json").exists() || path.join("chain").exists() => {
            Err(failure(format!("the data directory {} does not say its version", path.display())))
        }
        Err(_) => fs::write(&file, format!("{DATA_VERSION}\n")).or_fail(
            "GM-6003",
            Exit::Market,
            &format!("cannot write {}", file.display()),
        ),
    }
}

/// A market's note that it runs; taken away when dropped.
#[derive(Debug)]
pub struct Running(PathBuf);

impl Running {
    /// Leaves the note. A market that cannot leave one still works: it only has to be named with `--market`.
    pub fn announce(origin: &Url) -> Option<Self> {
        let dir = home().join("running");
        fs::create_dir_all(&dir).ok()?;
        let path = dir.join(format!("{}.json", origin.port_or_known_default().unwrap_or_default()));
        let note = json!({ "origin": origin.as_str(), "pid": std::process::id() });
        fs::write(&path, note.to_string()).ok()?;
        Some(Self(path))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is only a note: a stale one is noticed by asking the origin.
        let _ = fs::remove_file(&self.0);
    }
}

/// Origins of markets that said they run here, the latest first. They may have died since.
pub fn running() -> Vec<Url> {
    let Ok(entries) = fs::read_dir(home().join("running")) else { return Vec::new() };
    let mut notes: Vec<(SystemTime, Url)> = entries
        .flatten()
        .filter_map(|entry| {
            let made = entry.metadata().and_then(|data| data.modified()).ok()?;
            let note: Value = serde_json::from_str(&fs::read_to_string(entry.path()).ok()?).ok()?;
            Some((made, note.get("origin")?.as_str()?.parse().ok()?))
        })
        .collect();
    notes.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
    notes.into_iter().map(|(_, origin)| origin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<DataDir, Failure>) -> String {
        result.map_or_else(|failure| failure.code, |_| "ok".to_owned())
    }

    #[test]
    fn a_directory_is_opened_by_one_at_a_time_and_of_the_right_version() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), false).unwrap();
        assert_eq!(code(DataDir::open(dir.path(), false)), "GM-6002");
        drop(first);
        assert_eq!(code(DataDir::open(dir.path(), false)), "ok");
        fs::write(dir.path().join("version"), "99\n").unwrap();
        assert_eq!(code(DataDir::open(dir.path(), false)), "GM-6001");
        assert_eq!(code(DataDir::open(dir.path(), true)), "ok");
    }

    #[test]
    fn starting_over_leaves_other_peoples_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("blobs")).unwrap();
        fs::write(dir.path().join("blobs/mine"), "precious").unwrap();
        drop(DataDir::open(dir.path(), true).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("blobs/mine")).unwrap(), "precious");
    }
}
