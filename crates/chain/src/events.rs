//! What happens in the market, as one closed list.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::{SolEvent, SolEventInterface};
use orders::OrderKind;
use primitives::{CategoryId, DealId, Nrlc, OrderHash, ResultDigest, ResultHash, TaskId};

use crate::abi::Hub;
use crate::receipt::Receipt;

/// An event and where it was logged.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainEvent {
    /// What happened.
    pub event: MarketEvent,
    /// The transaction that made it happen.
    pub tx: B256,
    /// Its place among all logs of the block: with the block it names the event for ever.
    pub log_index: u64,
}

/// Something that the hub or a registry logged.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the variants say it, and their fields are typed and named as in the contracts"
)]
pub enum MarketEvent {
    /// A deal was made: what a scheduler waits for.
    DealNotice {
        deal: DealId,
        workerpool: Address,
    },
    /// The orders of a deal; the dataset's hash is zero if there is none.
    OrdersMatched {
        deal: DealId,
        app: OrderHash,
        dataset: OrderHash,
        workerpool: OrderHash,
        request: OrderHash,
        volume: U256,
    },
    /// Somebody other than the requester pays.
    DealSponsored {
        deal: DealId,
        sponsor: Address,
    },
    TaskInitialized {
        task: TaskId,
        workerpool: Address,
    },
    Contributed {
        task: TaskId,
        worker: Address,
        hash: ResultHash,
    },
    Consensus {
        task: TaskId,
        hash: ResultHash,
    },
    Revealed {
        task: TaskId,
        worker: Address,
        digest: ResultDigest,
    },
    Reopened {
        task: TaskId,
    },
    Finalized {
        task: TaskId,
        results: Bytes,
    },
    /// Failed and refunded.
    Claimed {
        task: TaskId,
    },
    AccurateContribution {
        worker: Address,
        task: TaskId,
    },
    FaultyContribution {
        worker: Address,
        task: TaskId,
    },
    /// Earned for a task.
    Reward {
        owner: Address,
        amount: Nrlc,
        reference: B256,
    },
    /// Lost for a task.
    Seize {
        owner: Address,
        amount: Nrlc,
        reference: B256,
    },
    Lock {
        owner: Address,
        amount: Nrlc,
    },
    Unlock {
        owner: Address,
        amount: Nrlc,
    },
    /// Of stake, inside the hub.
    Transfer {
        from: Address,
        to: Address,
        amount: Nrlc,
    },
    SignedOrder {
        kind: OrderKind,
        hash: OrderHash,
    },
    ClosedOrder {
        kind: OrderKind,
        hash: OrderHash,
    },
    CategoryCreated {
        category: CategoryId,
        name: String,
        work_clock_seconds: u64,
    },
    /// An app, dataset or workerpool has a new owner; from zero when it was created.
    AssetTransferred {
        registry: Address,
        from: Address,
        to: Address,
        asset: Address,
    },
}

impl MarketEvent {
    /// The task it is about, if it is about one.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::TaskInitialized { task, .. }
            | Self::Contributed { task, .. }
            | Self::Consensus { task, .. }
            | Self::Revealed { task, .. }
            | Self::Reopened { task }
            | Self::Finalized { task, .. }
            | Self::Claimed { task }
            | Self::AccurateContribution { task, .. }
            | Self::FaultyContribution { task, .. } => Some(*task),
            Self::Reward { reference, .. } | Self::Seize { reference, .. } => {
                Some(TaskId(*reference))
            }
            _ => None,
        }
    }

    /// Whether nothing happens to its task any more.
    pub fn ends_task(&self) -> bool {
        matches!(self, Self::Finalized { .. } | Self::Claimed { .. })
    }

    /// The deal it is about, if it says.
    pub fn deal(&self) -> Option<DealId> {
        match self {
            Self::DealNotice { deal, .. }
            | Self::OrdersMatched { deal, .. }
            | Self::DealSponsored { deal, .. } => Some(*deal),
            _ => None,
        }
    }
}

impl Receipt {
    /// What the transaction made happen in the market of that hub.
    pub fn events(&self, hub: Address) -> Vec<ChainEvent> {
        self.logs().iter().filter_map(|log| decode(hub, log)).collect()
    }
}

/// Reads a log of the hub or of a registry; nothing if it is not one of the list.
pub(crate) fn decode(hub: Address, log: &Log) -> Option<ChainEvent> {
    let event = if log.address() == hub { of_hub(log)? } else { of_registry(log)? };
    Some(ChainEvent {
        event,
        tx: log.transaction_hash.unwrap_or_default(),
        log_index: log.log_index.unwrap_or_default(),
    })
}

fn of_hub(log: &Log) -> Option<MarketEvent> {
    use Hub::HubEvents as E;
    use MarketEvent as M;
    let event = match Hub::HubEvents::decode_log(&log.inner) {
        Ok(decoded) => decoded.data,
        Err(error) => {
            tracing::trace!(%error, "a log of the hub that is not of the market");
            return None;
        }
    };
    let closed = |kind, hash| M::ClosedOrder { kind, hash: OrderHash(hash) };
    let signed = |kind, hash| M::SignedOrder { kind, hash: OrderHash(hash) };
    Some(match event {
        E::SchedulerNotice(e) => M::DealNotice { deal: DealId(e.dealid), workerpool: e.workerpool },
        E::OrdersMatched(e) => M::OrdersMatched {
            deal: DealId(e.dealid),
            app: OrderHash(e.appHash),
            dataset: OrderHash(e.datasetHash),
            workerpool: OrderHash(e.workerpoolHash),
            request: OrderHash(e.requestHash),
            volume: e.volume,
        },
        E::DealSponsored(e) => M::DealSponsored { deal: DealId(e.dealId), sponsor: e.sponsor },
        E::TaskInitialize(e) => {
            M::TaskInitialized { task: TaskId(e.taskid), workerpool: e.workerpool }
        }
        E::TaskContribute(e) => {
            M::Contributed { task: TaskId(e.taskid), worker: e.worker, hash: ResultHash(e.hash) }
        }
        E::TaskConsensus(e) => {
            M::Consensus { task: TaskId(e.taskid), hash: ResultHash(e.consensus) }
        }
        E::TaskReveal(e) => {
            M::Revealed { task: TaskId(e.taskid), worker: e.worker, digest: ResultDigest(e.digest) }
        }
        E::TaskReopen(e) => M::Reopened { task: TaskId(e.taskid) },
        E::TaskFinalize(e) => M::Finalized { task: TaskId(e.taskid), results: e.results },
        E::TaskClaimed(e) => M::Claimed { task: TaskId(e.taskid) },
        E::AccurateContribution(e) => {
            M::AccurateContribution { worker: e.worker, task: TaskId(e.taskid) }
        }
        E::FaultyContribution(e) => {
            M::FaultyContribution { worker: e.worker, task: TaskId(e.taskid) }
        }
        E::Reward(e) => M::Reward { owner: e.owner, amount: Nrlc(e.amount), reference: e.r#ref },
        E::Seize(e) => M::Seize { owner: e.owner, amount: Nrlc(e.amount), reference: e.r#ref },
        E::Lock(e) => M::Lock { owner: e.owner, amount: Nrlc(e.amount) },
        E::Unlock(e) => M::Unlock { owner: e.owner, amount: Nrlc(e.amount) },
        E::Transfer(e) => M::Transfer { from: e.from, to: e.to, amount: Nrlc(e.value) },
        E::SignedAppOrder(e) => signed(OrderKind::App, e.appHash),
        E::SignedDatasetOrder(e) => signed(OrderKind::Dataset, e.datasetHash),
        E::SignedWorkerpoolOrder(e) => signed(OrderKind::Workerpool, e.workerpoolHash),
        E::SignedRequestOrder(e) => signed(OrderKind::Request, e.requestHash),
        E::ClosedAppOrder(e) => closed(OrderKind::App, e.appHash),
        E::ClosedDatasetOrder(e) => closed(OrderKind::Dataset, e.datasetHash),
        E::ClosedWorkerpoolOrder(e) => closed(OrderKind::Workerpool, e.workerpoolHash),
        E::ClosedRequestOrder(e) => closed(OrderKind::Request, e.requestHash),
        E::CreateCategory(e) => M::CategoryCreated {
            category: CategoryId(e.catid),
            name: e.name,
            work_clock_seconds: e.workClockTimeRef.saturating_to(),
        },
        _ => return None,
    })
}

alloy_sol_types::sol! {
    interface Erc721 {
        event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);
    }
}

fn of_registry(log: &Log) -> Option<MarketEvent> {
    let transfer = Erc721::Transfer::decode_log(&log.inner).ok()?;
    Some(MarketEvent::AssetTransferred {
        registry: log.address(),
        from: transfer.from,
        to: transfer.to,
        asset: Address::from_word(transfer.tokenId.into()),
    })
}
