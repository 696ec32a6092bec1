// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC1271, IERC734} from "../interfaces/IExternal.sol";
import {OrderHashes} from "../libraries/OrderHashes.sol";
import {Deals} from "./Deals.sol";
import {HubStorage} from "./HubStorage.sol";
import {Narrow} from "./Narrow.sol";

/// @title Who may, and who said so
/// @notice Signatures, presignatures and group restrictions. Other contracts are only ever asked by static call.
abstract contract Authority {
    /// @dev Of ERC-734: membership of a group.
    uint256 internal constant GROUPMEMBER_PURPOSE = 4;
    /// @dev Half the order of secp256k1: of the two signatures of a message only the one below is taken.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Whether `account` signed `hash`.
    /// @dev A contract is asked itself; that it reverts means no, that it answers nonsense reverts.
    /// Whatever recovers to nobody counts as a signature of the zero address, as it always has.
    function _signed(address account, bytes32 hash, bytes calldata signature) internal view returns (bool) {
        if (account.code.length != 0) {
            try IERC1271(account).isValidSignature(hash, signature) returns (bytes4 answer) {
                return answer == IERC1271.isValidSignature.selector;
            } catch {
                return false;
            }
        }
        return _recover(hash, signature) == account;
    }

    /// @notice Whether `account` signed the order, or announced it on chain. `order` is the order's word.
    function _signedOrPresigned(address account, uint256 order, bytes32 hash, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        return _presigned(account, order) || _signed(account, hash, signature);
    }

    function _presigned(address account, uint256 order) internal pure returns (bool) {
        return account != address(0) && address(uint160(order)) == account;
    }

    /// @notice Whether an order restricted to `restriction` may be matched with `account`.
    function _allows(address restriction, address account) internal view returns (bool) {
        if (restriction == address(0) || restriction == account) return true;
        if (restriction.code.length == 0) return false;
        try IERC734(restriction).keyHasPurpose(bytes32(uint256(uint160(account))), GROUPMEMBER_PURPOSE) returns (
            bool member
        ) {
            return member;
        } catch {
            return false;
        }
    }

    function _recover(bytes32 hash, bytes calldata signature) private pure returns (address) {
        bytes32 r;
        uint256 s;
        uint8 v;
        if (signature.length == 65) {
            r = bytes32(signature[:32]);
            s = uint256(bytes32(signature[32:64]));
            v = uint8(signature[64]);
        } else if (signature.length == 64) {
            r = bytes32(signature[:32]);
            s = uint256(bytes32(signature[32:]));
            v = uint8(27 + (s >> 255));
            s &= type(uint256).max >> 1;
        } else {
            revert("invalid-signature-format");
        }
        if (s > HALF_ORDER || (v != 27 && v != 28)) return address(0);
        return ecrecover(hash, v, r, bytes32(s));
    }

    function _ethSigned(bytes32 hash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash));
    }

    /* ORDERS ON CHAIN: presigner and consumed volume share a word. */

    /// @notice The separator order hashes are made with; zero until configured.
    function _separator() internal view returns (bytes32) {
        uint256 chainId = HubStorage.data().domainChainId;
        return chainId == 0 ? bytes32(0) : OrderHashes.separator(chainId);
    }

    /// @notice How much of an order is used up. The first deal of a request order consumes without writing so: the deal
    /// itself shows it.
    function _consumed(bytes32 hash, uint256 order) internal view returns (uint256) {
        uint256 field = order >> 160;
        if (field == 0) {
            uint256 ref = Deals.refOf(_dealid(hash, 0));
            return Deals.exists(ref) ? Deals.read(ref).botSize : 0;
        }
        return _written(hash, order);
    }

    /// @notice The same, of an order that is not a request.
    function _written(bytes32 hash, uint256 order) internal view returns (uint256) {
        return Narrow.get(order >> 160, Narrow.MAX_96, Narrow.CONSUMED, hash);
    }

    function _dealid(bytes32 requestHash, uint256 consumed) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(requestHash, consumed));
    }

    function _setConsumed(bytes32 hash, uint256 order, uint256 consumed) internal {
        HubStorage.data().orders[hash] =
            (order & type(uint160).max) | (Narrow.put(consumed, Narrow.MAX_96, Narrow.CONSUMED, hash) << 160);
    }
}
