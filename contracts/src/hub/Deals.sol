// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Records} from "../libraries/Records.sol";
import {HubStorage} from "./HubStorage.sol";

/// @title What the parties agreed on, as kept
/// @notice A deal is written once, as a record (see `Records`) under the first 16 bytes of its id, which is what tasks
/// refer to it by. The record holds the other 16 bytes: a deal id is only ever matched whole.
///
/// ```text
/// 00 flags [terms, packed or wide] params
/// ```
library Deals {
    /// @param timeref Seconds, of the deal's category.
    struct Terms {
        bytes32 dealid;
        address app;
        address appOwner;
        uint256 appPrice;
        address dataset;
        address datasetOwner;
        uint256 datasetPrice;
        address workerpool;
        address workerpoolOwner;
        uint256 workerpoolPrice;
        uint256 trust;
        uint256 category;
        bytes32 tag;
        address requester;
        address beneficiary;
        address callback;
        address sponsor;
        uint256 startTime;
        uint256 timeref;
        uint256 botFirst;
        uint256 botSize;
        uint256 stakeRatio;
        uint256 workerStake;
        uint256 schedulerRewardRatio;
    }

    uint256 private constant HAS_DATASET = 1;
    uint256 private constant HAS_SPONSOR = 2;
    uint256 private constant HAS_BENEFICIARY = 4;
    uint256 private constant HAS_CALLBACK = 8;
    uint256 private constant IS_WIDE = 16;

    /// @dev Length of `Terms` when encoded as words.
    uint256 private constant WIDE = 24 * 32;
    /// @dev Length of what every packed record has, and of the parties that only some have.
    uint256 private constant PACKED = 163;
    uint256 private constant DATASET = 48;
    uint256 private constant PARTY = 20;

    function refOf(bytes32 dealid) internal pure returns (uint256) {
        return uint256(dealid) >> 128;
    }

    /* WRITING */

    function write(Terms memory terms, string calldata params) internal {
        bytes32 key = bytes32(refOf(terms.dealid));
        bytes memory content = fits(terms) ? packed(terms, params) : wide(terms, params);
        if (content.length > Records.MAX_LENGTH) {
            HubStorage.Layout storage $ = HubStorage.data();
            require($.longRecords[key].length == 0);
            $.longRecords[key] = content;
        } else {
            require(Records.write(key, content) != address(0));
        }
    }

    function fits(Terms memory terms) private pure returns (bool) {
        return (terms.appPrice | terms.datasetPrice | terms.workerpoolPrice) >> 64 == 0
            && (terms.trust | uint256(terms.tag) | terms.timeref | terms.botFirst | terms.botSize) >> 32 == 0
            && terms.category >> 16 == 0 && (terms.stakeRatio | terms.schedulerRewardRatio) >> 8 == 0;
    }

    function packed(Terms memory terms, string calldata params) private pure returns (bytes memory content) {
        uint256 flags;
        bytes memory parties;
        if (terms.dataset != address(0)) {
            flags |= HAS_DATASET;
            parties = abi.encodePacked(terms.dataset, terms.datasetOwner, uint64(terms.datasetPrice));
        }
        if (terms.sponsor != terms.requester) {
            flags |= HAS_SPONSOR;
            parties = abi.encodePacked(parties, terms.sponsor);
        }
        if (terms.beneficiary != terms.requester) {
            flags |= HAS_BENEFICIARY;
            parties = abi.encodePacked(parties, terms.beneficiary);
        }
        if (terms.callback != address(0)) {
            flags |= HAS_CALLBACK;
            parties = abi.encodePacked(parties, terms.callback);
        }
        return bytes.concat(
            abi.encodePacked(
                uint16(flags),
                uint128(uint256(terms.dealid)),
                uint40(terms.startTime),
                uint32(terms.timeref),
                uint32(terms.botFirst),
                uint32(terms.botSize),
                uint32(terms.trust),
                uint16(terms.category),
                uint32(uint256(terms.tag)),
                uint8(terms.stakeRatio),
                uint8(terms.schedulerRewardRatio)
            ),
            abi.encodePacked(
                terms.app,
                terms.appOwner,
                uint64(terms.appPrice),
                terms.workerpool,
                terms.workerpoolOwner,
                uint64(terms.workerpoolPrice),
                terms.requester
            ),
            parties,
            bytes(params)
        );
    }

    function wide(Terms memory terms, string calldata params) private pure returns (bytes memory) {
        return bytes.concat(bytes2(uint16(IS_WIDE)), abi.encode(terms), bytes(params));
    }

    /* READING */

    /// @notice Terms under a reference. All zero when there is no such deal.
    function read(uint256 ref) internal view returns (Terms memory terms) {
        bytes memory content = load(ref, PACKED + DATASET + 3 * PARTY);
        uint256 flags = uint8(content[1]);
        if (flags & IS_WIDE != 0) {
            content = load(ref, 2 + WIDE);
            assembly ("memory-safe") {
                mcopy(terms, add(content, 34), WIDE)
            }
            return terms;
        }
        uint256 pos;
        assembly ("memory-safe") {
            pos := add(content, 34)
        }
        // A word of the record, shifted down to the field's width.
        terms.dealid = bytes32((ref << 128) | take(pos, 128));
        terms.startTime = take(pos + 16, 40);
        terms.timeref = take(pos + 21, 32);
        terms.botFirst = take(pos + 25, 32);
        terms.botSize = take(pos + 29, 32);
        terms.trust = take(pos + 33, 32);
        terms.category = take(pos + 37, 16);
        terms.tag = bytes32(take(pos + 39, 32));
        terms.stakeRatio = take(pos + 43, 8);
        terms.schedulerRewardRatio = take(pos + 44, 8);
        terms.app = party(pos + 45);
        terms.appOwner = party(pos + 65);
        terms.appPrice = take(pos + 85, 64);
        terms.workerpool = party(pos + 93);
        terms.workerpoolOwner = party(pos + 113);
        terms.workerpoolPrice = take(pos + 133, 64);
        terms.requester = party(pos + 141);
        pos += PACKED - 2;
        if (flags & HAS_DATASET != 0) {
            terms.dataset = party(pos);
            terms.datasetOwner = party(pos + 20);
            terms.datasetPrice = take(pos + 40, 64);
            pos += DATASET;
        }
        (terms.sponsor, pos) = flags & HAS_SPONSOR != 0 ? (party(pos), pos + PARTY) : (terms.requester, pos);
        (terms.beneficiary, pos) = flags & HAS_BENEFICIARY != 0 ? (party(pos), pos + PARTY) : (terms.requester, pos);
        if (flags & HAS_CALLBACK != 0) terms.callback = party(pos);
        unchecked {
            terms.workerStake = terms.workerpoolPrice * terms.stakeRatio / 100; // 64 + 8 bits
        }
    }

    /// @notice The deal with exactly this id. All zero when there is none.
    function find(bytes32 dealid) internal view returns (Terms memory terms) {
        terms = read(refOf(dealid));
        if (terms.dealid != dealid) delete terms;
    }

    function paramsOf(Terms memory terms) internal view returns (string memory) {
        uint256 ref = refOf(terms.dealid);
        bytes memory content = load(ref, type(uint256).max);
        if (content.length < 2) return "";
        uint256 flags = uint8(content[1]);
        uint256 offset = flags & IS_WIDE != 0
            ? 2 + WIDE
            : PACKED + (flags & HAS_DATASET != 0 ? DATASET : 0) + (flags & HAS_SPONSOR != 0 ? PARTY : 0)
                + (flags & HAS_BENEFICIARY != 0 ? PARTY : 0) + (flags & HAS_CALLBACK != 0 ? PARTY : 0);
        assembly ("memory-safe") {
            let length := sub(mload(content), offset)
            content := add(content, offset)
            mstore(content, length)
        }
        return string(content);
    }

    function load(uint256 ref, uint256 length) private view returns (bytes memory) {
        bytes32 key = bytes32(ref);
        address record = Records.addressOf(key);
        uint256 size = record.code.length;
        if (size == 0) {
            bytes memory content = HubStorage.data().longRecords[key];
            if (content.length != 0) return content;
        }
        return Records.slice(record, 0, length == type(uint256).max ? size : length);
    }

    function take(uint256 pos, uint256 bits) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, bits), mload(pos))
        }
    }

    function party(uint256 pos) private pure returns (address) {
        return address(uint160(take(pos, 160)));
    }
}
