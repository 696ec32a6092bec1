//! A worker lies.

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::{House, HouseConfig, programs};

use crate::{gristmill, list};

/// More than enough work for two of the three workers of a pool, so that the liar gets some too.
const TASKS: usize = 4;

#[tokio::test]
async fn the_right_result_wins_and_the_liar_loses_stake_and_score() -> Result<()> {
    let config = HouseConfig { workers: 3, liars: 1, ..HouseConfig::default() };
    let house = House::start(&gristmill()?, config).await?;
    let program = house.gristmill().file("greeting.wasm", programs::greeting("the truth\n")?)?;
    let arguments = ["--trust", "4", "--tasks", &TASKS.to_string()];
    let said = house.run(&program, &arguments).await?.ok()?.json()?;

    for result in list(&said, "/results")? {
        assert_eq!(result["output"], "the truth\n");
    }
    let wrong = |one: &&Value| one["accurate"] == false;
    let mut lies = 0;
    for task in list(&said, "/receipt/tasks")? {
        assert_eq!(task["verified"], true);
        let contributions = list(task, "/contributions")?;
        // Veterans weigh enough for one of them to make the consensus.
        let right = contributions.iter().filter(|one| one["accurate"] == true);
        assert!(right.count() >= 1, "{task:#}");
        for lie in contributions.iter().filter(wrong) {
            lies += 1;
            assert_ne!(lie["resultHash"], task["consensus"], "{task:#}");
            assert_ne!(lie["lostNrlc"], "0", "{task:#}");
            assert_eq!(lie["score"], 0, "{task:#}");
            let taken = list(&said, "/receipt/payments")?;
            let from_liar = taken
                .iter()
                .find(|one| one["account"] == lie["worker"] && one["direction"] == "taken");
            from_liar.with_context(|| format!("nothing taken from the liar: {said:#}"))?;
        }
    }
    assert!(lies > 0, "the liar was never asked: {said:#}");
    Ok(())
}
