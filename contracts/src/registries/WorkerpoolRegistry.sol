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

    uint256 private constant DEFAULT_STAKE_RATIO = 30;
    uint256 private constant DEFAULT_SCHEDULER_RATIO = 1;
    /// @dev An 88-bit stake ratio that is all ones is in the side table.
    uint256 private constant WIDE = type(uint88).max;
    /// @dev Of `ERC721._owners`, which takes the low 160 bits of a word per token and leaves the others as they are. A test
    /// compares it with the compiler's layout. The policy above it is kept as the difference from the defaults, so that a
    /// new pool writes nothing: the scheduler's ratio in 8 bits, the stake's in 88.
    uint256 private constant OWNERS_SLOT = 2;

    mapping(address entry => uint256) private wideStakeRatios;

    constructor(address owner_, string memory baseURI_)
        ERC721("iExec Workerpool Registry (V5)", "iExecWorkerpoolV5")
        Registry(owner_, baseURI_, address(new Workerpool()))
    {}

    /* POLICIES: of an entry's, beside its owner, in one word. */

    /// @notice What the hub asks for a match. The owner is zero unless the entry was made here.
    function ownerAndPolicyOf(address entry)
        external
        view
        returns (address owner, uint256 stakeRatio, uint256 schedulerRatio)
    {
        (stakeRatio, schedulerRatio) = policyOf(entry);
        owner = _ownerOf(uint256(uint160(entry)));
    }

    function policyOf(address entry) public view returns (uint256 stakeRatio, uint256 schedulerRatio) {
        uint256 word;
        bytes32 slot = _wordOf(entry);
        assembly ("memory-safe") {
            word := sload(slot)
        }
        uint256 kept = word >> 168;
        stakeRatio = (kept == WIDE ? wideStakeRatios[entry] : kept) ^ DEFAULT_STAKE_RATIO;
        schedulerRatio = uint8(word >> 160) ^ DEFAULT_SCHEDULER_RATIO;
    }

    /// @notice By an entry, for itself; it has made sure of who asks.
    function setPolicy(uint256 stakeRatio, uint256 schedulerRatio) external {
        require(_ownerOf(uint256(uint160(msg.sender))) != address(0));
        uint256 kept = stakeRatio ^ DEFAULT_STAKE_RATIO;
        if (kept >= WIDE) (wideStakeRatios[msg.sender], kept) = (kept, WIDE);
        uint256 policy = (kept << 168) | ((schedulerRatio ^ DEFAULT_SCHEDULER_RATIO) << 160);
        bytes32 slot = _wordOf(msg.sender);
        assembly ("memory-safe") {
            sstore(slot, or(policy, shr(96, shl(96, sload(slot)))))
        }
    }

    function _wordOf(address entry) private pure returns (bytes32) {
        return keccak256(abi.encode(entry, OWNERS_SLOT));
    }

    /* ENTRIES */

    function createWorkerpool(address owner, string calldata description) external returns (address) {
        return _create(
            owner, abi.encodeCall(IWorkerpool.initialize, (description)), bytes.concat(bytes(description).field())
        );
    }

    function predictWorkerpool(address owner, string calldata description) external view returns (address) {
        return _predict(owner, abi.encodeCall(IWorkerpool.initialize, (description)));
    }
}
