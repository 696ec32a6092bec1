// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {HubStorage} from "./HubStorage.sol";

/// @title The hub's address
/// @notice An ERC-1967 proxy. Its implementation is replaced by `IHubAdditions.upgradeToAndCall`, through itself.
contract HubProxy {
    event Upgraded(address indexed implementation);
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    /// @dev keccak256("eip1967.proxy.implementation") - 1
    bytes32 private constant IMPLEMENTATION = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

    constructor(address implementation, address owner) {
        assembly ("memory-safe") {
            sstore(IMPLEMENTATION, implementation)
        }
        HubStorage.data().owner = owner;
        emit Upgraded(implementation);
        emit OwnershipTransferred(address(0), owner);
    }

    fallback() external payable {
        assembly {
            calldatacopy(0, 0, calldatasize())
            let done := delegatecall(gas(), sload(IMPLEMENTATION), 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            if done { return(0, returndatasize()) }
            revert(0, returndatasize())
        }
    }
}
