//! Where on the chain a deal and a task happened.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes, U64};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::{SolCall, SolEvent};
use orders::{AppOrder, DatasetOrder, Quartet, RequestOrder, WorkerpoolOrder};
use primitives::{DealId, Tag, TaskId, UnixSeconds};
use serde::Deserialize;
use serde_json::json;

use super::{ProofError, Result};
use crate::abi::{Hub, IexecLibOrders_v5 as lib};
use crate::client::{Client, SPAN, SPANS_MAX};

/// The transaction that made a deal.
pub(super) struct Made {
    pub(super) block: u64,
    pub(super) index: u32,
    pub(super) input: Bytes,
}

/// Looks where the time says that the deal was made: the hub does not index deals by their ids.
pub(super) async fn deal(client: &Client, deal: DealId, start: UnixSeconds) -> Result<Made> {
    let newest = client.head().await?.number;
    let first = first_at(client, start, newest).await?;
    let after = first_at(client, start.saturating_add(1), newest).await?;
    let mut from = first;
    while from <= newest.min(after) {
        let to = (from + SPAN - 1).min(newest).min(after);
        let filter = json!([{
            "address": client.hub(),
            "topics": [Hub::OrdersMatched::SIGNATURE_HASH],
            "fromBlock": U64::from(from),
            "toBlock": U64::from(to),
        }]);
        for log in logs(client, filter).await? {
            let is_it = Hub::OrdersMatched::decode_log(&log.inner)
                .is_ok_and(|event| event.dealid == deal.0);
            if is_it && let Some((block, index, hash)) = place(&log) {
                let answer = client.request("eth_getTransactionByHash", json!([hash])).await?;
                let told: Handed = serde_json::from_value(answer)
                    .map_err(|_| ProofError::NotFound("the transaction of the deal went away"))?;
                return Ok(Made { block, index, input: told.input });
            }
        }
        from = to + 1;
    }
    Err(ProofError::NotFound("the node has no log of the deal"))
}

/// All transactions in which something happened to the task: by block and index.
pub(super) async fn task(
    client: &Client,
    task: TaskId,
    from: u64,
    deadline: UnixSeconds,
) -> Result<BTreeMap<(u64, u32), ()>> {
    let newest = client.head().await?;
    let mut found = BTreeMap::new();
    let mut from = from;
    for _ in 0..SPANS_MAX {
        let to = (from + SPAN - 1).min(newest.number);
        let filter = json!([{
            "address": client.hub(),
            "topics": [null, task.0],
            "fromBlock": U64::from(from),
            "toBlock": U64::from(to),
        }]);
        let mut over = false;
        for log in logs(client, filter).await? {
            let ends = [Hub::TaskFinalize::SIGNATURE_HASH, Hub::TaskClaimed::SIGNATURE_HASH];
            over |= log.topic0().is_some_and(|topic| ends.contains(topic));
            if let Some((block, index, _)) = place(&log) {
                found.insert((block, index), ());
            }
        }
        if over {
            return Ok(found);
        }
        if to >= newest.number {
            break;
        }
        from = to + 1;
    }
    tracing::debug!(%task, deadline = deadline.0, "no end of the task among the logs");
    Err(ProofError::NotFound("the node has no log of the task's end"))
}

/// The orders in what a transaction handed in: a call to the hub, or one that is wrapped in another.
pub(super) fn orders(input: &[u8]) -> Option<Quartet> {
    for at in 0..input.len().saturating_sub(4) {
        let call = &input[at..];
        let quartet = if call.starts_with(&Hub::matchOrdersCall::SELECTOR) {
            Hub::matchOrdersCall::abi_decode(call).ok().map(|it| {
                quartet(it.apporder, it.datasetorder, it.workerpoolorder, it.requestorder)
            })
        } else if call.starts_with(&Hub::sponsorMatchOrdersCall::SELECTOR) {
            Hub::sponsorMatchOrdersCall::abi_decode(call).ok().map(|it| {
                quartet(it.apporder, it.datasetorder, it.workerpoolorder, it.requestorder)
            })
        } else {
            None
        };
        if quartet.is_some() {
            return quartet;
        }
    }
    None
}

/// The first block of that time or later; the newest if there is none.
async fn first_at(client: &Client, time: UnixSeconds, newest: u64) -> Result<u64> {
    client.first_block_at(time, 0, newest).await.map_err(|error| match error.is_unknown() {
        true => ProofError::NotFound("the node does not have the blocks of that time"),
        false => error.into(),
    })
}

async fn logs(client: &Client, filter: serde_json::Value) -> Result<Vec<Log>> {
    let answer = client.request("eth_getLogs", filter).await;
    let answer = answer.map_err(|error| super::lacking("eth_getLogs", error))?;
    serde_json::from_value(answer)
        .map_err(|_| ProofError::NotFound("the node's logs are unreadable"))
}

fn place(log: &Log) -> Option<(u64, u32, B256)> {
    let index = u32::try_from(log.transaction_index?).ok()?;
    Some((log.block_number?, index, log.transaction_hash?))
}

#[derive(Debug, Deserialize)]
struct Handed {
    input: Bytes,
}

fn quartet(
    app: lib::AppOrder,
    dataset: lib::DatasetOrder,
    workerpool: lib::WorkerpoolOrder,
    request: lib::RequestOrder,
) -> Quartet {
    Quartet {
        app: AppOrder {
            app: app.app,
            price: app.appprice,
            volume: app.volume,
            tag: Tag(app.tag),
            dataset_restrict: app.datasetrestrict,
            workerpool_restrict: app.workerpoolrestrict,
            requester_restrict: app.requesterrestrict,
            salt: app.salt,
            sign: app.sign,
        },
        dataset: DatasetOrder {
            dataset: dataset.dataset,
            price: dataset.datasetprice,
            volume: dataset.volume,
            tag: Tag(dataset.tag),
            app_restrict: dataset.apprestrict,
            workerpool_restrict: dataset.workerpoolrestrict,
            requester_restrict: dataset.requesterrestrict,
            salt: dataset.salt,
            sign: dataset.sign,
        },
        workerpool: WorkerpoolOrder {
            workerpool: workerpool.workerpool,
            price: workerpool.workerpoolprice,
            volume: workerpool.volume,
            tag: Tag(workerpool.tag),
            category: workerpool.category,
            trust: workerpool.trust,
            app_restrict: workerpool.apprestrict,
            dataset_restrict: workerpool.datasetrestrict,
            requester_restrict: workerpool.requesterrestrict,
            salt: workerpool.salt,
            sign: workerpool.sign,
        },
        request: RequestOrder {
            app: request.app,
            app_max_price: request.appmaxprice,
            dataset: request.dataset,
            dataset_max_price: request.datasetmaxprice,
            workerpool: request.workerpool,
            workerpool_max_price: request.workerpoolmaxprice,
            requester: request.requester,
            volume: request.volume,
            tag: Tag(request.tag),
            category: request.category,
            trust: request.trust,
            beneficiary: request.beneficiary,
            callback: request.callback,
            params: request.params,
            salt: request.salt,
            sign: request.sign,
        },
    }
}
