//! What must survive a restart: contributions whose stake is at risk, and what it takes to reveal and upload; and
//! batches on their way to be settled, so that nothing of them is computed twice.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, Bytes};
use chain::calls::EnclaveProof;
use primitives::{Nrlc, TaskId};
use store::{Change, Store, WorkRow};

use crate::table::{Assignment, Finding, Member, Printed};

/// A contribution that others decide on. Whether it arrived and was revealed, the chain knows better.
const CONTRIBUTED: &str = "contributed";
/// Part of a batch. Whether it was settled, the chain knows better.
const SETTLING: &str = "settling";

/// A row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) task: TaskId,
    pub(crate) finding: Finding,
    /// How long ago it was written.
    pub(crate) age: Duration,
}

/// One worker's journal.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    store: Store,
    worker: Address,
}

impl Journal {
    pub(crate) fn new(store: Store, worker: Address) -> Self {
        Self { store, worker }
    }

    /// Notes it. When this returns it survives the process.
    pub(crate) async fn note(&self, task: TaskId, finding: &Finding) -> Result<(), store::Error> {
        self.store.put_work(self.row(task, finding, CONTRIBUTED)).await
    }

    /// Notes one that nobody else has to agree on, as a batch of its own.
    pub(crate) async fn note_alone(
        &self,
        task: TaskId,
        finding: &Finding,
    ) -> Result<(), store::Error> {
        self.store.put_work(self.row(task, finding, SETTLING)).await
    }

    /// Notes a batch, all of it or nothing.
    pub(crate) async fn note_batch(&self, members: &[Member]) -> Result<(), store::Error> {
        let row = |member: &Member| {
            Change::PutWork(Box::new(self.row(member.life.task, &member.finding, SETTLING)))
        };
        self.store.apply(members.iter().map(row).collect()).await
    }

    /// Strikes out a batch.
    pub(crate) async fn strike_batch(&self, members: &[Member]) {
        let gone =
            |member: &Member| Change::RemoveWork { worker: self.worker, task: member.life.task };
        if let Err(error) = self.store.apply(members.iter().map(gone).collect()).await {
            tracing::warn!(%error, "a batch that is settled stays in the journal");
        }
    }

    fn row(&self, task: TaskId, finding: &Finding, state: &str) -> WorkRow {
        WorkRow {
            worker: self.worker,
            task,
            deal: finding.assignment.deal,
            index: finding.assignment.index,
            state: state.to_owned(),
            digest: finding.digest,
            archive: finding.archive.to_string_lossy().into_owned(),
            callback: finding.callback_data.clone(),
            enclave: finding.enclave.as_ref().map(packed).unwrap_or_default(),
            location: String::new(),
            changed_ms: now_ms(),
        }
    }

    /// Strikes it out. A row that stays is found and judged at the next start.
    pub(crate) async fn strike(&self, task: TaskId) {
        if let Err(error) = self.store.remove_work(self.worker, task).await {
            tracing::warn!(%task, %error, "a finished task stays in the journal");
        }
    }

    /// What is noted of a task, if anything is and can be read.
    pub(crate) async fn find(&self, task: TaskId) -> Option<Finding> {
        match self.store.work(self.worker, task).await {
            Ok(row) => row.map(finding),
            Err(error) => {
                tracing::warn!(%task, %error, "what was promised cannot be read");
                None
            }
        }
    }

    /// All that is noted.
    pub(crate) async fn all(&self) -> Result<Vec<Row>, store::Error> {
        let rows = self.store.work_of(self.worker).await?;
        let now = now_ms();
        let read = |row: WorkRow| Row {
            task: row.task,
            age: Duration::from_millis(now.saturating_sub(row.changed_ms)),
            finding: finding(row),
        };
        Ok(rows.into_iter().map(read).collect())
    }
}

fn finding(row: WorkRow) -> Finding {
    Finding {
        assignment: Assignment { deal: row.deal, index: row.index },
        digest: row.digest,
        archive: PathBuf::from(row.archive),
        callback: Address::ZERO,
        callback_data: row.callback,
        needs_one: row.state == SETTLING,
        stake: Nrlc::ZERO,
        printed: Printed::default(),
        enclave: unpacked(&row.enclave),
    }
}

/// The key's address and the signature. Both go to the chain: there is no secret in them.
fn packed(enclave: &EnclaveProof) -> Bytes {
    [enclave.challenge.as_slice(), &enclave.signature].concat().into()
}

fn unpacked(row: &Bytes) -> Option<EnclaveProof> {
    let (challenge, signature) = row.split_at_checked(Address::len_bytes())?;
    let (challenge, signature) = (Address::from_slice(challenge), signature.to_vec().into());
    Some(EnclaveProof { challenge, signature })
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
