//! Somebody keeps a market running, uses it from another terminal, and starts it again later.

use anyhow::Result;
use serde_json::Value;
use testkit::{House, HouseConfig, programs};

use crate::{at, gristmill, list, text};

#[tokio::test]
async fn a_kept_market_is_found_used_and_remembers() -> Result<()> {
    let gristmill = gristmill()?;
    let house = House::start(&gristmill, HouseConfig::default()).await?;
    let said = house.said().clone();
    for key in ["rpc", "chainId", "contracts", "workerpools", "apps", "accounts"] {
        assert!(said.get(key).is_some(), "no {key}: {said:#}");
    }
    assert!(list(&said, "/accounts")?.len() >= 12);
    assert!(list(&said, "/workerpools")?.len() >= 2);

    // Nothing says where the market is: it is found.
    let program = gristmill.file("greeting.wasm", programs::greeting("hello\n")?)?;
    let bought = gristmill.run(["run", text(&program), "--json"]).await?.ok()?.json()?;
    let requester = house.address("/accounts/0/address")?;
    let task = at(&bought, "/receipt/tasks/0/task")?.as_str().unwrap_or_default().to_owned();
    let account = house.client().await?.account(requester).await?;
    assert_eq!(house.stop().await?, Some(0));

    let house = House::start(&gristmill, HouseConfig::default()).await?;
    assert_eq!(at(house.said(), "/contracts")?, at(&said, "/contracts")?);
    let pools = |said: &Value| -> Result<Vec<Value>> {
        list(said, "/workerpools")?.iter().map(|pool| Ok(at(pool, "/address")?.clone())).collect()
    };
    assert_eq!(pools(house.said())?, pools(&said)?);
    let client = house.client().await?;
    assert_eq!(client.account(requester).await?, account);
    assert_eq!(client.task(task.parse()?).await?.status, chain::TaskStatus::Completed);
    gristmill.run(["task", "show", &task, "--json"]).await?.ok()?;
    let again = gristmill.run(["run", text(&program), "--json"]).await?.ok()?.json()?;
    assert_eq!(at(&again, "/results/0/output")?, "hello\n");
    assert_eq!(at(&again, "/receipt/app")?, at(&bought, "/receipt/app")?, "registered once");
    Ok(())
}
