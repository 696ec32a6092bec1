//! `gristmill task result`: what a task gave, fetched once more and held against the chain. For runs that were interrupted, and
//! for tasks that were bought with something else.

use std::io::Write as _;
use std::path::PathBuf;

use chain::TaskStatus;
use serde_json::json;

use super::{Known, say};
use crate::args::TaskQuery;
use crate::failure::{Exit, Failure};

/// Prints what the program said, and puts the files of its result into `out`.
///
/// # Errors
/// GM-4103 no such task, GM-4106 it has no result, GM-5101 the result is not what the chain agreed on, GM-5102 it cannot be
/// downloaded, GM-5007 and GM-5009 there is no place for it.
pub(super) async fn result(query: &TaskQuery, out: Option<PathBuf>) -> Result<(), Failure> {
    let known = Known::of(query).await?;
    if known.on_chain.status != TaskStatus::Completed {
        let (_, why) = known.why();
        let what = format!("task {} has no result", known.task);
        return Err(Failure::new("GM-4106", Exit::TaskFailed, what).because(why).fix(
            "if it is still at work, follow it with gristmill task logs -f and ask again; if it failed, buy it again",
        ));
    }
    let index = known.on_chain.index.saturating_to();
    let asked = known.access.result(known.task, index, &known.on_chain, out.clone()).await;
    let (location, result) = asked?;
    if query.json {
        return say(&json!({
            "task": known.task.to_string(),
            "index": index,
            "output": String::from_utf8_lossy(&result.output),
            "covered": result.covered,
            "files": result.files,
            "stderr": String::from_utf8_lossy(&result.stderr),
            "digest": result.digest.to_string(),
            "location": location,
            "out": out,
        })
        .to_string());
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&result.output).and_then(|()| stdout.flush()).map_err(|error| {
        Failure::new("GM-5009", Exit::Usage, "stdout does not take the output").because(error)
    })?;
    eprintln!("digest    {}  the same on chain and of the download", result.digest);
    eprintln!("result    {location}  ({})", result.files.join(", "));
    Ok(())
}
