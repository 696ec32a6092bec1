//! What workers say, and how much of it is kept.

use alloy_primitives::Address;
use primitives::{TaskId, UnixSeconds};
use tasks::{Blame, Event, Failure};
use wire::link::{RunFailure, ToScheduler};

use super::{Books, Effect, Output, TEXT_BYTES_MAX};

const TAIL_BYTES_MAX: usize = 8_192;

impl Books {
    /// A worker said something. What does not fit is ignored: it may be late, or a lie.
    pub(crate) fn said(
        &mut self,
        now: UnixSeconds,
        worker: Address,
        message: ToScheduler,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.spare.clock = self.spare.clock.max(now);
        let (task, event) = match message {
            ToScheduler::Computed { task_id, result_hash, stdout_tail, stderr_tail } => {
                self.printed_at_last(worker, task_id, &stdout_tail, &stderr_tail, &mut effects);
                self.keep_output(task_id, worker, stdout_tail, stderr_tail);
                if self.takes_part(task_id, worker) {
                    self.note_success(worker);
                    self.compare(now, task_id, worker, result_hash, &mut effects);
                }
                (task_id, Event::Computed { worker, hash: result_hash })
            }
            ToScheduler::Unsettled { task_ids, reason } => {
                self.unsettled(now, worker, &task_ids, &reason, &mut effects);
                return effects;
            }
            ToScheduler::Failed { task_id, failure } => {
                let failure = bounded(failure);
                let (stdout, stderr) = (&failure.stdout_tail, &failure.stderr_tail);
                self.printed_at_last(worker, task_id, stdout, stderr, &mut effects);
                if self.takes_part(task_id, worker) {
                    self.note_failure(now, worker, task_id, &failure);
                }
                (task_id, Event::Failed { worker, failure })
            }
            ToScheduler::Uploaded { task_id, location, callback_data } => {
                if location.len() > TEXT_BYTES_MAX {
                    return effects;
                }
                (task_id, Event::Uploaded { worker, location, callback_data })
            }
            // The chain says so itself, and only that counts.
            ToScheduler::Contributed { .. } | ToScheduler::Revealed { .. } => return effects,
            ToScheduler::Draining {} => {
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.draining = true;
                }
                return effects;
            }
            ToScheduler::Returned { task_id, reason } => {
                let reason = cut_end(reason, TEXT_BYTES_MAX);
                tracing::debug!(%worker, task = %task_id, reason, "a task is given back");
                (task_id, Event::Returned { worker })
            }
            ToScheduler::Log { task_id, stream, text, missed } => {
                return self.printed(worker, task_id, stream, text, missed);
            }
            ToScheduler::Paused { reason } => {
                self.pause(worker, Some(reason));
                return effects;
            }
            ToScheduler::Resumed {} => {
                self.pause(worker, None);
                self.proceed(now, &mut effects);
                return effects;
            }
            ToScheduler::Warm { images } => {
                self.warmed(worker, images);
                return effects;
            }
            ToScheduler::Unknown => return effects,
        };
        if self.takes_part(task, worker) {
            self.drive(now, task, event, &mut effects);
            self.proceed(now, &mut effects);
        }
        effects
    }

    /// Keeps the end of what a program printed, for the requester.
    fn keep_output(&mut self, task: TaskId, worker: Address, stdout: String, stderr: String) {
        if !self.takes_part(task, worker) || (stdout.is_empty() && stderr.is_empty()) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&task) {
            let output = Output {
                stdout: cut_start(stdout, TAIL_BYTES_MAX),
                stderr: cut_start(stderr, TAIL_BYTES_MAX),
            };
            entry.outputs.insert(worker, output);
        }
    }
}

/// A worker's words, cut to what is worth keeping.
fn bounded(run: RunFailure) -> Failure {
    let blame = match run.blame {
        wire::link::Blame::App => Blame::App,
        wire::link::Blame::Worker => Blame::Worker,
        wire::link::Blame::Input => Blame::Input,
    };
    Failure {
        blame,
        code: cut_end(run.failure.code, 16),
        message: cut_end(run.failure.message, TEXT_BYTES_MAX),
        remedy: cut_end(run.failure.remedy, TEXT_BYTES_MAX),
        exit_code: run.exit_code,
        stdout_tail: cut_start(run.stdout_tail, TAIL_BYTES_MAX),
        stderr_tail: cut_start(run.stderr_tail, TAIL_BYTES_MAX),
    }
}

pub(super) fn cut_end(mut text: String, most: usize) -> String {
    let at = text.floor_char_boundary(most);
    text.truncate(at);
    text
}

fn cut_start(text: String, most: usize) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(most));
    if from == 0 { text } else { text[from..].to_owned() }
}
