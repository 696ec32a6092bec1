//! What a machine would earn, by the past of a market that is there.

use anyhow::{Context, Result};
use testkit::programs;

use crate::{at, house, list};

#[tokio::test]
async fn a_machine_is_judged_by_what_the_markets_workers_were_paid() -> Result<()> {
    let house = house().await?;
    let gristmill = house.gristmill();
    let origin = house.origin()?.to_string();
    let asked = ["roi", "--market", &origin, "--json"];
    assert_eq!(gristmill.run(asked).await?.failure_code()?, "GM-8105", "nothing happened yet");

    let program = gristmill.file("greeting.wasm", programs::greeting("worth\n")?)?;
    house.run(&program, &["--tasks", "3", "--max-price", "1RLC"]).await?.ok()?;
    house.run(&program, &["--trust", "4"]).await?.ok()?;

    let told = gristmill.run(asked).await?.ok()?.json()?;
    assert_eq!(at(&told, "/history/tasks")?, 4.0);
    assert_eq!(at(&told, "/history/completed")?, 4);
    assert_eq!(at(&told, "/history/refunded")?, 0);
    assert_eq!(at(&told, "/history/runs")?, 5.0, "three alone, and two who agree");
    assert_eq!(list(&told, "/history/categories")?.len(), 1);
    let figure = |place: &str| at(&told, place)?.as_f64().context("a number");
    assert!(figure("/history/workers")? >= 2.0);
    assert!(figure("/history/paidRlcPerRun")? > 0.0);
    assert!(figure("/history/gasPerRun")? > 20_000.0, "more than an empty transaction");
    assert!(figure("/stakeAtRiskRlc")? > 0.0);
    assert!(figure("/runsPerMonth")? < 5.0 * 31.0, "five runs a day, of which others have a part");
    let measured = list(&told, "/assumptions")?.iter().filter(|it| it["source"] == "measured");
    assert!(measured.count() >= 5, "{told:#}");

    let words = gristmill.run(["roi", "--market"]).await?.ok()?.stdout;
    for part in ["a month, as estimated", "what was paid", "measured   a run was paid", "assumed "]
    {
        assert!(words.contains(part), "no '{part}' in {words}");
    }
    Ok(())
}
