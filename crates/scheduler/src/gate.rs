//! The door for workers: who may come in, and what they say once inside.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use wire::Failure;
use wire::link::{
    Arrival, Capabilities, Gate, Identity, LinkReceiver, LinkSender, SchedulerLink, ToScheduler,
    ToWorker,
};

use crate::books::Books;
use crate::config::Config;

/// News of a worker.
#[derive(Debug)]
pub(crate) enum WorkerNews {
    /// It has logged in.
    Joined {
        worker: Address,
        connection: u64,
        capabilities: Capabilities,
        score: U256,
        holding: Vec<primitives::TaskId>,
        sender: LinkSender<ToWorker>,
    },
    /// It said something.
    Said { worker: Address, connection: u64, message: ToScheduler },
    /// Its connection ended.
    Left { worker: Address, connection: u64 },
}

/// The door.
pub(crate) struct Doorkeeper {
    identity: Identity,
    config: Config,
    books: Arc<Mutex<Books>>,
    tokens: Tokens,
    news: mpsc::Sender<WorkerNews>,
    connections: AtomicU64,
}

/// A worker asks for no more than this, however many it claims to be able to run.
const SLOTS_MAX: u32 = 1_024;

impl Doorkeeper {
    pub(crate) fn new(
        config: Config,
        books: Arc<Mutex<Books>>,
        news: mpsc::Sender<WorkerNews>,
    ) -> Self {
        let identity = Identity {
            workerpool: config.workerpool,
            chain_id: config.client.chain_id(),
            hub: config.client.hub(),
            signer: config.wallet.signer().clone(),
        };
        let connections = AtomicU64::new(0);
        Self { identity, config, books, tokens: Tokens::default(), news, connections }
    }

    /// Whose token that is.
    pub(crate) fn bearer(&self, token: &str) -> Option<Address> {
        self.tokens.worker(token)
    }

    async fn listen(
        &self,
        worker: Address,
        connection: u64,
        receiver: &mut LinkReceiver<ToScheduler>,
    ) {
        let mut pace = Pace::new(self.config.limits.messages_per_second);
        while let Some(heard) = receiver.recv().await {
            let message = match heard {
                Ok(message) => message,
                Err(error) => {
                    tracing::info!(%worker, %error, "a worker's connection broke");
                    return;
                }
            };
            if !pace.allows(Instant::now()) {
                tracing::warn!(%worker, "a worker talks too much and is sent away");
                return;
            }
            let said = WorkerNews::Said { worker, connection, message };
            if self.news.send(said).await.is_err() {
                return;
            }
        }
    }
}

#[async_trait]
impl Gate for Doorkeeper {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn admit(&self, arrival: &Arrival) -> Result<String, Failure> {
        let worker = arrival.worker;
        if self.config.workers.as_ref().is_some_and(|allowed| !allowed.contains(&worker)) {
            return Err(Failure::new(
                "GM-4204",
                format!("workerpool {} does not take {worker}", self.config.workerpool),
                "ask the pool's owner to add this wallet",
            ));
        }
        let (count, known) = {
            let books = self.books.lock();
            (books.worker_count(), books.is_connected(worker))
        };
        if count >= self.config.limits.workers_max && !known {
            return Err(Failure::new(
                "GM-4205",
                format!("workerpool {} has all the workers it can take", self.config.workerpool),
                "try again later, or join another workerpool",
            ));
        }
        // Nobody who holds the books waits for the tokens.
        Ok(self.tokens.issue(worker, |other| self.books.lock().is_connected(other)))
    }

    async fn joined(&self, link: SchedulerLink) {
        let SchedulerLink { arrival, sender, mut receiver } = link;
        let Arrival { worker, capabilities, holding } = arrival;
        let mut capabilities = capabilities.bounded();
        capabilities.slots = capabilities.slots.min(SLOTS_MAX);
        let score = match self.config.client.score(worker).await {
            Ok(score) => score,
            Err(error) => {
                tracing::warn!(%worker, %error, "a worker's score cannot be read; it counts as fresh");
                U256::ZERO
            }
        };
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let joined =
            WorkerNews::Joined { worker, connection, capabilities, score, holding, sender };
        if self.news.send(joined).await.is_ok() {
            self.listen(worker, connection, &mut receiver).await;
            // Fails only when the scheduler has stopped, and then nobody needs to know.
            let _ = self.news.send(WorkerNews::Left { worker, connection }).await;
        }
    }
}

/// One token for each wallet, the newest.
#[derive(Default)]
struct Tokens {
    by_token: Mutex<HashMap<String, Address>>,
}

/// Tokens that are remembered, but for those of connected workers. Wallets cost nothing, and each may log in once.
const TOKENS_MAX: usize = 4_096;

impl Tokens {
    fn issue(&self, worker: Address, is_connected: impl Fn(Address) -> bool) -> String {
        let token = format!("{:x}", B256::random());
        let mut by_token = self.by_token.lock();
        by_token.retain(|_, its| *its != worker);
        if by_token.len() >= TOKENS_MAX {
            by_token.retain(|_, its| is_connected(*its));
        }
        by_token.insert(token.clone(), worker);
        token
    }

    fn worker(&self, token: &str) -> Option<Address> {
        self.by_token.lock().get(token).copied()
    }
}

/// How much somebody says.
struct Pace {
    per_second: u32,
    since: Option<Instant>,
    count: u32,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { per_second, since: None, count: 0 }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let fresh =
            self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1));
        if fresh {
            self.since = Some(now);
            self.count = 0;
        }
        self.count += 1;
        self.count <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_may_say_so_much_each_second() {
        let (mut pace, start) = (Pace::new(2), Instant::now());
        let mut said = |millis| pace.allows(start + Duration::from_millis(millis));
        assert_eq!([said(0), said(1), said(2)], [true, true, false]);
        assert_eq!([said(1_001), said(1_002), said(1_003)], [true, true, false]);
    }

    #[test]
    fn a_new_token_takes_the_old_ones_place() {
        let (tokens, worker) = (Tokens::default(), Address::repeat_byte(1));
        let (first, second) = (tokens.issue(worker, |_| false), tokens.issue(worker, |_| false));
        assert_eq!((tokens.worker(&first), tokens.worker(&second)), (None, Some(worker)));
        assert_eq!(tokens.worker("guess"), None);
    }

    #[test]
    fn tokens_of_those_who_came_once_do_not_gather() {
        let (tokens, staying) = (Tokens::default(), Address::repeat_byte(1));
        let is_connected = |worker| worker == staying;
        let held = tokens.issue(staying, is_connected);
        for number in 0..=TOKENS_MAX {
            tokens.issue(Address::left_padding_from(&number.to_be_bytes()), is_connected);
        }
        assert!(tokens.by_token.lock().len() <= TOKENS_MAX);
        assert_eq!(tokens.worker(&held), Some(staying));
    }
}
