//! Who loses what, and who gets it, for each way of not doing one's part. To the nRLC, with nothing left locked.
//!
//! A run costs 1 RLC; a contributor stakes 0.3 RLC, the scheduler as much; it keeps 1 % of the workers' reward.

mod equivocation;
mod idle_scheduler;
mod no_reveal;
mod spot_check;
mod withheld_result;
mod wrong_result;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use chain::Account;
use expect_test::Expect;
use primitives::{Nrlc, TaskId};
use verdict::money::KITTY;
use wire::scheduler::{PoolReputation, WorkerReputation};

use crate::fake_worker::FakeWorker;
use crate::market::{Desk, Market, PATIENCE};

/// The reveal window of the shortest category, and a second.
const REVEAL_WINDOW_SECONDS: u64 = 2 * 300 + 1;
/// Its final deadline, counted from the deal, and a second.
const FINAL_SECONDS: u64 = 10 * 300 + 1;

/// What accounts held at a moment.
struct Purses {
    held: Vec<(String, Address, Account)>,
}

impl Purses {
    /// Of everybody who has to do with money; workers in that order.
    async fn of(market: &Market, workers: &[&FakeWorker]) -> Self {
        let mut purses = Self { held: Vec::new() };
        purses.add(market, "requester", market.requester.address()).await;
        purses.add(market, "scheduler", market.pool_owner.address()).await;
        purses.add(market, "kitty", KITTY).await;
        for (number, worker) in (1..).zip(workers) {
            purses.add(market, &format!("worker {number}"), worker.wallet.address()).await;
        }
        purses
    }

    /// And of a worker that starts later, with that development account: what it stakes then is no gain.
    async fn await_worker(&mut self, market: &Market, name: &str, index: usize) {
        let address = market.signer(index).address();
        let mut account = market.client.account(address).await.unwrap();
        account.stake = [account.stake, Nrlc::from_rlc(1_000)].into_iter().sum();
        self.held.push((name.to_owned(), address, account));
    }

    async fn add(&mut self, market: &Market, name: &str, address: Address) {
        let account = market.client.account(address).await.unwrap();
        self.held.push((name.to_owned(), address, account));
    }

    /// What has changed since, in nRLC; what is still locked is named. Nothing comes from nowhere.
    async fn check(&self, market: &Market, expected: &Expect) {
        assert_eq!(self.changes(market, |_| true, expected).await, 0, "money is conserved");
    }

    /// The same of some.
    async fn check_only(&self, market: &Market, names: &[&str], expected: &Expect) {
        self.changes(market, |name| names.contains(&name), expected).await;
    }

    async fn changes(
        &self,
        market: &Market,
        whose: impl Fn(&str) -> bool,
        expected: &Expect,
    ) -> i128 {
        let (mut lines, mut sum) = (String::new(), 0);
        for (name, address, before) in self.held.iter().filter(|(name, ..)| whose(name)) {
            let now = market.client.account(*address).await.unwrap();
            let change =
                nrlc(now.stake) + nrlc(now.locked) - nrlc(before.stake) - nrlc(before.locked);
            sum += change;
            let _ = write!(lines, "{name} {change:+}");
            // The kitty holds all that it has as locked.
            if now.locked != Nrlc::ZERO && *address != KITTY {
                let _ = write!(lines, " ({} locked)", now.locked);
            }
            lines.push('\n');
        }
        expected.assert_eq(&lines);
        sum
    }
}

fn nrlc(amount: Nrlc) -> i128 {
    amount.0.to::<u128>().try_into().unwrap()
}

/// Waits until so many workers' parts in the task stand so.
async fn until_parts(desk: &Desk, task: TaskId, status: &str, count: usize) {
    let start = Instant::now();
    loop {
        let model = desk.client.task(task).await.unwrap();
        let parts = model.iter().flat_map(|model| &model.replicates);
        if parts.filter(|it| it.current_status == status).count() == count {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not {count} {status}: {model:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the scheduler has learnt of that worker.
async fn learnt(market: &Market, desk: &Desk, worker: &FakeWorker) -> WorkerReputation {
    let known = reputation(market, desk).await;
    let its = known.workers.into_iter().find(|it| it.worker == worker.wallet.address());
    its.expect("it is known")
}

async fn reputation(market: &Market, desk: &Desk) -> PoolReputation {
    desk.client.reputation(market.workerpool).await.unwrap().expect("it is its own")
}
