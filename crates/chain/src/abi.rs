//! The contracts' own types, under the names used here.

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
}
