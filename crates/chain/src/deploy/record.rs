//! What is known of a deployment, to be kept by whoever makes it.

use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::plan::{Part, Places};
use super::{DeployConfig, Token};
use crate::types::Contracts;
use crate::wallet::Fees;

/// The form of a kept deployment.
const VERSION: u32 = 1;

/// A deployment, begun or complete. As JSON it has what services need to find the market: `chainId` and `contracts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// The form of this record.
    pub version: u32,
    /// The chain.
    pub chain_id: u64,
    /// Hash of the chain's first block: chains of development share their ids.
    pub genesis: B256,
    /// Whose key it is made with.
    pub deployer: Address,
    /// Who owns hub and registries in the end.
    pub owner: Address,
    /// The token that was there before, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_token: Option<Address>,
    /// What metadata addresses of assets begin with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub base_uri: String,
    /// Whether every step is mined.
    pub complete: bool,
    /// The market's contracts, once all are put up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contracts: Option<Contracts>,
    /// What was done so far, in order.
    pub steps: Vec<StepRecord>,
}

/// A step that was begun: written down before its transaction is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// What it does.
    pub name: String,
    /// The nonce of all its attempts, of which therefore only one can be mined.
    pub nonce: u64,
    /// The contract that it puts up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The transactions signed for it, the newest last.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mined: Option<Mined>,
}

/// A transaction that may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its hash.
    pub transaction: B256,
    /// Most gas to use.
    pub gas: u64,
    /// Most to pay for a unit of gas, in wei.
    pub fee: U256,
    /// Of that for the maker of the block, in wei; none on chains before EIP-1559.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tip: Option<U256>,
}

/// A mined step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mined {
    /// The transaction.
    pub transaction: B256,
    /// The block it is in.
    pub block: u64,
    /// Gas that it used.
    pub gas_used: u64,
}

impl Attempt {
    pub(super) fn new(transaction: B256, gas: u64, fees: Fees) -> Self {
        let (fee, tip) = match fees {
            Fees::Market { max, tip } => (max, Some(U256::from(tip))),
            Fees::Flat { price } => (price, None),
        };
        Self { transaction, gas, fee: U256::from(fee), tip }
    }

    pub(super) fn fees(&self) -> Fees {
        let fee = self.fee.saturating_to();
        match self.tip {
            Some(tip) => Fees::Market { max: fee, tip: tip.saturating_to() },
            None => Fees::Flat { price: fee },
        }
    }
}

impl Deployment {
    pub(super) fn begin(
        chain_id: u64,
        genesis: B256,
        deployer: Address,
        config: &DeployConfig,
    ) -> Self {
        let existing_token = match config.token {
            Token::Existing(token) => Some(token),
            Token::New(_) => None,
        };
        Self {
            version: VERSION,
            chain_id,
            genesis,
            deployer,
            owner: config.owner.unwrap_or(deployer),
            existing_token,
            base_uri: config.base_uri.clone(),
            complete: false,
            contracts: None,
            steps: Vec::new(),
        }
    }

    /// Whether this version of the program reads it.
    pub fn is_readable(&self) -> bool {
        self.version == VERSION
    }

    pub(super) fn step(&self, name: &str) -> Option<&StepRecord> {
        self.steps.iter().find(|step| step.name == name)
    }

    pub(super) fn step_mut(&mut self, name: &str) -> Option<&mut StepRecord> {
        self.steps.iter_mut().find(|step| step.name == name)
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.steps.retain(|step| step.name != name);
    }

    /// Where contracts are, as far as steps have put them up.
    pub(super) fn places(&self) -> Places {
        let mut places = Places::default();
        if let Some(token) = self.existing_token {
            places.put(Part::Rlc, token);
        }
        for part in Part::ALL {
            if let Some(address) = self.step(part.name()).and_then(|step| step.address) {
                places.put(part, address);
            }
        }
        places
    }
}
