//! What is kept, in the shapes that clients read.

use alloy_consensus::{
    Eip658Value, Receipt, ReceiptEnvelope, Sealed, Transaction as _, TxEnvelope,
    transaction::Recovered,
};
use alloy_primitives::{Address, B256};
use alloy_rlp::Encodable as _;
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt};

use crate::storage::{BlockHead, MinedTransaction};

/// A header as `newHeads` and blocks show it.
pub(crate) fn header(head: &BlockHead) -> Header {
    let sealed = Sealed::new_unchecked(head.header.clone(), head.hash);
    Header::from_consensus(sealed, None, None)
}

/// A block; with hashes only, unless `full`.
pub(crate) fn block(head: &BlockHead, transactions: Vec<MinedTransaction>, full: bool) -> Block {
    let size = head.header.length()
        + transactions.iter().map(|it| it.tx.eip2718_encoded_length()).sum::<usize>();
    let transactions = if full {
        BlockTransactions::Full(
            (0u64..).zip(transactions).map(|(index, tx)| transaction(head, index, tx.tx)).collect(),
        )
    } else {
        BlockTransactions::Hashes(transactions.iter().map(MinedTransaction::hash).collect())
    };
    let mut header = header(head);
    header.size = Some(alloy_primitives::U256::from(size));
    Block { header, uncles: Vec::new(), transactions, withdrawals: Some(Default::default()) }
}

/// A mined transaction.
pub(crate) fn transaction(head: &BlockHead, index: u64, tx: Recovered<TxEnvelope>) -> Transaction {
    Transaction {
        effective_gas_price: Some(tx.effective_gas_price(Some(head.base_fee()))),
        inner: tx,
        block_hash: Some(head.hash),
        block_number: Some(head.header.number),
        transaction_index: Some(index),
        block_timestamp: Some(head.header.timestamp),
    }
}

/// A transaction that waits.
pub(crate) fn waiting(tx: Recovered<TxEnvelope>) -> Transaction {
    Transaction {
        effective_gas_price: None,
        inner: tx,
        block_hash: None,
        block_number: None,
        transaction_index: None,
        block_timestamp: None,
    }
}

/// What came of a transaction.
pub(crate) fn receipt(
    head: &BlockHead,
    index: u64,
    mined: &MinedTransaction,
) -> TransactionReceipt {
    let receipt = Receipt {
        status: Eip658Value::Eip658(mined.success),
        cumulative_gas_used: mined.cumulative_gas,
        logs: logs(head, index, mined, false).collect::<Vec<_>>(),
    };
    let tx = &mined.tx;
    TransactionReceipt {
        inner: ReceiptEnvelope::from_typed(tx.tx_type(), receipt.with_bloom()),
        transaction_hash: mined.hash(),
        transaction_index: Some(index),
        block_hash: Some(head.hash),
        block_number: Some(head.header.number),
        gas_used: mined.gas_used,
        effective_gas_price: tx.effective_gas_price(Some(head.base_fee())),
        blob_gas_used: None,
        blob_gas_price: None,
        from: tx.signer(),
        to: tx.to(),
        contract_address: created(tx),
    }
}

/// The logs of the transaction at `index`.
pub(crate) fn logs<'a>(
    head: &'a BlockHead,
    index: u64,
    mined: &'a MinedTransaction,
    removed: bool,
) -> impl Iterator<Item = Log> + 'a {
    let hash: B256 = mined.hash();
    (mined.first_log..).zip(&mined.logs).map(move |(log_index, log)| Log {
        inner: log.clone(),
        block_hash: Some(head.hash),
        block_number: Some(head.header.number),
        block_timestamp: Some(head.header.timestamp),
        transaction_hash: Some(hash),
        transaction_index: Some(index),
        log_index: Some(log_index),
        removed,
    })
}

fn created(tx: &Recovered<TxEnvelope>) -> Option<Address> {
    tx.is_create().then(|| tx.signer().create(tx.nonce()))
}
