// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// @notice Contract accounts that validate signatures themselves (ERC-1271).
interface IERC1271 {
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4);
}

/// @notice Groups an order can be restricted to (ERC-734); membership is purpose 4.
interface IERC734 {
    function keyHasPurpose(bytes32 key, uint256 purpose) external view returns (bool);
}

/// @notice What a deal's callback implements (ERC-1154).
interface IOracleConsumer {
    function receiveResult(bytes32 id, bytes calldata result) external;
}

/// @notice What `approveAndCall` calls on the spender.
interface ITokenSpender {
    function receiveApproval(address sender, uint256 amount, address token, bytes calldata data)
        external
        returns (bool);
}

/// @notice The same, as the token calls it: whatever it answers, or nothing.
interface IApprovalReceiver {
    function receiveApproval(address sender, uint256 amount, address token, bytes calldata data) external;
}

/// @notice The part of ERC-20 the hub needs of its token.
interface IERC20Token {
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
    function balanceOf(address account) external view returns (uint256);
}

/// @notice The part of the previous hub that score imports need.
interface IHubV3 {
    function viewScore(address worker) external view returns (uint256);
}

/// @notice The part of a registry that the hub needs for entries it does not own itself.
interface IRegistered {
    function isRegistered(address entry) external view returns (bool);
}
