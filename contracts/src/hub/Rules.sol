// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IRegistered} from "../interfaces/IExternal.sol";
import {Deals} from "./Deals.sol";

/// @title Numbers and formulas of the protocol
/// @notice Pure, but for one question to a registry. Amounts in nRLC, times in seconds.
library Rules {
    uint256 internal constant UNSET = 0;
    uint256 internal constant ACTIVE = 1;
    uint256 internal constant REVEALING = 2;
    uint256 internal constant COMPLETED = 3;
    uint256 internal constant FAILED = 4;

    uint256 internal constant CONTRIBUTION_DEADLINE_RATIO = 7;
    uint256 internal constant REVEAL_DEADLINE_RATIO = 2;
    uint256 internal constant FINAL_DEADLINE_RATIO = 10;
    /// @dev Percent of a task's workerpool price that the scheduler locks.
    uint256 internal constant WORKERPOOL_STAKE_RATIO = 30;
    /// @dev Percent of the kitty that a success earns its scheduler, but at least the minimum.
    uint256 internal constant KITTY_RATIO = 10;
    uint256 internal constant KITTY_MIN = 1e9;
    address internal constant KITTY = 0x99c2268479b93fDe36232351229815DF80837e23;

    /// @dev Bit 0 of a tag asks for a trusted execution environment, bits 1 to 3 for a framework of it.
    bytes32 internal constant TEE = bytes32(uint256(1));
    bytes32 internal constant FRAMEWORKS = bytes32(uint256(0x0e));

    /// @dev ERC-721.
    bytes4 internal constant OWNER_OF = 0x6352211e;
    /// @dev Of our own registry of workerpools: ownerAndPolicyOf(address).
    bytes4 internal constant OWNER_AND_POLICY_OF = 0x55f032d8;

    /// @notice A dataset may ask for a TEE, but which one is up to the app and the requester.
    function withoutFramework(bytes32 tag) internal pure returns (bytes32) {
        return tag & ~FRAMEWORKS;
    }

    /* TIME */

    function contributionDeadline(Deals.Terms memory deal) internal pure returns (uint256) {
        return deal.startTime + CONTRIBUTION_DEADLINE_RATIO * deal.timeref;
    }

    function finalDeadline(Deals.Terms memory deal) internal pure returns (uint256) {
        return deal.startTime + FINAL_DEADLINE_RATIO * deal.timeref;
    }

    function revealDeadline(Deals.Terms memory deal) internal view returns (uint256) {
        return block.timestamp + REVEAL_DEADLINE_RATIO * deal.timeref;
    }

    /* MONEY */

    /// @notice What the payer locks per task.
    function taskPrice(Deals.Terms memory deal) internal pure returns (uint256) {
        return deal.appPrice + deal.datasetPrice + deal.workerpoolPrice;
    }

    /// @notice What the scheduler locks per task. Rounded down per task.
    function schedulerStake(Deals.Terms memory deal) internal pure returns (uint256) {
        return deal.workerpoolPrice * WORKERPOOL_STAKE_RATIO / 100;
    }

    /// @notice What of a kitty that is not empty a success earns its scheduler.
    function kittyShare(uint256 kitty) internal pure returns (uint256 share) {
        share = max(kitty * KITTY_RATIO / 100, KITTY_MIN);
        if (share > kitty) share = kitty;
    }

    /// @notice The workers' part of `pot`. Rounded down: dust is the scheduler's.
    function workersShare(Deals.Terms memory deal, uint256 pot) internal pure returns (uint256) {
        return pot * (100 - deal.schedulerRewardRatio) / 100;
    }

    /* TASKS */

    function taskOf(bytes32 dealid, uint256 index) internal pure returns (bytes32) {
        return hashOf(dealid, bytes32(index));
    }

    /* CONSENSUS */

    /// @notice How much a worker's word counts; 2 for a newcomer.
    function weight(uint256 score) internal pure returns (uint256) {
        return max(score / 3, 3) - 1;
    }

    function resultHash(bytes32 taskid, bytes32 digest) internal pure returns (bytes32) {
        return hashOf(taskid, digest);
    }

    /// @dev Packed: 20, 32 and 32 bytes.
    function resultSeal(address worker, bytes32 taskid, bytes32 digest) internal pure returns (bytes32 seal) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, shl(96, worker))
            mstore(add(free, 20), taskid)
            mstore(add(free, 52), digest)
            seal := keccak256(free, 84)
        }
    }

    /// @notice keccak256 of two words.
    function hashOf(bytes32 a, bytes32 b) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0, a)
            mstore(32, b)
            hash := keccak256(0, 64)
        }
    }

    function log2(uint256 value) internal pure returns (uint256 result) {
        while (value > 1) {
            value >>= 1;
            ++result;
        }
    }

    function max(uint256 a, uint256 b) internal pure returns (uint256) {
        return a > b ? a : b;
    }

    /* REGISTRIES */

    function isRegistered(address registry, address entry) internal view returns (bool) {
        return IRegistered(registry).isRegistered(entry);
    }

    /* MEMORY: a loop gives back what each round took, so that long arrays do not pay for it squared. */

    function mark() internal pure returns (uint256 free) {
        assembly ("memory-safe") {
            free := mload(0x40)
        }
    }

    function release(uint256 free) internal pure {
        assembly ("memory-safe") {
            mstore(0x40, free)
        }
    }
}
