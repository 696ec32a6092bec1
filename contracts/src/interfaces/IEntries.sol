// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// @title What every registered entry answers
interface IEntry {
    /// @notice Holder of the entry's token in its registry.
    function owner() external view returns (address);
    function registry() external view returns (address);
    /// @notice Refuses: there are no names on this chain.
    function setName(address ens, string calldata name) external;
}

interface IApp is IEntry {
    /// @notice Entries are born initialised; reverts "already initialized".
    function initialize(
        string calldata name,
        string calldata appType,
        bytes calldata multiaddr,
        bytes32 checksum,
        bytes calldata mrenclave
    ) external;
    function m_appName() external view returns (string memory);
    function m_appType() external view returns (string memory);
    function m_appMultiaddr() external view returns (bytes memory);
    function m_appChecksum() external view returns (bytes32);
    function m_appMREnclave() external view returns (bytes memory);
}

interface IDataset is IEntry {
    /// @notice Entries are born initialised; reverts "already initialized".
    function initialize(string calldata name, bytes calldata multiaddr, bytes32 checksum) external;
    function m_datasetName() external view returns (string memory);
    function m_datasetMultiaddr() external view returns (bytes memory);
    function m_datasetChecksum() external view returns (bytes32);
}

interface IWorkerpool is IEntry {
    event PolicyUpdate(
        uint256 oldWorkerStakeRatioPolicy,
        uint256 newWorkerStakeRatioPolicy,
        uint256 oldSchedulerRewardRatioPolicy,
        uint256 newSchedulerRewardRatioPolicy
    );

    /// @notice Entries are born initialised; reverts "already initialized".
    function initialize(string calldata description) external;
    function m_workerpoolDescription() external view returns (string memory);
    /// @notice Percent of the pool's price a worker locks per task. Unbounded.
    function m_workerStakeRatioPolicy() external view returns (uint256);
    /// @notice Percent of the reward kept by the scheduler, at most 100.
    function m_schedulerRewardRatioPolicy() external view returns (uint256);
    function changePolicy(uint256 workerStakeRatioPolicy, uint256 schedulerRewardRatioPolicy) external;
}
