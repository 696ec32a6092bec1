// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IWorkerpool} from "../interfaces/IEntries.sol";
import {Entry} from "./Entry.sol";

/// @title A worker pool
/// @notice Description: text. Its policy is the only thing an entry ever stores.
contract Workerpool is IWorkerpool, Entry {
    uint256 private constant DEFAULT_STAKE_RATIO = 30;
    uint256 private constant DEFAULT_SCHEDULER_RATIO = 1;

    /// @dev Kept as the difference from the default, so that a new pool writes nothing.
    uint256 private stakeRatio;
    uint256 private schedulerRatio;

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
        return stakeRatio ^ DEFAULT_STAKE_RATIO;
    }

    /// @inheritdoc IWorkerpool
    function m_schedulerRewardRatioPolicy() public view returns (uint256) {
        return schedulerRatio ^ DEFAULT_SCHEDULER_RATIO;
    }

    /// @inheritdoc IWorkerpool
    function changePolicy(uint256 newStakeRatio, uint256 newSchedulerRatio) external {
        _requireOwner();
        require(newSchedulerRatio <= 100);
        emit PolicyUpdate(
            m_workerStakeRatioPolicy(), newStakeRatio, m_schedulerRewardRatioPolicy(), newSchedulerRatio
        );
        stakeRatio = newStakeRatio ^ DEFAULT_STAKE_RATIO;
        schedulerRatio = newSchedulerRatio ^ DEFAULT_SCHEDULER_RATIO;
    }
}
