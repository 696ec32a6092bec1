//! An operator looks at what could go from a store. What deals and open orders need is told with its reason, and stays.

use anyhow::Result;
use serde_json::Value;
use testkit::{Apart, eventually, programs};
use wire::ipfs::IpfsClient;

use crate::{at, example, gristmill, house, list, text};

#[tokio::test]
async fn only_what_nobody_needs_would_go() -> Result<()> {
    let house = house().await?;
    let ran = house.run(&example("noop/noop.wasm"), &[]).await?;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let stranger = IpfsClient::new(&house.origin()?)?.add_bytes("file", "nobody's".into()).await?;

    let (dir, origin) = (house.data_dir(), house.origin()?.to_string());
    let place = ["--data-dir", text(&dir), "--market", &origin];
    let days = ["--set", "blobs.keep_inputs_days=0", "--set", "blobs.keep_results_days=0"];
    let gc = |more: &'static [&'static str]| {
        let all = ["blobs", "gc", "--json"].iter().chain(more).chain(&place).chain(&days);
        house.gristmill().run(all.copied().collect::<Vec<_>>())
    };
    let dry = gc(&["--dry-run"]).await?;
    let said: Value = serde_json::from_str(&dry.stdout)?;
    assert_eq!(at(&said, "/removed")?, 1, "{said:#}");
    let looked = list(&said, "/looked")?;
    let kept =
        |it: &Value| it["keptFor"].as_str().is_some_and(|why| why.contains("the program of"));
    assert!(looked.iter().filter(|it| kept(it)).count() >= 4, "{said:#}");
    let goes: Vec<_> = looked.iter().filter(|it| it["keptFor"].is_null()).collect();
    assert_eq!(goes[0]["cid"], stranger.cid, "{said:#}");
    assert!(looked.iter().all(|it| it["shelf"] == "file"), "results of open deals are held");

    let busy = gc(&[]).await?;
    assert_eq!(at(&serde_json::from_str(&busy.stdout)?, "/error/code")?, "GM-6002");
    assert!(IpfsClient::new(&house.origin()?)?.has(&stranger.location()).await?);
    house.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_result_that_a_scheduler_elsewhere_added_stays_with_its_deal() -> Result<()> {
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 1).await?;
    let program = gristmill.file("greeting.wasm", programs::greeting("kept\n")?)?;
    let (key, origin) = (market.owner_key_file()?, market.market()?.to_string());
    let buy = ["run", text(&program), "--json", "--market", &origin, "--key-file", &key];
    let outcome: Value = eventually("a task to be bought and done", async || {
        let ran = gristmill.run(buy).await?;
        Ok(if ran.code == Some(0) { Some(ran.json()?) } else { None })
    })
    .await?;
    let task = at(&outcome, "/receipt/tasks/0/task")?.as_str().unwrap_or_default();

    let dir = market.data_dir("gateway");
    let place = ["--data-dir", text(&dir), "--market", &origin];
    let days = ["--set", "blobs.keep_inputs_days=0", "--set", "blobs.keep_results_days=0"];
    let gc = ["blobs", "gc", "--json", "--dry-run"];
    let dry = gristmill.run(gc.iter().chain(&place).chain(&days)).await?.ok()?;
    let said = dry.json()?;
    let why = format!("the result of task {task}");
    let kept = list(&said, "/looked")?.iter().any(|it| it["keptFor"] == why);
    assert!(kept, "{why}: {said:#}");
    Ok(())
}
