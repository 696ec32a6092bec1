//! Rust types and bytecode of the compiled contracts, from `contracts/artifacts`.
//!
//! What it is: calls, events, errors and structs of the published ABI (one module per contract), and the code to deploy.
//! What it is not: a client. Nothing here talks to a chain; see `chain` for that.
//!
//! # Deploying a market
//!
//! Every step is a transaction of the future owner. Addresses of plain creations follow from the sender's nonce, so all
//! of it can be sent without waiting for receipts in between.
//!
//! 1. `RLC`: [`rlc::creation_code`] with an allocation that sums to [`rlc::SUPPLY`].
//! 2. `HubExtension`: [`hub::extension_creation_code`]. It brings what it delegates to along.
//! 3. `Hub` (implementation): [`hub::creation_code`] with the extension's address. It brings Boost along.
//! 4. `HubProxy`: [`hub::proxy_creation_code`] with the implementation and the owner. *Its address is the hub.*
//! 5. `AppRegistry`, `DatasetRegistry`, `WorkerpoolRegistry`: [`app_registry::creation_code`] and so on, with the owner
//!    and the base URI of token metadata (may be empty). Each makes its own master entry. Then, on each,
//!    `initialize(0x0)` (no previous registry).
//! 6. `hub.configure(token, "Staked RLC", "SRLC", 9, appRegistry, datasetRegistry, workerpoolRegistry, 0x0)`.
//! 7. `hub.createCategory(name, description, seconds)` for XS 300, S 1200, M 3600, L 10800, XL 36000, in this order.
//!
//! The owner can then be handed over: `hub.transferOwnership(…)` and each registry's `transferOwnership(…)`.
//! The code behind the hub is replaced by `hub.upgradeToAndCall(…)`, by its owner only.

use alloy_primitives::{Address, Bytes, U256};

/// Creation bytecode followed by its ABI-encoded constructor arguments.
fn with_arguments(code: &Bytes, arguments: &[u8]) -> Bytes {
    [code.as_ref(), arguments].concat().into()
}

macro_rules! contract {
    ($(#[$doc:meta])* $module:ident, $name:ident, $path:literal { $($rest:tt)* }) => {
        $(#[$doc])*
        pub mod $module {
            #[allow(unused_imports, reason = "not every contract has constructor arguments")]
            use super::{Address, Bytes, U256, with_arguments};
            #[allow(unused_imports, reason = "not every contract has constructor arguments")]
            use alloy_sol_types::SolValue as _;

            #[allow(
                missing_docs,
                unreachable_pub,
                clippy::all,
                clippy::cast_possible_truncation,
                clippy::semicolon_if_nothing_returned,
                reason = "generated from the ABI"
            )]
            mod generated {
                alloy_sol_types::sol!($name, $path);
            }
            pub use generated::*;
            pub use generated::$name::*;

            $($rest)*
        }
    };
}

contract! {
    /// The hub: escrow, orders, deals and tasks. One address answers the whole ABI.
    hub, Hub, "../../contracts/artifacts/Hub.json" {
        /// Code of the implementation behind the proxy; `extension` is where it sends what it does not know.
        #[must_use]
        pub fn creation_code(extension: Address) -> Bytes {
            with_arguments(&BYTECODE, &extension.abi_encode())
        }

        /// Code of the extension, which the implementation delegates to.
        #[must_use]
        pub fn extension_creation_code() -> Bytes {
            super::extension::BYTECODE.clone()
        }

        /// Code of the proxy, whose address is the hub's.
        #[must_use]
        pub fn proxy_creation_code(implementation: Address, owner: Address) -> Bytes {
            with_arguments(&super::proxy::BYTECODE, &(implementation, owner).abi_encode_params())
        }
    }
}

contract! {
    /// The ERC-1967 proxy in front of the hub.
    proxy, HubProxy, "../../contracts/artifacts/HubProxy.json" {}
}

contract! {
    /// The half of the hub that the implementation delegates to. Its ABI is part of [`hub`].
    extension, HubExtension, "../../contracts/artifacts/HubExtension.json" {}
}

contract! {
    /// Boost: deals with fewer steps, answered at the hub's address. See [`hub`] for everything else.
    boost, HubBoost, "../../contracts/artifacts/HubBoost.json" {}
}

contract! {
    /// The token the market pays with.
    rlc, RLC, "../../contracts/artifacts/RLC.json" {
        /// All there will ever be, in nRLC.
        pub const SUPPLY: U256 = U256::from_limbs([87_000_000_000_000_000, 0, 0, 0]);

        /// Code that gives each holder its amount; amounts must sum to [`SUPPLY`].
        #[must_use]
        pub fn creation_code(allocation: &[(Address, U256)]) -> Bytes {
            let (holders, amounts): (Vec<_>, Vec<_>) = allocation.iter().copied().unzip();
            with_arguments(&BYTECODE, &(holders, amounts).abi_encode_params())
        }
    }
}

contract! {
    /// Registry of programs.
    app_registry, AppRegistry, "../../contracts/artifacts/AppRegistry.json" {
        /// Code of a registry of `owner`'s, whose token URIs begin with `base_uri`.
        #[must_use]
        pub fn creation_code(owner: Address, base_uri: &str) -> Bytes {
            with_arguments(&BYTECODE, &(owner, base_uri).abi_encode_params())
        }
    }
}

contract! {
    /// Registry of data sets.
    dataset_registry, DatasetRegistry, "../../contracts/artifacts/DatasetRegistry.json" {
        /// Code of a registry of `owner`'s, whose token URIs begin with `base_uri`.
        #[must_use]
        pub fn creation_code(owner: Address, base_uri: &str) -> Bytes {
            with_arguments(&BYTECODE, &(owner, base_uri).abi_encode_params())
        }
    }
}

contract! {
    /// Registry of worker pools.
    workerpool_registry, WorkerpoolRegistry, "../../contracts/artifacts/WorkerpoolRegistry.json" {
        /// Code of a registry of `owner`'s, whose token URIs begin with `base_uri`.
        #[must_use]
        pub fn creation_code(owner: Address, base_uri: &str) -> Bytes {
            with_arguments(&BYTECODE, &(owner, base_uri).abi_encode_params())
        }
    }
}

contract! {
    /// An entry of the app registry.
    app, App, "../../contracts/artifacts/App.json" {}
}

contract! {
    /// An entry of the dataset registry.
    dataset, Dataset, "../../contracts/artifacts/Dataset.json" {}
}

contract! {
    /// An entry of the worker pool registry.
    workerpool, Workerpool, "../../contracts/artifacts/Workerpool.json" {}
}
