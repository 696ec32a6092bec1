//! What a session is made of: read from the chain, the safe and storage.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use chain::{Client, Deal, Task};
use primitives::TaskId;
use seal::Secret;
use seal::challenge::{SecretId, reserved};
use wire::ipfs::IpfsClient;
use wire::params::{Params, StorageProvider};
use wire::sms::SessionError;

use crate::bulk;
use crate::guard::Guard;
use crate::safe::Safe;

/// Everything that a session says.
pub(crate) struct Facts {
    pub(crate) id: TaskId,
    pub(crate) task: Task,
    pub(crate) deal: Deal,
    pub(crate) worker: Address,
    pub(crate) params: Params,
    /// The app, as the chain has it: address in storage or image, and checksum.
    pub(crate) app: (String, String),
    /// The private key of the task's enclave, in hex.
    pub(crate) enclave_key: Secret<String>,
    pub(crate) inputs: Inputs,
    pub(crate) app_secret: Option<Secret<String>>,
    /// By the number the program knows them by.
    pub(crate) requester_secrets: BTreeMap<u32, Secret<String>>,
    /// Where the result goes; nothing when a contract is called with it.
    pub(crate) storage: Option<Storage>,
    /// The beneficiary's key, if the result is to be encrypted.
    pub(crate) result_key: Option<Secret<String>>,
}

/// Data of the task.
pub(crate) enum Inputs {
    /// None, or files that anybody may read.
    Open,
    /// The deal's dataset.
    Dataset(Box<DatasetFacts>),
    /// The datasets of this task's slice; nothing stands for one that may not be used.
    Bulk(Vec<(String, Option<DatasetFacts>)>),
}

/// A dataset and its key.
pub(crate) struct DatasetFacts {
    pub(crate) url: String,
    pub(crate) checksum: String,
    pub(crate) key: Secret<String>,
}

/// Where a result goes.
pub(crate) struct Storage {
    pub(crate) provider: StorageProvider,
    /// The result proxy, if one is named.
    pub(crate) proxy: Option<Secret<String>>,
    /// What opens it. Workers of this house have a login of their own and need none.
    pub(crate) token: Option<Secret<String>>,
}

/// Reads the facts, one question after the other.
pub(crate) struct Reader<'a> {
    pub(crate) guard: &'a Guard,
    pub(crate) safe: &'a Safe,
    pub(crate) ipfs: Option<&'a IpfsClient>,
}

impl Reader<'_> {
    pub(crate) async fn read(
        &self,
        id: TaskId,
        (task, deal): (Task, Deal),
        worker: Address,
        enclave_key: Secret<String>,
    ) -> Result<Facts, SessionError> {
        let params = Params::parse(&deal.params);
        let app = self.client().app(deal.app.pointer).await.map_err(undescribed)?;
        let app_url = wire::multiaddr::to_text(&app.multiaddr).unwrap_or_default();
        Ok(Facts {
            id,
            worker,
            app: (app_url, app.checksum.to_string()),
            enclave_key,
            inputs: self.inputs(&task, &deal, &params).await?,
            app_secret: self.secret(&SecretId::App(deal.app.pointer)).await?,
            requester_secrets: self.requester_secrets(deal.requester, &params).await?,
            storage: self.storage(&deal, &params, worker).await?,
            result_key: self.result_key(&deal, &params).await?,
            task,
            deal,
            params,
        })
    }

    fn client(&self) -> &Client {
        self.guard.client()
    }

    async fn inputs(
        &self,
        task: &Task,
        deal: &Deal,
        params: &Params,
    ) -> Result<Inputs, SessionError> {
        let dataset = deal.dataset.pointer;
        if !dataset.is_zero() {
            let Some((url, checksum)) = self.located(dataset).await? else {
                return Ok(Inputs::Open);
            };
            let key = self.secret(&SecretId::Dataset(dataset)).await?;
            let key = key.ok_or(SessionError::GetDatasetSecretFailed)?;
            return Ok(Inputs::Dataset(Box::new(DatasetFacts { url, checksum, key })));
        }
        match &params.bulk_cid {
            Some(cid) => Ok(Inputs::Bulk(bulk::datasets(self, cid, task).await?)),
            None => Ok(Inputs::Open),
        }
    }

    /// Where a dataset is and what it must have as its checksum; nothing if the chain does not say.
    async fn located(&self, dataset: Address) -> Result<Option<(String, String)>, SessionError> {
        let info = match self.client().dataset(dataset).await {
            Ok(info) => info,
            Err(error) if error.is_unknown() => return Ok(None),
            Err(error) => return Err(undescribed(error)),
        };
        let url = wire::multiaddr::to_text(&info.multiaddr);
        let url = url.filter(|_| !info.checksum.is_zero());
        Ok(url.map(|url| (url, info.checksum.to_string())))
    }

    /// A dataset of a bulk request, if all of it is there.
    pub(crate) async fn usable(
        &self,
        dataset: Address,
    ) -> Result<Option<DatasetFacts>, SessionError> {
        let Some((url, checksum)) = self.located(dataset).await? else { return Ok(None) };
        let key = self.secret(&SecretId::Dataset(dataset)).await?;
        Ok(key.map(|key| DatasetFacts { url, checksum, key }))
    }

    /// Those that do not exist are left out: the program sees that they are missing.
    async fn requester_secrets(
        &self,
        owner: Address,
        params: &Params,
    ) -> Result<BTreeMap<u32, Secret<String>>, SessionError> {
        let mut secrets = BTreeMap::new();
        for (number, key) in &params.secrets {
            let id = SecretId::Requester { owner, key: key.clone() };
            if let Some(secret) = self.secret(&id).await? {
                secrets.insert(*number, secret);
            }
        }
        Ok(secrets)
    }

    async fn storage(
        &self,
        deal: &Deal,
        params: &Params,
        worker: Address,
    ) -> Result<Option<Storage>, SessionError> {
        if !deal.callback.is_zero() {
            return Ok(None);
        }
        let provider = params.storage_provider.unwrap_or_default();
        if provider == StorageProvider::Dropbox {
            let token = self.named(deal.requester, reserved::DROPBOX_TOKEN).await?;
            let token = token.ok_or(SessionError::GetStorageTokensFailed)?;
            return Ok(Some(Storage { provider, proxy: None, token: Some(token) }));
        }
        let token = match self.named(worker, reserved::IPFS_TOKEN).await? {
            Some(token) => Some(token),
            None => self.named(deal.requester, reserved::IPFS_TOKEN).await?,
        };
        let proxy = match &params.storage_proxy {
            Some(proxy) => Some(Secret::new(proxy.clone())),
            None => self.named(deal.workerpool.owner, reserved::RESULT_PROXY_URL).await?,
        };
        Ok(Some(Storage { provider, proxy, token }))
    }

    async fn result_key(
        &self,
        deal: &Deal,
        params: &Params,
    ) -> Result<Option<Secret<String>>, SessionError> {
        if !params.result_encryption {
            return Ok(None);
        }
        let key = self.named(deal.beneficiary, reserved::RESULT_ENCRYPTION_KEY).await?;
        key.map(Some).ok_or(SessionError::EmptyBeneficiaryKey)
    }

    async fn named(
        &self,
        owner: Address,
        name: &str,
    ) -> Result<Option<Secret<String>>, SessionError> {
        self.secret(&SecretId::Named { owner, name: name.to_owned() }).await
    }

    async fn secret(&self, id: &SecretId) -> Result<Option<Secret<String>>, SessionError> {
        self.safe.text(id).await.map_err(|error| {
            tracing::error!(secret = ?id, %error, "a secret cannot be read");
            SessionError::StorageCallFailed
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
pub(crate) fn undescribed(error: chain::Error) -> SessionError {
    tracing::warn!(%error, "what a task is about cannot be read from the chain");
    SessionError::GetTaskDescriptionFailed
}
