//! Backups: copies of the store in one directory, made and taken back while the vault goes on.
//!
//! A copy holds what the store holds, which is ciphertext. The storage key is not in it and not beside it: without the key a
//! copy is worth nothing to who finds it, and to its operator, who must keep the key elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use seal::Secret;
use tokio::sync::{Mutex, MutexGuard};
use wire::sms::admin::{AdminError, Copy, SmsAdmin};

use crate::safe::Safe;
use crate::{Error, keys};

/// The shortest key of an operator.
const KEY_LEN_MIN: usize = 16;
/// The name of the fresh copy.
const FRESH: &str = "backup.sqlite";
/// What is being written has another name until it is whole.
const UNFINISHED: &str = ".unfinished";

/// Where copies are kept, and who may make and restore them.
pub struct Backups {
    /// What the operator must know.
    pub key: Secret<String>,
    /// The directory, which is made if it is not there.
    pub directory: PathBuf,
}

impl Backups {
    /// With the key in a file that nobody else may read.
    ///
    /// # Errors
    /// There is no such file, others may read it, or what is in it is too short to be a key.
    pub fn read(key_file: &Path, directory: PathBuf) -> Result<Self, Error> {
        let unusable = |why: String| Error::Operator { file: key_file.display().to_string(), why };
        let key = keys::file(key_file, false).map_err(unusable)?;
        let key = Secret::new(key.expose().trim().to_owned());
        if key.expose().len() < KEY_LEN_MIN {
            return Err(unusable("it is too short".to_owned()));
        }
        Ok(Self { key, directory })
    }
}

/// The operator's door.
pub(crate) struct Office {
    safe: Arc<Safe>,
    backups: Backups,
    /// One thing at a time.
    busy: Mutex<()>,
}

impl Office {
    pub(crate) fn new(safe: Arc<Safe>, backups: Backups) -> Self {
        Self { safe, backups, busy: Mutex::default() }
    }

    fn alone(&self) -> Result<MutexGuard<'_, ()>, AdminError> {
        self.busy.try_lock().map_err(|_| AdminError::Busy)
    }

    fn fresh(&self) -> Copy {
        let storage = self.backups.directory.to_string_lossy().into_owned();
        Copy { storage, name: FRESH.to_owned() }
    }

    /// Where a copy is or would be. There is one storage: nobody reaches another directory by asking.
    fn path(&self, copy: &Copy) -> Result<PathBuf, AdminError> {
        if Path::new(&copy.storage) != self.backups.directory {
            return Err(AdminError::NotFound("no such storage".to_owned()));
        }
        Ok(self.backups.directory.join(&copy.name))
    }

    fn existing(&self, copy: &Copy) -> Result<PathBuf, AdminError> {
        let path = self.path(copy)?;
        if path.is_file() { Ok(path) } else { Err(absent(copy)) }
    }
}

#[async_trait]
impl SmsAdmin for Office {
    fn key(&self) -> Option<&Secret<String>> {
        Some(&self.backups.key)
    }

    async fn back_up(&self) -> Result<(), AdminError> {
        let _alone = self.alone()?;
        let path = self.path(&self.fresh())?;
        let unfinished = self.backups.directory.join(UNFINISHED);
        let written = async {
            make_private_directory(&self.backups.directory).map_err(|error| unwritten(&error))?;
            remove(&unfinished).map_err(|error| unwritten(&error))?;
            self.safe.copy_to(&unfinished).await?;
            finish(&unfinished, &path).map_err(|error| unwritten(&error))
        };
        written.await.map_err(|error: Error| AdminError::Failed(error.failure()))?;
        tracing::info!(target: "vault::audit", "a backup is made");
        Ok(())
    }

    async fn replicate(&self, from: Option<&Copy>, to: &Copy) -> Result<(), AdminError> {
        let _alone = self.alone()?;
        let from = self.existing(from.unwrap_or(&self.fresh()))?;
        let path = self.path(to)?;
        if path.exists() {
            return Err(AdminError::Malformed(format!("{} is there already", to.name)));
        }
        let unfinished = self.backups.directory.join(UNFINISHED);
        let copied = std::fs::copy(&from, &unfinished).and_then(|_| finish(&unfinished, &path));
        copied.map_err(|error| AdminError::Failed(unwritten(&error).failure()))
    }

    async fn restore(&self, from: &Copy) -> Result<(), AdminError> {
        let _alone = self.alone()?;
        let path = self.existing(from)?;
        match self.safe.restore(&path).await {
            Ok(()) => {}
            Err(Error::WrongKey | Error::Altered) => {
                return Err(AdminError::Malformed(format!(
                    "{} is no backup of this vault, or was sealed with a key that is not known here",
                    from.name
                )));
            }
            Err(error) => return Err(AdminError::Failed(error.failure())),
        }
        tracing::warn!(target: "vault::audit", from = %from.name, "secrets are those of a backup");
        Ok(())
    }

    async fn delete(&self, which: &Copy) -> Result<(), AdminError> {
        let _alone = self.alone()?;
        let path = self.existing(which)?;
        remove(&path).map_err(|error| AdminError::Failed(unwritten(&error).failure()))?;
        tracing::info!(target: "vault::audit", name = %which.name, "a backup is deleted");
        Ok(())
    }
}

fn absent(copy: &Copy) -> AdminError {
    AdminError::NotFound(format!("there is no {}", copy.name))
}

fn unwritten(error: &std::io::Error) -> Error {
    Error::Backup { why: error.to_string() }
}

fn make_private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// What was written is on the disk, for its owner only, before it has its name.
fn finish(unfinished: &Path, path: &Path) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).open(unfinished)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    file.sync_all()?;
    std::fs::rename(unfinished, path)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
