//! What the two ends sign to each other.

use std::borrow::Cow;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{Eip712Domain, SolStruct};

use super::LinkError;

mod typed {
    alloy_sol_types::sol! {
        /// The scheduler's word: it speaks for this workerpool, here and now.
        struct Hello {
            address workerpool;
            bytes32 workerNonce;
            bytes32 schedulerNonce;
        }

        /// The worker's word: it is this wallet, here and now.
        struct Login {
            address worker;
            address workerpool;
            bytes32 schedulerNonce;
        }
    }
}

/// Where a proof holds: this protocol, this chain, this hub.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    pub(super) chain_id: u64,
    pub(super) hub: Address,
}

impl Scope {
    fn domain(self) -> Eip712Domain {
        Eip712Domain {
            name: Some(Cow::Borrowed("Gristmill Worker Link")),
            version: Some(Cow::Borrowed("1")),
            chain_id: Some(U256::from(self.chain_id)),
            verifying_contract: Some(self.hub),
            salt: None,
        }
    }

    pub(super) fn hello_hash(
        self,
        workerpool: Address,
        worker_nonce: B256,
        scheduler_nonce: B256,
    ) -> B256 {
        let hello =
            typed::Hello { workerpool, workerNonce: worker_nonce, schedulerNonce: scheduler_nonce };
        hello.eip712_signing_hash(&self.domain())
    }

    pub(super) fn login_hash(
        self,
        worker: Address,
        workerpool: Address,
        scheduler_nonce: B256,
    ) -> B256 {
        let login = typed::Login { worker, workerpool, schedulerNonce: scheduler_nonce };
        login.eip712_signing_hash(&self.domain())
    }
}

pub(super) fn sign(signer: &PrivateKeySigner, hash: &B256) -> Result<Bytes, LinkError> {
    let signature =
        signer.sign_hash_sync(hash).map_err(|error| LinkError::Signer(error.to_string()))?;
    Ok(Bytes::from(signature.as_bytes()))
}
