//! What one may ask about a task that was bought.

use anyhow::{Context, Result};
use chain::{Client, Cursor, MarketEvent, Update};
use primitives::DealId;
use serde_json::json;
use testkit::{Apart, eventually, programs};

use crate::{at, gristmill, house, text};

#[tokio::test]
async fn a_task_is_shown_explained_and_its_output_told_to_its_buyer_alone() -> Result<()> {
    let house = house().await?;
    let gristmill = house.gristmill();
    let program = gristmill.file("greeting.wasm", programs::greeting("told again\n")?)?;
    let bought = house.run(&program, &[]).await?.ok()?.json()?;
    let task = at(&bought, "/receipt/tasks/0/task")?.as_str().context("an id")?.to_owned();
    let origin = house.origin()?.to_string();
    let ask = async |verb: &str, more: &[&str]| {
        let fixed = ["task", verb, &task, "--market", &origin];
        gristmill.run(fixed.iter().chain(more)).await
    };

    let shown = ask("show", &["--json"]).await?.ok()?.json()?;
    assert_eq!(at(&shown, "/chain/status")?, "completed");
    let why = ask("why", &[]).await?.ok()?;
    assert_eq!(why.stdout, "it is done: its result is checked and paid\n");
    assert_eq!(ask("logs", &[]).await?.ok()?.stdout, "told again\n");
    let followed = ask("logs", &["-f"]).await?.ok()?;
    assert_eq!(followed.stdout, "told again\n", "what has ended is told to its end");

    let stranger = gristmill.file("stranger", "11".repeat(32))?;
    let refused = ask("logs", &["--json", "--key-file", text(&stranger)]).await?;
    assert_eq!(refused.failure_code()?, "GM-4104");
    let refused = ask("logs", &["--follow", "--json", "--key-file", text(&stranger)]).await?;
    assert_eq!(refused.failure_code()?, "GM-4104");

    let out = gristmill.home().join("again");
    let again = ask("result", &["--out", text(&out)]).await?.ok()?;
    assert_eq!(again.stdout, "told again\n", "a result can be had again");
    assert_eq!(std::fs::read_to_string(out.join("stdout.txt"))?, "told again\n");
    let claimed = ask("claim", &["--json"]).await?.ok()?.json()?;
    assert_eq!(at(&claimed, "/tasks/0/state")?, "completed");
    assert_eq!(at(&claimed, "/refunded")?, "0 RLC");
    Ok(())
}

#[tokio::test]
async fn what_a_dead_scheduler_owes_is_taken_back_by_who_paid() -> Result<()> {
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 1).await?;
    let client = market.client().await?;
    let program = gristmill.file("greeting.wasm", programs::greeting("while it lasts\n")?)?;
    let origin = market.market()?.to_string();
    let (buyer, key) = market.stranger(0)?;
    let (address, owner) = (buyer.address().to_string(), market.owner_key_file()?);
    let give = ["account", "deposit", "1RLC", "--to", &address, "--key-file", &owner];
    market.run(&give).await?.ok()?;
    let here = ["--json", "--market", &origin, "--key-file", &key];
    let buy = ["run", text(&program)];
    let bought = async || gristmill.run(buy.iter().chain(&here)).await;
    eventually("a task to be done", async || Ok((bought().await?.code == Some(0)).then_some(())))
        .await?;
    market.kill("scheduler").await?;
    let head = client.head().await?;
    let before = client.account(buyer.address()).await?;

    let claim = async {
        let deal = next_deal(&client, Cursor { number: head.number, hash: head.hash }).await?;
        let bound = client.deal(deal).await?;
        let category = client.category(bound.category).await?;
        client.request("evm_increaseTime", json!([category.work_clock_seconds * 10])).await?;
        client.request("evm_mine", json!([])).await?;
        let deal = deal.to_string();
        let verb = async || gristmill.run(["task", "claim", &deal].iter().chain(&here)).await;
        let claimed = verb().await?.ok()?.json()?;
        assert_eq!(at(&claimed, "/tasks/0/state")?, "claimed", "{claimed:#}");
        let price = bound.app.price.0 + bound.workerpool.price.0;
        assert_eq!(at(&claimed, "/refunded")?, &json!(primitives::Nrlc(price).to_string()));
        let again = verb().await?.ok()?.json()?;
        assert_eq!(at(&again, "/tasks/0/state")?, "refunded before", "{again:#}");
        assert_eq!(at(&again, "/refunded")?, "0 RLC");
        anyhow::Ok(())
    };
    let (ran, claimed) = tokio::join!(bought(), claim);
    claimed?;
    assert_eq!(ran?.failure_code()?, "GM-4101", "who waited is told");
    let after = client.account(buyer.address()).await?;
    assert_eq!((after.stake, after.locked), (before.stake, before.locked), "to the last nRLC");
    Ok(())
}

async fn next_deal(client: &Client, from: Cursor) -> Result<DealId> {
    let mut updates = client.follow(from);
    while let Some(update) = updates.next().await {
        let Update::Block(block) = update else { continue };
        for one in &block.events {
            if let MarketEvent::OrdersMatched { deal, .. } = &one.event {
                return Ok(*deal);
            }
        }
    }
    anyhow::bail!("the chain is gone")
}
