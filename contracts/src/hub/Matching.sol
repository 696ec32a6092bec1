// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IEntry} from "../interfaces/IEntries.sol";
import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {OrderHashes} from "../libraries/OrderHashes.sol";
import {Authority} from "./Authority.sol";
import {HubStorage} from "./HubStorage.sol";
import {Rules} from "./Rules.sol";

/// @title What every way of matching orders shares
/// @notice Who owns what is offered, how much of an order is left, and how much four orders make together.
abstract contract Matching is Authority {
    /// @notice An order as the hub sees it. @param word Its presigner and consumed volume.
    struct Seen {
        bytes32 hash;
        uint256 word;
        uint256 consumed;
    }

    function _seen(bytes32 separator, bytes32 structHash) internal view returns (Seen memory seen) {
        seen.hash = OrderHashes.typed(separator, structHash);
        seen.word = HubStorage.data().orders[seen.hash];
        seen.consumed = _written(seen.hash, seen.word);
    }

    function _seenRequest(bytes32 separator, bytes32 structHash) internal view returns (Seen memory seen) {
        seen = _seen(separator, structHash);
        if (seen.consumed == 0) seen.consumed = _consumed(seen.hash, seen.word);
    }

    function _consume(Seen memory seen, uint256 volume) internal {
        _setConsumed(seen.hash, seen.word, seen.consumed + volume);
    }

    /// @dev A dataset order without a dataset limits nothing.
    function _volume(
        IexecLibOrders_v5.AppOrder calldata apporder,
        Seen memory app,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        Seen memory dataset,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        Seen memory workerpool,
        IexecLibOrders_v5.RequestOrder calldata requestorder,
        Seen memory request
    ) internal pure returns (uint256 volume) {
        volume = apporder.volume - app.consumed;
        if (datasetorder.dataset != address(0)) volume = _min(volume, datasetorder.volume - dataset.consumed);
        volume = _min(volume, workerpoolorder.volume - workerpool.consumed);
        volume = _min(volume, requestorder.volume - request.consumed);
    }

    /// @dev An entry of our own registry is owned by whoever the registry says, which also says that it is registered:
    /// one question. Nobody if it is not one of its own.
    function _ownOwnerOf(address registry, address entry) internal view returns (address owner) {
        bytes4 ownerOf = Rules.OWNER_OF;
        assembly ("memory-safe") {
            mstore(0, ownerOf)
            mstore(4, entry)
            if and(gt(returndatasize(), 31), staticcall(gas(), registry, 0, 36, 0, 32)) { owner := mload(0) }
        }
    }

    /// @dev The same of a workerpool, which comes with its policy.
    function _ownPoolOf(address registry, address entry)
        internal
        view
        returns (address owner, uint256 stakeRatio, uint256 schedulerRatio)
    {
        bytes4 question = Rules.OWNER_AND_POLICY_OF;
        assembly ("memory-safe") {
            let answer := mload(0x40)
            mstore(0, question)
            mstore(4, entry)
            if and(gt(returndatasize(), 95), staticcall(gas(), registry, 0, 36, answer, 96)) {
                owner := mload(answer)
                stakeRatio := mload(add(answer, 32))
                schedulerRatio := mload(add(answer, 64))
            }
        }
    }

    /// @dev Only for entries that are not the registry's own the entry itself is asked, and then the registry for those
    /// before it.
    function _ownerOf(address registry, address entry) internal view returns (address owner, bool registered) {
        owner = _ownOwnerOf(registry, entry);
        if (owner != address(0)) return (owner, true);
        owner = IEntry(entry).owner();
        registered = Rules.isRegistered(registry, entry);
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
