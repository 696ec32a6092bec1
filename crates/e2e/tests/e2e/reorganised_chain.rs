//! The chain takes blocks back while tasks are at work. What is left completes, what is gone is forgotten.
//!
//! How many is drawn by a seed, another in each run, so that in time every depth meets every sort of job; a failure tells the
//! seed, and `GRISTMILL_REORG_SEED` plays the same depths again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::U256;
use anyhow::{Context, Result};
use chain::{Client, Cursor, MarketEvent, TaskStatus, Update};
use orders::task_id;
use primitives::{DealId, Nrlc, TaskId};
use serde_json::json;
use testkit::{Apart, Dice, Gristmill, eventually, programs};
use tokio::task::JoinHandle;
use wire::market::{DealQuery, MarketClient};

use crate::{gristmill, text};

/// So many turns take a moment: the chain changes its mind while some tasks run and others wait.
const TURNS: u64 = 8_000_000;
const TASKS: u64 = 6;
/// Of each row one depth is drawn, so that there are shallow and deep ones in each run.
const DEPTHS: [[u64; 4]; 5] =
    [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, DEEPEST]];
const DEEPEST: u64 = 20;

/// The seed of this run.
fn seed() -> Result<u64> {
    match std::env::var("GRISTMILL_REORG_SEED") {
        Ok(told) => Ok(told.parse()?),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
    }
}

/// What the chain says now, from its beginning.
#[derive(Debug, Default)]
struct Story {
    deals: BTreeSet<DealId>,
    ended: BTreeMap<TaskId, usize>,
}

async fn story(client: &Client) -> Result<Story> {
    let head = client.head().await?;
    let mut story = Story::default();
    let mut news = client.follow(Cursor::START);
    while let Some(update) = news.next().await {
        let Update::Block(block) = update else {
            // Another branch: what was told before may not hold.
            return Box::pin(self::story(client)).await;
        };
        for event in &block.events {
            match event.event {
                MarketEvent::DealNotice { deal, .. } => {
                    story.deals.insert(deal);
                }
                MarketEvent::Finalized { task, .. } | MarketEvent::Claimed { task } => {
                    *story.ended.entry(task).or_default() += 1;
                }
                _ => {}
            }
        }
        if block.number >= head.number {
            break;
        }
    }
    Ok(story)
}

/// Buys in the background; how that ends is for the buyer to know.
fn buy(gristmill: &Gristmill, market: &Apart, arguments: &[&str]) -> Result<JoinHandle<()>> {
    let program = gristmill.file("slow.wasm", programs::slow_greeting("at last\n", TURNS)?)?;
    let (origin, key) = (market.market()?.to_string(), market.owner_key_file()?);
    let fixed = ["run", text(&program), "--json", "--market", &origin, "--key-file", &key];
    let arguments: Vec<String> =
        fixed.iter().chain(arguments).map(|part| (*part).to_owned()).collect();
    let gristmill = gristmill.clone();
    Ok(tokio::spawn(async move {
        // A requester whose deal is taken back may wait in vain, and is not what is looked at here.
        let _ = gristmill.run(arguments).await;
    }))
}

async fn all_done(client: &Client) -> Result<Option<Story>> {
    let story = story(client).await?;
    for deal in &story.deals {
        let size = client.deal(*deal).await?.size;
        let mut index = U256::ZERO;
        while index < size {
            let task = client.task(task_id(*deal, index)).await?;
            if task.status != TaskStatus::Completed {
                return Ok(None);
            }
            index += U256::ONE;
        }
    }
    Ok(Some(story))
}

/// Waits until the order book has these deals, and no others.
async fn book_knows(market: &Apart, client: &Client, deals: &BTreeSet<DealId>) -> Result<()> {
    let book = MarketClient::new(&market.market()?, client.chain_id())?;
    eventually("the order book to know the deals that are left", async || {
        let listed = book.deals(&DealQuery::default()).await?;
        for deal in deals {
            if book.deal(*deal).await?.is_none() {
                return Ok(None);
            }
        }
        Ok((listed.count == deals.len() as u64).then_some(()))
    })
    .await
}

/// Waits for a deal beyond those, with a task of it begun.
async fn begun(client: &Client, known: &BTreeSet<DealId>) -> Result<DealId> {
    eventually("a deal at work", async || {
        let story = story(client).await?;
        let Some(deal) = story.deals.difference(known).next() else { return Ok(None) };
        for index in 0..TASKS {
            if client.task(task_id(*deal, U256::from(index))).await?.status != TaskStatus::Unset {
                return Ok(Some(*deal));
            }
        }
        Ok(None)
    })
    .await
}

#[tokio::test]
async fn deals_that_survive_a_reorganisation_complete_and_the_others_are_forgotten() -> Result<()> {
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 2).await?;
    let client = market.client().await?;
    // The market is older than what the chain takes back: who deposited the stakes is gone, and could not do it again.
    client.request("evm_mine", json!([{ "blocks": DEEPEST }])).await?;
    let (trust, tasks) = (["--trust", "4"], TASKS.to_string());
    let mut known = BTreeSet::new();
    let seed = seed()?;
    let mut dice = Dice::new(seed, "depths");
    let first = dice.below(2);
    for (round, row) in (0u64..).zip(DEPTHS) {
        let depth = row[usize::try_from(dice.below(4))?];
        let mut arguments = vec!["--tasks", tasks.as_str()];
        // With and without consensus: batches of one worker, and many small steps of several.
        arguments.extend(trust.iter().filter(|_| (first + round) % 2 == 1));
        let buyer = buy(&gristmill, &market, &arguments)?;
        begun(&client, &known).await?;
        client.request("anvil_reorg", json!([depth, []])).await?;
        // Whatever is on the chain now, and whatever comes back by itself, completes.
        let after = eventually("everything that is left to be done", async || {
            if !buyer.is_finished() && !client_is_idle(&client).await? {
                return Ok(None);
            }
            all_done(&client).await
        })
        .await
        .with_context(|| format!("seed {seed}: after {depth} blocks were taken back"))?;
        buyer.abort();
        known = after.deals;
        let once = after.ended.values().all(|times| *times == 1);
        assert!(once, "seed {seed}, depth {depth}: paid twice: {:?}", after.ended);
    }
    // The market goes on, for everybody.
    let buyer = buy(&gristmill, &market, &["--trust", "4"])?;
    let last = eventually("the last job to be done", async || {
        if buyer.is_finished() { all_done(&client).await } else { Ok(None) }
    })
    .await
    .with_context(|| format!("seed {seed}"))?;
    assert!(last.deals.len() > known.len(), "nothing can be bought any more");
    book_knows(&market, &client, &last.deals).await.with_context(|| format!("seed {seed}"))?;
    for who in [market.owner()?.address(), market.worker(0)?, market.worker(1)?] {
        assert_eq!(client.account(who).await?.locked, Nrlc::ZERO, "of {who}");
    }
    Ok(())
}

/// Whether no block has come since the last look; blocks come only with transactions.
async fn client_is_idle(client: &Client) -> Result<bool> {
    let head = client.head().await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    Ok(client.head().await?.hash == head.hash)
}
