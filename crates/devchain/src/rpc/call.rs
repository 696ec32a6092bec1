//! Calls that change nothing: `eth_call`, `eth_estimateGas`, `eth_createAccessList`.

use alloy_consensus::Header;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, TxKind, U64, U256};
use alloy_rpc_types_eth::{
    BlockId, BlockNumberOrTag, BlockOverrides, TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use revm::{
    ExecuteEvm as _,
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction, OutOfGasError},
    },
    state::EvmState,
};
use serde_json::json;

use super::{Answer, RequestError, Rpc, answer, params::Params, quantity};
use crate::{
    evm::{self, Overlay},
    storage::StateAt,
};

/// Gas that a call may use unless the block allows less. Keeps an endless loop to a moment.
pub(super) const CALL_GAS_MAX: u64 = 300_000_000;
/// An estimate may be this much above the least that would do, in thousandths; finding out exactly takes more runs.
const ESTIMATE_TOLERANCE_PERMILLE: u64 = 15;
/// Places that a call may override.
const OVERRIDES_MAX: usize = 10_000;

/// A call in its surroundings: everything needed to run it again with other gas.
struct Scene {
    chain_id: u64,
    state: StateAt,
    header: Header,
    overrides: StateOverride,
    gas_max: u64,
}

impl Rpc {
    pub(super) async fn eth_call(&self, params: &Params) -> Answer {
        let request: TransactionRequest = params.get(0)?;
        let scene = self.scene(params, BlockNumberOrTag::Latest)?;
        self.heavily(move |_| {
            let gas = request.gas.unwrap_or(scene.gas_max).min(scene.gas_max);
            scene.check_funds(&request, 0)?;
            let (result, _) = scene.run(&request, gas)?;
            answer(output(result)?)
        })
        .await
    }

    pub(super) async fn estimate_gas(&self, params: &Params) -> Answer {
        let request: TransactionRequest = params.get(0)?;
        // What is estimated will run in the next block: with its time, which matters to every deadline.
        let scene = self.scene(params, BlockNumberOrTag::Pending)?;
        self.heavily(move |_| quantity(scene.estimate(&request)?)).await
    }

    /// The same without the round trip through JSON, for transactions that leave their gas open.
    pub(super) async fn estimate_for(
        &self,
        request: TransactionRequest,
    ) -> Result<u64, RequestError> {
        let scene = self.scene(&Params::default(), BlockNumberOrTag::Pending)?;
        self.heavily(move |_| scene.estimate(&request)).await
    }

    pub(super) async fn create_access_list(&self, params: &Params) -> Answer {
        let mut request: TransactionRequest = params.get(0)?;
        let scene = self.scene(params, BlockNumberOrTag::Pending)?;
        self.heavily(move |_| {
            let gas = request.gas.unwrap_or(scene.gas_max).min(scene.gas_max);
            let (_, state) = scene.run(&request, gas)?;
            let list = accessed(&request, &state);
            request.access_list = Some(list.clone());
            let (result, _) = scene.run(&request, gas)?;
            let mut report =
                json!({ "accessList": list, "gasUsed": U64::from(result.tx_gas_used()) });
            if let Err(error) = output(result) {
                report["error"] = json!(error.message);
            }
            answer(report)
        })
        .await
    }

    /// Parameters 1 to 3 of a call: block, overridden state, overridden block.
    fn scene(&self, params: &Params, default: BlockNumberOrTag) -> Result<Scene, RequestError> {
        let head = self.head();
        let id: BlockId = params.opt(1)?.unwrap_or(default.into());
        let overrides: StateOverride = params.opt(2)?.unwrap_or_default();
        let places: usize = overrides.values().map(overridden_places).sum();
        if overrides.len() + places > OVERRIDES_MAX {
            return Err(RequestError::params(format!("more than {OVERRIDES_MAX} overrides")));
        }
        let block = self.need_block(&head, Some(id))?;
        let state = head.view.after(&block)?;
        let mut header = block.header;
        match id {
            BlockId::Number(BlockNumberOrTag::Pending) => header = head.draft(),
            // A call at the newest block asks what holds now. Blocks are only made when somebody sends something, so the
            // newest block's own time may be hours ago, and whatever has a deadline would be answered wrongly.
            BlockId::Number(BlockNumberOrTag::Latest) => header.timestamp = head.draft().timestamp,
            BlockId::Number(_) | BlockId::Hash(_) => {}
        }
        if let Some(block) = params.opt::<BlockOverrides>(3)? {
            override_block(&mut header, &block);
        }
        let gas_max = head.gas_limit.min(CALL_GAS_MAX);
        Ok(Scene { chain_id: self.shared().chain_id, state, header, overrides, gas_max })
    }
}

impl Scene {
    fn run(
        &self,
        request: &TransactionRequest,
        gas: u64,
    ) -> Result<(ExecutionResult, EvmState), RequestError> {
        let mut overlay = Overlay::new(self.state.clone());
        for (address, account) in &self.overrides {
            override_account(&mut overlay, *address, account)?;
        }
        let mut evm = evm::for_calls(&mut overlay, self.chain_id, evm::block_env(&self.header));
        match evm.transact(call_env(request, gas, self.chain_id)?) {
            Ok(outcome) => Ok((outcome.result, outcome.state)),
            Err(EVMError::Database(error)) => Err(error.into()),
            Err(EVMError::Transaction(
                InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
                | InvalidTransaction::GasFloorMoreThanGasLimit { .. },
            )) => Err(RequestError::refused(format!("intrinsic gas too low: gas {gas}"))),
            Err(error) => Err(RequestError::refused(error.to_string())),
        }
    }

    /// The least gas, within tolerance, with which `request` succeeds.
    ///
    /// Neither the gas used nor the gas used plus refunds is enough in general: a contract keeps 1/64 of its gas back
    /// from each call it makes, and some look at how much they have. So the answer is searched for by running.
    fn estimate(&self, request: &TransactionRequest) -> Result<u64, RequestError> {
        let price = request.gas_price.or(request.max_fee_per_gas).unwrap_or_default();
        let allowance = self.check_funds(request, price)?;
        let mut high = request.gas.unwrap_or(self.gas_max).min(self.gas_max).min(allowance);
        let (result, _) = self.run(request, high)?;
        let spent = result.gas().total_gas_spent();
        let used = result.tx_gas_used();
        if is_out_of_gas(&result) {
            return Err(RequestError::refused(format!("gas required exceeds allowance ({high})")));
        }
        output(result)?;
        let mut low = used.saturating_sub(1);
        // A transfer, or a call that makes none itself, needs just what it spends.
        let guess = spent.max(used);
        if guess < high && self.succeeds(request, guess)? {
            high = guess;
            if guess == used {
                return Ok(used);
            }
        }
        while low + 1 < high && (high - low) * 1_000 > high * ESTIMATE_TOLERANCE_PERMILLE {
            // Most need little more than they use: look near the lower end first.
            let middle = (low + (high - low) / 2).min(low.saturating_mul(2)).max(low + 1);
            if self.succeeds(request, middle)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high)
    }

    fn succeeds(&self, request: &TransactionRequest, gas: u64) -> Result<bool, RequestError> {
        match self.run(request, gas) {
            Ok((result, _)) => Ok(result.is_success()),
            Err(error) if error.message.starts_with("intrinsic gas too low") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the sender has what it sends. Returns how much gas it can pay for with the rest.
    fn check_funds(&self, request: &TransactionRequest, price: u128) -> Result<u64, RequestError> {
        let value = request.value.unwrap_or_default();
        if value.is_zero() && price == 0 {
            return Ok(u64::MAX);
        }
        let from = request.from.unwrap_or_default();
        let overridden = self.overrides.get(&from).and_then(|it| it.balance);
        let balance = match overridden {
            Some(balance) => balance,
            None => self.state.account(from)?.unwrap_or_default().balance,
        };
        let Some(rest) = balance.checked_sub(value) else {
            return Err(RequestError::refused(format!(
                "insufficient funds for gas * price + value: address {from} have {balance} want {value}"
            )));
        };
        let price = U256::from(price);
        Ok(rest.checked_div(price).map_or(u64::MAX, |it| it.try_into().unwrap_or(u64::MAX)))
    }
}

fn is_out_of_gas(result: &ExecutionResult) -> bool {
    matches!(result, ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. })
}

fn output(result: ExecutionResult) -> Result<alloy_primitives::Bytes, RequestError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RequestError::reverted(&output)),
        ExecutionResult::Halt { reason, .. } => Err(RequestError::refused(halted(&reason))),
    }
}

fn halted(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(OutOfGasError::Basic | OutOfGasError::Memory) => "out of gas".into(),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode => "invalid opcode".into(),
        HaltReason::StackOverflow => "stack limit reached".into(),
        HaltReason::StackUnderflow => "stack underflow".into(),
        HaltReason::InvalidJump => "invalid jump destination".into(),
        HaltReason::CallTooDeep => "max call depth exceeded".into(),
        other => format!("{other:?}"),
    }
}

fn call_env(request: &TransactionRequest, gas: u64, chain_id: u64) -> Result<TxEnv, RequestError> {
    let data =
        request.input.unique_input().map_err(|error| RequestError::params(error.to_string()))?;
    if request.gas_price.is_some() && request.max_fee_per_gas.is_some() {
        return Err(RequestError::params(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ));
    }
    let mut env = TxEnv {
        caller: request.from.unwrap_or_default(),
        gas_limit: gas,
        gas_price: request.gas_price.or(request.max_fee_per_gas).unwrap_or_default(),
        gas_priority_fee: request.max_fee_per_gas.and(request.max_priority_fee_per_gas),
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: data.cloned().unwrap_or_default(),
        nonce: request.nonce.unwrap_or_default(),
        chain_id: Some(chain_id),
        access_list: request.access_list.clone().unwrap_or_default(),
        ..TxEnv::default()
    };
    if let Some(list) = &request.authorization_list {
        env.set_signed_authorization(list.clone());
    }
    env.derive_tx_type().map_err(|error| RequestError::params(error.to_string()))?;
    Ok(env)
}

fn overridden_places(account: &AccountOverride) -> usize {
    let slots = |map: &Option<alloy_primitives::map::B256HashMap<B256>>| {
        map.as_ref().map_or(0, |it| it.len())
    };
    slots(&account.state) + slots(&account.state_diff)
}

fn override_account(
    overlay: &mut Overlay,
    address: Address,
    account: &AccountOverride,
) -> Result<(), RequestError> {
    let mut stored = overlay.account(address)?;
    stored.balance = account.balance.unwrap_or(stored.balance);
    stored.nonce = account.nonce.unwrap_or(stored.nonce);
    overlay.set_account(address, stored);
    if let Some(code) = &account.code {
        overlay.set_code(address, code)?;
    }
    if account.state.is_some() {
        overlay.forget_storage(address);
    }
    for (slot, value) in account.state.iter().chain(&account.state_diff).flatten() {
        overlay.set_slot(address, (*slot).into(), (*value).into());
    }
    Ok(())
}

fn override_block(header: &mut Header, block: &BlockOverrides) {
    if let Some(number) = block.number.and_then(|it| it.try_into().ok()) {
        header.number = number;
    }
    header.timestamp = block.time.unwrap_or(header.timestamp);
    header.gas_limit = block.gas_limit.unwrap_or(header.gas_limit);
    header.beneficiary = block.coinbase.unwrap_or(header.beneficiary);
    header.mix_hash = block.random.unwrap_or(header.mix_hash);
    if let Some(base_fee) = block.base_fee.and_then(|it| it.try_into().ok()) {
        header.base_fee_per_gas = Some(base_fee);
    }
}

/// What a transaction that left `state` behind looked at, apart from what is warm anyway.
fn accessed(request: &TransactionRequest, state: &EvmState) -> AccessList {
    let from = request.from.unwrap_or_default();
    let to = request.to.and_then(|it| it.to().copied());
    let mut items: Vec<AccessListItem> = state
        .iter()
        .filter_map(|(address, account)| {
            let mut storage_keys: Vec<B256> =
                account.storage.keys().map(|it| B256::from(*it)).collect();
            storage_keys.sort_unstable();
            let warm = *address == from || Some(*address) == to || is_precompile(address);
            let idle = account.info.code_hash == KECCAK256_EMPTY && !account.is_touched();
            let skip = storage_keys.is_empty() && (warm || idle);
            (!skip).then_some(AccessListItem { address: *address, storage_keys })
        })
        .collect();
    items.sort_unstable_by_key(|it| it.address);
    AccessList(items)
}

fn is_precompile(address: &Address) -> bool {
    address.as_slice()[..19].iter().all(|it| *it == 0) && (1..=0x11).contains(&address[19])
}
