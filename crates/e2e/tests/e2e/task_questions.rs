//! What one may ask about a task that was bought.

use anyhow::{Context, Result};
use testkit::programs;

use crate::{at, house, text};

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
