// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IWorkerpool} from "../interfaces/IEntries.sol";
import {Entry} from "./Entry.sol";

interface IPolicies {
    function policyOf(address entry) external view returns (uint256 stakeRatio, uint256 schedulerRatio);
    function setPolicy(uint256 stakeRatio, uint256 schedulerRatio) external;
}

/// @title A worker pool
/// @notice Description: text. Its policy is kept by its registry, beside its owner.
contract Workerpool is IWorkerpool, Entry {
    /// @inheritdoc IWorkerpool
    function initialize(string calldata) external pure {
        revert("already initialized");
    }

    /// @inheritdoc IWorkerpool
    function m_workerpoolDescription() external view returns (string memory) {
        return string(_field(0));
    }

    /// @inheritdoc IWorkerpool
    function m_workerStakeRatioPolicy() external view returns (uint256 ratio) {
        (ratio,) = IPolicies(registry).policyOf(address(this));
    }

    /// @inheritdoc IWorkerpool
    function m_schedulerRewardRatioPolicy() external view returns (uint256 ratio) {
        (, ratio) = IPolicies(registry).policyOf(address(this));
    }

    /// @inheritdoc IWorkerpool
    function changePolicy(uint256 newStakeRatio, uint256 newSchedulerRatio) external {
        _requireOwner();
        require(newSchedulerRatio <= 100);
        (uint256 stakeRatio, uint256 schedulerRatio) = IPolicies(registry).policyOf(address(this));
        emit PolicyUpdate(stakeRatio, newStakeRatio, schedulerRatio, newSchedulerRatio);
        IPolicies(registry).setPolicy(newStakeRatio, newSchedulerRatio);
    }
}
