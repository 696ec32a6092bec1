//! Anyone doing anything in any order: what must hold holds after every step, and every payment is the one that
//! `verdict` foretells.
//!
//! Number of sequences: `CHAOS_CASES` (300 unless told; `CHAOS_CASES=10000 cargo test -p bindings chaos` for a night).

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use alloy_primitives::{Address, B256, U256, keccak256};
use bindings::boost::{claimBoostCall as ClaimBoost, viewDealBoostCall as ViewDealBoost};
use bindings::hub;
use orders::Quartet;
use primitives::{DealId, Nrlc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use verdict::money::KITTY;
use verdict::{DealMoney, Outcome, Payment, Worker};

use crate::boost;
use crate::settle::try_settle;
use crate::world::{RLC, Refused, World, match_call};

const WORKERS: usize = 3;
const FINAL: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Match { volume: u8, trust: u8, dataset: bool, sponsored: bool, price: u32 },
    Initialize { deal: usize, index: u8 },
    Contribute { task: usize, worker: usize, result: u8 },
    Reveal { task: usize, worker: usize, result: u8 },
    Finalize { task: usize },
    Alone { task: usize, worker: usize },
    Reopen { task: usize },
    Claim { task: usize },
    Settle { deal: usize, worker: usize, indices: u8 },
    BoostMatch { volume: u8, dataset: bool, sponsored: bool, price: u32 },
    BoostPush { deal: usize, index: u8, worker: usize },
    BoostClaim { deal: usize, index: u8 },
    Transfer { from: usize, to: usize, amount: u64 },
    Withdraw { who: usize, amount: u64 },
    Wait { seconds: u64 },
}

/// Mostly the truth, which is 0.
fn lies() -> impl Strategy<Value = u8> + Clone {
    prop_oneof![4 => Just(0u8), 1 => Just(1)]
}

fn step() -> impl Strategy<Value = Step> {
    let (deal, task, worker, result) = (0..3usize, 0..6usize, 0..WORKERS, lies());
    prop_oneof![
        3 => (1..4u8, 0..5u8, any::<bool>(), any::<bool>(), 0..2_000_000_000u32).prop_map(
            |(volume, trust, dataset, sponsored, price)| Step::Match { volume, trust, dataset, sponsored, price }
        ),
        4 => (deal.clone(), 0..4u8).prop_map(|(deal, index)| Step::Initialize { deal, index }),
        8 => (task.clone(), worker.clone(), result.clone())
            .prop_map(|(task, worker, result)| Step::Contribute { task, worker, result }),
        12 => (task.clone(), worker.clone(), result)
            .prop_map(|(task, worker, result)| Step::Reveal { task, worker, result }),
        8 => task.clone().prop_map(|task| Step::Finalize { task }),
        1 => (task.clone(), worker.clone()).prop_map(|(task, worker)| Step::Alone { task, worker }),
        2 => (deal, worker.clone(), 1..16u8)
            .prop_map(|(deal, worker, indices)| Step::Settle { deal, worker, indices }),
        1 => (1..4u8, any::<bool>(), any::<bool>(), 0..2_000_000_000u32).prop_map(
            |(volume, dataset, sponsored, price)| Step::BoostMatch { volume, dataset, sponsored, price }
        ),
        2 => (0..2usize, 0..4u8, worker)
            .prop_map(|(deal, index, worker)| Step::BoostPush { deal, index, worker }),
        1 => (0..2usize, 0..4u8).prop_map(|(deal, index)| Step::BoostClaim { deal, index }),
        2 => task.clone().prop_map(|task| Step::Reopen { task }),
        3 => task.prop_map(|task| Step::Claim { task }),
        1 => (0..12usize, 0..12usize, 0..2_000 * RLC)
            .prop_map(|(from, to, amount)| Step::Transfer { from, to, amount }),
        1 => (0..12usize, 0..2_000 * RLC).prop_map(|(who, amount)| Step::Withdraw { who, amount }),
        3 => prop_oneof![Just(100u64), Just(700), Just(3_000)].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

#[test]
fn whatever_happens_the_books_balance() {
    let cases = std::env::var("CHAOS_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let mut world = World::new();
    let (app, dataset, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    let start = Story {
        world,
        app,
        dataset,
        pool,
        deals: Vec::new(),
        boosts: Vec::new(),
        tasks: Vec::new(),
        orders: Vec::new(),
    };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let went_well = RefCell::new(HashSet::new());
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..60), |steps| {
            let mut story = start.clone();
            for step in &steps {
                if story.take(step) {
                    went_well.borrow_mut().insert(kind(step));
                    story.check();
                }
            }
            Ok(())
        })
        .unwrap();
    for kind in ["Match", "Contribute", "Reveal", "Finalize", "Settle", "BoostPush"] {
        let seen = went_well.borrow().iter().any(|name: &String| name == kind);
        assert!(cases < 300 || seen, "no {kind} went well: {went_well:?}");
    }
}

#[derive(Clone)]
struct Story {
    world: World,
    app: Address,
    dataset: Address,
    pool: Address,
    deals: Vec<B256>,
    boosts: Vec<B256>,
    /// Id and the status last seen.
    tasks: Vec<(B256, u8)>,
    /// Request hash and volume.
    orders: Vec<(B256, U256)>,
}

impl Story {
    /// Whether something may have changed. Every refusal is fine, as long as it is one that the rules know.
    fn take(&mut self, step: &Step) -> bool {
        let result = match *step {
            Step::Match { volume, trust, dataset, sponsored, price } => {
                self.match_orders(volume, trust, dataset, sponsored, price)
            }
            Step::Initialize { deal, index } => self.initialize(deal, index),
            Step::Contribute { task, worker, result } => self
                .on(task, |world, id| world.try_contribute(id, worker, digest(result)).map(drop)),
            Step::Reveal { task, worker, result } => {
                self.on(task, |world, id| world.try_reveal(id, worker, digest(result)).map(drop))
            }
            Step::Finalize { task } => {
                self.ending(task, |world, id| world.try_finalize(id, b"").map(drop))
            }
            Step::Alone { task, worker } => {
                self.ending(task, |world, id| world.try_alone(id, worker, digest(0), b"").map(drop))
            }
            Step::Settle { deal, worker, indices } => self.settle(deal, worker, indices),
            Step::BoostMatch { volume, dataset, sponsored, price } => {
                self.boost(volume, dataset, sponsored, price)
            }
            Step::BoostPush { deal, index, worker } => self.push(deal, index, worker),
            Step::BoostClaim { deal, index } => self.claim_boost(deal, index),
            Step::Reopen { task } => self.on(task, |world, taskid| {
                let scheduler = world.cast.scheduler.address();
                world.try_tx(scheduler, world.hub, &hub::reopenCall { taskid }).map(drop)
            }),
            Step::Claim { task } => self.ending(task, |world, taskid| {
                world.try_tx(Address::ZERO, world.hub, &hub::claimCall { taskid }).map(drop)
            }),
            Step::Transfer { from, to, amount } => {
                let everyone = self.world.everyone();
                let (from, recipient) = (everyone[from], everyone[to]);
                let call = hub::transferCall { recipient, amount: U256::from(amount) };
                self.world.try_tx(from, self.world.hub, &call).map(drop)
            }
            Step::Withdraw { who, amount } => {
                let from = self.world.everyone()[who];
                let call = hub::withdrawCall { amount: U256::from(amount) };
                self.world.try_tx(from, self.world.hub, &call).map(drop)
            }
            Step::Wait { seconds } => {
                self.world.now += seconds;
                return false;
            }
        };
        match result {
            Ok(()) => true,
            Err(Refused::Empty) => false,
            Err(Refused::Text(text)) => {
                let short = text == "IexecEscrow: Transfer amount exceeds balance";
                assert!(short || text.starts_with("PocoBoost: "), "{text}");
                false
            }
            Err(Refused::Data(data)) => {
                assert!(matches!(step, Step::Settle { .. }), "{step:?} was refused with {data}");
                false
            }
            Err(other) => panic!("{step:?} was refused with {other:?}"),
        }
    }

    fn match_orders(
        &mut self,
        volume: u8,
        trust: u8,
        dataset: bool,
        sponsored: bool,
        price: u32,
    ) -> Result<(), Refused> {
        if self.deals.len() == 3 {
            return Err(Refused::Empty);
        }
        let signed = self.orders(volume, trust, dataset, price);
        let world = &mut self.world;
        let done = if sponsored {
            let call = match_call(&signed);
            let call = hub::sponsorMatchOrdersCall {
                apporder: call.apporder,
                datasetorder: call.datasetorder,
                workerpoolorder: call.workerpoolorder,
                requestorder: call.requestorder,
            };
            let sponsor = world.cast.sponsor.address();
            world.try_tx(sponsor, world.hub, &call)?
        } else {
            world.try_match(&signed)?
        };
        self.deals.push(B256::from_slice(&done.output));
        Ok(())
    }

    /// Four signed orders, of a request nobody made before.
    fn orders(&mut self, volume: u8, trust: u8, dataset: bool, price: u32) -> Quartet {
        let world = &mut self.world;
        let dataset = if dataset { self.dataset } else { Address::ZERO };
        let mut quartet = world.quartet(self.app, dataset, self.pool);
        quartet.workerpool.price = U256::from(price);
        quartet.request.workerpool_max_price = U256::from(price);
        quartet.request.volume = U256::from(volume);
        quartet.request.trust = U256::from(trust);
        quartet.request.salt = B256::with_last_byte(u8::try_from(self.orders.len()).unwrap());
        let signed = world.sign(quartet);
        self.orders.push((signed.request.hash(&world.domain()).0, signed.request.volume));
        signed
    }

    /// Several tasks at once: everyone's free stake changes by what `verdict` says of them one after another.
    fn settle(&mut self, deal: usize, worker: usize, indices: u8) -> Result<(), Refused> {
        let Some(&dealid) = picked(&self.deals, deal) else { return Err(Refused::Empty) };
        let indices: Vec<_> = (0..4).filter(|index| indices >> index & 1 == 1).collect();
        let mut kitty = Nrlc(self.world.account(KITTY).1);
        let mut expected = self.stakes();
        try_settle(&mut self.world, dealid, worker, &indices)?;
        for index in indices {
            let taskid = orders::task_id(DealId(dealid), U256::from(index)).0;
            if self.tasks.iter().all(|(id, _)| *id != taskid) {
                self.tasks.push((taskid, 1));
            }
            let payments = self.foretold(taskid, kitty);
            add(&mut expected, payments);
            kitty = after_share(kitty);
        }
        assert_eq!(self.stakes(), expected);
        assert_eq!(Nrlc(self.world.account(KITTY).1), kitty);
        Ok(())
    }

    fn boost(
        &mut self,
        volume: u8,
        dataset: bool,
        sponsored: bool,
        price: u32,
    ) -> Result<(), Refused> {
        if self.boosts.len() == 2 {
            return Err(Refused::Empty);
        }
        let signed = self.orders(volume, 1, dataset, price);
        let world = &mut self.world;
        let done = if sponsored {
            let sponsor = world.cast.sponsor.address();
            world.try_tx(sponsor, world.hub, &boost::sponsor_call(&signed))?
        } else {
            boost::try_match(world, &signed)?
        };
        self.boosts.push(B256::from_slice(&done.output));
        Ok(())
    }

    fn push(&mut self, deal: usize, index: u8, worker: usize) -> Result<(), Refused> {
        let Some(&dealid) = picked(&self.boosts, deal) else { return Err(Refused::Empty) };
        let worker_address = self.world.cast.workers[worker].address();
        self.boost_ending(dealid, &Outcome::FinalizedAlone(worker_address), |world| {
            boost::try_push(world, dealid, u64::from(index), worker).map(drop)
        })
    }

    fn claim_boost(&mut self, deal: usize, index: u8) -> Result<(), Refused> {
        let Some(&dealid) = picked(&self.boosts, deal) else { return Err(Refused::Empty) };
        self.boost_ending(dealid, &Outcome::Claimed(Vec::new()), |world| {
            let call = ClaimBoost { dealId: dealid, index: U256::from(index) };
            world.try_tx(Address::ZERO, world.hub, &call).map(drop)
        })
    }

    fn boost_ending(
        &mut self,
        dealid: B256,
        outcome: &Outcome,
        act: impl FnOnce(&mut World) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let kitty = Nrlc(self.world.account(KITTY).1);
        let mut expected = self.stakes();
        act(&mut self.world)?;
        add(&mut expected, verdict::split(&self.boost_money(dealid).0, outcome, kitty).unwrap());
        assert_eq!(self.stakes(), expected);
        Ok(())
    }

    /// A Boost deal as the rules see it, and how many tasks it has.
    fn boost_money(&self, dealid: B256) -> (DealMoney, u64) {
        let deal = self.world.view(self.world.hub, &ViewDealBoost { dealId: dealid });
        let money = DealMoney {
            payer: deal.sponsor,
            app_owner: deal.appOwner,
            app_price: Nrlc(deal.appPrice.to()),
            dataset_owner: deal.datasetOwner,
            dataset_price: Nrlc(deal.datasetPrice.to()),
            workerpool_owner: deal.workerpoolOwner,
            workerpool_price: Nrlc(deal.workerpoolPrice.to()),
            worker_stake: Nrlc(U256::ZERO),
            scheduler_percent: U256::ONE,
        };
        (money, u64::from(deal.botSize))
    }

    fn initialize(&mut self, deal: usize, index: u8) -> Result<(), Refused> {
        let Some(&dealid) = picked(&self.deals, deal) else { return Err(Refused::Empty) };
        let call = hub::initializeCall { dealid, idx: U256::from(index) };
        let done = self.world.try_tx(Address::ZERO, self.world.hub, &call)?;
        self.tasks.push((B256::from_slice(&done.output), 1));
        Ok(())
    }

    fn on(
        &mut self,
        task: usize,
        act: impl FnOnce(&mut World, B256) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        match picked(&self.tasks, task) {
            Some(&(id, _)) => act(&mut self.world, id),
            None => Err(Refused::Empty),
        }
    }

    /// Something that may end a task: if it does, everyone's free stake changes by just what `verdict` says.
    fn ending(
        &mut self,
        task: usize,
        act: impl FnOnce(&mut World, B256) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let Some(&(taskid, _)) = picked(&self.tasks, task) else { return Err(Refused::Empty) };
        let kitty = Nrlc(self.world.account(KITTY).1);
        let mut expected = self.stakes();
        act(&mut self.world, taskid)?;
        add(&mut expected, self.foretold(taskid, kitty));
        assert_eq!(self.stakes(), expected);
        Ok(())
    }

    fn foretold(&self, taskid: B256, kitty: Nrlc) -> Vec<Payment> {
        let task = self.world.view_task(taskid);
        let deal = self.world.view_deal(task.dealid);
        let money = DealMoney {
            payer: deal.sponsor,
            app_owner: deal.app.owner,
            app_price: Nrlc(deal.app.price),
            dataset_owner: deal.dataset.owner,
            dataset_price: Nrlc(deal.dataset.price),
            workerpool_owner: deal.workerpool.owner,
            workerpool_price: Nrlc(deal.workerpool.price),
            worker_stake: Nrlc(deal.workerStake),
            scheduler_percent: deal.schedulerRewardRatio,
        };
        let contributions: Vec<_> = (0..WORKERS)
            .map(|worker| {
                (
                    self.world.cast.workers[worker].address(),
                    self.world.view_contribution(taskid, worker),
                )
            })
            .collect();
        let workers = task.contributors.iter().map(|address| {
            let (_, contribution) =
                contributions.iter().find(|(worker, _)| worker == address).unwrap();
            Worker {
                address: *address,
                log2_weight: contribution.weight,
                proved: contribution.status == 2,
            }
        });
        let outcome = if task.status == FINAL
            && deal.trust == U256::ONE
            && contributions_alone(&contributions)
        {
            Outcome::FinalizedAlone(task.contributors[0])
        } else if task.status == FINAL {
            Outcome::Finalized(workers.collect())
        } else {
            Outcome::Claimed(task.contributors.clone())
        };
        verdict::split(&money, &outcome, kitty).unwrap()
    }

    fn stakes(&self) -> BTreeMap<Address, U256> {
        self.world.everyone().into_iter().map(|who| (who, self.world.account(who).0)).collect()
    }

    /// What holds at all times.
    fn check(&mut self) {
        self.world.assert_conserved();
        self.check_locks();
        for (task, seen) in &mut self.tasks {
            let status = self.world.view_task(*task).status;
            assert!(*seen < FINAL || status == *seen, "what is over stays over");
            assert!(status >= 1);
            *seen = status;
        }
        for (hash, volume) in &self.orders {
            let consumed =
                self.world.view(self.world.hub, &hub::viewConsumedCall { orderHash: *hash });
            assert!(consumed <= *volume);
        }
    }

    /// Everyone has locked what its open tasks demand, and not more.
    fn check_locks(&self) {
        let mut locks: BTreeMap<Address, U256> = BTreeMap::new();
        let tasks: Vec<_> = self.tasks.iter().map(|(id, _)| self.world.view_task(*id)).collect();
        for dealid in &self.deals {
            let deal = self.world.view_deal(*dealid);
            let over =
                tasks.iter().filter(|task| task.dealid == *dealid && task.status >= FINAL).count();
            let open = deal.botSize - U256::from(over);
            let price = deal.app.price + deal.dataset.price + deal.workerpool.price;
            let stake = deal.workerpool.price * U256::from(30) / U256::from(100);
            *locks.entry(deal.sponsor).or_default() += price * open;
            *locks.entry(deal.workerpool.owner).or_default() += stake * open;
            for task in tasks.iter().filter(|task| task.dealid == *dealid && task.status < FINAL) {
                for worker in &task.contributors {
                    *locks.entry(*worker).or_default() += deal.workerStake;
                }
            }
        }
        for &dealid in &self.boosts {
            let (money, size) = self.boost_money(dealid);
            let over = (0..size)
                .map(|index| orders::task_id(DealId(dealid), U256::from(index)).0)
                .filter(|taskid| self.world.view_task(*taskid).status >= FINAL)
                .count();
            let open = U256::from(size) - U256::from(over);
            let price = money.app_price.0 + money.dataset_price.0 + money.workerpool_price.0;
            let stake = money.workerpool_price.0 * U256::from(30) / U256::from(100);
            *locks.entry(money.payer).or_default() += price * open;
            *locks.entry(money.workerpool_owner).or_default() += stake * open;
        }
        for who in self.world.everyone().into_iter().filter(|who| *who != KITTY) {
            let expected = locks.get(&who).copied().unwrap_or_default();
            assert_eq!(self.world.account(who).1, expected, "locked by {who}");
        }
    }
}

/// One of those there are, whatever the index.
fn picked<T>(list: &[T], index: usize) -> Option<&T> {
    list.get(index.checked_rem(list.len())?)
}

/// The step's name.
fn kind(step: &Step) -> String {
    format!("{step:?}").split(' ').next().unwrap_or_default().to_owned()
}

fn add(stakes: &mut BTreeMap<Address, U256>, payments: Vec<Payment>) {
    for Payment { to, amount, .. } in payments.into_iter().filter(|payment| payment.to != KITTY) {
        *stakes.entry(to).or_default() += amount.0;
    }
}

/// What a success leaves in the kitty.
fn after_share(kitty: Nrlc) -> Nrlc {
    let share = (kitty.0 / U256::from(10)).max(U256::from(RLC)).min(kitty.0);
    Nrlc(kitty.0 - share)
}

fn digest(result: u8) -> B256 {
    keccak256([result])
}

/// A ballot of `contributeAndFinalize` has no weight; every other has some.
fn contributions_alone(contributions: &[(Address, hub::IexecLibCore_v5::Contribution)]) -> bool {
    contributions.iter().all(|(_, contribution)| contribution.weight.is_zero())
}
