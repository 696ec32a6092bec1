//! Putting up a whole market on an empty chain.
//!
//! * [`deploy`] does it in one go, for a chain of one's own: all transactions leave without waiting for each other.
//! * [`Site`] does it on any chain: a step at a time, each written down before it is sent, so that whoever is killed at
//!   any moment goes on where he was and puts up nothing twice.
//! * [`verify`] compares what is on the chain with what should be.
//!
//! Addresses of new contracts follow from the deployer's nonces, so later steps name earlier ones before these exist.
//!
//! Not here: files (the caller keeps a [`Deployment`]), and upgrades of a hub that stands.

mod code;
mod plan;
mod record;
mod site;
mod verify;

use alloy_primitives::{Address, U256};
use alloy_signer_local::PrivateKeySigner;
use primitives::Nrlc;
use url::Url;

pub use record::{Attempt, Deployment, Mined, StepRecord};
pub use site::{Cost, Keep, Site, SiteError, SiteOptions};
pub use verify::{Check, verify};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::types::Contracts;
use crate::wallet::{Pending, Wallet};
use plan::Places;

const DOING: &str = "deploying the market";

/// A category to create. Deals name categories by their place in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCategory {
    /// Such as `XS`.
    pub name: String,
    /// For people; JSON by convention.
    pub description: String,
    /// Unit of time of its deadlines, in seconds.
    pub work_clock_seconds: u64,
}

/// What the market pays with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A new RLC; the amounts must come to 87,000,000 RLC.
    New(Vec<(Address, Nrlc)>),
    /// One that is there.
    Existing(Address),
}

/// The market to deploy.
#[derive(Debug, Clone)]
pub struct DeployConfig {
    /// Who may create categories and upgrade the hub afterwards; the deployer if nobody is named.
    pub owner: Option<Address>,
    /// What it pays with.
    pub token: Token,
    /// In order of their numbers.
    pub categories: Vec<NewCategory>,
    /// What metadata addresses of assets begin with; may be empty.
    pub base_uri: String,
}

impl DeployConfig {
    /// The public market's categories, and a new RLC shared out as given.
    pub fn new(allocation: Vec<(Address, Nrlc)>) -> Self {
        Self::with_token(Token::New(allocation))
    }

    /// The public market's categories, and that token.
    pub fn with_token(token: Token) -> Self {
        let category = |(name, work_clock_seconds): (&str, u64)| NewCategory {
            name: name.to_owned(),
            description: "{}".to_owned(),
            work_clock_seconds,
        };
        let public = [("XS", 300), ("S", 1_200), ("M", 3_600), ("L", 10_800), ("XL", 36_000)];
        Self {
            owner: None,
            token,
            categories: public.into_iter().map(category).collect(),
            base_uri: String::new(),
        }
    }
}

/// Deploys a market and pays the gas with that key, which must not send anything else meanwhile.
///
/// # Errors
/// A transaction failed; some contracts may then exist, and deploying again makes new ones.
pub async fn deploy(
    rpc: &Url,
    deployer: PrivateKeySigner,
    config: DeployConfig,
) -> Result<Contracts> {
    let client = Client::connect_bare(rpc).await?;
    let wallet = Wallet::new(&client, deployer).await?;
    let mut places = Places::new(&config);
    let mut sent: Vec<(Pending, Option<Address>)> = Vec::new();
    for step in plan::steps(&config, wallet.address()) {
        let request = plan::request(step, &config, wallet.address(), &places)?;
        let created = step.creates().map(|part| {
            let address = wallet.address().create(wallet.next_nonce());
            places.put(part, address);
            address
        });
        sent.push((wallet.send(request).await?, created));
    }
    for (pending, expected) in &sent {
        let receipt = pending.mined().await?;
        if let Some(expected) = expected
            && receipt.created != Some(*expected)
        {
            let why = format!("expected a contract at {expected}, not {:?}", receipt.created);
            return Err(Error::garbled(DOING, why));
        }
    }
    places.contracts().ok_or_else(|| Error::garbled(DOING, "a contract has no place"))
}

/// What the market's token must say of itself.
const DECIMALS: u8 = 9;
const STAKE_NAME: &str = "Staked RLC";
const STAKE_SYMBOL: &str = "SRLC";

/// The whole supply of a new RLC, for one holder.
pub fn all_to(holder: Address) -> Vec<(Address, Nrlc)> {
    vec![(holder, Nrlc(U256::from(87_000_000_000_000_000_u64)))]
}
