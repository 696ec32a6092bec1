//! A deployment that can be killed at any moment.
//!
//! ```text
//!   for each step:  sign ─► keep ─► send ─► receipt ─► keep
//!                     ▲                       │ overdue: same nonce, higher fee
//!                     └───────────────────────┘ nonce used by something else: a new one
//! ```
//! A transaction is kept before it is sent, and all attempts at a step have one nonce, so at most one of them is ever
//! mined. Whoever comes back looks for the receipts of what was kept, and sends again what has none.

use std::io;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer_local::PrivateKeySigner;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use super::plan::{self, Places, Step};
use super::record::{Attempt, Deployment, Mined, StepRecord};
use super::{DOING, DeployConfig};
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::receipt::Receipt;
use crate::wallet::{self, Answer, Fees, TxRequest, fetch_receipt};

/// On top of a node's estimate, in per cent.
const MARGIN_PERCENT: u64 = 25;
/// How often a used nonce must be seen without a receipt of ours, since nodes behind one address may differ for a moment.
const LAGS: u32 = 8;

/// Who remembers a deployment.
pub trait Keep: Send {
    /// Writes it down; returns when it would survive a crash.
    ///
    /// # Errors
    /// It cannot be written. Nothing is sent then.
    fn keep(&mut self, deployment: &Deployment) -> io::Result<()>;

    /// A step is mined, the `done`th of `all`.
    fn done(&mut self, _step: &StepRecord, _done: usize, _all: usize) {}
}

/// How a site behaves.
#[derive(Debug, Clone)]
pub struct SiteOptions {
    /// How often to look for a receipt.
    pub poll_interval: Duration,
    /// How long a transaction may stay unmined before it is offered with a higher fee.
    pub resubmit_after: Duration,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self { poll_interval: Duration::from_millis(250), resubmit_after: Duration::from_secs(30) }
    }
}

/// Why a deployment stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The node does not do what is needed.
    #[error("{0}")]
    Chain(#[source] Error),
    /// What was kept is of another chain.
    #[error("it was begun on chain {kept}, and this is chain {found}")]
    OtherChain {
        /// The chain that it was begun on.
        kept: u64,
        /// The chain that the node is of.
        found: u64,
    },
    /// The chain has the same id and another first block.
    #[error("chain {0} has another first block than when it was begun")]
    OtherHistory(u64),
    /// What was kept was begun with other wishes.
    #[error("it was begun with another {what}: {kept}")]
    OtherTerms {
        /// Which wish.
        what: &'static str,
        /// As it was.
        kept: String,
    },
    /// The deployer cannot pay.
    #[error("{deployer} has {} wei, and needs about {}", .cost.has, .cost.needs)]
    NoMoney {
        /// Whose account it is.
        deployer: Address,
        /// What is needed and there, in wei.
        cost: Cost,
    },
    /// A transaction cannot succeed, or did not.
    #[error("the step '{step}' failed: {error}")]
    Step {
        /// Which.
        step: String,
        /// Why.
        #[source]
        error: Error,
    },
    /// The record cannot be kept.
    #[error("the deployment cannot be written down: {0}")]
    Keep(#[source] io::Error),
}

impl From<Error> for SiteError {
    fn from(error: Error) -> Self {
        Self::Chain(error)
    }
}

/// What a deployment still costs, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// At today's price of gas, roughly and rather too much.
    pub needs: U256,
    /// What the deployer has.
    pub has: U256,
}

impl Cost {
    /// What is missing, in wei; zero if nothing is.
    pub fn missing(&self) -> U256 {
        self.needs.saturating_sub(self.has)
    }
}

/// A market that is being put up.
pub struct Site {
    client: Client,
    signer: PrivateKeySigner,
    config: DeployConfig,
    options: SiteOptions,
    steps: Vec<Step>,
    record: Deployment,
}

impl Site {
    /// Looks at the chain and at what was kept of an earlier attempt. Sends nothing.
    ///
    /// # Errors
    /// The node is not reached, or what was kept is of another chain or another market.
    pub async fn survey(
        rpc: &Url,
        signer: PrivateKeySigner,
        config: DeployConfig,
        kept: Option<Deployment>,
        options: SiteOptions,
    ) -> Result<Self, SiteError> {
        let client = Client::connect_bare(rpc).await?;
        let genesis = genesis(&client).await?;
        let begun = Deployment::begin(client.chain_id(), genesis, signer.address(), &config);
        let record = match kept {
            Some(kept) => same_market(kept, &begun)?,
            None => begun,
        };
        let steps = plan::steps(&config, signer.address());
        Ok(Self { client, signer, config, options, steps, record })
    }

    /// The chain.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What is known so far.
    pub fn deployment(&self) -> &Deployment {
        &self.record
    }

    /// How many transactions it takes in all.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// What is still to be paid.
    ///
    /// # Errors
    /// The node does not say.
    pub async fn cost(&self) -> Result<Cost> {
        let has = self.client.ether(self.signer.address()).await?;
        let price = match self.client.link().fees().await? {
            // The limit allows for a rising base fee; what is paid is about half.
            Fees::Market { max, tip } => max.saturating_sub(tip) / 2 + tip,
            Fees::Flat { price } => price,
        };
        let places = self.record.places();
        let gas: u64 = self
            .steps
            .iter()
            .filter(|step| !self.is_mined(**step))
            .map(|step| plan::expected_gas(*step, &self.config, self.signer.address(), &places))
            .sum();
        Ok(Cost { needs: U256::from(price).saturating_mul(U256::from(gas)), has })
    }

    fn is_mined(&self, step: Step) -> bool {
        self.record.step(&step.to_string()).is_some_and(|record| record.mined.is_some())
    }

    /// Does what is left to do. May be called again after any failure.
    ///
    /// # Errors
    /// See [`SiteError`]. What was done stays done and is kept.
    pub async fn build(&mut self, keeper: &mut dyn Keep) -> Result<Deployment, SiteError> {
        if !self.record.complete {
            self.recall().await?;
            let cost = self.cost().await?;
            if !cost.missing().is_zero() {
                return Err(SiteError::NoMoney { deployer: self.signer.address(), cost });
            }
            keeper.keep(&self.record).map_err(SiteError::Keep)?;
            for (done, step) in self.steps.clone().into_iter().enumerate() {
                self.see_through(step, keeper).await?;
                if let Some(record) = self.record.step(&step.to_string()) {
                    keeper.done(record, done + 1, self.steps.len());
                }
            }
            self.record.contracts = self.record.places().contracts();
            self.record.complete = true;
            keeper.keep(&self.record).map_err(SiteError::Keep)?;
        }
        Ok(self.record.clone())
    }

    /// Takes nothing on trust that a reorganisation may have undone since it was kept.
    async fn recall(&mut self) -> Result<(), SiteError> {
        for step in &mut self.record.steps {
            if step.mined.is_none() {
                continue;
            }
            let mut holds = match step.address {
                // Nodes forget receipts sooner than contracts.
                Some(address) => self.client.has_code(address).await?,
                None => false,
            };
            for attempt in &step.attempts {
                holds = holds || self.client.receipt(attempt.transaction).await?.is_some();
            }
            if !holds {
                step.mined = None;
            }
        }
        Ok(())
    }

    /// From wherever the step is to its end.
    async fn see_through(&mut self, step: Step, keeper: &mut dyn Keep) -> Result<(), SiteError> {
        let name = step.to_string();
        let mut lags = 0;
        let mut offered: Option<Instant> = None;
        while !self.is_mined(step) {
            let failed = |error| SiteError::Step { step: name.clone(), error };
            let Some(record) = self.record.step(&name).cloned() else {
                let nonce = self.count("pending").await?;
                self.offer(step, nonce, None, keeper).await?;
                offered = Some(Instant::now());
                continue;
            };
            if let Some(receipt) = self.receipt(&record).await? {
                if !receipt.succeeded {
                    // Its nonce is spent: the next run does the step anew.
                    self.record.forget(&name);
                    keeper.keep(&self.record).map_err(SiteError::Keep)?;
                    let why = format!("transaction {} was mined and failed", receipt.hash);
                    return Err(failed(Error::garbled(DOING, why)));
                }
                self.finish(&name, &receipt);
                keeper.keep(&self.record).map_err(SiteError::Keep)?;
                return Ok(());
            }
            if self.count("latest").await? > record.nonce {
                lags += 1;
                if lags >= LAGS {
                    tracing::warn!(step = name, nonce = record.nonce, "something else was sent");
                    self.record.forget(&name);
                    lags = 0;
                    continue;
                }
            } else if offered.is_none_or(|at| at.elapsed() >= self.options.resubmit_after) {
                // What was kept may never have been sent, so it is offered as it is first.
                let raise = offered.is_some();
                self.offer(
                    step,
                    record.nonce,
                    record.attempts.last().copied().zip(Some(raise)),
                    keeper,
                )
                .await?;
                offered = Some(Instant::now());
            }
            tokio::time::sleep(self.options.poll_interval).await;
        }
        Ok(())
    }

    async fn receipt(&self, record: &StepRecord) -> Result<Option<Receipt>, SiteError> {
        for attempt in record.attempts.iter().rev() {
            if let Some(receipt) = fetch_receipt(self.client.link(), attempt.transaction).await? {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    fn finish(&mut self, name: &str, receipt: &Receipt) {
        let Some(record) = self.record.step_mut(name) else {
            return;
        };
        record.mined = Some(Mined {
            transaction: receipt.hash,
            block: receipt.block_number,
            gas_used: receipt.gas_used,
        });
    }

    /// Signs, keeps, sends. `earlier`: the attempt before, and whether to pay more than it did.
    async fn offer(
        &mut self,
        step: Step,
        nonce: u64,
        earlier: Option<(Attempt, bool)>,
        keeper: &mut dyn Keep,
    ) -> Result<(), SiteError> {
        let name = step.to_string();
        let failed = |error| SiteError::Step { step: name.clone(), error };
        let deployer = self.signer.address();
        let places = self.known_places();
        let request = plan::request(step, &self.config, deployer, &places).map_err(failed)?;
        let (gas, fees) = match earlier {
            None => {
                (self.estimate(&request).await.map_err(failed)?, self.client.link().fees().await?)
            }
            Some((attempt, false)) => (attempt.gas, attempt.fees()),
            Some((attempt, true)) => {
                let now = self.client.link().fees().await?;
                (attempt.gas, attempt.fees().bumped().at_least(now))
            }
        };
        let chain_id = self.client.chain_id();
        let (hash, raw) = wallet::sign(&self.signer, chain_id, &request, nonce, gas, fees)?;
        let attempt = Attempt::new(hash, gas, fees);
        match self.record.step_mut(&name) {
            Some(record) if record.attempts.iter().all(|one| one.transaction != hash) => {
                record.attempts.push(attempt);
            }
            Some(_) => {}
            None => self.record.steps.push(StepRecord {
                name: name.clone(),
                nonce,
                address: step.creates().map(|_| deployer.create(nonce)),
                attempts: vec![attempt],
                mined: None,
            }),
        }
        keeper.keep(&self.record).map_err(SiteError::Keep)?;
        self.push(raw).await.map_err(|error| match error.kind() {
            ErrorKind::NoGas { .. } => SiteError::Chain(error),
            _ => failed(error),
        })
    }

    fn known_places(&self) -> Places {
        self.record.places()
    }

    async fn push(&self, raw: Bytes) -> Result<()> {
        let call = self.client.link().rpc.once("eth_sendRawTransaction", (raw,));
        match wallet::understand(self.signer.address(), Some(call.await)) {
            Answer::Refused(error) => Err(error),
            // The next look at receipts and nonces tells what became of it.
            Answer::Accepted | Answer::Unheard | Answer::Taken | Answer::Ahead => Ok(()),
        }
    }

    /// Every step is estimated, because on a rollup gas pays for more than execution.
    async fn estimate(&self, request: &TxRequest) -> Result<u64> {
        let call = request.as_call(self.signer.address(), None);
        let gas: alloy_primitives::U64 =
            self.client.link().rpc.request("eth_estimateGas", json!([call])).await?;
        let gas = gas.to::<u64>();
        Ok(gas.saturating_add(gas / 100 * MARGIN_PERCENT))
    }

    async fn count(&self, at: &'static str) -> Result<u64> {
        wallet::transaction_count(self.client.link(), self.signer.address(), at).await
    }
}

pub(super) async fn genesis(client: &Client) -> Result<B256> {
    let block = client.request("eth_getBlockByNumber", json!(["0x0", false])).await?;
    serde_json::from_value(block["hash"].clone())
        .map_err(|error| Error::garbled("reading the chain's first block", error))
}

/// What was kept, if it is of the market that is wanted now.
fn same_market(kept: Deployment, wanted: &Deployment) -> Result<Deployment, SiteError> {
    if kept.chain_id != wanted.chain_id {
        return Err(SiteError::OtherChain { kept: kept.chain_id, found: wanted.chain_id });
    }
    if kept.genesis != wanted.genesis {
        return Err(SiteError::OtherHistory(wanted.chain_id));
    }
    let token = |token: Option<Address>| token.map_or("a new one".to_owned(), |it| it.to_string());
    let terms = [
        ("deployer", kept.deployer.to_string(), wanted.deployer.to_string()),
        ("owner", kept.owner.to_string(), wanted.owner.to_string()),
        ("token", token(kept.existing_token), token(wanted.existing_token)),
        ("base URI", kept.base_uri.clone(), wanted.base_uri.clone()),
    ];
    match terms.into_iter().find(|(_, kept, wanted)| kept != wanted) {
        Some((what, kept, _)) => Err(SiteError::OtherTerms { what, kept }),
        None => Ok(kept),
    }
}
