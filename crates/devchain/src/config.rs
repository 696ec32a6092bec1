//! How a chain is set up.

use std::path::PathBuf;

use alloy_primitives::{Address, U256};

use crate::TEST_MNEMONIC;

/// When blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// As soon as a transaction is there.
    Instant,
    /// Every so many milliseconds, be there transactions or not.
    Interval(u64),
    /// Only when asked, by `evm_mine`.
    Manual,
}

/// How a chain is set up. What concerns its first block counts only when it is new.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it says it is. Stored: a chain keeps its id.
    pub chain_id: u64,
    /// Where it is kept. Nothing: in memory, gone at the end.
    pub data_dir: Option<PathBuf>,
    /// When blocks are made.
    pub mining: Mining,
    /// How many development accounts it signs for.
    pub accounts: u32,
    /// What their keys come from.
    pub mnemonic: String,
    /// What each of them has in the first block, in wei.
    pub balance: U256,
    /// What others have in the first block, in wei.
    pub extra_balances: Vec<(Address, U256)>,
    /// Gas of one block. High by default: blocks here are groups of whatever waits, not a scarce good.
    pub gas_limit: u64,
    /// The least base fee, in wei. It is also the first one, and the usual one while blocks are not half full.
    pub min_base_fee: u64,
    /// How many blocks back the state can be asked for and undone.
    pub history: u64,
    /// Who gets the tips.
    pub coinbase: Address,
}

/// The chain id of local development chains.
const DEV_CHAIN_ID: u64 = 31_337;
/// Room for a few thousand market transactions in less than half a block, so that load alone does not raise the base fee.
const GAS_LIMIT: u64 = 4_000_000_000;
/// A hundredth of a gwei, which is what the rollups charge that this chain stands in for.
const MIN_BASE_FEE: u64 = 10_000_000;
/// Ample for every client that reads at a block it has just heard of.
const HISTORY: u64 = 1_024;
/// 10,000 ether.
const BALANCE: u128 = 10_000 * 1_000_000_000_000_000_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            chain_id: DEV_CHAIN_ID,
            data_dir: None,
            mining: Mining::Instant,
            accounts: 16,
            mnemonic: TEST_MNEMONIC.to_owned(),
            balance: U256::from(BALANCE),
            extra_balances: Vec::new(),
            gas_limit: GAS_LIMIT,
            min_base_fee: MIN_BASE_FEE,
            history: HISTORY,
            coinbase: Address::ZERO,
        }
    }
}
