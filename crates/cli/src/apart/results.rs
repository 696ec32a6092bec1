//! Results of a scheduler that runs apart: kept by the market's gateway.
//!
//! A result is written to this machine's disk first, so that an upload that breaks off never reaches the gateway and goes
//! on where it was, and the gateway's slowness never reaches a worker's connection. One that comes in parts is passed on in
//! parts too, as they come, and goes on where it was when the gateway or this process dies in the middle.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use async_trait::async_trait;
use blobs::{Announced, Uploads};
use parking_lot::Mutex;
use scheduler::{Delivery, ResultStore, StoreFailure, StoreFault, take_part, upload_place};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use wire::ClientError;
use wire::ipfs::IpfsClient;
use wire::scheduler::{Parcel, ResultBody, UploadPlace, Uploaded};

/// After a part that could not be passed on, the rest waits so long, or until the result is all here.
const REST: Duration = Duration::from_secs(60);
/// How long a worker waits for a part to be passed on.
const PASS_ON_WITHIN: Duration = Duration::from_secs(15);

/// The gateway, as a place for results.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    gateway: IpfsClient,
    uploads: Uploads,
    spool: PathBuf,
    /// What uploads to the gateway are named by, so that nobody else can guess it.
    secret: B256,
    /// Parts are not passed on before that.
    resting_until: Arc<Mutex<Option<Instant>>>,
}

impl Remote {
    /// Keeps what it must in `root`. Its spool is emptied: what an earlier process left there in the middle of is sent again
    /// by whoever sent it.
    pub(super) fn new(gateway: IpfsClient, uploads: Uploads, root: &Path) -> std::io::Result<Self> {
        let spool = root.join("spool");
        match std::fs::remove_dir_all(&spool) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&spool)?,
        }
        let secret = secret(&root.join("uploads.secret"), &spool)?;
        Ok(Self { gateway, uploads, spool, secret, resting_until: Arc::default() })
    }

    async fn pass_on(&self, path: &Path) -> Result<String, StoreFailure> {
        let stored = self.gateway.add_file(path).await;
        stored.map(|stored| stored.location()).map_err(|error| refused(&error))
    }

    /// The last part, and whatever before it has not been passed on.
    async fn pass_rest_on(&self, parcel: &Parcel, size_bytes: u64) -> Result<String, StoreFailure> {
        let stored = self.gateway.add_parcel(parcel, &self.secret, size_bytes).await;
        let stored = stored.map_err(|error| refused(&error))?;
        stored.map(|stored| stored.location()).ok_or_else(|| StoreFailure {
            reason: "the gateway does not say where the result is".to_owned(),
            kind: StoreFault::Store,
        })
    }

    /// Passes on what is here of a result. If that fails, it is done when all is here.
    async fn pass_ahead(&self, parcel: &Parcel, here_bytes: u64) {
        if self.resting_until.lock().is_some_and(|until| Instant::now() < until) {
            return;
        }
        let passing = self.gateway.add_parcel(parcel, &self.secret, here_bytes);
        let passed = tokio::time::timeout(PASS_ON_WITHIN, passing).await;
        if !matches!(passed, Ok(Ok(_))) {
            tracing::debug!(?passed, "a part of a result is passed on later");
            *self.resting_until.lock() = Some(Instant::now() + REST);
        }
    }
}

fn refused(error: &ClientError) -> StoreFailure {
    let is_full = matches!(error, ClientError::Refused { status: 507, .. });
    StoreFailure {
        reason: format!("the gateway does not take the result: {error}"),
        kind: if is_full { StoreFault::Full } else { StoreFault::Store },
    }
}

/// The secret of an earlier process, or else a new one. Losing it costs the uploads that are on their way their progress.
fn secret(path: &Path, spool: &Path) -> std::io::Result<B256> {
    match std::fs::read(path) {
        Ok(known) => {
            if let Ok(secret) = B256::try_from(&known[..]) {
                return Ok(secret);
            }
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let secret = B256::random();
    // Readable by nobody else, as temporary files are.
    let mut file = tempfile::NamedTempFile::new_in(spool)?;
    file.write_all(secret.as_slice())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(secret)
}

#[async_trait]
impl ResultStore for Remote {
    async fn keep(&self, _: Delivery, mut content: ResultBody) -> Result<String, StoreFailure> {
        let ours = |error: std::io::Error| StoreFailure {
            reason: format!("there is no room for the result: {error}"),
            kind: StoreFault::Store,
        };
        let spool = tempfile::NamedTempFile::new_in(&self.spool).map_err(ours)?;
        let mut file = tokio::fs::File::create(spool.path()).await.map_err(ours)?;
        let sender = |error: std::io::Error| StoreFailure {
            reason: error.to_string(),
            kind: StoreFault::Sender,
        };
        tokio::io::copy(&mut content, &mut file).await.map_err(sender)?;
        file.flush().await.map_err(ours)?;
        self.pass_on(spool.path()).await
    }

    async fn place(&self, delivery: Delivery) -> Result<Option<UploadPlace>, StoreFailure> {
        Ok(self.uploads.standing(delivery.upload_key()).await?.map(upload_place))
    }

    async fn take(
        &self,
        delivery: Delivery,
        place: UploadPlace,
        content: ResultBody,
    ) -> Result<Uploaded, StoreFailure> {
        let UploadPlace { size_bytes, sha256, .. } = place;
        let announced = Announced { size: size_bytes, sha256: sha256.0 };
        let path = self.uploads.path(delivery.upload_key(), announced);
        let parcel = Parcel::known(&path, size_bytes, sha256);
        let finish = async |_: &blobs::Whole| self.pass_rest_on(&parcel, size_bytes).await;
        let taken = take_part(&self.uploads, delivery, place, content, finish).await?;
        if let Uploaded::UpTo(here) = taken {
            self.pass_ahead(&parcel, here).await;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_killed_process_the_secret_stays_and_what_was_half_done_goes() {
        let dir = tempfile::tempdir().unwrap();
        let start = || {
            let gateway = IpfsClient::new(&"http://127.0.0.1:9".parse().unwrap()).unwrap();
            let uploads = Uploads::open(&dir.path().join("uploads"), blobs::Limits::default());
            Remote::new(gateway, uploads.unwrap(), dir.path()).unwrap()
        };
        let first = start();
        let spool = dir.path().join("spool");
        std::fs::write(spool.join("half"), "a result").unwrap();
        let second = start();
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
        assert_eq!(first.secret, second.secret);
        std::fs::write(dir.path().join("uploads.secret"), "broken").unwrap();
        assert_ne!(start().secret, first.secret);
    }
}
