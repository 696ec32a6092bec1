// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IERC721Enumerable} from "@openzeppelin/contracts/token/ERC721/extensions/IERC721Enumerable.sol";
import {IRegistered} from "../interfaces/IExternal.sol";
import {Records} from "../libraries/Records.sol";

/// @title A registry of entries
/// @notice See `IRegistry`. An entry is a minimal proxy to the master with its description behind, as one record (see
/// `Records`): its address follows from the call that made it, whoever made the call.
///
/// ```text
/// entry: [proxy to master 45][description]
/// salt:  keccak256(abi.encodeWithSignature("initialize(…)", …), owner)
/// ```
abstract contract Registry is ERC721, Ownable {
    error ERC721OutOfBoundsIndex(address owner, uint256 index);

    /// @dev Where a token is in its owner's list and in the list of all.
    struct Position {
        uint128 ofOwner;
        uint128 ofAll;
    }

    address public immutable master;
    address public previous;
    bool public initialized;
    string public baseURI;

    uint256[] private all;
    mapping(address owner => uint256[]) private owned;
    mapping(uint256 tokenId => Position) private positions;
    mapping(address entry => bytes) private longDescriptions;

    constructor(address owner_, string memory baseURI_, address master_) Ownable(owner_) {
        master = master_;
        baseURI = baseURI_;
    }

    function initialize(address previous_) external onlyOwner {
        require(!initialized, "already initialized");
        initialized = true;
        previous = previous_;
    }

    function setBaseURI(string calldata uri) external onlyOwner {
        baseURI = uri;
    }

    function setName(address, string calldata) external view {
        require(msg.sender == owner(), "Ownable: caller is not the owner");
        revert("Operation not supported on this chain");
    }

    /* ENTRIES */

    function isRegistered(address entry) external view returns (bool) {
        if (_ownerOf(uint256(uint160(entry))) != address(0)) return true;
        return previous != address(0) && IRegistered(previous).isRegistered(entry);
    }

    function proxyCode() external pure returns (bytes memory) {
        return Records.creationCode();
    }

    function proxyCodeHash() external pure returns (bytes32) {
        return keccak256(Records.creationCode());
    }

    /// @notice The code being deployed. Reverts at any other time.
    function record() external view {
        Records.answer();
        revert();
    }

    /// @notice A description too long to be part of its entry's code.
    function longDescription(address entry) external view returns (bytes memory) {
        return longDescriptions[entry];
    }

    /// @param call The entry's `initialize` call, which it never gets: it is born with the description.
    function _create(address owner_, bytes memory call, bytes memory description) internal returns (address entry) {
        bytes memory proxy = abi.encodePacked(
            hex"363d3d373d3d3d363d73", master, hex"5af43d82803e903d91602b57fd5bf3"
        );
        bool long = description.length > Records.MAX_LENGTH;
        entry = Records.write(_salt(owner_, call), long ? proxy : bytes.concat(proxy, description));
        require(entry != address(0), "Create2: Failed on deploy");
        if (long) longDescriptions[entry] = description;
        _mint(owner_, uint256(uint160(entry)));
    }

    function _predict(address owner_, bytes memory call) internal view returns (address) {
        return Records.addressOf(_salt(owner_, call));
    }

    function _salt(address owner_, bytes memory call) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(call, owner_));
    }

    /* ENUMERATION: both positions of a token share a word. */

    function totalSupply() external view returns (uint256) {
        return all.length;
    }

    function tokenByIndex(uint256 index) external view returns (uint256) {
        if (index >= all.length) revert ERC721OutOfBoundsIndex(address(0), index);
        return all[index];
    }

    function tokenOfOwnerByIndex(address owner_, uint256 index) external view returns (uint256) {
        if (index >= owned[owner_].length) revert ERC721OutOfBoundsIndex(owner_, index);
        return owned[owner_][index];
    }

    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IERC721Enumerable).interfaceId || super.supportsInterface(interfaceId);
    }

    function _baseURI() internal view override returns (string memory) {
        return baseURI;
    }

    /// @dev Tokens are minted and transferred, never burnt.
    function _update(address to, uint256 tokenId, address auth) internal override returns (address from) {
        from = super._update(to, tokenId, auth);
        if (from == to) return from;
        Position memory position;
        if (from == address(0)) {
            position.ofAll = uint128(all.length);
            all.push(tokenId);
        } else {
            position = positions[tokenId];
            uint256[] storage list = owned[from];
            uint256 last = list[list.length - 1];
            if (last != tokenId) {
                list[position.ofOwner] = last;
                positions[last].ofOwner = position.ofOwner;
            }
            list.pop();
        }
        position.ofOwner = uint128(owned[to].length);
        owned[to].push(tokenId);
        positions[tokenId] = position;
    }
}
