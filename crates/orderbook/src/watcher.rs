//! What blocks change in the book.
//!
//! Blocks that have piled up are looked at together: each order, wallet and asset that they name is asked about once,
//! and only if it is in the book. What is written does not depend on how often it is written, so after a crash the same
//! blocks are simply looked at again:
//!
//! ```text
//! blocks ─► Touched: deals, orders used, orders closed, wallets that paid, assets sold, categories
//!           │  ask the chain about those in the book
//!           ├─► write orders, deals, categories
//!           └─► requests left without an offer ─► write them and the cursor
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error as _;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use chain::{AssetKind, MarketEvent};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use orders::OrderKind;
use primitives::{CategoryId, DealId, OrderHash, UnixSeconds};
use store::{
    CategoryRow, Change, Cursor, DealRow, OrderFilter, OrderRow, OrderState, Party, Range, Status,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::book::{Book, CURSOR, SharedBook};
use crate::ledger::{Block, Heard, News};
use crate::standing::{
    LeftOnOffer, appraise, asset_kind, has_offers, remaining, required_stake, subject,
};
use crate::{rows, track};

/// Blocks looked at together at most.
const BLOCKS_MAX: usize = 256;
/// Blocks waiting at most while one cannot be taken in. That it is gone is heard behind all that came before it went, which
/// is no more than a follower of the chain keeps.
const WAITING_MAX: usize = 2_048;
/// Questions to the chain at the same time.
const READS_MAX: usize = 8;
/// Requests looked at together when an offer is gone.
const REQUESTS_MAX: u64 = 500;
/// How far the written cursor may lag behind while blocks change nothing.
const CURSOR_EVERY: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Follows the chain until cancelled, or until there is no more news. What cannot be taken in is tried again, however
/// often it takes: skipping it would leave the book wrong for good.
pub(crate) async fn watch(
    book: SharedBook,
    mut news: impl News,
    seen: watch::Sender<u64>,
    cancel: CancellationToken,
) {
    let mut written = Instant::now();
    let mut steps = VecDeque::new();
    let mut pause = None;
    loop {
        if steps.is_empty() {
            let heard = cancel.run_until_cancelled(news.next()).await.flatten();
            let Some(heard) = heard else { return };
            add(&mut steps, heard);
        }
        let most = if pause.is_some() { WAITING_MAX } else { BLOCKS_MAX };
        while waiting(&steps) < most
            && let Some(Some(heard)) = news.next().now_or_never()
        {
            add(&mut steps, heard);
        }
        let Some(step) = steps.front() else { continue };
        let taken_in = cancel.run_until_cancelled(take_in(&book, step, &mut written)).await;
        let Some(taken_in) = taken_in else { return };
        let Err(error) = taken_in else {
            steps.pop_front();
            pause = None;
            seen.send_replace(book.last_block());
            continue;
        };
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, cause, "the order book cannot take in a block yet");
        let length = pause.map_or(PAUSE_MIN, |pause: Duration| (pause * 2).min(PAUSE_MAX));
        if cancel.run_until_cancelled(tokio::time::sleep(length)).await.is_none() {
            return;
        }
        pause = Some(length);
    }
}

/// What is dealt with together.
enum Step {
    Blocks(Vec<Block>),
    Rewound(Cursor),
}

/// Puts what was heard behind the steps. Of blocks that are gone the chain knows nothing any more, so those that were not
/// taken in yet never will be.
fn add(steps: &mut VecDeque<Step>, heard: Heard) {
    match (heard, steps.back_mut()) {
        (Heard::Block(block), Some(Step::Blocks(blocks))) => blocks.push(block),
        (Heard::Block(block), _) => steps.push_back(Step::Blocks(vec![block])),
        (Heard::Rewound(to), _) => {
            steps.retain_mut(|step| match step {
                Step::Blocks(blocks) => {
                    blocks.retain(|block| block.at.number <= to.number);
                    !blocks.is_empty()
                }
                Step::Rewound(_) => true,
            });
            steps.push_back(Step::Rewound(to));
        }
    }
}

/// How much waits to be taken in.
fn waiting(steps: &VecDeque<Step>) -> usize {
    let waiting = steps.iter().map(|step| match step {
        Step::Blocks(blocks) => blocks.len(),
        Step::Rewound(_) => 1,
    });
    waiting.sum()
}

async fn take_in(book: &Book, step: &Step, written: &mut Instant) -> Result<(), Error> {
    book.next_generation();
    match step {
        Step::Blocks(blocks) => {
            book.memory.hear(blocks);
            blocks_arrived(book, blocks, written).await
        }
        Step::Rewound(to) => {
            book.memory.forget();
            rewound(book, *to).await
        }
    }
}

async fn blocks_arrived(book: &Book, blocks: &[Block], written: &mut Instant) -> Result<(), Error> {
    let Some(last) = blocks.last().map(|block| block.at) else { return Ok(()) };
    let touched = Touched::by(book, blocks);
    let mut states = BTreeMap::new();
    let used = after_matches(book, &touched, last.number, &mut states).await?;
    after_payments(book, &touched, last.number, &mut states).await?;
    after_sales(book, &touched, last.number, &mut states).await?;
    let deals = deals(book, &touched).await?;
    let mut changes: Vec<_> = states.values().map(Turn::change).collect();
    changes.extend(deals.iter().map(|made| Change::PutDeal(Box::new(made.row.clone()))));
    changes.extend(categories(book, &touched).await?);
    deals.iter().for_each(|made| book.track.begin(&made.row));
    let ended = track::ended(blocks);
    let outcomes = book.track.outcomes(&*book.ledger, &ended).await?;
    if !outcomes.is_empty() {
        changes.push(Change::PutOutcomes(outcomes.clone()));
    }

    // Offers that were gone already are looked at too: a crash may have come between the two writes.
    let gone = used.iter().filter(|row| !is_open(row, &states));
    let gone = gone.map(|row| (row.kind, subject(row)));
    let sold = touched.sold.iter().map(|sale| (sale.kind, sale.asset));
    let gone: Vec<_> = gone.chain(sold).collect();
    if !gone.is_empty() {
        book.store.apply(std::mem::take(&mut changes)).await?;
        without_offers(book, gone, last.number).await?;
        // What was written is not written again, but the cursor must be.
        *written = Instant::now().checked_sub(CURSOR_EVERY).unwrap_or(*written);
    }
    // Looking at a block again is harmless, so blocks that change nothing need not be written one by one.
    if !changes.is_empty() || written.elapsed() >= CURSOR_EVERY {
        changes.push(Change::Cursor { name: CURSOR.to_owned(), cursor: last });
        book.store.apply(changes).await?;
        *written = Instant::now();
    }
    book.track.ended(&outcomes);
    book.set_last_block(last.number);
    states.values().for_each(|turn| turn.tell(book));
    deals.into_iter().filter(|made| made.is_new).for_each(|made| book.tell_deal(made.row));
    Ok(())
}

/// Blocks after `to` never were: what the book knows from them is found out anew.
async fn rewound(book: &Book, to: Cursor) -> Result<(), Error> {
    tracing::info!(block = to.number, "the chain was rewound");
    let rows = book.store.orders_changed_after(to.number).await?;
    let appraisals = rows.iter().map(|row| async move {
        let after = appraise(&*book.ledger, row, to.number).await?;
        Ok(Turn { before: row.clone(), after })
    });
    let turns = some_at_a_time(appraisals).await?;
    let mut changes: Vec<_> = turns.iter().map(Turn::change).collect();
    changes.push(Change::ForgetAfter { block: to.number });
    changes.push(Change::Cursor { name: CURSOR.to_owned(), cursor: to });
    book.store.apply(changes).await?;
    book.track.forget();
    book.set_last_block(to.number);
    turns.iter().for_each(|turn| turn.tell(book));
    Ok(())
}

/// What blocks say that may concern the book.
#[derive(Default)]
struct Touched {
    matches: Vec<Match>,
    closed: BTreeSet<OrderHash>,
    spenders: BTreeSet<Address>,
    sold: Vec<Sale>,
    categories: Vec<(CategoryId, Origin)>,
}

struct Match {
    deal: DealId,
    /// App, dataset, workerpool, request.
    hashes: [OrderHash; 4],
    volume: alloy_primitives::U256,
    origin: Origin,
}

struct Sale {
    kind: OrderKind,
    asset: Address,
    by: Address,
}

/// Where something was written on the chain.
#[derive(Clone, Copy)]
struct Origin {
    block: u64,
    time: UnixSeconds,
    tx: B256,
}

impl Touched {
    fn by(book: &Book, blocks: &[Block]) -> Self {
        let mut touched = Self::default();
        for block in blocks {
            for event in &block.events {
                let origin = Origin { block: block.at.number, time: block.time, tx: event.tx };
                touched.add(book, &event.event, origin);
            }
        }
        touched
    }

    fn add(&mut self, book: &Book, event: &MarketEvent, origin: Origin) {
        match *event {
            MarketEvent::OrdersMatched { deal, app, dataset, workerpool, request, volume } => {
                let hashes = [app, dataset, workerpool, request];
                self.matches.push(Match { deal, hashes, volume, origin });
            }
            MarketEvent::ClosedOrder { hash, .. } => {
                self.closed.insert(hash);
            }
            // Locking and withdrawing stake are transfers too.
            MarketEvent::Transfer { from, amount, .. } if !from.is_zero() && !amount.is_zero() => {
                self.spenders.insert(from);
            }
            MarketEvent::AssetTransferred { registry, from, asset, .. } if !from.is_zero() => {
                let kinds = [
                    (AssetKind::App, OrderKind::App),
                    (AssetKind::Dataset, OrderKind::Dataset),
                    (AssetKind::Workerpool, OrderKind::Workerpool),
                ];
                let kind =
                    kinds.into_iter().find(|(kind, _)| book.ledger.registry(*kind) == registry);
                self.sold.extend(kind.map(|(_, kind)| Sale { kind, asset, by: from }));
            }
            MarketEvent::CategoryCreated { category, .. } => {
                self.categories.push((category, origin));
            }
            _ => {}
        }
    }
}

/// What becomes of an order.
pub(crate) struct Turn {
    before: OrderRow,
    after: OrderState,
}

impl Turn {
    pub(crate) fn change(&self) -> Change {
        Change::SetOrder { hash: self.before.hash, state: self.after }
    }

    pub(crate) fn tell(&self, book: &Book) {
        book.tell_state(&self.before, self.after);
    }
}

type States = BTreeMap<OrderHash, Turn>;

/// The state that the order will have, by what is known so far.
fn state(row: &OrderRow, states: &States) -> OrderState {
    states.get(&row.hash).map_or(row.state, |turn| turn.after)
}

fn set_state(row: &OrderRow, after: OrderState, states: &mut States) {
    let turn = states.entry(row.hash).or_insert_with(|| Turn { before: row.clone(), after });
    turn.after = after;
}

/// Orders that were matched or closed have less left; gives back those that are in the book.
async fn after_matches(
    book: &Book,
    touched: &Touched,
    block: u64,
    states: &mut States,
) -> Result<Vec<OrderRow>, Error> {
    let matched = touched.matches.iter().flat_map(|made| made.hashes);
    let hashes: BTreeSet<_> = matched.chain(touched.closed.iter().copied()).collect();
    let hashes: Vec<_> = hashes.into_iter().collect();
    let rows = book.store.orders_among(&hashes).await?;
    let left = rows.iter().map(|row| async move {
        let left = remaining(&*book.ledger, row.hash, row.volume).await?;
        Ok((row, left))
    });
    for (row, left) in some_at_a_time(left).await? {
        let closed = touched.closed.contains(&row.hash);
        let (status, remaining) = match row.state.status {
            _ if closed => (Status::Canceled, 0),
            Status::Canceled => (Status::Canceled, 0),
            _ if left == 0 => (Status::Filled, 0),
            status => (status, left.min(row.state.remaining)),
        };
        set_state(row, OrderState { status, remaining, changed_block: block }, states);
    }
    Ok(rows)
}

/// Wallets that have less stake may not cover their orders any more.
async fn after_payments(
    book: &Book,
    touched: &Touched,
    block: u64,
    states: &mut States,
) -> Result<(), Error> {
    const STAKED: [OrderKind; 2] = [OrderKind::Workerpool, OrderKind::Request];
    let spenders: Vec<_> = touched.spenders.iter().copied().collect();
    let signers = book.store.signers_with_open_orders(&spenders, &STAKED).await?;
    let stakes = signers
        .into_iter()
        .map(|signer| async move { Ok((signer, book.ledger.stake(signer).await?)) });
    for (signer, stake) in some_at_a_time(stakes).await? {
        for kind in STAKED {
            let filter = OrderFilter { signer: Some(signer), ..OrderFilter::all(kind) };
            for row in book.store.all_open_orders(&filter).await? {
                let state = state(&row, states);
                let covered = stake >= required_stake(&row, state.remaining);
                if state.status == Status::Open && !covered {
                    set_state(&row, dead(state, block), states);
                }
            }
        }
    }
    Ok(())
}

/// Orders of a former owner cannot be matched.
async fn after_sales(
    book: &Book,
    touched: &Touched,
    block: u64,
    states: &mut States,
) -> Result<(), Error> {
    for sale in &touched.sold {
        book.claims.forget(sale.asset);
        let mut filter = OrderFilter { signer: Some(sale.by), ..OrderFilter::all(sale.kind) };
        match sale.kind {
            OrderKind::App => filter.app = Party::Is(sale.asset),
            OrderKind::Dataset => filter.dataset = Party::Is(sale.asset),
            OrderKind::Workerpool => filter.workerpool = Party::Is(sale.asset),
            OrderKind::Request => continue,
        }
        let rows = book.store.all_open_orders(&filter).await?;
        if rows.is_empty() || book.ledger.owner(sale.asset).await? == sale.by {
            continue;
        }
        for row in rows {
            let state = state(&row, states);
            if state.status == Status::Open {
                set_state(&row, dead(state, block), states);
            }
        }
    }
    Ok(())
}

/// Marks the open requests for those apps and datasets that no offer in the book can be matched with any more. Works on
/// the store, so what made the offers go must be written before.
pub(crate) async fn without_offers(
    book: &Book,
    gone: impl IntoIterator<Item = (OrderKind, Address)>,
    block: u64,
) -> Result<(), Error> {
    let assets: BTreeSet<_> = gone
        .into_iter()
        .filter(|(kind, _)| matches!(asset_kind(*kind), Some(AssetKind::App | AssetKind::Dataset)))
        .collect();
    for (kind, asset) in assets {
        strand(book, kind, asset, block).await?;
    }
    Ok(())
}

/// Goes through the requests for an app or a dataset, however many, a few at a time.
async fn strand(book: &Book, kind: OrderKind, asset: Address, block: u64) -> Result<(), Error> {
    let mut filter = OrderFilter::all(OrderKind::Request);
    match kind {
        OrderKind::App => filter.app = Party::Is(asset),
        _ => filter.dataset = Party::Is(asset),
    }
    let left = LeftOnOffer::of(&book.store, kind, asset).await?;
    let mut skip = 0;
    loop {
        let range = Range { skip, limit: REQUESTS_MAX };
        let requests = book.store.open_offers(&filter, range).await?;
        let count = requests.len() as u64;
        let mut turns = Vec::new();
        for request in requests {
            if !left.serves(&request) && !has_offers(&book.store, &request).await? {
                let after = dead(request.state, block);
                turns.push(Turn { before: request, after });
            }
        }
        book.store.apply(turns.iter().map(Turn::change).collect()).await?;
        turns.iter().for_each(|turn| turn.tell(book));
        if count < REQUESTS_MAX {
            return Ok(());
        }
        // Those that are marked are no longer among the open ones.
        skip += count - turns.len() as u64;
    }
}

fn dead(state: OrderState, block: u64) -> OrderState {
    OrderState { status: Status::Dead, changed_block: block, ..state }
}

fn is_open(row: &OrderRow, states: &States) -> bool {
    state(row, states).status == Status::Open
}

/// A deal, and whether the book has not known it before.
struct Made {
    row: DealRow,
    is_new: bool,
}

async fn deals(book: &Book, touched: &Touched) -> Result<Vec<Made>, Error> {
    let deals = touched.matches.iter().map(|made| async move {
        let deal = book.ledger.deal(made.deal).await?;
        let is_new = book.store.deal(made.deal).await?.is_none();
        Ok(Made { row: deal_row(made, deal), is_new })
    });
    some_at_a_time(deals).await
}

/// What all of the questions bring, in any sequence; few are asked at the same time.
async fn some_at_a_time<T, Q>(questions: impl Iterator<Item = Q>) -> Result<Vec<T>, Error>
where
    Q: Future<Output = Result<T, Error>>,
{
    // Collected first: a stream that borrows from the closure's argument is not general enough to be sent.
    let questions: Vec<_> = questions.collect();
    stream::iter(questions).buffer_unordered(READS_MAX).try_collect().await
}

fn deal_row(made: &Match, deal: chain::Deal) -> DealRow {
    let [app_hash, dataset_hash, workerpool_hash, request_hash] = made.hashes;
    DealRow {
        id: made.deal,
        block_number: made.origin.block,
        block_time: made.origin.time.0,
        tx_hash: made.origin.tx,
        app: rows::asset_columns(deal.app),
        dataset: rows::asset_columns(deal.dataset),
        workerpool: rows::asset_columns(deal.workerpool),
        requester: deal.requester,
        beneficiary: deal.beneficiary,
        callback: deal.callback,
        app_hash,
        dataset_hash,
        workerpool_hash,
        request_hash,
        params: deal.params,
        volume: made.volume,
        category: deal.category.0,
        tag: deal.tag,
        trust: deal.trust,
        start_time: deal.start.0,
        bot_first: deal.first,
        bot_size: deal.size,
        scheduler_reward_ratio: deal.scheduler_reward_ratio,
        worker_stake: deal.worker_stake.0,
    }
}

async fn categories(book: &Book, touched: &Touched) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for (id, origin) in &touched.categories {
        let category = book.ledger.category(*id).await?;
        changes.push(Change::PutCategory(CategoryRow {
            id: id.0.saturating_to(),
            name: category.name,
            description: category.description,
            work_clock_seconds: category.work_clock_seconds,
            tx_hash: origin.tx,
            block_number: origin.block,
            block_time: origin.time.0,
        }));
    }
    Ok(changes)
}
