//! What must hold whatever happens, checked while it happens.
//!
//! * **Money**: what everybody has and what is locked is always the same in sum, to the nRLC; nobody has locked more or
//!   less than the open tasks demand.
//! * **Liveness**: every task of every deal is completed or claimed at the latest [`CLAIM_SLACK_SECONDS`] after its final
//!   deadline.
//! * **Safety**: a result is accepted only if the weights behind it satisfy the consensus formula, counted here anew.
//! * **Fairness**: an honest worker loses its stake only if a wrong result won against it, or if it was itself down so
//!   much that it could not reveal: never [`REVEAL_NEEDS_SECONDS`] without a crash while it might have. Losing its
//!   connection, its scheduler's crashes and malice, dear gas and reorganisations are no fault of its own. (They are
//!   bounded, or no rule could hold: dear gas for a minute and a half, reorganisations of a minute.)

use crate::chain::Logged;
use crate::hub::{Account, Contribution, Fact, Phase, Standing, pool_stake, worker_stake};
use crate::market::{CLAIM_SLACK_SECONDS, Market};
use crate::scenario::{Fault, Strategy};
use crate::worker::is_true;

/// How long a worker must be up in one piece to reveal for certain: until it looks, is patient, pays dear gas and is
/// mined, and perhaps is mined again.
pub const REVEAL_NEEDS_SECONDS: u64 = 300;
/// Blocks between full audits.
const FULL_AUDIT_BLOCKS: u32 = 16;

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Nothing is made or lost.
    Money,
    /// Everything ends.
    Liveness,
    /// The formula is kept.
    Safety,
    /// Honest workers keep their stakes.
    Fairness,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// When, in ms of virtual time.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.promise {
            Promise::Money => "money",
            Promise::Liveness => "liveness",
            Promise::Safety => "safety",
            Promise::Fairness => "fairness",
        };
        write!(f, "{word}, at {} ms: {}", self.at_ms, self.what)
    }
}

/// What was seen so far.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) initial: Vec<Account>,
    pub(crate) violation: Option<Violation>,
    supply: u64,
    blocks: u32,
}

impl Audit {
    pub(crate) fn new(accounts: &[Account]) -> Self {
        let initial = accounts.to_vec();
        let supply = sum(accounts);
        Self { initial, violation: None, supply, blocks: 0 }
    }

    /// Something was logged.
    pub(crate) fn fact(market: &mut Market<'_>, logged: &Logged) {
        match logged.fact {
            Fact::Consensus { hash } => {
                let task = market.chain.hub.task(logged.about);
                let trust = market.chain.hub.deal_of(logged.about).offer.trust;
                if !formula_holds(&task.contributions, |it| it.hash == hash, trust) {
                    let right = task
                        .contributions
                        .iter()
                        .any(|it| it.hash == hash && is_true(logged.about, it.digest));
                    let what = format!(
                        "task {} accepted a {} result at trust {trust} that the formula does not allow: {}",
                        logged.about,
                        if right { "right" } else { "wrong" },
                        weights(&task.contributions),
                    );
                    market.report(Promise::Safety, what);
                }
            }
            Fact::Finalized => check_slashes(market, logged.about),
            _ => {}
        }
    }

    /// A block was made.
    pub(crate) fn block(market: &mut Market<'_>) {
        market.audit.blocks += 1;
        let there = sum(&market.chain.hub.accounts);
        if there != market.audit.supply {
            let what = format!("there were {} nRLC, now {there}", market.audit.supply);
            market.report(Promise::Money, what);
        }
        if market.audit.blocks.is_multiple_of(FULL_AUDIT_BLOCKS) {
            check_locks(market);
        }
    }

    /// Nothing happens any more.
    pub(crate) fn at_the_end(market: &mut Market<'_>) -> Option<Violation> {
        Self::block(market);
        check_locks(market);
        for no in 0..market.chain.hub.tasks.len() {
            let no = crate::market::number(no);
            let task = market.chain.hub.task(no);
            if market.chain.hub.deal_of(no).start.is_none() {
                continue;
            }
            let due = market.chain.hub.final_deadline(no) + CLAIM_SLACK_SECONDS;
            let late = task.ended.is_none_or(|ended| ended > due);
            if late || !matches!(task.phase, Phase::Completed | Phase::Failed) {
                let what = match task.ended {
                    Some(ended) => format!("task {no} ended at {ended} s, due at {due} s"),
                    None => format!("task {no} never ended: {:?}", task.phase),
                };
                market.report(Promise::Liveness, what);
            }
        }
        market.audit.violation.take()
    }
}

impl Market<'_> {
    fn report(&mut self, promise: Promise, what: String) {
        let at_ms = self.now_ms;
        self.audit.violation.get_or_insert(Violation { promise, at_ms, what });
    }
}

fn sum(accounts: &[Account]) -> u64 {
    accounts.iter().map(|it| it.free + it.locked).sum()
}

/// Counts anew, without `verdict`: the product of the weights behind the result against all groups and one.
fn formula_holds(
    contributions: &[Contribution],
    behind: impl Fn(&Contribution) -> bool,
    trust: u64,
) -> bool {
    let counts = |it: &&Contribution| it.standing != Standing::Rejected;
    let mut total = 1u128;
    let mut group = 0u128;
    for (place, first) in contributions.iter().enumerate().filter(|(_, it)| counts(it)) {
        let same = |it: &&Contribution| counts(it) && it.hash == first.hash;
        if contributions[..place].iter().any(|it| same(&it)) {
            continue;
        }
        let weight = contributions
            .iter()
            .filter(same)
            .fold(1u128, |product, it| product.saturating_mul(u128::from(it.weight)));
        total = total.saturating_add(weight);
        if behind(first) {
            group = weight;
        }
    }
    let trust = u128::from(trust.max(1));
    group.saturating_mul(trust) > total.saturating_mul(trust - 1)
}

fn weights(contributions: &[Contribution]) -> String {
    let one = |it: &Contribution| format!("worker {} weighs {}", it.worker, it.weight);
    contributions.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Honest workers that lost their stake must have lost to a wrong result, or have been down.
fn check_slashes(market: &mut Market<'_>, no: u32) {
    let task = market.chain.hub.task(no);
    let wrong = task.digest.is_some_and(|digest| !is_true(no, digest));
    if wrong {
        return;
    }
    let mut unfair = None;
    for lost in task.contributions.iter().filter(|it| it.standing != Standing::Proved) {
        let Some(worker) = market.worker_of[lost.worker as usize] else { continue };
        if market.scenario.workers[worker].strategy != Strategy::Honest {
            continue;
        }
        let had_its_chance = lost.window.is_none_or(|window| {
            longest_up(&market.scenario.faults, worker, window) >= REVEAL_NEEDS_SECONDS
        });
        if had_its_chance {
            unfair = Some(format!(
                "honest worker {worker} lost its stake in task {no} ({:?}, to be revealed {:?} s)",
                lost.standing, lost.window
            ));
        }
    }
    if let Some(what) = unfair {
        market.report(Promise::Fairness, what);
    }
}

/// The longest time in one piece, in seconds, that a worker was not crashed within a window.
fn longest_up(faults: &[Fault], worker: usize, (from, to): (u64, u64)) -> u64 {
    let mut downs: Vec<(u64, u64)> = faults
        .iter()
        .filter_map(|fault| match *fault {
            Fault::WorkerCrash { worker: who, at_ms, for_ms } if who == worker => {
                Some((at_ms / 1_000, (at_ms + for_ms).div_ceil(1_000)))
            }
            _ => None,
        })
        .collect();
    downs.sort_unstable();
    let (mut longest, mut since) = (0, from);
    for (down, up) in downs {
        longest = longest.max(down.min(to).saturating_sub(since));
        since = since.max(up);
    }
    longest.max(to.saturating_sub(since))
}

/// Everybody has locked what its open tasks demand.
fn check_locks(market: &mut Market<'_>) {
    let hub = &market.chain.hub;
    let mut expected = vec![0u64; hub.accounts.len()];
    for task in &hub.tasks {
        let deal = &hub.deals[task.deal as usize];
        if deal.start.is_none() || matches!(task.phase, Phase::Completed | Phase::Failed) {
            continue;
        }
        let offer = &deal.offer;
        expected[offer.requester as usize] += offer.app_price + offer.pool_price;
        expected[offer.pool_owner as usize] += pool_stake(offer.pool_price);
        for contribution in &task.contributions {
            expected[contribution.worker as usize] += worker_stake(offer);
        }
    }
    let wrong = hub.accounts.iter().zip(&expected).enumerate().skip(1);
    let mut wrong = wrong.filter(|(_, (account, expected))| account.locked != **expected);
    if let Some((who, (account, expected))) = wrong.next() {
        let what = format!("account {who} has {} nRLC locked, not {expected}", account.locked);
        market.report(Promise::Money, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(at_s: u64, for_s: u64) -> Fault {
        Fault::WorkerCrash { worker: 0, at_ms: at_s * 1_000, for_ms: for_s * 1_000 }
    }

    #[test]
    fn time_between_crashes_counts() {
        let check = |faults: &[Fault], expected| {
            assert_eq!(longest_up(faults, 0, (100, 700)), expected, "{faults:?}");
        };
        check(&[], 600);
        check(&[crash(0, 50)], 600);
        check(&[crash(0, 200)], 500);
        check(&[crash(300, 100)], 300);
        check(&[crash(0, 800)], 0);
        check(&[crash(90, 100), crash(400, 400)], 210);
        check(&[crash(650, 900)], 550);
    }
}
