//! Tasks that the books have forgotten: read again from the chain.
//!
//! The books keep the unfinished and the last few thousand that ended; after a restart, only the unfinished. What the
//! chain logged about a task tells its story again, but for what never went there: who else computed it, and what was
//! printed. It is looked for from the deal to the task's end, so an old market costs no more than a young one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use alloy_primitives::{Address, U64};
use chain::TaskStatus;
use parking_lot::Mutex;
use primitives::{TaskId, UnixSeconds};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::books::{Entry, Happened};
use crate::config::Config;
use crate::deal::DealReader;

/// Tasks that are not read again when they are asked for again.
const KEPT_MAX: usize = 512;
/// Tasks read at once: anybody may ask, and each costs the chain's node some ten requests.
const READ_AT_ONCE: usize = 4;

/// Reads the past.
pub(crate) struct Past {
    client: chain::Client,
    reader: DealReader,
    workerpool: Address,
    from_block: u64,
    limits: tasks::Limits,
    turns: Semaphore,
    kept: Mutex<Kept>,
}

/// Tasks that have ended, as they were read.
#[derive(Default)]
struct Kept {
    entries: HashMap<TaskId, Arc<Entry>>,
    by_age: VecDeque<TaskId>,
}

impl Past {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            client: config.client.clone(),
            reader: DealReader::new(config.client.clone()),
            workerpool: config.workerpool,
            from_block: config.from_block,
            limits: config.limits.task,
            turns: Semaphore::new(READ_AT_ONCE),
            kept: Mutex::default(),
        }
    }

    /// The task, if the chain knows it as one of this workerpool's.
    pub(crate) async fn task(&self, id: TaskId) -> chain::Result<Option<Arc<Entry>>> {
        let kept = self.kept.lock().entries.get(&id).cloned();
        if kept.is_some() {
            return Ok(kept);
        }
        // Never closed, so there is always a turn.
        let _turn = self.turns.acquire().await;
        let task = match self.client.task(id).await {
            Ok(task) => task,
            Err(error) if error.is_unknown() => return Ok(None),
            Err(error) => return Err(error),
        };
        if task.status == TaskStatus::Unset {
            return Ok(None);
        }
        let deal = self.reader.read_once(task.deal).await?;
        if deal.deal.workerpool.pointer != self.workerpool {
            return Ok(None);
        }
        let story = self.story(id, deal.deal.start).await?;
        let entry = Arc::new(Entry::of_the_past(deal, task.index, self.limits, &story));
        if entry.task.status().is_final() {
            self.kept.lock().keep(id, &entry);
        }
        Ok(Some(entry))
    }

    /// What the chain logged about a task, with the time of each block.
    async fn story(&self, id: TaskId, start: UnixSeconds) -> chain::Result<Vec<Happened>> {
        let mut times: HashMap<u64, UnixSeconds> = HashMap::new();
        let mut story = Vec::new();
        for (block, event) in self.client.task_events(id, start, self.from_block).await? {
            let at = match times.get(&block) {
                Some(at) => *at,
                None => self.time_of(block).await?,
            };
            times.insert(block, at);
            story.push(Happened { block, at, event });
        }
        Ok(story)
    }

    /// When that block was made; 1970 if the node does not say.
    async fn time_of(&self, block: u64) -> chain::Result<UnixSeconds> {
        let params = json!([format!("{block:#x}"), false]);
        let mut answer = self.client.request("eth_getBlockByNumber", params).await?;
        let seconds: Option<U64> =
            answer.get_mut("timestamp").and_then(|at| serde_json::from_value(at.take()).ok());
        Ok(UnixSeconds(seconds.map_or(0, |seconds| seconds.to())))
    }
}

impl Kept {
    fn keep(&mut self, id: TaskId, entry: &Arc<Entry>) {
        if self.entries.insert(id, Arc::clone(entry)).is_none() {
            self.by_age.push_back(id);
        }
        while self.by_age.len() > KEPT_MAX {
            if let Some(oldest) = self.by_age.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }
}
