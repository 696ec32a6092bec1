//! Datasets of a bulk request.
//!
//! A bulk request has no dataset of its own. Its parameters name a file in storage, a list of slices; the slice of a
//! task's index names another, a list of signed dataset orders. Anybody may have written those files, so each order is
//! held against the deal by the hub, and one that does not fit stands for nothing. The task runs all the same: the program
//! sees what is missing.

use alloy_primitives::{Address, U256};
use bindings::hub::{Hub, IexecLibOrders_v5};
use chain::Task;
use futures::StreamExt;
use orders::{DatasetOrder, OrderKind};
use serde_json::Value;
use wire::json::SAFE_INTEGER_MAX;
use wire::market::Order;

use crate::facts::{DatasetFacts, Reader};

/// The longest list, in bytes: a slice of hundreds of orders.
const LIST_BYTES_MAX: u64 = 1024 * 1024;
/// The most datasets in a slice.
const SLICE_LEN_MAX: usize = 1_000;
/// The least volume of an order that is meant for bulk requests.
const VOLUME_MIN: u64 = SAFE_INTEGER_MAX - 1;
/// Datasets looked up at the same time.
const AT_ONCE: usize = 8;

/// File names and datasets of the task's slice, in order. What cannot be fetched or read is an empty slice.
pub(crate) async fn datasets(
    reader: &Reader<'_>,
    cid: &str,
    task: &Task,
) -> Vec<(String, Option<DatasetFacts>)> {
    let Some(orders) = slice(reader, cid, task.index).await else {
        tracing::warn!(deal = %task.deal, index = %task.index, "the slice of a bulk request cannot be read");
        return Vec::new();
    };
    futures::stream::iter(orders)
        .map(|order| async move {
            let name = order.dataset.to_string();
            let usable = fits(reader, &order, task).await;
            (name, if usable { reader.usable(order.dataset).await } else { None })
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn slice(reader: &Reader<'_>, cid: &str, index: U256) -> Option<Vec<DatasetOrder>> {
    let slices = list(reader, cid).await?;
    let slice = slices.get(usize::try_from(index).ok()?)?.as_str()?.to_owned();
    let orders = list(reader, &slice).await?;
    if orders.len() > SLICE_LEN_MAX {
        return None;
    }
    // One that cannot be read keeps its place, as an order for nothing.
    let read = |value| match Order::from_json(OrderKind::Dataset, value) {
        Ok(Order::Dataset(order)) => order,
        _ => DatasetOrder::none(),
    };
    Some(orders.iter().map(read).collect())
}

async fn list(reader: &Reader<'_>, cid: &str) -> Option<Vec<Value>> {
    let plain = !cid.is_empty() && cid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !plain {
        return None;
    }
    let content = reader.ipfs?.fetch(&format!("/ipfs/{cid}"), LIST_BYTES_MAX).await.ok()?;
    serde_json::from_slice(&content).ok()
}

async fn fits(reader: &Reader<'_>, order: &DatasetOrder, task: &Task) -> bool {
    if order.dataset == Address::ZERO || order.volume < U256::from(VOLUME_MIN) {
        return false;
    }
    let order = IexecLibOrders_v5::DatasetOrder {
        dataset: order.dataset,
        datasetprice: order.price,
        volume: order.volume,
        tag: order.tag.0,
        apprestrict: order.app_restrict,
        workerpoolrestrict: order.workerpool_restrict,
        requesterrestrict: order.requester_restrict,
        salt: order.salt,
        sign: order.sign.clone(),
    };
    let client = reader.guard.client();
    let call = Hub::assertDatasetDealCompatibilityCall { datasetOrder: order, dealId: task.deal.0 };
    client.view(client.hub(), call).await.is_ok()
}
