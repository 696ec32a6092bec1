//! The chain's time: real time plus what development methods moved it by.

use std::time::{SystemTime, UNIX_EPOCH};

/// Gives blocks their timestamps.
///
/// A block gets the time it is mined at, never less than its parent's. Blocks mined within one second share a
/// timestamp: if each had to be a second later, a busy chain would run ahead of the world, and deadlines with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// Seconds that the chain is ahead of real time.
    offset: i64,
    /// What the next block was told to have.
    next: Option<u64>,
}

impl Clock {
    /// A clock for a chain whose head was mined at `head`. If that is ahead of real time (somebody moved the clock before
    /// a restart) the chain stays as far ahead, instead of standing still until the world has caught up.
    pub(crate) fn resume(head: u64) -> Self {
        Self { offset: seconds_between(real(), head).max(0), next: None }
    }

    /// The timestamp for the next block after one of `parent`.
    pub(crate) fn peek(&self, parent: u64) -> u64 {
        self.next.unwrap_or_else(|| real().saturating_add_signed(self.offset)).max(parent)
    }

    /// The same, and the block is really mined.
    pub(crate) fn take(&mut self, parent: u64) -> u64 {
        let time = self.peek(parent);
        if self.next.take().is_some() {
            self.offset = seconds_between(real(), time);
        }
        time
    }

    /// Moves the chain's time by `seconds`. Returns by how much it is ahead now.
    pub(crate) fn increase(&mut self, seconds: i64) -> i64 {
        self.offset = self.offset.saturating_add(seconds);
        self.offset
    }

    /// Sets what time it is on the chain now.
    pub(crate) fn set(&mut self, time: u64) {
        self.offset = seconds_between(real(), time);
    }

    pub(crate) fn set_next(&mut self, time: u64) {
        self.next = Some(time);
    }
}

fn real() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

fn seconds_between(from: u64, to: u64) -> i64 {
    let span = i128::from(to) - i128::from(from);
    i64::try_from(span).unwrap_or(if span < 0 { i64::MIN } else { i64::MAX })
}
