//! What logs of a hub say of a task.

use alloy_primitives::{Address, B256, Bytes, Log, U256};
use alloy_sol_types::SolEvent;
use primitives::{ResultDigest, ResultHash, TaskId};
use verdict::{result_hash, result_seal};

use crate::{Contribution, Fate, Payment, Refused};

/// The published events of hubs, as far as they tell of a task.
mod said {
    alloy_sol_types::sol! {
        event OrdersMatched(bytes32 dealid, bytes32 appHash, bytes32 datasetHash, bytes32 workerpoolHash, bytes32 requestHash, uint256 volume);
        event TaskInitialize(bytes32 indexed taskid, address indexed workerpool);
        event TaskContribute(bytes32 indexed taskid, address indexed worker, bytes32 hash);
        event TaskConsensus(bytes32 indexed taskid, bytes32 consensus);
        event TaskReveal(bytes32 indexed taskid, address indexed worker, bytes32 digest);
        event TaskReopen(bytes32 indexed taskid);
        event TaskFinalize(bytes32 indexed taskid, bytes results);
        event TaskClaimed(bytes32 indexed taskid);
        event AccurateContribution(address indexed worker, bytes32 indexed taskid);
        event FaultyContribution(address indexed worker, bytes32 indexed taskid);
        event Reward(address owner, uint256 amount, bytes32 reference);
        event Seize(address owner, uint256 amount, bytes32 reference);
    }
}

/// The orders' hashes as the hub said them when it made the deal; the dataset's is zero without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Matched {
    pub(crate) app: B256,
    pub(crate) dataset: B256,
    pub(crate) workerpool: B256,
    pub(crate) request: B256,
    pub(crate) volume: U256,
}

/// A deal and a task of it, put together from logs.
#[derive(Debug)]
pub(crate) struct Story {
    deal: B256,
    task: TaskId,
    pub(crate) matched: Option<Matched>,
    initialized: bool,
    pub(crate) contributions: Vec<Contribution>,
    pub(crate) consensus: B256,
    pub(crate) digest: B256,
    pub(crate) fate: Option<Fate>,
    pub(crate) results: Bytes,
    pub(crate) payments: Vec<Payment>,
}

/// What a log was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Nothing,
    Deal,
    Task,
}

impl Story {
    pub(crate) fn new(deal: B256, task: TaskId) -> Self {
        Self {
            deal,
            task,
            matched: None,
            initialized: false,
            contributions: Vec::new(),
            consensus: B256::ZERO,
            digest: B256::ZERO,
            fate: None,
            results: Bytes::new(),
            payments: Vec::new(),
        }
    }

    /// Takes in the next log of the hub.
    pub(crate) fn hear(&mut self, log: &Log) -> Result<About, Refused> {
        let Some(topic) = log.topics().first() else { return Ok(About::Nothing) };
        if *topic == said::OrdersMatched::SIGNATURE_HASH {
            return self.hear_match(log);
        }
        let money = [said::Reward::SIGNATURE_HASH, said::Seize::SIGNATURE_HASH];
        if money.contains(topic) {
            return Ok(self.hear_money(log));
        }
        // In most events the task is the first thing indexed, in two the second.
        let task = match *topic {
            said::AccurateContribution::SIGNATURE_HASH
            | said::FaultyContribution::SIGNATURE_HASH => log.topics().get(2),
            _ => log.topics().get(1),
        };
        if task != Some(&self.task.0) || !self.hear_task(*topic, log)? {
            return Ok(About::Nothing);
        }
        Ok(About::Task)
    }

    fn hear_match(&mut self, log: &Log) -> Result<About, Refused> {
        let Ok(event) = said::OrdersMatched::decode_log(log) else { return Ok(About::Nothing) };
        if event.dealid != self.deal {
            return Ok(About::Nothing);
        }
        if self.matched.is_some() {
            return Err(Refused::Story("the deal was made twice"));
        }
        self.matched = Some(Matched {
            app: event.appHash,
            dataset: event.datasetHash,
            workerpool: event.workerpoolHash,
            request: event.requestHash,
            volume: event.volume,
        });
        Ok(About::Deal)
    }

    fn hear_money(&mut self, log: &Log) -> About {
        let moved = if let Ok(paid) = said::Reward::decode_log(log) {
            (paid.reference, paid.owner, paid.amount, false)
        } else if let Ok(taken) = said::Seize::decode_log(log) {
            (taken.reference, taken.owner, taken.amount, true)
        } else {
            return About::Nothing;
        };
        let (reference, account, amount, taken) = moved;
        if reference != self.task.0 {
            return About::Nothing;
        }
        self.payments.push(Payment { account, amount, taken });
        About::Task
    }

    /// Takes in an event of the task. `false`: it is none that we know.
    fn hear_task(&mut self, topic: B256, log: &Log) -> Result<bool, Refused> {
        let garbled = |_| Refused::Garbled("a log of the hub".to_owned());
        match topic {
            said::TaskInitialize::SIGNATURE_HASH => self.initialized = true,
            said::TaskContribute::SIGNATURE_HASH => {
                let event = said::TaskContribute::decode_log(log).map_err(garbled)?;
                self.contributions.push(Contribution {
                    worker: event.worker,
                    result_hash: event.hash,
                    revealed: None,
                    seal: None,
                    accurate: None,
                });
            }
            said::TaskConsensus::SIGNATURE_HASH => {
                self.consensus = said::TaskConsensus::decode_log(log).map_err(garbled)?.consensus;
            }
            said::TaskReveal::SIGNATURE_HASH => {
                let event = said::TaskReveal::decode_log(log).map_err(garbled)?;
                self.reveal(event.worker, event.digest)?;
            }
            said::TaskReopen::SIGNATURE_HASH => self.consensus = B256::ZERO,
            said::TaskFinalize::SIGNATURE_HASH => {
                let event = said::TaskFinalize::decode_log(log).map_err(garbled)?;
                self.end(Fate::Completed)?;
                self.results = event.data.results;
            }
            said::TaskClaimed::SIGNATURE_HASH => self.end(Fate::Failed)?,
            said::AccurateContribution::SIGNATURE_HASH => self.judge(log, true)?,
            said::FaultyContribution::SIGNATURE_HASH => self.judge(log, false)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn reveal(&mut self, worker: Address, digest: B256) -> Result<(), Refused> {
        let digest = ResultDigest(digest);
        if result_hash(self.task, digest) != ResultHash(self.consensus) {
            return Err(Refused::Story("a digest was revealed that was not agreed on"));
        }
        self.digest = digest.0;
        let seal = result_seal(worker, self.task, digest).0;
        let mine = self.of(worker)?;
        mine.revealed = Some(digest.0);
        mine.seal = Some(seal);
        Ok(())
    }

    fn judge(&mut self, log: &Log, accurate: bool) -> Result<(), Refused> {
        let worker = log.topics().get(1).map(|word| Address::from_word(*word));
        let worker = worker.ok_or_else(|| Refused::Garbled("a log of the hub".to_owned()))?;
        self.of(worker)?.accurate = Some(accurate);
        Ok(())
    }

    /// The worker's contribution, of which a task takes one.
    fn of(&mut self, worker: Address) -> Result<&mut Contribution, Refused> {
        let found = self.contributions.iter_mut().find(|one| one.worker == worker);
        found.ok_or(Refused::Story("a worker is spoken of that did not contribute"))
    }

    fn end(&mut self, fate: Fate) -> Result<(), Refused> {
        match self.fate.replace(fate) {
            None => Ok(()),
            Some(_) => Err(Refused::Story("it ended twice")),
        }
    }

    /// How it ended, if the whole of it makes sense.
    pub(crate) fn ended(&self) -> Result<Fate, Refused> {
        if !self.initialized {
            return Err(Refused::Story("it does not show the task's beginning"));
        }
        let fate = self.fate.ok_or(Refused::Story("it does not show the task's end"))?;
        if fate == Fate::Completed && self.digest.is_zero() && self.consensus.is_zero() {
            return Err(Refused::Story("it ended with a result, and shows none"));
        }
        Ok(fate)
    }
}
