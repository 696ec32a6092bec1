//! Somebody wants to be surer than one worker's word makes them.

use std::collections::BTreeSet;

use anyhow::Result;
use testkit::programs;

use crate::{at, house, list};

#[tokio::test]
async fn trust_4_is_two_workers_who_agree() -> Result<()> {
    let house = house().await?;
    let program = house.gristmill().file("greeting.wasm", programs::greeting("hello\n")?)?;
    let said = house.run(&program, &["--trust", "4"]).await?.ok()?.json()?;

    assert_eq!(at(&said, "/results/0/output")?, "hello\n");
    assert_eq!(at(&said, "/receipt/trust")?, 4);
    let contributions = list(&said, "/receipt/tasks/0/contributions")?;
    let workers: BTreeSet<&str> =
        contributions.iter().filter_map(|one| one["worker"].as_str()).collect();
    assert!(workers.len() >= 2, "{contributions:?}");
    for contribution in contributions {
        assert_eq!(contribution["accurate"], true);
        assert_eq!(contribution["score"], 1);
        assert_eq!(contribution["resultHash"], *at(&said, "/receipt/tasks/0/consensus")?);
    }
    Ok(())
}
