// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";

/// @title Everything the hub says
/// @notice Names, argument order and indexing are the published ABI: sub-graphs and middleware decode them.
interface IHubEvents {
    /* LEDGER */

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    /// @notice `amount` left `owner`'s free stake and is held by the hub. Follows a `Transfer` to the hub.
    event Lock(address owner, uint256 amount);
    /// @notice `amount` came back to `owner`'s free stake. Follows a `Transfer` from the hub.
    event Unlock(address owner, uint256 amount);
    /// @notice `owner` earned `amount` for task `ref`.
    event Reward(address owner, uint256 amount, bytes32 ref);
    /// @notice `owner` lost `amount` of what it had locked, for task `ref`. No `Transfer`: the hub already holds it.
    event Seize(address owner, uint256 amount, bytes32 ref);

    /* ORDERS */

    event BroadcastAppOrder(IexecLibOrders_v5.AppOrder apporder);
    event BroadcastDatasetOrder(IexecLibOrders_v5.DatasetOrder datasetorder);
    event BroadcastWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrder workerpoolorder);
    event BroadcastRequestOrder(IexecLibOrders_v5.RequestOrder requestorder);
    event SignedAppOrder(bytes32 appHash);
    event SignedDatasetOrder(bytes32 datasetHash);
    event SignedWorkerpoolOrder(bytes32 workerpoolHash);
    event SignedRequestOrder(bytes32 requestHash);
    event ClosedAppOrder(bytes32 appHash);
    event ClosedDatasetOrder(bytes32 datasetHash);
    event ClosedWorkerpoolOrder(bytes32 workerpoolHash);
    event ClosedRequestOrder(bytes32 requestHash);

    /* DEALS */

    event SchedulerNotice(address indexed workerpool, bytes32 dealid);
    /// @notice `datasetHash` is zero when the deal has no dataset.
    event OrdersMatched(
        bytes32 dealid,
        bytes32 appHash,
        bytes32 datasetHash,
        bytes32 workerpoolHash,
        bytes32 requestHash,
        uint256 volume
    );
    event DealSponsored(bytes32 dealId, address sponsor);

    /* TASKS */

    event TaskInitialize(bytes32 indexed taskid, address indexed workerpool);
    event TaskContribute(bytes32 indexed taskid, address indexed worker, bytes32 hash);
    event TaskConsensus(bytes32 indexed taskid, bytes32 consensus);
    event TaskReveal(bytes32 indexed taskid, address indexed worker, bytes32 digest);
    event TaskReopen(bytes32 indexed taskid);
    event TaskFinalize(bytes32 indexed taskid, bytes results);
    event TaskClaimed(bytes32 indexed taskid);
    event AccurateContribution(address indexed worker, bytes32 indexed taskid);
    event FaultyContribution(address indexed worker, bytes32 indexed taskid);

    /* ADMINISTRATION */

    event CreateCategory(uint256 catid, string name, string description, uint256 workClockTimeRef);
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);
}
