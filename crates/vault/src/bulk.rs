//! Datasets of a bulk request.
//!
//! A bulk request has no dataset of its own. Its parameters name a file in storage, a list of slices; the slice of a
//! task's index names another, a list of signed dataset orders. Anybody may have written those files, so each order is
//! held against the deal by the hub, and one that does not fit stands for nothing. The task runs all the same: the program
//! sees what is missing.

use alloy_primitives::{Address, U256};
use chain::Task;
use futures::{StreamExt, TryStreamExt};
use orders::{DatasetOrder, OrderKind};
use serde_json::Value;
use wire::json::SAFE_INTEGER_MAX;
use wire::market::Order;
use wire::sms::SessionError;

use crate::facts::{DatasetFacts, Reader, undescribed};

/// The longest list, in bytes: a slice of hundreds of orders.
const LIST_BYTES_MAX: u64 = 1024 * 1024;
/// The most datasets in a slice.
const SLICE_LEN_MAX: usize = 1_000;
/// The least volume of an order that is meant for bulk requests.
const VOLUME_MIN: u64 = SAFE_INTEGER_MAX - 1;
/// Datasets looked up at the same time.
const AT_ONCE: usize = 8;

/// File names and datasets of the task's slice, in order. What cannot be fetched or read is an empty slice.
///
/// # Errors
/// The chain or the safe does not answer: then nobody knows what fits.
pub(crate) async fn datasets(
    reader: &Reader<'_>,
    cid: &str,
    task: &Task,
) -> Result<Vec<(String, Option<DatasetFacts>)>, SessionError> {
    let Some(orders) = slice(reader, cid, task.index).await else {
        let (deal, index) = (task.deal, task.index);
        tracing::warn!(%deal, %index, "the slice of a bulk request cannot be read");
        return Ok(Vec::new());
    };
    futures::stream::iter(orders)
        .map(|order| async move {
            let name = order.dataset.to_string();
            let usable = fits(reader, &order, task).await?;
            Ok((name, if usable { reader.usable(order.dataset).await? } else { None }))
        })
        .buffered(AT_ONCE)
        .try_collect()
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

async fn fits(
    reader: &Reader<'_>,
    order: &DatasetOrder,
    task: &Task,
) -> Result<bool, SessionError> {
    if order.dataset == Address::ZERO || order.volume < U256::from(VOLUME_MIN) {
        return Ok(false);
    }
    reader.guard.client().fits_deal(order, task.deal).await.map_err(undescribed)
}
