//! Shapes that cross the door of secrets, other than the secrets.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{Address, B256, Bytes};
use primitives::{DealId, TaskId};
use seal::provision::{EnclavePublicKey, Evidence, Sealed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::ClientError;
use crate::json::{Fields, ShapeError};

/// A way to run programs out of their host's sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Framework {
    /// SGX through Scone.
    Scone,
    /// SGX through Gramine.
    Gramine,
    /// Intel TDX.
    Tdx,
}

impl Framework {
    /// Reads its name in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [("SCONE", Self::Scone), ("GRAMINE", Self::Gramine), ("TDX", Self::Tdx)];
        all.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, one)| one)
    }
}

/// What runs before and after a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeeProperties {
    /// Which framework.
    pub tee_framework: Framework,
    /// Its version.
    pub tee_framework_version: String,
    /// What fetches and decrypts the inputs.
    pub pre_compute_properties: StageProperties,
    /// What encrypts and uploads the result.
    pub post_compute_properties: StageProperties,
}

/// A program of the framework.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageProperties {
    /// Its image.
    pub image: String,
    /// What it measures as.
    pub fingerprint: String,
    /// What is started.
    pub entrypoint: String,
    /// How much memory it gets, in bytes.
    pub heap_size_in_bytes: u64,
}

/// A workerpool's word that a worker may work on a task, with an enclave or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerpoolAuthorization {
    /// The task.
    pub task: TaskId,
    /// Its deal.
    pub deal: DealId,
    /// Its index in the deal's bag.
    pub index: u64,
    /// The worker.
    pub worker: Address,
    /// The address that the task's enclave signs with; zero without one.
    pub enclave: Address,
    /// The workerpool owner's signature over [`Self::hash`], as an Ethereum message.
    pub signature: Bytes,
}

impl WorkerpoolAuthorization {
    /// What both the workerpool's owner and, to be given the session, the worker sign.
    pub fn hash(&self) -> B256 {
        seal::challenge::for_worker(self.worker, self.task, self.enclave)
    }

    /// As it is sent.
    pub fn to_json(&self) -> Value {
        json!({
            "chainTaskId": self.task.to_string(),
            "dealId": self.deal.to_string(),
            "taskIndex": self.index,
            "workerWallet": self.worker.to_string(),
            "enclaveChallenge": self.enclave.to_string(),
            "signature": {"value": self.signature.to_string()},
        })
    }

    /// Reads what [`Self::to_json`] writes. The deal and the index may be left out: the chain knows them.
    pub fn from_json(value: &Value) -> Result<Self, ShapeError> {
        let fields = Fields::of("authorization", value)?;
        let index = fields.optional("taskIndex").map(|_| fields.number("taskIndex", 0));
        let deal = fields.optional("dealId").map(|_| fields.bytes32("dealId"));
        let signature = Fields::of("signature", fields.value("signature")?)?;
        Ok(Self {
            task: TaskId(fields.bytes32("chainTaskId")?),
            deal: DealId(deal.transpose()?.unwrap_or_default()),
            index: index.transpose()?.unwrap_or_default(),
            worker: fields.address("workerWallet")?,
            enclave: fields.address("enclaveChallenge")?,
            signature: signature.bytes("value")?,
        })
    }
}

/// Where a worker's enclave gets its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionTicket {
    /// Which session.
    pub session_id: String,
    /// The broker.
    pub secret_provisioning_url: String,
}

/// What an enclave sends to be given a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The key that the session is to be sealed to.
    pub key: EnclavePublicKey,
    /// What vouches for that key.
    pub evidence: Evidence,
}

impl Release {
    /// As it is sent.
    pub fn to_json(&self) -> Value {
        let evidence = match &self.evidence {
            Evidence::SimulatedTdx { report_data } => {
                json!({"kind": SIMULATED_TDX, "reportData": report_data.to_string()})
            }
            _ => json!({"kind": "unknown"}),
        };
        json!({"publicKey": self.key.0.to_string(), "evidence": evidence})
    }

    /// Reads what [`Self::to_json`] writes.
    pub fn from_json(value: &Value) -> Result<Self, ShapeError> {
        let fields = Fields::of("request", value)?;
        let evidence = Fields::of("evidence", fields.value("evidence")?)?;
        let evidence = match evidence.text("kind")? {
            SIMULATED_TDX => {
                Evidence::SimulatedTdx { report_data: evidence.bytes32("reportData")? }
            }
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(ShapeError(format!("evidence of kind '{other}' is not known")));
            }
        };
        Ok(Self { key: public_key(&fields, "publicKey")?, evidence })
    }
}

const SIMULATED_TDX: &str = "simulated-tdx";

/// The answer to a [`Release`].
pub(super) fn sealed_to_json(sealed: &Sealed) -> Value {
    json!({
        "attestation": {"kind": "simulated"},
        "sender": sealed.sender.0.to_string(),
        "ciphertext": alloy_primitives::hex::encode_prefixed(&sealed.ciphertext),
    })
}

pub(super) fn sealed_from_json(value: &Value) -> Result<Sealed, ShapeError> {
    let fields = Fields::of("answer", value)?;
    let ciphertext = fields.bytes("ciphertext")?.to_vec();
    Ok(Sealed { sender: public_key(&fields, "sender")?, ciphertext })
}

fn public_key(fields: &Fields<'_>, name: &str) -> Result<EnclavePublicKey, ShapeError> {
    let refused = || ShapeError(format!("{name} must be 33 bytes of hexstring"));
    let bytes = fields.bytes(name)?;
    bytes.as_ref().try_into().map(EnclavePublicKey).map_err(|_| refused())
}

/// How many secrets of a kind there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretsMetric {
    /// The kind.
    pub secrets_type: String,
    /// When the service started.
    pub initial_count: u64,
    /// Now.
    pub stored_count: u64,
    /// Since the service started.
    pub added_since_start_count: u64,
    /// Held in memory.
    pub cached_secrets_count: u64,
}

macro_rules! session_errors {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a worker is given no session, in the official service's words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SessionError {
            $($(#[$doc])* $name,)*
        }

        impl SessionError {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it is sent.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

session_errors! {
    /// The worker's signature is not that of the worker who is authorised, or the enclave is not the task's.
    InvalidAuthorization = "INVALID_AUTHORIZATION",
    /// There is no task in the authorisation.
    EmptyParams = "EXECUTION_NOT_AUTHORIZED_EMPTY_PARAMS_UNAUTHORIZED",
    /// The deal does not ask for a trusted execution of this kind.
    NoMatchOnchainType = "EXECUTION_NOT_AUTHORIZED_NO_MATCH_ONCHAIN_TYPE",
    /// The task cannot be read from the chain.
    GetChainTaskFailed = "EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED",
    /// The task takes no contributions (any more).
    TaskNotActive = "EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE",
    /// The deal cannot be read from the chain.
    GetChainDealFailed = "EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED",
    /// The workerpool's owner has not signed.
    InvalidSignature = "EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE",
    /// No worker is named.
    EmptyWorkerAddress = "GET_SIGNATURE_TOKENS_FAILED_EMPTY_WORKER_ADDRESS",
    /// No enclave is named.
    EmptyPublicEnclaveChallenge = "GET_SIGNATURE_TOKENS_FAILED_EMPTY_PUBLIC_ENCLAVE_CHALLENGE",
    /// The task has no enclave key: nobody has asked for one.
    EmptyTeeChallenge = "GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE",
    /// The enclave key cannot be read.
    EmptyTeeCredentials = "GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CREDENTIALS",
    /// The dataset has no key here.
    GetDatasetSecretFailed = "PRE_COMPUTE_GET_DATASET_SECRET_FAILED",
    /// The app says nothing of its enclave.
    NoEnclaveConfig = "APP_COMPUTE_NO_ENCLAVE_CONFIG",
    /// What the app says of its enclave cannot be read.
    InvalidEnclaveConfig = "APP_COMPUTE_INVALID_ENCLAVE_CONFIG",
    /// The result is to be encrypted, and the beneficiary has no key here.
    EmptyBeneficiaryKey = "POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY",
    /// The result goes where a token is needed, and there is none.
    GetStorageTokensFailed = "POST_COMPUTE_GET_STORAGE_TOKENS_FAILED",
    /// The session cannot be kept.
    StorageCallFailed = "SECURE_SESSION_STORAGE_CALL_FAILED",
    /// The session cannot be made.
    GenerationFailed = "SECURE_SESSION_GENERATION_FAILED",
    /// Nothing trusted runs here.
    NoTeeFramework = "SECURE_SESSION_NO_TEE_FRAMEWORK",
    /// What the task is about cannot be read from the chain.
    GetTaskDescriptionFailed = "GET_TASK_DESCRIPTION_FAILED",
    /// There is no request.
    NoSessionRequest = "NO_SESSION_REQUEST",
    /// There is no task.
    NoTaskDescription = "NO_TASK_DESCRIPTION",
    /// Anything else.
    UnknownIssue = "UNKNOWN_ISSUE",
}

impl SessionError {
    /// The reason inside a client's error, if the service gave one of these.
    pub fn of(error: &ClientError) -> Option<Self> {
        error.refusal()?.parse().ok()
    }

    /// Whether it is about who asks: answered with 401, else 500.
    pub fn is_about_permission(self) -> bool {
        self == Self::InvalidAuthorization || self.as_str().starts_with("EXECUTION_NOT_AUTHORIZED")
    }

    /// Whether asking again may work without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::GetChainTaskFailed
                | Self::GetChainDealFailed
                | Self::GetTaskDescriptionFailed
                | Self::StorageCallFailed
        )
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for SessionError {}

/// The text is none of the official reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reason of the secret service")]
pub struct ParseSessionError;

impl FromStr for SessionError {
    type Err = ParseSessionError;

    fn from_str(text: &str) -> Result<Self, ParseSessionError> {
        Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or(ParseSessionError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn an_authorization_has_the_official_shape() {
        let authorization = WorkerpoolAuthorization {
            task: TaskId(B256::repeat_byte(1)),
            deal: DealId(B256::repeat_byte(2)),
            index: 3,
            worker: Address::repeat_byte(0xaa),
            enclave: Address::repeat_byte(0xbb),
            signature: Bytes::from_static(&[4, 5]),
        };
        let sent = authorization.to_json();
        expect![[r#"{"chainTaskId":"0x0101010101010101010101010101010101010101010101010101010101010101","dealId":"0x0202020202020202020202020202020202020202020202020202020202020202","enclaveChallenge":"0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB","signature":{"value":"0x0405"},"taskIndex":3,"workerWallet":"0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa"}"#]]
        .assert_eq(&sent.to_string());
        assert_eq!(WorkerpoolAuthorization::from_json(&sent), Ok(authorization));
    }

    #[test]
    fn every_reason_reads_back_and_says_whose_fault_it_is() {
        for error in SessionError::ALL {
            assert_eq!(error.as_str().parse(), Ok(*error));
        }
        assert!("HUSH".parse::<SessionError>().is_err());
        assert!(SessionError::TaskNotActive.is_about_permission());
        assert!(!SessionError::EmptyBeneficiaryKey.is_about_permission());
    }

    proptest! {
        #[test]
        fn a_release_reads_back(key in any::<[u8; 32]>(), word in any::<[u8; 32]>()) {
            let key = [&[2u8], key.as_slice()].concat();
            let key = EnclavePublicKey(key.as_slice().try_into().expect("33 bytes"));
            let evidence = Evidence::SimulatedTdx { report_data: B256::from(word) };
            let release = Release { key, evidence };
            prop_assert_eq!(Release::from_json(&release.to_json()), Ok(release));
        }

        #[test]
        fn no_json_makes_it_panic(text in "[\\[{]?(\"(publicKey|evidence|kind|signature|sender)\":)?[a-z0-9\"{}\\]]{0,40}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = (Release::from_json(&value), sealed_from_json(&value), WorkerpoolAuthorization::from_json(&value));
            }
        }
    }
}
