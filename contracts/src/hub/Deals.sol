// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Records} from "../libraries/Records.sol";
import {HubStorage} from "./HubStorage.sol";

/// @title What the parties agreed on, as kept
/// @notice A deal is written once, as a record (see `Records`) under the first 16 bytes of its id, which is what tasks
/// refer to it by. The record holds the other 16 bytes: a deal id is only ever matched whole.
///
/// ```text
/// 00 flags 1, lengths 6, id 16, app, its owner, workerpool, its owner, requester (20 each)
/// [dataset, its owner] [sponsor] [beneficiary] [callback], numbers, params
/// ```
/// Each of the twelve numbers takes as many bytes as it needs, said by its four bits of the lengths: 0 to 14, or 15 for
/// a whole word. Kept is its difference from what it usually is: one task, trust 1, stake ratio 30, scheduler's share 1 percent.
/// Parties that are nobody, or the requester, are left out.
library Deals {
    /// @dev The numbers come first and in the order of the record: both are read and written as one run of words.
    /// @param timeref Seconds, of the deal's category.
    /// @param stakeRatio Percent of the workerpool's price that is `workerStake`.
    struct Terms {
        uint256 startTime;
        uint256 timeref;
        uint256 botFirst;
        uint256 botSize;
        uint256 trust;
        uint256 category;
        bytes32 tag;
        uint256 stakeRatio;
        uint256 schedulerRewardRatio;
        uint256 appPrice;
        uint256 datasetPrice;
        uint256 workerpoolPrice;
        uint256 workerStake;
        bytes32 dealid;
        address app;
        address appOwner;
        address workerpool;
        address workerpoolOwner;
        address requester;
        address dataset;
        address datasetOwner;
        address sponsor;
        address beneficiary;
        address callback;
    }

    uint256 private constant HAS_DATASET = 1;
    uint256 private constant HAS_SPONSOR = 2;
    uint256 private constant HAS_BENEFICIARY = 4;
    uint256 private constant HAS_CALLBACK = 8;
    /// @dev The record is only a stub: the deal is too long to be code.
    uint256 private constant IS_LONG = 16;

    uint256 private constant NUMBERS = 12;
    /// @dev What each number usually is, one byte each: kept is the difference (xor), which then is nothing at all.
    bytes32 private constant USUAL = 0x000000010100001e010000000000000000000000000000000000000000000000;
    /// @dev Length of what every record begins with, and of a party.
    uint256 private constant FIXED = 124;
    uint256 private constant PARTY = 20;
    /// @dev No record's beginning, up to the params, is longer.
    uint256 private constant LONGEST = FIXED + 5 * PARTY + NUMBERS * 32;

    /// @notice What stands for a deal where 32 bytes are too many.
    function refOf(bytes32 dealid) internal pure returns (uint256) {
        return uint256(dealid) >> 128;
    }

    /// @notice Whether there is a deal under the reference.
    function exists(uint256 ref) internal view returns (bool) {
        return Records.addressOf(bytes32(ref)).code.length != 0;
    }

    /* WRITING */

    function write(Terms memory terms, string calldata params) internal {
        bytes32 key = bytes32(refOf(terms.dealid));
        bytes memory content = encode(terms, params);
        if (content.length > Records.MAX_LENGTH) {
            HubStorage.data().longRecords[key] = content;
            content = abi.encodePacked(uint16(IS_LONG));
        }
        require(Records.write(key, content) != address(0));
    }

    function encode(Terms memory terms, string calldata params) private pure returns (bytes memory content) {
        uint256 start;
        assembly ("memory-safe") {
            content := mload(0x40)
            start := add(content, 32)
        }
        uint256 pos = start + 24;
        pos = putParty(pos, terms.app);
        pos = putParty(pos, terms.appOwner);
        pos = putParty(pos, terms.workerpool);
        pos = putParty(pos, terms.workerpoolOwner);
        pos = putParty(pos, terms.requester);
        uint256 flags;
        if (terms.dataset != address(0)) {
            flags |= HAS_DATASET;
            pos = putParty(pos, terms.dataset);
            pos = putParty(pos, terms.datasetOwner);
        }
        if (terms.sponsor != terms.requester) {
            flags |= HAS_SPONSOR;
            pos = putParty(pos, terms.sponsor);
        }
        if (terms.beneficiary != terms.requester) {
            flags |= HAS_BENEFICIARY;
            pos = putParty(pos, terms.beneficiary);
        }
        if (terms.callback != address(0)) {
            flags |= HAS_CALLBACK;
            pos = putParty(pos, terms.callback);
        }
        uint256 lengths;
        (lengths, pos) = putNumbers(pos, terms);
        uint256 beginning = (flags << 176) | (lengths << 128) | uint128(uint256(terms.dealid));
        bytes calldata text = bytes(params);
        assembly ("memory-safe") {
            // 24 bytes, before what is there already.
            mstore(start, or(shl(64, beginning), shr(192, shl(192, mload(start)))))
            calldatacopy(pos, text.offset, text.length)
            let end := add(pos, text.length)
            mstore(content, sub(end, start))
            mstore(0x40, and(add(end, 31), not(31)))
        }
    }

    /// @dev Writes past the free memory pointer, as all of `encode` does. What follows overwrites the rest of the word.
    function putParty(uint256 pos, address who) private pure returns (uint256) {
        assembly ("memory-safe") {
            mstore(pos, shl(96, who))
        }
        return pos + PARTY;
    }

    function putNumbers(uint256 pos, Terms memory terms) private pure returns (uint256 lengths, uint256 end) {
        assembly ("memory-safe") {
            end := pos
            for { let i := 0 } lt(i, NUMBERS) { i := add(i, 1) } {
                lengths := shl(4, lengths)
                let value := xor(mload(add(terms, shl(5, i))), byte(i, USUAL))
                if value {
                    let length := 1
                    for { let rest := shr(8, value) } rest { rest := shr(8, rest) } { length := add(length, 1) }
                    let code := length
                    if gt(length, 14) {
                        code := 15
                        length := 32
                    }
                    mstore(end, shl(sub(256, shl(3, length)), value))
                    end := add(end, length)
                    lengths := or(lengths, code)
                }
            }
        }
    }

    /* READING */

    /// @notice Terms under a reference. All zero when there is no such deal.
    function read(uint256 ref) internal view returns (Terms memory terms) {
        (terms,) = decode(ref, load(ref, LONGEST));
    }

    /// @notice The deal with exactly this id. All zero when there is none.
    function find(bytes32 dealid) internal view returns (Terms memory terms) {
        terms = read(refOf(dealid));
        if (terms.dealid != dealid) delete terms;
    }

    function paramsOf(bytes32 dealid) internal view returns (string memory) {
        uint256 ref = refOf(dealid);
        uint256 size = Records.addressOf(bytes32(ref)).code.length;
        bytes memory content = load(ref, size);
        if (size == 0) return "";
        (, uint256 offset) = decode(ref, content);
        assembly ("memory-safe") {
            let length := sub(mload(content), offset)
            content := add(content, offset)
            mstore(content, length)
        }
        return string(content);
    }

    /// @return terms What the record says.
    /// @return length Of what comes before the params.
    function decode(uint256 ref, bytes memory content) private pure returns (Terms memory terms, uint256 length) {
        uint256 start;
        assembly ("memory-safe") {
            start := add(content, 32)
        }
        uint256 flags = take(start, 16);
        uint256 lengths = take(start + 2, 48);
        uint256 low = take(start + 8, 128);
        // A record that is not there reads as zeros, and no app has the address zero.
        terms.app = party(start + 24);
        if (terms.app == address(0)) return (terms, 0);
        terms.dealid = bytes32((ref << 128) | low);
        terms.appOwner = party(start + 44);
        terms.workerpool = party(start + 64);
        terms.workerpoolOwner = party(start + 84);
        terms.requester = party(start + 104);
        uint256 pos = start + FIXED;
        if (flags & HAS_DATASET != 0) {
            terms.dataset = party(pos);
            terms.datasetOwner = party(pos + PARTY);
            pos += 2 * PARTY;
        }
        (terms.sponsor, pos) = flags & HAS_SPONSOR != 0 ? (party(pos), pos + PARTY) : (terms.requester, pos);
        (terms.beneficiary, pos) = flags & HAS_BENEFICIARY != 0 ? (party(pos), pos + PARTY) : (terms.requester, pos);
        (terms.callback, pos) = flags & HAS_CALLBACK != 0 ? (party(pos), pos + PARTY) : (address(0), pos);
        assembly ("memory-safe") {
            for { let i := 0 } lt(i, NUMBERS) { i := add(i, 1) } {
                let bits := shl(3, and(shr(sub(44, shl(2, i)), lengths), 15))
                if gt(bits, 112) { bits := 256 }
                mstore(add(terms, shl(5, i)), xor(shr(sub(256, bits), mload(pos)), byte(i, USUAL)))
                pos := add(pos, shr(3, bits))
            }
        }
        terms.workerStake = terms.workerpoolPrice * terms.stakeRatio / 100;
        length = pos - start;
    }

    /// @dev A stub stands for a record in storage.
    function load(uint256 ref, uint256 length) private view returns (bytes memory content) {
        bytes32 key = bytes32(ref);
        content = Records.slice(Records.addressOf(key), 0, length);
        if (length > 1 && uint8(content[1]) & IS_LONG != 0) content = HubStorage.data().longRecords[key];
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
