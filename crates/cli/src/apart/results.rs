//! Results of a scheduler that runs apart: kept by the market's gateway.
//!
//! A result is written to a temporary file first, so that an upload that breaks off never reaches the gateway, and the
//! gateway's slowness never reaches a worker's connection.

use async_trait::async_trait;
use primitives::TaskId;
use scheduler::{ResultStore, StoreFailure};
use tokio::io::AsyncWriteExt as _;
use wire::ipfs::IpfsClient;
use wire::scheduler::ResultBody;

/// The gateway, as a place for results.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    gateway: IpfsClient,
}

impl Remote {
    pub(super) fn new(gateway: IpfsClient) -> Self {
        Self { gateway }
    }
}

#[async_trait]
impl ResultStore for Remote {
    async fn keep(&self, _task: TaskId, mut content: ResultBody) -> Result<String, StoreFailure> {
        let ours = |error: std::io::Error| StoreFailure {
            reason: format!("there is no room for the result: {error}"),
            is_senders_fault: false,
        };
        let spool = tempfile::NamedTempFile::new().map_err(ours)?;
        let mut file = tokio::fs::File::create(spool.path()).await.map_err(ours)?;
        tokio::io::copy(&mut content, &mut file)
            .await
            .map_err(|error| StoreFailure { reason: error.to_string(), is_senders_fault: true })?;
        file.flush().await.map_err(ours)?;
        let stored = self.gateway.add_file(spool.path()).await.map_err(|error| StoreFailure {
            reason: format!("the gateway does not take the result: {error}"),
            is_senders_fault: false,
        })?;
        Ok(stored.location())
    }
}
