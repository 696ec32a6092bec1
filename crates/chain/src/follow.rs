//! Following the chain: every block once and in order, whatever happens to the node or to the chain.
//!
//! ```text
//!   node ──newHeads──► Live (one per client) ──broadcast──► Follower A (cursor a)
//!        ◄─getLogs───┘                                 └──► Follower B (cursor b) ──reads ranges while behind──► node
//! ```
//!
//! A [`Tracker`] knows the last block it has told of and a window of those before. Given a head it yields what lies
//! between: blocks, or first a [`Update::Rewound`] when the chain has replaced some of what was told. `Live` runs one
//! tracker at the head; each follower runs one of its own until it has caught up and again if it falls behind the
//! broadcast, so a slow reader loses time and never events.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use alloy_primitives::B256;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::blocks::{Header, MarketBlock, Reader};
use crate::error::{ErrorKind, Result};
use crate::rpc::Lagged;

/// Blocks remembered to find where a replaced branch began. No chain that we run on replaces more.
const WINDOW: usize = 1024;
/// Most blocks in one question for logs; halved when a node finds that too many.
const SPAN_MAX: u64 = 1_000;
/// Most pushes taken at once.
const PUSHES_MAX: usize = 1_000;
/// Updates kept for followers that are busy.
const KEPT: usize = 1_024;
/// Updates waiting in one follower's own queue.
const QUEUE: usize = 64;
/// A push connection that says nothing for this long is checked by asking.
const SILENCE: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A place in the chain: everything up to and including this block has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Height of the last block seen.
    pub number: u64,
    /// Its hash; zero if not known, and then it is taken on trust.
    pub hash: B256,
}

impl Cursor {
    /// Before everything.
    pub const START: Self = Self { number: 0, hash: B256::ZERO };
}

impl From<&MarketBlock> for Cursor {
    fn from(block: &MarketBlock) -> Self {
        Self { number: block.number, hash: block.hash }
    }
}

/// News of the chain.
#[derive(Debug, Clone)]
pub enum Update {
    /// The next block. While catching up, blocks without events are left out.
    Block(Arc<MarketBlock>),
    /// Blocks after this one are no longer part of the chain; those in their place follow. Some of them may be the
    /// same as before, so what they bring must be taken idempotently.
    Rewound {
        /// The last block that still holds.
        to: Cursor,
    },
}

impl Update {
    /// Where the reader is once it has dealt with this update: the cursor to keep.
    pub fn cursor(&self) -> Cursor {
        match self {
            Self::Block(block) => Cursor::from(&**block),
            Self::Rewound { to } => *to,
        }
    }
}

/// A reader's queue of updates. Also a [`futures::Stream`]. Ends when the client is dropped.
pub struct Follower {
    updates: mpsc::Receiver<Update>,
}

impl Follower {
    /// The next update; safe to use in `select!`.
    pub async fn next(&mut self) -> Option<Update> {
        self.updates.recv().await
    }
}

impl futures::Stream for Follower {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        self.updates.poll_recv(cx)
    }
}

/// Between what was told and what is true now.
struct Tracker {
    reader: Reader,
    /// Ascending; the last is where we are. Never empty.
    seen: VecDeque<Cursor>,
    span: u64,
}

/// A bounded piece of the way to a head.
struct Step {
    updates: Vec<Update>,
    arrived: bool,
}

impl Step {
    fn blocks(blocks: Vec<MarketBlock>, arrived: bool) -> Self {
        let updates = blocks.into_iter().map(|block| Update::Block(Arc::new(block))).collect();
        Self { updates, arrived }
    }

    fn rewound(to: Cursor) -> Self {
        Self { updates: vec![Update::Rewound { to }], arrived: false }
    }
}

impl Tracker {
    fn new(reader: Reader, from: Cursor) -> Self {
        Self { reader, seen: VecDeque::from([from]), span: SPAN_MAX }
    }

    fn at(&self) -> Cursor {
        self.seen.back().copied().unwrap_or(Cursor::START)
    }

    fn knows(&self, cursor: Cursor) -> bool {
        self.seen
            .binary_search_by_key(&cursor.number, |seen| seen.number)
            .is_ok_and(|index| self.seen[index].hash == cursor.hash)
    }

    /// Takes in an update made by another tracker, if it fits onto what is known here.
    fn accept(&mut self, update: &Update) -> Accepted {
        let at = self.at();
        match update {
            Update::Block(block) if block.parent == at.hash && block.number > at.number => {
                self.push(Cursor::from(&**block));
                Accepted::News
            }
            Update::Block(block) if self.knows(Cursor::from(&**block)) => Accepted::Known,
            Update::Rewound { to } if to.number < at.number && self.knows(*to) => {
                self.rewind(*to);
                Accepted::News
            }
            Update::Rewound { to } if to.number >= at.number => Accepted::Known,
            Update::Block(_) | Update::Rewound { .. } => Accepted::Misfit,
        }
    }

    fn push(&mut self, cursor: Cursor) {
        if self.seen.len() == WINDOW {
            self.seen.pop_front();
        }
        self.seen.push_back(cursor);
    }

    fn rewind(&mut self, to: Cursor) {
        while self.seen.back().is_some_and(|seen| seen.number >= to.number) {
            self.seen.pop_back();
        }
        self.seen.push_back(to);
    }

    /// One piece of the way to the last of these heads. They are as pushed: usually each the child of the one before.
    async fn step(&mut self, heads: &[Header]) -> Result<Step> {
        let at = self.at();
        let Some(head) = heads.last() else {
            return Ok(Step::blocks(Vec::new(), true));
        };
        // A genesis block's parent is zero, as is a hash not known: hence the number too.
        let fresh = heads
            .iter()
            .position(|header| header.parent_hash == at.hash && header.number() == at.number + 1);
        if let Some(linked) = fresh.map(|first| &heads[first..])
            && linked.windows(2).all(|pair| pair[1].parent_hash == pair[0].hash)
        {
            let blocks = self.reader.blocks(linked).await?;
            blocks.iter().for_each(|block| self.push(Cursor::from(block)));
            return Ok(Step::blocks(blocks, true));
        }
        if self.knows(Cursor { number: head.number(), hash: head.hash }) {
            return Ok(Step::blocks(Vec::new(), true));
        }
        if !self.holds(at).await? {
            let to = self.last_that_holds(head).await?;
            self.rewind(to);
            return Ok(Step::rewound(to));
        }
        if head.number() <= at.number {
            return Ok(Step::blocks(Vec::new(), true));
        }
        let to = head.number().min(at.number + self.span);
        let blocks = match self.reader.range(at.number + 1, to, at.hash).await {
            Err(error) if matches!(error.kind(), ErrorKind::Refused { .. }) && self.span > 1 => {
                self.span = (self.span / 2).max(1);
                tracing::debug!(%error, span = self.span, "asking for fewer blocks at a time");
                return Ok(Step::blocks(Vec::new(), false));
            }
            blocks => blocks?,
        };
        self.span = (self.span * 2).min(SPAN_MAX);
        blocks.iter().for_each(|block| self.push(Cursor::from(block)));
        Ok(Step::blocks(blocks, to == head.number()))
    }

    async fn holds(&self, cursor: Cursor) -> Result<bool> {
        if cursor.hash.is_zero() {
            return Ok(true);
        }
        let header = self.reader.header_at(cursor.number).await?;
        Ok(header.is_some_and(|header| header.hash == cursor.hash))
    }

    /// The newest block known here that is still part of the chain. Blocks of a chain agree up to a point and then
    /// differ, so halving finds it. If not even the oldest holds, a window's length before it, or the very start.
    async fn last_that_holds(&self, head: &Header) -> Result<Cursor> {
        let (mut holding, mut broken) = (0, self.seen.len());
        while holding < broken {
            let middle = (holding + broken) / 2;
            if self.holds(self.seen[middle]).await? {
                holding = middle + 1;
            } else {
                broken = middle;
            }
        }
        if holding > 0 {
            return Ok(self.seen[holding - 1]);
        }
        let oldest = self.seen.front().copied().unwrap_or(Cursor::START);
        let number = oldest.number.min(head.number()).saturating_sub(WINDOW as u64);
        let hash = self.reader.header_at(number).await?.map_or(B256::ZERO, |header| header.hash);
        Ok(Cursor { number, hash })
    }
}

enum Accepted {
    /// To be passed on.
    News,
    /// Passed on already.
    Known,
    /// Something is missing in between.
    Misfit,
}

/// The one reader at the head of the chain, from which all followers of a client are fed.
pub(crate) struct Live {
    reader: Reader,
    updates: broadcast::Sender<Update>,
    head: watch::Receiver<Header>,
}

impl Live {
    /// Starts at the present head; ends with `stop`.
    pub(crate) async fn start(
        reader: Reader,
        poll: Duration,
        stop: CancellationToken,
    ) -> Result<Self> {
        let head = reader.head().await?;
        let (updates, _) = broadcast::channel(KEPT);
        let (head_sender, head_receiver) = watch::channel(head.clone());
        let at = Cursor { number: head.number(), hash: head.hash };
        let head_reader = HeadReader {
            tracker: Tracker::new(reader.clone(), at),
            updates: updates.clone(),
            head: head_sender,
        };
        tokio::spawn(stop.run_until_cancelled_owned(head_reader.run(poll)));
        Ok(Self { reader, updates, head: head_receiver })
    }

    /// The newest block known.
    pub(crate) fn head(&self) -> Header {
        self.head.borrow().clone()
    }

    /// What happens at the head from now on, for those who can bear to lose some.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Update> {
        self.updates.subscribe()
    }

    pub(crate) fn follow(self: &Arc<Self>, from: Cursor, stop: &CancellationToken) -> Follower {
        let (sender, updates) = mpsc::channel(QUEUE);
        let follow = Arc::clone(self).feed(from, sender);
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
        Follower { updates }
    }

    async fn feed(self: Arc<Self>, from: Cursor, sender: mpsc::Sender<Update>) {
        let mut tracker = Tracker::new(self.reader.clone(), from);
        loop {
            let news = self.listen();
            let head = [self.head()];
            if !walk(&mut tracker, &head, Ear::One(&sender)).await
                || !pass_on(&mut tracker, news, &sender).await
            {
                return;
            }
        }
    }
}

/// Passes on what comes until something is missing. `false` when there is nobody to pass on to.
async fn pass_on(
    tracker: &mut Tracker,
    mut news: broadcast::Receiver<Update>,
    sender: &mpsc::Sender<Update>,
) -> bool {
    loop {
        let update = tokio::select! {
            update = news.recv() => update,
            () = sender.closed() => return false,
        };
        match update {
            Ok(update) => match tracker.accept(&update) {
                Accepted::News if sender.send(update).await.is_err() => return false,
                Accepted::News | Accepted::Known => {}
                Accepted::Misfit => return true,
            },
            Err(broadcast::error::RecvError::Lagged(_)) => return true,
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

/// Who is told.
#[derive(Clone, Copy)]
enum Ear<'a> {
    One(&'a mpsc::Sender<Update>),
    /// Nobody listening is no reason to stop: somebody may come.
    All(&'a broadcast::Sender<Update>),
}

impl Ear<'_> {
    /// `false` when nobody will ever listen again.
    async fn tell(self, update: Update) -> bool {
        match self {
            Self::One(sender) => sender.send(update).await.is_ok(),
            Self::All(sender) => {
                let _ = sender.send(update);
                true
            }
        }
    }
}

/// Goes all the way to a head, however often it takes. `false` when there is nobody left to tell.
async fn walk(tracker: &mut Tracker, heads: &[Header], ear: Ear<'_>) -> bool {
    let mut pause = PAUSE_MIN;
    loop {
        match tracker.step(heads).await {
            Ok(step) => {
                pause = PAUSE_MIN;
                for update in step.updates {
                    if !ear.tell(update).await {
                        return false;
                    }
                }
                if step.arrived {
                    return true;
                }
            }
            // The head itself may be what moved away: leave it to whoever brings the next one.
            Err(error) if matches!(error.kind(), ErrorKind::Moved) && pause > PAUSE_MIN => {
                return true;
            }
            Err(error) => {
                tracing::debug!(%error, "reading the chain again in {pause:?}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

struct HeadReader {
    tracker: Tracker,
    updates: broadcast::Sender<Update>,
    head: watch::Sender<Header>,
}

impl HeadReader {
    async fn run(mut self, poll: Duration) {
        let mut pause = PAUSE_MIN;
        loop {
            let outcome = if self.tracker.reader.rpc.pushes() {
                self.listen(&mut pause).await
            } else {
                self.poll(poll, &mut pause).await
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "the head is out of sight; looking again in {pause:?}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn listen(&mut self, pause: &mut Duration) -> Result<()> {
        let mut pushes = self.tracker.reader.rpc.subscribe_heads().await?;
        // What came before the subscription is not pushed.
        self.look().await?;
        *pause = PAUSE_MIN;
        loop {
            match tokio::time::timeout(SILENCE, pushes.next()).await {
                Ok(Some(Ok(push))) => {
                    let queued = std::iter::once(push).chain(std::iter::from_fn(|| pushes.ready()));
                    let heads: Vec<Header> = queued
                        .take(PUSHES_MAX)
                        .filter_map(|push| serde_json::from_str(push.get()).ok())
                        .collect();
                    self.go(&heads).await;
                }
                Ok(Some(Err(Lagged))) | Err(_) => self.look().await?,
                Ok(None) => return Ok(()),
            }
        }
    }

    async fn poll(&mut self, interval: Duration, pause: &mut Duration) -> Result<()> {
        loop {
            self.look().await?;
            *pause = PAUSE_MIN;
            tokio::time::sleep(interval).await;
        }
    }

    async fn look(&mut self) -> Result<()> {
        let head = self.tracker.reader.head().await?;
        self.go(&[head]).await;
        Ok(())
    }

    async fn go(&mut self, heads: &[Header]) {
        // First the head and then the way to it: a follower that starts in between reads that way by itself, and
        // recognises the updates that follow.
        if let Some(head) = heads.last() {
            self.head.send_replace(head.clone());
        }
        walk(&mut self.tracker, heads, Ear::All(&self.updates)).await;
    }
}
