//! Searching logs.

use alloy_rpc_types_eth::{BlockNumberOrTag, Filter, FilterBlockOption, Log};

use super::{Answer, RequestError, Rpc, answer, params::Params, shapes};
use crate::{
    shared::Head,
    storage::{BlockHead, MinedTransaction},
};

/// Logs in one answer. More would be a burden on both sides: ask for fewer blocks.
const LOGS_MAX: usize = 20_000;

impl Rpc {
    pub(super) async fn get_logs(&self, params: &Params) -> Answer {
        let filter: Filter = params.get(0)?;
        self.heavily(move |rpc| answer(rpc.logs(&filter)?)).await
    }

    /// All logs that match `filter`, in order.
    pub(super) fn logs(&self, filter: &Filter) -> Result<Vec<Log>, RequestError> {
        let head = self.head();
        let (from, to) = match filter.block_option {
            FilterBlockOption::AtBlockHash(hash) => {
                let block = self.find_hash(&head, hash)?;
                let block = block.ok_or_else(|| RequestError::refused("unknown block"))?;
                (block.header.number, block.header.number)
            }
            FilterBlockOption::Range { from_block, to_block } => (
                bound(&head, from_block.unwrap_or_default()),
                bound(&head, to_block.unwrap_or_default()),
            ),
        };
        if from > to {
            return Err(RequestError::params(
                "invalid block range params: fromBlock is after toBlock",
            ));
        }
        logs_between(&head, filter, from, to)
    }
}

/// The logs in blocks `from` to `to` that match `filter`, whatever blocks the filter itself names.
pub(super) fn logs_between(
    head: &Head,
    filter: &Filter,
    from: u64,
    to: u64,
) -> Result<Vec<Log>, RequestError> {
    let newest = head.view.head_number();
    let mut found = Vec::new();
    for number in from..=to.min(newest) {
        let Some(block) = head.view.block(number)? else { break };
        if block.header.logs_bloom.is_zero() || !filter.matches_bloom(block.header.logs_bloom) {
            continue;
        }
        found.extend(matching(filter, &block, &head.view.transactions(number)?, false));
        if found.len() > LOGS_MAX {
            let half = from + (number - from) / 2;
            return Err(RequestError::too_much(format!(
                "query returned more than {LOGS_MAX} results. Try with this block range [0x{from:x}, 0x{half:x}]."
            )));
        }
    }
    Ok(found)
}

/// The logs of a block that match `filter`.
pub(super) fn matching(
    filter: &Filter,
    block: &BlockHead,
    transactions: &[MinedTransaction],
    removed: bool,
) -> Vec<Log> {
    (0u64..)
        .zip(transactions)
        .flat_map(|(index, tx)| shapes::logs(block, index, tx, removed))
        .filter(|log| {
            filter.matches_address(log.inner.address)
                && filter.matches_topics(log.inner.data.topics())
        })
        .collect()
}

/// Whether a filter that was set up wants the logs of block `number`.
pub(super) fn wants_block(filter: &Filter, number: u64) -> bool {
    filter.matches_block_range(number)
}

fn bound(head: &Head, tag: BlockNumberOrTag) -> u64 {
    match tag {
        BlockNumberOrTag::Number(number) => number,
        BlockNumberOrTag::Earliest => 0,
        BlockNumberOrTag::Latest
        | BlockNumberOrTag::Safe
        | BlockNumberOrTag::Finalized
        | BlockNumberOrTag::Pending => head.block.header.number,
    }
}
