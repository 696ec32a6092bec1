//! JSON-RPC over a websocket, with subscriptions.
//!
//! One task per socket reads requests, writes answers and tells of events. Requests run beside it, a bounded number at a
//! time. A client that does not read stops its own task at the write, and nothing piles up behind it: events wait in the
//! chain's feed, and what the feed has let go of is read from the tables.

use std::{collections::HashMap, sync::Arc};

use alloy_primitives::{B256, U64};
use alloy_rpc_types_eth::Filter;
use axum::extract::ws::{Message, WebSocket};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::{
    Answer, RequestError, Rpc,
    develop::REORG_MAX,
    http::{self, Request},
    logs::{logs_between, matching, wants_block},
    params::Params,
    shapes,
};
use crate::{
    feed::{Announced, Cursor, Event},
    storage::BlockHead,
};

/// Requests of one socket that run at the same time.
const REQUESTS_MAX: usize = 256;
/// Answers that may wait to be written.
const ANSWERS_MAX: usize = 256;
/// Subscriptions of one socket.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Blocks read at once when catching up.
const CATCH_UP_BLOCKS: u64 = 64;

enum Topic {
    NewHeads,
    Logs(Box<Filter>),
    Pending { full: bool },
}

struct Session {
    rpc: Rpc,
    socket: WebSocket,
    subscriptions: HashMap<u64, Topic>,
    next_id: u64,
    cursor: Cursor,
    /// The newest block told of.
    last: u64,
    last_hash: B256,
}

/// The peer is gone.
struct Closed;

/// Serves one socket until it closes.
pub(super) async fn serve(rpc: Rpc, socket: WebSocket) {
    let cursor = rpc.shared().feed.now();
    let head = rpc.head().block.clone();
    let (last, last_hash) = (head.header.number, head.hash);
    let session =
        Session { rpc, socket, subscriptions: HashMap::new(), next_id: 1, cursor, last, last_hash };
    // The peer going away is how every session ends.
    let Err(Closed) = session.run().await else { return };
}

impl Session {
    async fn run(mut self) -> Result<(), Closed> {
        let mut changes = self.rpc.shared().feed.changes();
        let (answers, mut answered) = mpsc::channel::<Vec<u8>>(ANSWERS_MAX);
        let running = Arc::new(Semaphore::new(REQUESTS_MAX));
        loop {
            tokio::select! {
                Some(answer) = answered.recv() => self.write(answer).await?,
                changed = changes.changed(), if !self.subscriptions.is_empty() => {
                    changed.map_err(|_| Closed)?;
                    self.tell().await?;
                }
                message = self.socket.next(), if running.available_permits() > 0 => {
                    let body = match message {
                        Some(Ok(Message::Text(text))) => axum::body::Bytes::from(text),
                        Some(Ok(Message::Binary(bytes))) => bytes,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                    };
                    if self.subscribes(&body).await? {
                        continue;
                    }
                    let (rpc, answers) = (self.rpc.clone(), answers.clone());
                    let Ok(permit) = running.clone().try_acquire_owned() else { continue };
                    tokio::spawn(async move {
                        if let Some(answer) = http::handle(&rpc, &body).await {
                            // The socket has closed: nobody waits for the answer.
                            drop(answers.send(answer).await);
                        }
                        drop(permit);
                    });
                }
            }
        }
    }

    /// Handles what concerns this socket's subscriptions. Says whether `body` did.
    async fn subscribes(&mut self, body: &[u8]) -> Result<bool, Closed> {
        // Looking for the word spares parsing every other request twice.
        if !body.windows(9).any(|it| it == b"subscribe") {
            return Ok(false);
        }
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return Ok(false) };
        let Ok(request) = http::read(value) else { return Ok(false) };
        let result = match request.method.as_str() {
            "eth_subscribe" => {
                // Older subscriptions are told what happened before the new one begins.
                self.tell().await?;
                self.subscribe(&request)
            }
            "eth_unsubscribe" => self.unsubscribe(&request),
            _ => return Ok(false),
        };
        self.write(http::one(request.id(), result)).await?;
        Ok(true)
    }

    fn subscribe(&mut self, request: &Request) -> Answer {
        let params = Params::new(request.params.clone())?;
        let topic = match params.get::<String>(0)?.as_str() {
            "newHeads" => Topic::NewHeads,
            "logs" => Topic::Logs(Box::new(params.opt(1)?.unwrap_or_default())),
            "newPendingTransactions" => Topic::Pending { full: params.opt(1)?.unwrap_or_default() },
            other => {
                let other: String = other.chars().take(80).collect();
                return Err(RequestError::params(format!(
                    "no {other:?} subscription in eth namespace"
                )));
            }
        };
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(RequestError::too_much(format!(
                "more than {SUBSCRIPTIONS_MAX} subscriptions"
            )));
        }
        if self.subscriptions.is_empty() {
            self.cursor = self.rpc.shared().feed.now();
            self.reached(&self.rpc.head().block.clone());
        }
        let id = self.next_id;
        self.next_id += 1;
        self.subscriptions.insert(id, topic);
        super::quantity(id)
    }

    fn unsubscribe(&mut self, request: &Request) -> Answer {
        let id = Params::new(request.params.clone())?.number(0)?;
        super::answer(self.subscriptions.remove(&id).is_some())
    }

    /// Tells all subscriptions what happened since the last time.
    async fn tell(&mut self) -> Result<(), Closed> {
        if self.subscriptions.is_empty() {
            return Ok(());
        }
        match self.rpc.shared().feed.since(self.cursor) {
            Ok((events, next)) => {
                self.cursor = next;
                for event in events {
                    self.tell_event(&event).await?;
                }
            }
            Err(behind) => {
                self.cursor = behind.resume;
                self.catch_up().await?;
            }
        }
        Ok(())
    }

    async fn tell_event(&mut self, event: &Event) -> Result<(), Closed> {
        let mut notes = Vec::new();
        match event {
            Event::Mined(block, announced) => {
                let number = block.head.header.number;
                // Told of already while catching up.
                if number <= self.last {
                    return Ok(());
                }
                self.reached(&block.head);
                for (id, topic) in &self.subscriptions {
                    match topic {
                        Topic::NewHeads => notes.push(note(*id, &shapes::header(&block.head))),
                        Topic::Logs(filter) if wants_block(filter, number) => {
                            let logs = matching(filter, &block.head, &block.transactions, false);
                            notes.extend(logs.iter().map(|log| note(*id, log)));
                        }
                        Topic::Pending { full: false } if *announced == Announced::No => {
                            notes.extend(block.transactions.iter().map(|tx| note(*id, &tx.hash())));
                        }
                        Topic::Logs(_) | Topic::Pending { .. } => {}
                    }
                }
            }
            Event::Removed(block) => {
                let number = block.head.header.number;
                if number <= self.last {
                    self.last = number.saturating_sub(1);
                    self.last_hash = block.head.header.parent_hash;
                }
                for (id, topic) in &self.subscriptions {
                    if let Topic::Logs(filter) = topic
                        && wants_block(filter, number)
                    {
                        let logs = matching(filter, &block.head, &block.transactions, true);
                        notes.extend(logs.iter().map(|log| note(*id, log)));
                    }
                }
            }
            Event::Pending(hash) => notes = self.pending(hash),
        }
        for note in notes {
            self.write(note).await?;
        }
        Ok(())
    }

    fn pending(&self, hash: &B256) -> Vec<Vec<u8>> {
        let mut notes = Vec::new();
        for (id, topic) in &self.subscriptions {
            match topic {
                Topic::Pending { full: false } => notes.push(note(*id, hash)),
                Topic::Pending { full: true } => {
                    let waiting = self.rpc.shared().pool.lock().get(hash).cloned();
                    notes.extend(waiting.map(|it| note(*id, &shapes::waiting(it.tx.clone()))));
                }
                Topic::NewHeads | Topic::Logs(_) => {}
            }
        }
        notes
    }

    /// Tells of the blocks that the feed no longer holds, from the tables.
    ///
    /// If the last one told of is gone, there was a reorganisation meanwhile: then heads are told again from as far back
    /// as one can reach, for a follower to find where its own chain ends.
    async fn catch_up(&mut self) -> Result<(), Closed> {
        let told = self.rpc.head().view.block(self.last).map_err(|_| Closed)?;
        if told.is_none_or(|it| it.hash != self.last_hash) {
            let newest = self.rpc.head().block.header.number;
            self.last = self.last.min(newest).saturating_sub(REORG_MAX);
        }
        loop {
            let head = self.rpc.head();
            let newest = head.block.header.number;
            if self.last >= newest {
                return Ok(());
            }
            let (from, to) = (self.last + 1, newest.min(self.last + CATCH_UP_BLOCKS));
            let mut notes = Vec::new();
            for number in from..=to {
                let Ok(Some(block)) = head.view.block(number) else { return Err(Closed) };
                self.notes_of_old_block(&block, &mut notes).map_err(|_| Closed)?;
                self.reached(&block);
            }
            for note in notes {
                self.write(note).await?;
            }
        }
    }

    fn notes_of_old_block(
        &self,
        block: &BlockHead,
        notes: &mut Vec<Vec<u8>>,
    ) -> Result<(), RequestError> {
        let number = block.header.number;
        for (id, topic) in &self.subscriptions {
            match topic {
                Topic::NewHeads => notes.push(note(*id, &shapes::header(block))),
                Topic::Logs(filter) if wants_block(filter, number) => {
                    let logs = logs_between(&self.rpc.head(), filter, number, number)?;
                    notes.extend(logs.iter().map(|log| note(*id, log)));
                }
                Topic::Logs(_) | Topic::Pending { .. } => {}
            }
        }
        Ok(())
    }

    fn reached(&mut self, head: &BlockHead) {
        self.last = head.header.number;
        self.last_hash = head.hash;
    }

    async fn write(&mut self, json: Vec<u8>) -> Result<(), Closed> {
        let text = String::from_utf8(json).map_err(|_| Closed)?;
        self.socket.send(Message::Text(text.into())).await.map_err(|_| Closed)
    }
}

fn note(subscription: u64, result: &impl serde::Serialize) -> Vec<u8> {
    let note = json!({
        "jsonrpc": "2.0",
        "method": "eth_subscription",
        "params": { "subscription": U64::from(subscription), "result": result },
    });
    serde_json::to_vec(&note).unwrap_or_default()
}
