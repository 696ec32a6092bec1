//! The first block, and picking up where the last one was.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    Config, DevAccount, Error,
    clock::Clock,
    engine::next_base_fee,
    shared::{Head, empty_header},
    storage::{Account, Block, BlockHead, Changes, Database, StorageError},
};
use alloy_consensus::Header;

/// Writes the first block, with everybody's balance.
pub(crate) fn write(
    database: &Database,
    config: &Config,
    accounts: &[DevAccount],
) -> Result<(), StorageError> {
    let mut changes = Changes::default();
    let own = accounts.iter().map(|it| (it.address, config.balance));
    for (address, balance) in own.chain(config.extra_balances.iter().copied()) {
        changes.set_account(address, Some(Account { balance, ..Account::default() }));
    }
    let mut header = Header {
        timestamp: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs()),
        gas_limit: config.gas_limit,
        base_fee_per_gas: Some(config.min_base_fee),
        beneficiary: config.coinbase,
        ..empty_header()
    };
    database.write(|writer| {
        header.state_root = writer.apply(0, &changes)?;
        let head = BlockHead { hash: header.hash_slow(), version: 0, transactions: 0, header };
        writer.add_block(&Block { head, transactions: Vec::new() })
    })
}

/// Where the chain stands.
pub(crate) fn head(database: &Database, config: &Config) -> Result<Head, Error> {
    let view = database.view()?;
    let number = view.head_number();
    let block = view
        .block(number)?
        .ok_or_else(|| StorageError::Corrupt(format!("block {number} is missing")))?;
    Ok(Head {
        clock: Clock::resume(block.header.timestamp),
        gas_limit: config.gas_limit,
        coinbase: config.coinbase,
        base_fee: next_base_fee(&block, config.min_base_fee),
        salt: 0,
        block,
        view,
    })
}
