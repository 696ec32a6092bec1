//! The model of the hub against the real contracts: what its chain did is done again on the EVM, transaction by
//! transaction, and every verdict, balance, score and status must be the same.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall as _;
use bindings::{hub, workerpool_registry};
use primitives::{DealId, ResultDigest};
use sim::chain::Mined;
use sim::chance::Chance;
use sim::hub::{Call, DealNo, Hub, Offer, Phase, Standing, TaskNo, Tx, Who};
use sim::{Scenario, Transcript, transcript, truth};

use crate::world::{Actor, START, World, pool_call};

/// A real market where the accounts of a simulation are people.
struct Stage {
    world: World,
    people: Vec<Actor>,
    app: Address,
    /// By the owner's account.
    pools: Vec<(Who, Address)>,
    deals: Vec<Option<B256>>,
    model: Hub,
}

impl Stage {
    fn new(world: &World, transcript: &Transcript) -> Self {
        let mut world = world.clone();
        let people: Vec<_> = (0..transcript.initial.len())
            .map(|who| Actor::new(&format!("account {who}")))
            .collect();
        world.cast.developer = people[1].clone();
        let app = world.create_app();
        for (actor, account) in people.iter().zip(&transcript.initial).skip(1) {
            world.give(actor.address(), account.free);
        }
        let deals = vec![None; transcript.hub.deals.len()];
        let offers: Vec<_> = transcript.hub.deals.iter().map(|deal| deal.offer).collect();
        let scores = vec![0; people.len()];
        let model = Hub::new(transcript.initial.clone(), scores, &offers, false);
        Self { world, people, app, pools: Vec::new(), deals, model }
    }

    fn offer(&self, deal: DealNo) -> Offer {
        self.model.deals[deal as usize].offer
    }

    fn pool(&mut self, owner: Who) -> Address {
        if let Some((_, pool)) = self.pools.iter().find(|(who, _)| *who == owner) {
            return *pool;
        }
        let from = self.people[owner as usize].address();
        let done = self.world.tx(from, self.world.pools, &pool_call(from, "a pool"));
        let pool =
            workerpool_registry::createWorkerpoolCall::abi_decode_returns(&done.output).unwrap();
        self.pools.push((owner, pool));
        pool
    }

    fn task_id(&self, task: TaskNo) -> B256 {
        let deal = self.model.task(task).deal;
        let index = task - self.offer(deal).first;
        let id = self.deals[deal as usize].unwrap_or_default();
        orders::task_id(DealId(id), U256::from(index)).0
    }

    /// Does it, with its sender and scheduler in their parts. Whether the contract accepted it.
    fn execute(&mut self, Tx { from, call }: Tx) -> bool {
        let sender = self.people[from as usize].clone();
        self.world.cast.workers = vec![sender.clone()];
        let from = sender.address();
        let Some(task) = call.task() else {
            let Call::Match(deal) = call else { return false };
            return self.match_orders(deal);
        };
        let owner = self.offer(self.model.task(task).deal).pool_owner;
        self.world.cast.scheduler = self.people[owner as usize].clone();
        let taskid = self.task_id(task);
        let items = match &call {
            Call::Settle { items, .. } => self.settlements(task, items),
            _ => Vec::new(),
        };
        let world = &mut self.world;
        let hub = world.hub;
        match call {
            Call::Match(_) => false,
            Call::Settle { authorised, .. } => {
                let deal = self.model.task(task).deal;
                let dealid = self.deals[deal as usize].unwrap_or_default();
                let indices: Vec<_> = items.iter().map(|item| item.index).collect();
                let hash = verdict::settlement_hash(from, DealId(dealid), &indices);
                let signer = if authorised { &world.cast.scheduler } else { &sender };
                let authorization = signer.sign_message(hash);
                let call = hub::settleCall { dealid, items, authorization };
                world.try_tx(from, hub, &call).is_ok()
            }
            Call::Initialize(_) => {
                let deal = self.model.task(task).deal;
                let first = self.model.deals[deal as usize].offer.first;
                let dealid = self.deals[deal as usize].unwrap_or_default();
                let idx = U256::from(task - first);
                world.try_tx(from, hub, &hub::initializeCall { dealid, idx }).is_ok()
            }
            Call::Contribute { digest, sealed, authorised, .. } => {
                let mut call = world.contribute_call(taskid, 0, digest.0, None);
                if !authorised {
                    call.authorizationSign = sender.sign_message(taskid);
                }
                if !sealed {
                    call.resultSeal = B256::repeat_byte(7);
                }
                world.try_tx(from, hub, &call).is_ok()
            }
            Call::Reveal { digest, .. } => world.try_reveal(taskid, 0, digest.0).is_ok(),
            Call::Finalize(_) => {
                let call = hub::finalizeCall {
                    taskid,
                    results: b"result".as_slice().into(),
                    resultsCallback: Default::default(),
                };
                world.try_tx(from, hub, &call).is_ok()
            }
            Call::Alone { digest, .. } => world.try_alone(taskid, 0, digest.0, b"").is_ok(),
            Call::Reopen(_) => world.try_tx(from, hub, &hub::reopenCall { taskid }).is_ok(),
            Call::Claim(_) => world.try_tx(from, hub, &hub::claimCall { taskid }).is_ok(),
        }
    }

    /// Of the first one's deal; others are then tasks that the deal does not have.
    fn settlements(
        &self,
        first: TaskNo,
        items: &[(TaskNo, ResultDigest)],
    ) -> Vec<hub::IHubSettlement::Settlement> {
        let offer = self.offer(self.model.task(first).deal);
        let item = |(task, digest): &(TaskNo, ResultDigest)| hub::IHubSettlement::Settlement {
            index: U256::from(*task).wrapping_sub(U256::from(offer.first)),
            resultDigest: digest.0,
            results: b"result".as_slice().into(),
        };
        items.iter().map(item).collect()
    }

    fn match_orders(&mut self, deal: DealNo) -> bool {
        let offer = self.offer(deal);
        let pool = self.pool(offer.pool_owner);
        let world = &mut self.world;
        world.cast.scheduler = self.people[offer.pool_owner as usize].clone();
        world.cast.requester = self.people[offer.requester as usize].clone();
        let mut quartet = world.quartet(self.app, Address::ZERO, pool);
        let salt = B256::left_padding_from(&deal.to_be_bytes());
        quartet.app.price = U256::from(offer.app_price);
        quartet.request.app_max_price = U256::from(offer.app_price);
        quartet.workerpool.price = U256::from(offer.pool_price);
        quartet.workerpool.salt = salt;
        quartet.request.workerpool_max_price = U256::from(offer.pool_price);
        quartet.request.volume = U256::from(offer.size);
        quartet.request.trust = U256::from(offer.trust);
        quartet.request.salt = salt;
        let signed = world.sign(quartet);
        let Ok(done) = world.try_match(&signed) else { return false };
        self.deals[deal as usize] = Some(B256::from_slice(&done.output));
        true
    }

    fn compare(&self, seed: u64) {
        let hub = &self.model;
        for (who, actor) in self.people.iter().enumerate() {
            let address = if who == 0 { verdict::money::KITTY } else { actor.address() };
            let (free, locked) = self.world.account(address);
            let model = hub.accounts[who];
            assert_eq!(
                (free, locked),
                (U256::from(model.free), U256::from(model.locked)),
                "seed {seed}: account {who}"
            );
            assert_eq!(
                self.world.score(address),
                U256::from(hub.scores[who]),
                "seed {seed}: {who}"
            );
        }
        for (no, model) in (0..).zip(&hub.tasks) {
            let real = self.world.view_task(self.task_id(no));
            let phase = match model.phase {
                Phase::Unset => 0,
                Phase::Active => 1,
                Phase::Revealing => 2,
                Phase::Completed => 3,
                Phase::Failed => 4,
            };
            assert_eq!(real.status, phase, "seed {seed}: task {no}");
            let contributors: Vec<_> = model
                .contributions
                .iter()
                .map(|it| self.people[it.worker as usize].address())
                .collect();
            assert_eq!(real.contributors, contributors, "seed {seed}: task {no}");
            for (worker, contribution) in contributors.into_iter().zip(&model.contributions) {
                let taskid = self.task_id(no);
                let call = hub::viewContributionCall { taskid, worker };
                let standing = match contribution.standing {
                    Standing::Contributed => 1,
                    Standing::Proved => 2,
                    Standing::Rejected => 3,
                };
                assert_eq!(self.world.view(self.world.hub, &call).status, standing);
            }
        }
        let supply = self.world.view(self.world.hub, &hub::totalSupplyCall {});
        assert!(supply >= hub.accounts.iter().map(|it| U256::from(it.free)).sum::<U256>());
    }
}

/// Any call by anybody.
fn meddling(chance: &mut Chance, model: &Hub) -> Tx {
    let task = TaskNo::try_from(chance.place(model.tasks.len())).unwrap();
    let from = Who::try_from(1 + chance.place(model.accounts.len() - 1)).unwrap();
    let digest = if chance.happens(500_000) { truth(task) } else { truth(task + 1_000) };
    let (sealed, authorised) = (chance.happens(800_000), chance.happens(700_000));
    let owner = model.deal_of(task).offer.pool_owner;
    let (from, call) = match chance.below(11) {
        9.. => {
            // Some of the tasks from that one on: perhaps twice the same, perhaps of another deal.
            let tasks = (0..chance.between(1, 3)).map(|_| {
                let other = u64::from(task) + chance.below(2);
                TaskNo::try_from(other.min(model.tasks.len() as u64 - 1)).unwrap()
            });
            let items = tasks.map(|task| (task, truth(task))).collect();
            (from, Call::Settle { items, authorised, batch: 0 })
        }
        0 => (from, Call::Initialize(task)),
        1..4 => (from, Call::Contribute { task, digest, sealed, authorised }),
        4 => (from, Call::Reveal { task, digest }),
        5 => (owner, Call::Finalize(task)),
        6 => (from, Call::Finalize(task)),
        7 => (owner, Call::Reopen(task)),
        8 => (from, Call::Claim(task)),
    };
    Tx { from, call }
}

#[test]
fn the_model_does_what_the_contracts_do() {
    let mut world = World::new();
    let (mut done, mut refused, mut many) = (0, 0, 0);
    let mut kinds = std::collections::BTreeSet::new();
    // The contracts' tests have people of their own with money; here they only watch.
    world.now = START;
    for seed in 0..200 {
        let mut scenario = Scenario::from_seed(seed);
        scenario.kitty = 0;
        // Scores of the past are not something that the contracts can be told.
        scenario.workers.iter_mut().for_each(|worker| worker.score = 0);
        if seed % 5 == 0 {
            // Bags of which a worker has several tasks at once.
            scenario.bags.iter_mut().for_each(|bag| (bag.trust, bag.tasks) = (1, 6));
            scenario.workers.iter_mut().for_each(|worker| worker.slots = 4);
        }
        let transcript = transcript(&scenario);
        let mut stage = Stage::new(&world, &transcript);
        let mut chance = Chance::new(seed, 99);
        let mut both = |stage: &mut Stage, at, tx: Tx| {
            stage.world.now = START + at;
            let accepted = stage.model.execute(at, &tx, &mut Vec::new()).is_ok();
            assert_eq!(stage.execute(tx.clone()), accepted, "seed {seed}, {at} s: {tx:?}");
            done += usize::from(accepted);
            refused += usize::from(!accepted);
            if let Call::Settle { items, .. } = &tx.call {
                many += usize::from(accepted && items.len() > 1);
            }
            let word = format!("{:?}", tx.call);
            kinds.insert((word.split(['(', ' ']).next().unwrap().to_owned(), accepted));
            accepted
        };
        let mut meddled = false;
        for Mined { at, tx, accepted, .. } in transcript.mined {
            // Every other market has somebody who sends whatever comes to mind.
            if seed % 2 == 1 && chance.happens(400_000) {
                let tx = meddling(&mut chance, &stage.model);
                meddled |= both(&mut stage, at, tx);
            }
            let now_accepted = both(&mut stage, at, tx.clone());
            assert!(meddled || now_accepted == accepted, "seed {seed}, {at} s: {tx:?}");
        }
        stage.compare(seed);
    }
    assert!(done > 1_000 && refused > 100, "{done} done, {refused} refused");
    assert!(many > 20, "{many} settlements of several tasks");
    let kinds_of_calls =
        ["Match", "Initialize", "Contribute", "Reveal", "Finalize", "Alone", "Settle", "Claim"];
    for kind in kinds_of_calls {
        assert!(kinds.contains(&(kind.to_owned(), true)), "no {kind} went well: {kinds:?}");
    }
    assert!(kinds.contains(&("Settle".to_owned(), false)), "every settlement went well");
}
