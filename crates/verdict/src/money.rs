//! Who gets what when a task ends, as the hub pays it.
//!
//! Before it ends, per task, the hub holds: the payer's lock (all prices), the scheduler's stake (30 % of the pool price), and
//! one stake per contributor. All of it goes out again, with a tenth of the kitty on success; the tests hold this to the
//! last nRLC.

use alloy_primitives::{Address, U256, address};
use primitives::Nrlc;

use crate::Overflow;

/// The account that collects what schedulers lose, and gives a part back to those who finish.
pub const KITTY: Address = address!("99c2268479b93fDe36232351229815DF80837e23");
/// The kitty gives this share of what it holds, in percent.
pub const KITTY_PERCENT: u64 = 10;
/// … but at least this much (1 RLC), if it has it.
pub const KITTY_MIN_NRLC: u64 = 1_000_000_000;
/// The scheduler's stake as a share of the pool price, in percent.
pub const POOL_STAKE_PERCENT: u64 = 30;

/// The amounts and accounts of a deal. Prices and stake per task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DealMoney {
    /// Who pays: the requester or a sponsor.
    pub payer: Address,
    /// Who is paid for the app.
    pub app_owner: Address,
    /// The app's price.
    pub app_price: Nrlc,
    /// Who is paid for the dataset; zero without one.
    pub dataset_owner: Address,
    /// The dataset's price.
    pub dataset_price: Nrlc,
    /// The scheduler: the workerpool's owner.
    pub workerpool_owner: Address,
    /// The workerpool's price.
    pub workerpool_price: Nrlc,
    /// A worker's stake.
    pub worker_stake: Nrlc,
    /// The scheduler's share of the workers' reward, in percent, at most 100.
    pub scheduler_percent: U256,
}

/// A contributor at the end of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// Its wallet.
    pub address: Address,
    /// Its weight as the contract keeps it: the binary logarithm, rounded down, of [`crate::weight`].
    pub log2_weight: U256,
    /// Whether it contributed the winning result and revealed it.
    pub proved: bool,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Contributions, reveals, `finalize`.
    Finalized(Vec<Worker>),
    /// One worker, `contributeAndFinalize`; it staked nothing.
    FinalizedAlone(Address),
    /// `claim` after the final deadline. All contributors, whatever they did.
    Claimed(Vec<Address>),
}

/// What a payment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The app's price.
    App,
    /// The dataset's price.
    Dataset,
    /// A worker's part of the reward.
    Work,
    /// A worker's own stake, unlocked.
    WorkerStake,
    /// The scheduler's own stake, unlocked.
    SchedulerStake,
    /// The scheduler's part of the kitty.
    Kitty,
    /// The scheduler's part of the reward, losers' stakes and rounding included.
    Scheduling,
    /// The payer's prices, unlocked.
    Refund,
    /// A failing scheduler's stake, into the kitty.
    Forfeit,
}

/// One account gets one amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// Who.
    pub to: Address,
    /// How much.
    pub amount: Nrlc,
    /// What for.
    pub why: Why,
}

/// All that is paid out when a task ends so. `kitty`: what the kitty holds before.
pub fn split(deal: &DealMoney, outcome: &Outcome, kitty: Nrlc) -> Result<Vec<Payment>, Overflow> {
    let scheduler_stake = percent(deal.workerpool_price, U256::from(POOL_STAKE_PERCENT))?;
    match outcome {
        Outcome::Finalized(workers) => {
            let mut payments = parties(deal, scheduler_stake, kitty)?;
            payments.extend(rewards(deal, workers)?);
            Ok(payments)
        }
        Outcome::FinalizedAlone(worker) => {
            let mut payments = parties(deal, scheduler_stake, kitty)?;
            let reward = workers_share(deal, deal.workerpool_price)?;
            let rest = deal.workerpool_price.saturating_sub(reward);
            payments.push(Payment { to: *worker, amount: reward, why: Why::Work });
            payments.push(Payment {
                to: deal.workerpool_owner,
                amount: rest,
                why: Why::Scheduling,
            });
            Ok(payments)
        }
        Outcome::Claimed(workers) => {
            let mut payments = vec![
                Payment { to: deal.payer, amount: price(deal)?, why: Why::Refund },
                Payment { to: KITTY, amount: scheduler_stake, why: Why::Forfeit },
            ];
            let back = |to: &Address| Payment {
                to: *to,
                amount: deal.worker_stake,
                why: Why::WorkerStake,
            };
            payments.extend(workers.iter().map(back));
            Ok(payments)
        }
    }
}

/// All prices of a task together: what the payer locks for it.
pub fn price(deal: &DealMoney) -> Result<Nrlc, Overflow> {
    let assets = deal.app_price.checked_add(deal.dataset_price).ok_or(Overflow)?;
    assets.checked_add(deal.workerpool_price).ok_or(Overflow)
}

/// What the kitty gives when it holds that much.
pub fn kitty_share(held: Nrlc) -> Result<Nrlc, Overflow> {
    let share = percent(held, U256::from(KITTY_PERCENT))?;
    Ok(share.max(Nrlc::new(KITTY_MIN_NRLC)).min(held))
}

/// Success, apart from the workers: owners, the scheduler's stake, the kitty.
fn parties(deal: &DealMoney, stake: Nrlc, kitty: Nrlc) -> Result<Vec<Payment>, Overflow> {
    let mut payments = Vec::with_capacity(8);
    if !deal.app_price.is_zero() {
        payments.push(Payment { to: deal.app_owner, amount: deal.app_price, why: Why::App });
    }
    if !deal.dataset_price.is_zero() {
        let (to, amount) = (deal.dataset_owner, deal.dataset_price);
        payments.push(Payment { to, amount, why: Why::Dataset });
    }
    payments.push(Payment { to: deal.workerpool_owner, amount: stake, why: Why::SchedulerStake });
    if !kitty.is_zero() {
        let amount = kitty_share(kitty)?;
        payments.push(Payment { to: deal.workerpool_owner, amount, why: Why::Kitty });
    }
    Ok(payments)
}

fn rewards(deal: &DealMoney, workers: &[Worker]) -> Result<Vec<Payment>, Overflow> {
    let losers = workers.iter().filter(|worker| !worker.proved).count();
    let forfeited = deal.worker_stake.checked_mul(U256::from(losers)).ok_or(Overflow)?;
    let reward = deal.workerpool_price.checked_add(forfeited).ok_or(Overflow)?;
    let for_workers = workers_share(deal, reward)?;
    let proved = || workers.iter().filter(|worker| worker.proved);
    let weights = proved()
        .try_fold(U256::ZERO, |sum, worker| sum.checked_add(worker.log2_weight))
        .ok_or(Overflow)?;
    let (mut payments, mut rest) = (Vec::new(), reward);
    for worker in proved() {
        let product = for_workers.checked_mul(worker.log2_weight).ok_or(Overflow)?;
        let amount = Nrlc(product.0.checked_div(weights).unwrap_or_default());
        rest = rest.checked_sub(amount).ok_or(Overflow)?;
        let to = worker.address;
        payments.push(Payment { to, amount: deal.worker_stake, why: Why::WorkerStake });
        payments.push(Payment { to, amount, why: Why::Work });
    }
    payments.push(Payment { to: deal.workerpool_owner, amount: rest, why: Why::Scheduling });
    Ok(payments)
}

fn workers_share(deal: &DealMoney, reward: Nrlc) -> Result<Nrlc, Overflow> {
    percent(reward, U256::from(100).checked_sub(deal.scheduler_percent).ok_or(Overflow)?)
}

fn percent(amount: Nrlc, percent: U256) -> Result<Nrlc, Overflow> {
    let product = amount.checked_mul(percent).ok_or(Overflow)?;
    Ok(Nrlc(product.0 / U256::from(100)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn deal() -> DealMoney {
        DealMoney {
            payer: Address::repeat_byte(0xaa),
            app_owner: Address::repeat_byte(1),
            app_price: Nrlc::new(10),
            dataset_owner: Address::ZERO,
            dataset_price: Nrlc::ZERO,
            workerpool_owner: Address::repeat_byte(3),
            workerpool_price: Nrlc::new(1001),
            worker_stake: Nrlc::new(300),
            scheduler_percent: U256::ONE,
        }
    }

    fn worker(number: u8, log2_weight: u64, proved: bool) -> Worker {
        Worker {
            address: Address::with_last_byte(number),
            log2_weight: U256::from(log2_weight),
            proved,
        }
    }

    fn check(outcome: &Outcome, kitty: u64, expected: &Expect) {
        let payments = split(&deal(), outcome, Nrlc::new(kitty)).unwrap();
        let lines: Vec<_> = payments
            .iter()
            .map(|payment| {
                format!("{:?} {} to ..{:02x}", payment.why, payment.amount.0, payment.to[19])
            })
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn success_with_a_loser() {
        let workers = vec![worker(0x51, 1, true), worker(0x52, 1, false), worker(0x53, 2, true)];
        check(
            &Outcome::Finalized(workers),
            0,
            &expect![[r#"
            App 10 to ..01
            SchedulerStake 300 to ..03
            WorkerStake 300 to ..51
            Work 429 to ..51
            WorkerStake 300 to ..53
            Work 858 to ..53
            Scheduling 14 to ..03"#]],
        );
    }

    #[test]
    fn success_alone_takes_from_the_kitty() {
        check(
            &Outcome::FinalizedAlone(Address::with_last_byte(0x51)),
            500,
            &expect![[r#"
            App 10 to ..01
            SchedulerStake 300 to ..03
            Kitty 500 to ..03
            Work 990 to ..51
            Scheduling 11 to ..03"#]],
        );
        check(
            &Outcome::FinalizedAlone(Address::with_last_byte(0x51)),
            20_000_000_000,
            &expect![[r#"
            App 10 to ..01
            SchedulerStake 300 to ..03
            Kitty 2000000000 to ..03
            Work 990 to ..51
            Scheduling 11 to ..03"#]],
        );
    }

    #[test]
    fn failure_refunds_and_fills_the_kitty() {
        check(
            &Outcome::Claimed(vec![Address::with_last_byte(0x51)]),
            500,
            &expect![[r#"
            Refund 1011 to ..aa
            Forfeit 300 to ..23
            WorkerStake 300 to ..51"#]],
        );
    }

    #[test]
    fn extremes_are_errors() {
        let rich = DealMoney { workerpool_price: Nrlc::MAX, ..deal() };
        let outcome = Outcome::FinalizedAlone(Address::ZERO);
        assert_eq!(split(&rich, &outcome, Nrlc::ZERO), Err(Overflow));
        let greedy = DealMoney { scheduler_percent: U256::from(101), ..deal() };
        assert_eq!(split(&greedy, &outcome, Nrlc::ZERO), Err(Overflow));
    }

    proptest! {
        #[test]
        fn money_is_conserved(
            app in 0u64..1_000_000, dataset in 0u64..1_000_000, pool in any::<u64>(), stake in any::<u64>(),
            scheduler in 0u64..=100, kitty in any::<u64>(),
            workers in proptest::collection::vec((1u64..8, any::<bool>()), 1..6),
            ending in 0u8..3,
        ) {
            let deal = DealMoney {
                app_price: Nrlc::new(app), dataset_price: Nrlc::new(dataset), workerpool_price: Nrlc::new(pool),
                worker_stake: Nrlc::new(stake), scheduler_percent: U256::from(scheduler), ..deal()
            };
            let workers: Vec<_> =
                (1..).zip(workers).map(|(number, (weight, proved))| worker(number, weight, proved)).collect();
            let count = workers.len() as u64;
            let addresses = workers.iter().map(|worker| worker.address).collect();
            let kitty = Nrlc::new(kitty);
            let (outcome, stakes, from_kitty) = match ending {
                0 => (Outcome::Finalized(workers), count, kitty_share(kitty).unwrap()),
                1 => (Outcome::FinalizedAlone(workers[0].address), 0, kitty_share(kitty).unwrap()),
                _ => (Outcome::Claimed(addresses), count, Nrlc::ZERO),
            };
            let held: Nrlc = [
                price(&deal).unwrap(),
                percent(deal.workerpool_price, U256::from(POOL_STAKE_PERCENT)).unwrap(),
                deal.worker_stake.checked_mul(U256::from(stakes)).unwrap(),
                from_kitty,
            ].into_iter().sum();
            let paid: Nrlc = split(&deal, &outcome, kitty).unwrap().iter().map(|payment| payment.amount).sum();
            prop_assert_eq!(paid, held);
        }
    }
}
