// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IDataset} from "../interfaces/IEntries.sol";
import {Dataset} from "./Dataset.sol";
import {Fields} from "./Entry.sol";
import {Registry} from "./Registry.sol";

/// @title Registry of data sets
/// @notice See `IDatasetRegistry`.
contract DatasetRegistry is Registry {
    using Fields for bytes;

    constructor(address owner_, string memory baseURI_)
        ERC721("iExec Dataset Registry (V5)", "iExecDatasetsV5")
        Registry(owner_, baseURI_, address(new Dataset()))
    {}

    function createDataset(address owner, string calldata name, bytes calldata multiaddr, bytes32 checksum)
        external
        returns (address)
    {
        return _create(
            owner,
            abi.encodeCall(IDataset.initialize, (name, multiaddr, checksum)),
            bytes.concat(bytes(name).field(), multiaddr.field(), abi.encodePacked(checksum).field())
        );
    }

    function predictDataset(address owner, string calldata name, bytes calldata multiaddr, bytes32 checksum)
        external
        view
        returns (address)
    {
        return _predict(owner, abi.encodeCall(IDataset.initialize, (name, multiaddr, checksum)));
    }
}
