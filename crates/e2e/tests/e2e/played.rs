//! Workers that somebody could write: they speak the link like any other, stake like any other, and do not do their part.
//!
//! They run nothing. What the program prints is known to them, so they can be right without.

use alloy_primitives::{Address, keccak256};
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result};
use chain::{Client, Wallet, calls};
use primitives::{ResultDigest, TaskId};
use testkit::Apart;
use tokio::task::JoinHandle;
use verdict::{result_hash, result_seal};
use wire::link::{Capabilities, ClientConfig, LinkClient, ToScheduler, ToWorker, WorkerLink};

/// How a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Wrong.
    Lying,
    /// Right, and does not reveal what it contributed, unless [`Played::reveal`] is called.
    Unrevealing,
    /// Right, and reveals, and brings no result.
    Withholding,
    /// Announces what is right and contributes something else.
    Equivocating,
}

/// A worker at the link. Gone when dropped.
pub(crate) struct Played {
    wallet: Wallet,
    right: ResultDigest,
    running: JoinHandle<Result<()>>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Played {
    /// Joins the market's workerpool. `right` is what honest workers will find.
    pub(crate) async fn join(
        market: &Apart,
        signer: PrivateKeySigner,
        manner: Manner,
        right: ResultDigest,
    ) -> Result<Self> {
        let client = market.client().await?;
        let wallet = Wallet::new(&client, signer.clone()).await?;
        let workerpool = market.workerpool()?;
        let config = ClientConfig {
            scheduler: market.direct("scheduler")?,
            workerpool,
            pool_owner: client.workerpool(workerpool).await?.owner,
            chain_id: client.chain_id(),
            hub: client.hub(),
            signer,
            capabilities: Capabilities {
                cpus: 4,
                memory_bytes: 1 << 32,
                slots: 1,
                runtimes: vec!["wasm".into()],
                ..Capabilities::default()
            },
            holding: Vec::new(),
        };
        let link = LinkClient::connect(&config).await?;
        let life = Life { wallet: wallet.clone(), manner, right };
        Ok(Self { wallet, right, running: tokio::spawn(life.run(link)) })
    }

    pub(crate) fn address(&self) -> Address {
        self.wallet.address()
    }

    /// Reveals after all, whoever is there to hear it.
    pub(crate) async fn reveal(&self, task: TaskId) -> Result<()> {
        let hub = self.wallet.client().hub();
        self.wallet.execute(calls::reveal(hub, task, self.right)).await?;
        Ok(())
    }
}

struct Life {
    wallet: Wallet,
    manner: Manner,
    right: ResultDigest,
}

impl Life {
    async fn run(self, mut link: WorkerLink) -> Result<()> {
        while let Some(message) = link.receiver.recv().await {
            match message.context("the link broke")? {
                ToWorker::Assign { task_id, .. } => {
                    let result_hash = result_hash(task_id, self.announced());
                    let (stdout_tail, stderr_tail) = Default::default();
                    let computed =
                        ToScheduler::Computed { task_id, result_hash, stdout_tail, stderr_tail };
                    link.sender.send(&computed).await?;
                }
                ToWorker::Contribute { task_id, authorization, .. } => {
                    let (client, digest) = (self.client(), self.contributed());
                    let hash = result_hash(task_id, digest);
                    let seal = result_seal(self.wallet.address(), task_id, digest);
                    let call = calls::contribute(client.hub(), task_id, hash, seal, authorization);
                    self.wallet.execute(call).await?;
                }
                ToWorker::Reveal { task_id } if self.manner == Manner::Withholding => {
                    let call = calls::reveal(self.client().hub(), task_id, self.right);
                    self.wallet.execute(call).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn client(&self) -> &Client {
        self.wallet.client()
    }

    fn announced(&self) -> ResultDigest {
        if self.manner == Manner::Lying { self.wrong() } else { self.right }
    }

    fn contributed(&self) -> ResultDigest {
        if self.manner == Manner::Equivocating { self.wrong() } else { self.announced() }
    }

    fn wrong(&self) -> ResultDigest {
        ResultDigest(keccak256(self.wallet.address()))
    }
}
