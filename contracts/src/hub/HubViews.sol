// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IApp, IDataset, IWorkerpool} from "../interfaces/IEntries.sol";
import {IHubViews} from "../interfaces/IHubViews.sol";
import {IexecLibCore_v5} from "../libraries/IexecLibCore_v5.sol";
import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {Authority} from "./Authority.sol";
import {Deals} from "./Deals.sol";
import {HubStorage} from "./HubStorage.sol";
import {Ledger} from "./Ledger.sol";
import {Outcomes} from "./Outcomes.sol";
import {Rules} from "./Rules.sol";
import {Tasks} from "./Tasks.sol";

/// @title What the market tells
/// @notice Only ever run by delegation from `HubExtension`, on the hub's storage. Turns what is kept back into the shapes
/// of the published ABI.
contract HubViews is IHubViews, Ledger, Authority {
    string private constant DOMAIN_NAME = "iExecODB";
    string private constant DOMAIN_VERSION = "5.0.0";

    /* RECORDS */

    /// @inheritdoc IHubViews
    function viewDeal(bytes32 dealid) public view returns (IexecLibCore_v5.Deal memory deal) {
        Deals.Terms memory terms = Deals.find(dealid);
        if (terms.dealid == 0) return deal;
        deal.app = IexecLibCore_v5.Resource(terms.app, terms.appOwner, terms.appPrice);
        deal.dataset = IexecLibCore_v5.Resource(terms.dataset, terms.datasetOwner, terms.datasetPrice);
        deal.workerpool = IexecLibCore_v5.Resource(terms.workerpool, terms.workerpoolOwner, terms.workerpoolPrice);
        deal.trust = terms.trust;
        deal.category = terms.category;
        deal.tag = terms.tag;
        deal.requester = terms.requester;
        deal.beneficiary = terms.beneficiary;
        deal.callback = terms.callback;
        deal.params = Deals.paramsOf(dealid);
        deal.startTime = terms.startTime;
        deal.botFirst = terms.botFirst;
        deal.botSize = terms.botSize;
        deal.workerStake = terms.workerStake;
        deal.schedulerRewardRatio = terms.schedulerRewardRatio;
        deal.sponsor = terms.sponsor;
    }

    /// @inheritdoc IHubViews
    function viewTask(bytes32 taskid) public view returns (IexecLibCore_v5.Task memory task) {
        Tasks.Head memory head = Tasks.read(taskid);
        if (head.status == Rules.UNSET) return task;
        Deals.Terms memory deal = Deals.read(head.dealRef);
        Outcomes.Outcome memory outcome = _outcome(taskid, head);
        task.status = IexecLibCore_v5.TaskStatusEnum(head.status);
        task.dealid = deal.dealid;
        task.idx = deal.botFirst + Tasks.offset(taskid, head);
        task.timeref = deal.timeref;
        task.contributionDeadline = Rules.contributionDeadline(deal);
        task.revealDeadline = head.revealDeadline;
        task.finalDeadline = Rules.finalDeadline(deal);
        task.winnerCounter = head.winners;
        task.results = outcome.results;
        task.resultsCallback = outcome.resultsCallback;
        task.contributors = new address[](head.ballots);
        if (head.solo) {
            task.contributors[0] = outcome.worker;
            task.resultDigest = outcome.digest;
            task.consensusValue = Rules.resultHash(taskid, outcome.digest);
            task.revealCounter = 1;
            return task;
        }
        for (uint256 i = 0; i < head.ballots; ++i) {
            Tasks.Ballot memory ballot = Tasks.readBallot(taskid, i);
            task.contributors[i] = ballot.worker;
            if (ballot.proved) task.revealCounter += 1;
        }
        if (head.winners > 0) {
            task.consensusValue = HubStorage.data().tasks[taskid].ballots[head.group].result;
            if (task.revealCounter > 0) {
                task.resultDigest = task.consensusValue;
                task.consensusValue = Rules.resultHash(taskid, task.resultDigest);
            }
        }
    }

    /// @inheritdoc IHubViews
    function viewContribution(bytes32 taskid, address worker)
        public
        view
        returns (IexecLibCore_v5.Contribution memory contribution)
    {
        Tasks.Head memory head = Tasks.read(taskid);
        if (head.solo) {
            Outcomes.Outcome memory outcome = _outcome(taskid, head);
            if (outcome.worker != worker) return contribution;
            contribution.status = IexecLibCore_v5.ContributionStatusEnum.PROVED;
            contribution.resultHash = Rules.resultHash(taskid, outcome.digest);
            contribution.resultSeal = Rules.resultSeal(worker, taskid, outcome.digest);
            contribution.enclaveChallenge = outcome.enclaveChallenge;
            return contribution;
        }
        HubStorage.Task storage kept = HubStorage.data().tasks[taskid];
        for (uint256 i = 0; i < head.ballots; ++i) {
            Tasks.Ballot memory ballot = Tasks.readBallot(taskid, i);
            if (ballot.worker != worker) continue;
            bytes32 result = kept.ballots[ballot.group].result;
            Tasks.Ballot memory first = Tasks.readBallot(taskid, ballot.group);
            contribution.status = ballot.proved
                ? IexecLibCore_v5.ContributionStatusEnum.PROVED
                : first.rejected
                    ? IexecLibCore_v5.ContributionStatusEnum.REJECTED
                    : IexecLibCore_v5.ContributionStatusEnum.CONTRIBUTED;
            contribution.resultHash = first.opened ? Rules.resultHash(taskid, result) : result;
            contribution.resultSeal = ballot.proved ? Rules.resultSeal(worker, taskid, result) : kept.ballots[i].seal;
            contribution.enclaveChallenge = kept.ballots[i].enclaveChallenge;
            contribution.weight = ballot.logWeight;
            return contribution;
        }
    }

    /// @inheritdoc IHubViews
    function viewScore(address worker) external view returns (uint256) {
        return _account(worker).score;
    }

    /// @inheritdoc IHubViews
    function viewConsumed(bytes32 orderHash) external view returns (uint256) {
        return _consumed(orderHash, HubStorage.data().orders[orderHash]);
    }

    /// @inheritdoc IHubViews
    function viewPresigned(bytes32 orderHash) external view returns (address) {
        return address(uint160(HubStorage.data().orders[orderHash]));
    }

    /// @inheritdoc IHubViews
    function resultFor(bytes32 taskid) external view returns (bytes memory) {
        Tasks.Head memory head = Tasks.read(taskid);
        require(head.status == Rules.COMPLETED, "task-pending");
        return _outcome(taskid, head).resultsCallback;
    }

    /// @dev A settled task keeps its place in a batch where others count their ballots: it has one, which won.
    function _outcome(bytes32 taskid, Tasks.Head memory head) private view returns (Outcomes.Outcome memory) {
        (bool settled, uint256 first, uint256 position) = Tasks.place(taskid);
        if (!settled) return Outcomes.read(taskid);
        (head.ballots, head.group, head.winners) = (1, 0, 1);
        Deals.Terms memory deal = Deals.read(head.dealRef);
        return Outcomes.readBatch(Rules.taskOf(deal.dealid, deal.botFirst + first), position);
    }

    /// @inheritdoc IHubViews
    function viewAccount(address account) public view returns (IexecLibCore_v5.Account memory) {
        Account memory kept = _account(account);
        return IexecLibCore_v5.Account(kept.stake, kept.locked);
    }

    /* DESCRIPTIVE VIEWS */

    /// @inheritdoc IHubViews
    function token() external view returns (address) {
        return HubStorage.data().token;
    }

    /// @inheritdoc IHubViews
    function eip712domain_separator() external view returns (bytes32) {
        return _separator();
    }

    /// @inheritdoc IHubViews
    function name() external view returns (string memory) {
        return HubStorage.data().name;
    }

    /// @inheritdoc IHubViews
    function symbol() external view returns (string memory) {
        return HubStorage.data().symbol;
    }

    /// @inheritdoc IHubViews
    function decimals() external view returns (uint8) {
        return HubStorage.data().decimals;
    }

    /// @inheritdoc IHubViews
    function appregistry() external view returns (address) {
        return HubStorage.data().appregistry;
    }

    /// @inheritdoc IHubViews
    function datasetregistry() external view returns (address) {
        return HubStorage.data().datasetregistry;
    }

    /// @inheritdoc IHubViews
    function workerpoolregistry() external view returns (address) {
        return HubStorage.data().workerpoolregistry;
    }

    /// @inheritdoc IHubViews
    function teebroker() external view returns (address) {
        return HubStorage.data().teebroker;
    }

    /// @inheritdoc IHubViews
    function callbackgas() external view returns (uint256) {
        return HubStorage.data().callbackgas;
    }

    /// @inheritdoc IHubViews
    function domain() external view returns (IexecLibOrders_v5.EIP712Domain memory) {
        return IexecLibOrders_v5.EIP712Domain(DOMAIN_NAME, DOMAIN_VERSION, block.chainid, address(this));
    }

    /// @inheritdoc IHubViews
    function countCategory() external view returns (uint256) {
        return HubStorage.data().categories.length;
    }

    /// @inheritdoc IHubViews
    function viewCategory(uint256 catid) external view returns (IexecLibCore_v5.Category memory) {
        require(catid < HubStorage.data().categories.length);
        return HubStorage.data().categories[catid];
    }

    /// @inheritdoc IHubViews
    function viewApp(address app) external view returns (IexecLibCore_v5.AppInfo memory) {
        IApp entry = IApp(app);
        return IexecLibCore_v5.AppInfo(
            entry.owner(),
            entry.m_appName(),
            entry.m_appType(),
            entry.m_appMultiaddr(),
            entry.m_appChecksum(),
            entry.m_appMREnclave()
        );
    }

    /// @inheritdoc IHubViews
    function viewDataset(address dataset) external view returns (IexecLibCore_v5.DatasetInfo memory) {
        IDataset entry = IDataset(dataset);
        return IexecLibCore_v5.DatasetInfo(
            entry.owner(), entry.m_datasetName(), entry.m_datasetMultiaddr(), entry.m_datasetChecksum()
        );
    }

    /// @inheritdoc IHubViews
    function viewWorkerpool(address workerpool) external view returns (IexecLibCore_v5.WorkerpoolInfo memory) {
        IWorkerpool entry = IWorkerpool(workerpool);
        return IexecLibCore_v5.WorkerpoolInfo(
            entry.owner(),
            entry.m_workerpoolDescription(),
            entry.m_workerStakeRatioPolicy(),
            entry.m_schedulerRewardRatioPolicy()
        );
    }

    /// @inheritdoc IHubViews
    function contribution_deadline_ratio() external pure returns (uint256) {
        return Rules.CONTRIBUTION_DEADLINE_RATIO;
    }

    /// @inheritdoc IHubViews
    function reveal_deadline_ratio() external pure returns (uint256) {
        return Rules.REVEAL_DEADLINE_RATIO;
    }

    /// @inheritdoc IHubViews
    function final_deadline_ratio() external pure returns (uint256) {
        return Rules.FINAL_DEADLINE_RATIO;
    }

    /// @inheritdoc IHubViews
    function workerpool_stake_ratio() external pure returns (uint256) {
        return Rules.WORKERPOOL_STAKE_RATIO;
    }

    /// @inheritdoc IHubViews
    function kitty_ratio() external pure returns (uint256) {
        return Rules.KITTY_RATIO;
    }

    /// @inheritdoc IHubViews
    function kitty_min() external pure returns (uint256) {
        return Rules.KITTY_MIN;
    }

    /// @inheritdoc IHubViews
    function kitty_address() external pure returns (address) {
        return Rules.KITTY;
    }

    /// @inheritdoc IHubViews
    function groupmember_purpose() external pure returns (uint256) {
        return GROUPMEMBER_PURPOSE;
    }

    /* VIEWS OF AN EARLIER ABI */

    /// @inheritdoc IHubViews
    function viewAccountABILegacy(address account) external view returns (uint256, uint256) {
        Account memory kept = _account(account);
        return (kept.stake, kept.locked);
    }

    /// @inheritdoc IHubViews
    function viewCategoryABILegacy(uint256 catid) external view returns (string memory, string memory, uint256) {
        IexecLibCore_v5.Category storage category = HubStorage.data().categories[catid];
        return (category.name, category.description, category.workClockTimeRef);
    }

    /// @inheritdoc IHubViews
    function viewConfigABILegacy(bytes32 dealid)
        external
        view
        returns (uint256, uint256, uint256, uint256, uint256, uint256)
    {
        Deals.Terms memory deal = Deals.find(dealid);
        return (
            deal.category, deal.startTime, deal.botFirst, deal.botSize, deal.workerStake, deal.schedulerRewardRatio
        );
    }

    /// @inheritdoc IHubViews
    function viewContributionABILegacy(bytes32 taskid, address worker)
        external
        view
        returns (IexecLibCore_v5.ContributionStatusEnum, bytes32, bytes32, address)
    {
        IexecLibCore_v5.Contribution memory it = viewContribution(taskid, worker);
        return (it.status, it.resultHash, it.resultSeal, it.enclaveChallenge);
    }

    /// @inheritdoc IHubViews
    function viewDealABILegacy_pt1(bytes32 dealid)
        external
        view
        returns (address, address, uint256, address, address, uint256, address, address, uint256)
    {
        Deals.Terms memory it = Deals.find(dealid);
        return (
            it.app,
            it.appOwner,
            it.appPrice,
            it.dataset,
            it.datasetOwner,
            it.datasetPrice,
            it.workerpool,
            it.workerpoolOwner,
            it.workerpoolPrice
        );
    }

    /// @inheritdoc IHubViews
    function viewDealABILegacy_pt2(bytes32 dealid)
        external
        view
        returns (uint256, bytes32, address, address, address, string memory)
    {
        IexecLibCore_v5.Deal memory it = viewDeal(dealid);
        return (it.trust, it.tag, it.requester, it.beneficiary, it.callback, it.params);
    }

    /// @inheritdoc IHubViews
    function viewTaskABILegacy(bytes32 taskid)
        external
        view
        returns (
            IexecLibCore_v5.TaskStatusEnum,
            bytes32,
            uint256,
            uint256,
            uint256,
            uint256,
            uint256,
            bytes32,
            uint256,
            uint256,
            address[] memory,
            bytes memory
        )
    {
        IexecLibCore_v5.Task memory it = viewTask(taskid);
        return (
            it.status,
            it.dealid,
            it.idx,
            it.timeref,
            it.contributionDeadline,
            it.revealDeadline,
            it.finalDeadline,
            it.consensusValue,
            it.revealCounter,
            it.winnerCounter,
            it.contributors,
            it.results
        );
    }

    /// @dev The last to be asked.
    fallback() external payable {
        revert("fallback-disabled");
    }
}
