//! Markets drawn from a seed.

use super::{
    Bag, COSTS, Fault, Net, PoolConduct, PoolSpec, RUN_PRICE, RequesterConduct, Rules, Scenario,
    Strategy, WorkerSpec,
};
use crate::chance::Chance;

/// How much of everything a large market has.
const LARGE_POOLS: u64 = 20;
const LARGE_WORKERS: u64 = 300;
const LARGE_REQUESTERS: usize = 200;
const LARGE_FAULTS: u64 = 60;
const LARGE_MS: u64 = 900_000;
/// Schedulers that a requester there knows.
const KNOWN_POOLS: usize = 4;
/// When the last bag of a small market is bought at the latest, and when its last fault begins.
const SMALL_BAGS_MS: u64 = 60_000;
const SMALL_FAULTS_MS: u64 = 400_000;
/// Kinds of faults, from and to.
const ANY: (u64, u64) = (0, 5);
const OWN: (u64, u64) = (0, 3);
const OF_CHAIN: (u64, u64) = (4, 5);

impl Scenario {
    /// A small market drawn from a seed: a few of each, some of them bad, and some faults.
    ///
    /// Faults stay within what an honest worker can live with: see [`crate::audit`].
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 0);
        let pool_count = if chance.happens(300_000) { 2 } else { 1 };
        let pools = pools(&mut chance, pool_count);
        let count = chance.between(3, 7);
        let workers = workers(&mut chance, count, pools.len());
        let requesters = usize::try_from(chance.between(1, 2)).unwrap_or(1);
        let count = chance.between(1, 3);
        let bags = (0..count)
            .map(|_| {
                let requester = chance.place(requesters);
                bag(&mut chance, requester, SMALL_BAGS_MS)
            })
            .collect();
        let count = [0, 0, 1, 2, 4][chance.place(5)];
        let actors = (pools.len(), workers.len());
        let faults = (0..count).map(|_| fault(&mut chance, actors, SMALL_FAULTS_MS, ANY)).collect();
        let net = net(&mut chance);
        let rules = rules(seed);
        let kitty = chance.below(3) * 700_000_000;
        Self { seed, rules, costs: COSTS, kitty, net, faults, pools, workers, bags }
    }

    /// A large market drawn from a seed: 200 requesters who buy for a quarter of an hour, 20 schedulers with 300 workers
    /// between them, and faults all over. Each requester knows a few schedulers, and buys from the cheapest of these.
    pub fn large(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 2);
        let pools = pools(&mut chance, LARGE_POOLS);
        let workers = workers(&mut chance, LARGE_WORKERS, pools.len());
        let mut bags = Vec::new();
        for requester in 0..LARGE_REQUESTERS {
            let known = [(); KNOWN_POOLS].map(|()| chance.place(pools.len()));
            let pool = known.into_iter().min_by_key(|pool| (pools[*pool].price_per_run, *pool));
            for _ in 0..chance.between(1, 3) {
                let small = bag(&mut chance, requester, LARGE_MS);
                // One in ten is what is usually called a bag: of that, workers settle several tasks at once.
                let large = chance.happens(100_000);
                let (tasks, trust) = if large { (20, 1) } else { (small.tasks, small.trust) };
                bags.push(Bag { pool, tasks, trust, ..small });
            }
        }
        let actors = (pools.len(), workers.len());
        // The chain is one for all, and an honest worker can live with so much of its trouble only.
        let (own, of_chain) = (chance.below(LARGE_FAULTS), chance.below(3));
        let mut faults = Vec::new();
        faults.extend((0..own).map(|_| fault(&mut chance, actors, LARGE_MS, OWN)));
        faults.extend((0..of_chain).map(|_| fault(&mut chance, actors, LARGE_MS, OF_CHAIN)));
        let net = net(&mut chance);
        let rules = rules(seed);
        let kitty = chance.below(3) * 700_000_000;
        Self { seed, rules, costs: COSTS, kitty, net, faults, pools, workers, bags }
    }
}

fn pools(chance: &mut Chance, count: u64) -> Vec<PoolSpec> {
    let conduct = |chance: &mut Chance| match chance.below(20) {
        0 => PoolConduct::WithholdsAuthorisation,
        1 => PoolConduct::NeverFinalizes,
        2 => PoolConduct::PriceCutter,
        _ => PoolConduct::Honest,
    };
    (0..count)
        .map(|_| {
            let conduct = conduct(chance);
            let cut = if conduct == PoolConduct::PriceCutter { 3 } else { 1 };
            let price_per_run = RUN_PRICE / cut + chance.below(1_000_000);
            let clock_ahead = if chance.happens(200_000) { chance.below(30) } else { 0 };
            PoolSpec { conduct, price_per_run, clock_ahead }
        })
        .collect()
}

fn workers(chance: &mut Chance, count: u64, pools: usize) -> Vec<WorkerSpec> {
    // Some markets are honest, some have a few cheats, some are full of them.
    let cheats_ppm = [0, 100_000, 300_000, 600_000][chance.place(4)];
    let strategy = |chance: &mut Chance| {
        if !chance.happens(cheats_ppm) {
            return Strategy::Honest;
        }
        match chance.below(9) {
            0 => Strategy::Lazy,
            1 | 2 => Strategy::Colluder(0),
            3 => Strategy::Sybil(1),
            4 => Strategy::Sleeper(0),
            5 => Strategy::FreeRider,
            6 => Strategy::Withholder,
            _ => Strategy::Equivocator(0),
        }
    };
    (0..count)
        .map(|_| WorkerSpec {
            pool: chance.place(pools),
            strategy: strategy(chance),
            score: if chance.happens(300_000) { chance.below(60) } else { 0 },
            slots: u32::try_from(chance.between(1, 3)).unwrap_or(1),
            pace: chance.between(500, 2_000),
        })
        .collect()
}

fn bag(chance: &mut Chance, requester: usize, within_ms: u64) -> Bag {
    Bag {
        requester,
        conduct: match chance.below(25) {
            0 => RequesterConduct::Griefing,
            _ => RequesterConduct::Honest,
        },
        pool: None,
        at_ms: chance.below(within_ms),
        tasks: u32::try_from(chance.between(1, 4)).unwrap_or(1),
        trust: [1, 1, 2, 3, 4, 5, 8, 10][chance.place(8)],
        run_ms: chance.between(1_000, 100_000),
    }
}

fn fault(
    chance: &mut Chance,
    (pools, workers): (usize, usize),
    within_ms: u64,
    (from, to): (u64, u64),
) -> Fault {
    let at_ms = chance.below(within_ms);
    match chance.between(from, to) {
        0 => {
            let for_ms = chance.between(1_000, 200_000);
            Fault::PoolCrash { pool: chance.place(pools), at_ms, for_ms }
        }
        1 | 2 => {
            let for_ms = chance.between(1_000, 900_000);
            Fault::WorkerCrash { worker: chance.place(workers), at_ms, for_ms }
        }
        3 => {
            let for_ms = chance.between(100, 60_000);
            Fault::Disconnect { worker: chance.place(workers), at_ms, for_ms }
        }
        4 => Fault::GasSpike { at_ms, for_ms: chance.between(1_000, 90_000) },
        _ => Fault::Reorganisation { at_ms, for_ms: chance.between(1_000, 60_000) },
    }
}

/// Some hubs settle many tasks at once, and some are the original ones.
fn rules(seed: u64) -> Rules {
    Rules { batches: Chance::new(seed, 3).happens(700_000), ..Rules::default() }
}

fn net(chance: &mut Chance) -> Net {
    let rough = chance.happens(500_000);
    Net {
        delay_ms: chance.between(1, 100),
        jitter_ms: if rough { chance.between(0, 3_000) } else { 20 },
        loss_ppm: if rough { u32::try_from(chance.below(50_000)).unwrap_or_default() } else { 0 },
        duplicate_ppm: if rough { 50_000 } else { 0 },
        block_ms: [250, 1_000, 5_000, 12_000][chance.place(4)],
    }
}
