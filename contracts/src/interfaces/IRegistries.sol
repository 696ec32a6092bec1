// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC721Errors, IERC721} from "./IERC721.sol";

/// @title A registry of entries: one ERC-721 token per entry, tokenId = uint160(entry address)
/// @notice Whoever owns the token owns the entry. Anyone may create an entry for any owner.
interface IRegistry is IERC721, IERC721Errors {
    error OwnableInvalidOwner(address owner);
    error OwnableUnauthorizedAccount(address account);
    error Create2EmptyBytecode();
    error Create2FailedDeployment();
    error Create2InsufficientBalance(uint256 received, uint256 minimum);

    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    function owner() external view returns (address);
    function transferOwnership(address newOwner) external;
    function renounceOwnership() external;
    /// @notice Names the registry that entries may also come from. Once, by the owner.
    function initialize(address previous) external;
    function initialized() external view returns (bool);
    function previous() external view returns (address);
    /// @notice The logic every entry runs.
    function master() external view returns (address);
    /// @notice Creation code every entry shares, up to the description that follows it.
    function proxyCode() external view returns (bytes memory);
    function proxyCodeHash() external view returns (bytes32);
    /// @notice Whether the entry was made here or in a previous registry.
    function isRegistered(address entry) external view returns (bool);
    function baseURI() external view returns (string memory);
    function setBaseURI(string calldata uri) external;
    /// @notice Refuses: there are no names on this chain.
    function setName(address ens, string calldata name) external;
}

interface IAppRegistry is IRegistry {
    function createApp(
        address owner,
        string calldata name,
        string calldata appType,
        bytes calldata multiaddr,
        bytes32 checksum,
        bytes calldata mrenclave
    ) external returns (address);
    function predictApp(
        address owner,
        string calldata name,
        string calldata appType,
        bytes calldata multiaddr,
        bytes32 checksum,
        bytes calldata mrenclave
    ) external view returns (address);
}

interface IDatasetRegistry is IRegistry {
    function createDataset(address owner, string calldata name, bytes calldata multiaddr, bytes32 checksum)
        external
        returns (address);
    function predictDataset(address owner, string calldata name, bytes calldata multiaddr, bytes32 checksum)
        external
        view
        returns (address);
}

interface IWorkerpoolRegistry is IRegistry {
    function createWorkerpool(address owner, string calldata description) external returns (address);
    function predictWorkerpool(address owner, string calldata description) external view returns (address);
}
