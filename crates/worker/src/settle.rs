//! Standing for a result: contribute, reveal, upload, and let go only when nothing is at stake any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use chain::{ContributionStatus, ErrorKind, Task, TaskStatus, TxRequest, calls};
use primitives::{ResultDigest, TaskId, UnixSeconds};
use tokio::time::Instant;
use verdict::{result_hash, result_seal};
use wire::link::ToScheduler;
use wire::scheduler::Parcel;

use crate::desk::Desk;
use crate::space::remove_file;
use crate::table::{Finding, Life, Stage};
use crate::trouble::Trouble;

const SEND_ATTEMPTS: u32 = 3;
/// How long an upload is tried that does not get on: a gateway that is started anew, or moved, takes no longer.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(180);
/// The same when the scheduler does not want it, which changes within moments if at all.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(15);
const UPLOAD_PAUSE_MIN: Duration = Duration::from_millis(250);
const UPLOAD_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an upload waits for the connection whose token it needs.
const LINE_WAIT: Duration = Duration::from_secs(120);
/// How long a worker that ends waits for what it has sent to be mined.
const LAST_BLOCKS: Duration = Duration::from_secs(2);
/// A node may be a block behind the one that the scheduler asked.
const CONSENSUS_ATTEMPTS: u32 = 6;
const CONSENSUS_PAUSE: Duration = Duration::from_millis(150);
/// Units of a category's time from the consensus to the end of reveals.
const REVEAL_UNITS: u64 = 2;
/// How often to look whether tasks in hand were decided without a word.
const SWEEP_PAUSE: Duration = Duration::from_secs(15);

impl Desk {
    /// Contributes, now that the scheduler has signed that it may. Returns when the transaction is mined, or the worker
    /// ends.
    pub(crate) async fn contribute(
        &self,
        life: &Life,
        finding: &Finding,
        authorization: Bytes,
    ) -> Result<(), Trouble> {
        if finding.needs_one {
            self.contribute_alone(life, finding, authorization).await
        } else {
            self.contribute_with_others(life, finding, authorization).await
        }
    }

    /// Trust 1: nobody else has to agree, so the result is delivered and paid in one transaction, and nothing is staked.
    /// What has to be carried is in the journal meanwhile: a worker that is killed goes on where it was.
    async fn contribute_alone(
        &self,
        life: &Life,
        finding: &Finding,
        authorization: Bytes,
    ) -> Result<(), Trouble> {
        let is_noted = finding.callback_data.is_empty();
        if is_noted {
            let noted = self.journal.note_alone(life.task, finding).await;
            noted.map_err(|error| unwritten(&error))?;
        }
        let sent = self.deliver_and_finalize(life, finding, authorization).await;
        // Given up because the worker ends: the next start takes it up.
        if is_noted && !self.stop.is_cancelled() {
            self.journal.strike(life.task).await;
        }
        sent
    }

    async fn deliver_and_finalize(
        &self,
        life: &Life,
        finding: &Finding,
        authorization: Bytes,
    ) -> Result<(), Trouble> {
        let location = self.deliver(life, finding).await?;
        let mut request = calls::contribute_and_finalize_from_enclave(
            self.client.hub(),
            life.task,
            finding.digest,
            results(&location, finding.callback),
            finding.callback_data.clone(),
            finding.enclave.clone().unwrap_or_default(),
            authorization,
        );
        if finding.callback != Address::ZERO {
            request = self.client.calling_back(request).await;
        }
        let contributed = |tx_hash| ToScheduler::Contributed { task_id: life.task, tx_hash };
        let sent = self.send(life, request, Stage::Contributed, contributed).await;
        self.explain(life.task, sent).await
    }

    async fn contribute_with_others(
        &self,
        life: &Life,
        finding: &Finding,
        authorization: Bytes,
    ) -> Result<(), Trouble> {
        let expected = self.table.lock().to_be_staked();
        self.stake.ensure(finding.stake, expected).await?;
        let sent = self.promise(life, finding, authorization).await;
        self.stake.settle(finding.stake).await;
        sent
    }

    async fn promise(
        &self,
        life: &Life,
        finding: &Finding,
        authorization: Bytes,
    ) -> Result<(), Trouble> {
        self.check_promises(life.task).await?;
        // Before it is sent: from then on forgetting the digest costs the stake.
        let noted = self.journal.note(life.task, finding).await;
        noted.map_err(|error| unwritten(&error))?;
        self.promises.lock().keep(life.task, finding, true, Instant::now());
        let request = calls::contribute_from_enclave(
            self.client.hub(),
            life.task,
            result_hash(life.task, finding.digest),
            result_seal(self.worker, life.task, finding.digest),
            finding.enclave.clone().unwrap_or_default(),
            authorization,
        );
        let contributed = |tx_hash| ToScheduler::Contributed { task_id: life.task, tx_hash };
        let sent = self.send(life, request, Stage::Contributed, contributed).await;
        self.explain(life.task, sent).await
    }

    /// Refuses to replace a digest that is promised: another run may have found another, and only the first can be
    /// revealed.
    async fn check_promises(&self, task: TaskId) -> Result<(), Trouble> {
        let (knows, has_room) = {
            let promises = self.promises.lock();
            (promises.knows(task), promises.has_room())
        };
        if !knows {
            return if has_room { Ok(()) } else { Err(Trouble::Busy("it has promised too much")) };
        }
        let mine = self.client.contribution(task, self.worker).await;
        match mine.map_err(|error| Trouble::Chain(error.to_string()))?.status {
            ContributionStatus::Unset => Ok(()),
            _ => Err(Trouble::Contribution("this worker has contributed already".to_owned())),
        }
    }

    /// Reveals and uploads, once the chain says that the consensus is ours.
    pub(crate) async fn reveal(&self, life: &Life, finding: &Finding) -> Result<(), Trouble> {
        let ours = result_hash(life.task, finding.digest);
        let task = self.revealing(life.task).await?;
        if task.consensus != ours {
            return Err(Trouble::Reveal("the others agreed on another result".to_owned()));
        }
        let (revealed, uploaded) =
            futures::join!(self.reveal_once(life, finding), self.upload_for_all(life, finding));
        revealed.and(uploaded)?;
        self.table.lock().revealed(life);
        Ok(())
    }

    async fn upload_for_all(&self, life: &Life, finding: &Finding) -> Result<(), Trouble> {
        let location = self.deliver(life, finding).await?;
        let callback_data = finding.callback_data.clone();
        let word = ToScheduler::Uploaded { task_id: life.task, location, callback_data };
        self.reached(life, Stage::Revealing, word).await;
        Ok(())
    }

    async fn reveal_once(&self, life: &Life, finding: &Finding) -> Result<(), Trouble> {
        let mine = self.client.contribution(life.task, self.worker).await;
        let mine = mine.map_err(|error| Trouble::Chain(error.to_string()))?;
        match mine.status {
            // Before a restart.
            ContributionStatus::Proved => return Ok(()),
            ContributionStatus::Contributed => {}
            ContributionStatus::Unset | ContributionStatus::Rejected => {
                return Err(Trouble::Reveal("the chain has no contribution to reveal".to_owned()));
            }
        }
        let request = calls::reveal(self.client.hub(), life.task, finding.digest);
        let revealed = |tx_hash| ToScheduler::Revealed { task_id: life.task, tx_hash };
        self.promises.lock().tried(life.task, Instant::now());
        let Err(error) = self.send(life, request, Stage::Revealing, revealed).await else {
            return Ok(());
        };
        // The vigil may have been faster.
        let mine = self.client.contribution(life.task, self.worker).await;
        match mine {
            Ok(mine) if mine.status == ContributionStatus::Proved => Ok(()),
            _ => Err(Trouble::Reveal(error.reason())),
        }
    }

    /// The task, once it waits for reveals.
    async fn revealing(&self, task: TaskId) -> Result<Task, Trouble> {
        for attempt in 1..=CONSENSUS_ATTEMPTS {
            let read = self.client.task(task).await;
            match read {
                Ok(task) if task.status == TaskStatus::Revealing => return Ok(task),
                Ok(task) if matches!(task.status, TaskStatus::Completed | TaskStatus::Failed) => {
                    return Err(Trouble::Reveal("the task is over".to_owned()));
                }
                Err(error) if !error.is_retryable() => {
                    return Err(Trouble::Chain(error.to_string()));
                }
                _ => tokio::time::sleep(CONSENSUS_PAUSE * attempt).await,
            }
        }
        Err(Trouble::Reveal("the chain knows of no consensus".to_owned()))
    }

    /// Sends, says so, and waits for the block; anew if the transaction was lost without the contract refusing it.
    async fn send(
        &self,
        life: &Life,
        request: TxRequest,
        stage: Stage,
        word: impl Fn(B256) -> ToScheduler,
    ) -> chain::Result<()> {
        let lives = std::slice::from_ref(life);
        self.send_for(lives, request, stage, |_, tx_hash| word(tx_hash)).await.map(drop)
    }

    /// The same, for all tasks that the transaction brings on.
    pub(crate) async fn send_for(
        &self,
        lives: &[Life],
        request: TxRequest,
        stage: Stage,
        word: impl Fn(TaskId, B256) -> ToScheduler,
    ) -> chain::Result<Fate> {
        let mut attempt = 1;
        loop {
            let pending = self.wallet.send(request.clone()).await?;
            for life in lives {
                self.reached(life, stage, word(life.task, pending.hash())).await;
            }
            let mined = tokio::select! {
                mined = pending.mined() => mined,
                // It has left; the chain will know what became of it.
                () = self.ending() => return Ok(Fate::Unknown),
            };
            match mined {
                Ok(_) => return Ok(Fate::Mined),
                Err(error) if attempt < SEND_ATTEMPTS && is_lost(&error) => {
                    let tx = pending.hash();
                    tracing::info!(worker = %self.worker, %tx, %error, "sending anew");
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The worker ends, and has had some time to see its transactions arrive.
    async fn ending(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_BLOCKS).await;
    }

    /// The contract often refuses without a word; the task's state usually tells why.
    async fn explain(&self, task: TaskId, sent: chain::Result<()>) -> Result<(), Trouble> {
        let Err(error) = sent else { return Ok(()) };
        let mut why = error.reason();
        if error.is_revert()
            && let Ok(state) = self.client.task(task).await
        {
            let now = self.client.last_head().timestamp;
            let hint = match state.status {
                TaskStatus::Unset => "the task is not initialised",
                TaskStatus::Completed | TaskStatus::Failed => "the task is over",
                TaskStatus::Revealing => "the others have a consensus already",
                TaskStatus::Active if now >= state.contribution_deadline => {
                    "the deadline for contributions has passed"
                }
                TaskStatus::Active if state.contributors.contains(&self.worker) => {
                    "this worker has contributed already"
                }
                TaskStatus::Active => "the scheduler's authorisation may be wrong",
            };
            why = format!("{why}; {hint}");
        }
        Err(Trouble::Contribution(why))
    }

    /// Brings the result to where `finalize` can point to: storage, or nowhere when only a contract receives it.
    pub(crate) async fn deliver(&self, life: &Life, finding: &Finding) -> Result<String, Trouble> {
        if !finding.callback_data.is_empty() {
            return Ok(String::new());
        }
        let upload = life.over.run_until_cancelled(self.upload(life.task, finding));
        upload.await.unwrap_or_else(|| Err(Trouble::Upload("it is not wanted any more".to_owned())))
    }

    /// Patience begins anew with each attempt that brought the upload on: a large result over a bad line takes many.
    async fn upload(&self, task: TaskId, finding: &Finding) -> Result<String, Trouble> {
        let refused = |error: wire::ClientError| Trouble::Upload(error.to_string());
        let parcel = Parcel::of(&finding.archive).await.map_err(refused)?;
        let (mut since, mut pause, mut reached) = (Instant::now(), UPLOAD_PAUSE_MIN, 0);
        loop {
            let line = tokio::time::timeout(LINE_WAIT, self.voice.line()).await;
            let Ok(Some(line)) = line else {
                return Err(Trouble::Upload("there is no connection to the scheduler".to_owned()));
            };
            let uploaded = self.uploads.upload_parcel(task, &line.token, &parcel).await;
            let error = match uploaded {
                Ok(location) if is_location(&location) => return Ok(location),
                Ok(_) => return Err(Trouble::Upload("the scheduler names no location".to_owned())),
                Err(error) => error,
            };
            let place = self.uploads.upload_place(task, &line.token).await.ok().flatten();
            if let Some(place) = place.filter(|place| place.offset_bytes > reached) {
                (since, pause, reached) = (Instant::now(), UPLOAD_PAUSE_MIN, place.offset_bytes);
            }
            let patience = if error.is_retryable() { UPLOAD_PATIENCE } else { REFUSAL_PATIENCE };
            if since.elapsed() >= patience || !may_pass(&error) {
                return Err(refused(error));
            }
            tracing::debug!(%task, %error, reached, "uploading again in {pause:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(UPLOAD_PAUSE_MAX);
        }
    }

    /// Drops what is kept for a released task. What was promised stays with the vigil: a scheduler may release too early,
    /// out of haste or malice.
    pub(crate) async fn let_go(&self, task: TaskId, finding: &Finding) {
        if !finding.needs_one {
            if self.promises.lock().knows(task) {
                return;
            }
            // Unless it was assigned anew meanwhile: then the row is that life's.
            let again = self.table.lock().knows(task);
            if !again {
                self.journal.strike(task).await;
            }
        }
        remove_file(&finding.archive).await;
    }

    /// Lets go of tasks that the chain has decided. A scheduler that was started anew may know nothing of what it gave to
    /// whom, and then never releases it.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut before = HashSet::new();
        loop {
            let waited = self.stop.run_until_cancelled(tokio::time::sleep(SWEEP_PAUSE));
            if waited.await.is_none() {
                return;
            }
            let now = self.table.lock().with_results();
            // What is new is most likely in good hands.
            for task in now.intersection(&before) {
                let look = self.stop.run_until_cancelled(self.client.task(*task));
                let Some(state) = look.await else { return };
                let decided = |state: &Task| {
                    matches!(state.status, TaskStatus::Completed | TaskStatus::Failed)
                };
                if state.is_ok_and(|state| decided(&state)) {
                    tracing::debug!(%task, "decided, and nobody released it");
                    self.release(*task);
                }
            }
            before = now;
        }
    }

    /// What the worker could lose or save in a task that it promised this digest to.
    pub(crate) async fn stand(&self, task: TaskId, digest: ResultDigest) -> chain::Result<Stand> {
        let (state, mine) = futures::try_join!(
            self.client.task(task),
            self.client.contribution(task, self.worker)
        )?;
        let now = self.client.last_head().timestamp;
        let ours = result_hash(task, digest);
        let at_stake = match (state.status, mine.status) {
            _ if now >= state.final_deadline => AtStake::Nothing,
            (TaskStatus::Active, ContributionStatus::Contributed) => AtStake::Waiting,
            (TaskStatus::Revealing, ContributionStatus::Contributed)
                if state.consensus == ours && now < state.reveal_deadline =>
            {
                AtStake::Reveal
            }
            (TaskStatus::Revealing, ContributionStatus::Proved) => AtStake::Upload,
            _ => AtStake::Nothing,
        };
        let to_reveal = state.work_clock_seconds.saturating_mul(REVEAL_UNITS);
        let consensus_at = UnixSeconds(state.reveal_deadline.0.saturating_sub(to_reveal));
        Ok(Stand { at_stake, consensus_at })
    }

    /// Whether a contribution that the chain does not have may still arrive.
    pub(crate) async fn may_arrive(&self, task: TaskId) -> bool {
        let state = self.client.task(task).await;
        let mine = self.client.contribution(task, self.worker).await;
        matches!(state, Ok(state) if state.status == TaskStatus::Active)
            && matches!(mine, Ok(mine) if mine.status == ContributionStatus::Unset)
    }
}

/// What became of a transaction, as far as the worker has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is in a block, and did what it should.
    Mined,
    /// It has left, and the worker ends.
    Unknown,
}

/// Where a worker stands in a task that it contributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) at_stake: AtStake,
    /// When the others agreed, if they have.
    pub(crate) consensus_at: UnixSeconds,
}

/// What a worker has in a task that it contributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtStake {
    /// All is decided, as far as this worker is concerned.
    Nothing,
    /// The others have not decided yet.
    Waiting,
    /// The stake is lost without a reveal.
    Reveal,
    /// The stake is safe; the scheduler may still need the result.
    Upload,
}

fn unwritten(error: &store::Error) -> Trouble {
    Trouble::Host { doing: "writing the journal", detail: error.to_string() }
}

/// What the chain keeps about where the result is. The spacing is the official one, since some compare it as text.
pub(crate) fn results(location: &str, callback: Address) -> Bytes {
    let text = if callback == Address::ZERO {
        format!(r#"{{ "storage": "ipfs", "location": "{location}" }}"#)
    } else {
        format!(r#"{{ "storage": "ethereum", "location": "{callback}" }}"#)
    };
    text.into_bytes().into()
}

/// The scheduler's word goes into JSON on the chain, so it is a plain path or nothing.
fn is_location(location: &str) -> bool {
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    location
        .strip_prefix("/ipfs/")
        .is_some_and(|name| !name.is_empty() && name.len() <= 128 && plain(name))
}

/// Whether an upload may go better the next time. A token is good for one connection, and that one may be over; and a part
/// may cross with what an earlier connection still brings.
fn may_pass(error: &wire::ClientError) -> bool {
    error.is_retryable()
        || matches!(error, wire::ClientError::Refused { status: 401 | 403 | 409 | 422, .. })
}

fn is_lost(error: &chain::Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::Displaced { .. })
}
