//! What happened, for those who listen: subscriptions and filters.
//!
//! A bounded ring of events with ascending numbers. Listeners keep the number they are at and ask for what came after
//! it, so a slow one costs nothing but its own place: it is told that it fell behind, and reads what it missed from the
//! chain's tables.

use std::{collections::VecDeque, sync::Arc};

use alloy_consensus::Transaction as _;
use alloy_primitives::B256;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::storage::{Block, MinedTransaction};

/// Events kept. A listener further behind reads from disk.
const EVENTS_MAX: usize = 1_024;
/// Bytes in all blocks kept, so that full blocks do not fill the memory either.
const EVENT_BYTES_MAX: usize = 8 << 20;
/// What a transaction or a log takes in memory besides its data.
const RECORD_BYTES: usize = 256;

/// Something that happened to the chain.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A block was mined on the head.
    Mined(Arc<Block>, Announced),
    /// The head was taken off.
    Removed(Arc<Block>),
    /// A transaction waits for a block.
    Pending(B256),
}

impl Event {
    fn bytes(&self) -> usize {
        match self {
            Self::Mined(block, _) | Self::Removed(block) => {
                block.transactions.iter().map(bytes_of).sum()
            }
            Self::Pending(_) => 0,
        }
    }
}

/// About what a transaction takes in memory. One that does the work of a hundred has as many times the logs.
fn bytes_of(mined: &MinedTransaction) -> usize {
    let logs = mined.logs.iter().map(|log| RECORD_BYTES + log.data.data.len());
    RECORD_BYTES + mined.tx.input().len() + logs.sum::<usize>()
}

/// Whether a block's transactions were told of while they waited. Those mined at once were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    Yes,
    No,
}

/// A listener's place: the number of the next event it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor(u64);

/// The listener is so far behind that events between its place and `resume` are gone.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) resume: Cursor,
}

pub(crate) struct Feed {
    ring: Mutex<Ring>,
    /// Number of the next event, to wait on.
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Event>,
    first: u64,
    bytes: usize,
}

impl Ring {
    fn next(&self) -> u64 {
        self.first + u64::try_from(self.events.len()).unwrap_or(u64::MAX)
    }
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { ring: Mutex::default(), newest: watch::Sender::new(0) }
    }

    pub(crate) fn push(&self, event: Event) {
        let mut ring = self.ring.lock();
        ring.bytes += event.bytes();
        ring.events.push_back(event);
        while ring.events.len() > EVENTS_MAX
            || (ring.bytes > EVENT_BYTES_MAX && ring.events.len() > 1)
        {
            let oldest = ring.events.pop_front();
            ring.bytes -= oldest.map_or(0, |it| it.bytes());
            ring.first += 1;
        }
        let next = ring.next();
        drop(ring);
        self.newest.send_replace(next);
    }

    /// The place after everything that has happened.
    pub(crate) fn now(&self) -> Cursor {
        Cursor(self.ring.lock().next())
    }

    /// Tells when something has happened. To be subscribed before asking what.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// What happened from `from` on, and the place after it.
    pub(crate) fn since(&self, from: Cursor) -> Result<(Vec<Event>, Cursor), Behind> {
        let ring = self.ring.lock();
        let next = Cursor(ring.next());
        let Some(skip) = from.0.checked_sub(ring.first) else {
            return Err(Behind { resume: next });
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Ok((ring.events.iter().skip(skip).cloned().collect(), next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(feed: &Feed, count: usize) {
        for _ in 0..count {
            feed.push(Event::Pending(B256::ZERO));
        }
    }

    #[test]
    fn a_listener_gets_each_event_once() {
        let feed = Feed::new();
        let start = feed.now();
        pending(&feed, 3);
        let (events, cursor) = feed.since(start).unwrap();
        assert_eq!(events.len(), 3);
        assert!(feed.since(cursor).unwrap().0.is_empty());
    }

    #[test]
    fn a_slow_listener_is_told_where_to_resume_and_the_ring_stays_bounded() {
        let feed = Feed::new();
        let start = feed.now();
        pending(&feed, EVENTS_MAX + 1);
        let behind = feed.since(start).unwrap_err();
        assert_eq!(behind.resume, feed.now());
        assert_eq!(feed.ring.lock().events.len(), EVENTS_MAX);
    }
}
