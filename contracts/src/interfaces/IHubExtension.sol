// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IexecLibCore_v5} from "../libraries/IexecLibCore_v5.sol";
import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {IHubEvents} from "./IHubEvents.sol";

/// @title The quiet half of the hub: administration, order management, announcements and descriptive views
/// @notice Reached through the hub's address; the hub delegates what it does not know itself.
/// Administrative functions revert "Ownable: caller is not the owner" for anyone else.
interface IHubExtension is IHubEvents {
    error IncompatibleDatasetOrder(string reason);

    /* ADMINISTRATION */

    function owner() external view returns (address);
    /// @dev Reverts `NotContractOwner(caller, owner)` for anyone else. The zero address is accepted and is final.
    function transferOwnership(address newOwner) external;
    /// @notice Once. Reverts "already-configured" afterwards.
    function configure(
        address token,
        string calldata name,
        string calldata symbol,
        uint8 decimals,
        address appregistry,
        address datasetregistry,
        address workerpoolregistry,
        address v3_iexecHub
    ) external;
    /// @notice Recomputes the cached EIP-712 separator for the chain id of now. Anyone, once configured.
    function updateDomainSeparator() external;
    function changeRegistries(address appregistry, address datasetregistry, address workerpoolregistry) external;
    function setTeeBroker(address teebroker) external;
    function setCallbackGas(uint256 callbackgas) external;
    function createCategory(string calldata name, string calldata description, uint256 workClockTimeRef)
        external
        returns (uint256);
    /// @notice Mints, to the owner, stake for tokens sent to the hub without a deposit.
    function recover() external returns (uint256);
    /// @notice Once per worker, takes over a better score from the previous hub.
    function importScore(address worker) external;

    /* ALLOWANCES */

    function allowance(address account, address spender) external view returns (uint256);
    function transferFrom(address sender, address recipient, uint256 amount) external returns (bool);
    function approve(address spender, uint256 value) external returns (bool);
    /// @notice Approves, then calls `spender.receiveApproval(caller, value, hub, extraData)`, which must return true.
    function approveAndCall(address spender, uint256 value, bytes calldata extraData) external returns (bool);
    function increaseAllowance(address spender, uint256 addedValue) external returns (bool);
    function decreaseAllowance(address spender, uint256 subtractedValue) external returns (bool);

    /* SIGNATURES */

    function verifySignature(address account, bytes32 hash, bytes calldata signature) external view returns (bool);
    function verifyPresignature(address account, bytes32 hash) external view returns (bool);
    function verifyPresignatureOrSignature(address account, bytes32 hash, bytes calldata signature)
        external
        view
        returns (bool);

    /* ORDERS */

    function manageAppOrder(IexecLibOrders_v5.AppOrderOperation calldata apporderoperation) external;
    function manageDatasetOrder(IexecLibOrders_v5.DatasetOrderOperation calldata datasetorderoperation) external;
    function manageWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrderOperation calldata workerpoolorderoperation)
        external;
    function manageRequestOrder(IexecLibOrders_v5.RequestOrderOperation calldata requestorderoperation) external;
    function broadcastAppOrder(IexecLibOrders_v5.AppOrder calldata apporder) external;
    function broadcastDatasetOrder(IexecLibOrders_v5.DatasetOrder calldata datasetorder) external;
    function broadcastWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder) external;
    function broadcastRequestOrder(IexecLibOrders_v5.RequestOrder calldata requestorder) external;
    /// @notice Reverts `IncompatibleDatasetOrder(reason)` unless a deal without dataset may also use this dataset.
    function assertDatasetDealCompatibility(IexecLibOrders_v5.DatasetOrder calldata datasetOrder, bytes32 dealId)
        external
        view;

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
