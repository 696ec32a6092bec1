//! Filters that clients poll.
//!
//! A filter is a place in the feed, not a queue: however long nobody asks, it takes no more memory.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use alloy_primitives::{B256, U64};
use alloy_rpc_types_eth::{Filter, Log};
use parking_lot::Mutex;

use super::{
    Answer, RequestError, Rpc, answer,
    logs::{logs_between, matching, wants_block},
    params::Params,
};
use crate::{
    feed::{Announced, Cursor, Event},
    shared::Head,
};

/// Filters that may exist at once.
const FILTERS_MAX: usize = 4_096;
/// A filter that nobody asked for as long as this is gone, as in geth.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Block hashes told at once to somebody who has fallen behind.
const CATCH_UP_MAX: u64 = 10_000;

/// All filters of one chain.
#[derive(Default)]
pub(crate) struct Filters {
    next: AtomicU64,
    installed: Mutex<HashMap<u64, Installed>>,
}

#[derive(Clone)]
struct Installed {
    kind: Kind,
    cursor: Cursor,
    /// The newest block told of, to go on from when the feed no longer reaches back.
    last: u64,
    polled: Instant,
}

#[derive(Clone)]
enum Kind {
    Logs(Box<Filter>),
    Blocks,
    Pending,
}

impl Rpc {
    pub(super) fn new_filter(&self, params: &Params) -> Answer {
        self.install(Kind::Logs(Box::new(params.get(0)?)))
    }

    pub(super) fn new_block_filter(&self) -> Answer {
        self.install(Kind::Blocks)
    }

    pub(super) fn new_pending_filter(&self) -> Answer {
        self.install(Kind::Pending)
    }

    pub(super) fn uninstall_filter(&self, params: &Params) -> Answer {
        let id = params.number(0)?;
        answer(self.filters.installed.lock().remove(&id).is_some())
    }

    pub(super) async fn filter_logs(&self, params: &Params) -> Answer {
        match self.filter(params.number(0)?)?.kind {
            Kind::Logs(filter) => self.heavily(move |rpc| answer(rpc.logs(&filter)?)).await,
            Kind::Blocks | Kind::Pending => Err(not_found()),
        }
    }

    pub(super) async fn filter_changes(&self, params: &Params) -> Answer {
        let id = params.number(0)?;
        let mut filter = self.filter(id)?;
        let (changes, filter) = self
            .heavily(move |rpc| {
                let changes = rpc.changes(&mut filter)?;
                Ok((changes, filter))
            })
            .await?;
        if let Some(installed) = self.filters.installed.lock().get_mut(&id) {
            *installed = filter;
        }
        Ok(changes)
    }

    fn changes(&self, filter: &mut Installed) -> Answer {
        filter.polled = Instant::now();
        let head_before = self.head();
        let events = match self.shared().feed.since(filter.cursor) {
            Ok((events, next)) => {
                filter.cursor = next;
                events
            }
            Err(behind) => {
                filter.cursor = behind.resume;
                let newest = head_before.block.header.number;
                // Blocks may have been taken off meanwhile.
                let from = filter.last.min(newest) + 1;
                filter.last = newest;
                return missed(filter, &head_before, from);
            }
        };
        let mut hashes: Vec<B256> = Vec::new();
        let mut logs: Vec<Log> = Vec::new();
        for event in events {
            let (block, removed) = match &event {
                Event::Pending(hash) => {
                    if matches!(filter.kind, Kind::Pending) {
                        hashes.push(*hash);
                    }
                    continue;
                }
                Event::Mined(block, announced) => {
                    if matches!(filter.kind, Kind::Pending) && *announced == Announced::No {
                        hashes.extend(block.transactions.iter().map(|it| it.hash()));
                    }
                    (block, false)
                }
                Event::Removed(block) => (block, true),
            };
            let number = block.head.header.number;
            filter.last = if removed { number.saturating_sub(1) } else { number };
            match &filter.kind {
                Kind::Blocks if !removed => hashes.push(block.head.hash),
                Kind::Logs(wanted) if wants_block(wanted, number) => {
                    logs.extend(matching(wanted, &block.head, &block.transactions, removed));
                }
                Kind::Blocks | Kind::Pending | Kind::Logs(_) => {}
            }
        }
        match filter.kind {
            Kind::Logs(_) => answer(logs),
            Kind::Blocks | Kind::Pending => answer(hashes),
        }
    }

    fn install(&self, kind: Kind) -> Answer {
        let id = self.filters.next.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        let installed = Installed {
            kind,
            cursor: self.shared().feed.now(),
            last: self.head().block.header.number,
            polled: now,
        };
        let mut filters = self.filters.installed.lock();
        if filters.len() >= FILTERS_MAX {
            filters.retain(|_, it| now.duration_since(it.polled) < IDLE_MAX);
        }
        if filters.len() >= FILTERS_MAX {
            return Err(RequestError::too_much(format!("more than {FILTERS_MAX} filters")));
        }
        filters.insert(id, installed);
        answer(U64::from(id))
    }

    fn filter(&self, id: u64) -> Result<Installed, RequestError> {
        let filters = self.filters.installed.lock();
        let found = filters.get(&id).filter(|it| it.polled.elapsed() < IDLE_MAX);
        found.cloned().ok_or_else(not_found)
    }
}

fn not_found() -> RequestError {
    RequestError::refused("filter not found")
}

/// What the chain's tables know of the blocks that the feed no longer holds.
fn missed(filter: &Installed, head: &Head, from: u64) -> Answer {
    match &filter.kind {
        Kind::Logs(wanted) => {
            let logs = logs_between(head, wanted, from, filter.last)?;
            let wanted = logs
                .into_iter()
                .filter(|it| wants_block(wanted, it.block_number.unwrap_or_default()));
            answer(wanted.collect::<Vec<_>>())
        }
        Kind::Blocks => {
            let from = from.max(filter.last.saturating_sub(CATCH_UP_MAX));
            let blocks = (from..=filter.last).map(|number| head.view.block(number));
            let hashes: Result<Vec<_>, _> =
                blocks.map(|it| Ok::<_, RequestError>(it?.map(|it| it.hash))).collect();
            answer(hashes?.into_iter().flatten().collect::<Vec<_>>())
        }
        Kind::Pending => answer([(); 0]),
    }
}
