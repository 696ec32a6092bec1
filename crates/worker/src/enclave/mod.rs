//! The software enclave: runs a task of a confidential deal as an enclave would, and protects nothing.
//!
//! **SIMULATED.** Everything goes the way of Intel TDX except the one thing that matters: here the worker's owner can
//! look into the memory of this process. It exists so that confidential deals can be made, run and paid on development
//! chains. A worker says at its login that its enclave is simulated, and secret services and schedulers tell that on.
//!
//! ```text
//! SMS ── session, sealed to a key made for this run ──► pre-compute: datasets fetched, checked, decrypted; input files
//!                                                       app: the session's environment, with its secrets
//!                                                       post-compute: signature, encryption for the beneficiary
//! ```
//!
//! Secrets are in memory that is wiped, in the environment of the one program that they are for, and as decrypted
//! datasets in a directory for this run alone, which goes with the run. They are never logged, and of an encrypted result
//! not even the end of what the program printed leaves the worker.
//!
//! **Layout:** `session` asking for it · `pre` before the program · `post` after it.

mod post;
mod pre;
mod session;

use std::path::PathBuf;

use chain::calls::EnclaveProof;
use primitives::TaskId;
use sandbox::{EnvVar, Job, Outcome};
use wire::link::{Blame, EnclaveTask};
use wire::sms::{Session, Stage};
use zeroize::Zeroizing;

use crate::desk::{Desk, Ready, job};
use crate::space::{Scratch, remove_file};
use crate::table::{Assignment, Finding, Life, Printed};
use crate::trouble::Trouble;

/// What an enclave does not achieve, in the protocol's words and in ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mishap {
    /// The official name: `PRE_COMPUTE_…`, `POST_COMPUTE_…`, `TEE_SESSION_GENERATION_…`.
    pub(crate) cause: String,
    /// What happened. No secret and nothing decrypted is in it.
    pub(crate) detail: String,
    pub(crate) blame: Blame,
}

impl Mishap {
    fn new(cause: impl Into<String>, detail: impl Into<String>, blame: Blame) -> Self {
        Self { cause: cause.into(), detail: detail.into(), blame }
    }

    /// This machine's, not the task's.
    fn ours(cause: &str, error: &dyn std::fmt::Display) -> Self {
        Self::new(cause, error.to_string(), Blame::Worker)
    }
}

/// Randomness of the operating system, as the rules of sealing take it.
fn entropy() -> impl FnMut(&mut [u8]) {
    use rand::RngCore;
    |into: &mut [u8]| rand::rng().fill_bytes(into)
}

impl Desk {
    /// From a confidential assignment to the finding; nothing if the task was released meanwhile.
    pub(crate) async fn run_in_enclave(
        &self,
        life: &Life,
        assignment: Assignment,
        tee: &EnclaveTask,
    ) -> Result<Option<Finding>, Trouble> {
        let before = async {
            let ready = self.prepare_program(life.task, assignment).await?;
            let session = self.open_session(life.task, assignment, tee).await?;
            let scratch = self
                .space
                .scratch(life.task)
                .map_err(Trouble::host("making a directory for the enclave"))?;
            pre::compute(&session, &self.fetcher, &scratch).await?;
            Ok::<_, Trouble>((ready, session, scratch))
        };
        let Some(before) = life.over.run_until_cancelled(before).await else { return Ok(None) };
        let (ready, session, scratch) = before?;
        let Some(turn) = life.over.run_until_cancelled(self.turn(&ready.facts)).await else {
            return Ok(None);
        };
        let _turn = turn?;
        let job = Job {
            env: environment(&session)?,
            inputs: scratch.inputs(),
            archive: scratch.archive(),
            ..job(life.task, assignment, &ready, PathBuf::new())
        };
        tracing::info!(worker = %self.worker, task = %life.task, "running in a SIMULATED enclave");
        let outcome = self.sandbox.run(job, life.over.clone()).await;
        if life.over.is_cancelled() {
            return Ok(None);
        }
        let archive = self.space.new_result(life.task);
        let outcome = Outcome { archive: archive.clone(), ..outcome? };
        let found = self.conclude(life.task, assignment, tee, &ready, &session, &scratch, outcome);
        match found.await {
            Ok(finding) => Ok(Some(finding)),
            Err(trouble) => {
                remove_file(&archive).await;
                Err(trouble)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that a run has brought together")]
    async fn conclude(
        &self,
        task: TaskId,
        assignment: Assignment,
        tee: &EnclaveTask,
        ready: &Ready,
        session: &Session,
        scratch: &Scratch,
        outcome: Outcome,
    ) -> Result<Finding, Trouble> {
        let finding = self.finding(assignment, &ready.facts, outcome)?;
        let is_secret = post::deliver(session, &scratch.archive(), &finding.archive).await?;
        let challenge = tee.enclave_challenge;
        let signature = post::sign(session, task, self.worker, challenge, finding.digest)?;
        let printed = if is_secret { withheld() } else { finding.printed };
        Ok(Finding { enclave: Some(EnclaveProof { challenge, signature }), printed, ..finding })
    }
}

/// Instead of what a program printed whose result is for the beneficiary's eyes only.
fn withheld() -> Printed {
    let said = "(withheld: the result is encrypted for its beneficiary)".to_owned();
    Printed { stdout_tail: said.clone(), stderr_tail: said }
}

/// The program's variables, as the session has them: all that the protocol names are there already.
fn environment(session: &Session) -> Result<Vec<EnvVar>, Trouble> {
    let missing = || {
        let cause = "TEE_SESSION_GENERATION_SECURE_SESSION_GENERATION_FAILED";
        Mishap::new(cause, "the session says nothing about the program", Blame::Worker)
    };
    let app = session.stage(Stage::App).ok_or_else(missing)?;
    let usable = |text: &str| !text.contains('\0');
    let variables = app.environment.iter().filter(|(name, value)| {
        !name.is_empty() && !name.contains('=') && usable(name) && usable(value.expose())
    });
    Ok(variables
        .map(|(name, value)| (name.clone(), Zeroizing::new(value.expose().clone())))
        .collect())
}
