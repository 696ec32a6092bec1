//! What can be written.

use alloy_primitives::Address;
use primitives::{OrderHash, TaskId};
use sqlx::SqliteConnection;

use crate::shelves::Known;
use crate::{
    CategoryRow, Cursor, DealRow, LogRow, OrderRow, OrderState, OutcomeRow, Result, WorkRow,
    categories, cursors, deals, logs, orders, outcomes, reputations, work,
};

/// One thing to write. Putting replaces what was there under the same key, so writing a change twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A service has read the chain up to here.
    Cursor {
        /// Whose cursor.
        name: String,
        /// Up to where.
        cursor: Cursor,
    },
    /// An order is published.
    PutOrder(Box<OrderRow>),
    /// What became of an order; nothing happens if it is not there.
    SetOrder {
        /// Which order.
        hash: OrderHash,
        /// What became of it.
        state: OrderState,
    },
    /// An order is taken out.
    RemoveOrder(OrderHash),
    /// A deal is made.
    PutDeal(Box<DealRow>),
    /// Tasks ended.
    PutOutcomes(Vec<OutcomeRow>),
    /// A category is made.
    PutCategory(CategoryRow),
    /// The chain was rewound: deals, ends of tasks and categories of later blocks never were.
    ForgetAfter {
        /// The last block that stands.
        block: u64,
    },
    /// A worker promised something, or got on with it.
    PutWork(Box<WorkRow>),
    /// A worker is done with a task.
    RemoveWork {
        /// Which worker.
        worker: Address,
        /// Which task.
        task: TaskId,
    },
    /// A program printed something.
    PutLog(Box<LogRow>),
    /// What is known of a worker.
    PutReputation {
        /// Whose opinion it is.
        workerpool: Address,
        /// Of whom; the zero address for all together.
        worker: Address,
        /// The scheduler's own text.
        record: String,
    },
    /// Pieces of logs up to that number are thrown away: of a task, or of all tasks of a workerpool.
    ForgetLogs {
        /// Whose.
        workerpool: Address,
        /// Of which task; of all without.
        task: Option<TaskId>,
        /// The highest number that goes.
        through: u64,
    },
}

impl Change {
    pub(crate) async fn write(&self, to: &mut SqliteConnection, known: &mut Known) -> Result<()> {
        match self {
            Self::Cursor { name, cursor } => cursors::put(to, name, *cursor).await,
            Self::PutOrder(row) => orders::put(to, known, &[row]).await,
            Self::SetOrder { hash, state } => orders::set(to, known, *hash, *state).await,
            Self::RemoveOrder(hash) => orders::remove(to, known, *hash).await,
            Self::PutDeal(row) => deals::put(to, row).await,
            Self::PutOutcomes(rows) => outcomes::put(to, rows).await,
            Self::PutCategory(row) => categories::put(to, row).await,
            Self::ForgetAfter { block } => {
                deals::forget_after(to, *block).await?;
                outcomes::forget_after(to, *block).await?;
                categories::forget_after(to, *block).await
            }
            Self::PutWork(row) => work::put(to, row).await,
            Self::RemoveWork { worker, task } => work::remove(to, *worker, *task).await,
            Self::PutReputation { workerpool, worker, record } => {
                reputations::put(to, *workerpool, *worker, record).await
            }
            Self::PutLog(row) => logs::put(to, row).await,
            Self::ForgetLogs { workerpool, task, through } => {
                logs::forget(to, *workerpool, *task, *through).await
            }
        }
    }
}
