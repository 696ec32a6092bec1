//! Who may: signatures, and what the chain says of who owns what.

use alloy_primitives::{Address, B256, Bytes};
use bindings::hub::Hub;
use chain::{Client, Deal, Task, TaskStatus};
use primitives::{Tag, TaskId};
use seal::challenge;
use wire::sms::SessionError;

use crate::Error;

/// Which bits of a tag say how a task is to be executed.
const FRAMEWORK_BITS: [Tag; 4] = [Tag::TEE, Tag::SCONE, Tag::GRAMINE, Tag::TDX];

/// Asks the chain.
#[derive(Clone)]
pub(crate) struct Guard {
    client: Client,
}

impl Guard {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Who owns an app or a dataset; nobody if there is no such contract.
    pub(crate) async fn owner_of(&self, asset: Address) -> Result<Option<Address>, Error> {
        match self.client.owner_of_asset(asset).await {
            Ok(owner) => Ok(Some(owner)),
            Err(error) if error.is_unknown() => Ok(None),
            Err(error) => Err(Error::Chain(error)),
        }
    }

    /// Whether the account signed that message: by its key, or, if it is a contract, by its own judgement (ERC-1271), which
    /// the hub asks for.
    pub(crate) async fn signed(
        &self,
        account: Address,
        message: B256,
        signature: &Bytes,
    ) -> Result<bool, Error> {
        if account.is_zero() || signature.is_empty() {
            return Ok(false);
        }
        let hash = challenge::signed_hash(message);
        if orders::signature::is_signed_by(account, hash, signature) {
            return Ok(true);
        }
        if !self.client.has_code(account).await.map_err(Error::Chain)? {
            return Ok(false);
        }
        match self.client.verify_signature(account, hash, signature.clone()).await {
            Ok(taken) => Ok(taken),
            // A contract may refuse by failing, or not know the question.
            Err(error) if error.is_retryable() => Err(Error::Chain(error)),
            Err(_) => Ok(false),
        }
    }

    /// The task and its deal, if the chain lets it be worked on now, in a TDX enclave.
    pub(crate) async fn running(&self, id: TaskId) -> Result<(Task, Deal), Denied> {
        if id.0.is_zero() {
            return Err(Denied::No(SessionError::EmptyParams));
        }
        let unread = |error| Denied::unread(SessionError::GetChainTaskFailed, error);
        let task = self.client.task(id).await.map_err(unread)?;
        let now = self.client.head().await.map_err(unread)?.timestamp;
        match task.status {
            TaskStatus::Unset => return Err(Denied::No(SessionError::GetChainTaskFailed)),
            TaskStatus::Active if now < task.contribution_deadline => {}
            _ => return Err(Denied::No(SessionError::TaskNotActive)),
        }
        let deal = self.client.deal(task.deal).await;
        let deal = deal.map_err(|error| Denied::unread(SessionError::GetChainDealFailed, error))?;
        let wanted = Tag::TEE | Tag::TDX;
        if FRAMEWORK_BITS.iter().any(|bit| deal.tag.contains(*bit) != wanted.contains(*bit)) {
            return Err(Denied::No(SessionError::NoMatchOnchainType));
        }
        Ok((task, deal))
    }

    /// Who signs for trusted executions in place of workerpools' owners; zero for nobody. Not every hub knows of it.
    pub(crate) async fn broker(&self) -> Address {
        self.client.view(self.client.hub(), Hub::teebrokerCall {}).await.unwrap_or_default()
    }
}

/// Why a task may not be worked on.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The chain says no.
    No(SessionError),
    /// The chain does not answer now.
    Unavailable(SessionError, Error),
}

impl Denied {
    fn unread(reason: SessionError, error: chain::Error) -> Self {
        tracing::warn!(%error, "a task cannot be read from the chain");
        if error.is_retryable() {
            Self::Unavailable(reason, Error::Chain(error))
        } else {
            Self::No(reason)
        }
    }

    /// In the official service's words.
    pub(crate) fn reason(&self) -> SessionError {
        match self {
            Self::No(reason) | Self::Unavailable(reason, _) => *reason,
        }
    }
}
