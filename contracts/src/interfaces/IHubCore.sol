// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {IHubEvents} from "./IHubEvents.sol";

/// @title The market: escrow, matching and tasks
/// @notice What the hub runs itself. The rest of the published ABI is `IHubExtension`.
///
/// Assumptions, for safety:
/// - The token moves exactly what it is asked to move, has no fees and does not call its holders back.
/// - Registries tell the truth about who owns an entry; the hub asks them once per match.
/// - A scheduler (owner of the workerpool) vouches for the workers it authorises: all that a worker or a scheduler
///   can lose is the stake locked for the task in question.
///
/// Assumptions, for liveness:
/// - The scheduler finalizes before the final deadline; afterwards anyone may `claim` and everyone but the scheduler
///   gets back what was locked.
/// - A callback gets `callbackgas()` gas, and its failure does not stop the result.
///
/// Unless a text is named, a failed check reverts without data. Arithmetic overflow is `Panic(0x11)`.
interface IHubCore is IHubEvents {
    error CallerIsNotTheRequester();
    error OperationFailed();
    error UnsupportedOperation(bytes4 selector);

    /* LEDGER */

    function totalSupply() external view returns (uint256);
    function balanceOf(address account) external view returns (uint256);
    function frozenOf(address account) external view returns (uint256);
        function transfer(address recipient, uint256 amount) external returns (bool);

    /* DEPOSITS */

    /// @notice Takes `amount` of the token, which the caller approved to the hub, and credits it as free stake.
    function deposit(uint256 amount) external returns (bool);
    function depositFor(uint256 amount, address target) external returns (bool);
    /// @dev Reverts "invalid-array-length" unless both arrays are as long.
    function depositForArray(uint256[] calldata amounts, address[] calldata targets) external returns (bool);
    function withdraw(uint256 amount) external returns (bool);
    function withdrawTo(uint256 amount, address target) external returns (bool);
    /// @notice Deposits `amount` from `sender`, then runs `data` if it is a `matchOrders` call of `sender`'s own request.
    /// @dev Only the token may call (`approveAndCall`): nobody else can turn `sender`'s tokens into stake.
    function receiveApproval(address sender, uint256 amount, address token, bytes calldata data)
        external
        returns (bool);

    /* MATCHING */

    /// @notice Makes a deal of four orders; the requester pays. Anyone may call.
    /// @dev Refusals are "iExecV5-matchOrders-0xNN", in ascending order of NN.
    function matchOrders(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external returns (bytes32 dealid);
    /// @notice The same, paid by the caller.
    function sponsorMatchOrders(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external returns (bytes32 dealid);
    /// @notice How many tasks the four orders would make now. Checks nothing else.
    function computeDealVolume(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external view returns (uint256);

    /* TASKS */

    /// @notice Opens task `idx` (absolute in the request order) of a deal. Anyone, at any time, once.
    function initialize(bytes32 dealid, uint256 idx) external returns (bytes32 taskid);
    function initializeArray(bytes32[] calldata dealids, uint256[] calldata idxs) external returns (bool);
    /// @notice The caller commits to a result and locks the deal's worker stake.
    /// @param resultHash keccak256(taskid, digest)
    /// @param resultSeal keccak256(worker, taskid, digest)
    /// @param authorizationSign By the scheduler (or the TEE broker) over keccak256(worker, taskid, enclaveChallenge),
    /// as an Ethereum signed message.
    function contribute(
        bytes32 taskid,
        bytes32 resultHash,
        bytes32 resultSeal,
        address enclaveChallenge,
        bytes calldata enclaveSign,
        bytes calldata authorizationSign
    ) external;
    /// @notice After consensus, the caller opens its commitment.
    function reveal(bytes32 taskid, bytes32 resultDigest) external;
    /// @notice By the scheduler, when consensus was reached but nobody revealed in time.
    function reopen(bytes32 taskid) external;
    /// @notice By the scheduler: stores the results, pays everyone, calls back.
    function finalize(bytes32 taskid, bytes calldata results, bytes calldata resultsCallback) external;
    /// @notice All of it at once by a single worker, for deals of trust 1. Locks no stake and moves no score.
    function contributeAndFinalize(
        bytes32 taskid,
        bytes32 resultDigest,
        bytes calldata results,
        bytes calldata resultsCallback,
        address enclaveChallenge,
        bytes calldata enclaveSign,
        bytes calldata authorizationSign
    ) external;
    /// @notice Fails a task that is past its final deadline and refunds. Anyone may call.
    function claim(bytes32 taskid) external;
    function claimArray(bytes32[] calldata taskids) external returns (bool);
    function initializeAndClaimArray(bytes32[] calldata dealids, uint256[] calldata idxs) external returns (bool);

    /* WHAT A RECORD ASKS WHILE IT IS CREATED: see `Records` */

    /// @notice The record being written. Reverts "fallback-disabled" at any other time.
    function record() external view;
}
