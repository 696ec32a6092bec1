// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IEntry} from "../interfaces/IEntries.sol";

interface IEntryRegistry {
    function ownerOf(uint256 tokenId) external view returns (address);
    function longDescription(address entry) external view returns (bytes memory);
}

/// @title What all entries share
/// @notice Runs as the master behind minimal proxies. A proxy's description is behind its own code.
abstract contract Entry is IEntry {
    /// @dev Length of the minimal proxy (ERC-1167).
    uint256 private constant PROXY = 45;

    /// @inheritdoc IEntry
    address public immutable registry = msg.sender;

    /// @inheritdoc IEntry
    function owner() public view returns (address) {
        return IEntryRegistry(registry).ownerOf(uint256(uint160(address(this))));
    }

    /// @inheritdoc IEntry
    function setName(address, string calldata) external view {
        _requireOwner();
        revert("Operation not supported on this chain");
    }

    function _requireOwner() internal view {
        require(msg.sender == owner(), "caller is not the owner");
    }

    function _description() internal view returns (bytes memory content) {
        uint256 size = address(this).code.length;
        if (size <= PROXY) return IEntryRegistry(registry).longDescription(address(this));
        content = new bytes(size - PROXY);
        assembly ("memory-safe") {
            extcodecopy(address(), add(content, 32), PROXY, sub(size, PROXY))
        }
    }

    /// @notice Field `index` of a description: each is led by its length in three bytes.
    function _field(uint256 index) internal view returns (bytes memory field) {
        bytes memory content = _description();
        uint256 pos = 32;
        while (true) {
            uint256 length;
            assembly ("memory-safe") {
                length := shr(232, mload(add(content, pos)))
            }
            pos += 3;
            if (index == 0) {
                field = new bytes(length);
                assembly ("memory-safe") {
                    mcopy(add(field, 32), add(content, pos), length)
                }
                return field;
            }
            --index;
            pos += length;
        }
    }
}

/// @dev How registries write what `Entry` reads.
library Fields {
    function field(bytes memory content) internal pure returns (bytes memory) {
        return abi.encodePacked(uint24(content.length), content);
    }
}
