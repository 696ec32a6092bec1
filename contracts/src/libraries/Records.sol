// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// @title Write-once data kept as contract code
/// @notice Code costs 200 gas per byte where a slot costs 690, and is found again without a pointer: its address
/// follows from the key alone, because the creation code is always the same.
///
/// ```text
/// write(key, content): content -> transient storage
///                      CREATE2(key, CREATION_CODE) -- asks its creator: record() --> content
///                      transient length cleared
/// ```
/// A creator must answer `record()` with `Records.answer()`. Content must not begin with 0xEF (EIP-3541) and should begin
/// with 0x00, so that calling the record does nothing.
library Records {
    /// @dev Largest content kept as code, below the limit of EIP-170.
    uint256 internal constant MAX_LENGTH = 24_000;

    /// @dev Transient slot of the length; words follow it. keccak256("gristmill.transient.Record") with a clear tail.
    uint256 private constant PENDING = 0x21fa427b50c9fef908919e57d1ee21bd3c598e24bf4a184d31d3ce555cab0000;

    /// @dev Asks the creator for `record()` (0x266cf109) and becomes the answer:
    /// push4 266cf109, mstore(0), staticcall(gas, caller, 28, 4, 0, 0), revert if it failed,
    /// returndatacopy(0, 0, returndatasize), return(0, returndatasize).
    bytes31 private constant CREATION_CODE = 0x63266cf1095f525f5f6004601c335afa15601b573d5f5f3e3d5ff35b5f5ffd;
    /// @dev keccak256 of it.
    bytes32 private constant CREATION_HASH = 0x5f5b5c1a4c9fb0e18c215e4713740987b25a9ac013690a1e26bf06166671bad9;

    function creationCode() internal pure returns (bytes memory) {
        return abi.encodePacked(CREATION_CODE);
    }

    /// @return record The zero address if the key was written before.
    function write(bytes32 key, bytes memory content) internal returns (address record) {
        bytes32 code = bytes32(CREATION_CODE);
        assembly ("memory-safe") {
            let length := mload(content)
            tstore(PENDING, length)
            let words := shr(5, add(length, 31))
            for { let i := 1 } iszero(gt(i, words)) { i := add(i, 1) } {
                tstore(add(PENDING, i), mload(add(content, shl(5, i))))
            }
            mstore(0, code)
            record := create2(0, 0, 31, key)
            tstore(PENDING, 0)
        }
    }

    /// @notice Ends the call with the content being written.
    /// @return Whether nothing is being written; only then does it return.
    function answer() internal view returns (bool) {
        assembly ("memory-safe") {
            let length := tload(PENDING)
            if length {
                let free := mload(0x40)
                let words := shr(5, add(length, 31))
                for { let i := 0 } lt(i, words) { i := add(i, 1) } {
                    mstore(add(free, shl(5, i)), tload(add(PENDING, add(i, 1))))
                }
                return(free, length)
            }
        }
        return true;
    }

    function addressOf(bytes32 key) internal view returns (address record) {
        bytes32 hash = CREATION_HASH;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, or(shl(248, 0xff), shl(88, address())))
            mstore(add(free, 21), key)
            mstore(add(free, 53), hash)
            record := and(keccak256(free, 85), 0xffffffffffffffffffffffffffffffffffffffff)
        }
    }

    /// @notice Content from `offset` on, at most `length` bytes, filled up with zeros.
    function slice(address record, uint256 offset, uint256 length) internal view returns (bytes memory content) {
        assembly ("memory-safe") {
            content := mload(0x40)
            mstore(content, length)
            extcodecopy(record, add(content, 32), offset, length)
            mstore(0x40, add(content, and(add(length, 63), not(31))))
        }
    }
}
