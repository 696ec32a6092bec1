//! Every service is a process of its own, and none of them is missed for long.

use anyhow::Result;
use primitives::TaskId;
use serde_json::Value;
use testkit::{Apart, eventually, programs};

use crate::{at, gristmill, text};

#[tokio::test]
async fn a_market_of_separate_processes_survives_the_end_of_each() -> Result<()> {
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 2).await?;
    let program = gristmill.file("greeting.wasm", programs::greeting("from afar\n")?)?;
    let key = market.owner_key_file()?;
    let origin = market.market()?.to_string();
    // A worker takes inputs from private networks only where the market's gateway is, which is not the order book.
    let input = gristmill.file("in.txt", "grain")?;
    let input = ["--input", text(&input)];
    let buy = ["run", text(&program), "--json", "--market", &origin, "--key-file", &key];

    let bought = async || -> Result<Value> {
        // An offer is in the book as soon as the scheduler is ready and a worker is there.
        eventually("a task to be bought and done", async || {
            let ran = gristmill.run(buy.iter().chain(&input).chain(&["--trust", "4"])).await?;
            Ok(if ran.code == Some(0) { Some(ran.json()?) } else { None })
        })
        .await
    };
    let outcome = bought().await?;
    assert_eq!(at(&outcome, "/results/0/output")?, "from afar\n", "{outcome:#}");

    for name in market.names() {
        market.kill(&name).await?;
        market.restart(&name).await?;
        let outcome = bought().await?;
        assert_eq!(at(&outcome, "/results/0/output")?, "from afar\n", "after {name}: {outcome:#}");
        let task: TaskId =
            at(&outcome, "/receipt/tasks/0/task")?.as_str().unwrap_or_default().parse()?;
        assert!(!market.client().await?.task(task).await?.results.is_empty());
    }

    assert_eq!(market.stop("worker-0").await?, Some(0), "a worker ends in order");
    assert_eq!(market.stop("scheduler").await?, Some(0), "a scheduler ends in order");
    Ok(())
}

#[tokio::test]
async fn settings_say_what_is_missing_and_where_values_come_from() -> Result<()> {
    let gristmill = gristmill()?;
    let missing = gristmill.run(["worker"]).await?;
    assert_eq!(missing.code, Some(2), "{missing:#?}");
    assert!(missing.stderr.contains("GM-5016"), "{missing:#?}");

    gristmill.file("gristmill.toml", "[worker]\nslots = 3\n")?;
    let shown = gristmill.run(["config", "show", "--json"]).await?.ok()?.json()?;
    assert_eq!(shown["worker.slots"]["value"], "3");
    assert_eq!(shown["worker.slots"]["source"], "gristmill.toml");
    assert_eq!(shown["chain.port"]["source"], "default");

    gristmill.file("gristmill.toml", "[worker]\nslotz = 3\n")?;
    let unknown = gristmill.run(["config", "show", "--json"]).await?;
    assert_eq!(unknown.failure_code()?, "GM-5015");
    Ok(())
}
