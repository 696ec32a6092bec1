//! A market is killed while it works, and started again.

use alloy_primitives::U256;
use anyhow::Result;
use chain::{Cursor, MarketEvent, TaskStatus, Update};
use orders::task_id;
use primitives::DealId;
use testkit::{House, HouseConfig, eventually, programs};

use crate::gristmill;

const TASKS: u64 = 12;
/// So many turns take a moment: the market is killed while some tasks run and others wait.
const TURNS: u64 = 20_000_000;

#[tokio::test]
async fn what_was_bought_from_a_market_that_is_killed_is_delivered_by_the_next() -> Result<()> {
    let gristmill = gristmill()?;
    let house = House::start(&gristmill, HouseConfig::default()).await?;
    let program = gristmill.file("slow.wasm", programs::slow_greeting("at last\n", TURNS)?)?;
    let origin = house.origin()?;
    let client = house.client().await?;
    let mut news = client.follow(Cursor::START);
    let arguments = ["--tasks".to_owned(), TASKS.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let first_done = async {
        let mut deal: Option<DealId> = None;
        while let Some(update) = news.next().await {
            let Update::Block(block) = update else { continue };
            for event in &block.events {
                match event.event {
                    MarketEvent::DealNotice { deal: made, .. } => deal = Some(made),
                    MarketEvent::Finalized { .. } => return deal,
                    _ => {}
                }
            }
        }
        None
    };
    let deal = tokio::select! {
        ran = house.run(&program, &arguments) => anyhow::bail!("bought and done too soon: {ran:?}"),
        deal = first_done => deal.expect("a deal before its tasks are done"),
    };
    house.kill().await?;

    let port = origin.port().unwrap_or_default();
    let house = House::start(&gristmill, HouseConfig { port, ..HouseConfig::default() }).await?;
    let client = house.client().await?;
    let deal_facts = client.deal(deal).await?;
    assert_eq!(deal_facts.size, U256::from(TASKS));
    eventually("all tasks to be done", async || {
        for index in 0..TASKS {
            if client.task(task_id(deal, U256::from(index))).await?.status != TaskStatus::Completed
            {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}
