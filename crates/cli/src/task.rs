//! `gristmill task`: what became of a task, as the chain and its scheduler tell.

use std::io::Write;

use chain::TaskStatus;
use serde_json::json;
use url::Url;

use crate::args::TaskCommand;
use crate::failure::{Exit, Failure, OrFail};
use crate::purchase::Access;

/// Answers a question about a task.
///
/// # Errors
/// GM-5006 no market, GM-3102 the chain does not answer, GM-4103 no such task.
pub async fn task(command: TaskCommand) -> Result<(), Failure> {
    let TaskCommand::Show { task, market, json } = command;
    let access = reach(market).await?;
    let on_chain = access.client().task(task).await.or_fail(
        "GM-3102",
        Exit::Market,
        "the chain does not answer",
    )?;
    let model = access.schedulers().task(task).await;
    if on_chain.deal.0.is_zero() && model.is_none() {
        return Err(Failure::new("GM-4103", Exit::Usage, format!("there is no task {task}"))
            .because("neither the chain nor a scheduler of this market knows it")
            .fix("check the id, and that --market names the market it was bought at"));
    }
    let status = match on_chain.status {
        TaskStatus::Unset => "not initialised",
        TaskStatus::Active => "active",
        TaskStatus::Revealing => "revealing",
        TaskStatus::Completed => "completed",
        TaskStatus::Failed => "failed",
    };
    let text = if json {
        let chain = json!({
            "status": status,
            "deal": on_chain.deal.to_string(),
            "contributors": on_chain.contributors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "consensus": on_chain.consensus.to_string(),
            "digest": on_chain.digest.to_string(),
            "results": String::from_utf8_lossy(&on_chain.results),
            "finalDeadline": on_chain.final_deadline.0,
        });
        json!({ "task": task.to_string(), "chain": chain, "scheduler": model }).to_string()
    } else {
        let mut lines = vec![
            format!("task        {task}"),
            format!("deal        {}", on_chain.deal),
            format!("on chain    {status}, {} contributions", on_chain.contributors.len()),
        ];
        if !on_chain.results.is_empty() {
            lines.push(format!("results     {}", String::from_utf8_lossy(&on_chain.results)));
        }
        if let Some(model) = &model {
            lines.push(format!("scheduler   {}", model.current_status));
            if let Some(failure) = &model.failure {
                lines.push(format!("failure     {failure}"));
            }
        }
        lines.join("\n")
    };
    writeln!(std::io::stdout(), "{text}").or_fail(
        "GM-5009",
        Exit::Usage,
        "stdout does not take the output",
    )
}

async fn reach(market: Option<Url>) -> Result<Access, Failure> {
    if let Some(origin) = market {
        return Access::to(&origin).await;
    }
    Access::running().await.ok_or_else(|| {
        Failure::new("GM-5006", Exit::Market, "no market runs on this machine")
            .fix("name one with --market, or start one with: gristmill up")
    })
}
