//! `gristmill task claim`: takes the price of tasks back whose time is up, for when their scheduler does not.
//!
//! Anybody may do it, and the money goes to who paid for the deal. What is to be done is read from the chain, done, and read
//! again, so that doing it twice, or at the same time as the scheduler, is harmless. Not here: what a claim does to stakes
//! (the hub).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256};
use chain::{Client, Deal, Task, TaskStatus, TxRequest, Wallet, calls};
use futures::stream::{StreamExt, TryStreamExt, iter};
use primitives::{DealId, Nrlc, TaskId, UnixSeconds};
use serde_json::{Value, json};

use super::{key, say};
use crate::args::ClaimArgs;
use crate::failure::{Exit, Failure, chain_of};
use crate::proof::connect;

/// Tasks in one transaction, which chains bound to some 16 million gas; then one by one, if a batch was refused.
const BATCHES: [usize; 3] = [24, 1, 1];
/// Tasks read at once.
const READ_AT_ONCE: usize = 16;
/// A deal's time in units of its category.
const UNITS: u64 = 10;

/// Claims tasks, or all tasks of deals.
///
/// # Errors
/// GM-4103 no such task or deal, GM-4105 none of them is due, GM-3103 the hub refuses, GM-5004 no usable key, GM-5006 no
/// market, GM-3102 the chain does not answer.
pub(super) async fn claim(args: ClaimArgs) -> Result<(), Failure> {
    let signer = key(args.key_file.clone())?;
    let client = connect(&args.source).await?;
    let subjects = subjects(&client, &args.ids).await?;
    let mut claimed = BTreeSet::new();
    let mut refused = None;
    for batch in BATCHES {
        let due = due(&client, &subjects).await?;
        if due.is_empty() {
            break;
        }
        let wallet = Wallet::new(&client, signer.clone()).await.map_err(|error| silent(&error))?;
        for (request, tasks) in requests(&client, &due, batch) {
            match wallet.execute(request).await {
                Ok(_) => claimed.extend(tasks),
                // Somebody else claimed one of them, or the chain's clock is behind ours: it is looked at again.
                Err(error) => refused = Some(error),
            }
        }
    }
    let seen = read(&client, &subjects).await?;
    let now = now(&client).await?;
    if seen.iter().any(|one| one.state(&claimed, now) == State::Due) {
        let failure =
            Failure::new("GM-3103", Exit::Refused, "the claim did not go through").fix(
                "gristmill account show tells whether the key has ether for gas; then claim again: what is refunded stays so",
            );
        return Err(match refused {
            Some(error) => failure.because(chain_of(&error)),
            None => failure,
        });
    }
    let waiting = seen.iter().find(|one| matches!(one.state(&claimed, now), State::Early(_)));
    match waiting {
        Some(first) if claimed.is_empty() => Err(early(first, now)),
        _ => say(&if args.json {
            to_json(&seen, &claimed, now)
        } else {
            to_text(&seen, &claimed, now)
        }),
    }
}

/// A task, and what its deal says of it.
struct Subject {
    task: TaskId,
    deal: DealId,
    index: U256,
    /// What comes back.
    price: Nrlc,
    /// Whose it is.
    payer: Address,
    due: UnixSeconds,
}

/// A task, and how far it is.
struct Seen<'a> {
    subject: &'a Subject,
    status: TaskStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Completed,
    Claimed,
    RefundedBefore,
    Due,
    Early(Duration),
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Claimed => "claimed",
            Self::RefundedBefore => "refunded before",
            Self::Due => "due",
            Self::Early(_) => "not due",
        }
    }
}

impl Seen<'_> {
    fn state(&self, claimed: &BTreeSet<TaskId>, now: UnixSeconds) -> State {
        match self.status {
            TaskStatus::Completed => State::Completed,
            TaskStatus::Failed if claimed.contains(&self.subject.task) => State::Claimed,
            TaskStatus::Failed => State::RefundedBefore,
            TaskStatus::Unset | TaskStatus::Active | TaskStatus::Revealing => {
                match now.until(self.subject.due) {
                    Duration::ZERO => State::Due,
                    wait => State::Early(wait),
                }
            }
        }
    }
}

/// The tasks that are meant: each once, in the order in which they were named.
async fn subjects(client: &Client, ids: &[B256]) -> Result<Vec<Subject>, Failure> {
    let mut known = BTreeSet::new();
    let mut subjects = Vec::new();
    for id in ids {
        let task = client.task(TaskId(*id)).await.map_err(|error| silent(&error))?;
        let deal_id = if task.status == TaskStatus::Unset { DealId(*id) } else { task.deal };
        let deal = client.deal(deal_id).await.map_err(|error| match error.is_unknown() {
            true => unknown(*id),
            false => silent(&error),
        })?;
        for subject in tasks_of(client, *id, &task, deal_id, &deal).await? {
            if known.insert(subject.task) {
                subjects.push(subject);
            }
        }
    }
    Ok(subjects)
}

/// That task alone, or every task of the deal if the id is the deal's.
async fn tasks_of(
    client: &Client,
    id: B256,
    task: &Task,
    deal_id: DealId,
    deal: &Deal,
) -> Result<Vec<Subject>, Failure> {
    let category = client.category(deal.category).await.map_err(|error| silent(&error))?;
    let due = deal.start.saturating_add(category.work_clock_seconds.saturating_mul(UNITS));
    let price = [deal.app.price, deal.dataset.price, deal.workerpool.price].into_iter().sum();
    let subject = |task: TaskId, index: U256| Subject {
        task,
        deal: deal_id,
        index,
        price,
        payer: deal.sponsor,
        due,
    };
    if task.status != TaskStatus::Unset {
        return Ok(vec![subject(TaskId(id), task.index)]);
    }
    let size = u64::try_from(deal.size).map_err(|_| unknown(id))?;
    let indices = (0..size).map(|offset| deal.first.saturating_add(U256::from(offset)));
    Ok(indices.map(|index| subject(orders::task_id(deal_id, index), index)).collect())
}

async fn read<'a>(client: &Client, subjects: &'a [Subject]) -> Result<Vec<Seen<'a>>, Failure> {
    iter(subjects)
        .map(|subject| async move {
            let task = client.task(subject.task).await.map_err(|error| silent(&error))?;
            Ok(Seen { subject, status: task.status })
        })
        .buffered(READ_AT_ONCE)
        .try_collect()
        .await
}

async fn due<'a>(client: &Client, subjects: &'a [Subject]) -> Result<Vec<Seen<'a>>, Failure> {
    let now = now(client).await?;
    let mut seen = read(client, subjects).await?;
    seen.retain(|one| one.state(&BTreeSet::new(), now) == State::Due);
    Ok(seen)
}

/// The next block's time: at least the last one's, and on a chain where nothing happens, ours.
async fn now(client: &Client) -> Result<UnixSeconds, Failure> {
    let head = client.head().await.map_err(|error| silent(&error))?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(head.timestamp.max(UnixSeconds(clock)))
}

fn requests(client: &Client, due: &[Seen], batch: usize) -> Vec<(TxRequest, Vec<TaskId>)> {
    let hub = client.hub();
    let (unset, begun): (Vec<_>, Vec<_>) =
        due.iter().partition(|one| one.status == TaskStatus::Unset);
    let ids = |some: &[&Seen]| some.iter().map(|one| one.subject.task).collect::<Vec<_>>();
    let begun = begun.chunks(batch).map(|some| (calls::claim_array(hub, &ids(some)), ids(some)));
    let unset = unset.chunks(batch).map(|some| {
        let pairs: Vec<_> = some.iter().map(|one| (one.subject.deal, one.subject.index)).collect();
        (calls::initialize_and_claim_array(hub, &pairs), ids(some))
    });
    begun.chain(unset).collect()
}

fn to_json(seen: &[Seen], claimed: &BTreeSet<TaskId>, now: UnixSeconds) -> String {
    let task = |one: &Seen| -> Value {
        json!({
            "task": one.subject.task.to_string(),
            "deal": one.subject.deal.to_string(),
            "index": one.subject.index.to_string(),
            "state": one.state(claimed, now).word(),
            "price": one.subject.price.to_string(),
            "payer": one.subject.payer.to_string(),
            "finalDeadline": one.subject.due.0,
        })
    };
    let tasks: Vec<Value> = seen.iter().map(task).collect();
    json!({ "refunded": refunded(seen, claimed).to_string(), "tasks": tasks }).to_string()
}

fn to_text(seen: &[Seen], claimed: &BTreeSet<TaskId>, now: UnixSeconds) -> String {
    let mut lines: Vec<String> = seen.iter().map(|one| line(one, claimed, now)).collect();
    lines.push(format!("refunded now: {}", refunded(seen, claimed)));
    lines.join("\n")
}

fn line(one: &Seen, claimed: &BTreeSet<TaskId>, now: UnixSeconds) -> String {
    let Subject { task, price, payer, .. } = one.subject;
    match one.state(claimed, now) {
        State::Completed => format!("{task}  completed: it was paid for its result"),
        State::Claimed => format!("{task}  claimed: {price} back in the stake of {payer}"),
        State::RefundedBefore => {
            format!("{task}  refunded before: {price} went back to the stake of {payer}")
        }
        State::Due => format!("{task}  due"),
        State::Early(wait) => format!("{task}  not due: it may still be done, for {}", words(wait)),
    }
}

fn refunded(seen: &[Seen], claimed: &BTreeSet<TaskId>) -> Nrlc {
    seen.iter()
        .filter(|one| claimed.contains(&one.subject.task) && one.status == TaskStatus::Failed)
        .map(|one| one.subject.price)
        .sum()
}

fn early(first: &Seen, now: UnixSeconds) -> Failure {
    let Subject { task, due, price, .. } = first.subject;
    let wait = words(now.until(*due));
    Failure::new("GM-4105", Exit::Refused, format!("task {task} cannot be claimed yet"))
        .because(format!(
            "it may still be done until {due} (seconds of Unix time), which is in {wait} of the chain's time"
        ))
        .fix(format!(
            "claim it in {wait}, for {price}; a scheduler that runs does it by itself: gristmill task why {task}"
        ))
}

fn words(wait: Duration) -> String {
    let seconds = wait.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}

fn unknown(id: B256) -> Failure {
    Failure::new("GM-4103", Exit::Usage, format!("there is no task or deal {id}"))
        .because("the chain knows neither a task that was begun nor a deal by that id")
        .fix("a task that its scheduler never began is claimed by its deal: gristmill task claim DEAL, with the deal that gristmill run printed")
}

fn silent(error: &chain::Error) -> Failure {
    Failure::new("GM-3102", Exit::Market, "the chain does not answer").because(chain_of(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: TaskStatus, is_ours: bool, now: u64, expected: State) {
        let subject = Subject {
            task: TaskId(B256::repeat_byte(1)),
            deal: DealId(B256::repeat_byte(2)),
            index: U256::ZERO,
            price: Nrlc::new(3),
            payer: Address::ZERO,
            due: UnixSeconds(1_000),
        };
        let claimed = is_ours.then_some(subject.task).into_iter().collect();
        let seen = Seen { subject: &subject, status };
        assert_eq!(seen.state(&claimed, UnixSeconds(now)), expected, "{status:?} at {now}");
    }

    #[test]
    fn what_is_to_be_done_follows_from_status_and_time() {
        for status in [TaskStatus::Unset, TaskStatus::Active, TaskStatus::Revealing] {
            check(status, false, 999, State::Early(Duration::from_secs(1)));
            check(status, false, 1_000, State::Due);
        }
        for now in [0, 2_000] {
            check(TaskStatus::Completed, false, now, State::Completed);
            check(TaskStatus::Failed, false, now, State::RefundedBefore);
            check(TaskStatus::Failed, true, now, State::Claimed);
        }
    }

    #[test]
    fn waits_are_rounded_up() {
        for (seconds, expected) in [(0, "0 s"), (119, "119 s"), (121, "3 min"), (7_201, "3 h")] {
            assert_eq!(words(Duration::from_secs(seconds)), expected);
        }
    }
}
