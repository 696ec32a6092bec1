//! Somebody buys many tasks at once.

use anyhow::Result;
use testkit::programs;

use crate::{house, list};

const TASKS: usize = 40;

#[tokio::test]
async fn a_bag_of_tasks_is_done_and_checked_one_by_one() -> Result<()> {
    let house = house().await?;
    let program = house.gristmill().file("greeting.wasm", programs::greeting("one of many\n")?)?;
    let said = house.run(&program, &["--tasks", &TASKS.to_string()]).await?.ok()?.json()?;

    let results = list(&said, "/results")?;
    assert_eq!(results.len(), TASKS);
    let tasks = list(&said, "/receipt/tasks")?;
    assert_eq!(tasks.len(), TASKS);
    for (index, (result, task)) in results.iter().zip(tasks).enumerate() {
        assert_eq!((&result["index"], &task["index"]), (&index.into(), &index.into()));
        assert_eq!(result["output"], "one of many\n");
        assert_eq!(task["verified"], true);
    }
    Ok(())
}
