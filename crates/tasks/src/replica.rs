//! One worker's part in a task.

use alloy_primitives::{Address, Bytes, U256};
use primitives::{ResultHash, UnixSeconds};

use crate::Failure;

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplicaState {
    /// Computing.
    Assigned,
    /// Has announced a hash; waits.
    Computed,
    /// May contribute; the contribution is not on chain yet.
    Granted,
    /// Its contribution is on chain.
    Contributed,
    /// Its contribution was thrown out when the task was reopened.
    Rejected,
    /// It revealed on chain.
    Revealed,
    /// It could not do its part.
    Failed,
    /// It disappeared or took too long.
    Lost,
    /// It was told to stop.
    Released,
}

/// Where a worker stored its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// `/ipfs/<cid>`, or empty.
    pub location: String,
    /// What the callback contract receives.
    pub callback_data: Bytes,
}

impl Upload {
    /// Whether it names a stored file. The name comes from a worker and goes into JSON on the chain, where whoever paid reads
    /// it: one that is no plain path would cost the result.
    pub(crate) fn is_named(&self) -> bool {
        const NAME_BYTES_MAX: usize = 128;
        self.location.strip_prefix("/ipfs/").is_some_and(|name| {
            let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            is_plain && !name.is_empty() && name.len() <= NAME_BYTES_MAX
        })
    }
}

/// One worker's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Who.
    pub worker: Address,
    /// How far.
    pub state: ReplicaState,
    /// Since when.
    pub since: UnixSeconds,
    /// How much its word counts.
    pub weight: U256,
    /// What it announced or contributed.
    pub hash: Option<ResultHash>,
    /// Whether it said two different things of one task, to its scheduler or on chain.
    pub equivocated: bool,
    /// Whether it was let in. Never twice, unless it was lost in between.
    pub granted: bool,
    /// How often it was asked to compute, but for tries that time has forgiven.
    pub tries: u32,
    /// How often it gave the task back without having failed.
    pub returns: u32,
    /// Why it failed, the last time.
    pub failure: Option<Failure>,
    /// Where its result is.
    pub upload: Option<Upload>,
    /// When it was last asked to reveal and upload.
    pub asked: Option<UnixSeconds>,
    /// How it came here, oldest first.
    pub history: Vec<(ReplicaState, UnixSeconds)>,
}

impl Replica {
    pub(crate) fn new(
        worker: Address,
        weight: U256,
        state: ReplicaState,
        now: UnixSeconds,
    ) -> Self {
        Self {
            worker,
            state,
            since: now,
            weight,
            hash: None,
            equivocated: false,
            granted: false,
            tries: 0,
            returns: 0,
            failure: None,
            upload: None,
            asked: None,
            history: vec![(state, now)],
        }
    }

    /// Whether it occupies one of the worker's slots.
    pub fn is_computing(&self) -> bool {
        self.state == ReplicaState::Assigned
    }

    /// Whether it has something to do for the task, and nothing of it on chain yet.
    pub fn is_at_work(&self) -> bool {
        matches!(
            self.state,
            ReplicaState::Assigned | ReplicaState::Computed | ReplicaState::Granted
        )
    }

    /// Whether it has nothing to do with the task any more, and nothing to show.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, ReplicaState::Failed | ReplicaState::Lost | ReplicaState::Released)
    }

    /// Whether its contribution counts on chain.
    pub fn counts(&self) -> bool {
        matches!(self.state, ReplicaState::Contributed | ReplicaState::Revealed)
    }

    /// Whether its contribution is on chain, counting or not.
    pub fn is_on_chain(&self) -> bool {
        self.counts() || self.state == ReplicaState::Rejected
    }

    /// When it last began to compute, and when it had a result.
    pub fn run(&self) -> Option<(UnixSeconds, UnixSeconds)> {
        let at = |wanted| {
            let found = self.history.iter().rev().find(|(state, _)| *state == wanted);
            found.map(|(_, at)| *at)
        };
        at(ReplicaState::Assigned).zip(at(ReplicaState::Computed))
    }

    pub(crate) fn enter(&mut self, state: ReplicaState, now: UnixSeconds) {
        /// A worker that comes and goes for ever must not fill the memory.
        const HISTORY_MAX: usize = 32;
        if self.state != state {
            self.state = state;
            self.since = now;
            if self.history.len() < HISTORY_MAX {
                self.history.push((state, now));
            }
        }
    }
}
