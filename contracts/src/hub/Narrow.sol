// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {HubStorage} from "./HubStorage.sol";

/// @title Numbers in fewer bits than they may have
/// @notice A field that is all ones says: the number did not fit, it is in the side table under the field's key.
library Narrow {
    uint256 internal constant MAX_35 = 2 ** 35 - 1;
    uint256 internal constant MAX_40 = 2 ** 40 - 1;
    uint256 internal constant MAX_64 = 2 ** 64 - 1;
    uint256 internal constant MAX_73 = 2 ** 73 - 1;
    uint256 internal constant MAX_96 = 2 ** 96 - 1;

    /* Keys: what is kept, and of whom. */

    bytes32 internal constant STAKE = "stake";
    bytes32 internal constant LOCKED = "locked";
    bytes32 internal constant SCORE = "score";
    bytes32 internal constant CONSUMED = "consumed";
    bytes32 internal constant SUPPLY = "supply";
    bytes32 internal constant INDEX = "index";
    bytes32 internal constant REVEAL_DEADLINE = "revealDeadline";
    bytes32 internal constant GROUP_WEIGHT = "groupWeight";

    function get(uint256 field, uint256 max, bytes32 what, bytes32 whose) internal view returns (uint256) {
        if (field < max) return field;
        return HubStorage.data().wide[keccak256(abi.encode(what, whose))];
    }

    function put(uint256 value, uint256 max, bytes32 what, bytes32 whose) internal returns (uint256 field) {
        if (value < max) return value;
        HubStorage.data().wide[keccak256(abi.encode(what, whose))] = value;
        return max;
    }
}
