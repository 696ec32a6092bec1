// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// @title Many tasks of a deal at once
/// @notice Not part of the published ABI: a market works without it. Who wants to know whether a hub has it calls `settle`
/// with nothing: a hub that does reverts `DealNotSettleable`, any other "fallback-disabled".
///
/// Assumptions, for safety:
/// - The workerpool's owner vouches for the worker and for every index, with one signature.
///
/// Assumptions, for liveness:
/// - All or nothing: the caller leaves out tasks that somebody else has begun, and goes the usual way for those.
interface IHubSettlement {
    /// @param index Of the task, absolute in the request order.
    /// @param resultDigest As given to `contributeAndFinalize`.
    /// @param results As given to `contributeAndFinalize`.
    struct Settlement {
        uint256 index;
        bytes32 resultDigest;
        bytes results;
    }

    /// @notice No such deal, or one that wants more than one worker's word: trust above 1, an enclave or a callback.
    error DealNotSettleable(bytes32 dealid);
    /// @notice The deal's contribution deadline has passed.
    error DealExpired(bytes32 dealid);
    /// @notice The index is not one of the deal's, or not one that fits 35 bits counted from the deal's first.
    error IndexNotSettleable(uint256 index);
    /// @notice The task is neither unset nor active without contributors; or it is there twice. `status` is the task's.
    error TaskNotSettleable(uint256 index, uint256 status);
    /// @notice The authorization is not the workerpool owner's for this caller, deal and indices.
    error SettlementNotAuthorized(address worker, bytes32 dealid);

    /// @notice For every item, in order, just what `initialize` (unless somebody did) and `contributeAndFinalize` by the
    /// caller would do: same checks, same events, same money, same views afterwards.
    /// @param items At least one, at most 4,096.
    /// @param authorization By the workerpool's owner, as an Ethereum signed message, over
    /// keccak256(worker, dealid, keccak256(indices, 32 bytes each, in order)), packed: 84 bytes.
    function settle(bytes32 dealid, Settlement[] calldata items, bytes calldata authorization) external;
}
