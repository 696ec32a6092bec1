//! A task as `/tasks/{id}` tells it, with the official scheduler's words for statuses.

use std::cmp::Reverse;

use primitives::UnixSeconds;
use tasks::{Failure, Replica, ReplicaState, Status};
use wire::UnixMillis;
use wire::link::Enclave;
use wire::scheduler::{
    ChainReceipt, ComputeLogs, Confidence, DatedStatus, PoolReputation, ReplicateModel, Reputation,
    StatusUpdate, TaskModel, WORKERS_MAX, WorkerReputation,
};

use crate::books::{Books, Entry};
use crate::reputation::{Record, Standing};

/// The end of a program's output that a failure's message quotes.
const QUOTE_BYTES_MAX: usize = 400;
const MS_PER_SECOND: u64 = 1_000;
const SIMULATED: &str = "SIMULATED";

/// The task, and what it waits for.
pub(crate) fn task_model(books: &Books, entry: &Entry) -> TaskModel {
    let (task, deal) = (&entry.task, &entry.deal);
    let is_veiled = books.is_veiled(entry);
    let moment = |at: UnixSeconds| UnixMillis::from_seconds(at.0);
    let result_link = result_link(entry);
    let callback = task.result().filter(|_| task.terms.callback);
    TaskModel {
        chain_task_id: task.id,
        deal_id: task.deal,
        task_index: task.index.saturating_to(),
        execution_time_max_ms: deal.run_seconds.saturating_mul(MS_PER_SECOND),
        tag: deal.deal.tag,
        dapp_type: deal.app_kind.clone(),
        dapp_name: deal.app_location.clone(),
        command_line: deal.command_line.clone(),
        initialization_block_number: entry.initialized_block,
        current_status: current_status(entry).to_owned(),
        trust: task.terms.trust.saturating_to(),
        uploading_worker_wallet_address: uploader(entry),
        consensus: task.consensus(),
        contribution_deadline: moment(task.terms.contribution_deadline),
        reveal_deadline: moment(task.reveal_deadline().unwrap_or_default()),
        final_deadline: moment(task.terms.final_deadline),
        result_link,
        chain_callback_data: callback.map(|(_, upload)| upload.callback_data.to_string()),
        date_status_list: dated(entry),
        replicates: if is_veiled { Vec::new() } else { replicates(entry) },
        confidence: Some(confidence(entry)),
        waiting_for: (!task.status().is_final()).then(|| books.entry_waits_for(entry)),
        tee: deal.enclave.filter(|it| *it == Enclave::SimulatedTdx).map(|_| SIMULATED.to_owned()),
        failure: task.failure().map(explained),
        dissent: task.dissent(),
    }
}

/// How sure the result is.
fn confidence(entry: &Entry) -> Confidence {
    let (task, is_completed) = (&entry.task, entry.task.status() == Status::Completed);
    let winner = task.consensus().filter(|_| is_completed);
    let results: Vec<_> = match winner {
        Some(_) => task.replicas().filter_map(|replica| replica.hash).collect(),
        None => Vec::new(),
    };
    let agreeing = results.iter().filter(|hash| Some(**hash) == winner).count();
    let count = |replicas: usize| u32::try_from(replicas).unwrap_or(u32::MAX);
    Confidence {
        asked_ppm: verdict::Confidence::asked(task.terms.trust).millionths(),
        reached_ppm: winner.map(|_| task.confidence().millionths()),
        runs: count(results.len()),
        agreeing: count(agreeing),
        checked: is_completed && task.is_checked(),
        price_nrlc: entry.deal.deal.workerpool.price.0,
    }
}

/// What is known of all workers.
pub(crate) fn reputation(books: &Books) -> PoolReputation {
    let (ledger, policy) = (books.ledger(), books.policy());
    let mut workers: Vec<_> = ledger
        .workers()
        .map(|(worker, record)| WorkerReputation {
            worker,
            connected: books.is_connected(worker),
            score: books.score(worker),
            standing: match policy.standing(record) {
                Standing::New => "new",
                Standing::Proven => "proven",
                Standing::Barred => "barred",
            }
            .to_owned(),
            past: past(record),
        })
        .collect();
    workers.sort_by_key(|it| (Reverse(it.past.completed), it.worker));
    workers.truncate(WORKERS_MAX);
    PoolReputation {
        workerpool: books.workerpool(),
        canary_rate_ppm: policy.rate_millionths(),
        total: past(ledger.pool()),
        canaries_passed: ledger.pool().canaries_passed,
        canaries_failed: ledger.pool().canaries_failed,
        workers,
    }
}

pub(crate) fn past(record: &Record) -> Reputation {
    Reputation {
        completed: record.completed,
        confirmed: record.confirmed,
        wrong: record.wrong,
        equivocated: record.equivocated,
        false_alarms: record.false_alarms,
        unrevealed: record.unrevealed,
        withheld: record.withheld,
        lost: record.lost,
        failed: record.failed,
        run_seconds_median: record.run_seconds_median(),
    }
}

fn replicates(entry: &Entry) -> Vec<ReplicateModel> {
    entry.task.replicas().map(|replica| replicate(entry, replica)).collect()
}

/// What programs printed, as far as workers have told.
pub(crate) fn logs(entry: &Entry) -> Vec<ComputeLogs> {
    entry.task.replicas().filter_map(|replica| logs_of(entry, replica)).collect()
}

/// A run that failed after one that went well is told of: it is the later one.
fn logs_of(entry: &Entry, replica: &Replica) -> Option<ComputeLogs> {
    let (stdout, stderr) = match (&replica.failure, entry.outputs.get(&replica.worker)) {
        (Some(failure), _) => (&failure.stdout_tail, &failure.stderr_tail),
        (None, Some(output)) => (&output.stdout, &output.stderr),
        (None, None) => return None,
    };
    Some(ComputeLogs {
        wallet_address: replica.worker,
        stdout: stdout.clone(),
        stderr: stderr.clone(),
    })
}

/// The failure as a reader wants it: with the program's last words.
fn explained(failure: &Failure) -> wire::Failure {
    let mut message = failure.message.clone();
    let words = [&failure.stderr_tail, &failure.stdout_tail];
    if let Some(last) = words.into_iter().map(|tail| tail.trim()).find(|tail| !tail.is_empty()) {
        let from = last.ceil_char_boundary(last.len().saturating_sub(QUOTE_BYTES_MAX));
        message.push_str("; the end of its output:\n");
        message.push_str(&last[from..]);
    }
    wire::Failure::new(failure.code.clone(), message, failure.remedy.clone())
}

pub(crate) fn current_status(entry: &Entry) -> &'static str {
    let task = &entry.task;
    match task.status() {
        Status::Received if task.replicas().next().is_some() && task.terms.batch => "RUNNING",
        Status::Active if task.replicas().next().is_some() => "RUNNING",
        Status::Revealing
            if task.replicas().any(|replica| replica.state == ReplicaState::Revealed) =>
        {
            "AT_LEAST_ONE_REVEALED"
        }
        status => status_word(status),
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Received => "RECEIVED",
        Status::Active => "INITIALIZED",
        Status::Revealing => "CONSENSUS_REACHED",
        Status::Finalizing => "FINALIZING",
        Status::Completed => "COMPLETED",
        Status::Doomed | Status::Failed => "FAILED",
    }
}

fn replica_word(replica: &Replica, state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Assigned => "COMPUTING",
        ReplicaState::Computed => "COMPUTED",
        ReplicaState::Granted => "CONTRIBUTING",
        ReplicaState::Contributed => "CONTRIBUTED",
        ReplicaState::Revealed if replica.upload.is_some() => "RESULT_UPLOADED",
        ReplicaState::Revealed => "REVEALED",
        ReplicaState::Rejected => "FAILED",
        ReplicaState::Failed => "COMPUTE_FAILED",
        ReplicaState::Lost => "WORKER_LOST",
        ReplicaState::Released => "ABORTED",
    }
}

fn dated(entry: &Entry) -> Vec<DatedStatus> {
    let receipt = |status: Status| {
        let found = entry.receipts.iter().find(|(its, ..)| *its == status);
        found.map(|(_, tx, block)| ChainReceipt { block_number: *block, tx_hash: *tx })
    };
    let mut list: Vec<DatedStatus> = Vec::new();
    for (status, at) in entry.task.history() {
        let word = status_word(*status);
        if list.last().is_none_or(|last| last.status != word) {
            list.push(DatedStatus {
                date: UnixMillis::from_seconds(at.0),
                status: word.to_owned(),
                chain_receipt: receipt(*status),
            });
        }
    }
    list
}

fn replicate(entry: &Entry, replica: &Replica) -> ReplicateModel {
    let task = entry.task.id;
    let update = |(state, at): &(ReplicaState, UnixSeconds)| {
        let failed = *state == ReplicaState::Failed;
        let cause = replica.failure.as_ref().filter(|_| failed);
        StatusUpdate {
            status: replica_word(replica, *state).to_owned(),
            date: UnixMillis::from_seconds(at.0),
            cause: cause.map(|failure| format!("{}: {}", failure.code, failure.message)),
        }
    };
    let mut updates: Vec<_> = replica.history.iter().map(update).collect();
    let mut current_status = replica_word(replica, replica.state).to_owned();
    let end = entry.task.history().last().filter(|(status, _)| *status == Status::Completed);
    if let Some((_, at)) = end.filter(|_| replica.state == ReplicaState::Revealed) {
        status_word(Status::Completed).clone_into(&mut current_status);
        updates.push(StatusUpdate {
            status: current_status.clone(),
            date: UnixMillis::from_seconds(at.0),
            cause: None,
        });
    }
    let base = format!("/tasks/{task}/replicates/{}", replica.worker);
    ReplicateModel {
        self_link: base.clone(),
        chain_task_id: task,
        wallet_address: replica.worker,
        current_status,
        status_update_list: updates,
        result_link: replica
            .upload
            .as_ref()
            .filter(|upload| !upload.location.is_empty())
            .map(|upload| upload.location.clone()),
        contribution_hash: replica.hash,
        app_logs: logs_of(entry, replica).map(|_| format!("{base}/logs")),
        app_exit_code: match &replica.failure {
            Some(failure) => failure.exit_code,
            // What was announced is the result of a program that ended well.
            None => replica.hash.map(|_| 0),
        },
    }
}

fn uploader(entry: &Entry) -> Option<alloy_primitives::Address> {
    entry.task.result().map(|(worker, _)| worker).or_else(|| {
        // A worker that finished alone uploaded what it finalized with.
        let mut proved = entry.task.replicas().filter(|it| it.state == ReplicaState::Revealed);
        proved.next().filter(|_| entry.results.is_some()).map(|replica| replica.worker)
    })
}

/// Where the result is: from the results on chain, else from the upload that is being finalized.
fn result_link(entry: &Entry) -> Option<String> {
    if let Some((_, upload)) = entry.task.result() {
        return Some(upload.location.clone()).filter(|location| !location.is_empty());
    }
    let text = std::str::from_utf8(entry.results.as_ref()?).ok()?;
    let after = text.split("\"location\"").nth(1)?;
    after.split('"').nth(1).map(str::to_owned).filter(|location| location.starts_with("/ipfs/"))
}

/// The `results` of a finished task as clients expect them on chain, spaces included.
pub(crate) fn results_text(location: &str, callback: Option<alloy_primitives::Address>) -> String {
    match callback {
        Some(callback) => {
            format!("{{ \"storage\": \"ethereum\", \"location\": \"{callback}\" }}")
        }
        None => format!("{{ \"storage\": \"ipfs\", \"location\": \"{location}\" }}"),
    }
}
