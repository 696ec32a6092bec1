//! Which workers take a task: as few as make its quorum, of different owners and machines, from different regions.
//! Pure; called by [`plan`](mod@crate::plan) for one task after the other.
//!
//! ```text
//! able ─▶ strangers to those that take part ─▶ from new regions first ─▶ by rank
//!            │ none that is free                                           │
//!            ▼                                                             ▼
//!         wait for a busy one, or take a relative if there is none      the first with whom the
//!                                                                       fewest workers still do
//! ```
//!
//! How many is for [`verdict::Quorum`] to say: heavy workers make it with fewer. *Which* is for rank to say, as long as the
//! number stays the least: so newcomers get work wherever their light word does.
//!
//! Workers of the same owner or machine are *relatives*: they may be of one mind, and fail together. Two of them take one
//! task only if nobody else could. What a worker says of itself is not proved, so this only keeps honest mistakes and lazy
//! cheats apart; who lies about its owner meets the quorum, the checks and its stake.

use std::cmp::Reverse;

use alloy_primitives::{Address, B256, Keccak256, U256};
use primitives::TaskId;
use tasks::ReplicaState;

use crate::plan::{Need, Unfit, WorkerView};
use crate::reputation::Standing;

/// A worker that takes part in a task already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its wallet.
    pub worker: Address,
    /// Its machine.
    pub host: Option<String>,
    /// Whom it belongs to.
    pub owner: Option<Address>,
    /// Where it is.
    pub region: Option<String>,
    /// How far it is trusted.
    pub standing: Standing,
}

impl Peer {
    /// What is remembered of that worker.
    pub fn of(worker: &WorkerView<'_>) -> Self {
        Self {
            worker: worker.worker,
            host: worker.host.map(str::to_owned),
            owner: worker.owner,
            region: worker.region.map(str::to_owned),
            standing: worker.standing,
        }
    }
}

/// The workers that take the task now, by their place in the list, best first. Nobody, if it wants nobody, or nobody that
/// could is free, or somebody better will be soon.
pub fn choose(need: &Need<'_>, workers: &[WorkerView<'_>]) -> Vec<usize> {
    let wanted = need.task.wanted();
    let mut able: Vec<usize> =
        (0..workers.len()).filter(|place| need.suits(&workers[*place])).collect();
    if wanted == 0 || able.is_empty() {
        return Vec::new();
    }
    let rank = Ranking::new(need, &able, workers);
    if wanted == 1 && need.peers.is_empty() {
        let best = able.into_iter().min_by_key(|place| rank.of(&workers[*place]));
        return best.into_iter().collect();
    }
    able.sort_by_cached_key(|place| rank.of(&workers[*place]));
    let Some(mut quorum) = need.task.quorum() else { return Vec::new() };
    let mut picked: Vec<usize> = Vec::new();
    while !quorum.is_met() && picked.len() < wanted {
        let Some(next) = next(need, workers, &able, &picked, &quorum) else { break };
        // Only a sum that outgrows the contract's numbers, and then nobody is wanted.
        if quorum.suppose(workers[next].weight).is_err() {
            break;
        }
        picked.push(next);
    }
    picked
}

/// Who goes first among those that could: whoever keeps its word; in a check a newcomer beside a proven worker and the
/// other way round; who has the program at hand, within its fair share; who has most free slots; who was given the fewest
/// tasks, so that a newcomer gets its share; who weighs most; and among equals a lot, so that the choice does not
/// depend on the order of the list, and nobody can arrange to be asked together with a friend.
struct Ranking<'a> {
    need: &'a Need<'a>,
    given_least: u64,
}

type Rank = (bool, u8, bool, bool, Reverse<u32>, u64, Reverse<U256>, B256);

/// How many more tasks than another a worker gets for having the program at hand: a fetch is saved, but the others must
/// come to have it too.
const WARM_SHARE: u64 = 16;

impl<'a> Ranking<'a> {
    fn new(need: &'a Need<'a>, able: &[usize], workers: &[WorkerView<'_>]) -> Self {
        let given = able.iter().map(|place| workers[*place].given);
        Self { need, given_least: given.min().unwrap_or_default() }
    }

    fn of(&self, worker: &WorkerView<'_>) -> Rank {
        let share = self.given_least.saturating_add(WARM_SHARE);
        let is_cold = !self.need.is_warm_at(worker) || worker.given > share;
        let is_alike = self.need.task.awaits_check()
            && peers(self.need).any(|peer| peer.standing == worker.standing);
        // Whose turn it is and who weighs most can be arranged; who meets whom must not be.
        let is_joint = self.need.task.awaits_check() || self.need.task.terms.trust > U256::ONE;
        (
            worker.standing == Standing::Barred,
            worker.unreliable,
            is_alike,
            is_cold,
            Reverse(if is_joint { 0 } else { worker.free }),
            if is_joint { 0 } else { worker.given },
            Reverse(if is_joint { U256::ZERO } else { worker.weight }),
            lot(self.need.task.id, worker.worker),
        )
    }
}

/// Who is asked first of those that are alike: another one for each task. By their addresses, wallets that are neighbours
/// would meet in every task, and two of one mind would confirm each other's lies.
fn lot(task: TaskId, worker: Address) -> B256 {
    let mut drawn = Keccak256::new();
    drawn.update(task.0);
    drawn.update(worker);
    drawn.finalize()
}

fn next(
    need: &Need<'_>,
    workers: &[WorkerView<'_>],
    ranked: &[usize],
    picked: &[usize],
    quorum: &verdict::Quorum,
) -> Option<usize> {
    let is_stranger = |worker: &WorkerView<'_>| {
        !peers(need).any(|peer| are_relatives(worker, peer.host.as_deref(), peer.owner))
            && !picked.iter().any(|other| {
                let other = &workers[*other];
                are_relatives(worker, other.host, other.owner)
            })
    };
    let left = ranked.iter().copied().filter(|place| !picked.contains(place));
    let mut pool: Vec<usize> = left.clone().filter(|place| is_stranger(&workers[*place])).collect();
    if pool.is_empty() {
        let busy = |worker: &WorkerView<'_>| need.unfit(worker) == Some(Unfit::Busy);
        if need.patient && workers.iter().any(|worker| busy(worker) && is_stranger(worker)) {
            return None;
        }
        pool = left.collect();
    }
    // A stable sort: rank decides within.
    pool.sort_by_key(|place| knows_region(need, workers, picked, workers[*place].region));
    thriftiest(&pool, workers, quorum)
}

/// The first of the pool with whom the fewest workers do.
fn thriftiest(
    pool: &[usize],
    workers: &[WorkerView<'_>],
    quorum: &verdict::Quorum,
) -> Option<usize> {
    let mut heaviest: Vec<usize> = pool.to_vec();
    heaviest.sort_by_key(|place| Reverse(workers[*place].weight));
    let weights = |without: Option<usize>| {
        let others = heaviest.iter().filter(move |place| Some(**place) != without);
        others.map(|place| workers[*place].weight)
    };
    let least = quorum.fewest(weights(None))?;
    let is_thrifty = |place: &&usize| {
        let mut with = quorum.clone();
        with.suppose(workers[**place].weight).is_ok()
            && with.fewest(weights(Some(**place))).is_some_and(|more| more < least)
    };
    pool.iter().find(is_thrifty).or(heaviest.first()).copied()
}

/// Those that take part still: of one that gave up or disappeared there is nothing to agree with.
fn peers<'a>(need: &'a Need<'_>) -> impl Iterator<Item = &'a Peer> {
    need.peers.iter().filter(|peer| {
        let replica = need.task.replica(peer.worker);
        replica.is_some_and(|replica| {
            !matches!(
                replica.state,
                ReplicaState::Failed | ReplicaState::Lost | ReplicaState::Released
            )
        })
    })
}

fn are_relatives(worker: &WorkerView<'_>, host: Option<&str>, owner: Option<Address>) -> bool {
    (worker.host.is_some() && worker.host == host)
        || (worker.owner.is_some() && worker.owner == owner)
}

/// Whether somebody of that region takes part. Who does not say where it is counts as being where everybody is.
fn knows_region(
    need: &Need<'_>,
    workers: &[WorkerView<'_>],
    picked: &[usize],
    region: Option<&str>,
) -> bool {
    let Some(region) = region else { return true };
    peers(need).any(|peer| peer.region.as_deref() == Some(region))
        || picked.iter().any(|other| workers[*other].region == Some(region))
}

#[cfg(test)]
mod tests;
