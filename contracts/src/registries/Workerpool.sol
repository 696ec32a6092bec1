// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IWorkerpool} from "../interfaces/IEntries.sol";
import {Entry} from "./Entry.sol";

/// @title A worker pool
/// @notice Description: text. Its policy is the only thing an entry ever stores.
contract Workerpool is IWorkerpool, Entry {
    uint256 private constant DEFAULT_STAKE_RATIO = 30;
    uint256 private constant DEFAULT_SCHEDULER_RATIO = 1;

    /// @dev Ratios as the difference from the defaults, so that a new pool writes nothing: the scheduler's in the low
    /// eight bits, the stake's above; all ones if it has more than fit, and is in the next word.
    uint256 private policy;
    uint256 private wideStakeRatio;

    uint256 private constant WIDE = type(uint256).max >> 8;

    /// @inheritdoc IWorkerpool
    function initialize(string calldata) external pure {
        revert("already initialized");
    }

    /// @inheritdoc IWorkerpool
    function m_workerpoolDescription() external view returns (string memory) {
        return string(_field(0));
    }

    /// @inheritdoc IWorkerpool
    function m_workerStakeRatioPolicy() public view returns (uint256) {
        uint256 kept = policy >> 8;
        return (kept == WIDE ? wideStakeRatio : kept) ^ DEFAULT_STAKE_RATIO;
    }

    /// @inheritdoc IWorkerpool
    function m_schedulerRewardRatioPolicy() public view returns (uint256) {
        return uint8(policy) ^ DEFAULT_SCHEDULER_RATIO;
    }

    /// @inheritdoc IWorkerpool
    function changePolicy(uint256 newStakeRatio, uint256 newSchedulerRatio) external {
        _requireOwner();
        require(newSchedulerRatio <= 100);
        emit PolicyUpdate(
            m_workerStakeRatioPolicy(), newStakeRatio, m_schedulerRewardRatioPolicy(), newSchedulerRatio
        );
        uint256 kept = newStakeRatio ^ DEFAULT_STAKE_RATIO;
        if (kept >= WIDE) (wideStakeRatio, kept) = (kept, WIDE);
        policy = (kept << 8) | (newSchedulerRatio ^ DEFAULT_SCHEDULER_RATIO);
    }
}
