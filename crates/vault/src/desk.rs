//! All of the vault behind one door.

use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::{Address, B256, Bytes, hex};
use alloy_signer_local::PrivateKeySigner;
use async_trait::async_trait;
use chain::{Deal, Task};
use primitives::TaskId;
use seal::Secret;
use seal::challenge::{self, SecretId};
use seal::provision::{ProvisionError, Sealed, Verifier, seal_to};
use url::Url;
use wire::ipfs::IpfsClient;
use wire::sms::{
    BROKER_PATH, Framework, Release, SecretsMetric, SessionError, SessionTicket, Sms, SmsError,
    StageProperties, TeeProperties, WorkerpoolAuthorization, Write,
};

use crate::content::{self, SIMULATED_FINGERPRINT, SIMULATED_IMAGE};
use crate::facts::Reader;
use crate::guard::{Denied, Guard};
use crate::keys::os_entropy;
use crate::safe::{Kind, Place, Safe};
use crate::sessions::Sessions;
use crate::{Error, Tee, secrets};

/// The version of the framework, as the official service calls it.
const FRAMEWORK_VERSION: &str = "v0.1";

/// What is counted, and what the official service calls it.
const COUNTED: [(&str, &[Kind]); 4] = [
    ("web2", &[Kind::Named]),
    ("web3", &[Kind::Dataset]),
    ("compute", &[Kind::App, Kind::Requester]),
    ("TEE challenges", &[Kind::Enclave]),
];

pub(crate) struct Desk {
    guard: Guard,
    safe: Arc<Safe>,
    tee: Tee,
    ipfs: Option<IpfsClient>,
    public_url: Url,
    sessions: Sessions,
    initial_counts: [u64; COUNTED.len()],
}

impl Desk {
    pub(crate) async fn new(
        guard: Guard,
        safe: Safe,
        tee: Tee,
        ipfs: Option<IpfsClient>,
        public_url: Url,
    ) -> Result<Self, Error> {
        let initial_counts = counts(&safe).await?;
        let sessions = Sessions::default();
        let safe = Arc::new(safe);
        Ok(Self { guard, safe, tee, ipfs, public_url, sessions, initial_counts })
    }

    /// What is kept, for whoever makes copies of it.
    pub(crate) fn safe(&self) -> Arc<Safe> {
        Arc::clone(&self.safe)
    }

    /// Forgets the enclave keys of tasks that are over.
    pub(crate) async fn tidy_up(&self) {
        let now_s = self.guard.client().last_head().timestamp.0;
        match self.safe.forget(Kind::Enclave, now_s).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "enclave keys of finished tasks are gone"),
            Err(error) => {
                tracing::warn!(%error, "enclave keys of finished tasks cannot be removed");
            }
        }
    }

    /// The private key of the task's enclave.
    async fn enclave_key(&self, task: TaskId) -> Result<Option<Secret<Vec<u8>>>, Error> {
        self.safe.get(&enclave_place(task)).await
    }

    async fn make_enclave_key(&self, id: TaskId, task: &Task) -> Result<(), Error> {
        let mut key = Secret::new(vec![0; 32]);
        while signer(&key).is_none() {
            let mut bytes = vec![0; 32];
            os_entropy(&mut bytes);
            key = Secret::new(bytes);
        }
        // Of several at once the first stays.
        self.safe.add(&enclave_place(id), key.expose(), task.final_deadline.0).await.map(drop)
    }

    async fn authorised(
        &self,
        asked: &WorkerpoolAuthorization,
        by_worker: &Bytes,
    ) -> Result<(Task, Deal, Secret<String>), SessionError> {
        if self.tee == Tee::Off {
            return Err(SessionError::NoTeeFramework);
        }
        if asked.worker.is_zero() {
            return Err(SessionError::EmptyWorkerAddress);
        }
        if asked.enclave.is_zero() {
            return Err(SessionError::EmptyPublicEnclaveChallenge);
        }
        let message = asked.hash();
        if !self.signed(asked.worker, message, by_worker).await? {
            return Err(SessionError::InvalidAuthorization);
        }
        let (task, deal) =
            self.guard.running(asked.task).await.map_err(|denied| denied.reason())?;
        let by_pool = self.signed(deal.workerpool.owner, message, &asked.signature).await?;
        if !by_pool && !self.signed(self.guard.broker().await, message, &asked.signature).await? {
            return Err(SessionError::InvalidSignature);
        }
        let key = self.enclave_key(asked.task).await.map_err(|error| {
            tracing::error!(task = %asked.task, %error, "an enclave key cannot be read");
            SessionError::EmptyTeeCredentials
        })?;
        let key = key.ok_or(SessionError::EmptyTeeChallenge)?;
        // The original takes any enclave here. Only the task's own has a key to be given.
        let enclave = signer(&key).ok_or(SessionError::EmptyTeeCredentials)?.address();
        if enclave != asked.enclave {
            return Err(SessionError::InvalidAuthorization);
        }
        if !self.sessions.may_open((asked.task, asked.worker)) {
            return Err(SessionError::InvalidAuthorization);
        }
        Ok((task, deal, Secret::new(hex::encode_prefixed(key.expose()))))
    }

    async fn signed(
        &self,
        account: Address,
        message: B256,
        signature: &Bytes,
    ) -> Result<bool, SessionError> {
        self.guard.signed(account, message, signature).await.map_err(|error| {
            tracing::warn!(%error, "a signature cannot be checked");
            SessionError::GetChainTaskFailed
        })
    }

    async fn try_open_session(
        &self,
        asked: &WorkerpoolAuthorization,
        by_worker: &Bytes,
    ) -> Result<SessionTicket, SessionError> {
        let (task, deal, key) = self.authorised(asked, by_worker).await?;
        let reader = Reader { guard: &self.guard, safe: &self.safe, ipfs: self.ipfs.as_ref() };
        let facts = reader.read(asked.task, (task, deal), asked.worker, key).await?;
        let compose = |id| content::compose(id, &facts);
        let session_id = self.sessions.hold((asked.task, asked.worker), Instant::now(), compose);
        let mut broker = self.public_url.clone();
        broker.set_path(BROKER_PATH);
        Ok(SessionTicket { session_id, secret_provisioning_url: broker.to_string() })
    }

    fn try_release(&self, id: &str, request: &Release) -> Result<Sealed, SmsError> {
        let none = || SmsError::NotFound("there is no such session, or it was given out".into());
        self.sessions.holder(id, Instant::now()).ok_or_else(none)?;
        let verifier = match self.tee {
            Tee::Off => Verifier::Nothing,
            Tee::SimulatedTdx => Verifier::SimulatedTdx,
        };
        // What is wrong with the evidence must not cost the session: the right enclave may still come.
        let claims = verifier.verify(&request.evidence, id, request.key).map_err(unprovisioned)?;
        let session = self.sessions.take(id).ok_or_else(none)?;
        let unwritten = |_| SmsError::Malformed("the session cannot be written".into());
        let content = session.to_json().map_err(unwritten)?;
        let sealed = seal_to(request.key, id, content.expose(), &mut os_entropy);
        tracing::info!(
            target: "vault::audit", session = id, simulated = claims.simulated,
            "SIMULATED: a session is given to a software enclave",
        );
        sealed.map_err(unprovisioned)
    }
}

#[async_trait]
impl Sms for Desk {
    async fn has(&self, id: &SecretId) -> Result<bool, SmsError> {
        Ok(self.safe.has(&Place::from(id)).await?)
    }

    async fn put(
        &self,
        id: &SecretId,
        value: Secret<String>,
        how: Write,
        authorization: &Bytes,
    ) -> Result<(), SmsError> {
        secrets::put(&self.guard, &self.safe, id, &value, how, authorization).await
    }

    fn properties(&self) -> Option<TeeProperties> {
        let stage = || StageProperties {
            image: SIMULATED_IMAGE.to_owned(),
            fingerprint: SIMULATED_FINGERPRINT.to_owned(),
            entrypoint: String::new(),
            heap_size_in_bytes: 0,
        };
        match self.tee {
            Tee::Off => None,
            Tee::SimulatedTdx => Some(TeeProperties {
                tee_framework: Framework::Tdx,
                tee_framework_version: FRAMEWORK_VERSION.to_owned(),
                pre_compute_properties: stage(),
                post_compute_properties: stage(),
            }),
        }
    }

    async fn enclave_of(&self, id: TaskId, authorization: &Bytes) -> Result<Address, SmsError> {
        if self.tee == Tee::Off {
            return Err(SmsError::NotFound("nothing trusted runs here".into()));
        }
        let (task, deal) = self.guard.running(id).await.map_err(|denied| match denied {
            Denied::Unavailable(_, error) => error.into(),
            Denied::No(reason) => {
                tracing::info!(target: "vault::audit", task = %id, %reason, "no enclave for a task");
                SmsError::Unauthorized
            }
        })?;
        let message = challenge::for_task(id);
        if !self.guard.signed(deal.workerpool.owner, message, authorization).await? {
            return Err(SmsError::Unauthorized);
        }
        if !self.safe.has(&enclave_place(id)).await? {
            self.make_enclave_key(id, &task).await?;
        }
        let key = self.enclave_key(id).await?;
        let none = || SmsError::NotFound("the task has no enclave".into());
        let address = key.as_ref().and_then(signer).ok_or_else(none)?.address();
        tracing::info!(target: "vault::audit", task = %id, enclave = %address, "SIMULATED: an enclave's address is told");
        Ok(address)
    }

    async fn open_session(
        &self,
        asked: &WorkerpoolAuthorization,
        by_worker: &Bytes,
    ) -> Result<SessionTicket, SessionError> {
        let outcome = self.try_open_session(asked, by_worker).await;
        let (task, worker) = (asked.task, asked.worker);
        match &outcome {
            Ok(ticket) => {
                tracing::info!(target: "vault::audit", %task, %worker, session = ticket.session_id, "a session is made");
            }
            Err(error) => {
                tracing::info!(target: "vault::audit", %task, %worker, %error, "a session is refused");
            }
        }
        outcome
    }

    async fn release(&self, id: &str, request: &Release) -> Result<Sealed, SmsError> {
        let outcome = self.try_release(id, request);
        if let Err(error) = &outcome {
            tracing::info!(target: "vault::audit", %error, "a session is not given out");
        }
        outcome
    }

    async fn metrics(&self) -> Result<Vec<SecretsMetric>, SmsError> {
        let now = counts(&self.safe).await?;
        let all = COUNTED.iter().zip(self.initial_counts.iter().zip(now));
        Ok(all
            .map(|((name, _), (initial, now))| SecretsMetric {
                secrets_type: (*name).to_owned(),
                initial_count: *initial,
                stored_count: now,
                added_since_start_count: now.saturating_sub(*initial),
                cached_secrets_count: 0,
            })
            .collect())
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}

fn enclave_place(task: TaskId) -> Place {
    Place { kind: Kind::Enclave, owner: Vec::new(), name: task.to_string() }
}

fn signer(key: &Secret<Vec<u8>>) -> Option<PrivateKeySigner> {
    PrivateKeySigner::from_slice(key.expose()).ok()
}

async fn counts(safe: &Safe) -> Result<[u64; COUNTED.len()], Error> {
    let mut counts = [0; COUNTED.len()];
    for (count, (_, kinds)) in counts.iter_mut().zip(COUNTED) {
        for kind in kinds {
            *count += safe.count(*kind).await?;
        }
    }
    Ok(counts)
}

fn unprovisioned(error: ProvisionError) -> SmsError {
    match error {
        ProvisionError::PublicKey => SmsError::Malformed(error.to_string()),
        _ => SmsError::Unauthorized,
    }
}
