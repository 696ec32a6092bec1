//! Putting up a whole market on an empty chain.
//!
//! All transactions are the owner's and leave without waiting for each other: addresses of new contracts follow from
//! the owner's nonces, so later ones can name earlier ones before these exist.

use alloy_primitives::{Address, U256};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall;
use primitives::Nrlc;
use url::Url;

use crate::abi::{AppRegistry, Hub};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::types::Contracts;
use crate::wallet::{Pending, TxRequest, Wallet};

const DOING: &str = "deploying the market";
const STAKE_NAME: &str = "Staked RLC";
const STAKE_SYMBOL: &str = "SRLC";
const DECIMALS: u8 = 9;
const CALL_GAS: u64 = 1_000_000;
/// Gas for a byte of creation code: call data, the code kept, and its hashing.
const CODE_BYTE_GAS: u64 = 16 + 200 + 4;
const CREATE_BASE_GAS: u64 = 1_500_000;

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

/// The market to deploy.
#[derive(Debug, Clone)]
pub struct DeployConfig {
    /// Who holds RLC at first; must come to 87,000,000 RLC.
    pub allocation: Vec<(Address, Nrlc)>,
    /// In order of their numbers.
    pub categories: Vec<NewCategory>,
    /// What metadata addresses of assets begin with; may be empty.
    pub base_uri: String,
}

impl DeployConfig {
    /// The public market's categories, and RLC shared out as given.
    pub fn new(allocation: Vec<(Address, Nrlc)>) -> Self {
        let category = |(name, work_clock_seconds): (&str, u64)| NewCategory {
            name: name.to_owned(),
            description: "{}".to_owned(),
            work_clock_seconds,
        };
        let public = [("XS", 300), ("S", 1_200), ("M", 3_600), ("L", 10_800), ("XL", 36_000)];
        Self {
            allocation,
            categories: public.into_iter().map(category).collect(),
            base_uri: String::new(),
        }
    }
}

/// Deploys a market owned by `owner`, who pays the gas. The owner must not send anything else meanwhile.
///
/// # Errors
/// A transaction failed; some contracts may then exist, and deploying again makes new ones.
pub async fn deploy(rpc: &Url, owner: PrivateKeySigner, config: DeployConfig) -> Result<Contracts> {
    let client = Client::connect_bare(rpc).await?;
    let wallet = Wallet::new(&client, owner).await?;
    let mut site = Site { wallet, sent: Vec::new() };
    let contracts = site.build(config).await?;
    site.finish().await?;
    Ok(contracts)
}

struct Site {
    wallet: Wallet,
    sent: Vec<(Pending, Option<Address>)>,
}

impl Site {
    async fn build(&mut self, config: DeployConfig) -> Result<Contracts> {
        let owner = self.wallet.address();
        let allocation: Vec<(Address, U256)> =
            config.allocation.iter().map(|(holder, amount)| (*holder, amount.0)).collect();
        let rlc = self.create(bindings::rlc::creation_code(&allocation)).await?;
        let extension = self.create(bindings::hub::extension_creation_code()).await?;
        let implementation = self.create(bindings::hub::creation_code(extension)).await?;
        let hub = self.create(bindings::hub::proxy_creation_code(implementation, owner)).await?;
        let uri = |kind: &str| match config.base_uri.trim_end_matches('/') {
            "" => String::new(),
            base => format!("{base}/{kind}/"),
        };
        let apps = self.create(bindings::app_registry::creation_code(owner, &uri("app"))).await?;
        let datasets =
            self.create(bindings::dataset_registry::creation_code(owner, &uri("dataset"))).await?;
        let workerpools = self
            .create(bindings::workerpool_registry::creation_code(owner, &uri("workerpool")))
            .await?;
        for registry in [apps, datasets, workerpools] {
            self.call(registry, AppRegistry::initializeCall { previous: Address::ZERO }).await?;
        }
        self.call(
            hub,
            Hub::configureCall {
                token: rlc,
                name: STAKE_NAME.to_owned(),
                symbol: STAKE_SYMBOL.to_owned(),
                decimals: DECIMALS,
                appregistry: apps,
                datasetregistry: datasets,
                workerpoolregistry: workerpools,
                v3_iexecHub: Address::ZERO,
            },
        )
        .await?;
        for category in config.categories {
            self.call(
                hub,
                Hub::createCategoryCall {
                    name: category.name,
                    description: category.description,
                    workClockTimeRef: U256::from(category.work_clock_seconds),
                },
            )
            .await?;
        }
        Ok(Contracts {
            hub,
            rlc,
            app_registry: apps,
            dataset_registry: datasets,
            workerpool_registry: workerpools,
        })
    }

    async fn create(&mut self, code: alloy_primitives::Bytes) -> Result<Address> {
        let address = self.wallet.address().create(self.wallet.next_nonce());
        let bytes = u64::try_from(code.len()).unwrap_or(u64::MAX / CODE_BYTE_GAS);
        let gas = CREATE_BASE_GAS + bytes * CODE_BYTE_GAS;
        let pending = self.wallet.send(TxRequest::create(code).gas(gas)).await?;
        self.sent.push((pending, Some(address)));
        Ok(address)
    }

    async fn call(&mut self, to: Address, call: impl SolCall) -> Result<()> {
        let request = TxRequest::call(to, call.abi_encode()).gas(CALL_GAS);
        self.sent.push((self.wallet.send(request).await?, None));
        Ok(())
    }

    async fn finish(self) -> Result<()> {
        for (pending, expected) in &self.sent {
            let receipt = pending.mined().await?;
            if let Some(expected) = expected
                && receipt.created != Some(*expected)
            {
                let why = format!("expected a contract at {expected}, not {:?}", receipt.created);
                return Err(Error::garbled(DOING, why));
            }
        }
        Ok(())
    }
}
