// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Records} from "../libraries/Records.sol";
import {HubStorage} from "./HubStorage.sol";

/// @title What a completed task left behind, as kept
/// @notice Written once, as a record under the task's id; nothing at all when there is nothing to keep.
///
/// ```text
/// 00 kind [worker 20, digest 32, enclave 20 if any] length-of-results 4, results, callback
/// ```
/// The ballot is there for tasks completed by one worker alone, which have no other.
///
/// Tasks settled together share a record, under the id of the first of them. What all their results begin with is there
/// once:
///
/// ```text
/// 00 kind, worker 20, length-of-beginning 3, beginning, for each task: digest 32, length-of-rest 3, rest
/// ```
library Outcomes {
    struct Outcome {
        address worker;
        bytes32 digest;
        address enclaveChallenge;
        bytes results;
        bytes resultsCallback;
    }

    uint256 private constant PLAIN = 0;
    uint256 private constant SOLO = 1;
    uint256 private constant SOLO_ENCLAVE = 3;
    uint256 private constant BATCH = 5;

    /// @dev What a batch takes besides results: at its beginning, and for each task.
    uint256 internal constant BATCH_HEAD = 25;
    uint256 internal constant BATCH_ITEM = 35;

    function write(bytes32 taskid, bytes calldata results, bytes calldata resultsCallback) internal {
        if (results.length + resultsCallback.length == 0) return;
        store(taskid, abi.encodePacked(uint16(PLAIN), uint32(results.length), results, resultsCallback));
    }

    function writeSolo(
        bytes32 taskid,
        bytes32 digest,
        address enclaveChallenge,
        bytes calldata results,
        bytes calldata resultsCallback
    ) internal {
        bytes memory ballot = enclaveChallenge == address(0)
            ? abi.encodePacked(uint16(SOLO), msg.sender, digest)
            : abi.encodePacked(uint16(SOLO_ENCLAVE), msg.sender, digest, enclaveChallenge);
        store(taskid, abi.encodePacked(ballot, uint32(results.length), results, resultsCallback));
    }

    function store(bytes32 taskid, bytes memory content) internal {
        if (content.length > Records.MAX_LENGTH) HubStorage.data().longRecords[taskid] = content;
        else require(Records.write(taskid, content) != address(0));
    }

    /// @notice How a batch's record begins; tasks follow.
    function batchHead(bytes calldata beginning) internal view returns (bytes memory) {
        return abi.encodePacked(uint16(BATCH), msg.sender, uint24(beginning.length), beginning);
    }

    /// @param key Id of the batch's first task.
    function readBatch(bytes32 key, uint256 position) internal view returns (Outcome memory outcome) {
        bytes memory content = load(key);
        outcome.worker = address(uint160(word(content, 2) >> 96));
        uint256 length = word(content, 22) >> 232;
        bytes memory beginning = part(content, BATCH_HEAD, length);
        uint256 pos = BATCH_HEAD + length;
        for (; position > 0; --position) {
            pos += BATCH_ITEM + (word(content, pos + 32) >> 232);
        }
        outcome.digest = bytes32(word(content, pos));
        outcome.results = bytes.concat(beginning, part(content, pos + BATCH_ITEM, word(content, pos + 32) >> 232));
    }

    function load(bytes32 key) private view returns (bytes memory) {
        address record = Records.addressOf(key);
        uint256 size = record.code.length;
        return size != 0 ? Records.slice(record, 0, size) : HubStorage.data().longRecords[key];
    }

    function read(bytes32 taskid) internal view returns (Outcome memory outcome) {
        bytes memory content = load(taskid);
        if (content.length == 0) return outcome;
        uint256 kind = uint8(content[1]);
        uint256 pos = 2;
        if (kind != PLAIN) {
            outcome.worker = address(uint160(word(content, pos) >> 96));
            outcome.digest = bytes32(word(content, pos + 20));
            pos += 52;
        }
        if (kind == SOLO_ENCLAVE) {
            outcome.enclaveChallenge = address(uint160(word(content, pos) >> 96));
            pos += 20;
        }
        uint256 length = word(content, pos) >> 224;
        pos += 4;
        outcome.results = part(content, pos, length);
        outcome.resultsCallback = part(content, pos + length, content.length - pos - length);
    }

    function word(bytes memory content, uint256 pos) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(add(content, 32), pos))
        }
    }

    function part(bytes memory content, uint256 pos, uint256 length) private pure returns (bytes memory copy) {
        copy = new bytes(length);
        assembly ("memory-safe") {
            mcopy(add(copy, 32), add(add(content, 32), pos), length)
        }
    }
}
