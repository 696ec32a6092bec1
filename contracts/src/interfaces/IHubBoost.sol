// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {IHubEvents} from "./IHubEvents.sol";

/// @title Deals of one worker's word, with fewer steps
/// @notice The published ABI of Boost: no initialisation, no stake of workers, no score; one call brings a result.
///
/// Assumptions, for safety:
/// - As `IHubCore`: the scheduler vouches for the worker it authorises, and for an enclave's the TEE broker.
///
/// Assumptions, for liveness:
/// - The result is pushed before the deal's deadline; afterwards anyone may `claimBoost`.
///
/// Refusals are texts, "PocoBoost: ...".
interface IHubBoost is IHubEvents {
    /// @param botFirst Of the request order. @param deadline In seconds. @param shortTag Low three bytes of the tag.
    struct DealBoost {
        address appOwner;
        uint96 appPrice;
        address datasetOwner;
        uint96 datasetPrice;
        address workerpoolOwner;
        uint96 workerpoolPrice;
        address requester;
        uint96 workerReward;
        address callback;
        uint40 deadline;
        uint16 botFirst;
        uint16 botSize;
        bytes3 shortTag;
        address sponsor;
    }

    /// @notice A price, a deadline or a volume is too large for a Boost deal.
    error SafeCastOverflowedUintDowncast(uint8 bits, uint256 value);

    event SchedulerNoticeBoost(
        address indexed workerpool,
        bytes32 dealId,
        address app,
        address dataset,
        uint256 category,
        bytes32 tag,
        string params,
        address beneficiary
    );
    event DealSponsoredBoost(bytes32 dealId, address sponsor);
    event ResultPushedBoost(bytes32 dealId, uint256 index, bytes results);

    /// @notice Makes a deal of four orders, of trust 0 or 1; the requester pays. Anyone may call.
    function matchOrdersBoost(
        IexecLibOrders_v5.AppOrder calldata appOrder,
        IexecLibOrders_v5.DatasetOrder calldata datasetOrder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolOrder,
        IexecLibOrders_v5.RequestOrder calldata requestOrder
    ) external returns (bytes32 dealId);
    /// @notice The same, paid by the caller.
    function sponsorMatchOrdersBoost(
        IexecLibOrders_v5.AppOrder calldata appOrder,
        IexecLibOrders_v5.DatasetOrder calldata datasetOrder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolOrder,
        IexecLibOrders_v5.RequestOrder calldata requestOrder
    ) external returns (bytes32 dealId);
    /// @notice The caller brings the result of a task, and everyone is paid.
    /// @param index Of the task in the deal, from 0.
    /// @param authorizationSign As for `contribute`.
    /// @param enclaveSign By the enclave over keccak256(worker, taskid, digest), as an Ethereum signed message, where the
    /// digest is the hash of `resultsCallback` if the deal has a callback, else of `results`.
    function pushResultBoost(
        bytes32 dealId,
        uint256 index,
        bytes calldata results,
        bytes calldata resultsCallback,
        bytes calldata authorizationSign,
        address enclaveChallenge,
        bytes calldata enclaveSign
    ) external;
    /// @notice Fails a task that is past the deal's deadline and refunds the payer. Anyone may call.
    function claimBoost(bytes32 dealId, uint256 index) external;
    /// @notice All zeros for an unknown deal.
    function viewDealBoost(bytes32 dealId) external view returns (DealBoost memory);
}
