//! Whom an image's program is to run as: its `USER`, by number or by the names in its own `/etc/passwd` and `/etc/group`.
//!
//! These files are a stranger's, and so is what leads to them: they are opened as a program inside would, where no link leads
//! out of the image, and read up to a bound.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use crate::FailureKind;

/// What is read of each of the two files.
const BYTES_MAX: u64 = 1 << 20;
/// Groups beyond the first.
const GROUPS_MAX: usize = 64;
/// The last id that a container has.
const ID_MAX: u32 = 65_535;

/// Ids as the program sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Further groups, if the image names none.
    pub(super) groups: Vec<u32>,
}

impl User {
    /// `user`, `user:group`, each by number or by name; nothing is root. The group of a user is what `/etc/passwd` says, else
    /// root's.
    pub(super) fn of(root: &Path, text: &str) -> Result<Self, FailureKind> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if user.is_empty() && group.is_none() {
            return Ok(Self::default());
        }
        let known = account(root, user);
        let uid = match (&known, user.parse().ok()) {
            (Some(account), _) => account.uid,
            (None, Some(uid)) => uid,
            (None, None) => return Err(unknown(user, "/etc/passwd")),
        };
        let (gid, groups) = match (group, known) {
            (Some(group), _) => (group_id(root, group)?, vec![]),
            (None, Some(account)) => (account.gid, groups_of(root, &account.name)),
            (None, None) => (0, vec![]),
        };
        let all = [uid, gid].into_iter().chain(groups.iter().copied());
        match all.max() {
            Some(id) if id > ID_MAX => {
                Err(bad(format!("its USER '{}' has id {id}; the last is {ID_MAX}", shown(text))))
            }
            _ => Ok(Self { uid, gid, groups }),
        }
    }
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

/// The first line of `/etc/passwd` with that name or number.
fn account(root: &Path, user: &str) -> Option<Account> {
    let number: Option<u32> = user.parse().ok();
    let text = read(root, "/etc/passwd");
    let mut lines = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Account { name: name.to_owned(), uid, gid })
    });
    lines.find(|account| account.name == user || Some(account.uid) == number)
}

/// Lines of `/etc/group`: name, number, members.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn group_id(root: &Path, group: &str) -> Result<u32, FailureKind> {
    let text = read(root, "/etc/group");
    let named = groups(&text).find(|(name, ..)| *name == group).map(|(_, gid, _)| gid);
    named.or_else(|| group.parse().ok()).ok_or_else(|| unknown(group, "/etc/group"))
}

fn groups_of(root: &Path, user: &str) -> Vec<u32> {
    let text = read(root, "/etc/group");
    let member = |members: &str| members.split(',').any(|member| member == user);
    let of = groups(&text).filter(|(.., members)| member(members)).map(|(_, gid, _)| gid);
    of.take(GROUPS_MAX).collect()
}

/// A file of the image as text; empty if there is none, and no more of it than a bound.
fn read(root: &Path, path: &str) -> String {
    let mut bytes = Vec::new();
    if let Some(file) = open_below(root, path)
        && file.metadata().is_ok_and(|meta| meta.is_file())
        && let Err(error) = file.take(BYTES_MAX).read_to_end(&mut bytes)
    {
        tracing::warn!(path, %error, "a file of an image cannot be read");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is there as a program inside would find it, whatever links lead there.
pub(super) fn open_below(root: &Path, path: &str) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let root =
        open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let below = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(&root, path, flags, Mode::empty(), below).ok().map(File::from)
}

fn unknown(name: &str, file: &str) -> FailureKind {
    bad(format!("its USER '{}' is not in its {file}", shown(name)))
}

fn bad(detail: String) -> FailureKind {
    FailureKind::BadImage { detail }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:5:5::/:\nnode:x:1000:1001::/home/node:/bin/sh\n\
        big:x:70000:0::/:\n4000:x:12:13::/:\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:node,other\nvideo:x:44:other,node\nnode:x:1001:\n";

    fn image() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), PASSWD).unwrap();
        fs::write(root.path().join("etc/group"), GROUP).unwrap();
        root
    }

    fn check(text: &str, expected: Result<(u32, u32, &[u32]), &str>) {
        let root = image();
        let found = User::of(root.path(), text);
        let expected =
            expected.map(|(uid, gid, groups)| User { uid, gid, groups: groups.to_vec() });
        let told = |kind: FailureKind| kind.to_string();
        assert_eq!(
            found.map_err(told),
            expected.map_err(|it| format!("the image cannot be used: {it}")),
            "{text}"
        );
    }

    #[test]
    fn a_user_is_a_number_or_a_name_of_the_images_own() {
        check("", Ok((0, 0, &[])));
        check("root", Ok((0, 0, &[])));
        check("node", Ok((1000, 1001, &[50, 44])));
        check("1000", Ok((1000, 1001, &[50, 44])));
        check("node:staff", Ok((1000, 50, &[])));
        check("1000:7", Ok((1000, 7, &[])));
        check("2000", Ok((2000, 0, &[])));
        check(":staff", Err("its USER '' is not in its /etc/passwd"));
        // A name of digits is a name first.
        check("4000", Ok((12, 13, &[])));
        check("nobody", Err("its USER 'nobody' is not in its /etc/passwd"));
        check("node:none", Err("its USER 'none' is not in its /etc/group"));
        check("-1", Err("its USER '-1' is not in its /etc/passwd"));
        check("65536", Err("its USER '65536' has id 65536; the last is 65535"));
        check("big", Err("its USER 'big' has id 70000; the last is 65535"));
        check("1:4294967296", Err("its USER '4294967296' is not in its /etc/group"));
    }

    #[test]
    fn names_are_never_read_from_outside_of_the_image() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("passwd");
        fs::write(&secret, "me:x:77:77::/:\n").unwrap();
        let up = Path::new("../../../../../../../..").join(secret.strip_prefix("/").unwrap());
        for target in [secret, up] {
            let root = image();
            fs::remove_file(root.path().join("etc/passwd")).unwrap();
            symlink(&target, root.path().join("etc/passwd")).unwrap();
            assert!(User::of(root.path(), "me").is_err(), "{}", target.display());
        }
        // But through links within it, as a program would.
        let root = image();
        fs::rename(root.path().join("etc"), root.path().join("conf")).unwrap();
        symlink("/conf", root.path().join("etc")).unwrap();
        assert_eq!(User::of(root.path(), "node").unwrap().uid, 1000);
    }

    #[test]
    fn what_is_no_file_or_too_long_is_as_good_as_nothing() {
        let root = image();
        let passwd = root.path().join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        fs::create_dir(&passwd).unwrap();
        assert!(User::of(root.path(), "node").is_err());
        fs::remove_dir(&passwd).unwrap();
        // All holes, and the name behind them.
        let file = File::create(&passwd).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(User::of(root.path(), "node").is_err());
    }
}
