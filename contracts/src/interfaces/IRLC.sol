// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// @title The market's money: ERC-20 of 9 decimals and a fixed supply of 87,000,000 RLC
interface IRLC {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    function name() external view returns (string memory);
    function symbol() external view returns (string memory);
    function decimals() external view returns (uint8);
    function totalSupply() external view returns (uint256);
    function balanceOf(address account) external view returns (uint256);
    function allowance(address owner, address spender) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
    function approve(address spender, uint256 amount) external returns (bool);
    /// @notice Approves, then calls `spender.receiveApproval(caller, amount, token, data)`. What it returns is ignored;
    /// its revert is not.
    function approveAndCall(address spender, uint256 amount, bytes calldata data) external returns (bool);
}
