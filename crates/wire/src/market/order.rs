//! The four orders in JSON, with the official field names. Amounts are JSON numbers, so an order with more than
//! 2^53 − 1 of anything cannot be published.

use alloy_primitives::{Address, B256, Bytes, U256};
use orders::{AppOrder, DatasetOrder, Domain, OrderKind, RequestOrder, WorkerpoolOrder};
use primitives::{OrderHash, Tag};
use serde_json::{Map, Value};

use crate::json::{Fields, ShapeError, checksummed, safe_number};

/// Any of the four orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// An app's.
    App(AppOrder),
    /// A dataset's.
    Dataset(DatasetOrder),
    /// A workerpool's.
    Workerpool(WorkerpoolOrder),
    /// A requester's.
    Request(Box<RequestOrder>),
}

impl Order {
    /// Which of the four.
    pub fn kind(&self) -> OrderKind {
        match self {
            Self::App(_) => OrderKind::App,
            Self::Dataset(_) => OrderKind::Dataset,
            Self::Workerpool(_) => OrderKind::Workerpool,
            Self::Request(_) => OrderKind::Request,
        }
    }

    /// Its EIP-712 hash.
    pub fn hash(&self, domain: &Domain) -> OrderHash {
        match self {
            Self::App(order) => order.hash(domain),
            Self::Dataset(order) => order.hash(domain),
            Self::Workerpool(order) => order.hash(domain),
            Self::Request(order) => order.hash(domain),
        }
    }

    /// What it is about and whose owner signs it: the app, the dataset, the workerpool, or the requester itself.
    pub fn subject(&self) -> Address {
        match self {
            Self::App(order) => order.app,
            Self::Dataset(order) => order.dataset,
            Self::Workerpool(order) => order.workerpool,
            Self::Request(order) => order.requester,
        }
    }

    /// How many tasks it is for.
    pub fn volume(&self) -> U256 {
        match self {
            Self::App(order) => order.volume,
            Self::Dataset(order) => order.volume,
            Self::Workerpool(order) => order.volume,
            Self::Request(order) => order.volume,
        }
    }

    /// The signature.
    pub fn sign(&self) -> &Bytes {
        match self {
            Self::App(order) => &order.sign,
            Self::Dataset(order) => &order.sign,
            Self::Workerpool(order) => &order.sign,
            Self::Request(order) => &order.sign,
        }
    }

    /// Whether it is a dataset's standing permission for bulk use: free, and of a volume that no book can use up.
    pub fn is_bulk(&self) -> bool {
        match self {
            Self::Dataset(order) => {
                order.price.is_zero() && order.volume >= U256::from(BULK_VOLUME_MIN)
            }
            Self::App(_) | Self::Workerpool(_) | Self::Request(_) => false,
        }
    }

    /// The official JSON. Fails when an amount is beyond 2^53 − 1.
    pub fn to_json(&self) -> Result<Value, ShapeError> {
        let mut to = Writer(Map::new());
        match self {
            Self::App(order) => write_app(&mut to, order)?,
            Self::Dataset(order) => write_dataset(&mut to, order)?,
            Self::Workerpool(order) => write_workerpool(&mut to, order)?,
            Self::Request(order) => write_request(&mut to, order)?,
        }
        Ok(Value::Object(to.0))
    }

    /// Reads the official JSON of an order of that kind.
    pub fn from_json(kind: OrderKind, value: &Value) -> Result<Self, ShapeError> {
        let from = Fields::of("order", value)?;
        Ok(match kind {
            OrderKind::App => Self::App(read_app(from)?),
            OrderKind::Dataset => Self::Dataset(read_dataset(from)?),
            OrderKind::Workerpool => Self::Workerpool(read_workerpool(from)?),
            OrderKind::Request => Self::Request(Box::new(read_request(from)?)),
        })
    }
}

impl From<AppOrder> for Order {
    fn from(order: AppOrder) -> Self {
        Self::App(order)
    }
}

impl From<DatasetOrder> for Order {
    fn from(order: DatasetOrder) -> Self {
        Self::Dataset(order)
    }
}

impl From<WorkerpoolOrder> for Order {
    fn from(order: WorkerpoolOrder) -> Self {
        Self::Workerpool(order)
    }
}

impl From<RequestOrder> for Order {
    fn from(order: RequestOrder) -> Self {
        Self::Request(Box::new(order))
    }
}

/// The least volume of a bulk dataset order: 2^53 − 2.
pub(super) const BULK_VOLUME_MIN: u64 = crate::json::SAFE_INTEGER_MAX - 1;

struct Writer(Map<String, Value>);

impl Writer {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn address(&mut self, name: &str, address: Address) {
        self.put(name, checksummed(address));
    }

    fn amount(&mut self, name: &str, amount: U256) -> Result<(), ShapeError> {
        self.put(name, safe_number(name, amount)?);
        Ok(())
    }

    /// What all four end with.
    fn end(&mut self, tag: Tag, salt: B256, sign: &Bytes) {
        self.put("tag", tag.to_string());
        self.put("salt", salt.to_string());
        self.put("sign", sign.to_string());
    }
}

fn write_app(to: &mut Writer, order: &AppOrder) -> Result<(), ShapeError> {
    to.address("app", order.app);
    to.amount("appprice", order.price)?;
    to.amount("volume", order.volume)?;
    to.address("datasetrestrict", order.dataset_restrict);
    to.address("workerpoolrestrict", order.workerpool_restrict);
    to.address("requesterrestrict", order.requester_restrict);
    to.end(order.tag, order.salt, &order.sign);
    Ok(())
}

fn read_app(from: Fields<'_>) -> Result<AppOrder, ShapeError> {
    Ok(AppOrder {
        app: from.address("app")?,
        price: from.amount("appprice", 0)?,
        volume: from.amount("volume", 1)?,
        tag: from.tag("tag")?,
        dataset_restrict: from.address("datasetrestrict")?,
        workerpool_restrict: from.address("workerpoolrestrict")?,
        requester_restrict: from.address("requesterrestrict")?,
        salt: from.bytes32("salt")?,
        sign: from.bytes("sign")?,
    })
}

fn write_dataset(to: &mut Writer, order: &DatasetOrder) -> Result<(), ShapeError> {
    to.address("dataset", order.dataset);
    to.amount("datasetprice", order.price)?;
    to.amount("volume", order.volume)?;
    to.address("apprestrict", order.app_restrict);
    to.address("workerpoolrestrict", order.workerpool_restrict);
    to.address("requesterrestrict", order.requester_restrict);
    to.end(order.tag, order.salt, &order.sign);
    Ok(())
}

fn read_dataset(from: Fields<'_>) -> Result<DatasetOrder, ShapeError> {
    Ok(DatasetOrder {
        dataset: from.address("dataset")?,
        price: from.amount("datasetprice", 0)?,
        volume: from.amount("volume", 1)?,
        tag: from.tag("tag")?,
        app_restrict: from.address("apprestrict")?,
        workerpool_restrict: from.address("workerpoolrestrict")?,
        requester_restrict: from.address("requesterrestrict")?,
        salt: from.bytes32("salt")?,
        sign: from.bytes("sign")?,
    })
}

fn write_workerpool(to: &mut Writer, order: &WorkerpoolOrder) -> Result<(), ShapeError> {
    to.address("workerpool", order.workerpool);
    to.amount("workerpoolprice", order.price)?;
    to.amount("volume", order.volume)?;
    to.amount("category", order.category)?;
    to.amount("trust", order.trust)?;
    to.address("apprestrict", order.app_restrict);
    to.address("datasetrestrict", order.dataset_restrict);
    to.address("requesterrestrict", order.requester_restrict);
    to.end(order.tag, order.salt, &order.sign);
    Ok(())
}

fn read_workerpool(from: Fields<'_>) -> Result<WorkerpoolOrder, ShapeError> {
    Ok(WorkerpoolOrder {
        workerpool: from.address("workerpool")?,
        price: from.amount("workerpoolprice", 0)?,
        volume: from.amount("volume", 1)?,
        tag: from.tag("tag")?,
        category: from.amount("category", 0)?,
        trust: from.amount("trust", 0)?,
        app_restrict: from.address("apprestrict")?,
        dataset_restrict: from.address("datasetrestrict")?,
        requester_restrict: from.address("requesterrestrict")?,
        salt: from.bytes32("salt")?,
        sign: from.bytes("sign")?,
    })
}

fn write_request(to: &mut Writer, order: &RequestOrder) -> Result<(), ShapeError> {
    to.address("app", order.app);
    to.amount("appmaxprice", order.app_max_price)?;
    to.address("dataset", order.dataset);
    to.amount("datasetmaxprice", order.dataset_max_price)?;
    to.address("workerpool", order.workerpool);
    to.amount("workerpoolmaxprice", order.workerpool_max_price)?;
    to.address("requester", order.requester);
    to.amount("volume", order.volume)?;
    to.amount("category", order.category)?;
    to.amount("trust", order.trust)?;
    to.address("beneficiary", order.beneficiary);
    to.address("callback", order.callback);
    to.put("params", order.params.as_str());
    to.end(order.tag, order.salt, &order.sign);
    Ok(())
}

fn read_request(from: Fields<'_>) -> Result<RequestOrder, ShapeError> {
    Ok(RequestOrder {
        app: from.address("app")?,
        app_max_price: from.amount("appmaxprice", 0)?,
        dataset: from.address("dataset")?,
        dataset_max_price: from.amount("datasetmaxprice", 0)?,
        workerpool: from.address("workerpool")?,
        workerpool_max_price: from.amount("workerpoolmaxprice", 0)?,
        requester: from.address("requester")?,
        volume: from.amount("volume", 1)?,
        tag: from.tag("tag")?,
        category: from.amount("category", 0)?,
        trust: from.amount("trust", 0)?,
        beneficiary: from.address("beneficiary")?,
        callback: from.address("callback")?,
        params: from.text("params")?.to_owned(),
        salt: from.bytes32("salt")?,
        sign: from.bytes("sign")?,
    })
}
