//! Whether what is on the chain is what was to be put there.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, b256};
use alloy_sol_types::SolCall;
use serde_json::json;

use super::plan::{self, Part, Places};
use super::record::Deployment;
use super::{DECIMALS, DeployConfig, STAKE_NAME, STAKE_SYMBOL, Token, code, site};
use crate::abi::{AppRegistry, Hub, RLC};
use crate::client::Client;
use crate::error::{Error, Result};

/// `keccak256("eip1967.proxy.implementation") - 1`
const IMPLEMENTATION_SLOT: B256 =
    b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub what: String,
    /// What is wrong with it; nothing if it is right.
    pub trouble: Option<String>,
}

/// Looks at everything that a deployment claims. What is wrong is in the checks; `config` says what was wanted, its token
/// and owner apart, which the deployment knows.
///
/// # Errors
/// The node does not answer.
pub async fn verify(
    client: &Client,
    deployment: &Deployment,
    config: &DeployConfig,
) -> Result<Vec<Check>> {
    let mut config = config.clone();
    config.owner = Some(deployment.owner);
    config.base_uri.clone_from(&deployment.base_uri);
    if let Some(token) = deployment.existing_token {
        config.token = Token::Existing(token);
    }
    let places = deployment.places();
    let mut inspector =
        Inspector { client, deployment, config: &config, places: &places, checks: Vec::new() };
    inspector.everything().await?;
    Ok(inspector.checks)
}

struct Inspector<'a> {
    client: &'a Client,
    deployment: &'a Deployment,
    config: &'a DeployConfig,
    places: &'a Places,
    checks: Vec<Check>,
}

impl Inspector<'_> {
    async fn everything(&mut self) -> Result<()> {
        self.equal("chain id", &self.deployment.chain_id, &self.client.chain_id());
        let genesis = site::genesis(self.client).await?;
        self.equal("first block of the chain", &self.deployment.genesis, &genesis);
        let missing: Vec<&str> = Part::ALL
            .into_iter()
            .filter(|part| self.places.get(*part).is_none())
            .map(Part::name)
            .collect();
        self.note("every contract has an address", missing.is_empty(), || missing.join(", "));
        if !self.checks.iter().all(|check| check.trouble.is_none()) {
            return Ok(());
        }
        self.codes().await?;
        self.hub().await?;
        self.registries().await?;
        self.token().await?;
        self.categories().await
    }

    /// Each contract's code is ours, apart from immutables; and these name nothing but contracts of this market.
    async fn codes(&mut self) -> Result<()> {
        let mut known: BTreeMap<Address, &'static str> = BTreeMap::new();
        for part in Part::ALL {
            known.extend(self.places.get(part).map(|address| (address, part.name())));
        }
        for part in Part::ALL {
            let Some(address) = self.places.get(part) else { continue };
            if part == Part::Rlc && self.deployment.existing_token.is_some() {
                let there = self.client.has_code(address).await?;
                self.note("code of the existing token", there, || "there is none".into());
                continue;
            }
            let what = format!("code of {}", part.name());
            let creation =
                plan::creation_code(part, self.config, self.deployment.deployer, self.places)?;
            let trouble = self.compare(&creation, address, &known).await?;
            self.checks.push(Check { what, trouble });
        }
        Ok(())
    }

    /// What is wrong with the code at that address, which `creation` should have made, or contracts made on the way.
    async fn compare(
        &self,
        creation: &Bytes,
        address: Address,
        known: &BTreeMap<Address, &'static str>,
    ) -> Result<Option<String>> {
        let mut waiting = vec![address];
        let mut seen = Vec::new();
        while let Some(address) = waiting.pop() {
            seen.push(address);
            let deployed = self.code(address).await?;
            let Some(values) = code::immutables(creation, &deployed) else {
                return Ok(Some(match deployed.is_empty() {
                    true => format!("there is no contract at {address}"),
                    false => format!("the code at {address} is another"),
                }));
            };
            for value in values {
                if value[..12].iter().any(|byte| *byte != 0) {
                    return Ok(Some(format!("{address} holds {value}, which is no address")));
                }
                let inner = Address::from_word(value);
                if !known.contains_key(&inner) && !seen.contains(&inner) {
                    waiting.push(inner);
                }
            }
        }
        Ok(None)
    }

    async fn hub(&mut self) -> Result<()> {
        let at = |part| self.places.get(part).unwrap_or_default();
        let (hub, implementation) = (at(Part::Hub), at(Part::Implementation));
        let slot: B256 = self
            .client
            .request("eth_getStorageAt", json!([hub, IMPLEMENTATION_SLOT, "latest"]))
            .await
            .and_then(|word| {
                serde_json::from_value(word)
                    .map_err(|error| Error::garbled("reading storage", error))
            })?;
        self.equal("implementation behind the hub", &implementation, &Address::from_word(slot));
        let answers = [
            ("hub's token", at(Part::Rlc), self.ask(hub, Hub::tokenCall {}).await?),
            ("hub's apps", at(Part::AppRegistry), self.ask(hub, Hub::appregistryCall {}).await?),
            (
                "hub's datasets",
                at(Part::DatasetRegistry),
                self.ask(hub, Hub::datasetregistryCall {}).await?,
            ),
            (
                "hub's workerpools",
                at(Part::WorkerpoolRegistry),
                self.ask(hub, Hub::workerpoolregistryCall {}).await?,
            ),
            ("hub's owner", self.deployment.owner, self.ask(hub, Hub::ownerCall {}).await?),
        ];
        for (what, expected, found) in answers {
            self.equal(what, &Some(expected), &found);
        }
        self.equal("name", &Some(STAKE_NAME.to_owned()), &self.ask(hub, Hub::nameCall {}).await?);
        self.equal(
            "symbol",
            &Some(STAKE_SYMBOL.to_owned()),
            &self.ask(hub, Hub::symbolCall {}).await?,
        );
        self.equal("decimals", &Some(DECIMALS), &self.ask(hub, Hub::decimalsCall {}).await?);
        let domain = orders::Domain { chain_id: self.deployment.chain_id, hub };
        let separator = self.ask(hub, Hub::eip712domain_separatorCall {}).await?;
        self.equal("domain separator", &Some(domain.separator()), &separator);
        let configure = plan::configuration(self.places)?;
        self.refused("configuring the hub again", hub, &configure).await?;
        self.refused("configuring the implementation", implementation, &configure).await
    }

    async fn registries(&mut self) -> Result<()> {
        for part in Part::REGISTRIES {
            let registry = self.places.get(part).unwrap_or_default();
            let name = part.name();
            let owner = self.ask(registry, Hub::ownerCall {}).await?;
            self.equal(&format!("owner of {name}"), &Some(self.deployment.owner), &owner);
            let initialized = self.ask(registry, AppRegistry::initializedCall {}).await?;
            self.equal(&format!("{name} is initialised"), &Some(true), &initialized);
            let previous = self.ask(registry, AppRegistry::previousCall {}).await?;
            self.equal(&format!("registry before {name}"), &Some(Address::ZERO), &previous);
            let again = AppRegistry::initializeCall { previous: self.deployment.owner };
            self.refused(&format!("initialising {name} again"), registry, &again).await?;
            let master = self.ask(registry, AppRegistry::masterCall {}).await?.unwrap_or_default();
            let what = format!("initialising the master of {name}");
            let initializer = match part {
                Part::AppRegistry => app_initializer().abi_encode(),
                Part::DatasetRegistry => dataset_initializer().abi_encode(),
                _ => workerpool_initializer().abi_encode(),
            };
            self.refused_data(&what, master, initializer).await?;
        }
        Ok(())
    }

    async fn token(&mut self) -> Result<()> {
        let token = self.places.get(Part::Rlc).unwrap_or_default();
        let decimals = self.ask(token, RLC::decimalsCall {}).await?;
        self.equal("decimals of the token", &Some(DECIMALS), &decimals);
        if self.deployment.existing_token.is_none() {
            let supply = self.ask(token, RLC::totalSupplyCall {}).await?;
            self.equal("supply of the token", &Some(bindings::rlc::SUPPLY), &supply);
        }
        Ok(())
    }

    async fn categories(&mut self) -> Result<()> {
        let hub = self.places.get(Part::Hub).unwrap_or_default();
        let count = self.ask(hub, Hub::countCategoryCall {}).await?.unwrap_or_default();
        let least = U256::from(self.config.categories.len());
        // An owner may have added more since.
        self.note("number of categories", count >= least, || format!("{count}, not {least}"));
        for (number, category) in self.config.categories.iter().enumerate() {
            let found = self.ask(hub, Hub::viewCategoryCall { catid: U256::from(number) }).await?;
            let found = found.map(|it| (it.name, it.description, it.workClockTimeRef));
            let expected = (
                category.name.clone(),
                category.description.clone(),
                U256::from(category.work_clock_seconds),
            );
            self.equal(&format!("category {number}"), &Some(expected), &found);
        }
        Ok(())
    }

    async fn code(&self, address: Address) -> Result<Bytes> {
        let code = self.client.request("eth_getCode", json!([address, "latest"])).await?;
        serde_json::from_value(code).map_err(|error| Error::garbled("reading code", error))
    }

    /// What a view answers; nothing if there is no such view.
    async fn ask<C: SolCall>(&self, to: Address, call: C) -> Result<Option<C::Return>> {
        match self.client.view(to, call).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_retryable() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// That the owner cannot do that.
    async fn refused(&mut self, what: &str, to: Address, call: &impl SolCall) -> Result<()> {
        self.refused_data(what, to, call.abi_encode()).await
    }

    async fn refused_data(&mut self, what: &str, to: Address, data: Vec<u8>) -> Result<()> {
        let data = Bytes::from(data);
        let call = json!([{ "from": self.deployment.owner, "to": to, "data": data }, "latest"]);
        let refused = match self.client.request("eth_call", call).await {
            Err(error) if error.is_revert() => true,
            Err(error) if error.is_retryable() => return Err(error),
            Ok(_) | Err(_) => false,
        };
        self.note(&format!("{what} is refused"), refused, || "it is not".into());
        Ok(())
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: &T, found: &T) {
        self.note(what, expected == found, || format!("{found:?}, not {expected:?}"));
    }

    fn note(&mut self, what: &str, good: bool, trouble: impl FnOnce() -> String) {
        let trouble = (!good).then(trouble);
        self.checks.push(Check { what: what.to_owned(), trouble });
    }
}

fn app_initializer() -> bindings::app::App::initializeCall {
    bindings::app::App::initializeCall {
        name: String::new(),
        appType: String::new(),
        multiaddr: Bytes::new(),
        checksum: B256::ZERO,
        mrenclave: Bytes::new(),
    }
}

fn dataset_initializer() -> bindings::dataset::Dataset::initializeCall {
    bindings::dataset::Dataset::initializeCall {
        name: String::new(),
        multiaddr: Bytes::new(),
        checksum: B256::ZERO,
    }
}

fn workerpool_initializer() -> bindings::workerpool::Workerpool::initializeCall {
    bindings::workerpool::Workerpool::initializeCall { description: String::new() }
}
