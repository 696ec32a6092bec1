//! A secret service, played: it gives whatever session the test has made up to whoever may ask for it.

use std::collections::HashMap;

use alloy_primitives::{Address, Bytes};
use alloy_signer_local::PrivateKeySigner;
use async_trait::async_trait;
use parking_lot::Mutex;
use primitives::TaskId;
use rand::RngCore;
use seal::Secret;
use seal::challenge::SecretId;
use seal::provision::{Sealed, Verifier, seal_to};
use wire::sms::{
    BROKER_PATH, Environment, Release, SecretsMetric, Service, Session, SessionError,
    SessionTicket, Sms, SmsError, Stage, TeeProperties, WorkerpoolAuthorization, Write,
};

/// Variables of the stages that a test has something to say to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    pub(crate) pre: Option<HashMap<String, String>>,
    pub(crate) app: HashMap<String, String>,
    pub(crate) post: HashMap<String, String>,
}

/// The service.
pub(crate) struct Keeper {
    pub(crate) enclave: PrivateKeySigner,
    /// What the next session says, or why there is none.
    pub(crate) next: Mutex<Result<Secrets, SessionError>>,
    origin: Mutex<String>,
    open: Mutex<HashMap<String, (TaskId, Address)>>,
}

impl Keeper {
    pub(crate) fn new() -> Self {
        Self {
            enclave: PrivateKeySigner::random(),
            next: Mutex::new(Ok(Secrets::default())),
            origin: Mutex::default(),
            open: Mutex::default(),
        }
    }

    pub(crate) fn is_at(&self, origin: &str) {
        *self.origin.lock() = origin.to_owned();
    }

    fn session(&self, name: &str, task: TaskId, worker: Address) -> Session {
        let secrets = self.next.lock().clone().unwrap();
        let key = alloy_primitives::hex::encode_prefixed(self.enclave.to_bytes());
        let signs = [
            ("IEXEC_TASK_ID", task.to_string()),
            ("SIGN_WORKER_ADDRESS", worker.to_string()),
            ("SIGN_TEE_CHALLENGE_PRIVATE_KEY", key),
        ];
        let service = |stage, said: HashMap<String, String>, signs: &[(&str, String)]| {
            let signs = signs.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let environment: Environment =
                signs.chain(said).map(|(name, value)| (name, Secret::new(value))).collect();
            Service { stage, image_name: String::new(), fingerprint: String::new(), environment }
        };
        let mut services = Vec::new();
        if let Some(pre) = secrets.pre {
            services.push(service(Stage::PreCompute, pre, &signs));
        }
        services.push(service(Stage::App, secrets.app, &signs[..1]));
        services.push(service(Stage::PostCompute, secrets.post, &signs));
        Session { name: name.to_owned(), services }
    }
}

#[async_trait]
impl Sms for Keeper {
    async fn has(&self, _: &SecretId) -> Result<bool, SmsError> {
        Ok(false)
    }

    async fn put(
        &self,
        _: &SecretId,
        _: Secret<String>,
        _: Write,
        _: &Bytes,
    ) -> Result<(), SmsError> {
        Err(SmsError::Unauthorized)
    }

    fn properties(&self) -> Option<TeeProperties> {
        None
    }

    async fn enclave_of(&self, _: TaskId, _: &Bytes) -> Result<Address, SmsError> {
        Ok(self.enclave.address())
    }

    async fn open_session(
        &self,
        authorization: &WorkerpoolAuthorization,
        by_worker: &Bytes,
    ) -> Result<SessionTicket, SessionError> {
        self.next.lock().as_ref().map_err(|refusal| *refusal)?;
        let signature = alloy_primitives::Signature::from_raw(by_worker).unwrap();
        let signer = signature.recover_address_from_msg(authorization.hash()).unwrap();
        assert_eq!(signer, authorization.worker, "the worker signs for itself");
        let id = alloy_primitives::hex::encode(authorization.task.0);
        self.open.lock().insert(id.clone(), (authorization.task, authorization.worker));
        let origin = self.origin.lock().clone();
        let secret_provisioning_url = format!("{origin}{BROKER_PATH}");
        Ok(SessionTicket { session_id: id, secret_provisioning_url })
    }

    async fn release(&self, session: &str, request: &Release) -> Result<Sealed, SmsError> {
        Verifier::SimulatedTdx.verify(&request.evidence, session, request.key).unwrap();
        let (task, worker) = self.open.lock().remove(session).ok_or(SmsError::Absent)?;
        let content = self.session(session, task, worker).to_json().unwrap();
        let mut entropy = |into: &mut [u8]| rand::rng().fill_bytes(into);
        Ok(seal_to(request.key, session, content.expose(), &mut entropy).unwrap())
    }

    async fn metrics(&self) -> Result<Vec<SecretsMetric>, SmsError> {
        Ok(vec![])
    }

    fn version(&self) -> String {
        "played".to_owned()
    }
}
