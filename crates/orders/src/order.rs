//! The four orders, as their owners sign them.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes, U256};
use primitives::{DealId, Tag};

use crate::{Domain, deal_id};

/// Which of the four orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderKind {
    /// An [`AppOrder`].
    App,
    /// A [`DatasetOrder`].
    Dataset,
    /// A [`WorkerpoolOrder`].
    Workerpool,
    /// A [`RequestOrder`].
    Request,
}

impl OrderKind {
    /// All of them, in the order in which the contracts take them.
    pub const ALL: [Self; 4] = [Self::App, Self::Dataset, Self::Workerpool, Self::Request];

    /// The lower-case word for it: `app`, `dataset`, `workerpool`, `request`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Dataset => "dataset",
            Self::Workerpool => "workerpool",
            Self::Request => "request",
        }
    }
}

impl fmt::Display for OrderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an owner asks the contract to do with an order of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Sign it on chain, so that the order needs no signature of its own.
    Sign,
    /// Use it up for good.
    Close,
}

impl Operation {
    /// Its number in the contracts' ABI.
    pub fn number(self) -> u8 {
        match self {
            Self::Sign => 0,
            Self::Close => 1,
        }
    }
}

/// An app's owner lets it run. Prices are in nRLC per task; a zero restriction means anybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppOrder {
    /// The app on offer.
    pub app: Address,
    /// Price per task, in nRLC.
    pub price: U256,
    /// How many tasks may be run under this order.
    pub volume: U256,
    /// What running it demands.
    pub tag: Tag,
    /// Only with this dataset (or group).
    pub dataset_restrict: Address,
    /// Only on this workerpool (or group).
    pub workerpool_restrict: Address,
    /// Only for this requester (or group).
    pub requester_restrict: Address,
    /// Makes two otherwise equal orders different.
    pub salt: B256,
    /// The app owner's signature over the order's hash; may be empty when signed on chain.
    pub sign: Bytes,
}

/// A dataset's owner lets it be used. A request without a dataset goes with [`DatasetOrder::none`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatasetOrder {
    /// The dataset on offer; zero for none.
    pub dataset: Address,
    /// Price per task, in nRLC.
    pub price: U256,
    /// How many tasks may use it under this order.
    pub volume: U256,
    /// What using it demands.
    pub tag: Tag,
    /// Only by this app (or group).
    pub app_restrict: Address,
    /// Only on this workerpool (or group).
    pub workerpool_restrict: Address,
    /// Only for this requester (or group).
    pub requester_restrict: Address,
    /// Makes two otherwise equal orders different.
    pub salt: B256,
    /// The dataset owner's signature.
    pub sign: Bytes,
}

impl DatasetOrder {
    /// The order that stands for "no dataset": all zero, unsigned.
    pub fn none() -> Self {
        Self::default()
    }
}

/// A workerpool's owner offers computing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerpoolOrder {
    /// The pool on offer.
    pub workerpool: Address,
    /// Price per task, in nRLC.
    pub price: U256,
    /// How many tasks it takes under this order.
    pub volume: U256,
    /// What it can satisfy.
    pub tag: Tag,
    /// The category it offers: how long a task may run.
    pub category: U256,
    /// The highest trust it offers.
    pub trust: U256,
    /// Only for this app (or group).
    pub app_restrict: Address,
    /// Only for this dataset (or group).
    pub dataset_restrict: Address,
    /// Only for this requester (or group).
    pub requester_restrict: Address,
    /// Makes two otherwise equal orders different.
    pub salt: B256,
    /// The pool owner's signature.
    pub sign: Bytes,
}

/// A requester wants tasks run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestOrder {
    /// The app to run.
    pub app: Address,
    /// The most to pay for it, in nRLC per task.
    pub app_max_price: U256,
    /// The dataset to use; zero for none.
    pub dataset: Address,
    /// The most to pay for it, in nRLC per task.
    pub dataset_max_price: U256,
    /// Only on this workerpool (or group); zero for any.
    pub workerpool: Address,
    /// The most to pay for computing, in nRLC per task.
    pub workerpool_max_price: U256,
    /// Who asks, signs and (unless sponsored) pays.
    pub requester: Address,
    /// How many tasks.
    pub volume: U256,
    /// What the execution demands.
    pub tag: Tag,
    /// How long a task may run.
    pub category: U256,
    /// How much agreement is wanted; 0 and 1 mean a single worker.
    pub trust: U256,
    /// Whose key the results are for.
    pub beneficiary: Address,
    /// The contract told of each result; zero for none.
    pub callback: Address,
    /// The parameters, JSON text.
    pub params: String,
    /// Makes two otherwise equal orders different.
    pub salt: B256,
    /// The requester's signature.
    pub sign: Bytes,
}

/// Four orders that are to become one deal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quartet {
    /// The app's.
    pub app: AppOrder,
    /// The dataset's, or [`DatasetOrder::none`].
    pub dataset: DatasetOrder,
    /// The workerpool's.
    pub workerpool: WorkerpoolOrder,
    /// The requester's.
    pub request: RequestOrder,
}

impl Quartet {
    /// The deal that matching them now would make. `consumed_before`: how many tasks of the request were dealt already.
    pub fn deal_id(&self, domain: &Domain, consumed_before: U256) -> DealId {
        deal_id(self.request.hash(domain), consumed_before)
    }

    /// Whether a dataset takes part.
    pub fn has_dataset(&self) -> bool {
        !self.dataset.dataset.is_zero()
    }
}
