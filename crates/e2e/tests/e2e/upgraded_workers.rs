//! Workers are replaced one after the other while they work, as an operator does who upgrades them.

use anyhow::Result;
use testkit::{Apart, eventually, programs};

use crate::{gristmill, list, text};

const TASKS: usize = 12;
/// So many turns take a moment: workers are asked to end while they compute.
const TURNS: u64 = 20_000_000;

#[tokio::test]
async fn a_bag_is_done_although_every_worker_is_replaced_meanwhile() -> Result<()> {
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 2).await?;
    let program = gristmill.file("slow.wasm", programs::slow_greeting("at last\n", TURNS)?)?;
    let (key, origin) = (market.owner_key_file()?, market.market()?.to_string());
    let count = TASKS.to_string();
    let buy = ["run", text(&program), "--json", "--market", &origin, "--key-file", &key];
    let bag = eventually("a bag to be bought and done", async || {
        let ran = gristmill.run(buy.iter().chain(&["--tasks", &count])).await?;
        Ok(if ran.code == Some(0) { Some(ran.json()?) } else { None })
    });
    let replaced = async {
        for _ in 0..2 {
            for worker in ["worker-0", "worker-1"] {
                assert_eq!(market.stop(worker).await?, Some(0), "{worker} ends in order");
                market.restart(worker).await?;
            }
        }
        anyhow::Ok(())
    };
    let (bag, replaced) = tokio::join!(bag, replaced);
    replaced?;
    let bag = bag?;
    let results = list(&bag, "/results")?;
    assert_eq!(results.len(), TASKS);
    assert!(results.iter().all(|result| result["output"] == "at last\n"), "{bag:#}");
    Ok(())
}
