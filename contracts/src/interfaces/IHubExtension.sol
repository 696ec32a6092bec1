// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {IHubEvents} from "./IHubEvents.sol";

/// @title The quiet half of the hub: administration, order management and announcements
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
}
