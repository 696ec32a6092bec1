// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IexecLibCore_v5} from "../libraries/IexecLibCore_v5.sol";

/// @title Where the hub keeps what it knows
/// @notice One ERC-7201 namespace, shared by the hub and its extension. Fields are only ever appended.
///
/// Values that practically always fit are kept narrow, many to a slot; see `Narrow` for those that do not fit. Deals and
/// results are written once and kept as code; see `Records`.
///
/// Packed words, from the low bit:
/// - account: stake 96, locked 96, score 64; the hub's own is `Layout.held`
/// - order: presigner 160, consumed 96
/// - task: see `Tasks`
library HubStorage {
    /// @dev keccak256(abi.encode(uint256(keccak256("gristmill.storage.Hub")) - 1)) & ~bytes32(uint256(0xff)).
    /// As a literal, because the compiler would compute it anew at every use.
    bytes32 internal constant NAMESPACE = 0xfe88eda4e27b4947c08be7c8e1e6b6cc61ff84606710317a54649b069642fb00;

    /// @notice One worker's word on a task.
    /// @param head Packed; see `Tasks`.
    /// @param result Only of the first to name this result: its hash, and once revealed its digest.
    /// @param seal Cleared when revealed, because it then follows from the digest.
    struct Ballot {
        uint256 head;
        bytes32 result;
        bytes32 seal;
        address enclaveChallenge;
    }

    /// @param ballots Never as many as there is room for; see `Tasks`.
    struct Task {
        uint256 head;
        Ballot[4096] ballots;
    }

    /// @param held The hub's own balance, which is all its account ever has. A match reads it with the registry.
    /// @param domainChainId Chain id that order hashes are made with; 0 until configured.
    /// @param timerefs Of each category plus one, or zero: then see the category.
    /// @param wide See `Narrow`. @param longRecords What is too long to be code.
    struct Layout {
        address owner;
        address token;
        uint96 supply;
        address appregistry;
        uint96 held;
        address workerpoolregistry;
        uint96 domainChainId;
        address datasetregistry;
        address v3hub;
        address teebroker;
        uint256 callbackgas;
        string name;
        string symbol;
        uint8 decimals;
        IexecLibCore_v5.Category[] categories;
        mapping(uint256 catid => uint256) timerefs;
        mapping(address account => uint256) accounts;
        mapping(address owner => mapping(address spender => uint256)) allowances;
        mapping(bytes32 hash => uint256) orders;
        mapping(bytes32 taskid => Task) tasks;
        mapping(address worker => bool) scoreImported;
        mapping(bytes32 key => uint256) wide;
        mapping(bytes32 key => bytes) longRecords;
    }

    function data() internal pure returns (Layout storage $) {
        bytes32 slot = NAMESPACE;
        assembly ("memory-safe") {
            $.slot := slot
        }
    }
}

/// @dev Only here for the compiler to describe: its layout is committed and compared.
contract HubStorageLayout {
    HubStorage.Layout internal hub;
}
