//! A worker that runs nothing: it knows the answer, or what it says instead.

use alloy_primitives::{B256, Bytes, keccak256};
use chain::{Wallet, calls};
use primitives::{ResultDigest, TaskId};
use tokio::task::JoinHandle;
use verdict::{result_hash, result_seal};
use wire::Failure;
use wire::link::{
    Blame, Capabilities, ClientConfig, LinkClient, LinkError, RunFailure, ToScheduler, ToWorker,
    WorkerLink,
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
    /// Takes tasks and says nothing.
    Silent,
    /// Leaves when it is given a task.
    Leaving,
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
        let link = connect(market, desk, &wallet).await.unwrap();
        let uploads = SchedulerClient::new(&desk.origin, market.client.chain_id()).unwrap();
        let life = Life { wallet: wallet.clone(), manner, uploads };
        Self { wallet, running: tokio::spawn(life.run(link)) }
    }
}

pub(crate) async fn connect(
    market: &Market,
    desk: &Desk,
    wallet: &Wallet,
) -> Result<WorkerLink, LinkError> {
    let config = ClientConfig {
        scheduler: desk.origin.clone(),
        workerpool: market.workerpool,
        pool_owner: market.pool_owner.address(),
        chain_id: market.client.chain_id(),
        hub: market.client.hub(),
        signer: wallet.signer().clone(),
        capabilities: Capabilities {
            cpus: 1,
            memory_bytes: 1 << 30,
            slots: 4,
            runtimes: vec!["wasm".into()],
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
}

impl Life {
    async fn run(self, mut link: WorkerLink) {
        while let Some(Ok(message)) = link.receiver.recv().await {
            match message {
                ToWorker::Assign { task_id, .. } => {
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
                ToWorker::Reveal { task_id } => {
                    let hub = self.wallet.client().hub();
                    let call = calls::reveal(hub, task_id, self.digest());
                    self.wallet.execute(call).await.unwrap();
                    let location = self.upload(&link, task_id).await;
                    let callback_data = Bytes::new();
                    let told = ToScheduler::Uploaded { task_id, location, callback_data };
                    link.sender.send(&told).await.unwrap();
                }
                ToWorker::Release { .. } | ToWorker::Settle { .. } => {}
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
            Manner::Honest | Manner::Lying => Some(ToScheduler::Computed {
                task_id,
                result_hash: result_hash(task_id, self.digest()),
                stdout_tail: String::new(),
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
        let digest = self.digest();
        let request = if alone {
            let location = self.upload(link, task).await;
            let text = format!("{{ \"storage\": \"ipfs\", \"location\": \"{location}\" }}");
            let results = Bytes::from(text.into_bytes());
            calls::contribute_and_finalize(hub, task, digest, results, Bytes::new(), authorization)
        } else {
            let (hash, worker) = (result_hash(task, digest), self.wallet.address());
            calls::contribute(hub, task, hash, result_seal(worker, task, digest), authorization)
        };
        self.wallet.send(request).await.unwrap();
    }

    async fn upload(&self, link: &WorkerLink, task: TaskId) -> String {
        let zip = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(zip.path(), b"a result").unwrap();
        self.uploads.upload_result(task, &link.token, zip.path()).await.unwrap()
    }
}
