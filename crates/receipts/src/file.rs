//! A receipt's shape and spelling.
//!
//! JSON with two spaces of indent and a line's end at the end; bytes as `0x…` in lower case, numbers of the chain as
//! decimal text, block numbers as numbers. Fields in the order in which they stand here.

use alloy_primitives::{Address, B256, Bytes, U256};
use orders::{AppOrder, DatasetOrder, Quartet, RequestOrder, WorkerpoolOrder};
use primitives::Tag;
use serde::{Deserialize, Serialize};

use crate::{Layout, Refused};

/// The most that is read. A transaction that settles a hundred tasks makes half a megabyte.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// What the first line says.
const FORMAT: &str = "gristmill-receipt/1";

/// A receipt as it is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    format: String,
    /// What the proofs show, for readers. Checked to be just that.
    pub claims: Claims,
    /// What shows it.
    #[serde(flatten)]
    pub evidence: Evidence,
}

/// What proofs show of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// How many tasks the deal is of.
    #[serde(with = "decimal")]
    pub volume: U256,
    /// The task's id.
    pub task: B256,
    /// How it ended.
    pub fate: Fate,
    /// Who contributed, in the order of the chain.
    pub contributions: Vec<Contribution>,
    /// What was agreed on; zero if nothing was.
    pub consensus: B256,
    /// The digest of the result; zero if there is none.
    pub digest: B256,
    /// Where the result is, as the hub was told.
    pub results: Bytes,
    /// The same as text, if it is text.
    pub results_text: Option<String>,
    /// What was paid and taken for the task, in the order of the chain.
    pub payments: Vec<Payment>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// With a result.
    Completed,
    /// Without: its time was up, and it was refunded.
    Failed,
}

/// A worker's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contribution {
    /// Who.
    pub worker: Address,
    /// What it contributed: the digest bound to the task.
    pub result_hash: B256,
    /// The digest that it revealed.
    pub revealed: Option<B256>,
    /// The digest bound to the worker, which follows from what it revealed.
    pub seal: Option<B256>,
    /// Whether the hub found it right, where it said.
    pub accurate: Option<bool>,
}

/// Money that moved for the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// Whose.
    pub account: Address,
    /// How much, in nRLC.
    #[serde(with = "decimal")]
    pub amount: U256,
    /// Taken from it rather than paid to it.
    pub taken: bool,
}

/// What a receipt is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The chain's id, which every order's hash has in it.
    pub chain_id: u64,
    /// The hub, likewise.
    pub hub: Address,
    /// The deal.
    pub deal: B256,
    /// Its first index in the request order.
    #[serde(with = "decimal")]
    pub first_index: U256,
    /// The task's index in the request order.
    #[serde(with = "decimal")]
    pub index: U256,
    /// What was agreed on.
    pub orders: Orders,
    /// Blocks; of each segment the last must be trusted.
    pub segments: Vec<Segment>,
    /// What happened in those blocks, in order.
    pub transactions: Vec<Transaction>,
    /// Shows that there were no other contributions.
    pub state: Option<StateProof>,
}

/// Encoded headers, each the parent of the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Oldest first.
    pub headers: Vec<Bytes>,
}

/// A transaction's place in a block, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The block's number.
    pub block: u64,
    /// Its index there.
    pub index: u32,
    /// Nodes of the block's trie of receipts, down to its own.
    pub receipt: Vec<Bytes>,
    /// Nodes of the block's trie of transactions; only for the one that made the deal, and only where the node could
    /// tell.
    pub transaction: Option<Vec<Bytes>>,
}

/// What proves what the hub keeps of the task, in the state after the last segment's last block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProof {
    /// How the hub keeps it.
    pub layout: Layout,
    /// Nodes of the trie of accounts, down to the hub's.
    pub account: Vec<Bytes>,
    /// For each of the layout's slots, nodes of the hub's trie.
    pub slots: Vec<Vec<Bytes>>,
}

/// The four orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The app's.
    pub app: AppOrderShape,
    /// The dataset's, if there is one.
    pub dataset: Option<DatasetOrderShape>,
    /// The workerpool's.
    pub workerpool: WorkerpoolOrderShape,
    /// The requester's.
    pub request: RequestOrderShape,
}

/// Writes an order's file shape with the same fields as the order, and both ways between them.
macro_rules! shape {
    ($(#[$doc:meta])* $shape:ident, $order:ident, {
        $($field:ident / $name:literal : $kind:ty $(=> $with:literal)?),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "as in the order of the same name")]
        pub struct $shape {
            $(#[serde(rename = $name $(, with = $with)?)] pub $field: $kind,)*
            pub tag: B256,
            pub salt: B256,
            pub sign: Bytes,
        }

        impl From<&$order> for $shape {
            fn from(order: &$order) -> Self {
                Self {
                    $($field: order.$field.clone(),)*
                    tag: order.tag.0,
                    salt: order.salt,
                    sign: order.sign.clone(),
                }
            }
        }

        impl From<&$shape> for $order {
            fn from(shape: &$shape) -> Self {
                Self {
                    $($field: shape.$field.clone(),)*
                    tag: Tag(shape.tag),
                    salt: shape.salt,
                    sign: shape.sign.clone(),
                }
            }
        }
    };
}

shape!(
    /// An app order.
    AppOrderShape, AppOrder, {
        app / "app": Address,
        price / "appprice": U256 => "decimal",
        volume / "volume": U256 => "decimal",
        dataset_restrict / "datasetrestrict": Address,
        workerpool_restrict / "workerpoolrestrict": Address,
        requester_restrict / "requesterrestrict": Address,
    }
);
shape!(
    /// A dataset order.
    DatasetOrderShape, DatasetOrder, {
        dataset / "dataset": Address,
        price / "datasetprice": U256 => "decimal",
        volume / "volume": U256 => "decimal",
        app_restrict / "apprestrict": Address,
        workerpool_restrict / "workerpoolrestrict": Address,
        requester_restrict / "requesterrestrict": Address,
    }
);
shape!(
    /// A workerpool order.
    WorkerpoolOrderShape, WorkerpoolOrder, {
        workerpool / "workerpool": Address,
        price / "workerpoolprice": U256 => "decimal",
        volume / "volume": U256 => "decimal",
        category / "category": U256 => "decimal",
        trust / "trust": U256 => "decimal",
        app_restrict / "apprestrict": Address,
        dataset_restrict / "datasetrestrict": Address,
        requester_restrict / "requesterrestrict": Address,
    }
);
shape!(
    /// A request order.
    RequestOrderShape, RequestOrder, {
        app / "app": Address,
        app_max_price / "appmaxprice": U256 => "decimal",
        dataset / "dataset": Address,
        dataset_max_price / "datasetmaxprice": U256 => "decimal",
        workerpool / "workerpool": Address,
        workerpool_max_price / "workerpoolmaxprice": U256 => "decimal",
        requester / "requester": Address,
        volume / "volume": U256 => "decimal",
        category / "category": U256 => "decimal",
        trust / "trust": U256 => "decimal",
        beneficiary / "beneficiary": Address,
        callback / "callback": Address,
        params / "params": String,
    }
);

impl From<&Quartet> for Orders {
    fn from(quartet: &Quartet) -> Self {
        Self {
            app: (&quartet.app).into(),
            dataset: quartet.has_dataset().then(|| (&quartet.dataset).into()),
            workerpool: (&quartet.workerpool).into(),
            request: (&quartet.request).into(),
        }
    }
}

impl From<&Orders> for Quartet {
    fn from(orders: &Orders) -> Self {
        Self {
            app: (&orders.app).into(),
            dataset: orders.dataset.as_ref().map_or_else(DatasetOrder::none, Into::into),
            workerpool: (&orders.workerpool).into(),
            request: (&orders.request).into(),
        }
    }
}

impl Receipt {
    /// A receipt of that evidence, with what it shows. Does not ask what is trusted.
    ///
    /// # Errors
    /// If the evidence shows nothing, or not enough.
    pub fn of(evidence: Evidence) -> Result<Self, Refused> {
        let claims = crate::claims(&evidence)?;
        Ok(Self { format: FORMAT.to_owned(), claims, evidence })
    }

    /// Its only spelling.
    pub fn to_text(&self) -> String {
        // Nothing in it can fail to be printed: no maps with odd keys, no floats.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads a file; proves nothing yet.
    ///
    /// # Errors
    /// If it is too large, not a receipt, of another version, or spelled in another way.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Refused::TooLarge(FILE_BYTES_MAX));
        }
        let read: Self = serde_json::from_slice(bytes)
            .map_err(|error| Refused::Unreadable(error.to_string()))?;
        if read.format != FORMAT {
            let shown: String = read.format.chars().take(60).collect();
            return Err(Refused::Unreadable(format!("it says '{shown}', not '{FORMAT}'")));
        }
        if read.to_text().as_bytes() != bytes {
            return Err(Refused::Respelled);
        }
        Ok(read)
    }
}

/// Numbers of the chain as decimal text.
mod decimal {
    use alloy_primitives::U256;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &U256, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<U256, D::Error> {
        let text = String::deserialize(from)?;
        U256::from_str_radix(&text, 10).map_err(D::Error::custom)
    }
}
