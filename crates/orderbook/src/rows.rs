//! Orders, deals and categories as the store keeps them, and back.

use alloy_primitives::{Address, Bytes, U256};
use chain::AssetTerms;
use orders::{AppOrder, DatasetOrder, OrderKind, RequestOrder, WorkerpoolOrder};
use primitives::{CategoryId, OrderHash, UnixSeconds};
use store::{AssetColumns, CategoryRow, DealRow, OrderRow, OrderState, Status};
use wire::UnixMillis;
use wire::market::{Asset, Category, Deal, Order, OrderStatus, Published};

/// When, by whom and in what state an order is in the book.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) hash: OrderHash,
    pub(crate) signer: Address,
    pub(crate) published: UnixMillis,
    pub(crate) state: OrderState,
}

/// The row of an order. Numbers that do not fit are cut to what the store refuses, never to another valid number.
pub(crate) fn to_row(order: &Order, entry: Entry) -> OrderRow {
    let blank = blank_row(order.kind(), entry);
    match order {
        Order::App(order) => OrderRow {
            app: order.app,
            dataset: order.dataset_restrict,
            workerpool: order.workerpool_restrict,
            requester: order.requester_restrict,
            app_price: order.price.saturating_to(),
            volume: order.volume.saturating_to(),
            tag: order.tag,
            salt: order.salt,
            sign: order.sign.clone(),
            ..blank
        },
        Order::Dataset(order) => OrderRow {
            app: order.app_restrict,
            dataset: order.dataset,
            workerpool: order.workerpool_restrict,
            requester: order.requester_restrict,
            dataset_price: order.price.saturating_to(),
            volume: order.volume.saturating_to(),
            tag: order.tag,
            salt: order.salt,
            sign: order.sign.clone(),
            ..blank
        },
        Order::Workerpool(order) => OrderRow {
            app: order.app_restrict,
            dataset: order.dataset_restrict,
            workerpool: order.workerpool,
            requester: order.requester_restrict,
            workerpool_price: order.price.saturating_to(),
            volume: order.volume.saturating_to(),
            category: order.category.saturating_to(),
            trust: order.trust.saturating_to(),
            tag: order.tag,
            salt: order.salt,
            sign: order.sign.clone(),
            ..blank
        },
        Order::Request(order) => OrderRow {
            app: order.app,
            dataset: order.dataset,
            workerpool: order.workerpool,
            requester: order.requester,
            app_price: order.app_max_price.saturating_to(),
            dataset_price: order.dataset_max_price.saturating_to(),
            workerpool_price: order.workerpool_max_price.saturating_to(),
            volume: order.volume.saturating_to(),
            category: order.category.saturating_to(),
            trust: order.trust.saturating_to(),
            tag: order.tag,
            beneficiary: order.beneficiary,
            callback: order.callback,
            params: order.params.clone(),
            salt: order.salt,
            sign: order.sign.clone(),
            ..blank
        },
    }
}

fn blank_row(kind: OrderKind, entry: Entry) -> OrderRow {
    OrderRow {
        hash: entry.hash,
        kind,
        signer: entry.signer,
        published_ms: entry.published.0,
        state: entry.state,
        app: Address::ZERO,
        dataset: Address::ZERO,
        workerpool: Address::ZERO,
        requester: Address::ZERO,
        app_price: 0,
        dataset_price: 0,
        workerpool_price: 0,
        volume: 0,
        category: 0,
        trust: 0,
        tag: primitives::Tag::NONE,
        beneficiary: Address::ZERO,
        callback: Address::ZERO,
        params: String::new(),
        salt: alloy_primitives::B256::ZERO,
        sign: Bytes::new(),
    }
}

/// The record of a row.
pub(crate) fn published(row: OrderRow, chain_id: u64) -> Published {
    Published {
        hash: row.hash,
        chain_id,
        published_at: UnixMillis(row.published_ms),
        signer: row.signer,
        status: match row.state.status {
            Status::Open => OrderStatus::Open,
            Status::Filled => OrderStatus::Filled,
            Status::Canceled => OrderStatus::Canceled,
            Status::Dead => OrderStatus::Dead,
        },
        remaining: row.state.remaining,
        track_record: None,
        claimed: None,
        order: to_order(row),
    }
}

/// The order of a row.
pub(crate) fn to_order(row: OrderRow) -> Order {
    match row.kind {
        OrderKind::App => Order::from(AppOrder {
            app: row.app,
            price: U256::from(row.app_price),
            volume: U256::from(row.volume),
            tag: row.tag,
            dataset_restrict: row.dataset,
            workerpool_restrict: row.workerpool,
            requester_restrict: row.requester,
            salt: row.salt,
            sign: row.sign,
        }),
        OrderKind::Dataset => Order::from(DatasetOrder {
            dataset: row.dataset,
            price: U256::from(row.dataset_price),
            volume: U256::from(row.volume),
            tag: row.tag,
            app_restrict: row.app,
            workerpool_restrict: row.workerpool,
            requester_restrict: row.requester,
            salt: row.salt,
            sign: row.sign,
        }),
        OrderKind::Workerpool => Order::from(WorkerpoolOrder {
            workerpool: row.workerpool,
            price: U256::from(row.workerpool_price),
            volume: U256::from(row.volume),
            tag: row.tag,
            category: U256::from(row.category),
            trust: U256::from(row.trust),
            app_restrict: row.app,
            dataset_restrict: row.dataset,
            requester_restrict: row.requester,
            salt: row.salt,
            sign: row.sign,
        }),
        OrderKind::Request => Order::from(RequestOrder {
            app: row.app,
            app_max_price: U256::from(row.app_price),
            dataset: row.dataset,
            dataset_max_price: U256::from(row.dataset_price),
            workerpool: row.workerpool,
            workerpool_max_price: U256::from(row.workerpool_price),
            requester: row.requester,
            volume: U256::from(row.volume),
            tag: row.tag,
            category: U256::from(row.category),
            trust: U256::from(row.trust),
            beneficiary: row.beneficiary,
            callback: row.callback,
            params: row.params,
            salt: row.salt,
            sign: row.sign,
        }),
    }
}

/// The terms of one party, for the store.
pub(crate) fn asset_columns(terms: AssetTerms) -> AssetColumns {
    AssetColumns { pointer: terms.pointer, owner: terms.owner, price: terms.price.0 }
}

/// The record of a deal.
pub(crate) fn deal(row: DealRow, chain_id: u64) -> Deal {
    let asset = |columns: AssetColumns| Asset {
        pointer: columns.pointer,
        owner: columns.owner,
        price: columns.price,
    };
    Deal {
        id: row.id,
        chain_id,
        app: asset(row.app),
        dataset: asset(row.dataset),
        workerpool: asset(row.workerpool),
        requester: row.requester,
        beneficiary: row.beneficiary,
        callback: row.callback,
        app_hash: row.app_hash,
        dataset_hash: row.dataset_hash,
        workerpool_hash: row.workerpool_hash,
        request_hash: row.request_hash,
        params: row.params,
        volume: row.volume,
        category: CategoryId(row.category),
        tag: row.tag,
        trust: row.trust,
        start_time: UnixSeconds(row.start_time),
        bot_first: row.bot_first,
        bot_size: row.bot_size,
        scheduler_reward_ratio: row.scheduler_reward_ratio,
        worker_stake: row.worker_stake,
        block_number: row.block_number,
        block_time: UnixSeconds(row.block_time),
        tx_hash: row.tx_hash,
    }
}

/// The record of a category.
pub(crate) fn category(row: CategoryRow, chain_id: u64) -> Category {
    Category {
        id: CategoryId::new(row.id),
        chain_id,
        name: row.name,
        description: row.description,
        work_clock_time_ref: U256::from(row.work_clock_seconds),
        tx_hash: row.tx_hash,
        block_number: row.block_number,
        block_time: UnixSeconds(row.block_time),
    }
}
