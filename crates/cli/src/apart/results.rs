//! Results of a scheduler that runs apart: kept by the market's gateway.
//!
//! A result is written to this machine's disk first, so that an upload that breaks off never reaches the gateway and goes
//! on where it was, and the gateway's slowness never reaches a worker's connection.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use blobs::Uploads;
use scheduler::{Delivery, ResultStore, StoreFailure, StoreFault, take_part, upload_place};
use tokio::io::AsyncWriteExt as _;
use wire::ipfs::IpfsClient;
use wire::scheduler::{ResultBody, UploadPlace, Uploaded};

/// The gateway, as a place for results.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    gateway: IpfsClient,
    uploads: Uploads,
    spool: PathBuf,
}

impl Remote {
    /// Empties `spool`: what an earlier process left there in the middle of is sent again by whoever sent it.
    pub(super) fn new(
        gateway: IpfsClient,
        uploads: Uploads,
        spool: PathBuf,
    ) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(&spool) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&spool)?,
        }
        Ok(Self { gateway, uploads, spool })
    }

    async fn pass_on(&self, path: &Path) -> Result<String, StoreFailure> {
        let stored = self.gateway.add_file(path).await;
        stored.map(|stored| stored.location()).map_err(|error| {
            let is_full = matches!(error, wire::ClientError::Refused { status: 507, .. });
            StoreFailure {
                reason: format!("the gateway does not take the result: {error}"),
                kind: if is_full { StoreFault::Full } else { StoreFault::Store },
            }
        })
    }
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
        let this = self.clone();
        take_part(&self.uploads, delivery, place, content, async move |whole| {
            this.pass_on(whole.path()).await
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_gone_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let start = || {
            let gateway = IpfsClient::new(&"http://127.0.0.1:9".parse().unwrap()).unwrap();
            let uploads = Uploads::open(&dir.path().join("uploads"), blobs::Limits::default());
            Remote::new(gateway, uploads.unwrap(), spool.clone()).unwrap()
        };
        let _first = start();
        std::fs::write(spool.join("half"), "a result").unwrap();
        let _second = start();
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
    }
}
