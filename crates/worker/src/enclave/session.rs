//! Asking for a session: the worker shows that it may run the task, the enclave shows what it is.

use primitives::TaskId;
use seal::provision::{EnclaveKey, Evidence};
use url::Url;
use wire::ClientError;
use wire::link::{Blame, EnclaveTask};
use wire::sms::{Session, SessionError, SmsClient, WorkerpoolAuthorization, fetch_session};

use super::{Mishap, entropy};
use crate::desk::Desk;
use crate::table::Assignment;

const ATTEMPTS: u32 = 4;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(300);

impl Desk {
    /// The session of a task. A service that has not seen the task's initialisation yet is asked again.
    pub(super) async fn open_session(
        &self,
        task: TaskId,
        assignment: Assignment,
        tee: &EnclaveTask,
    ) -> Result<Session, Mishap> {
        let authorization = WorkerpoolAuthorization {
            task,
            deal: assignment.deal,
            index: assignment.index,
            worker: self.worker,
            enclave: tee.enclave_challenge,
            signature: tee.authorization.clone(),
        };
        let service = Url::parse(&tee.sms_url).map_err(|error| {
            let detail = format!("the secret service's address: {error}");
            Mishap::new(cause("UNKNOWN_ISSUE"), detail, Blame::Worker)
        })?;
        let mut attempt = 1;
        loop {
            let failed = match self.ask(&service, &authorization).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let passing = SessionError::of(&failed)
                .map_or_else(|| failed.is_retryable(), SessionError::is_retryable);
            if !passing || attempt == ATTEMPTS {
                return Err(told(&failed));
            }
            tracing::debug!(%task, error = %failed, attempt, "asking for the session again");
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn ask(
        &self,
        service: &Url,
        authorization: &WorkerpoolAuthorization,
    ) -> Result<Session, ClientError> {
        let sms = SmsClient::new(service)?;
        let ticket = sms.open_session(authorization, self.wallet.signer()).await?;
        // Made for this one session, and gone with it.
        let key = EnclaveKey::generate(&mut entropy());
        let evidence = Evidence::simulated(&ticket.session_id, key.public());
        fetch_session(&ticket, &key, &evidence).await
    }
}

fn cause(name: &str) -> String {
    format!("TEE_SESSION_GENERATION_{name}")
}

fn told(error: &ClientError) -> Mishap {
    let Some(reason) = SessionError::of(error) else {
        let detail = error.to_string();
        return Mishap::new(cause("SECURE_SESSION_STORAGE_CALL_FAILED"), detail, Blame::Worker);
    };
    let (detail, blame) = match reason {
        SessionError::GetDatasetSecretFailed => {
            ("the dataset's owner has not given its key to the secret service", Blame::Input)
        }
        SessionError::EmptyBeneficiaryKey => (
            "the beneficiary has not given the key for results to the secret service",
            Blame::Input,
        ),
        SessionError::GetStorageTokensFailed => {
            ("no storage for the result is known to the secret service", Blame::Input)
        }
        SessionError::NoEnclaveConfig | SessionError::InvalidEnclaveConfig => {
            ("the app is not registered for this kind of enclave", Blame::App)
        }
        _ => ("the secret service gives no session", Blame::Worker),
    };
    Mishap::new(cause(reason.as_str()), detail, blame)
}
