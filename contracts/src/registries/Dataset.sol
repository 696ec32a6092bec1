// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IDataset} from "../interfaces/IEntries.sol";
import {Entry} from "./Entry.sol";

/// @title A data set
/// @notice Description: name, multiaddr, checksum.
contract Dataset is IDataset, Entry {
    /// @inheritdoc IDataset
    function initialize(string calldata, bytes calldata, bytes32) external pure {
        revert("already initialized");
    }

    /// @inheritdoc IDataset
    function m_datasetName() external view returns (string memory) {
        return string(_field(0));
    }

    /// @inheritdoc IDataset
    function m_datasetMultiaddr() external view returns (bytes memory) {
        return _field(1);
    }

    /// @inheritdoc IDataset
    function m_datasetChecksum() external view returns (bytes32) {
        return bytes32(_field(2));
    }
}
