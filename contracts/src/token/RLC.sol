// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC20} from "solady/src/tokens/ERC20.sol";
import {ITokenSpender} from "../interfaces/IExternal.sol";

/// @title RLC
/// @notice See `IRLC`. All of it exists from the start; nothing mints or burns.
contract RLC is ERC20 {
    uint256 private constant SUPPLY = 87_000_000e9;

    /// @dev Amounts must sum to the supply.
    constructor(address[] memory holders, uint256[] memory amounts) {
        require(holders.length == amounts.length, "lengths differ");
        for (uint256 i = 0; i < holders.length; ++i) {
            require(holders[i] != address(0), "no holder");
            _mint(holders[i], amounts[i]);
        }
        require(totalSupply() == SUPPLY, "not the supply");
    }

    function approveAndCall(address spender, uint256 amount, bytes calldata data) external returns (bool) {
        approve(spender, amount);
        ITokenSpender(spender).receiveApproval(msg.sender, amount, address(this), data);
        return true;
    }

    function name() public pure override returns (string memory) {
        return "iEx.ec Network Token";
    }

    function symbol() public pure override returns (string memory) {
        return "RLC";
    }

    function decimals() public pure override returns (uint8) {
        return 9;
    }
}
