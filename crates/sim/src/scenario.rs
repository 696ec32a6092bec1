//! What a simulation is made of: rules, network, faults, people. Plain data, so that it can be drawn from a seed, printed,
//! and made smaller.

mod draw;

use scheduler::checks::Policy;

/// How a worker behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// Runs the program and says what it found.
    Honest,
    /// Runs nothing and says anything.
    Lazy,
    /// Says the same wrong thing as everybody else of its group.
    Colluder(u8),
    /// One of many wallets of one machine that runs nothing; they all say the same wrong thing, and a wallet that lost its
    /// name is thrown away for a fresh one.
    Sybil(u8),
    /// Honest until its score on chain is worth something or it has done many tasks, then a colluder.
    Sleeper(u8),
    /// Runs nothing and says what it sees others say on chain.
    FreeRider,
    /// Finds the result, contributes it, and never reveals.
    Withholder,
    /// Announces the result to the scheduler and contributes its group's wrong one.
    Equivocator(u8),
}

impl Strategy {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Lazy => "lazy",
            Self::Colluder(_) => "colluding",
            Self::Sybil(_) => "sybil",
            Self::Sleeper(_) => "sleeper",
            Self::FreeRider => "free-rider",
            Self::Withholder => "withholder",
            Self::Equivocator(_) => "equivocator",
        }
    }

    /// Its group, whose members agree on what they say.
    pub fn group(self) -> Option<u8> {
        match self {
            Self::Colluder(group)
            | Self::Sybil(group)
            | Self::Sleeper(group)
            | Self::Equivocator(group) => Some(group),
            Self::Honest | Self::Lazy | Self::FreeRider | Self::Withholder => None,
        }
    }

    /// Whether it runs programs at all.
    pub fn computes(self) -> bool {
        matches!(self, Self::Honest | Self::Sleeper(_) | Self::Withholder | Self::Equivocator(_))
    }
}

/// How a scheduler behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolConduct {
    /// As production does.
    Honest,
    /// Asks for less than a run costs.
    PriceCutter,
    /// Takes deals and lets nobody contribute.
    WithholdsAuthorisation,
    /// Lets workers contribute, and neither asks them to reveal nor finalizes.
    NeverFinalizes,
}

impl PoolConduct {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest scheduler",
            Self::PriceCutter => "price cutter",
            Self::WithholdsAuthorisation => "scheduler that authorises nobody",
            Self::NeverFinalizes => "scheduler that never finalizes",
        }
    }
}

/// How a requester behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequesterConduct {
    /// Wants results.
    Honest,
    /// Buys runs of a program that always fails, so that the scheduler loses its stake.
    Griefing,
}

impl RequesterConduct {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest requester",
            Self::Griefing => "griefing requester",
        }
    }
}

/// A scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    /// How it behaves.
    pub conduct: PoolConduct,
    /// What it asks for each run that a task is expected to need, in nRLC.
    pub price_per_run: u64,
    /// How far its clock is ahead, in seconds.
    pub clock_ahead: u64,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Its scheduler.
    pub pool: usize,
    /// How it behaves.
    pub strategy: Strategy,
    /// Its score on chain at the start.
    pub score: u64,
    /// Tasks at once.
    pub slots: u32,
    /// How long it takes for a run, in thousandths of the task's length.
    pub pace: u64,
}

/// A bag of tasks that somebody buys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bag {
    /// Who, by number.
    pub requester: usize,
    /// How that one behaves.
    pub conduct: RequesterConduct,
    /// From which scheduler; without, mostly from the cheapest of all.
    pub pool: Option<usize>,
    /// When, in ms.
    pub at_ms: u64,
    /// How many tasks.
    pub tasks: u32,
    /// The trust asked for.
    pub trust: u64,
    /// How long a run takes, in ms.
    pub run_ms: u64,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A scheduler dies and comes back with what the chain tells it.
    PoolCrash {
        /// Which.
        pool: usize,
        /// When, in ms.
        at_ms: u64,
        /// For how long, in ms.
        for_ms: u64,
    },
    /// A worker dies and comes back with its journal.
    WorkerCrash {
        /// Which.
        worker: usize,
        /// When, in ms.
        at_ms: u64,
        /// For how long, in ms.
        for_ms: u64,
    },
    /// A worker loses its connection.
    Disconnect {
        /// Which.
        worker: usize,
        /// When, in ms.
        at_ms: u64,
        /// For how long, in ms.
        for_ms: u64,
    },
    /// Gas is dear: what is sent waits.
    GasSpike {
        /// When, in ms.
        at_ms: u64,
        /// For how long, in ms.
        for_ms: u64,
    },
    /// What the chain did in that time is taken back at its end.
    Reorganisation {
        /// When the branches part, in ms.
        at_ms: u64,
        /// How much later the other one wins, in ms.
        for_ms: u64,
    },
}

/// The network between schedulers and workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    /// The least that a message takes, in ms.
    pub delay_ms: u64,
    /// How much more it may take; messages overtake one another by it.
    pub jitter_ms: u64,
    /// Messages that never arrive, of a million.
    pub loss_ppm: u32,
    /// Messages that arrive twice, of a million.
    pub duplicate_ppm: u32,
    /// Time between blocks, in ms.
    pub block_ms: u64,
}

/// Money beside the deal's, in nRLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// What a run costs the worker: electricity and wear.
    pub run: u64,
    /// What a transaction costs its sender.
    pub transaction: u64,
    /// What it costs a worker to be there for a task, run or not: a machine that is on, a connection.
    pub presence: u64,
}

/// How the market's parts behave beyond the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How patient schedulers are.
    pub limits: tasks::Limits,
    /// How often the result of a lone worker is confirmed by another's.
    pub checks: Policy,
    /// Whether the hub settles many tasks of trust 1 with one transaction; the original contracts do not.
    pub batches: bool,
    /// The category's unit of time, in seconds.
    pub run_seconds: u64,
    /// The app's price per task, in nRLC.
    pub app_price: u64,
    /// A worker's stake in percent of the pool's price.
    pub stake_percent: u64,
    /// The scheduler's share in percent.
    pub scheduler_percent: u64,
    /// The score from which a sleeper lies.
    pub sleeper_score: u64,
    /// The tasks after which it lies whatever its score.
    pub sleeper_tasks: u32,
    /// A fault in the hub's count, for tests of the simulator itself.
    pub trust_bug: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            limits: tasks::Limits::default(),
            checks: Policy::default(),
            batches: true,
            run_seconds: 300,
            app_price: 1_000,
            stake_percent: 30,
            scheduler_percent: 1,
            sleeper_score: 12,
            sleeper_tasks: 30,
            trust_bug: false,
        }
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Where chance comes from.
    pub seed: u64,
    /// Rules.
    pub rules: Rules,
    /// Costs.
    pub costs: Costs,
    /// What the kitty holds at the start, in nRLC.
    pub kitty: u64,
    /// Network and blocks.
    pub net: Net,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Schedulers.
    pub pools: Vec<PoolSpec>,
    /// Workers.
    pub workers: Vec<WorkerSpec>,
    /// What is bought.
    pub bags: Vec<Bag>,
}

/// What a run is worth in the market, in nRLC: 0.1 RLC.
pub const RUN_PRICE: u64 = 100_000_000;

/// The same for means.
pub const RUN_PRICE_F64: f64 = 1e8;

/// What runs and transactions cost, beside [`RUN_PRICE`].
pub const COSTS: Costs =
    Costs { run: RUN_PRICE / 2, transaction: RUN_PRICE / 200, presence: RUN_PRICE / 200 };

impl Scenario {
    /// How many tasks are bought, at most.
    pub fn task_count(&self) -> u64 {
        self.bags.iter().map(|bag| u64::from(bag.tasks)).sum()
    }

    /// How many requesters there are.
    pub fn requester_count(&self) -> usize {
        self.bags.iter().map(|bag| bag.requester + 1).max().unwrap_or_default()
    }
}
