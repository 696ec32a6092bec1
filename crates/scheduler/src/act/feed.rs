//! Hears the chain for the loop, and reads new deals, so that the loop never has to wait for a node.

use std::sync::Arc;

use alloy_primitives::Address;
use chain::{MarketBlock, MarketEvent, Update};
use futures::StreamExt;
use primitives::DealId;
use tokio::sync::mpsc;

use crate::deal::{DealReader, DealSpec};
use crate::offers::OrderNews;

const DEALS_READ_AT_ONCE: usize = 16;

/// News of the chain, deals already read.
pub(super) enum ChainNews {
    Block {
        block: Arc<MarketBlock>,
        deals: Vec<Arc<DealSpec>>,
    },
    Rewound(chain::Cursor),
    /// Everything up to the head at the start was told.
    Live,
}

/// Follows the chain and reads new deals, so that the loop never has to wait for a node.
pub(super) struct Feed {
    pub(super) client: chain::Client,
    pub(super) reader: DealReader,
    pub(super) workerpool: Address,
    pub(super) target: u64,
    pub(super) news: mpsc::Sender<ChainNews>,
    pub(super) orders: mpsc::Sender<OrderNews>,
}

impl Feed {
    pub(super) async fn run(mut self, from: chain::Cursor) {
        let mut follower = self.client.follow(from);
        let mut live = from.number >= self.target;
        if live && self.news.send(ChainNews::Live).await.is_err() {
            return;
        }
        while let Some(update) = follower.next().await {
            let at = update.cursor().number;
            let news = match update {
                Update::Block(block) => {
                    let deals = self.deals(&block).await;
                    self.tell_orders(&block);
                    ChainNews::Block { block, deals }
                }
                Update::Rewound { to } => {
                    self.target = self.target.min(self.client.last_head().number);
                    ChainNews::Rewound(to)
                }
            };
            if self.news.send(news).await.is_err() {
                return;
            }
            if !live && at >= self.target {
                live = true;
                if self.news.send(ChainNews::Live).await.is_err() {
                    return;
                }
            }
        }
        tracing::warn!(workerpool = %self.workerpool, "the chain's news have ended");
    }

    async fn deals(&self, block: &MarketBlock) -> Vec<Arc<DealSpec>> {
        let ours = block.events.iter().filter_map(|event| match event.event {
            MarketEvent::DealNotice { deal, workerpool } if workerpool == self.workerpool => {
                Some(deal)
            }
            _ => None,
        });
        let ids: Vec<DealId> = ours.collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let reads = futures::stream::iter(ids).map(|deal| self.reader.read(deal, block.number));
        reads.buffered(DEALS_READ_AT_ONCE).filter_map(futures::future::ready).collect().await
    }

    fn tell_orders(&self, block: &MarketBlock) {
        for event in &block.events {
            let news = match &event.event {
                MarketEvent::OrdersMatched { workerpool, volume, .. } => {
                    OrderNews::Matched { order: *workerpool, volume: *volume }
                }
                MarketEvent::ClosedOrder { hash, .. } => OrderNews::Closed { order: *hash },
                _ => continue,
            };
            // The keeper also looks for itself from time to time, so missing one only costs time.
            let _ = self.orders.try_send(news);
        }
    }
}
