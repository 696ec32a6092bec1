//! Sends transactions for the loop, and tells it which did not do their work.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use chain::{TxRequest, calls};
use primitives::{DealId, TaskId};
use tasks::{Call, Event};
use tokio::sync::mpsc;

use crate::config::Config;

/// Transactions to be sent.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    Initialize(Vec<(TaskId, DealId, U256)>),
    /// Past their deadline: initialised only to be claimed.
    Bury(Vec<(TaskId, DealId, U256)>),
    Claim(Vec<TaskId>),
    One {
        request: Box<TxRequest>,
        task: TaskId,
        call: Call,
        /// Whether a contract receives the result with it.
        calls_back: bool,
    },
}

impl Outgoing {
    fn request(&self, hub: Address) -> TxRequest {
        match self {
            Self::Initialize(tasks) => {
                let pairs: Vec<_> = tasks.iter().map(|(_, deal, index)| (*deal, *index)).collect();
                calls::initialize_array(hub, &pairs)
            }
            Self::Bury(tasks) => {
                let pairs: Vec<_> = tasks.iter().map(|(_, deal, index)| (*deal, *index)).collect();
                calls::initialize_and_claim_array(hub, &pairs)
            }
            Self::Claim(tasks) => calls::claim_array(hub, tasks),
            Self::One { request, .. } => (**request).clone(),
        }
    }

    /// The same one by one: a batch fails when a single part of it does. Nothing if it is a single one.
    fn parts(&self) -> Vec<Self> {
        match self {
            Self::Initialize(tasks) if tasks.len() > 1 => {
                tasks.iter().map(|task| Self::Initialize(vec![*task])).collect()
            }
            // The chain's clock may be behind ours, and then the claim is what it refuses.
            Self::Bury(tasks) => tasks.iter().map(|task| Self::Initialize(vec![*task])).collect(),
            Self::Claim(tasks) if tasks.len() > 1 => {
                tasks.iter().map(|task| Self::Claim(vec![*task])).collect()
            }
            Self::Initialize(_) | Self::Claim(_) | Self::One { .. } => Vec::new(),
        }
    }

    fn calls(&self) -> Vec<(TaskId, Call)> {
        match self {
            Self::Initialize(tasks) | Self::Bury(tasks) => {
                tasks.iter().map(|(task, ..)| (*task, Call::Initialize)).collect()
            }
            Self::Claim(tasks) => tasks.iter().map(|task| (*task, Call::Claim)).collect(),
            Self::One { task, call, .. } => vec![(*task, *call)],
        }
    }
}

/// Sends transactions one after the other, without waiting for any to be mined.
pub(super) struct Outbox {
    pub(super) config: Config,
    pub(super) again: mpsc::Sender<Outgoing>,
    pub(super) answers: mpsc::Sender<(TaskId, Event)>,
}

impl Outbox {
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Outgoing>) {
        let this = Arc::new(self);
        while let Some(outgoing) = queue.recv().await {
            let mut request = outgoing.request(this.config.client.hub());
            if matches!(outgoing, Outgoing::One { calls_back: true, .. }) {
                request = this.config.client.calling_back(request).await;
            }
            match this.config.wallet.send(request).await {
                Ok(pending) => {
                    let this = Arc::clone(&this);
                    tokio::spawn(async move {
                        if let Err(error) = pending.mined().await {
                            this.failed(&outgoing, &error).await;
                        }
                    });
                }
                Err(error) => this.failed(&outgoing, &error).await,
            }
        }
    }

    async fn failed(&self, outgoing: &Outgoing, error: &chain::Error) {
        let parts = outgoing.parts();
        if !parts.is_empty() && parts.into_iter().all(|part| self.again.try_send(part).is_ok()) {
            return;
        }
        for (task, call) in outgoing.calls() {
            tracing::warn!(%task, ?call, %error, "the chain refused a transaction");
            if self.answers.send((task, Event::Refused { call })).await.is_err() {
                return;
            }
        }
    }
}
