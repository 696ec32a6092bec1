//! Settling many tasks of one deal with one transaction.
//!
//! All or nothing, as the hub does it. The batch is in the journal before its results leave, so that a worker that is
//! killed at any point comes back with all of them; what the chain has meanwhile settled it then finds settled. Whenever
//! the batch does not come about the results stay, and the scheduler lets each task contribute by itself.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256};
use chain::calls::{self, Settlement};
use futures::{StreamExt, TryStreamExt};
use primitives::{DealId, TaskId};
use wire::link::{SETTLE_MAX, ToScheduler};

use crate::desk::Desk;
use crate::settle::{Fate, results};
use crate::table::{Batch, Member, Stage};

/// Uploads at once.
const UPLOADS_AT_ONCE: usize = 8;
/// The most of a reason that is told.
const REASON_CHARS_MAX: usize = 500;

impl Desk {
    /// Settles those tasks, or says why not.
    pub(crate) fn settle_together(
        self: &Arc<Self>,
        deal: DealId,
        tasks: Vec<TaskId>,
        authorization: Bytes,
    ) {
        if tasks.is_empty() || tasks.len() > SETTLE_MAX {
            let reason = format!("a batch has 1 to {SETTLE_MAX} tasks");
            return self.repeat(vec![ToScheduler::Unsettled { task_ids: tasks, reason }]);
        }
        let batch = self.table.lock().contribute_all(&tasks);
        match batch {
            Batch::Known(words) => self.repeat(words),
            Batch::Not(task) => {
                let reason = format!("the worker holds no result of {task} to settle");
                self.repeat(vec![ToScheduler::Unsettled { task_ids: tasks, reason }]);
            }
            Batch::Go(members) => {
                let desk = Arc::clone(self);
                self.jobs.spawn(async move { desk.settle(deal, &members, authorization).await });
            }
        }
    }

    async fn settle(&self, deal: DealId, members: &[Member], authorization: Bytes) {
        let settled = match settleable(deal, members) {
            Ok(()) => self.try_settle(deal, members, authorization).await,
            Err(reason) => Err(reason),
        };
        match settled {
            Ok(Fate::Mined) => self.journal.strike_batch(members).await,
            // The journal keeps it for the next start.
            Ok(Fate::Unknown) => {}
            Err(reason) => self.unsettled(deal, members, reason).await,
        }
    }

    async fn try_settle(
        &self,
        deal: DealId,
        members: &[Member],
        authorization: Bytes,
    ) -> Result<Fate, String> {
        self.journal.note_batch(members).await.map_err(|error| format!("the journal: {error}"))?;
        let items = futures::stream::iter(members.to_vec())
            .map(|member| self.deliver_for_batch(member))
            .buffered(UPLOADS_AT_ONCE)
            .try_collect()
            .await?;
        let request = calls::settle(self.client.hub(), deal, items, authorization);
        let lives: Vec<_> = members.iter().map(|member| member.life.clone()).collect();
        let contributed = |task_id, tx_hash| ToScheduler::Contributed { task_id, tx_hash };
        let sent = self.send_for(&lives, request, Stage::Contributed, contributed).await;
        sent.map_err(|error| error.reason())
    }

    async fn deliver_for_batch(&self, member: Member) -> Result<Settlement, String> {
        let Member { life, finding } = member;
        let delivered = self.deliver(&life, &finding).await;
        let location = delivered.map_err(|trouble| format!("task {}: {trouble}", life.task))?;
        Ok(Settlement {
            index: U256::from(finding.assignment.index),
            digest: finding.digest,
            results: results(&location, Address::ZERO),
        })
    }

    async fn unsettled(&self, deal: DealId, members: &[Member], reason: String) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        tracing::info!(worker = %self.worker, %deal, tasks = members.len(), reason, "not settled together");
        self.table.lock().not_contributed(members.iter().map(|member| &member.life));
        if self.stop.is_cancelled() {
            // Given up because the worker ends; the next start takes it up.
            return;
        }
        self.journal.strike_batch(members).await;
        let task_ids = members.iter().map(|member| member.life.task).collect();
        self.voice.say(&ToScheduler::Unsettled { task_ids, reason }).await;
    }
}

/// Whether the hub could take them together at all.
fn settleable(deal: DealId, members: &[Member]) -> Result<(), String> {
    for Member { life, finding } in members {
        let task = life.task;
        if finding.assignment.deal != deal {
            return Err(format!("task {task} is of another deal"));
        }
        let alone = finding.needs_one && finding.enclave.is_none();
        if !alone || finding.callback != Address::ZERO {
            return Err(format!("task {task} needs others, or has an enclave or a callback"));
        }
    }
    Ok(())
}
