// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IWorkerpool} from "../interfaces/IEntries.sol";
import {Fields} from "./Entry.sol";
import {Registry} from "./Registry.sol";
import {Workerpool} from "./Workerpool.sol";

/// @title Registry of worker pools
/// @notice See `IWorkerpoolRegistry`.
contract WorkerpoolRegistry is Registry {
    using Fields for bytes;

    constructor(address owner_, string memory baseURI_)
        ERC721("iExec Workerpool Registry (V5)", "iExecWorkerpoolV5")
        Registry(owner_, baseURI_, address(new Workerpool()))
    {}

    function createWorkerpool(address owner, string calldata description) external returns (address) {
        return _create(
            owner, abi.encodeCall(IWorkerpool.initialize, (description)), bytes.concat(bytes(description).field())
        );
    }

    function predictWorkerpool(address owner, string calldata description) external view returns (address) {
        return _predict(owner, abi.encodeCall(IWorkerpool.initialize, (description)));
    }
}
