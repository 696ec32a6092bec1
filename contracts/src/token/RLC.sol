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
    mapping(address owner => mapping(address spender => uint256)) private allowances;

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
        (amount,) = _allowance(owner, spender);
    }

    /// @inheritdoc IRLC
    function transfer(address to, uint256 amount) external returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    /// @inheritdoc IRLC
    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        (uint256 allowed, bool open) = _allowance(from, msg.sender);
        if (amount > allowed) revert InsufficientAllowance();
        unchecked {
            allowed -= amount;
        }
        if (open) _setOpen(from, msg.sender, allowed);
        else allowances[from][msg.sender] = allowed;
        _move(from, to, amount);
        return true;
    }

    /// @inheritdoc IRLC
    function approve(address spender, uint256 amount) external returns (bool) {
        (, bool open) = _allowance(msg.sender, spender);
        if (open) _setOpen(msg.sender, spender, amount);
        else allowances[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    /// @inheritdoc IRLC
    function approveAndCall(address spender, uint256 amount, bytes calldata data) external returns (bool) {
        bytes32 slot = _slot(msg.sender, spender);
        bool nested = _isOpen(slot);
        _setOpen(msg.sender, spender, amount);
        emit Approval(msg.sender, spender, amount);
        IApprovalReceiver(spender).receiveApproval(msg.sender, amount, address(this), data);
        if (!nested) {
            (uint256 left,) = _allowance(msg.sender, spender);
            assembly ("memory-safe") {
                tstore(slot, 0)
            }
            if (allowances[msg.sender][spender] != left) allowances[msg.sender][spender] = left;
        }
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

    /* ALLOWANCES: transient while `approveAndCall` calls, in two slots: whether, and how much. */

    function _allowance(address owner, address spender) private view returns (uint256 amount, bool open) {
        bytes32 slot = _slot(owner, spender);
        open = _isOpen(slot);
        if (!open) return (allowances[owner][spender], false);
        assembly ("memory-safe") {
            amount := tload(add(slot, 1))
        }
    }

    function _setOpen(address owner, address spender, uint256 amount) private {
        bytes32 slot = _slot(owner, spender);
        assembly ("memory-safe") {
            tstore(slot, 1)
            tstore(add(slot, 1), amount)
        }
    }

    function _isOpen(bytes32 slot) private view returns (bool open) {
        assembly ("memory-safe") {
            open := tload(slot)
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
