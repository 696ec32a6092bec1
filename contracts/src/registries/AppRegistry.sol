// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IApp} from "../interfaces/IEntries.sol";
import {App} from "./App.sol";
import {Fields} from "./Entry.sol";
import {Registry} from "./Registry.sol";

/// @title Registry of programs
/// @notice See `IAppRegistry`.
contract AppRegistry is Registry {
    using Fields for bytes;

    constructor(address owner_, string memory baseURI_)
        ERC721("iExec Application Registry (V5)", "iExecAppsV5")
        Registry(owner_, baseURI_, address(new App()))
    {}

    function createApp(
        address owner,
        string calldata name,
        string calldata appType,
        bytes calldata multiaddr,
        bytes32 checksum,
        bytes calldata mrenclave
    ) external returns (address) {
        return _create(
            owner,
            abi.encodeCall(IApp.initialize, (name, appType, multiaddr, checksum, mrenclave)),
            bytes.concat(
                bytes(name).field(),
                bytes(appType).field(),
                multiaddr.field(),
                mrenclave.field(),
                abi.encodePacked(checksum).field()
            )
        );
    }

    function predictApp(
        address owner,
        string calldata name,
        string calldata appType,
        bytes calldata multiaddr,
        bytes32 checksum,
        bytes calldata mrenclave
    ) external view returns (address) {
        return _predict(owner, abi.encodeCall(IApp.initialize, (name, appType, multiaddr, checksum, mrenclave)));
    }
}
