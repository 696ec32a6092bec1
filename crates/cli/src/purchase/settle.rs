//! Watching a deal until every task of it is paid, or the first has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256};
use chain::{Cursor, MarketEvent, Update};
use futures::stream::{StreamExt, TryStreamExt, iter};
use orders::task_id;
use primitives::{DealId, Nrlc, ResultHash, TaskId};
use wire::scheduler::TaskModel;

use super::check::TaskResult;
use super::deal::Part;
use super::{Purchase, chain_silent};
use crate::failure::{Exit, Failure};
use crate::offers::{Offer, Verdict};
use crate::progress::Talk;
use crate::receipt::{Contributor, Gas, Payment, Receipt, TASKS_SHOWN, TaskReceipt};

/// How often the scheduler is asked whether a task has failed. Success is pushed by the chain.
const ASK_EVERY: Duration = Duration::from_millis(150);
/// How often the chain is asked whether it is there: one that is gone tells nothing, and neither does one that has no news.
const LISTEN_EVERY: Duration = Duration::from_secs(5);
/// A chain that has not answered for so long does not come back by itself.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// Tasks asked about each time.
const ASK_AT_ONCE: usize = 8;
/// Of so many tasks: the first that are open. A scheduler has no more at once, so what comes later cannot have failed.
const ASK_AMONG: usize = 2_000;
/// Downloads and receipts fetched at once.
const FETCH_AT_ONCE: usize = 16;

/// A deal whose money is locked.
pub struct Matched<'a> {
    pub(super) purchase: Purchase<'a>,
    /// The offer that the last of the deals was made with; the others cost no less.
    pub(super) offer: Offer,
    /// One deal as a rule.
    pub(super) parts: Vec<Part>,
    pub(super) from: Cursor,
    pub(super) matched_at: Instant,
}

/// A paid and checked result.
pub struct Outcome {
    /// What each task gave, by index.
    pub results: Vec<TaskResult>,
    /// What was compared.
    pub offers: Vec<(Offer, Verdict)>,
    /// Remarks for a person.
    pub notes: Vec<String>,
    /// The receipt.
    pub receipt: Receipt,
}

/// What the chain said about the tasks of a deal, collected.
#[derive(Default)]
struct Seen {
    finalized: BTreeSet<TaskId>,
    contributed: BTreeMap<TaskId, Vec<(Address, ResultHash)>>,
    faulty: BTreeSet<(TaskId, Address)>,
    consensus: BTreeMap<TaskId, ResultHash>,
    payments: BTreeMap<TaskId, Vec<(Address, Nrlc, bool)>>,
    transactions: BTreeMap<B256, &'static str>,
}

impl Matched<'_> {
    /// The deals: one, unless an order was used up in the middle.
    pub fn deals(&self) -> impl Iterator<Item = DealId> {
        self.parts.iter().map(|part| part.deal)
    }

    /// The task's id, if there is only one.
    pub fn only_task(&self) -> Option<TaskId> {
        let tasks = self.tasks();
        tasks.keys().next().copied().filter(|_| tasks.len() == 1)
    }

    /// All tasks, with their indices in the request.
    fn tasks(&self) -> BTreeMap<TaskId, u64> {
        let of = |part: &Part| {
            let deal = part.deal;
            let indices = part.first..part.first.saturating_add(part.tasks);
            indices.map(move |index| (task_id(deal, U256::from(index)), index))
        };
        self.parts.iter().flat_map(of).collect()
    }

    /// Watches the tasks until all are paid, downloads and checks the results.
    ///
    /// # Errors
    /// The failure of the first task that failed (the program's own, GM-4101 too late), GM-5101 a result that is not what
    /// the chain agreed on.
    pub async fn outcome(mut self, talk: &Talk) -> Result<Outcome, Failure> {
        let tasks = self.tasks();
        let seen = self.settled(&tasks, talk).await?;
        self.purchase.phases.push(("settle", self.matched_at.elapsed()));

        let start = Instant::now();
        let scores = self.scores(&seen).await?;
        let mut checked: Vec<(TaskReceipt, TaskResult)> =
            iter(tasks.iter().map(|(task, index)| self.check(*task, *index, &seen, &scores)))
                .buffer_unordered(FETCH_AT_ONCE)
                .try_collect()
                .await?;
        checked.sort_by_key(|(receipt, _)| receipt.index);
        self.purchase.phases.push(("verify", start.elapsed()));

        let gas = self.gas(&seen).await?;
        let payments = self.payments(&seen);
        let (receipts, results): (Vec<_>, Vec<_>) = checked.into_iter().unzip();
        let mut notes = Vec::new();
        if results.iter().any(|result| !result.output.is_empty() && !result.covered) {
            notes.push(
                "what the program printed is not part of what the chain checked; its declared \
                 result is (see --out)"
                    .to_owned(),
            );
        }
        notes.extend(self.parts.iter().skip(1).map(|part| {
            let Part { deal, first, .. } = part;
            format!("others used an order up meanwhile: from task {first} on it is deal {deal}")
        }));
        let (deal, deal_tx) =
            self.parts.first().map(|part| (part.deal, part.tx)).unwrap_or_default();
        let receipt = Receipt {
            deal,
            deal_tx,
            app: self.purchase.app_order.app,
            workerpool: self.offer.workerpool(),
            trust: self.purchase.wish.trust.max(1),
            app_price: self.purchase.app_price(),
            workerpool_price: self.offer.price(),
            tasks: receipts,
            payments,
            gas,
            phases: self.purchase.phases,
        };
        Ok(Outcome { results, offers: self.purchase.offers, notes, receipt })
    }

    /// Waits for every task to be paid, or for the first to fail.
    async fn settled(&self, tasks: &BTreeMap<TaskId, u64>, talk: &Talk) -> Result<Seen, Failure> {
        let client = &self.purchase.access.client;
        let mut updates = client.follow(self.from);
        let mut seen = Seen::default();
        let mut bar = talk.bar(tasks.len() as u64, "waiting for a worker");
        let mut ask = tokio::time::interval(ASK_EVERY);
        ask.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut listen = tokio::time::interval(LISTEN_EVERY);
        listen.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut silent_since = None;
        let mut in_turn: Vec<TaskId> = tasks.keys().copied().collect();
        in_turn.sort_by_key(|task| tasks.get(task));
        let mut turn = 0usize;
        while seen.finalized.len() < tasks.len() {
            tokio::select! {
                update = updates.next() => match update {
                    Some(Update::Block(block)) => {
                        for event in &block.events {
                            seen.take(&event.event, event.tx, tasks)?;
                        }
                        bar.done(seen.finalized.len() as u64);
                    }
                    // What was told may not hold. It is told again, from a block that does.
                    Some(Update::Rewound { to }) => {
                        let number = to.number.min(self.from.number);
                        updates = client.follow(Cursor { number, hash: B256::ZERO });
                        seen = Seen::default();
                    }
                    None => return Err(Failure::new("GM-3102", Exit::Market, "the chain is gone")),
                },
                _ = listen.tick() => match client.head().await {
                    Ok(_) => silent_since = None,
                    Err(error) => {
                        let since = *silent_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > SILENCE_MAX {
                            return Err(self.given_up(&error));
                        }
                        bar.now("the chain does not answer; what is bought is safe there, so it is waited for");
                    }
                },
                _ = ask.tick() => {
                    let open = first_open(&in_turn, &seen.finalized);
                    let at_once = open.len().min(ASK_AT_ONCE);
                    for task in open.iter().cycle().skip(turn % open.len().max(1)).take(at_once) {
                        if let Some(now) = self.asked(*task).await? {
                            bar.now(&now);
                        }
                    }
                    turn = turn.wrapping_add(at_once);
                }
            }
        }
        Ok(seen)
    }

    /// What the scheduler says about a task; its failure, if it has one. A scheduler that does not answer is no failure
    /// of the task: the chain goes on telling.
    async fn asked(&self, task: TaskId) -> Result<Option<String>, Failure> {
        let Some(model) = self.purchase.access.schedulers.task(task).await else { return Ok(None) };
        match failed(&model) {
            Some(failure) => Err(self.refund_note(failure)),
            None => Ok(Some(state_of(&model))),
        }
    }

    /// It is not known how it ends. What is paid for must not be bought again.
    fn given_up(&self, error: &chain::Error) -> Failure {
        let task = self.only_task().map_or_else(|| "TASK".to_owned(), |task| task.to_string());
        let silent = "the chain has not answered for ten minutes; the deal is made and stays";
        Failure::new("GM-3102", Exit::Market, silent).because(crate::failure::chain_of(error)).fix(
            format!(
                "start the market again; gristmill task result {task} gets what comes of it then"
            ),
        )
    }

    fn refund_note(&self, mut failure: Failure) -> Failure {
        let price = [self.purchase.app_price(), self.offer.price()].into_iter().sum::<Nrlc>();
        let note = format!(
            "the price of the task, {price}, comes back when the task's final deadline has passed; \
             the scheduler claims it then"
        );
        failure.cause = Some(match failure.cause.take() {
            Some(cause) => format!("{cause}\n{note}"),
            None => note,
        });
        failure
    }

    /// Downloads a result, computes its digest, and holds it against the chain's.
    async fn check(
        &self,
        task: TaskId,
        index: u64,
        seen: &Seen,
        scores: &BTreeMap<Address, u64>,
    ) -> Result<(TaskReceipt, TaskResult), Failure> {
        let access = self.purchase.access;
        let on_chain = access.client.task(task).await.map_err(chain_silent)?;
        let out = self.purchase.wish.out.as_ref().map(|out| {
            if self.purchase.wish.tasks == 1 { out.clone() } else { out.join(index.to_string()) }
        });
        let (location, result) = access.result(task, index, &on_chain, out.clone()).await?;
        let told = self.told(task).await;
        let receipt = TaskReceipt {
            task,
            index,
            contributions: contributors(task, seen, scores),
            left_out: told.as_ref().map(|model| model.dissent.clone()).unwrap_or_default(),
            confidence: told.and_then(|model| model.confidence),
            consensus: seen.consensus.get(&task).copied().unwrap_or_default(),
            digest_on_chain: on_chain.digest,
            digest_downloaded: result.digest,
            location,
            out: out.map(|out| out.display().to_string()),
        };
        Ok((receipt, result))
    }

    /// The workers' scores now; each is asked for once, however many tasks it did.
    async fn scores(&self, seen: &Seen) -> Result<BTreeMap<Address, u64>, Failure> {
        let client = &self.purchase.access.client;
        let mut scores = BTreeMap::new();
        for worker in seen.workers() {
            let score = client.score(worker).await.map_err(chain_silent)?;
            scores.insert(worker, score.saturating_to());
        }
        Ok(scores)
    }

    /// What the scheduler tells of a finished task: where workers could disagree, and for as many tasks as are shown.
    async fn told(&self, task: TaskId) -> Option<TaskModel> {
        let wish = &self.purchase.wish;
        if wish.trust <= 1 && usize::try_from(wish.tasks).is_ok_and(|tasks| tasks > TASKS_SHOWN) {
            return None;
        }
        self.purchase.access.schedulers.task(task).await
    }

    fn payments(&self, seen: &Seen) -> Vec<Payment> {
        let workers = seen.workers();
        let requester = self.purchase.wallet.address();
        let app_owner = self.app_owner();
        let role = |who: Address, taken: bool| {
            if workers.contains(&who) {
                "worker"
            } else if taken && who == requester {
                "requester"
            } else if who == app_owner {
                "app owner"
            } else if who == verdict::money::KITTY {
                "kitty"
            } else {
                "scheduler"
            }
        };
        seen.payments
            .values()
            .flatten()
            .map(|(who, amount, taken)| Payment {
                who: *who,
                role: role(*who, *taken),
                amount: *amount,
                taken: *taken,
            })
            .collect()
    }

    fn app_owner(&self) -> Address {
        let order = &self.purchase.app_order;
        let hash = order.hash(&self.purchase.access.client.domain());
        orders::recover(hash.0, &order.sign).unwrap_or_default()
    }

    async fn gas(&self, seen: &Seen) -> Result<Vec<Gas>, Failure> {
        let client = &self.purchase.access.client;
        let receipts: Vec<(&'static str, u64)> = iter(seen.transactions.iter())
            .map(|(hash, what)| async move {
                client
                    .receipt(*hash)
                    .await
                    .map(|receipt| (*what, receipt.map_or(0, |one| one.gas_used)))
            })
            .buffer_unordered(FETCH_AT_ONCE)
            .try_collect()
            .await
            .map_err(chain_silent)?;
        let used = self.parts.iter().map(|part| part.gas_used).sum();
        let mut gas = vec![Gas { what: "match", transactions: self.parts.len() as u64, used }];
        for what in ["initialize", "contribute", "reveal", "finalize"] {
            let of: Vec<u64> =
                receipts.iter().filter(|(one, _)| *one == what).map(|(_, used)| *used).collect();
            if !of.is_empty() {
                gas.push(Gas { what, transactions: of.len() as u64, used: of.iter().sum() });
            }
        }
        Ok(gas)
    }
}

impl Seen {
    /// Whoever contributed to any of the tasks.
    fn workers(&self) -> BTreeSet<Address> {
        self.contributed.values().flatten().map(|(worker, _)| *worker).collect()
    }

    /// Takes in one event; those of other deals are passed over.
    fn take(
        &mut self,
        event: &MarketEvent,
        transaction: B256,
        tasks: &BTreeMap<TaskId, u64>,
    ) -> Result<(), Failure> {
        let ours = |task: &TaskId| tasks.contains_key(task);
        match event {
            MarketEvent::TaskInitialized { task, .. } if ours(task) => {
                self.transactions.insert(transaction, "initialize");
            }
            MarketEvent::Contributed { task, worker, hash } if ours(task) => {
                self.transactions.entry(transaction).or_insert("contribute");
                let contributed = self.contributed.entry(*task).or_default();
                if !contributed.iter().any(|(one, _)| one == worker) {
                    contributed.push((*worker, *hash));
                }
            }
            MarketEvent::Consensus { task, hash } if ours(task) => {
                self.consensus.insert(*task, *hash);
            }
            MarketEvent::Revealed { task, .. } if ours(task) => {
                self.transactions.entry(transaction).or_insert("reveal");
            }
            MarketEvent::FaultyContribution { task, worker } if ours(task) => {
                self.faulty.insert((*task, *worker));
            }
            MarketEvent::Reward { owner, amount, reference } => {
                self.pay(TaskId(*reference), tasks, *owner, *amount, false);
            }
            MarketEvent::Seize { owner, amount, reference } => {
                self.pay(TaskId(*reference), tasks, *owner, *amount, true);
            }
            MarketEvent::Finalized { task, .. } if ours(task) => {
                self.transactions.entry(transaction).or_insert("finalize");
                self.finalized.insert(*task);
            }
            MarketEvent::Claimed { task } if ours(task) => {
                return Err(Failure::new(
                    "GM-4101",
                    Exit::TaskFailed,
                    format!("task {task} was not done in time"),
                )
                .because("it was claimed after its final deadline; its price has come back")
                .fix("buy again, or choose a longer --category"));
            }
            _ => {}
        }
        Ok(())
    }

    fn pay(
        &mut self,
        task: TaskId,
        tasks: &BTreeMap<TaskId, u64>,
        who: Address,
        amount: Nrlc,
        taken: bool,
    ) {
        if tasks.contains_key(&task) {
            self.payments.entry(task).or_default().push((who, amount, taken));
        }
    }
}

/// The tasks among which somebody is asked about: each in a while that does not grow with the bag.
fn first_open(in_turn: &[TaskId], finalized: &BTreeSet<TaskId>) -> Vec<TaskId> {
    in_turn.iter().filter(|task| !finalized.contains(*task)).take(ASK_AMONG).copied().collect()
}

/// A task's contributions, with what became of each.
fn contributors(task: TaskId, seen: &Seen, scores: &BTreeMap<Address, u64>) -> Vec<Contributor> {
    let payments = seen.payments.get(&task).map_or(&[][..], Vec::as_slice);
    let contributed = seen.contributed.get(&task).into_iter().flatten();
    contributed
        .map(|(worker, hash)| Contributor {
            worker: *worker,
            hash: *hash,
            accurate: !seen.faulty.contains(&(task, *worker)),
            lost: payments
                .iter()
                .filter(|(who, _, taken)| who == worker && *taken)
                .map(|(_, amount, _)| *amount)
                .sum(),
            score: scores.get(worker).copied().unwrap_or_default(),
        })
        .collect()
}

fn failed(model: &TaskModel) -> Option<Failure> {
    let told = model.failure.as_ref()?;
    let mut failure = Failure::new(&told.code, Exit::TaskFailed, told.message.clone());
    if !told.remedy.is_empty() {
        failure = failure.fix(told.remedy.clone());
    }
    Some(failure)
}

fn state_of(model: &TaskModel) -> String {
    model.current_status.to_lowercase().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_bag_is_asked_about_where_it_is_worked_on() {
        let in_turn: Vec<TaskId> =
            (0..10_000_u64).map(|at| TaskId(U256::from(at).into())).collect();
        let finalized: BTreeSet<TaskId> = in_turn[..4_000].iter().copied().collect();
        assert_eq!(first_open(&in_turn, &BTreeSet::new()), in_turn[..ASK_AMONG]);
        assert_eq!(first_open(&in_turn, &finalized), in_turn[4_000..4_000 + ASK_AMONG]);
        assert_eq!(first_open(&in_turn[..4_001], &finalized), in_turn[4_000..4_001]);
    }
}
