//! A worker that runs nothing: it knows the answer, or what it says instead.

use std::collections::HashMap;

use alloy_primitives::{B256, Bytes, U256, keccak256};
use chain::calls::Settlement;
use chain::{Wallet, calls};
use parking_lot::Mutex;
use primitives::{DealId, ResultDigest, TaskId};
use tokio::task::JoinHandle;
use verdict::{result_hash, result_seal};
use wire::Failure;
use wire::link::{
    Blame, Capabilities, ClientConfig, Enclave, LinkClient, LinkError, RunFailure, ToScheduler,
    ToWorker, WorkerLink,
};
use wire::scheduler::SchedulerClient;

use crate::market::{Desk, Market};

/// How a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Right.
    Honest,
    /// Wrong.
    Lying,
    /// Says that the program failed.
    Failing(Blame),
    /// Right, and does not reveal what it contributed.
    Unrevealing,
    /// Right, and reveals, and does not bring the result.
    Withholding,
    /// Announces what is right and contributes something else.
    Equivocating,
    /// Takes tasks and says nothing.
    Silent,
    /// Leaves when it is given a task.
    Leaving,
    /// Right, and settles many tasks with one transaction.
    Settling,
    /// Right, and has no luck with settling.
    Unsettling,
    /// Right, and leaves when it is told to settle.
    LeavingUnsettled,
}

impl Manner {
    fn settles(self) -> bool {
        matches!(self, Self::Settling | Self::Unsettling | Self::LeavingUnsettled)
    }
}

pub(crate) struct FakeWorker {
    pub(crate) wallet: Wallet,
    running: JoinHandle<()>,
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl FakeWorker {
    /// A worker with the wallet of that development account and 1,000 RLC of stake.
    pub(crate) async fn start(market: &Market, desk: &Desk, index: usize, manner: Manner) -> Self {
        let wallet = Wallet::new(&market.client, market.signer(index)).await.unwrap();
        market.stake(&wallet, 1_000).await;
        let link = connect_as(market, desk, &wallet, manner.settles(), None).await.unwrap();
        let uploads = SchedulerClient::new(&desk.origin, market.client.chain_id()).unwrap();
        let indices = Mutex::default();
        let life = Life { wallet: wallet.clone(), manner, uploads, indices };
        Self { wallet, running: tokio::spawn(life.run(link)) }
    }
}

pub(crate) async fn connect(
    market: &Market,
    desk: &Desk,
    wallet: &Wallet,
) -> Result<WorkerLink, LinkError> {
    connect_as(market, desk, wallet, false, None).await
}

pub(crate) async fn connect_as(
    market: &Market,
    desk: &Desk,
    wallet: &Wallet,
    settles: bool,
    tee: Option<Enclave>,
) -> Result<WorkerLink, LinkError> {
    let config = ClientConfig {
        scheduler: desk.origin.clone(),
        workerpool: market.workerpool,
        pool_owner: market.pool_owner.address(),
        chain_id: market.client.chain_id(),
        hub: market.client.hub(),
        signer: wallet.signer().clone(),
        capabilities: Capabilities {
            cpus: 4,
            memory_bytes: 1 << 32,
            slots: 4,
            runtimes: vec!["wasm".into()],
            settles,
            tee,
            ..Capabilities::default()
        },
        holding: Vec::new(),
    };
    LinkClient::connect(&config).await
}

struct Life {
    wallet: Wallet,
    manner: Manner,
    uploads: SchedulerClient,
    indices: Mutex<HashMap<TaskId, U256>>,
}

impl Life {
    async fn run(self, mut link: WorkerLink) {
        while let Some(Ok(message)) = link.receiver.recv().await {
            match message {
                ToWorker::Assign { task_id, index, .. } => {
                    self.indices.lock().insert(task_id, U256::from(index));
                    if self.manner == Manner::Leaving {
                        return;
                    }
                    if let Some(answer) = self.found(task_id) {
                        link.sender.send(&answer).await.unwrap();
                    }
                }
                ToWorker::Contribute { task_id, authorization, .. } => {
                    self.contribute(&link, task_id, authorization).await;
                }
                ToWorker::Reveal { .. } if self.manner == Manner::Unrevealing => {}
                ToWorker::Reveal { task_id } => {
                    let hub = self.wallet.client().hub();
                    let call = calls::reveal(hub, task_id, self.digest());
                    self.wallet.execute(call).await.unwrap();
                    if self.manner == Manner::Withholding {
                        continue;
                    }
                    let location = self.upload(&link, task_id).await;
                    let callback_data = Bytes::new();
                    let told = ToScheduler::Uploaded { task_id, location, callback_data };
                    link.sender.send(&told).await.unwrap();
                }
                ToWorker::Settle { deal_id, task_ids, authorization } => match self.manner {
                    Manner::LeavingUnsettled => return,
                    Manner::Unsettling => {
                        let reason = "no luck".to_owned();
                        let told = ToScheduler::Unsettled { task_ids, reason };
                        link.sender.send(&told).await.unwrap();
                    }
                    _ => self.settle(&link, deal_id, task_ids, authorization).await,
                },
                ToWorker::Release { .. } => {}
            }
        }
    }

    fn digest(&self) -> ResultDigest {
        let answer: B256 = match self.manner {
            Manner::Lying => keccak256(self.wallet.address()),
            _ => keccak256("the answer"),
        };
        ResultDigest(answer)
    }

    fn found(&self, task_id: TaskId) -> Option<ToScheduler> {
        match self.manner {
            Manner::Honest
            | Manner::Unrevealing
            | Manner::Withholding
            | Manner::Equivocating
            | Manner::Lying
            | Manner::Settling
            | Manner::Unsettling
            | Manner::LeavingUnsettled => Some(ToScheduler::Computed {
                task_id,
                result_hash: result_hash(task_id, self.digest()),
                stdout_tail: "it says hello".into(),
                stderr_tail: String::new(),
            }),
            Manner::Failing(blame) => Some(ToScheduler::Failed {
                task_id,
                failure: RunFailure {
                    failure: Failure::new("GM-1001", "the program trapped", "mend the program"),
                    exit_code: Some(3),
                    stdout_tail: String::new(),
                    stderr_tail: "its last words".into(),
                    blame,
                },
            }),
            Manner::Silent | Manner::Leaving => None,
        }
    }

    async fn contribute(&self, link: &WorkerLink, task: TaskId, authorization: Bytes) {
        let (client, hub) = (self.wallet.client(), self.wallet.client().hub());
        let deal = client.task(task).await.unwrap().deal;
        let alone = client.deal(deal).await.unwrap().trust == alloy_primitives::U256::ONE;
        let digest = match self.manner {
            Manner::Equivocating => ResultDigest(keccak256("another answer")),
            _ => self.digest(),
        };
        let request = if alone {
            let results = self.results(link, task).await;
            calls::contribute_and_finalize(hub, task, digest, results, Bytes::new(), authorization)
        } else {
            let (hash, worker) = (result_hash(task, digest), self.wallet.address());
            calls::contribute(hub, task, hash, result_seal(worker, task, digest), authorization)
        };
        self.wallet.send(request).await.unwrap();
    }

    async fn settle(
        &self,
        link: &WorkerLink,
        deal: DealId,
        tasks: Vec<TaskId>,
        authorization: Bytes,
    ) {
        let mut items = Vec::new();
        for task in &tasks {
            let index = self.indices.lock().get(task).copied().unwrap();
            let results = self.results(link, *task).await;
            items.push(Settlement { index, digest: self.digest(), results });
        }
        let request = calls::settle(self.wallet.client().hub(), deal, items, authorization);
        let tx_hash = self.wallet.send(request).await.unwrap().hash();
        for task_id in tasks {
            let told = ToScheduler::Contributed { task_id, tx_hash };
            link.sender.send(&told).await.unwrap();
        }
    }

    /// The result is uploaded; this is what the chain keeps of it.
    async fn results(&self, link: &WorkerLink, task: TaskId) -> Bytes {
        let location = self.upload(link, task).await;
        let text = format!("{{ \"storage\": \"ipfs\", \"location\": \"{location}\" }}");
        Bytes::from(text.into_bytes())
    }

    async fn upload(&self, link: &WorkerLink, task: TaskId) -> String {
        let zip = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(zip.path(), b"a result").unwrap();
        self.uploads.upload_result(task, &link.token, zip.path()).await.unwrap()
    }
}
