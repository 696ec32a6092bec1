//! Taking in transactions.

use alloy_consensus::{
    TxEnvelope,
    transaction::{Recovered, SignerRecoverable as _},
};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::TransactionRequest;

use super::{Answer, RequestError, Rpc, answer, params::Params};
use crate::engine::Submission;

impl Rpc {
    pub(super) async fn send_raw_transaction(&self, params: &Params) -> Answer {
        let tx = decode(&params.get::<Bytes>(0)?)?;
        let sender = tx.signer();
        let hash = self.chain.submit(Submission::Signed(Box::new(tx))).await?;
        self.hold(&sender).await;
        answer(hash)
    }

    pub(super) async fn send_transaction(&self, params: &Params) -> Answer {
        let request: TransactionRequest = params.get(0)?;
        let from = request.from.ok_or_else(|| RequestError::params("from is missing"))?;
        if self.shared().dev_account(&from).is_none() && !self.shared().is_impersonated(&from) {
            return Err(RequestError::refused(format!(
                "unknown account {from}: it is neither unlocked nor impersonated"
            )));
        }
        let own_nonce = request.nonce.is_some();
        let request = Box::new(self.fill(request).await?);
        let hash = self.chain.submit(Submission::Unsigned { from, request }).await?;
        if own_nonce {
            self.hold(&from).await;
        }
        answer(hash)
    }

    /// Hands in a signed transaction and answers as soon as it is taken, whatever nonce its sender remembers.
    pub(crate) async fn submit_raw(&self, raw: &[u8]) -> Result<B256, RequestError> {
        Ok(self.chain.submit(Submission::Signed(Box::new(decode(raw)?))).await?)
    }

    /// Waits until the client can no longer believe in the nonce that it just used: see `NonceRequests`.
    async fn hold(&self, sender: &Address) {
        self.shared().nonce_requests.hold(sender).await;
    }

    /// Completes what an unlocked account may leave open, except for the nonce.
    async fn fill(
        &self,
        mut request: TransactionRequest,
    ) -> Result<TransactionRequest, RequestError> {
        request.normalize_input();
        let chain_id = self.shared().chain_id;
        if let Some(have) = request.chain_id.filter(|it| *it != chain_id) {
            return Err(RequestError::refused(format!(
                "invalid chain id for signer: have {have} want {chain_id}"
            )));
        }
        request.chain_id = Some(chain_id);
        request.to = request.to.or(Some(alloy_primitives::TxKind::Create));
        request.value = request.value.or(Some(U256::ZERO));
        if request.gas.is_none() {
            request.gas = Some(self.estimate_for(request.clone()).await?);
        }
        if request.gas_price.is_none() {
            let tip = request.max_priority_fee_per_gas.unwrap_or_default();
            let base_fee = u128::from(self.head().base_fee);
            request.max_priority_fee_per_gas = Some(tip);
            request.max_fee_per_gas =
                request.max_fee_per_gas.or(Some(base_fee.saturating_mul(2).saturating_add(tip)));
        }
        Ok(request)
    }
}

pub(super) fn decode(raw: &[u8]) -> Result<Recovered<TxEnvelope>, RequestError> {
    let tx = TxEnvelope::decode_2718_exact(raw).map_err(|error| {
        RequestError::refused(format!("transaction could not be decoded: {error}"))
    })?;
    let sender = tx.recover_signer().map_err(|_| RequestError::refused("invalid sender"))?;
    Ok(Recovered::new_unchecked(tx, sender))
}
