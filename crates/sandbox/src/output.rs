//! What a program leaves in its output directory: how much it is, what of it is a result, and how it goes away again. It is
//! a stranger's: nothing in it is followed, and nothing that it is called or how deep it goes keeps it from being counted
//! or removed.

use std::fs;
use std::io;
use std::path::Path;

use crate::archive::{self, Content, Entry};
use crate::failure::host;
use crate::{FailureKind, Limits};

/// With less room than that, it is the machine that made a program fail.
#[cfg(target_os = "linux")]
const DISK_BYTES_MIN: u64 = 4 << 20;
/// A path in `/iexec_out`; with what is before it, a kernel must take it.
const NAME_BYTES_MAX: usize = 2_048;
/// How directories begin that are being removed.
pub(crate) const GONE: &str = ".gone-";
/// Directories in directories that are removed where they are.
const SHALLOW_LEVELS_MAX: usize = 8;
/// Of a name that is not kept.
const SHOWN_CHARS_MAX: usize = 100;
/// Whether there is more output than may be, or it is where it cannot be seen. Asked while the program goes on: what is
/// gone again, what is no file and what has an odd name counts, but is judged at the end.
pub(crate) fn overflow(output: &Path, limits: &Limits) -> Option<FailureKind> {
    let (mut entries, mut bytes) = (0_usize, 0_u64);
    let mut open = vec![output.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(listed) = fs::read_dir(&dir) else {
            // Gone, or the program let nobody in: that is seen once it is over.
            continue;
        };
        for found in listed.flatten() {
            entries += 1;
            if entries > limits.output_entries {
                return Some(FailureKind::TooManyFiles { limit: limits.output_entries });
            }
            let Ok(meta) = found.metadata() else { continue };
            bytes = bytes.saturating_add(if meta.is_file() { meta.len() } else { 0 });
            if bytes > limits.output_bytes {
                let (what, limit) = ("/iexec_out", limits.output_bytes);
                return Some(FailureKind::OutputTooLarge { what, limit });
            }
            if meta.is_dir() {
                let path = found.path();
                if path.as_os_str().len() > output.as_os_str().len() + NAME_BYTES_MAX {
                    return Some(too_long(&found.file_name()));
                }
                open.push(path);
            }
        }
    }
    is_disk_full(output).then(disk_full)
}

fn too_long(name: &std::ffi::OsStr) -> FailureKind {
    let name: String = name.to_string_lossy().chars().take(SHOWN_CHARS_MAX).collect();
    FailureKind::BadFileName { path: format!("…/{name}") }
}

#[cfg(target_os = "linux")]
pub(crate) fn is_disk_full(place: &Path) -> bool {
    let disk = rustix::fs::statvfs(place);
    disk.is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < DISK_BYTES_MIN)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_disk_full(_: &Path) -> bool {
    false
}

pub(crate) fn disk_full() -> FailureKind {
    let detail = "its disk is full".to_owned();
    FailureKind::Host { doing: "keeping the program's output", detail }
}

/// Everything in the directory in the order of names, refusing what is neither file nor directory. Stops at the limits. Only
/// once nobody writes there any more: it makes readable what is not.
pub(crate) fn list(
    root: &Path,
    max_entries: usize,
    max_bytes: u64,
) -> Result<Vec<Entry>, FailureKind> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0_u64;
    let mut open = vec![(String::new(), root.to_owned())];
    while let Some((prefix, dir)) = open.pop() {
        open_up(&dir).map_err(host("listing the output"))?;
        for found in fs::read_dir(&dir).map_err(host("listing the output"))? {
            let found = found.map_err(host("listing the output"))?;
            let Ok(name) = found.file_name().into_string() else {
                return Err(FailureKind::BadFileName {
                    path: found.file_name().to_string_lossy().into_owned(),
                });
            };
            let name = format!("{prefix}{name}");
            if name.len() > NAME_BYTES_MAX {
                return Err(too_long(&found.file_name()));
            }
            if !archive::is_plain(&name) {
                return Err(FailureKind::BadFileName { path: name });
            }
            // Of the entry itself: a link is not followed.
            let meta = found.metadata().map_err(host("listing the output"))?;
            if !meta.is_dir() && !meta.is_file() {
                return Err(FailureKind::SpecialFile { path: name });
            }
            if entries.len() == max_entries {
                return Err(FailureKind::TooManyFiles { limit: max_entries });
            }
            open_up(&found.path()).map_err(host("listing the output"))?;
            let size = if meta.is_file() { meta.len() } else { 0 };
            bytes = bytes.saturating_add(size);
            if bytes > max_bytes {
                return Err(FailureKind::OutputTooLarge { what: "/iexec_out", limit: max_bytes });
            }
            let content = if meta.is_dir() {
                open.push((format!("{name}/"), found.path()));
                Content::Directory
            } else {
                Content::File(found.path())
            };
            entries.push(Entry { name, content, bytes: size });
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Removes a directory that a program wrote in, however deep it went. Nobody writes there any more.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<()> {
    // Most are shallow, and moving things costs more than removing them.
    if matches!(remove_shallow(dir, SHALLOW_LEVELS_MAX), Ok(true)) {
        return Ok(());
    }
    remove_deep(dir)
}

/// Removes a directory in place; false if there are more levels, and then something of it is left.
fn remove_shallow(dir: &Path, levels: usize) -> io::Result<bool> {
    open_up(dir)?;
    for child in fs::read_dir(dir)? {
        let child = child?;
        if !child.file_type()?.is_dir() {
            fs::remove_file(child.path())?;
        } else if levels == 0 || !remove_shallow(&child.path(), levels - 1)? {
            return Ok(false);
        }
    }
    fs::remove_dir(dir).map(|()| true)
}

/// Removes a directory that is deeper than there are open files for all levels at once, or than a path can name: each
/// directory in it is moved next to the first and emptied there.
fn remove_deep(dir: &Path) -> io::Result<()> {
    let beside = dir.parent().unwrap_or(dir);
    let flat = tempfile::Builder::new().prefix(GONE).tempdir_in(beside)?.keep();
    let place = |number: u64| flat.join(number.to_string());
    fs::rename(dir, place(0))?;
    let (mut gone, mut known) = (0, 1);
    while gone < known {
        let at = place(gone);
        open_up(&at)?;
        for child in fs::read_dir(&at)? {
            let child = child?;
            if child.file_type()?.is_dir() {
                open_up(&child.path())?;
                fs::rename(child.path(), place(known))?;
                known += 1;
            } else {
                fs::remove_file(child.path())?;
            }
        }
        fs::remove_dir(&at)?;
        gone += 1;
    }
    fs::remove_dir(&flat)
}

/// Lets the owner in, whatever a program that ran as the owner said.
fn open_up(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let meta = fs::symlink_metadata(path)?;
        let needed = if meta.is_dir() { 0o700 } else { 0o400 };
        if meta.mode() & needed != needed && (meta.is_dir() || meta.is_file()) {
            let mode = meta.mode() & 0o777 | needed;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fresh_private_dir;

    /// Directories in directories, deeper than a path can say.
    fn dig(dir: &Path, levels: usize) {
        let mut below = dir.join("bottom");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), "at the very bottom").unwrap();
        for _ in 0..levels {
            let above = dir.join("above");
            fs::create_dir(&above).unwrap();
            fs::rename(&below, above.join("down")).unwrap();
            fs::rename(&above, dir.join("bottom")).unwrap();
            below = dir.join("bottom");
        }
    }

    #[test]
    fn what_is_too_deep_to_be_named_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        dig(&runs, 5_000);
        // As a process leaves it that was killed while it removed another.
        let half = dir.path().join(".gone-half");
        dig(&half, 10);
        fresh_private_dir(&runs).unwrap();
        assert_eq!(fs::read_dir(&runs).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// What is said of a directory while something writes there, by these limits.
    fn check_overflow(dir: &Path, entries: usize, bytes: u64, expected: Option<&str>) {
        let limits =
            Limits { output_entries: entries, output_bytes: bytes, ..Limits::for_timeref(60) };
        let found = overflow(dir, &limits).map(|kind| kind.code());
        assert_eq!(found, expected, "{entries} {bytes}");
    }

    #[test]
    fn nothing_that_is_written_hides_behind_what_is_no_result() {
        let dir = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("/", dir.path().join("a")).unwrap();
        fs::write(dir.path().join("b:\\"), "odd").unwrap();
        fs::create_dir(dir.path().join("c")).unwrap();
        fs::write(dir.path().join("c/large"), vec![0; 1_000]).unwrap();
        check_overflow(dir.path(), 4, 1_003, None);
        check_overflow(dir.path(), 4, 1_002, Some("GM-4114"));
        check_overflow(dir.path(), 3, 1_003, Some("GM-4115"));
        dig(&dir.path().join("c"), 1_000);
        check_overflow(dir.path(), 10_000, 10_000, Some("GM-4125"));
    }
}
