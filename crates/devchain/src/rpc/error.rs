//! Errors as JSON-RPC tells them, in the words that clients know.

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::{Panic, Revert, SolError as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    engine::{Gone, RewindError},
    pool::Rejection,
    storage::StorageError,
};

/// An answer that says no. The codes are JSON-RPC's and geth's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RequestError {
    /// `-32601` unknown method, `-32602` bad parameters, `-32000` refused, `-32005` too much, `3` reverted.
    pub code: i64,
    /// What is wrong, for people; clients match on some of the words.
    pub message: String,
    /// For a revert: what the contract returned, as hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RequestError {
    /// Whether a contract reverted.
    pub fn is_revert(&self) -> bool {
        self.code == 3
    }

    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn parse() -> Self {
        Self::new(-32700, "parse error")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }

    pub(crate) fn unknown_method(method: &str) -> Self {
        let method: String = method.chars().take(80).collect();
        Self::new(-32601, format!("the method {method} does not exist/is not available"))
    }

    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    pub(crate) fn too_much(message: impl Into<String>) -> Self {
        Self::new(-32005, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(-32603, message)
    }

    /// What `eth_call` says of a revert that returned `output`.
    pub(crate) fn reverted(output: &Bytes) -> Self {
        let message = match revert_reason(output) {
            Some(reason) => format!("execution reverted: {reason}"),
            None => "execution reverted".to_owned(),
        };
        let data = Some(Value::String(hex::encode_prefixed(output)));
        Self { code: 3, message, data }
    }
}

/// The words in a `require` or `assert` that failed, if it was one.
fn revert_reason(output: &[u8]) -> Option<String> {
    if let Ok(revert) = Revert::abi_decode(output) {
        return Some(revert.reason);
    }
    Panic::abi_decode(output).ok().map(|panic| panic.to_string())
}

impl From<StorageError> for RequestError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Pruned { .. } | StorageError::ProofsPruned { .. } => {
                Self::refused(error.to_string())
            }
            StorageError::Redb(_) | StorageError::Corrupt(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<Rejection> for RequestError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Internal(message) => Self::internal(message),
            other => Self::refused(other.to_string()),
        }
    }
}

impl From<Gone> for RequestError {
    fn from(gone: Gone) -> Self {
        Self::internal(gone.to_string())
    }
}

impl From<RewindError> for RequestError {
    fn from(error: RewindError) -> Self {
        match error {
            RewindError::Storage(error) => error.into(),
            other => Self::refused(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    #[test]
    fn reverts_keep_their_reason_and_their_data() {
        let require = Bytes::from(Revert::from("not yours").abi_encode());
        let error = RequestError::reverted(&require);
        assert_eq!(error.message, "execution reverted: not yours");
        assert_eq!(error.data, Some(Value::String(hex::encode_prefixed(&require))));

        let overflow = Panic { code: U256::from(0x11) }.abi_encode();
        let error = RequestError::reverted(&overflow.into());
        assert!(error.message.contains("0x11"), "{}", error.message);

        let custom = RequestError::reverted(&Bytes::from_static(&[1, 2, 3, 4]));
        assert_eq!(custom.message, "execution reverted");
        assert_eq!(custom.data, Some(Value::String("0x01020304".to_owned())));
    }
}
