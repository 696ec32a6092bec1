//! `gristmill task`: what became of a task, as the chain and its scheduler tell.

mod claim;
mod result;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use alloy_signer_local::PrivateKeySigner;
use chain::{Task, TaskStatus};
use futures::StreamExt;
use primitives::{DealId, TaskId};
use serde_json::json;
use url::Url;
use wire::ClientError;
use wire::link::LogStream;
use wire::scheduler::{LogNews, LogPiece, TaskModel};

use crate::accounts::{Role, development, read_key};
use crate::args::{TaskCommand, TaskQuery};
use crate::failure::{Exit, Failure, OrFail, chain_of};
use crate::purchase::Access;

/// Answers a question about a task.
///
/// # Errors
/// GM-5004 no usable key, GM-5006 no market, GM-3102 the chain does not answer, GM-4103 no such task, GM-4104 no logs;
/// results and claims have more.
pub async fn task(command: TaskCommand) -> Result<(), Failure> {
    match command {
        TaskCommand::Show(query) => {
            let known = Known::of(&query).await?;
            say(&if query.json { known.to_json() } else { known.to_text() })
        }
        TaskCommand::Why(query) => {
            let known = Known::of(&query).await?;
            let (code, text) = known.why();
            let task = query.task.to_string();
            say(&match query.json {
                true => json!({ "task": task, "code": code, "text": text }).to_string(),
                false => text,
            })
        }
        TaskCommand::Logs { query, follow: false, key_file } => logs(&query, key_file).await,
        TaskCommand::Logs { query, follow: true, key_file } => follow(&query, key_file).await,
        TaskCommand::Result { query, out } => result::result(&query, out).await,
        TaskCommand::Claim(args) => claim::claim(args).await,
    }
}

/// What the chain and a scheduler know of a task.
struct Known {
    access: Access,
    task: TaskId,
    on_chain: Task,
    model: Option<TaskModel>,
}

impl Known {
    async fn of(query: &TaskQuery) -> Result<Self, Failure> {
        let task = query.task;
        let access = reach(query.market.clone()).await?;
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
        Ok(Self { access, task, on_chain, model })
    }

    /// Its deal: the scheduler knows it before the chain does.
    fn deal(&self) -> DealId {
        match &self.model {
            Some(model) if self.on_chain.deal.0.is_zero() => model.deal_id,
            _ => self.on_chain.deal,
        }
    }

    fn status(&self) -> &'static str {
        match self.on_chain.status {
            TaskStatus::Unset => "not initialised",
            TaskStatus::Active => "active",
            TaskStatus::Revealing => "revealing",
            TaskStatus::Completed => "completed",
            TaskStatus::Failed => "failed",
        }
    }

    /// A word for programs and a sentence for people.
    fn why(&self) -> (String, String) {
        let model = self.model.as_ref();
        if self.on_chain.status == TaskStatus::Completed {
            return ("done".into(), "it is done: its result is checked and paid".into());
        }
        if let Some(failure) = model.and_then(|model| model.failure.as_ref()) {
            return (failure.code.clone(), format!("it failed: {failure}"));
        }
        if self.on_chain.status == TaskStatus::Failed {
            return (
                "refunded".into(),
                "its time was up without a result, and it was refunded".into(),
            );
        }
        match model.and_then(|model| model.waiting_for.as_ref()) {
            Some(waiting) => (waiting.code.clone(), format!("it waits for {}", waiting.text)),
            None => (
                "unknown".into(),
                format!("it is {} on chain; no scheduler says more", self.status()),
            ),
        }
    }

    fn to_json(&self) -> String {
        let on_chain = &self.on_chain;
        let chain = json!({
            "status": self.status(),
            "deal": self.deal().to_string(),
            "contributors": on_chain.contributors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "consensus": on_chain.consensus.to_string(),
            "digest": on_chain.digest.to_string(),
            "results": String::from_utf8_lossy(&on_chain.results),
            "finalDeadline": on_chain.final_deadline.0,
        });
        json!({ "task": self.task.to_string(), "chain": chain, "scheduler": self.model })
            .to_string()
    }

    fn to_text(&self) -> String {
        let on_chain = &self.on_chain;
        let contributions = on_chain.contributors.len();
        let mut lines = vec![
            format!("task        {}", self.task),
            format!("deal        {}", self.deal()),
            format!("on chain    {}, {contributions} contributions", self.status()),
        ];
        if !on_chain.results.is_empty() {
            lines.push(format!("results     {}", String::from_utf8_lossy(&on_chain.results)));
        }
        if let Some(model) = &self.model {
            lines.push(format!("scheduler   {}", model.current_status));
            if let Some(waiting) = &model.waiting_for {
                lines.push(format!("waits for   {}", waiting.text));
            }
            if let Some(tee) = &model.tee {
                lines.push(format!("enclave     {tee}"));
            }
            if let Some(failure) = &model.failure {
                lines.push(format!("failure     {failure}"));
            }
        }
        lines.join("\n")
    }
}

/// Attempts in a row that bring nothing before a follower gives up.
const FOLLOW_ATTEMPTS: u32 = 30;
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// Prints what the program prints, as it comes: its answer on stdout, what it says beside on stderr.
async fn follow(query: &TaskQuery, key_file: Option<PathBuf>) -> Result<(), Failure> {
    let signer = key(key_file)?;
    let access = reach(query.market.clone()).await?;
    let (mut after, mut attempts) = (0, 0);
    loop {
        match access.schedulers().follow_logs(query.task, &signer, after).await {
            Ok(mut feed) => {
                while let Some(Ok(news)) = feed.next().await {
                    attempts = 0;
                    match news {
                        LogNews::Piece(piece) => {
                            after = piece.seq;
                            print(&piece, query.json)?;
                        }
                        LogNews::Alive => {}
                        LogNews::End { .. } => return Ok(()),
                    }
                }
            }
            Err(error) if !error.is_retryable() => {
                return Err(no_logs(&access, query.task, &error));
            }
            Err(error) if attempts >= FOLLOW_ATTEMPTS => {
                return Err(no_logs(&access, query.task, &error));
            }
            Err(_) => {}
        }
        // The scheduler may be on its way back; it has kept what was said meanwhile.
        attempts += 1;
        tokio::time::sleep(FOLLOW_PAUSE).await;
    }
}

fn print(piece: &LogPiece, as_json: bool) -> Result<(), Failure> {
    let to_stdout = as_json || piece.stream == LogStream::Stdout;
    let text = if as_json { format!("{}\n", json!(piece)) } else { piece.text.clone() };
    if !to_stdout {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        return Ok(());
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).or_fail(
        "GM-5009",
        Exit::Usage,
        "stdout does not take the output",
    )
}

fn key(file: Option<PathBuf>) -> Result<PrivateKeySigner, Failure> {
    match file {
        Some(file) => read_key(&file),
        None => Ok(development(Role::Requester.index())),
    }
}

fn no_logs(access: &Access, task: TaskId, error: &ClientError) -> Failure {
    let failure = Failure::new("GM-4104", Exit::Usage, format!("there are no logs of task {task}"))
        .because(chain_of(error));
    // An order book that stands alone is no scheduler, and tells of those that its settings name.
    let is_silent = access.description().workerpools.iter().all(|pool| pool.api_url.is_none());
    match error {
        ClientError::Refused { status: 404, .. } if is_silent => failure.fix(
            "the market does not say where its schedulers answer: its order book tells of those in its [[market.workerpools]]",
        ),
        _ => failure
            .fix("give the id of a task that was bought with this key; --key-file names another"),
    }
}

async fn logs(query: &TaskQuery, key_file: Option<PathBuf>) -> Result<(), Failure> {
    let signer = key(key_file)?;
    let access = reach(query.market.clone()).await?;
    let found = access.schedulers().logs(query.task, &signer).await;
    let found = found.map_err(|error| no_logs(&access, query.task, &error))?;
    if query.json {
        return say(&json!(found).to_string());
    }
    let mut text = String::new();
    for log in &found.compute_logs_list {
        text.push_str(&log.stdout);
        // What a program says beside its answer goes beside ours, as in `run`.
        let _ = std::io::stderr().lock().write_all(log.stderr.as_bytes());
    }
    say(text.trim_end_matches('\n'))
}

fn say(text: &str) -> Result<(), Failure> {
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
