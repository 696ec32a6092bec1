// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IHubCore} from "./IHubCore.sol";
import {IHubExtension} from "./IHubExtension.sol";
import {IHubSettlement} from "./IHubSettlement.sol";
import {IHubViews} from "./IHubViews.sol";

/// @title The whole published ABI of the hub, at its one address
interface IHub is IHubCore, IHubExtension, IHubViews {
    /// @notice Published, but nothing answers it: reverts "fallback-disabled".
    function renounceOwnership() external;
}

/// @title What this hub answers beside the published ABI
interface IHubAdditions {
    /// @dev As the original's `transferOwnership` refuses.
    error NotContractOwner(address caller, address owner);

    /// @notice Replaces the code behind the hub's address. Owner only.
    function upgradeToAndCall(address implementation, bytes calldata data) external payable;

    /// @notice The code behind the hub's address changed (ERC-1967).
    event Upgraded(address indexed implementation);
}

/// @title Published ABI and additions, for bindings
interface IGristmillHub is IHub, IHubAdditions, IHubSettlement {}
