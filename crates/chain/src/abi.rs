//! The contracts' own types, under the names used here.

use alloy_primitives::{Address, address};

/// The three registries share this much of their ABI.
pub(crate) use bindings::app_registry::AppRegistry;
pub(crate) use bindings::dataset_registry::DatasetRegistry;
pub(crate) use bindings::hub::{Hub, IHubSettlement, IexecLibCore_v5, IexecLibOrders_v5};
pub(crate) use bindings::rlc::RLC;
pub(crate) use bindings::workerpool::Workerpool;
pub(crate) use bindings::workerpool_registry::WorkerpoolRegistry;

alloy_sol_types::sol! {
    /// Nobody's: shows how a hub answers what it does not have.
    function thereIsNoSuchFunction() external;
    /// Of the nodes of Arbitrum chains.
    function gasEstimateL1Component(address to, bool contractCreation, bytes data) external payable returns (uint64 gasEstimateForL1, uint256 baseFee, uint256 l1BaseFeeEstimate);
}

/// Where nodes of Arbitrum chains answer questions about themselves.
pub(crate) const NODE_INTERFACE: Address = address!("00000000000000000000000000000000000000c8");
