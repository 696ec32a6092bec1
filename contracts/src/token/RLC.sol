// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IApprovalReceiver} from "../interfaces/IExternal.sol";
import {IRLC} from "../interfaces/IRLC.sol";

/// @title RLC
/// @notice See `IRLC`. All of it exists from the start; nothing mints or burns.
///
/// While `approveAndCall` calls the spender, the allowance it gave is transient: one that is used up at once is never
/// written. What is left of it afterwards is.
contract RLC is IRLC {
    error InsufficientBalance();
    error InsufficientAllowance();

    /// @inheritdoc IRLC
    uint256 public constant totalSupply = 87_000_000e9;

    /// @inheritdoc IRLC
    mapping(address account => uint256) public balanceOf;

    /// @dev Amounts must sum to the supply.
    constructor(address[] memory holders, uint256[] memory amounts) {
        require(holders.length == amounts.length, "lengths differ");
        uint256 sum;
        for (uint256 i = 0; i < holders.length; ++i) {
            require(holders[i] != address(0), "no holder");
            sum += amounts[i];
            balanceOf[holders[i]] += amounts[i];
            emit Transfer(address(0), holders[i], amounts[i]);
        }
        require(sum == totalSupply, "not the supply");
    }

    /// @inheritdoc IRLC
    function name() external pure returns (string memory) {
        return "iEx.ec Network Token";
    }

    /// @inheritdoc IRLC
    function symbol() external pure returns (string memory) {
        return "RLC";
    }

    /// @inheritdoc IRLC
    function decimals() external pure returns (uint8) {
        return 9;
    }

    /// @inheritdoc IRLC
    function allowance(address owner, address spender) external view returns (uint256 amount) {
        (amount,) = _allowance(_slot(owner, spender));
    }

    /// @inheritdoc IRLC
    function transfer(address to, uint256 amount) external returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    /// @inheritdoc IRLC
    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        bytes32 slot = _slot(from, msg.sender);
        (uint256 allowed, bool open) = _allowance(slot);
        if (amount > allowed) revert InsufficientAllowance();
        unchecked {
            _setAllowance(slot, allowed - amount, open);
        }
        _move(from, to, amount);
        return true;
    }

    /// @inheritdoc IRLC
    function approve(address spender, uint256 amount) external returns (bool) {
        bytes32 slot = _slot(msg.sender, spender);
        (, bool open) = _allowance(slot);
        _setAllowance(slot, amount, open);
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    /// @inheritdoc IRLC
    function approveAndCall(address spender, uint256 amount, bytes calldata data) external returns (bool) {
        bytes32 slot = _slot(msg.sender, spender);
        _setAllowance(slot, amount, true);
        emit Approval(msg.sender, spender, amount);
        IApprovalReceiver(spender).receiveApproval(msg.sender, amount, address(this), data);
        _close(slot);
        return true;
    }

    function _move(address from, address to, uint256 amount) private {
        uint256 balance = balanceOf[from];
        if (amount > balance) revert InsufficientBalance();
        unchecked {
            balanceOf[from] = balance - amount;
            balanceOf[to] += amount; // all of them together are the supply
        }
        emit Transfer(from, to, amount);
    }

    /* ALLOWANCES: in storage; or, while open, one more than the amount in the transient slot of the same number. The largest
    amount has no room there and is written. */

    function _allowance(bytes32 slot) private view returns (uint256 amount, bool open) {
        uint256 word = _openWord(slot);
        if (word != 0) {
            unchecked {
                return (word - 1, true);
            }
        }
        assembly ("memory-safe") {
            amount := sload(slot)
        }
    }

    function _setAllowance(bytes32 slot, uint256 amount, bool open) private {
        assembly ("memory-safe") {
            if open { tstore(slot, add(amount, 1)) }
            if or(iszero(open), iszero(not(amount))) { sstore(slot, amount) }
        }
    }

    function _openWord(bytes32 slot) private view returns (uint256 word) {
        assembly ("memory-safe") {
            word := tload(slot)
        }
    }

    /// @dev Writes what is left, unless that is what was there. If a call within this one has done so, there is nothing left
    /// to do.
    function _close(bytes32 slot) private {
        assembly ("memory-safe") {
            let word := tload(slot)
            if word {
                let left := sub(word, 1)
                tstore(slot, 0)
                if iszero(eq(sload(slot), left)) { sstore(slot, left) }
            }
        }
    }

    function _slot(address owner, address spender) private pure returns (bytes32 slot) {
        assembly ("memory-safe") {
            mstore(0, owner)
            mstore(32, spender)
            slot := keccak256(0, 64)
        }
    }
}
