//! A buyer shows somebody else what came of a task, and somebody runs it again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chain::TaskStatus;
use primitives::{DealId, TaskId};
use serde_json::Value;
use testkit::{House, HouseConfig, programs};

use crate::{at, gristmill, house, list, text};

/// How long tasks may take; they take seconds.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn a_receipt_outlives_its_market_and_bears_no_change() -> Result<()> {
    let house = house().await?;
    let gristmill = house.gristmill().clone();
    let program = gristmill.file("greeting.wasm", programs::greeting("the truth\n")?)?;
    let said = house.run(&program, &["--receipt", "bought.json"]).await?.ok()?.json()?;
    let task = at(&said, "/receipt/tasks/0/task")?.as_str().context("a task")?.to_owned();
    let origin = house.origin()?.to_string();

    let same =
        gristmill.run(["verify", &task, "--market", &origin, "--json"]).await?.ok()?.json()?;
    assert_eq!(same["same"], true);
    assert_eq!(&same["digest"], at(&said, "/receipt/tasks/0/digestOnChain")?);

    let file = gristmill.home().join("receipt.json");
    let write = ["receipt", &task, "--market", &origin, "--out", text(&file), "--json"];
    let written = gristmill.run(write).await?.ok()?.json()?;
    assert_eq!(written["notes"], serde_json::json!([]));
    let hash = at(&written, "/trust/0/hash")?.as_str().context("a hash")?.to_owned();
    // Both ways to get one give the same file.
    let bytes = std::fs::read(&file)?;
    assert_eq!(bytes, std::fs::read(gristmill.home().join("bought.json"))?);
    let by_node = ["receipt", "verify", text(&file), "--rpc", house.ws()?.as_str(), "--json"]
        .map(str::to_owned);
    assert_eq!(gristmill.run(by_node).await?.ok()?.json()?["stands"], true);
    house.kill().await?;

    let offline = ["receipt", "verify", text(&file), "--block-hash", &hash, "--json"];
    let stands = gristmill.run(offline).await?.ok()?.json()?;
    assert_eq!((&stands["stands"], &stands["complete"]), (&true.into(), &true.into()));
    assert_eq!(at(&stands, "/claims/digest")?, at(&said, "/receipt/tasks/0/digestOnChain")?);
    assert_eq!(list(&stands, "/claims/contributions")?.len(), 1);
    assert!(at(&stands, "/signatures/request")?.is_string());

    let no_trust = gristmill.run(["receipt", "verify", text(&file), "--json"]).await?;
    assert_eq!((no_trust.failure_code()?.as_str(), no_trust.code), ("GM-8306", Some(2)));
    let other = format!("0x{}", "11".repeat(32));
    let strange = ["receipt", "verify", text(&file), "--block-hash", &other, "--json"];
    let strange = gristmill.run(strange).await?;
    assert_eq!((strange.failure_code()?.as_str(), strange.code), ("GM-8302", Some(5)));
    for at in [bytes.len() / 7, bytes.len() / 3, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&file, changed)?;
        let refused = gristmill.run(offline).await?;
        assert_eq!((refused.failure_code()?.as_str(), refused.code), ("GM-8301", Some(5)));
    }
    Ok(())
}

/// More than the honest worker takes at once, so that the liar gets some.
const TASKS: usize = 24;

#[tokio::test]
async fn who_runs_a_task_again_finds_the_lie() -> Result<()> {
    let config = HouseConfig { workers: 2, liars: 1, ..HouseConfig::default() };
    let house = House::start(&gristmill()?, config).await?;
    let gristmill = house.gristmill().clone();
    let program = gristmill.file("greeting.wasm", programs::greeting("the truth\n")?)?;
    let origin = house.origin()?.to_string();
    let count = TASKS.to_string();
    let run = ["run", text(&program), "--market", &origin, "--tasks", &count];
    let ran = gristmill.run(run).await?;
    let deal = ran.stderr.lines().find_map(|line| line.strip_prefix("deal ")).map(str::trim);
    let deal: DealId = deal.with_context(|| format!("no deal in {}", ran.stderr))?.parse()?;

    // All tasks have the same result but for the lies, each of which is a digest of its own worker's making.
    let digests = digests(&house, deal).await?;
    let (first, _) = digests[0];
    let truth = check(&house, first).await?;
    let Some((lie, _)) = digests.iter().find(|(_, digest)| *digest != truth) else {
        anyhow::bail!("the liar was never asked: {digests:?}");
    };
    let evidence = gristmill.home().join("evidence.json");
    let (lie, path) = (lie.to_string(), text(&evidence));
    let verify = ["verify", &lie, "--market", &origin, "--evidence", path, "--json"];
    let found = gristmill.run(verify).await?;
    assert_eq!((found.failure_code()?.as_str(), found.code), ("GM-8310", Some(5)));
    shows(&evidence, &lie, &truth)
}

/// What the program gives, as a run here says of one task, be it right or wrong.
async fn check(house: &House, task: TaskId) -> Result<String> {
    let gristmill = house.gristmill();
    let (task, origin) = (task.to_string(), house.origin()?.to_string());
    let evidence = gristmill.home().join("first.json");
    let verify = ["verify", &task, "--market", &origin, "--evidence", text(&evidence), "--json"];
    let ran = gristmill.run(verify).await?;
    let said = match ran.code {
        Some(0) => ran.json()?["digest"].clone(),
        _ => {
            assert_eq!(ran.failure_code()?, "GM-8310");
            serde_json::from_slice::<Value>(&std::fs::read(evidence)?)?["digestHere"].clone()
        }
    };
    Ok(said.as_str().context("a digest")?.to_owned())
}

async fn digests(house: &House, deal: DealId) -> Result<Vec<(TaskId, String)>> {
    let client = house.client().await?;
    let all = async {
        let mut digests = Vec::new();
        for index in 0..TASKS {
            let id = orders::task_id(deal, alloy_primitives::U256::from(index));
            let task = loop {
                let task = client.task(id).await?;
                if task.status == TaskStatus::Completed {
                    break task;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            digests.push((id, task.digest.to_string()));
        }
        Ok(digests)
    };
    tokio::time::timeout(PATIENCE, all).await.context("the tasks are not all done")?
}

/// The evidence has both digests, what went in, and a receipt of the lie.
fn shows(evidence: &Path, task: &str, truth: &str) -> Result<()> {
    let shown: Value = serde_json::from_slice(&std::fs::read(evidence)?)?;
    assert_eq!((&shown["task"], &shown["digestHere"]), (&task.into(), &truth.into()));
    assert_ne!(shown["digestOnChain"], shown["digestHere"]);
    assert_eq!(at(&shown, "/ingredients/0/role")?, "program");
    let receipt: receipts::Receipt = serde_json::from_value(shown["receipt"].clone())?;
    let file = receipt.to_text().into_bytes();
    let trusted: Vec<_> = receipts::anchors(&file)?.into_iter().map(|it| it.hash).collect();
    let verified = receipts::verify(&file, &trusted)?;
    ensure!(shown["digestOnChain"] == verified.receipt.claims.digest.to_string());
    Ok(())
}
