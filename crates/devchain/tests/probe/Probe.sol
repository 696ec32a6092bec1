// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.20;

/// A contract that does one of everything a node must get right.
///
/// Probe.json beside it is this, compiled by solc 0.8.37 (optimizer with 200 runs, EVM version prague): ABI and bytecode.
contract Probe {
    uint256 public count;
    mapping(uint256 => uint256) public cells;

    event Counted(address indexed by, uint256 indexed count, bytes note);

    error TooSmall(uint256 have, uint256 want);

    constructor(uint256 start) payable {
        count = start;
    }

    receive() external payable {}

    function increment(bytes calldata note) external returns (uint256) {
        count += 1;
        emit Counted(msg.sender, count, note);
        return count;
    }

    function fill(uint256 from, uint256 to) external {
        for (uint256 i = from; i < to; i++) cells[i] = i + 1;
    }

    function clear(uint256 from, uint256 to) external {
        for (uint256 i = from; i < to; i++) delete cells[i];
    }

    function fail() external pure {
        require(false, "not today");
    }

    function failCustom(uint256 have) external pure {
        revert TooSmall(have, 10);
    }

    function failAssert() external pure {
        assert(false);
    }

    /// Succeeds only if an inner call that needs much gas does: 1/64 of the gas stays behind at each level.
    function nested(uint256 depth) external {
        if (depth == 0) {
            for (uint256 i = 0; i < 20; i++) cells[1_000_000 + i] = block.number;
        } else {
            this.nested(depth - 1);
        }
    }

    function spin() external pure {
        while (true) {}
    }

    function pay(address payable to, uint256 amount) external {
        to.transfer(amount);
    }

    function time() external view returns (uint256 number, uint256 timestamp) {
        return (block.number, block.timestamp);
    }

    function sender() external view returns (address) {
        return msg.sender;
    }
}
