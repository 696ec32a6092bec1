// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IApp} from "../interfaces/IEntries.sol";
import {Entry} from "./Entry.sol";

/// @title A program
/// @notice Description: name, type, multiaddr, mrenclave, checksum.
contract App is IApp, Entry {
    /// @inheritdoc IApp
    function initialize(string calldata, string calldata, bytes calldata, bytes32, bytes calldata) external pure {
        revert("already initialized");
    }

    /// @inheritdoc IApp
    function m_appName() external view returns (string memory) {
        return string(_field(0));
    }

    /// @inheritdoc IApp
    function m_appType() external view returns (string memory) {
        return string(_field(1));
    }

    /// @inheritdoc IApp
    function m_appMultiaddr() external view returns (bytes memory) {
        return _field(2);
    }

    /// @inheritdoc IApp
    function m_appMREnclave() external view returns (bytes memory) {
        return _field(3);
    }

    /// @inheritdoc IApp
    function m_appChecksum() external view returns (bytes32) {
        return bytes32(_field(4));
    }
}
