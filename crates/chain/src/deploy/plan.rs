//! The steps of a deployment, and the transaction of each. A function of what is wanted and of where earlier steps have
//! put their contracts; asks nobody.

use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall;

use super::{DECIMALS, DOING, DeployConfig, STAKE_NAME, STAKE_SYMBOL, Token};
use crate::abi::{AppRegistry, Hub};
use crate::error::{Error, Result};
use crate::types::Contracts;
use crate::wallet::TxRequest;

const CALL_GAS: u64 = 1_000_000;
/// What such a call was seen to use, for foretelling the cost.
const CALL_GAS_EXPECTED: u64 = 150_000;
/// Gas for a byte of creation code: call data, the code kept, and its hashing.
const CODE_BYTE_GAS: u64 = 16 + 200 + 4;
const CREATE_BASE_GAS: u64 = 1_500_000;
const CREATE_BASE_GAS_EXPECTED: u64 = 500_000;

/// A contract of the market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Rlc,
    Extension,
    Implementation,
    Hub,
    AppRegistry,
    DatasetRegistry,
    WorkerpoolRegistry,
}

impl Part {
    pub(super) const REGISTRIES: [Self; 3] =
        [Self::AppRegistry, Self::DatasetRegistry, Self::WorkerpoolRegistry];
    pub(super) const ALL: [Self; 7] = [
        Self::Rlc,
        Self::Extension,
        Self::Implementation,
        Self::Hub,
        Self::AppRegistry,
        Self::DatasetRegistry,
        Self::WorkerpoolRegistry,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rlc => "rlc",
            Self::Extension => "hubExtension",
            Self::Implementation => "hubImplementation",
            Self::Hub => "hub",
            Self::AppRegistry => "appRegistry",
            Self::DatasetRegistry => "datasetRegistry",
            Self::WorkerpoolRegistry => "workerpoolRegistry",
        }
    }
}

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create(Part),
    /// Locks a registry's initialiser; there is no earlier registry.
    Initialize(Part),
    Configure,
    Category(usize),
    HandOver(Part),
}

impl Step {
    /// The contract that it puts up, if it does.
    pub(super) fn creates(self) -> Option<Part> {
        match self {
            Self::Create(part) => Some(part),
            _ => None,
        }
    }
}

/// The name under which a step is written down.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(part) => f.write_str(part.name()),
            Self::Initialize(part) => write!(f, "initialize {}", part.name()),
            Self::Configure => f.write_str("configure hub"),
            Self::Category(number) => write!(f, "create category {number}"),
            Self::HandOver(part) => write!(f, "hand over {}", part.name()),
        }
    }
}

/// Where the contracts are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<Part, Address>);

impl Places {
    pub(super) fn new(config: &DeployConfig) -> Self {
        let mut places = Self::default();
        if let Token::Existing(token) = config.token {
            places.put(Part::Rlc, token);
        }
        places
    }

    pub(super) fn put(&mut self, part: Part, address: Address) {
        self.0.insert(part, address);
    }

    pub(super) fn get(&self, part: Part) -> Option<Address> {
        self.0.get(&part).copied()
    }

    fn sure(&self, part: Part) -> Result<Address> {
        let missing = || Error::garbled(DOING, format!("there is no {} yet", part.name()));
        self.get(part).ok_or_else(missing)
    }

    /// All of them, when all are there.
    pub(super) fn contracts(&self) -> Option<Contracts> {
        Some(Contracts {
            hub: self.get(Part::Hub)?,
            rlc: self.get(Part::Rlc)?,
            app_registry: self.get(Part::AppRegistry)?,
            dataset_registry: self.get(Part::DatasetRegistry)?,
            workerpool_registry: self.get(Part::WorkerpoolRegistry)?,
        })
    }
}

/// What to do, in order.
pub(super) fn steps(config: &DeployConfig, deployer: Address) -> Vec<Step> {
    let known = Places::new(config);
    let missing = Part::ALL.into_iter().filter(|part| known.get(*part).is_none());
    let handed_over = config.owner.is_some_and(|owner| owner != deployer);
    let owned = [Part::Hub].into_iter().chain(Part::REGISTRIES).filter(|_| handed_over);
    missing
        .map(Step::Create)
        .chain(Part::REGISTRIES.map(Step::Initialize))
        .chain([Step::Configure])
        .chain((0..config.categories.len()).map(Step::Category))
        .chain(owned.map(Step::HandOver))
        .collect()
}

/// The transaction of a step, with a limit of gas that suffices on a chain where gas is for execution only.
pub(super) fn request(
    step: Step,
    config: &DeployConfig,
    deployer: Address,
    places: &Places,
) -> Result<TxRequest> {
    let call = |to: Part, data: Vec<u8>| {
        places.sure(to).map(|address| TxRequest::call(address, data).gas(CALL_GAS))
    };
    match step {
        Step::Create(part) => {
            let code = creation_code(part, config, deployer, places)?;
            let gas = CREATE_BASE_GAS + length(&code) * CODE_BYTE_GAS;
            Ok(TxRequest::create(code).gas(gas))
        }
        Step::Initialize(registry) => {
            call(registry, AppRegistry::initializeCall { previous: Address::ZERO }.abi_encode())
        }
        Step::Configure => call(Part::Hub, configuration(places)?.abi_encode()),
        Step::Category(number) => {
            let missing = || Error::garbled(DOING, format!("there is no category {number}"));
            let category = config.categories.get(number).ok_or_else(missing)?;
            let create = Hub::createCategoryCall {
                name: category.name.clone(),
                description: category.description.clone(),
                workClockTimeRef: U256::from(category.work_clock_seconds),
            };
            call(Part::Hub, create.abi_encode())
        }
        Step::HandOver(part) => {
            let owner = config.owner.unwrap_or(deployer);
            call(part, Hub::transferOwnershipCall { newOwner: owner }.abi_encode())
        }
    }
}

/// Gas that a step is going to use, roughly and rather too much.
pub(super) fn expected_gas(
    step: Step,
    config: &DeployConfig,
    deployer: Address,
    places: &Places,
) -> u64 {
    let Some(part) = step.creates() else {
        return CALL_GAS_EXPECTED;
    };
    // The addresses of others do not change a code's length.
    let mut guessed = places.clone();
    Part::ALL.into_iter().filter(|part| places.get(*part).is_none()).for_each(|part| {
        guessed.put(part, deployer);
    });
    creation_code(part, config, deployer, &guessed)
        .map_or(0, |code| CREATE_BASE_GAS_EXPECTED + length(&code) * CODE_BYTE_GAS)
}

/// The call that tells the hub of its registries and its token.
pub(super) fn configuration(places: &Places) -> Result<Hub::configureCall> {
    Ok(Hub::configureCall {
        token: places.sure(Part::Rlc)?,
        name: STAKE_NAME.to_owned(),
        symbol: STAKE_SYMBOL.to_owned(),
        decimals: DECIMALS,
        appregistry: places.sure(Part::AppRegistry)?,
        datasetregistry: places.sure(Part::DatasetRegistry)?,
        workerpoolregistry: places.sure(Part::WorkerpoolRegistry)?,
        v3_iexecHub: Address::ZERO,
    })
}

/// Creation code with constructor arguments.
pub(super) fn creation_code(
    part: Part,
    config: &DeployConfig,
    deployer: Address,
    places: &Places,
) -> Result<Bytes> {
    let uri = |kind: &str| match config.base_uri.trim_end_matches('/') {
        "" => String::new(),
        base => format!("{base}/{kind}/"),
    };
    Ok(match part {
        Part::Rlc => {
            let allocation: Vec<(Address, U256)> = match &config.token {
                Token::New(shares) => shares.iter().map(|(who, share)| (*who, share.0)).collect(),
                Token::Existing(_) => Vec::new(),
            };
            bindings::rlc::creation_code(&allocation)
        }
        Part::Extension => bindings::hub::extension_creation_code(),
        Part::Implementation => bindings::hub::creation_code(places.sure(Part::Extension)?),
        Part::Hub => {
            bindings::hub::proxy_creation_code(places.sure(Part::Implementation)?, deployer)
        }
        Part::AppRegistry => bindings::app_registry::creation_code(deployer, &uri("app")),
        Part::DatasetRegistry => {
            bindings::dataset_registry::creation_code(deployer, &uri("dataset"))
        }
        Part::WorkerpoolRegistry => {
            bindings::workerpool_registry::creation_code(deployer, &uri("workerpool"))
        }
    })
}

fn length(code: &Bytes) -> u64 {
    u64::try_from(code.len()).unwrap_or(u64::MAX / CODE_BYTE_GAS)
}
