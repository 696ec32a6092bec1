//! Where the storage key comes from.

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use rand::RngCore;
use seal::Secret;
use seal::rest::{Keyring, StorageKey};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::Error;

/// How long a command may take to print the key: a person may have to touch a token.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read of a key file or of a command's output; a key is much shorter.
const TEXT_LEN_MAX: u64 = 4096;

/// Where a storage key is: 32 bytes, in base64 or in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a file that nobody else may read. If there is none, it is made with a new key.
    File(PathBuf),
    /// In a variable of the environment.
    Env(String),
    /// What a program prints, such as one that asks a key management service: the program and its arguments.
    Command(Vec<String>),
}

/// The text names no place of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is at file:<path>, env:<variable> or command:<program and arguments>")]
pub struct ParseKeySourceError;

/// `file:<path>`, `env:<variable>`, `command:<program and arguments, separated by spaces>`; a bare text is a path.
impl FromStr for KeySource {
    type Err = ParseKeySourceError;

    fn from_str(text: &str) -> Result<Self, ParseKeySourceError> {
        let source = if let Some(name) = text.strip_prefix("env:") {
            Self::Env(name.to_owned())
        } else if let Some(line) = text.strip_prefix("command:") {
            Self::Command(line.split_whitespace().map(str::to_owned).collect())
        } else {
            Self::File(text.strip_prefix("file:").unwrap_or(text).into())
        };
        let empty = match &source {
            Self::File(path) => path.as_os_str().is_empty(),
            Self::Env(name) => name.is_empty(),
            Self::Command(words) => words.is_empty(),
        };
        if empty { Err(ParseKeySourceError) } else { Ok(source) }
    }
}

/// Of a command only the program: its arguments are nobody's business.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Env(name) => write!(f, "the variable {name}"),
            Self::Command(words) => {
                write!(f, "the command {}", words.first().map_or("", String::as_str))
            }
        }
    }
}

/// The key that seals, and those that only open.
pub(crate) async fn load(current: &KeySource, older: &[KeySource]) -> Result<Keyring, Error> {
    let current = key(current, true).await?;
    let mut opening = Vec::new();
    for source in older {
        opening.push(key(source, false).await?);
    }
    Ok(Keyring::new(current, opening))
}

/// Chance, as `seal` wants it.
pub(crate) fn os_entropy(into: &mut [u8]) {
    rand::rng().fill_bytes(into);
}

async fn key(source: &KeySource, may_create: bool) -> Result<StorageKey, Error> {
    let unusable = |why: String| Error::Key { from: source.to_string(), why };
    let text = match source {
        KeySource::File(path) => file(path, may_create).map_err(unusable)?,
        KeySource::Env(name) => {
            Secret::new(std::env::var(name).map_err(|_| unusable("it is not set".into()))?)
        }
        KeySource::Command(words) => command(words).await.map_err(unusable)?,
    };
    StorageKey::parse(text.expose()).map_err(|error| unusable(error.to_string()))
}

/// The text of a file that nobody else may read.
pub(crate) fn file(path: &Path, may_create: bool) -> Result<Secret<String>, String> {
    if may_create && !path.exists() {
        create(path)?;
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    check_private(&file)?;
    let mut text = Vec::new();
    let mut limited = Read::take(file, TEXT_LEN_MAX);
    Read::read_to_end(&mut limited, &mut text).map_err(|error| error.to_string())?;
    Secret::new(text).into_text().ok_or_else(|| "it is not text".into())
}

/// Writes a new key. Never over a file: that could be the only copy of another key. Whatever happens meanwhile, under
/// the path there is either no file or a whole key.
fn create(path: &Path) -> Result<(), String> {
    let key = StorageKey::generate(&mut os_entropy).to_base64();
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{:016x}", rand::rng().next_u64()));
    let written = write_private(Path::new(&unfinished), key.expose())
        .and_then(|()| std::fs::hard_link(&unfinished, path));
    // If it is not there it need not be removed; if it cannot be removed it is a key that nothing was sealed with.
    let _ = std::fs::remove_file(&unfinished);
    match written {
        // Another process was first: its key is the key.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|error| error.to_string()),
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(unix)]
fn check_private(file: &std::fs::File) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map_err(|error| error.to_string())?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(format!("others may read it (mode {:o}); chmod 600 it", mode & 0o777))
}

#[cfg(not(unix))]
fn check_private(_: &std::fs::File) -> Result<(), String> {
    Ok(())
}

async fn command(words: &[String]) -> Result<Secret<String>, String> {
    let (program, arguments) = words.split_first().ok_or("no program is named")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let stdout = child.stdout.take().ok_or("it has no output")?;
    let run = async {
        let mut text = Vec::new();
        stdout.take(TEXT_LEN_MAX).read_to_end(&mut text).await?;
        Ok::<_, std::io::Error>((Secret::new(text), child.wait().await?))
    };
    let (text, status) = tokio::time::timeout(COMMAND_TIMEOUT, run)
        .await
        .map_err(|_| format!("no answer within {} s", COMMAND_TIMEOUT.as_secs()))?
        .map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("it failed ({status})"));
    }
    text.into_text().ok_or_else(|| "it does not print text".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0707070707070707070707070707070707070707070707070707070707070707";

    fn check(text: &str, expected: Option<&KeySource>) {
        assert_eq!(text.parse::<KeySource>().ok().as_ref(), expected, "{text}");
    }

    #[test]
    fn sources_are_read_from_text() {
        check("file:/a b", Some(&KeySource::File("/a b".into())));
        check("/a", Some(&KeySource::File("/a".into())));
        check("env:NAME", Some(&KeySource::Env("NAME".into())));
        check(
            "command:kms get  k",
            Some(&KeySource::Command(["kms", "get", "k"].map(str::to_owned).into())),
        );
        check("env:", None);
        check("command: ", None);
        check("", None);
    }

    #[tokio::test]
    async fn a_file_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("storage.key");
        let source = KeySource::File(path.clone());
        load(&source, &[]).await.expect("makes one");
        let first = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(std::fs::read_dir(directory.path()).expect("lists").count(), 1);
        load(&source, &[]).await.expect("reads it");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("sets");
            let error = load(&source, &[]).await.err().expect("is refused");
            assert_eq!(error.failure().code, "GM-7001");
        }
    }

    #[tokio::test]
    async fn a_command_prints_it_and_what_it_says_is_not_repeated() {
        let says = |text: &str| KeySource::Command(["echo", text].map(str::to_owned).into());
        load(&says(DIGITS), &[]).await.expect("is a key");
        let error = load(&says("hush-hush"), &[]).await.err().expect("is none");
        assert_eq!(error.failure().code, "GM-7001");
        assert!(!format!("{error} {error:?}").contains("hush-hush"));
        for words in [vec!["false".to_owned()], vec!["/no/such/program".to_owned()]] {
            assert!(load(&KeySource::Command(words), &[]).await.is_err());
        }
    }

    #[tokio::test]
    async fn older_keys_and_variables_must_be_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let current = KeySource::File(directory.path().join("new.key"));
        let none = KeySource::File(directory.path().join("old.key"));
        assert!(load(&current, &[none]).await.is_err(), "an older key is not made up");
        assert!(load(&KeySource::Env("GRISTMILL_NO_SUCH_KEY".into()), &[]).await.is_err());
    }
}
