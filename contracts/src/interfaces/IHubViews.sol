// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IexecLibCore_v5} from "../libraries/IexecLibCore_v5.sol";
import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";

/// @title What the hub tells: deals, tasks, accounts and itself
/// @notice Reached through the hub's address. Unknown ids read as zeros, unless a function says otherwise.
interface IHubViews {
    /* RECORDS */

    function viewDeal(bytes32 dealid) external view returns (IexecLibCore_v5.Deal memory);
    function viewTask(bytes32 taskid) external view returns (IexecLibCore_v5.Task memory);
    function viewContribution(bytes32 taskid, address worker)
        external
        view
        returns (IexecLibCore_v5.Contribution memory);
    function viewScore(address worker) external view returns (uint256);
    function viewConsumed(bytes32 orderHash) external view returns (uint256);
    function viewPresigned(bytes32 orderHash) external view returns (address);
    /// @notice The callback result of a completed task (ERC-1154). Reverts "task-pending" before.
    function resultFor(bytes32 taskid) external view returns (bytes memory);
    function viewAccount(address account) external view returns (IexecLibCore_v5.Account memory);

    /* DESCRIPTIVE VIEWS */

    function token() external view returns (address);
    function eip712domain_separator() external view returns (bytes32);
    function name() external view returns (string memory);
    function symbol() external view returns (string memory);
    function decimals() external view returns (uint8);
    function appregistry() external view returns (address);
    function datasetregistry() external view returns (address);
    function workerpoolregistry() external view returns (address);
    function teebroker() external view returns (address);
    function callbackgas() external view returns (uint256);
    function domain() external view returns (IexecLibOrders_v5.EIP712Domain memory);
    function countCategory() external view returns (uint256);
    function viewCategory(uint256 catid) external view returns (IexecLibCore_v5.Category memory);
    function viewApp(address app) external view returns (IexecLibCore_v5.AppInfo memory);
    function viewDataset(address dataset) external view returns (IexecLibCore_v5.DatasetInfo memory);
    function viewWorkerpool(address workerpool) external view returns (IexecLibCore_v5.WorkerpoolInfo memory);
    function contribution_deadline_ratio() external view returns (uint256);
    function reveal_deadline_ratio() external view returns (uint256);
    function final_deadline_ratio() external view returns (uint256);
    function workerpool_stake_ratio() external view returns (uint256);
    function kitty_ratio() external view returns (uint256);
    function kitty_min() external view returns (uint256);
    function kitty_address() external view returns (address);
    function groupmember_purpose() external view returns (uint256);

    /* VIEWS OF AN EARLIER ABI, still read by deployed middleware */

    function viewAccountABILegacy(address account) external view returns (uint256, uint256);
    function viewCategoryABILegacy(uint256 catid) external view returns (string memory, string memory, uint256);
    function viewConfigABILegacy(bytes32 dealid)
        external
        view
        returns (uint256, uint256, uint256, uint256, uint256, uint256);
    function viewContributionABILegacy(bytes32 taskid, address worker)
        external
        view
        returns (IexecLibCore_v5.ContributionStatusEnum, bytes32, bytes32, address);
    function viewDealABILegacy_pt1(bytes32 dealid)
        external
        view
        returns (address, address, uint256, address, address, uint256, address, address, uint256);
    function viewDealABILegacy_pt2(bytes32 dealid)
        external
        view
        returns (uint256, bytes32, address, address, address, string memory);
    function viewTaskABILegacy(bytes32 taskid)
        external
        view
        returns (
            IexecLibCore_v5.TaskStatusEnum,
            bytes32,
            uint256,
            uint256,
            uint256,
            uint256,
            uint256,
            bytes32,
            uint256,
            uint256,
            address[] memory,
            bytes memory
        );
}
