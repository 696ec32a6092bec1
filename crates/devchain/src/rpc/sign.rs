//! Signing with the keys that everybody knows.

use alloy_dyn_abi::TypedData;
use alloy_primitives::{Address, B256, Bytes, eip191_hash_message};
use alloy_signer::SignerSync as _;
use serde_json::Value;

use super::{Answer, RequestError, Rpc, answer, params::Params};

impl Rpc {
    pub(super) fn sign(&self, params: &Params) -> Answer {
        self.sign_message(params.get(0)?, &params.get(1)?)
    }

    /// As `sign`, but the message comes first.
    pub(super) fn personal_sign(&self, params: &Params) -> Answer {
        self.sign_message(params.get(1)?, &params.get(0)?)
    }

    pub(super) fn sign_typed_data(&self, params: &Params) -> Answer {
        // Some clients send the document as JSON in a string.
        let typed: TypedData = match params.value(1) {
            Some(Value::String(text)) => serde_json::from_str(text)
                .map_err(|error| RequestError::params(format!("invalid argument 1: {error}")))?,
            _ => params.get(1)?,
        };
        let hash = typed
            .eip712_signing_hash()
            .map_err(|error| RequestError::params(format!("invalid argument 1: {error}")))?;
        self.sign_hash(params.get(0)?, hash)
    }

    fn sign_message(&self, address: Address, message: &Bytes) -> Answer {
        self.sign_hash(address, eip191_hash_message(message))
    }

    fn sign_hash(&self, address: Address, hash: B256) -> Answer {
        let Some(account) = self.shared().dev_account(&address) else {
            return Err(RequestError::refused(format!("unknown account {address}")));
        };
        let signature = account
            .signer
            .sign_hash_sync(&hash)
            .map_err(|error| RequestError::internal(error.to_string()))?;
        answer(Bytes::from(signature.as_bytes()))
    }
}
