//! Standing offers: a signed order of the pool is always open in the market for each, and the owner's stake covers them.
//!
//! A scheduler locks 30 % of its price for every task dealt, so an order that the stake does not cover would be refused
//! when somebody wants to match it. The stake is therefore topped up from the owner's RLC before an order is published,
//! and again after each match.
//!
//! Nothing is offered that no connected worker would do: an offer below what all of them ask for is taken out, and GPUs are
//! on offer while somebody has one. As long as no worker has come yet, what the operator says stands.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, U256};
use alloy_signer::SignerSync;
use chain::calls;
use orders::{OrderKind, WorkerpoolOrder, matching};
use parking_lot::Mutex;
use primitives::{Nrlc, OrderHash, Tag};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use wire::market::{
    MarketClient, Order, OrderQuery, OrderStatus, PageRequest, PartyFilter, Unpublish,
};

use crate::books::{Abilities, Books};
use crate::claim::{self, Speaker};
use crate::config::{Config, Offer};

/// News of an order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrderNews {
    /// So much of it was dealt.
    Matched { order: OrderHash, volume: U256 },
    /// Its owner closed it.
    Closed { order: OrderHash },
}

const CHECK_EVERY: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A new order is published when less than this part of the old one is left.
const LOW_WATER: u64 = 5;

/// An offer and the order that stands for it.
struct Standing {
    offer: Offer,
    order: Option<(OrderHash, U256)>,
    /// What that order says the pool can do.
    tag: Tag,
}

impl Standing {
    /// Whether it is time for a new order.
    fn is_low(&self) -> bool {
        let low = U256::from((self.offer.volume / LOW_WATER).max(1));
        self.order.is_none_or(|(_, left)| left < low)
    }
}

/// Keeps the offers.
pub(crate) struct Keeper {
    config: Config,
    books: Arc<Mutex<Books>>,
    standing: Vec<Standing>,
    live: watch::Receiver<bool>,
    ready: watch::Sender<bool>,
    abilities: watch::Receiver<Abilities>,
    /// Whether GPUs are on offer. A worker that was away for a moment does not change it.
    offers_gpu: bool,
    speaker: Speaker,
}

/// Why an offer does not stand yet.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the chain refused: {0}")]
    Chain(#[from] chain::Error),
    #[error("the order book refused: {0}")]
    Market(#[from] wire::ClientError),
    #[error("the key does not sign: {0}")]
    Signer(#[from] alloy_signer::Error),
    #[error("price times volume of an offer do not fit in 256 bits")]
    Overflow,
}

impl Keeper {
    pub(crate) fn new(
        config: Config,
        books: Arc<Mutex<Books>>,
        live: watch::Receiver<bool>,
        ready: watch::Sender<bool>,
        abilities: watch::Receiver<Abilities>,
    ) -> Self {
        let standing =
            |offer: &Offer| Standing { offer: offer.clone(), order: None, tag: Tag::NONE };
        let standing = config.offers.iter().map(standing).collect();
        let speaker = Speaker::default();
        Self { config, books, standing, live, ready, abilities, offers_gpu: false, speaker }
    }

    pub(crate) async fn run(mut self, mut news: mpsc::Receiver<OrderNews>) {
        if self.live.wait_for(|live| *live).await.is_err() {
            return;
        }
        let market = self.config.market.clone();
        let Some(market) = market.filter(|_| !self.standing.is_empty()) else {
            self.ready.send_replace(true);
            while news.recv().await.is_some() {}
            return;
        };
        self.offers_gpu = self.abilities.borrow_and_update().has_gpu;
        self.insist(&market, true).await;
        self.ready.send_replace(true);
        self.speak(&market).await;
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        check.reset();
        loop {
            let changed = tokio::select! {
                heard = news.recv() => match heard {
                    Some(heard) => self.hear(heard),
                    None => return,
                },
                Ok(()) = self.abilities.changed() => {
                    self.offers_gpu |= self.abilities.borrow_and_update().has_gpu;
                    self.take_out(&market).await
                }
                _ = check.tick() => {
                    let now = *self.abilities.borrow();
                    self.offers_gpu = now.has_gpu || (self.offers_gpu && now.workers == 0);
                    self.take_out(&market).await;
                    self.check(&market).await;
                    self.speak(&market).await;
                    true
                }
            };
            if changed {
                self.insist(&market, false).await;
            }
        }
    }

    /// Whether it was about one of ours.
    fn hear(&mut self, news: OrderNews) -> bool {
        let (OrderNews::Matched { order, .. } | OrderNews::Closed { order }) = news;
        let mut ours = false;
        for standing in &mut self.standing {
            let Some((hash, left)) = &mut standing.order else { continue };
            if *hash != order {
                continue;
            }
            ours = true;
            match news {
                OrderNews::Matched { volume, .. } => *left = left.saturating_sub(volume),
                OrderNews::Closed { .. } => standing.order = None,
            }
        }
        ours
    }

    /// Says how the pool's tasks ended.
    async fn speak(&mut self, market: &MarketClient) {
        let claim = claim::of(&self.books.lock(), self.config.client.chain_id());
        self.speaker.speak(&self.config, market, claim).await;
    }

    /// Looks whether the market still has our orders.
    async fn check(&mut self, market: &MarketClient) {
        for standing in &mut self.standing {
            let Some((hash, left)) = &mut standing.order else { continue };
            match market.order(OrderKind::Workerpool, *hash).await {
                Ok(Some(found)) if found.status == OrderStatus::Open => {
                    *left = U256::from(found.remaining);
                }
                Ok(_) => standing.order = None,
                Err(error) => tracing::debug!(%error, "the order book does not answer"),
            }
        }
    }

    /// Takes out orders that say what the workers would not do, or less than they can. Whether anything is to be published
    /// now.
    async fn take_out(&mut self, market: &MarketClient) -> bool {
        let (abilities, tag) = (*self.abilities.borrow(), self.tag());
        let mut changed = false;
        for standing in &mut self.standing {
            let is_done = abilities.would_do(standing.offer.price);
            changed |= is_done && standing.order.is_none();
            let Some((hash, _)) = standing.order else { continue };
            if is_done && standing.tag == tag {
                continue;
            }
            let signer = self.config.wallet.signer();
            let target = Unpublish::Order(hash);
            if let Err(error) = market.unpublish(OrderKind::Workerpool, target, signer).await {
                tracing::debug!(%error, "an offer that no worker would do still stands");
                continue;
            }
            if !is_done {
                let price = standing.offer.price;
                tracing::warn!(%price, "an offer is taken out: every worker asks for more (GM-8504)");
            }
            standing.order = None;
            changed = true;
        }
        changed
    }

    /// Tries until every offer stands.
    async fn insist(&mut self, market: &MarketClient, first: bool) {
        let mut pause = PAUSE_MIN;
        let mut adopt = first;
        while let Err(error) = self.stand(market, &mut adopt).await {
            if pause >= PAUSE_MAX {
                tracing::warn!(%error, "an offer does not stand in the market");
            } else {
                tracing::debug!(%error, "an offer does not stand in the market yet");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn stand(&mut self, market: &MarketClient, adopt: &mut bool) -> Result<(), Failure> {
        if *adopt {
            self.adopt(market).await?;
            *adopt = false;
        }
        self.cover().await?;
        for index in 0..self.standing.len() {
            let done = self.abilities.borrow().would_do(self.standing[index].offer.price);
            if !done || !self.standing[index].is_low() {
                continue;
            }
            let order = self.signed(&self.standing[index].offer)?;
            let volume = order.volume;
            let published =
                market.publish(&Order::from(order), self.config.wallet.signer()).await?;
            tracing::debug!(order = %published.hash, "an offer stands in the market");
            self.standing[index].order = Some((published.hash, volume));
            self.standing[index].tag = self.tag();
        }
        Ok(())
    }

    /// Takes up orders of an earlier life that say what is offered now, and takes out those that do not.
    async fn adopt(&mut self, market: &MarketClient) -> Result<(), Failure> {
        let query = OrderQuery {
            workerpool: PartyFilter::Exactly(self.config.workerpool),
            page: PageRequest::new(0, 100),
            ..OrderQuery::all(OrderKind::Workerpool)
        };
        let tag = self.tag();
        for found in market.orders(&query).await?.items {
            let Order::Workerpool(order) = &found.order else { continue };
            let fits = |standing: &&mut Standing| {
                standing.order.is_none() && says(order, &standing.offer, tag)
            };
            match self.standing.iter_mut().find(fits) {
                Some(standing) => {
                    standing.order = Some((found.hash, U256::from(found.remaining)));
                    standing.tag = tag;
                }
                None => {
                    let target = Unpublish::Order(found.hash);
                    let signer = self.config.wallet.signer();
                    market.unpublish(OrderKind::Workerpool, target, signer).await?;
                }
            }
        }
        Ok(())
    }

    /// Tops the owner's stake up to what all offers together may lock.
    async fn cover(&self) -> Result<(), Failure> {
        let need = self.need().ok_or(Failure::Overflow)?;
        let client = &self.config.client;
        let owner = self.config.wallet.address();
        let staked = client.account(owner).await?.stake;
        let missing = need.saturating_sub(staked);
        if missing.is_zero() {
            return Ok(());
        }
        let wallet = client.rlc_balance(owner).await?;
        if wallet < missing {
            // The offers still stand: runs that the stake covers can be bought, and stakes come back as tasks end.
            let have = staked.checked_add(wallet).unwrap_or(Nrlc::MAX);
            tracing::warn!(%need, %have, "the pool owner cannot cover all that is on offer (GM-4207)");
        }
        let amount = missing.min(wallet);
        if amount.is_zero() {
            return Ok(());
        }
        let request = calls::stake(&client.contracts(), amount);
        self.config.wallet.execute(request).await?;
        tracing::debug!(%amount, "the pool owner's stake is topped up");
        Ok(())
    }

    /// What matching every open order to the full would lock, those about to be published included.
    fn need(&self) -> Option<Nrlc> {
        self.standing.iter().try_fold(Nrlc::ZERO, |sum, standing| {
            let percent = U256::from(matching::POOL_STAKE_PERCENT);
            let each = standing.offer.price.checked_mul(percent)?.0 / U256::from(100);
            let left = standing.order.map_or(U256::ZERO, |(_, left)| left);
            let done = self.abilities.borrow().would_do(standing.offer.price);
            let new = if done && standing.is_low() { standing.offer.volume } else { 0 };
            let volume = left.checked_add(U256::from(new))?;
            sum.checked_add(Nrlc(each).checked_mul(volume)?)
        })
    }

    /// What the pool can do beyond running programs. Whoever asks for less is served under the same order.
    fn tag(&self) -> Tag {
        let enclave = if self.config.sms.is_some() { Tag::TEE | Tag::TDX } else { Tag::NONE };
        if self.offers_gpu { enclave | Tag::GPU } else { enclave }
    }

    fn signed(&self, offer: &Offer) -> Result<WorkerpoolOrder, alloy_signer::Error> {
        let order = WorkerpoolOrder {
            workerpool: self.config.workerpool,
            price: offer.price.0,
            volume: U256::from(offer.volume),
            tag: self.tag(),
            category: offer.category.0,
            trust: offer.trust,
            salt: B256::random(),
            ..WorkerpoolOrder::default()
        };
        let hash = order.hash(&self.config.client.domain());
        let signature = self.config.wallet.signer().sign_hash_sync(&hash.0)?;
        Ok(order.signed(signature.as_bytes()))
    }
}

/// Whether the order says what is offered, with that tag.
fn says(order: &WorkerpoolOrder, offer: &Offer, tag: Tag) -> bool {
    let open = order.app_restrict.is_zero()
        && order.dataset_restrict.is_zero()
        && order.requester_restrict.is_zero();
    open && order.price == offer.price.0
        && order.category == offer.category.0
        && order.trust == offer.trust
        && order.tag == tag
}
