//! Whom containers run as: each under a range of ids that nobody else on the machine has, in a user namespace of its own.
//!
//! ```text
//!   inside:    0 (root) …          65535
//!   outside:   first   … first + 65535       no account, no file, no right
//! ```
//!
//! The root of such a namespace is nobody outside, so it may pass only where everybody may: not through a worker's private
//! directory, where images are. What it is to see as its root is therefore shown, for as long as it runs, at a place that
//! all may pass through: a bind mount, which costs nothing and is undone by the next start if this process is killed.
//!
//! Where a kernel, or who started this process, refuses all that, containers run under the first id of their range, without
//! a namespace. That id has no more rights outside than the namespace's root has.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use serde_json::{Value, json};

/// The first of all ids that containers have; far from any that a system gives to people, services or its own containers.
const FIRST: u32 = 0x7000_0000;
/// Ids of one container: what images expect to exist.
const RANGE: u32 = 1 << 16;
/// How many ranges there are. More containers than that do not run at once.
pub(super) const RANGES: u32 = 4_000;
/// Mounts over each other that a place is cleared of.
const STACKED_MAX: usize = 16;

/// The ids of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    /// What its root is outside.
    pub(super) first: u32,
}

impl Ids {
    /// Of the container of that number; numbers beyond [`RANGES`] begin again.
    pub(super) fn of(number: u32) -> Self {
        Self { first: FIRST + number % RANGES * RANGE }
    }

    /// As OCI runtimes take it, for users and for groups.
    pub(super) fn mapping(self) -> Value {
        json!([{ "containerID": 0, "hostID": self.first, "size": RANGE }])
    }
}

/// The place where roots are shown.
#[derive(Debug)]
pub(super) struct Stage {
    dir: PathBuf,
}

impl Stage {
    /// That directory, made if it is not there, and cleared of what an earlier process showed under names that begin so.
    pub(super) fn open(dir: &Path, prefix: &str) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o711))?;
        for there in fs::read_dir(dir)? {
            let there = there?;
            if there.file_name().to_string_lossy().starts_with(prefix) {
                clear(&there.path())?;
            }
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Shows a directory under that name until what is given back goes.
    pub(super) fn show(&self, root: &Path, name: &str) -> io::Result<Shown> {
        let shown = Shown { at: self.dir.join(name) };
        fs::create_dir(&shown.at)?;
        mount_bind(root, &shown.at)?;
        Ok(shown)
    }
}

/// A directory that is shown.
#[derive(Debug)]
pub(super) struct Shown {
    at: PathBuf,
}

impl Shown {
    pub(super) fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.at) {
            tracing::warn!(at = %self.at.display(), %error, "an image's root stays shown");
        }
    }
}

/// Undoes what is mounted there and removes the empty place. Never what is in it: that is an image's.
fn clear(at: &Path) -> io::Result<()> {
    for _ in 0..STACKED_MAX {
        if unmount(at, UnmountFlags::DETACH).is_err() {
            break;
        }
    }
    match fs::remove_dir(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_containers_that_run_at_once_share_an_id() {
        let all: Vec<u32> = (0..RANGES).map(|number| Ids::of(number).first).collect();
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] == RANGE));
        assert_eq!(Ids::of(RANGES), Ids::of(0));
        // Larger ones are taken for negative by some programs.
        assert!(all.last().unwrap() + RANGE <= 1 << 31);
    }

    #[test]
    fn what_a_killed_process_showed_is_cleared_and_the_image_stays() {
        let dir = tempfile::tempdir().unwrap();
        let [image, stage] = ["image", "stage"].map(|name| dir.path().join(name));
        fs::create_dir(&image).unwrap();
        fs::write(image.join("program"), "").unwrap();
        let open = || Stage::open(&stage, "mine-").unwrap();
        match open().show(&image, "mine-1") {
            Ok(shown) => {
                assert!(shown.at().join("program").exists());
                // As nothing is dropped when somebody is killed.
                std::mem::forget(shown);
            }
            Err(error) => {
                let required = std::env::var_os("GRISTMILL_REQUIRE_RUNC").is_some();
                assert!(!required, "GRISTMILL_REQUIRE_RUNC is set, and {error}");
                eprintln!("NOT TESTED: showing images, since {error}");
                return;
            }
        }
        Stage::open(&stage, "others-").unwrap();
        assert!(stage.join("mine-1/program").exists(), "it is another sandbox's");
        open();
        assert!(!stage.join("mine-1").exists());
        assert!(image.join("program").exists());
    }
}
