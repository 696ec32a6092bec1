//! How orders hash: EIP-712 with the contracts' type names, and the ids that follow from the hashes.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use primitives::{DealId, OrderHash, TaskId};

use crate::{AppOrder, DatasetOrder, Operation, OrderKind, RequestOrder, WorkerpoolOrder};

/// The names below are part of every hash: they are the contracts', not ours.
mod typed {
    alloy_sol_types::sol! {
        struct AppOrder {
            address app; uint256 appprice; uint256 volume; bytes32 tag; address datasetrestrict;
            address workerpoolrestrict; address requesterrestrict; bytes32 salt;
        }
        struct DatasetOrder {
            address dataset; uint256 datasetprice; uint256 volume; bytes32 tag; address apprestrict;
            address workerpoolrestrict; address requesterrestrict; bytes32 salt;
        }
        struct WorkerpoolOrder {
            address workerpool; uint256 workerpoolprice; uint256 volume; bytes32 tag; uint256 category; uint256 trust;
            address apprestrict; address datasetrestrict; address requesterrestrict; bytes32 salt;
        }
        struct RequestOrder {
            address app; uint256 appmaxprice; address dataset; uint256 datasetmaxprice; address workerpool;
            uint256 workerpoolmaxprice; address requester; uint256 volume; bytes32 tag; uint256 category; uint256 trust;
            address beneficiary; address callback; string params; bytes32 salt;
        }
        struct AppOrderOperation { AppOrder order; uint256 operation; }
        struct DatasetOrderOperation { DatasetOrder order; uint256 operation; }
        struct WorkerpoolOrderOperation { WorkerpoolOrder order; uint256 operation; }
        struct RequestOrderOperation { RequestOrder order; uint256 operation; }
    }
}

/// Which chain and which hub an order is for: the EIP-712 domain `iExecODB`, version `5.0.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Domain {
    /// The chain's id.
    pub chain_id: u64,
    /// The hub's address there.
    pub hub: Address,
}

impl Domain {
    /// The domain's name in every signed order.
    pub const NAME: &str = "iExecODB";
    /// The domain's version in every signed order.
    pub const VERSION: &str = "5.0.0";

    /// The domain separator, as the hub caches it.
    pub fn separator(&self) -> B256 {
        self.typed().separator()
    }

    fn typed(&self) -> Eip712Domain {
        Eip712Domain::new(
            Some(Self::NAME.into()),
            Some(Self::VERSION.into()),
            Some(U256::from(self.chain_id)),
            Some(self.hub),
            None,
        )
    }

    fn digest<T: SolStruct>(&self, value: &T) -> B256 {
        value.eip712_signing_hash(&self.typed())
    }
}

/// The deal made from a request order of which `consumed_before` tasks were dealt earlier.
pub fn deal_id(request: OrderHash, consumed_before: U256) -> DealId {
    DealId(joined(request.0, consumed_before))
}

/// The task at `index` of a deal. The index is absolute in the request order: it starts at the deal's first index.
pub fn task_id(deal: DealId, index: U256) -> TaskId {
    TaskId(joined(deal.0, index))
}

/// A member of a typed structure: its name and its Solidity type.
pub type Field = (&'static str, &'static str);

/// The members of an order in hashing order, for wallets that show typed data before signing.
pub fn fields(kind: OrderKind) -> &'static [Field] {
    match kind {
        OrderKind::App => APP,
        OrderKind::Dataset => DATASET,
        OrderKind::Workerpool => WORKERPOOL,
        OrderKind::Request => REQUEST,
    }
}

macro_rules! hashed {
    ($order:ident, $operation:ident, $kind:expr) => {
        impl $order {
            /// Which order this is.
            pub const KIND: OrderKind = $kind;

            /// The hash its owner signs, and its name everywhere: the signature is not part of it.
            pub fn hash(&self, domain: &Domain) -> OrderHash {
                OrderHash(domain.digest(&self.typed()))
            }

            /// The hash its owner signs so that somebody else may sign it on chain or close it in their name.
            pub fn operation_hash(&self, operation: Operation, domain: &Domain) -> B256 {
                domain.digest(&typed::$operation {
                    order: self.typed(),
                    operation: U256::from(operation.number()),
                })
            }

            /// The same order with that signature.
            pub fn signed(mut self, sign: impl Into<alloy_primitives::Bytes>) -> Self {
                self.sign = sign.into();
                self
            }
        }
    };
}

hashed!(AppOrder, AppOrderOperation, OrderKind::App);
hashed!(DatasetOrder, DatasetOrderOperation, OrderKind::Dataset);
hashed!(WorkerpoolOrder, WorkerpoolOrderOperation, OrderKind::Workerpool);
hashed!(RequestOrder, RequestOrderOperation, OrderKind::Request);

impl AppOrder {
    fn typed(&self) -> typed::AppOrder {
        typed::AppOrder {
            app: self.app,
            appprice: self.price,
            volume: self.volume,
            tag: self.tag.0,
            datasetrestrict: self.dataset_restrict,
            workerpoolrestrict: self.workerpool_restrict,
            requesterrestrict: self.requester_restrict,
            salt: self.salt,
        }
    }
}

impl DatasetOrder {
    fn typed(&self) -> typed::DatasetOrder {
        typed::DatasetOrder {
            dataset: self.dataset,
            datasetprice: self.price,
            volume: self.volume,
            tag: self.tag.0,
            apprestrict: self.app_restrict,
            workerpoolrestrict: self.workerpool_restrict,
            requesterrestrict: self.requester_restrict,
            salt: self.salt,
        }
    }
}

impl WorkerpoolOrder {
    fn typed(&self) -> typed::WorkerpoolOrder {
        typed::WorkerpoolOrder {
            workerpool: self.workerpool,
            workerpoolprice: self.price,
            volume: self.volume,
            tag: self.tag.0,
            category: self.category,
            trust: self.trust,
            apprestrict: self.app_restrict,
            datasetrestrict: self.dataset_restrict,
            requesterrestrict: self.requester_restrict,
            salt: self.salt,
        }
    }
}

impl RequestOrder {
    fn typed(&self) -> typed::RequestOrder {
        typed::RequestOrder {
            app: self.app,
            appmaxprice: self.app_max_price,
            dataset: self.dataset,
            datasetmaxprice: self.dataset_max_price,
            workerpool: self.workerpool,
            workerpoolmaxprice: self.workerpool_max_price,
            requester: self.requester,
            volume: self.volume,
            tag: self.tag.0,
            category: self.category,
            trust: self.trust,
            beneficiary: self.beneficiary,
            callback: self.callback,
            params: self.params.clone(),
            salt: self.salt,
        }
    }
}

fn joined(first: B256, second: U256) -> B256 {
    let mut bytes = [0u8; 64];
    bytes[..32].copy_from_slice(first.as_slice());
    bytes[32..].copy_from_slice(&second.to_be_bytes::<32>());
    keccak256(bytes)
}

const APP: &[Field] = &[
    ("app", "address"),
    ("appprice", "uint256"),
    ("volume", "uint256"),
    ("tag", "bytes32"),
    ("datasetrestrict", "address"),
    ("workerpoolrestrict", "address"),
    ("requesterrestrict", "address"),
    ("salt", "bytes32"),
];

const DATASET: &[Field] = &[
    ("dataset", "address"),
    ("datasetprice", "uint256"),
    ("volume", "uint256"),
    ("tag", "bytes32"),
    ("apprestrict", "address"),
    ("workerpoolrestrict", "address"),
    ("requesterrestrict", "address"),
    ("salt", "bytes32"),
];

const WORKERPOOL: &[Field] = &[
    ("workerpool", "address"),
    ("workerpoolprice", "uint256"),
    ("volume", "uint256"),
    ("tag", "bytes32"),
    ("category", "uint256"),
    ("trust", "uint256"),
    ("apprestrict", "address"),
    ("datasetrestrict", "address"),
    ("requesterrestrict", "address"),
    ("salt", "bytes32"),
];

const REQUEST: &[Field] = &[
    ("app", "address"),
    ("appmaxprice", "uint256"),
    ("dataset", "address"),
    ("datasetmaxprice", "uint256"),
    ("workerpool", "address"),
    ("workerpoolmaxprice", "uint256"),
    ("requester", "address"),
    ("volume", "uint256"),
    ("tag", "bytes32"),
    ("category", "uint256"),
    ("trust", "uint256"),
    ("beneficiary", "address"),
    ("callback", "address"),
    ("params", "string"),
    ("salt", "bytes32"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    /// The contracts' own type hashes, first four and last two bytes.
    fn check<T: SolStruct>(value: &T, first: [u8; 4], last: [u8; 2]) {
        let hash = value.eip712_type_hash();
        assert_eq!(hash[..4], first, "{hash}");
        assert_eq!(hash[30..], last, "{hash}");
    }

    #[test]
    fn type_hashes_are_those_of_the_contracts() {
        let (app, dataset) = (AppOrder::default().typed(), DatasetOrder::default().typed());
        let (pool, request) = (WorkerpoolOrder::default().typed(), RequestOrder::default().typed());
        check(&app, hex!("60815a0e"), hex!("d008"));
        check(&dataset, hex!("6cfc932a"), hex!("d47c"));
        check(&pool, hex!("aa3429fb"), hex!("22bb"));
        check(&request, hex!("f24e8530"), hex!("fae0"));
        let operation = U256::ZERO;
        check(&typed::AppOrderOperation { order: app, operation }, hex!("0638bb07"), hex!("6ee0"));
        check(
            &typed::DatasetOrderOperation { order: dataset, operation },
            hex!("075eb6f7"),
            hex!("65ec"),
        );
        check(
            &typed::WorkerpoolOrderOperation { order: pool, operation },
            hex!("322d980b"),
            hex!("4388"),
        );
        check(
            &typed::RequestOrderOperation { order: request, operation },
            hex!("0ded7b52"),
            hex!("77c7"),
        );
    }

    #[test]
    fn the_listed_fields_spell_the_hashed_type() {
        let spelled = |name: &str, kind| {
            let list: Vec<_> =
                fields(kind).iter().map(|(name, ty)| format!("{ty} {name}")).collect();
            format!("{name}({})", list.join(","))
        };
        assert_eq!(spelled("AppOrder", OrderKind::App), typed::AppOrder::eip712_encode_type());
        assert_eq!(
            spelled("DatasetOrder", OrderKind::Dataset),
            typed::DatasetOrder::eip712_encode_type()
        );
        assert_eq!(
            spelled("WorkerpoolOrder", OrderKind::Workerpool),
            typed::WorkerpoolOrder::eip712_encode_type()
        );
        assert_eq!(
            spelled("RequestOrder", OrderKind::Request),
            typed::RequestOrder::eip712_encode_type()
        );
    }

    #[test]
    fn the_domain_and_the_contents_count_but_not_the_signature() {
        let here = Domain { chain_id: 1, hub: Address::repeat_byte(1) };
        let there = Domain { chain_id: 2, ..here };
        let order = AppOrder { price: U256::from(7), ..AppOrder::default() };
        assert_eq!(order.hash(&here), order.clone().signed(vec![1, 2, 3]).hash(&here));
        assert_ne!(order.hash(&here), order.hash(&there));
        assert_ne!(
            order.hash(&here),
            AppOrder { price: U256::from(8), ..order.clone() }.hash(&here)
        );
        assert_ne!(
            order.operation_hash(Operation::Sign, &here),
            order.operation_hash(Operation::Close, &here)
        );
    }

    #[test]
    fn ids_are_packed_hashes() {
        let order = OrderHash(B256::repeat_byte(0x11));
        let packed = [[0x11u8; 32], U256::from(3).to_be_bytes::<32>()].concat();
        assert_eq!(deal_id(order, U256::from(3)).0, keccak256(&packed));
        assert_eq!(task_id(DealId(order.0), U256::from(3)).0, keccak256(&packed));
    }
}
