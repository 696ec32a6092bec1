//! The worker's directory.
//!
//! ```text
//! programs/<sha256>       kept between runs; checked when first used
//! programs/image-<id>     likewise, of containers: an archive, or a directory that was pulled
//! inputs/<deal>-<n>/      while tasks of the deal are in hand
//! enclaves/<task>-<n>/    while a confidential task runs
//! results/<task>-<n>.zip  until the task is released; after a restart only those in the journal
//! ```

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use primitives::{DealId, TaskId};

/// Programs of earlier processes that are kept.
const PROGRAMS_LEFT: usize = 64;

/// The directory, made and tidied.
#[derive(Debug)]
pub(crate) struct Space {
    root: PathBuf,
    next: AtomicU64,
}

impl Space {
    /// Makes the directory, readable by nobody else, and removes what an earlier process left in the middle of.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        make_private(&root)?;
        remove_if_there(&root.join("inputs"))?;
        remove_if_there(&root.join("enclaves"))?;
        for part in ["programs", "inputs", "inputs/none", "enclaves", "results"] {
            fs::create_dir_all(root.join(part))?;
        }
        thin_out(&root.join("programs"), PROGRAMS_LEFT)?;
        // Archives of this process get other names than those of the last one.
        let next = last_number(&root.join("results"))?.map_or(0, |last| last + 1);
        Ok(Self { root, next: AtomicU64::new(next) })
    }

    /// Removes all results but those.
    pub(crate) fn keep_results(&self, kept: &HashSet<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(self.results())? {
            let path = entry?.path();
            if !kept.contains(&path) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Where results are.
    pub(crate) fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// Where programs are.
    pub(crate) fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// A directory that is always empty, for tasks without inputs.
    pub(crate) fn no_inputs(&self) -> PathBuf {
        self.root.join("inputs/none")
    }

    /// A name for a directory that is not there yet.
    pub(crate) fn new_inputs(&self, deal: DealId) -> PathBuf {
        self.root.join(format!("inputs/{deal}-{}", self.number()))
    }

    /// A name for an archive that is not there yet. No two are the same, so a task that is assigned again never meets
    /// the remains of its first life.
    pub(crate) fn new_result(&self, task: TaskId) -> PathBuf {
        self.root.join(format!("results/{task}-{}.zip", self.number()))
    }

    /// A new directory for a confidential run.
    pub(crate) fn scratch(&self, task: TaskId) -> io::Result<Scratch> {
        let dir = self.root.join(format!("enclaves/{task}-{}", self.number()));
        fs::create_dir(&dir)?;
        let scratch = Scratch { dir };
        make_private(&scratch.dir)?;
        fs::create_dir(scratch.inputs())?;
        Ok(scratch)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// A directory for one confidential run: readable by nobody else, and gone with the run.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// What the program sees as `/iexec_in`.
    pub(crate) fn inputs(&self) -> PathBuf {
        self.dir.join("in")
    }

    /// Where a dataset is as it was fetched.
    pub(crate) fn sealed(&self) -> PathBuf {
        self.dir.join("sealed")
    }

    /// Where the result is before it is encrypted.
    pub(crate) fn archive(&self) -> PathBuf {
        self.dir.join("iexec_out.zip")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "a confidential run's directory stays until the next start");
        }
    }
}

/// Removes a file that may be gone already. Failing to is worth a line in the log and nothing more: the next start
/// tidies up.
pub(crate) async fn remove_file(path: &Path) {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a result stays behind");
        }
        _ => {}
    }
}

/// Removes what was fetched half or without a checksum, and all but the newest of the rest.
fn thin_out(programs: &Path, left: usize) -> io::Result<()> {
    let mut known = Vec::new();
    for entry in fs::read_dir(programs)? {
        let path = entry?.path();
        if is_checksum(&path) || is_image(&path) {
            known.push((fs::metadata(&path)?.modified()?, path));
        } else {
            remove(&path)?;
        }
    }
    known.sort();
    let gone = known.len().saturating_sub(left);
    known.iter().take(gone).try_for_each(|(_, path)| remove(path))
}

/// Removes a file or a directory that may be gone already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_checksum(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// An image named by its content.
fn is_image(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let id = name.strip_prefix("image-").unwrap_or_default();
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn last_number(results: &Path) -> io::Result<Option<u64>> {
    let mut last = None;
    for entry in fs::read_dir(results)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.strip_suffix(".zip").and_then(|name| name.rsplit_once('-'));
        last = last.max(number.and_then(|(_, number)| number.parse().ok()));
    }
    Ok(last)
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn opening_again_keeps_whole_programs_and_named_results_only() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::open(dir.path()).unwrap();
        let program = "ab".repeat(32);
        for name in [program.as_str(), "cd.part", "unchecked-0x01"] {
            fs::write(space.programs().join(name), "x").unwrap();
        }
        fs::create_dir(space.new_inputs(DealId::default())).unwrap();
        let (kept, orphan) =
            (space.new_result(TaskId::default()), space.new_result(TaskId::default()));
        fs::write(&kept, "x").unwrap();
        fs::write(&orphan, "x").unwrap();

        let space = Space::open(dir.path()).unwrap();
        space.keep_results(&HashSet::from([kept.clone()])).unwrap();
        assert_eq!(names(&space.programs()), [program]);
        assert_eq!(names(&dir.path().join("inputs")), ["none"]);
        assert!(kept.exists() && !orphan.exists());
        let next = space.new_result(TaskId::default());
        assert!(next != kept && next != orphan);
    }

    #[test]
    fn only_the_newest_programs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..5 {
            let path = dir.path().join(format!("{number:064}"));
            fs::write(&path, "x").unwrap();
            let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number);
            fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        }
        thin_out(dir.path(), 2).unwrap();
        assert_eq!(names(dir.path()), [format!("{:064}", 3), format!("{:064}", 4)]);
    }
}
