//! A market on a chain: reads, and the two ways to take part ([`Client::follow`], [`crate::Wallet`]).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::SolCall;
use orders::DatasetOrder;
use parking_lot::Mutex;
use primitives::{
    CategoryId, DealId, Nrlc, OrderHash, ResultDigest, ResultHash, ResultSeal, Tag, TaskId,
    UnixSeconds,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::abi::{
    AppRegistry, Hub, IexecLibCore_v5 as core, NODE_INTERFACE, gasEstimateL1ComponentCall,
    thereIsNoSuchFunctionCall,
};
use crate::blocks::{Header, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{ChainEvent, decode};
use crate::follow::{Cursor, Follower, Live};
use crate::receipt::Receipt;
use crate::rpc::Rpc;
use crate::types::{
    Account, App, AssetKind, AssetTerms, Category, Contracts, Contribution, ContributionStatus,
    Dataset, Deal, Task, TaskStatus, Workerpool,
};
use crate::wallet::{Fees, Lanes, TxRequest, fetch_receipt};

/// Blocks that one search for logs spans: what the stricter of public nodes take.
pub(crate) const SPAN: u64 = 2_000;
/// Searches for one task: some days of a chain with four blocks a second.
pub(crate) const SPANS_MAX: usize = 1_024;
/// How long the tip that a chain expects is believed.
const TIP_KEPT: Duration = Duration::from_secs(60);

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How often to look for new blocks where the node cannot push.
    pub poll_interval: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { poll_interval: Duration::from_millis(250) }
    }
}

/// A market as seen through one node. Cheap to clone; the connection closes with the last clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    contracts: Contracts,
    lanes: Arc<Lanes>,
    settles: OnceLock<bool>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// What reads and wallets share.
pub(crate) struct Link {
    pub(crate) rpc: Arc<Rpc>,
    pub(crate) chain_id: u64,
    pub(crate) live: Arc<Live>,
    tip: Mutex<Option<(u128, Instant)>>,
    /// Whether gas pays for data too; not known before the first transaction.
    charges_data: OnceLock<bool>,
}

impl Link {
    /// What to offer for gas now: twice the base fee, so that it holds for several full blocks.
    pub(crate) async fn fees(&self) -> Result<Fees> {
        match self.live.head().base_fee() {
            Some(base) => {
                let tip = self.tip().await;
                Ok(Fees::Market { max: base.saturating_mul(2).saturating_add(tip), tip })
            }
            None => {
                let price: U256 = self.rpc.request("eth_gasPrice", json!([])).await?;
                Ok(Fees::Flat { price: price.saturating_to() })
            }
        }
    }

    /// Gas for bringing the transaction's data to the chain below, on rollups of the Arbitrum kind, whose nodes answer
    /// for it at an address without code; zero elsewhere.
    pub(crate) async fn data_gas(&self, request: &TxRequest) -> u64 {
        if self.charges_data.get() == Some(&false) {
            return 0;
        }
        let call = gasEstimateL1ComponentCall {
            to: request.to.to().copied().unwrap_or_default(),
            contractCreation: request.to.is_create(),
            data: request.data.clone(),
        };
        let params =
            json!([{ "to": NODE_INTERFACE, "data": Bytes::from(call.abi_encode()) }, "latest"]);
        let answer: Result<Bytes> = self.rpc.request("eth_call", params).await;
        match answer.map(|words| gasEstimateL1ComponentCall::abi_decode_returns(&words)) {
            Ok(Ok(answer)) => {
                self.charges_data.get_or_init(|| true);
                // Its price may rise until the transaction is in.
                answer.gasEstimateForL1.saturating_mul(2)
            }
            Ok(Err(_)) => {
                self.charges_data.get_or_init(|| false);
                0
            }
            Err(error) if error.is_retryable() => 0,
            Err(_) => {
                self.charges_data.get_or_init(|| false);
                0
            }
        }
    }

    async fn tip(&self) -> u128 {
        let kept = *self.tip.lock();
        if let Some((tip, at)) = kept
            && at.elapsed() < TIP_KEPT
        {
            return tip;
        }
        // Not every node answers this; where it does not, no tip is expected.
        let asked: Result<U256> = self.rpc.request("eth_maxPriorityFeePerGas", json!([])).await;
        let tip = asked.map_or(0, |tip| tip.saturating_to());
        *self.tip.lock() = Some((tip, Instant::now()));
        tip
    }
}

/// Where a chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// As the block says.
    pub timestamp: UnixSeconds,
}

impl From<&Header> for Head {
    fn from(header: &Header) -> Self {
        Self { number: header.number(), hash: header.hash, timestamp: header.timestamp() }
    }
}

impl Client {
    /// Connects to the market of that hub through `ws://`, `wss://`, `http://` or `https://`.
    ///
    /// # Errors
    /// The node is not reached, or there is no hub at that address.
    pub async fn connect(rpc: &Url, hub: Address) -> Result<Self> {
        Self::connect_with(rpc, hub, ClientOptions::default()).await
    }

    /// Connects with options.
    pub async fn connect_with(rpc: &Url, hub: Address, options: ClientOptions) -> Result<Self> {
        let rpc = Arc::new(Rpc::connect(rpc).await?);
        let at = |address: Address| (Arc::clone(&rpc), address);
        let (token, apps, datasets, workerpools) = futures::try_join!(
            view(at(hub), Hub::tokenCall {}),
            view(at(hub), Hub::appregistryCall {}),
            view(at(hub), Hub::datasetregistryCall {}),
            view(at(hub), Hub::workerpoolregistryCall {}),
        )?;
        let contracts = Contracts {
            hub,
            rlc: token,
            app_registry: apps,
            dataset_registry: datasets,
            workerpool_registry: workerpools,
        };
        let watched = vec![hub, apps, datasets, workerpools];
        Self::assemble(rpc, contracts, watched, options).await
    }

    /// Connects to a chain without a market: enough for a wallet.
    pub async fn connect_bare(rpc: &Url) -> Result<Self> {
        let rpc = Arc::new(Rpc::connect(rpc).await?);
        let nowhere = Contracts {
            hub: Address::ZERO,
            rlc: Address::ZERO,
            app_registry: Address::ZERO,
            dataset_registry: Address::ZERO,
            workerpool_registry: Address::ZERO,
        };
        Self::assemble(rpc, nowhere, Vec::new(), ClientOptions::default()).await
    }

    async fn assemble(
        rpc: Arc<Rpc>,
        contracts: Contracts,
        watched: Vec<Address>,
        options: ClientOptions,
    ) -> Result<Self> {
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        let chain_id: U64 = rpc.request("eth_chainId", json!([])).await?;
        let reader = Reader { rpc: Arc::clone(&rpc), watched: Arc::new(watched) };
        let live = Live::start(reader, options.poll_interval, stop.clone()).await?;
        let link = Arc::new(Link {
            rpc,
            chain_id: chain_id.to(),
            live: Arc::new(live),
            tip: Mutex::default(),
            charges_data: OnceLock::new(),
        });
        let lanes = Arc::new(Lanes::new(stop.clone()));
        let watch = Arc::clone(&lanes).watch(Arc::clone(&link));
        tokio::spawn(stop.clone().run_until_cancelled_owned(watch));
        let inner = Inner {
            link,
            contracts,
            lanes,
            settles: OnceLock::new(),
            stop,
            _stop_on_drop: stop_on_drop,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.inner.link
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.inner.lanes
    }

    /// The chain's id.
    pub fn chain_id(&self) -> u64 {
        self.inner.link.chain_id
    }

    /// The hub.
    pub fn hub(&self) -> Address {
        self.inner.contracts.hub
    }

    /// The token that the hub takes.
    pub fn rlc(&self) -> Address {
        self.inner.contracts.rlc
    }

    /// All contracts of the market.
    pub fn contracts(&self) -> Contracts {
        self.inner.contracts
    }

    /// The registry of such assets.
    pub fn registry(&self, kind: AssetKind) -> Address {
        match kind {
            AssetKind::App => self.inner.contracts.app_registry,
            AssetKind::Dataset => self.inner.contracts.dataset_registry,
            AssetKind::Workerpool => self.inner.contracts.workerpool_registry,
        }
    }

    /// What orders of this market are signed for.
    pub fn domain(&self) -> orders::Domain {
        orders::Domain { chain_id: self.chain_id(), hub: self.hub() }
    }

    /// News of the market after that cursor: what was missed first, then as it happens. May be called by many; they
    /// share one reader at the head.
    pub fn follow(&self, from: Cursor) -> Follower {
        self.inner.link.live.follow(from, &self.inner.stop)
    }

    /// The newest block, asked for.
    pub async fn head(&self) -> Result<Head> {
        Ok(Head::from(&self.reader().head().await?))
    }

    /// The newest block that was pushed here; asks nobody.
    pub fn last_head(&self) -> Head {
        Head::from(&self.inner.link.live.head())
    }

    fn reader(&self) -> Reader {
        Reader { rpc: Arc::clone(&self.inner.link.rpc), watched: Arc::new(Vec::new()) }
    }

    /// Calls a view of a contract at the newest block.
    pub async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return> {
        view((Arc::clone(&self.inner.link.rpc), to), call).await
    }

    async fn ask<C: SolCall>(&self, call: C) -> Result<C::Return> {
        self.view(self.hub(), call).await
    }

    /// A deal.
    ///
    /// # Errors
    /// [`Error::is_unknown`] if there is none of that id.
    pub async fn deal(&self, id: DealId) -> Result<Deal> {
        let deal = self.ask(Hub::viewDealCall { dealid: id.0 }).await?;
        if deal.app.pointer.is_zero() {
            return Err(Error::new(format!("reading deal {id}"), ErrorKind::Unknown("deal")));
        }
        Ok(Deal::from(deal))
    }

    /// A task; [`TaskStatus::Unset`] if it is not initialised or does not exist.
    pub async fn task(&self, id: TaskId) -> Result<Task> {
        let task = self.ask(Hub::viewTaskCall { taskid: id.0 }).await?;
        Task::try_from(task)
    }

    /// A worker's contribution to a task.
    pub async fn contribution(&self, task: TaskId, worker: Address) -> Result<Contribution> {
        let call = Hub::viewContributionCall { taskid: task.0, worker };
        Contribution::try_from(self.ask(call).await?)
    }

    /// A category.
    ///
    /// # Errors
    /// [`Error::is_unknown`] if there is none of that number.
    pub async fn category(&self, id: CategoryId) -> Result<Category> {
        match self.ask(Hub::viewCategoryCall { catid: id.0 }).await {
            Ok(category) => Ok(Category {
                name: category.name,
                description: category.description,
                work_clock_seconds: category.workClockTimeRef.saturating_to(),
            }),
            Err(error) if error.is_revert() => {
                Err(Error::new(format!("reading category {id}"), ErrorKind::Unknown("category")))
            }
            Err(error) => Err(error),
        }
    }

    /// How many categories there are.
    pub async fn category_count(&self) -> Result<u64> {
        Ok(self.ask(Hub::countCategoryCall {}).await?.saturating_to())
    }

    /// An app.
    ///
    /// # Errors
    /// [`Error::is_unknown`] if no app of that address is registered.
    pub async fn app(&self, app: Address) -> Result<App> {
        self.known(AssetKind::App, app, self.ask(Hub::viewAppCall { app })).await.map(|info| App {
            owner: info.owner,
            name: info.m_appName,
            kind: info.m_appType,
            multiaddr: info.m_appMultiaddr,
            checksum: info.m_appChecksum,
            mrenclave: info.m_appMREnclave,
        })
    }

    /// A dataset.
    ///
    /// # Errors
    /// [`Error::is_unknown`] if no dataset of that address is registered.
    pub async fn dataset(&self, dataset: Address) -> Result<Dataset> {
        let info = self.ask(Hub::viewDatasetCall { dataset });
        self.known(AssetKind::Dataset, dataset, info).await.map(|info| Dataset {
            owner: info.owner,
            name: info.m_datasetName,
            multiaddr: info.m_datasetMultiaddr,
            checksum: info.m_datasetChecksum,
        })
    }

    /// A workerpool.
    ///
    /// # Errors
    /// [`Error::is_unknown`] if no workerpool of that address is registered.
    pub async fn workerpool(&self, workerpool: Address) -> Result<Workerpool> {
        let info = self.ask(Hub::viewWorkerpoolCall { workerpool });
        self.known(AssetKind::Workerpool, workerpool, info).await.map(|info| Workerpool {
            owner: info.owner,
            description: info.m_workerpoolDescription,
            worker_stake_ratio: info.m_workerStakeRatioPolicy,
            scheduler_reward_ratio: info.m_schedulerRewardRatioPolicy,
        })
    }

    /// An asset of that kind, or that there is none: the hub itself would describe any contract that looks like one,
    /// and refuse an address without code in silence.
    async fn known<T>(
        &self,
        kind: AssetKind,
        asset: Address,
        info: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (registered, info) = futures::join!(self.is_registered(kind, asset), info);
        if registered? {
            return info;
        }
        let what = match kind {
            AssetKind::App => "app",
            AssetKind::Dataset => "dataset",
            AssetKind::Workerpool => "workerpool",
        };
        Err(Error::new(format!("looking up {asset}"), ErrorKind::Unknown(what)))
    }

    /// Stake of an account in the hub.
    pub async fn account(&self, account: Address) -> Result<Account> {
        let account = self.ask(Hub::viewAccountCall { account }).await?;
        Ok(Account { stake: Nrlc(account.stake), locked: Nrlc(account.locked) })
    }

    /// A worker's score.
    pub async fn score(&self, worker: Address) -> Result<U256> {
        self.ask(Hub::viewScoreCall { worker }).await
    }

    /// How much of an order is used up.
    pub async fn consumed(&self, order: OrderHash) -> Result<U256> {
        self.ask(Hub::viewConsumedCall { orderHash: order.0 }).await
    }

    /// Who signed that order on the chain; zero if nobody did.
    pub async fn presigner(&self, order: OrderHash) -> Result<Address> {
        self.ask(Hub::viewPresignedCall { orderHash: order.0 }).await
    }

    /// Whether the hub takes that as the account's signature over an order: a signature of its key, a contract's own
    /// judgement, or a signature given on the chain.
    pub async fn verify_signature(
        &self,
        account: Address,
        hash: B256,
        signature: Bytes,
    ) -> Result<bool> {
        self.ask(Hub::verifyPresignatureOrSignatureCall { account, hash, signature }).await
    }

    /// Whether the hub lets a dataset of that order join a deal that was made without one.
    pub async fn fits_deal(&self, order: &DatasetOrder, deal: DealId) -> Result<bool> {
        let order = crate::calls::dataset_order(order);
        let call = Hub::assertDatasetDealCompatibilityCall { datasetOrder: order, dealId: deal.0 };
        let call = json!([{"to": self.hub(), "data": Bytes::from(call.abi_encode())}, "latest"]);
        // It returns nothing, which [`Self::view`] would take for no contract: all that it says is whether it reverts.
        match self.request("eth_call", call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_retryable() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// What ends a task that has a callback, with as much gas as the hub gives callbacks now. Left as it is if the node does
    /// not say: most hubs give what is allowed for anyway.
    pub async fn calling_back(&self, request: TxRequest) -> TxRequest {
        match self.ask(Hub::callbackgasCall {}).await {
            Ok(allotted) => crate::calls::calling_back(request, allotted.saturating_to()),
            Err(error) => {
                tracing::warn!(%error, "what the hub gives callbacks is not known");
                request
            }
        }
    }

    /// Whether the hub takes [`crate::calls::settle`]: asked once, then known. No if the node does not say; it is
    /// asked again then.
    pub async fn has_settle(&self) -> bool {
        if let Some(known) = self.inner.settles.get() {
            return *known;
        }
        let settle =
            Hub::settleCall { dealid: B256::ZERO, items: Vec::new(), authorization: Bytes::new() };
        let nothing = thereIsNoSuchFunctionCall {};
        // A hub may refuse a batch of nothing in whatever way, as long as it is not the way in which it refuses what
        // it has never heard of.
        let (settle, nothing) = futures::join!(self.answer_to(settle), self.answer_to(nothing));
        match (settle, nothing) {
            (Some(settle), Some(nothing)) => *self.inner.settles.get_or_init(|| settle != nothing),
            _ => false,
        }
    }

    /// Whether a call of the hub succeeds, and what comes back, without the call's own selector, which some contracts
    /// repeat when they do not know it. Nothing if the node does not answer.
    async fn answer_to<C: SolCall>(&self, call: C) -> Option<(bool, Vec<u8>)> {
        let params =
            json!([{ "to": self.hub(), "data": Bytes::from(call.abi_encode()) }, "latest"]);
        let answer: Result<Bytes> = self.inner.link.rpc.request("eth_call", params).await;
        let (done, data) = match answer {
            Ok(data) => (true, data),
            Err(error) => (false, error.revert()?.data.clone()),
        };
        let mut data = data.to_vec();
        while let Some(at) = data.windows(4).position(|word| word == C::SELECTOR) {
            data.drain(at..at + 4);
        }
        Some((done, data))
    }

    /// Who owns an app, dataset or workerpool, according to itself.
    ///
    /// # Errors
    /// [`Error::is_unknown`] if there is no such contract.
    pub async fn owner_of_asset(&self, asset: Address) -> Result<Address> {
        let unknown = || Error::new(format!("looking up {asset}"), ErrorKind::Unknown("asset"));
        match self.view(asset, Hub::ownerCall {}).await {
            Ok(owner) => Ok(owner),
            Err(error) if error.is_revert() => Err(unknown()),
            Err(error) if matches!(error.kind(), ErrorKind::Garbled(_)) => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// Whether that asset is in its registry.
    pub async fn is_registered(&self, kind: AssetKind, asset: Address) -> Result<bool> {
        self.view(self.registry(kind), AppRegistry::isRegisteredCall { entry: asset }).await
    }

    /// RLC that an account holds outside the hub.
    pub async fn rlc_balance(&self, account: Address) -> Result<Nrlc> {
        Ok(Nrlc(self.view(self.rlc(), Hub::balanceOfCall { account }).await?))
    }

    /// RLC that the hub may take from an account.
    pub async fn rlc_allowance(&self, account: Address) -> Result<Nrlc> {
        let call = Hub::allowanceCall { account, spender: self.hub() };
        Ok(Nrlc(self.view(self.rlc(), call).await?))
    }

    /// Ether of an account, in wei.
    pub async fn ether(&self, account: Address) -> Result<U256> {
        self.inner.link.rpc.request("eth_getBalance", json!([account, "latest"])).await
    }

    /// Whether there is a contract at that address.
    pub async fn has_code(&self, address: Address) -> Result<bool> {
        let code: Bytes =
            self.inner.link.rpc.request("eth_getCode", json!([address, "latest"])).await?;
        Ok(!code.is_empty())
    }

    /// A mined transaction; nothing if it is not mined.
    pub async fn receipt(&self, transaction: B256) -> Result<Option<Receipt>> {
        fetch_receipt(&self.inner.link, transaction).await
    }

    /// What the hub logged about a task of a deal that was made at that time, oldest first, each with its block. However
    /// long the chain is, only the blocks from the deal to the task's end are looked through, and none before `oldest`.
    pub async fn task_events(
        &self,
        task: TaskId,
        deal_start: UnixSeconds,
        oldest: u64,
    ) -> Result<Vec<(u64, ChainEvent)>> {
        let newest = self.head().await?.number;
        let mut from = self.first_block_at(deal_start, oldest, newest).await?;
        let mut events = Vec::new();
        for _ in 0..SPANS_MAX {
            let to = (from + SPAN - 1).min(newest);
            let filter = json!([{
                "address": self.hub(),
                "fromBlock": U64::from(from),
                "toBlock": U64::from(to),
                "topics": [serde_json::Value::Null, task.0],
            }]);
            let logs: Vec<Log> = self.inner.link.rpc.request("eth_getLogs", filter).await?;
            let event = |log: &Log| Some((log.block_number?, decode(self.hub(), log)?));
            events.extend(logs.iter().filter_map(event));
            let is_over = events.iter().any(|(_, known)| known.event.ends_task());
            if is_over || to >= newest {
                break;
            }
            from = to + 1;
        }
        Ok(events)
    }

    /// The first block from `oldest` to `newest` that is not before that time; `newest` if there is none.
    pub(crate) async fn first_block_at(
        &self,
        time: UnixSeconds,
        oldest: u64,
        newest: u64,
    ) -> Result<u64> {
        let (mut low, mut high) = (oldest.min(newest), newest);
        while low < high {
            let middle = low + (high - low) / 2;
            let header = self.reader().header_at(middle).await?;
            let unknown = || Error::new("looking for a time", ErrorKind::Unknown("block"));
            if header.ok_or_else(unknown)?.timestamp() < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Any other request of the node, such as the development methods of an embedded chain.
    pub async fn request(
        &self,
        method: &'static str,
        params: serde_json::Value,
    ) -> Result<serde_json::Value> {
        self.inner.link.rpc.request(method, params).await
    }
}

async fn view<C: SolCall>((rpc, to): (Arc<Rpc>, Address), call: C) -> Result<C::Return> {
    let doing = || format!("calling {} of {to}", C::SIGNATURE);
    let params = json!([{ "to": to, "data": Bytes::from(call.abi_encode()) }, "latest"]);
    let answer: Bytes = rpc.request("eth_call", params).await?;
    if answer.is_empty() {
        return Err(Error::garbled(doing(), "nothing came back: is there such a contract?"));
    }
    C::abi_decode_returns(&answer).map_err(|error| Error::garbled(doing(), error))
}

impl From<core::Deal> for Deal {
    fn from(deal: core::Deal) -> Self {
        let terms = |asset: core::Resource| AssetTerms {
            pointer: asset.pointer,
            owner: asset.owner,
            price: Nrlc(asset.price),
        };
        Self {
            app: terms(deal.app),
            dataset: terms(deal.dataset),
            workerpool: terms(deal.workerpool),
            trust: deal.trust,
            category: CategoryId(deal.category),
            tag: Tag(deal.tag),
            requester: deal.requester,
            beneficiary: deal.beneficiary,
            callback: deal.callback,
            params: deal.params,
            start: UnixSeconds(deal.startTime.saturating_to()),
            first: deal.botFirst,
            size: deal.botSize,
            worker_stake: Nrlc(deal.workerStake),
            scheduler_reward_ratio: deal.schedulerRewardRatio,
            sponsor: deal.sponsor,
        }
    }
}

impl TryFrom<core::Task> for Task {
    type Error = Error;

    fn try_from(task: core::Task) -> Result<Self> {
        let status = match task.status {
            0 => TaskStatus::Unset,
            1 => TaskStatus::Active,
            2 => TaskStatus::Revealing,
            3 => TaskStatus::Completed,
            4 => TaskStatus::Failed,
            other => return Err(Error::garbled("reading a task", format!("status {other}"))),
        };
        let time = |seconds: U256| UnixSeconds(seconds.saturating_to());
        Ok(Self {
            status,
            deal: DealId(task.dealid),
            index: task.idx,
            work_clock_seconds: task.timeref.saturating_to(),
            contribution_deadline: time(task.contributionDeadline),
            reveal_deadline: time(task.revealDeadline),
            final_deadline: time(task.finalDeadline),
            consensus: ResultHash(task.consensusValue),
            revealed: task.revealCounter.saturating_to(),
            winners: task.winnerCounter.saturating_to(),
            contributors: task.contributors,
            digest: ResultDigest(task.resultDigest),
            results: task.results,
            results_callback: task.resultsCallback,
        })
    }
}

impl TryFrom<core::Contribution> for Contribution {
    type Error = Error;

    fn try_from(contribution: core::Contribution) -> Result<Self> {
        let status = match contribution.status {
            0 => ContributionStatus::Unset,
            1 => ContributionStatus::Contributed,
            2 => ContributionStatus::Proved,
            3 => ContributionStatus::Rejected,
            other => {
                return Err(Error::garbled("reading a contribution", format!("status {other}")));
            }
        };
        Ok(Self {
            status,
            hash: ResultHash(contribution.resultHash),
            seal: ResultSeal(contribution.resultSeal),
            enclave: contribution.enclaveChallenge,
            weight: contribution.weight,
        })
    }
}
