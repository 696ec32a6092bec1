//! Layers of images: unpacking one, and laying one over the other.
//!
//! A layer is a stranger's tar. Nothing in it is followed: no link is walked through, no name climbs, no device is made,
//! and no set-user-id survives. What it says without being a file is bounded too: names, headers, and what follows its end. Whoever owns a file in the image, everybody may read it here and nobody but root may
//! write it, since containers run under user ids of their own over a root that is read-only anyway.

use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use alloy_primitives::B256;
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::FailureKind;
use crate::failure::host;

/// Files of one image.
const ENTRIES_MAX: usize = 500_000;
/// A name in a layer, and each part of it, which a file system must take; and how many parts it has, since directories are walked.
const NAME_BYTES_MAX: usize = 2_048;
const PART_BYTES_MAX: usize = 255;
const DEPTH_MAX: usize = 256;
/// Where a link may point to: what a kernel takes.
const TARGET_BYTES_MAX: usize = 4_095;
/// The header of one entry with everything that extends it, which is held in memory; and what may follow the last entry.
pub(super) const HEADER_BYTES_MAX: u64 = 1 << 20;
const TAIL_BYTES_MAX: u64 = 16 << 20;
/// Marks what a layer hides of those below it.
const HIDES: &str = ".wh.";
/// Hides everything that those below it have in the same directory.
const HIDES_ALL: &str = ".wh..wh..opq";
/// What every container finds; made now, since its root is read-only later.
const PLACES: [&str; 7] = ["proc", "dev", "dev/pts", "dev/shm", "tmp", "iexec_in", "iexec_out"];
/// Where programs look for how names are resolved.
pub(super) const RESOLVER: &str = "/etc/resolv.conf";

/// What may still be unpacked.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: u64,
    limit_bytes: u64,
    entries: usize,
}

impl Budget {
    pub(super) fn of(bytes: u64) -> Self {
        Self { bytes, limit_bytes: bytes, entries: ENTRIES_MAX }
    }

    fn take(&mut self, bytes: u64) -> Result<(), FailureKind> {
        let Some(entries) = self.entries.checked_sub(1) else {
            return Err(bad(format!("it has more than {ENTRIES_MAX} files")));
        };
        let Some(left) = self.bytes.checked_sub(bytes) else {
            return Err(bad(format!("it unpacks to more than {} bytes", self.limit_bytes)));
        };
        (self.entries, self.bytes) = (entries, left);
        Ok(())
    }
}

fn bad(detail: impl Into<String>) -> FailureKind {
    FailureKind::BadImage { detail: detail.into() }
}

/// Unpacks a layer into an empty directory and gives back the SHA-256 of its tar.
pub(super) fn unpack(
    from: impl Read,
    into: &Path,
    budget: &mut Budget,
) -> Result<B256, FailureKind> {
    let left = Left::of(HEADER_BYTES_MAX);
    let mut hashing = Hashing { from, hash: Sha256::new(), left: left.clone() };
    let mut tar = tar::Archive::new(&mut hashing);
    let unreadable = |error: io::Error| bad(format!("a layer cannot be read: {error}"));
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let Some(path) = plain(&path).filter(|path| can_be_kept(path)) else {
            return Err(bad(format!("a layer has the name '{}'", shown(&path))));
        };
        budget.take(entry.size())?;
        // Its content, and the header of the next.
        left.set(entry.size().saturating_add(HEADER_BYTES_MAX));
        if path.as_os_str().is_empty() {
            continue;
        }
        put(&mut entry, into, &path)?;
    }
    // What follows the last entry is hashed too.
    left.set(TAIL_BYTES_MAX);
    io::copy(&mut hashing, &mut io::sink()).map_err(unreadable)?;
    Ok(B256::from_slice(&hashing.hash.finalize()))
}

fn put(entry: &mut tar::Entry<'_, impl Read>, root: &Path, path: &Path) -> Result<(), FailureKind> {
    let disk = host("unpacking an image");
    make_parents(root, path)?;
    let at = root.join(path);
    let mode = entry.header().mode().unwrap_or(0o755);
    let kind = entry.header().entry_type();
    match kind {
        EntryType::Directory => {
            if !is_dir(&at) {
                clear(&at).map_err(&disk)?;
                fs::create_dir(&at).map_err(&disk)?;
            }
            fs::set_permissions(&at, Permissions::from_mode(0o755)).map_err(&disk)
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            clear(&at).map_err(&disk)?;
            let mut file = File::options().write(true).create_new(true).open(&at).map_err(&disk)?;
            io::copy(entry, &mut file).map_err(&disk)?;
            fs::set_permissions(&at, Permissions::from_mode(for_all(mode))).map_err(&disk)
        }
        EntryType::Symlink => {
            let target = entry.link_name().ok().flatten();
            let target = target.filter(|target| can_be_pointed_to(target));
            let target = target.ok_or_else(|| bad("a layer has a link to nowhere"))?;
            clear(&at).map_err(&disk)?;
            symlink(&target, &at).map_err(&disk)
        }
        EntryType::Link => {
            let target = entry.link_name().ok().flatten().and_then(|target| plain(&target));
            let target = target.filter(|target| is_file_below(root, target));
            let target = target.ok_or_else(|| {
                bad(format!("'{}' is a link to what is not in its layer", shown(path)))
            })?;
            if target == path {
                return Ok(());
            }
            clear(&at).map_err(&disk)?;
            fs::hard_link(root.join(target), &at).map_err(&disk)
        }
        // Devices, pipes, and what only tar itself knows.
        _ => Ok(()),
    }
}

/// Lays the layers over each other, lowest first, and makes what every container finds. Gives back how many bytes it has.
pub(super) fn compose(layers: &[PathBuf], root: &Path, max_bytes: u64) -> Result<u64, FailureKind> {
    let disk = host("laying out an image");
    let mut budget = Budget::of(max_bytes);
    fs::create_dir(root).map_err(&disk)?;
    fs::set_permissions(root, Permissions::from_mode(0o755)).map_err(&disk)?;
    for layer in layers {
        lay(layer, root, &mut budget)?;
    }
    for place in PLACES {
        let at = root.join(place);
        if !is_dir(&at) {
            clear(&at).map_err(&disk)?;
            fs::create_dir(&at).map_err(&disk)?;
            fs::set_permissions(&at, Permissions::from_mode(0o755)).map_err(&disk)?;
        }
    }
    make_resolver(root).map_err(&disk)?;
    // What is mounted there may take over the rights of what it covers.
    let open = Permissions::from_mode(0o1777);
    fs::set_permissions(root.join("tmp"), open).map_err(&disk)?;
    Ok(max_bytes - budget.bytes)
}

/// Makes an empty file for how names are resolved, unless the image has something of its own in that place.
fn make_resolver(root: &Path) -> io::Result<()> {
    let dir = root.join("etc");
    if fs::symlink_metadata(&dir).is_err() {
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
    }
    let file = dir.join("resolv.conf");
    if is_dir(&dir) && fs::symlink_metadata(&file).is_err() {
        File::create(&file)?;
        fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Lays one directory of a layer over the same of the image. Never through a link: at every step the image has a real
/// directory, made in place of whatever else was there.
fn lay(from: &Path, to: &Path, budget: &mut Budget) -> Result<(), FailureKind> {
    let disk = host("laying out an image");
    let mut entries = fs::read_dir(from)
        .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
        .map_err(&disk)?;
    if entries.iter().any(|entry| entry.file_name() == HIDES_ALL) {
        for below in fs::read_dir(to).map_err(&disk)? {
            clear(&below.map_err(&disk)?.path()).map_err(&disk)?;
        }
    }
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in &entries {
        let name = entry.file_name();
        let hidden = name.to_str().and_then(|name| name.strip_prefix(HIDES));
        let hidden = hidden.filter(|hidden| !hidden.starts_with(HIDES));
        if let Some(hidden) = hidden.filter(|hidden| !matches!(*hidden, "" | "." | "..")) {
            clear(&to.join(hidden)).map_err(&disk)?;
        }
    }
    for entry in entries {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(HIDES)) {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        let meta = entry.metadata().map_err(&disk)?;
        if meta.is_dir() {
            budget.take(0)?;
            if !is_dir(&to) {
                clear(&to).map_err(&disk)?;
                fs::create_dir(&to).map_err(&disk)?;
                fs::set_permissions(&to, Permissions::from_mode(0o755)).map_err(&disk)?;
            }
            lay(&from, &to, budget)?;
        } else {
            budget.take(meta.size())?;
            clear(&to).map_err(&disk)?;
            if meta.is_symlink() {
                fs::read_link(&from).and_then(|target| symlink(target, &to)).map_err(&disk)?;
            } else if fs::hard_link(&from, &to).is_err() {
                // A file has only so many names.
                fs::copy(&from, &to).map_err(&disk)?;
            }
        }
    }
    Ok(())
}

/// The path with plain names only; nothing if it climbs.
pub(super) fn plain(path: &Path) -> Option<PathBuf> {
    let mut below = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => below.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(below)
}

/// Whether every file system takes that name, and nobody who walks there gets lost.
fn can_be_kept(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let fits = |part: Component<'_>| part.as_os_str().len() <= PART_BYTES_MAX;
    bytes.len() <= NAME_BYTES_MAX
        && !bytes.contains(&0)
        && path.components().count() <= DEPTH_MAX
        && path.components().all(fits)
}

fn can_be_pointed_to(target: &Path) -> bool {
    let bytes = target.as_os_str().as_bytes();
    (1..=TARGET_BYTES_MAX).contains(&bytes.len()) && !bytes.contains(&0)
}

fn make_parents(root: &Path, path: &Path) -> Result<(), FailureKind> {
    let disk = host("unpacking an image");
    let mut at = root.to_owned();
    for part in path.parent().into_iter().flat_map(Path::components) {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                return Err(bad(format!("'{}' lies below what is no directory", shown(path))));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&at).map_err(&disk)?;
                fs::set_permissions(&at, Permissions::from_mode(0o755)).map_err(&disk)?;
            }
            Err(error) => return Err(disk(error)),
        }
    }
    Ok(())
}

/// A real file, not behind any link.
pub(super) fn is_file_below(root: &Path, path: &Path) -> bool {
    let mut at = root.to_owned();
    let parents = path.parent().into_iter().flat_map(Path::components);
    let reached = parents.into_iter().all(|part| {
        at.push(part);
        is_dir(&at)
    });
    reached && fs::symlink_metadata(root.join(path)).is_ok_and(|meta| meta.is_file())
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Removes whatever is there, and no more than that.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the owner may do, all may, except writing.
fn for_all(mode: u32) -> u32 {
    let owner = mode >> 6 & 0o7 | 0o4;
    let others = owner & 0o5;
    owner << 6 | others << 3 | others
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().take(100).collect()
}

/// How much may be read before somebody allows more.
#[derive(Clone)]
pub(super) struct Left(Rc<Cell<u64>>);

impl Left {
    pub(super) fn of(bytes: u64) -> Self {
        Self(Rc::new(Cell::new(bytes)))
    }

    pub(super) fn set(&self, bytes: u64) {
        self.0.set(bytes);
    }

    /// Reads what fits, and counts it.
    pub(super) fn read(&self, from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        let fits = usize::try_from(self.0.get()).unwrap_or(usize::MAX).min(buffer.len());
        if fits == 0 && !buffer.is_empty() {
            return Err(io::Error::other("there is too much around its files"));
        }
        let n = from.read(&mut buffer[..fits])?;
        self.0.set(self.0.get().saturating_sub(n as u64));
        Ok(n)
    }
}

struct Hashing<R> {
    from: R,
    hash: Sha256,
    left: Left,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.left.read(&mut self.from, buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// An entry of a layer: its name and what it is.
    enum Is<'a> {
        File(&'a str),
        Dir,
        Link(&'a str),
        Hard(&'a str),
    }

    fn layer(entries: &[(&str, Is<'_>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, is) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o4600);
            // As it stands: the builder would refuse what a stranger would not.
            let named = name.as_bytes();
            header.as_old_mut().name[..named.len()].copy_from_slice(named);
            let (kind, content, link) = match is {
                Is::File(content) => (EntryType::Regular, *content, ""),
                Is::Dir => (EntryType::Directory, "", ""),
                Is::Link(target) => (EntryType::Symlink, "", *target),
                Is::Hard(target) => (EntryType::Link, "", *target),
            };
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// Unpacks the layers, lays them over each other, and shows every file.
    fn check(layers: &[&[(&str, Is<'_>)]], want: &Expect) {
        let dir = tempfile::tempdir().unwrap();
        let mut dirs = Vec::new();
        for (number, entries) in layers.iter().enumerate() {
            let into = dir.path().join(number.to_string());
            fs::create_dir(&into).unwrap();
            let tar = layer(entries);
            match unpack(&*tar, &into, &mut Budget::of(1_000)) {
                Ok(digest) => assert_eq!(digest.0, *Sha256::digest(&tar)),
                Err(failure) => return want.assert_eq(&failure.to_string()),
            }
            dirs.push(into);
        }
        let root = dir.path().join("root");
        compose(&dirs, &root, 1_000).unwrap();
        let mut shown = Vec::new();
        show(&root, "", &mut shown);
        let made = |line: &String| PLACES.iter().any(|place| line.starts_with(place));
        shown.retain(|line| !made(line) && !matches!(&**line, "etc/" | "etc/resolv.conf 644 "));
        want.assert_eq(&shown.join("\n"));
    }

    fn show(dir: &Path, prefix: &str, into: &mut Vec<String>) {
        let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let meta = entry.metadata().unwrap();
            let mode = meta.mode() & 0o7777;
            if meta.is_dir() {
                into.push(format!("{name}/"));
                show(&entry.path(), &format!("{name}/"), into);
            } else if meta.is_symlink() {
                into.push(format!("{name} -> {}", fs::read_link(entry.path()).unwrap().display()));
            } else {
                let content = fs::read_to_string(entry.path()).unwrap();
                into.push(format!("{name} {mode:o} {content}"));
            }
        }
    }

    #[test]
    fn layers_cover_and_hide_each_other() {
        check(
            &[
                &[
                    ("a/", Is::Dir),
                    ("a/x", Is::File("1")),
                    ("a/y", Is::File("1")),
                    ("b", Is::File("1")),
                ],
                &[("a/x", Is::File("2")), (".wh.b", Is::File("")), ("c", Is::Link("/etc/passwd"))],
                &[("a/.wh.y", Is::File("")), ("a/z", Is::Hard("d/e")), ("d/e", Is::File("3"))][..0],
                &[("d/e", Is::File("3")), ("a/z", Is::Hard("d/e"))],
            ],
            &expect![[r"
                a/
                a/x 644 2
                a/y 644 1
                a/z 644 3
                c -> /etc/passwd
                d/
                d/e 644 3"]],
        );
        check(
            &[
                &[("a/x", Is::File("1")), ("a/b/y", Is::File("1"))],
                &[("a/.wh..wh..opq", Is::File("")), ("a/z", Is::File("2"))],
            ],
            &expect![[r"
                a/
                a/z 644 2"]],
        );
    }

    #[test]
    fn a_link_in_one_layer_is_not_a_way_out_for_the_next() {
        check(
            &[
                &[("a", Is::Link("/tmp")), ("b", Is::Link("../../.."))],
                &[("a/x", Is::File("2")), ("b/", Is::Dir)],
            ],
            &expect![[r"
                a/
                a/x 644 2
                b/"]],
        );
    }

    #[test]
    fn what_hides_hides_nothing_behind_a_link() {
        check(
            &[
                &[("a", Is::Link("/")), ("b/", Is::Dir), ("b/x", Is::File("1"))],
                &[("a/.wh.etc", Is::File("")), ("b/.wh...", Is::File("")), (".wh.", Is::File(""))],
                &[("b/.wh..", Is::File("")), ("b/.wh.x", Is::File(""))],
            ],
            &expect![[r"
                a/
                b/"]],
        );
    }

    #[test]
    fn devices_are_not_made_and_no_right_of_a_file_survives_but_reading_and_starting() {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, mode) in [
            ("null", EntryType::Char, 0o666),
            ("disk", EntryType::Block, 0o666),
            ("pipe", EntryType::Fifo, 0o666),
            ("su", EntryType::Regular, 0o6777),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(0);
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
            tar.append_data(&mut header, name, &[][..]).unwrap();
        }
        let into = tempfile::tempdir().unwrap();
        unpack(&*tar.into_inner().unwrap(), into.path(), &mut Budget::of(1_000)).unwrap();
        let mut shown = Vec::new();
        show(into.path(), "", &mut shown);
        assert_eq!(shown, ["su 755 "]);
    }

    /// What is said of a layer that is this and then zeros without end.
    fn check_endless(begun: &[u8], expected: &str) {
        let into = tempfile::tempdir().unwrap();
        let endless = begun.chain(io::repeat(0));
        let refused = unpack(endless, into.path(), &mut Budget::of(1_000)).unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
    }

    #[test]
    fn what_is_around_files_has_an_end_too() {
        // Behind the last file, as a few kilobytes of gzip unpack to.
        check_endless(&[0; 1_024], "too much around its files");
        // A name that would be read into memory.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        check_endless(header.as_bytes(), "too much around its files");
        // A file that is all holes counts as what it says it is.
        let mut header = tar::Header::new_gnu();
        header.set_path("sparse").unwrap();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_size(0);
        let sparse = header.as_gnu_mut().unwrap();
        sparse.realsize.copy_from_slice(b"77777777777\0");
        sparse.sparse[0].offset.copy_from_slice(b"77777777777\0");
        sparse.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
        header.set_cksum();
        check_endless(header.as_bytes(), "unpacks to more than 1000 bytes");
    }

    #[test]
    fn names_that_no_disk_keeps_are_refused() {
        let deep = "d/".repeat(300);
        let long = "x".repeat(256);
        let very_long = format!("{}/", "x".repeat(200)).repeat(11);
        for name in [&deep, &long, &very_long] {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            tar.append_data(&mut header, name, &[][..]).unwrap();
            let into = tempfile::tempdir().unwrap();
            let refused = unpack(&*tar.into_inner().unwrap(), into.path(), &mut Budget::of(1_000));
            assert!(matches!(refused, Err(FailureKind::BadImage { .. })), "{refused:?}");
        }
        check(
            &[&[("a", Is::Link(""))]],
            &expect!["the image cannot be used: a layer has a link to nowhere"],
        );
    }

    #[test]
    fn what_climbs_or_is_too_much_is_refused() {
        check(
            &[&[("../x", Is::File("1"))]],
            &expect!["the image cannot be used: a layer has the name '../x'"],
        );
        check(
            &[&[("a", Is::Link("/tmp")), ("a/x", Is::File("1"))]],
            &expect!["the image cannot be used: 'a/x' lies below what is no directory"],
        );
        check(
            &[&[("a", Is::Hard("../../etc/passwd"))]],
            &expect!["the image cannot be used: 'a' is a link to what is not in its layer"],
        );
        check(
            &[&[("b", Is::Link("/etc")), ("a", Is::Hard("b/passwd"))]],
            &expect!["the image cannot be used: 'a' is a link to what is not in its layer"],
        );
        check(
            &[&[("a", Is::File(&"x".repeat(1_001)))]],
            &expect!["the image cannot be used: it unpacks to more than 1000 bytes"],
        );
    }
}
