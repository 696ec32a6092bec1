//! The last word: what the chain says of every deal, task and coin.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use anyhow::Result;
use chain::{Client, Cursor, MarketEvent, Task, TaskStatus, Update};
use orders::task_id;
use primitives::{DealId, Nrlc, TaskId};
use verdict::money::KITTY;

use super::load::BAD;

/// A task as it stands.
pub(super) struct Standing {
    pub(super) task: Task,
    pub(super) deal: DealId,
    /// Whether its program cannot end well.
    pub(super) is_bad: bool,
}

/// Everything that happened, told from the beginning.
#[derive(Default)]
struct Story {
    deals: BTreeSet<DealId>,
    finalized: BTreeMap<TaskId, usize>,
    claimed: BTreeMap<TaskId, usize>,
    rewarded: BTreeMap<(TaskId, Address), usize>,
    paid: BTreeMap<TaskId, Nrlc>,
    seized: BTreeMap<(TaskId, Address), Nrlc>,
}

impl Story {
    async fn read(client: &Client) -> Result<Self> {
        let head = client.head().await?;
        let mut story = Self::default();
        let mut news = client.follow(Cursor::START);
        while let Some(update) = news.next().await {
            let Update::Block(block) = update else { continue };
            for event in &block.events {
                story.take(&event.event);
            }
            if block.number >= head.number {
                break;
            }
        }
        Ok(story)
    }

    fn take(&mut self, event: &MarketEvent) {
        match event {
            MarketEvent::DealNotice { deal, .. } => {
                self.deals.insert(*deal);
            }
            MarketEvent::Finalized { task, .. } => *self.finalized.entry(*task).or_default() += 1,
            MarketEvent::Claimed { task } => *self.claimed.entry(*task).or_default() += 1,
            MarketEvent::Reward { owner, amount, reference } => {
                let task = TaskId(*reference);
                *self.rewarded.entry((task, *owner)).or_default() += 1;
                add(self.paid.entry(task).or_default(), *amount);
            }
            MarketEvent::Seize { owner, amount, reference } => {
                add(self.seized.entry((TaskId(*reference), *owner)).or_default(), *amount);
            }
            _ => {}
        }
    }
}

fn add(sum: &mut Nrlc, amount: Nrlc) {
    sum.0 = sum.0.saturating_add(amount.0);
}

/// Every task of every deal, as it stands now.
pub(super) async fn standings(client: &Client) -> Result<Vec<Standing>> {
    let mut all = Vec::new();
    for id in Story::read(client).await?.deals {
        let deal = client.deal(id).await?;
        let is_bad = BAD.contains(&client.app(deal.app.pointer).await?.name.as_str());
        let mut index = deal.first;
        while index < deal.first + deal.size {
            let task = client.task(task_id(id, index)).await?;
            all.push(Standing { task: Task { deal: id, index, ..task }, deal: id, is_bad });
            index += U256::ONE;
        }
    }
    Ok(all)
}

/// The money before and after.
pub(super) struct Purse {
    pub(super) who: Address,
    pub(super) before: Nrlc,
}

/// What somebody has: in the wallet, in the hub free, in the hub bound.
async fn has(client: &Client, who: Address) -> Result<(Nrlc, Nrlc, Nrlc)> {
    let account = client.account(who).await?;
    Ok((client.rlc_balance(who).await?, account.stake, account.locked))
}

/// Everything that somebody has.
pub(super) async fn worth(client: &Client, who: Address) -> Result<Nrlc> {
    let (wallet, stake, locked) = has(client, who).await?;
    Ok([wallet, stake, locked].into_iter().sum())
}

/// What is wrong with the money and the tasks at the end; nothing, it is hoped. `others`: who else has an account.
pub(super) async fn audit(
    client: &Client,
    requesters: &[Purse],
    others: &[Address],
    supply: Nrlc,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let story = Story::read(client).await?;
    let mut owed: BTreeMap<Address, Nrlc> = BTreeMap::new();
    for Standing { task, deal: id, is_bad } in standings(client).await? {
        let (name, deal) = (task_id(id, task.index), client.deal(id).await?);
        let ends = [&story.finalized, &story.claimed].map(|of| of.get(&name).copied().unwrap_or(0));
        let price: Nrlc =
            [deal.app.price, deal.dataset.price, deal.workerpool.price].into_iter().sum();
        let due = match (task.status, ends) {
            (TaskStatus::Completed, [1, 0]) => price,
            (TaskStatus::Failed, [0, 1]) if is_bad => Nrlc::ZERO,
            (TaskStatus::Failed, [0, 1]) => {
                wrong.push(format!("task {name} was refunded though its program is good"));
                Nrlc::ZERO
            }
            (status, ends) => {
                wrong.push(format!("task {name} is {status:?}; finalized, claimed: {ends:?}"));
                continue;
            }
        };
        add(owed.entry(deal.sponsor).or_default(), due);
        let taken = story.seized.get(&(name, deal.sponsor)).copied().unwrap_or_default();
        if taken != due {
            wrong.push(format!("task {name} costs {due} and {taken} was taken for it"));
        }
        for worker in &task.contributors {
            if story.rewarded.get(&(name, *worker)).is_some_and(|times| *times > 1) {
                wrong.push(format!("task {name} paid {worker} more than once"));
            }
        }
        let given = story.paid.get(&name).copied().unwrap_or_default();
        let all: Nrlc =
            story.seized.iter().filter(|((of, _), _)| *of == name).map(|(_, sum)| *sum).sum();
        if given != all {
            wrong.push(format!("task {name}: {all} was taken from all and {given} given"));
        }
    }
    wrong.extend(purses(client, requesters, &owed).await?);
    wrong.extend(sums(client, requesters, others, supply).await?);
    Ok(wrong)
}

/// Each requester paid exactly for what was done.
async fn purses(
    client: &Client,
    requesters: &[Purse],
    owed: &BTreeMap<Address, Nrlc>,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for Purse { who, before } in requesters {
        let after = worth(client, *who).await?;
        let due = owed.get(who).copied().unwrap_or_default();
        if after.0.saturating_add(due.0) != before.0 {
            wrong.push(format!("requester {who} had {before}, owes {due}, and has {after}"));
        }
    }
    Ok(wrong)
}

/// Nothing is bound any more, and all together have what there is.
async fn sums(
    client: &Client,
    requesters: &[Purse],
    others: &[Address],
    supply: Nrlc,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let (mut wallets, mut escrow) = (Nrlc::ZERO, Nrlc::ZERO);
    let everybody: BTreeSet<Address> =
        requesters.iter().map(|purse| purse.who).chain(others.iter().copied()).collect();
    for who in everybody {
        let (wallet, stake, locked) = has(client, who).await?;
        add(&mut wallets, wallet);
        add(&mut escrow, stake);
        add(&mut escrow, locked);
        if !locked.is_zero() {
            wrong.push(format!("{locked} of {who} is still bound"));
        }
    }
    let (_, stake, locked) = has(client, KITTY).await?;
    add(&mut escrow, stake);
    add(&mut escrow, locked);
    let hub = client.rlc_balance(client.hub()).await?;
    if hub != escrow {
        wrong.push(format!("the hub holds {hub} and owes {escrow}"));
    }
    add(&mut wallets, hub);
    if wallets != supply {
        wrong.push(format!("there are {supply} and {wallets} were found"));
    }
    Ok(wrong)
}
