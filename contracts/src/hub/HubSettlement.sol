// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IHubSettlement} from "../interfaces/IHubSettlement.sol";

/// @title Settling many tasks at once
/// @notice Only ever run by delegation from `HubExtension`, on the hub's storage.
contract HubSettlement is IHubSettlement {
    /// @inheritdoc IHubSettlement
    function settle(bytes32 dealid, Settlement[] calldata, bytes calldata) external pure {
        revert DealNotSettleable(dealid);
    }
}
