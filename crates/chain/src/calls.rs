//! What to send to the market's contracts, ready to be sent.
//!
//! Each call of the market carries a fixed limit of gas, about twice what it was seen to use, so that sending needs no
//! simulation first. Unused gas costs nothing. What is written to storage by length (parameters, results) counts extra.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use orders::{AppOrder, DatasetOrder, Operation, Quartet, RequestOrder, WorkerpoolOrder};
use primitives::{DealId, Nrlc, ResultDigest, ResultHash, ResultSeal, TaskId};

use crate::abi::{
    AppRegistry, DatasetRegistry, Hub, IHubSettlement, IexecLibOrders_v5 as lib, RLC, Workerpool,
    WorkerpoolRegistry,
};
use crate::types::Contracts;
use crate::wallet::TxRequest;

/// A word of storage and the call data for it.
const WORD_GAS: u64 = 25_000;
const MATCH_GAS: u64 = 1_700_000;
const INITIALIZE_GAS: u64 = 250_000;
const CONTRIBUTE_GAS: u64 = 800_000;
const REVEAL_GAS: u64 = 200_000;
const FINALIZE_GAS: u64 = 2_000_000;
/// For callbacks, as hubs usually have it: they give 200,000.
const CALLBACK_GAS: u64 = 500_000;
const CONTRIBUTE_AND_FINALIZE_GAS: u64 = 1_100_000;
const SETTLE_GAS: u64 = 150_000;
/// What one transaction may use on chains since EIP-7825; a hundred settled tasks need half of it.
const TRANSACTION_GAS_MAX: u64 = 1 << 24;
const REOPEN_GAS: u64 = 500_000;
const CLAIM_GAS: u64 = 300_000;
const CREATE_GAS: u64 = 1_400_000;
const ORDER_GAS: u64 = 250_000;
const LEDGER_GAS: u64 = 200_000;
const BASE_GAS: u64 = 100_000;

/// Gas for bytes that a contract keeps.
fn kept(length: usize) -> u64 {
    u64::try_from(length.div_ceil(32)).unwrap_or(u64::MAX / WORD_GAS).saturating_mul(WORD_GAS)
}

fn each(count: usize, gas: u64) -> u64 {
    BASE_GAS.saturating_add(u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(gas))
}

fn to(contract: Address, call: &impl SolCall, gas: u64) -> TxRequest {
    TxRequest::call(contract, call.abi_encode()).gas(gas)
}

/* DEALS */

/// Makes a deal; the requester pays from its stake. Anyone may send it.
pub fn match_orders(hub: Address, quartet: &Quartet) -> TxRequest {
    let gas = MATCH_GAS + kept(quartet.request.params.len());
    to(hub, &match_call(quartet), gas)
}

/// Makes a deal that the sender pays for.
pub fn sponsor_match_orders(hub: Address, quartet: &Quartet) -> TxRequest {
    let Hub::matchOrdersCall { apporder, datasetorder, workerpoolorder, requestorder } =
        match_call(quartet);
    let call =
        Hub::sponsorMatchOrdersCall { apporder, datasetorder, workerpoolorder, requestorder };
    to(hub, &call, MATCH_GAS + kept(quartet.request.params.len()))
}

/// Deposits that much RLC from the sender's wallet and makes a deal of the sender's own request, in one transaction.
pub fn deposit_and_match(contracts: &Contracts, missing: Nrlc, quartet: &Quartet) -> TxRequest {
    let data = match_call(quartet).abi_encode();
    let gas = MATCH_GAS + LEDGER_GAS + kept(quartet.request.params.len());
    approve_and_call(contracts, missing, data).gas(gas)
}

fn match_call(quartet: &Quartet) -> Hub::matchOrdersCall {
    Hub::matchOrdersCall {
        apporder: app_order(&quartet.app),
        datasetorder: dataset_order(&quartet.dataset),
        workerpoolorder: workerpool_order(&quartet.workerpool),
        requestorder: request_order(&quartet.request),
    }
}

/* TASKS */

/// Initialises tasks, each by its deal and index in the request order. All or none.
pub fn initialize_array(hub: Address, tasks: &[(DealId, U256)]) -> TxRequest {
    let (dealids, idxs) = tasks.iter().map(|(deal, index)| (deal.0, *index)).unzip();
    let call = Hub::initializeArrayCall { dealids, idxs };
    to(hub, &call, each(tasks.len(), INITIALIZE_GAS))
}

/// What stands for an enclave: the key that the scheduler named for it, and that key's signature over the result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnclaveProof {
    /// The key's address; zero without an enclave.
    pub challenge: Address,
    /// The signature; empty without an enclave.
    pub signature: Bytes,
}

/// A worker's contribution without an enclave. `authorization`: the scheduler's signature.
pub fn contribute(
    hub: Address,
    task: TaskId,
    hash: ResultHash,
    seal: ResultSeal,
    authorization: Bytes,
) -> TxRequest {
    contribute_from_enclave(hub, task, hash, seal, EnclaveProof::default(), authorization)
}

/// A worker's contribution that an enclave stands for.
pub fn contribute_from_enclave(
    hub: Address,
    task: TaskId,
    hash: ResultHash,
    seal: ResultSeal,
    enclave: EnclaveProof,
    authorization: Bytes,
) -> TxRequest {
    let call = Hub::contributeCall {
        taskid: task.0,
        resultHash: hash.0,
        resultSeal: seal.0,
        enclaveChallenge: enclave.challenge,
        enclaveSign: enclave.signature,
        authorizationSign: authorization,
    };
    to(hub, &call, CONTRIBUTE_GAS)
}

/// A winner opens its contribution.
pub fn reveal(hub: Address, task: TaskId, digest: ResultDigest) -> TxRequest {
    to(hub, &Hub::revealCall { taskid: task.0, resultDigest: digest.0 }, REVEAL_GAS)
}

/// The scheduler ends a task and everybody is paid. `callback` is empty unless the deal has one.
pub fn finalize(hub: Address, task: TaskId, results: Bytes, callback: Bytes) -> TxRequest {
    let gas = FINALIZE_GAS + kept_results(&results, &callback);
    to(hub, &Hub::finalizeCall { taskid: task.0, results, resultsCallback: callback }, gas)
}

/// A single worker contributes and ends a task of trust 1.
pub fn contribute_and_finalize(
    hub: Address,
    task: TaskId,
    digest: ResultDigest,
    results: Bytes,
    callback: Bytes,
    authorization: Bytes,
) -> TxRequest {
    let enclave = EnclaveProof::default();
    contribute_and_finalize_from_enclave(
        hub,
        task,
        digest,
        results,
        callback,
        enclave,
        authorization,
    )
}

/// The same with a result that an enclave stands for.
pub fn contribute_and_finalize_from_enclave(
    hub: Address,
    task: TaskId,
    digest: ResultDigest,
    results: Bytes,
    callback: Bytes,
    enclave: EnclaveProof,
    authorization: Bytes,
) -> TxRequest {
    let gas = CONTRIBUTE_AND_FINALIZE_GAS + kept_results(&results, &callback);
    let call = Hub::contributeAndFinalizeCall {
        taskid: task.0,
        resultDigest: digest.0,
        results,
        resultsCallback: callback,
        enclaveChallenge: enclave.challenge,
        enclaveSign: enclave.signature,
        authorizationSign: authorization,
    };
    to(hub, &call, gas)
}

/// One task of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The task's index in the request order.
    pub index: U256,
    /// What the worker computed.
    pub digest: ResultDigest,
    /// Where the result is.
    pub results: Bytes,
}

/// A single worker initialises, contributes and ends many tasks of one deal of trust 1, without enclave and callback.
/// All or none: a task that is past its beginning makes the whole batch fail. `authorization`: the scheduler's signature
/// over the worker, the deal and the indices in this order.
///
/// Only for hubs that have it ([`crate::Client::has_settle`]); the original has not.
pub fn settle(
    hub: Address,
    deal: DealId,
    items: Vec<Settlement>,
    authorization: Bytes,
) -> TxRequest {
    let results: u64 = items.iter().map(|item| kept(item.results.len())).sum();
    let gas = each(items.len(), SETTLE_GAS).saturating_add(results).min(TRANSACTION_GAS_MAX);
    let shape = |item: Settlement| IHubSettlement::Settlement {
        index: item.index,
        resultDigest: item.digest.0,
        results: item.results,
    };
    let items = items.into_iter().map(shape).collect();
    to(hub, &Hub::settleCall { dealid: deal.0, items, authorization }, gas)
}

fn kept_results(results: &Bytes, callback: &Bytes) -> u64 {
    let called = if callback.is_empty() { 0 } else { CALLBACK_GAS };
    kept(results.len()) + kept(callback.len()) + called
}

/// The same with enough gas for a callback that is given that much by the hub, which keeps back a 64th of what it has and
/// refuses when that shows that the callback was given less.
pub(crate) fn calling_back(request: TxRequest, allotted: u64) -> TxRequest {
    let needed = allotted.saturating_add(allotted / 63).saturating_add(BASE_GAS);
    let more = needed.saturating_sub(CALLBACK_GAS);
    match request.gas_limit {
        Some(gas) => request.gas(gas.saturating_add(more).min(TRANSACTION_GAS_MAX)),
        None => request,
    }
}

/// The scheduler takes contributions again, after nobody revealed.
pub fn reopen(hub: Address, task: TaskId) -> TxRequest {
    to(hub, &Hub::reopenCall { taskid: task.0 }, REOPEN_GAS)
}

/// Fails tasks that are past their final deadline; everybody gets back what they locked, but for the scheduler.
pub fn claim_array(hub: Address, tasks: &[TaskId]) -> TxRequest {
    let taskids = tasks.iter().map(|task| task.0).collect();
    to(hub, &Hub::claimArrayCall { taskids }, each(tasks.len(), CLAIM_GAS))
}

/// The same for tasks that were never initialised.
pub fn initialize_and_claim_array(hub: Address, tasks: &[(DealId, U256)]) -> TxRequest {
    let (dealids, idxs) = tasks.iter().map(|(deal, index)| (deal.0, *index)).unzip();
    let call = Hub::initializeAndClaimArrayCall { dealids, idxs };
    to(hub, &call, each(tasks.len(), INITIALIZE_GAS + CLAIM_GAS))
}

/* ORDERS */

/// Signs or closes an app order on the chain, by the app's owner.
pub fn manage_app_order(hub: Address, order: &AppOrder, operation: Operation) -> TxRequest {
    let apporderoperation = lib::AppOrderOperation {
        order: app_order(order),
        operation: operation.number(),
        sign: Bytes::new(),
    };
    to(hub, &Hub::manageAppOrderCall { apporderoperation }, ORDER_GAS)
}

/// Signs or closes a dataset order on the chain, by the dataset's owner.
pub fn manage_dataset_order(hub: Address, order: &DatasetOrder, operation: Operation) -> TxRequest {
    let datasetorderoperation = lib::DatasetOrderOperation {
        order: dataset_order(order),
        operation: operation.number(),
        sign: Bytes::new(),
    };
    to(hub, &Hub::manageDatasetOrderCall { datasetorderoperation }, ORDER_GAS)
}

/// Signs or closes a workerpool order on the chain, by the pool's owner.
pub fn manage_workerpool_order(
    hub: Address,
    order: &WorkerpoolOrder,
    operation: Operation,
) -> TxRequest {
    let workerpoolorderoperation = lib::WorkerpoolOrderOperation {
        order: workerpool_order(order),
        operation: operation.number(),
        sign: Bytes::new(),
    };
    to(hub, &Hub::manageWorkerpoolOrderCall { workerpoolorderoperation }, ORDER_GAS)
}

/// Signs or closes a request order on the chain, by the requester.
pub fn manage_request_order(hub: Address, order: &RequestOrder, operation: Operation) -> TxRequest {
    let requestorderoperation = lib::RequestOrderOperation {
        order: request_order(order),
        operation: operation.number(),
        sign: Bytes::new(),
    };
    let gas = ORDER_GAS + kept(order.params.len());
    to(hub, &Hub::manageRequestOrderCall { requestorderoperation }, gas)
}

/* MONEY */

/// Lets the hub take that much of the sender's RLC.
pub fn approve(contracts: &Contracts, amount: Nrlc) -> TxRequest {
    let call = RLC::approveCall { spender: contracts.hub, amount: amount.0 };
    to(contracts.rlc, &call, LEDGER_GAS)
}

/// Approves and at once has the hub deposit, and then do what `data` says (nothing, or a match).
pub fn approve_and_call(contracts: &Contracts, amount: Nrlc, data: Vec<u8>) -> TxRequest {
    let call =
        RLC::approveAndCallCall { spender: contracts.hub, amount: amount.0, data: data.into() };
    to(contracts.rlc, &call, LEDGER_GAS)
}

/// Turns RLC of the sender's wallet into stake, in one transaction.
pub fn stake(contracts: &Contracts, amount: Nrlc) -> TxRequest {
    approve_and_call(contracts, amount, Vec::new())
}

/// Turns RLC that was approved into stake.
pub fn deposit(hub: Address, amount: Nrlc) -> TxRequest {
    to(hub, &Hub::depositCall { amount: amount.0 }, LEDGER_GAS)
}

/// Turns RLC that was approved into somebody else's stake.
pub fn deposit_for(hub: Address, amount: Nrlc, target: Address) -> TxRequest {
    to(hub, &Hub::depositForCall { amount: amount.0, target }, LEDGER_GAS)
}

/// Turns free stake into RLC.
pub fn withdraw(hub: Address, amount: Nrlc) -> TxRequest {
    to(hub, &Hub::withdrawCall { amount: amount.0 }, LEDGER_GAS)
}

/// Sends RLC of the sender's wallet.
pub fn transfer_rlc(contracts: &Contracts, recipient: Address, amount: Nrlc) -> TxRequest {
    let call = RLC::transferCall { to: recipient, amount: amount.0 };
    to(contracts.rlc, &call, LEDGER_GAS)
}

/* ASSETS */

/// An app as it is to be registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewApp {
    /// Who gets it.
    pub owner: Address,
    /// For people.
    pub name: String,
    /// Such as `WASM` or `DOCKER`.
    pub kind: String,
    /// Where it is.
    pub multiaddr: Bytes,
    /// SHA-256 of it.
    pub checksum: B256,
    /// What an enclave must measure; empty for none.
    pub mrenclave: Bytes,
}

impl NewApp {
    /// Where it will be: the address follows from everything above.
    pub async fn address(&self, client: &crate::Client) -> crate::Result<Address> {
        let NewApp { owner, name, kind, multiaddr, checksum, mrenclave } = self.clone();
        let call = AppRegistry::predictAppCall {
            owner,
            name,
            appType: kind,
            multiaddr,
            checksum,
            mrenclave,
        };
        client.view(client.contracts().app_registry, call).await
    }
}

/// A dataset as it is to be registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewDataset {
    /// Who gets it.
    pub owner: Address,
    /// For people.
    pub name: String,
    /// Where it is.
    pub multiaddr: Bytes,
    /// SHA-256 of it.
    pub checksum: B256,
}

impl NewDataset {
    /// Where it will be.
    pub async fn address(&self, client: &crate::Client) -> crate::Result<Address> {
        let NewDataset { owner, name, multiaddr, checksum } = self.clone();
        let call = DatasetRegistry::predictDatasetCall { owner, name, multiaddr, checksum };
        client.view(client.contracts().dataset_registry, call).await
    }
}

/// A workerpool as it is to be registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewWorkerpool {
    /// The scheduler.
    pub owner: Address,
    /// For people.
    pub description: String,
}

impl NewWorkerpool {
    /// Where it will be.
    pub async fn address(&self, client: &crate::Client) -> crate::Result<Address> {
        let NewWorkerpool { owner, description } = self.clone();
        let call = WorkerpoolRegistry::predictWorkerpoolCall { owner, description };
        client.view(client.contracts().workerpool_registry, call).await
    }
}

/// Registers an app. Fails if the very same is registered already.
pub fn create_app(contracts: &Contracts, app: NewApp) -> TxRequest {
    let gas =
        CREATE_GAS + kept(app.name.len()) + kept(app.multiaddr.len()) + kept(app.mrenclave.len());
    let NewApp { owner, name, kind, multiaddr, checksum, mrenclave } = app;
    let call =
        AppRegistry::createAppCall { owner, name, appType: kind, multiaddr, checksum, mrenclave };
    to(contracts.app_registry, &call, gas)
}

/// Registers a dataset.
pub fn create_dataset(contracts: &Contracts, dataset: NewDataset) -> TxRequest {
    let gas = CREATE_GAS + kept(dataset.name.len()) + kept(dataset.multiaddr.len());
    let NewDataset { owner, name, multiaddr, checksum } = dataset;
    let call = DatasetRegistry::createDatasetCall { owner, name, multiaddr, checksum };
    to(contracts.dataset_registry, &call, gas)
}

/// Registers a workerpool.
pub fn create_workerpool(contracts: &Contracts, workerpool: NewWorkerpool) -> TxRequest {
    let gas = CREATE_GAS + kept(workerpool.description.len());
    let NewWorkerpool { owner, description } = workerpool;
    let call = WorkerpoolRegistry::createWorkerpoolCall { owner, description };
    to(contracts.workerpool_registry, &call, gas)
}

/// Changes a workerpool's terms, by its owner: per cent of the price that workers lock, and that the scheduler keeps.
pub fn set_policy(workerpool: Address, stake_percent: u64, reward_percent: u64) -> TxRequest {
    let call = Workerpool::changePolicyCall {
        workerStakeRatioPolicy: U256::from(stake_percent),
        schedulerRewardRatioPolicy: U256::from(reward_percent),
    };
    to(workerpool, &call, LEDGER_GAS)
}

/* SHAPES */

fn app_order(order: &AppOrder) -> lib::AppOrder {
    lib::AppOrder {
        app: order.app,
        appprice: order.price,
        volume: order.volume,
        tag: order.tag.0,
        datasetrestrict: order.dataset_restrict,
        workerpoolrestrict: order.workerpool_restrict,
        requesterrestrict: order.requester_restrict,
        salt: order.salt,
        sign: order.sign.clone(),
    }
}

pub(crate) fn dataset_order(order: &DatasetOrder) -> lib::DatasetOrder {
    lib::DatasetOrder {
        dataset: order.dataset,
        datasetprice: order.price,
        volume: order.volume,
        tag: order.tag.0,
        apprestrict: order.app_restrict,
        workerpoolrestrict: order.workerpool_restrict,
        requesterrestrict: order.requester_restrict,
        salt: order.salt,
        sign: order.sign.clone(),
    }
}

fn workerpool_order(order: &WorkerpoolOrder) -> lib::WorkerpoolOrder {
    lib::WorkerpoolOrder {
        workerpool: order.workerpool,
        workerpoolprice: order.price,
        volume: order.volume,
        tag: order.tag.0,
        category: order.category,
        trust: order.trust,
        apprestrict: order.app_restrict,
        datasetrestrict: order.dataset_restrict,
        requesterrestrict: order.requester_restrict,
        salt: order.salt,
        sign: order.sign.clone(),
    }
}

fn request_order(order: &RequestOrder) -> lib::RequestOrder {
    lib::RequestOrder {
        app: order.app,
        appmaxprice: order.app_max_price,
        dataset: order.dataset,
        datasetmaxprice: order.dataset_max_price,
        workerpool: order.workerpool,
        workerpoolmaxprice: order.workerpool_max_price,
        requester: order.requester,
        volume: order.volume,
        tag: order.tag.0,
        category: order.category,
        trust: order.trust,
        beneficiary: order.beneficiary,
        callback: order.callback,
        params: order.params.clone(),
        salt: order.salt,
        sign: order.sign.clone(),
    }
}
