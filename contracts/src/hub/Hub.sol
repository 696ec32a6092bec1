// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC20Token, IOracleConsumer} from "../interfaces/IExternal.sol";
import {IWorkerpool} from "../interfaces/IEntries.sol";
import {IHubBoost} from "../interfaces/IHubBoost.sol";
import {IHubCore} from "../interfaces/IHubCore.sol";
import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {OrderHashes} from "../libraries/OrderHashes.sol";
import {Records} from "../libraries/Records.sol";
import {Deals} from "./Deals.sol";
import {HubBoost} from "./HubBoost.sol";
import {HubStorage} from "./HubStorage.sol";
import {Ledger} from "./Ledger.sol";
import {Matching} from "./Matching.sol";
import {Outcomes} from "./Outcomes.sol";
import {Rules} from "./Rules.sol";
import {Tasks} from "./Tasks.sol";

/// @title The market
/// @notice Runs behind `HubProxy`. Every entry point goes the same way: read, check, move money, write, say so, and only
/// then call anyone else. What is not here is in `HubExtension`.
contract Hub is IHubCore, Ledger, Matching {
    using OrderHashes for *;

    /// @dev Answers what this contract does not, but for Boost.
    address private immutable extension;
    /// @dev Answers all of `IHubBoost`.
    address private immutable boost = address(new HubBoost());
    /// @dev This code's own address, which is not the hub's.
    address private immutable self = address(this);

    constructor(address extension_) {
        extension = extension_;
    }

    /* LEDGER */

    /// @inheritdoc IHubCore
    function totalSupply() external view returns (uint256) {
        return _supply();
    }

    /// @inheritdoc IHubCore
    function balanceOf(address account) external view returns (uint256) {
        return _account(account).stake;
    }

    /// @inheritdoc IHubCore
    function frozenOf(address account) external view returns (uint256) {
        return _account(account).locked;
    }

    /// @inheritdoc IHubCore
    function transfer(address recipient, uint256 amount) external returns (bool) {
        _transfer(msg.sender, recipient, amount);
        return true;
    }

    /* DEPOSITS */

    /// @inheritdoc IHubCore
    function deposit(uint256 amount) external returns (bool) {
        _deposit(msg.sender, amount, msg.sender);
        return true;
    }

    /// @inheritdoc IHubCore
    function depositFor(uint256 amount, address target) external returns (bool) {
        _deposit(msg.sender, amount, target);
        return true;
    }

    /// @inheritdoc IHubCore
    function depositForArray(uint256[] calldata amounts, address[] calldata targets) external returns (bool) {
        require(amounts.length == targets.length, "invalid-array-length");
        for (uint256 i = 0; i < amounts.length; ++i) {
            _deposit(msg.sender, amounts[i], targets[i]);
        }
        return true;
    }

    /// @inheritdoc IHubCore
    function withdraw(uint256 amount) external returns (bool) {
        return _withdraw(amount, msg.sender);
    }

    /// @inheritdoc IHubCore
    function withdrawTo(uint256 amount, address target) external returns (bool) {
        return _withdraw(amount, target);
    }

    /// @inheritdoc IHubCore
    function receiveApproval(address sender, uint256 amount, address token, bytes calldata data)
        external
        returns (bool)
    {
        require(token == HubStorage.data().token, "wrong-token");
        require(msg.sender == token, "wrong-caller");
        _take(token, sender, amount, sender);
        if (data.length == 0) return true;

        bytes4 selector = bytes4(data[:4]);
        if (selector != IHubCore.matchOrders.selector) revert UnsupportedOperation(selector);
        if (_requesterOf(data[4:]) != sender) revert CallerIsNotTheRequester();

        (bool done, bytes memory answer) = self.delegatecall(data);
        if (done) return true;
        if (answer.length == 0) revert OperationFailed();
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }

    /// @dev Of the request order among the arguments of `matchOrders`, which decodes and checks all of them itself.
    function _requesterOf(bytes calldata arguments) private pure returns (address requester) {
        uint256 request = uint256(bytes32(arguments[96:128]));
        require(request <= arguments.length);
        return address(uint160(uint256(bytes32(arguments[request + 192:request + 224]))));
    }

    function _deposit(address from, uint256 amount, address target) private {
        _take(HubStorage.data().token, from, amount, target);
    }

    function _take(address token, address from, uint256 amount, address target) private {
        require(IERC20Token(token).transferFrom(from, address(this), amount), "failed-transferFrom");
        _mint(target, amount);
    }

    function _withdraw(uint256 amount, address target) private returns (bool) {
        _burn(msg.sender, amount);
        IERC20Token(HubStorage.data().token).transfer(target, amount);
        return true;
    }

    /* MATCHING */

    /// @inheritdoc IHubCore
    function matchOrders(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external returns (bytes32 dealid) {
        return _match(apporder, datasetorder, workerpoolorder, requestorder, requestorder.requester);
    }

    /// @inheritdoc IHubCore
    function sponsorMatchOrders(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external returns (bytes32 dealid) {
        dealid = _match(apporder, datasetorder, workerpoolorder, requestorder, msg.sender);
        emit DealSponsored(dealid, msg.sender);
    }

    /// @inheritdoc IHubCore
    function computeDealVolume(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder
    ) external view returns (uint256) {
        bytes32 separator = _separator();
        Seen memory none;
        return _volume(
            apporder,
            _seen(separator, apporder.structHash()),
            datasetorder,
            datasetorder.dataset == address(0) ? none : _seen(separator, datasetorder.structHash()),
            workerpoolorder,
            _seen(separator, workerpoolorder.structHash()),
            requestorder,
            _seenRequest(separator, requestorder.structHash())
        );
    }

    function _match(
        IexecLibOrders_v5.AppOrder calldata apporder,
        IexecLibOrders_v5.DatasetOrder calldata datasetorder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder,
        IexecLibOrders_v5.RequestOrder calldata requestorder,
        address sponsor
    ) private returns (bytes32) {
        HubStorage.Layout storage $ = HubStorage.data();
        Deals.Terms memory deal;

        // Do the orders fit each other?
        deal.category = requestorder.category;
        require(deal.category == workerpoolorder.category, "iExecV5-matchOrders-0x00");
        deal.timeref = _timeref(deal.category);
        require(requestorder.trust <= workerpoolorder.trust, "iExecV5-matchOrders-0x02");
        require(apporder.appprice <= requestorder.appmaxprice, "iExecV5-matchOrders-0x03");
        require(datasetorder.datasetprice <= requestorder.datasetmaxprice, "iExecV5-matchOrders-0x04");
        require(workerpoolorder.workerpoolprice <= requestorder.workerpoolmaxprice, "iExecV5-matchOrders-0x05");
        deal.tag = apporder.tag | Rules.withoutFramework(datasetorder.tag) | requestorder.tag;
        require(deal.tag & ~workerpoolorder.tag == 0, "iExecV5-matchOrders-0x06");
        require((deal.tag ^ apporder.tag) & Rules.TEE == 0, "iExecV5-matchOrders-0x07");
        require(requestorder.app == apporder.app, "iExecV5-matchOrders-0x10");
        require(requestorder.dataset == datasetorder.dataset, "iExecV5-matchOrders-0x11");
        _requireAllowed(apporder, datasetorder, workerpoolorder, requestorder);

        // Are they the owners'?
        bytes32 separator = _separator();
        bool registered;
        Seen memory app = _seen(separator, apporder.structHash());
        deal.app = apporder.app;
        (deal.appOwner, registered) = _ownerOf($.appregistry, apporder.app);
        require(registered, "iExecV5-matchOrders-0x20");
        require(_signedOrPresigned(deal.appOwner, app.word, app.hash, apporder.sign), "iExecV5-matchOrders-0x21");

        Seen memory dataset;
        if (datasetorder.dataset != address(0)) {
            dataset = _seen(separator, datasetorder.structHash());
            deal.dataset = datasetorder.dataset;
            deal.datasetPrice = datasetorder.datasetprice;
            (deal.datasetOwner, registered) = _ownerOf($.datasetregistry, datasetorder.dataset);
            require(registered, "iExecV5-matchOrders-0x30");
            require(
                _signedOrPresigned(deal.datasetOwner, dataset.word, dataset.hash, datasetorder.sign),
                "iExecV5-matchOrders-0x31"
            );
        }

        Seen memory workerpool = _seen(separator, workerpoolorder.structHash());
        deal.workerpool = workerpoolorder.workerpool;
        (deal.workerpoolOwner, deal.stakeRatio, deal.schedulerRewardRatio) =
            _ownPoolOf($.workerpoolregistry, deal.workerpool);
        bool own = deal.workerpoolOwner != address(0);
        registered = own;
        if (!own) (deal.workerpoolOwner, registered) = _ownerOf($.workerpoolregistry, deal.workerpool);
        require(registered, "iExecV5-matchOrders-0x40");
        require(
            _signedOrPresigned(deal.workerpoolOwner, workerpool.word, workerpool.hash, workerpoolorder.sign),
            "iExecV5-matchOrders-0x41"
        );

        Seen memory request = _seenRequest(separator, requestorder.structHash());
        require(
            _signedOrPresigned(requestorder.requester, request.word, request.hash, requestorder.sign),
            "iExecV5-matchOrders-0x50"
        );

        uint256 volume =
            _volume(apporder, app, datasetorder, dataset, workerpoolorder, workerpool, requestorder, request);
        require(volume > 0, "iExecV5-matchOrders-0x60");

        // The deal
        deal.dealid = _dealid(request.hash, request.consumed);
        deal.appPrice = apporder.appprice;
        deal.workerpoolPrice = workerpoolorder.workerpoolprice;
        deal.trust = requestorder.trust > 0 ? requestorder.trust : 1;
        deal.requester = requestorder.requester;
        deal.beneficiary = requestorder.beneficiary;
        deal.callback = requestorder.callback;
        deal.sponsor = sponsor;
        deal.startTime = block.timestamp;
        deal.botFirst = request.consumed;
        deal.botSize = volume;
        if (!own) {
            deal.stakeRatio = IWorkerpool(deal.workerpool).m_workerStakeRatioPolicy();
            deal.schedulerRewardRatio = IWorkerpool(deal.workerpool).m_schedulerRewardRatioPolicy();
        }
        deal.workerStake = deal.workerpoolPrice * deal.stakeRatio / 100;

        _consume(app, volume);
        if (deal.dataset != address(0)) _consume(dataset, volume);
        _consume(workerpool, volume);
        if (request.consumed != 0) _consume(request, volume); // else the deal itself shows it

        Held memory held;
        _lock(held, sponsor, Rules.taskPrice(deal) * volume);
        _lock(held, deal.workerpoolOwner, Rules.schedulerStake(deal) * volume);
        _settle(held);
        Deals.write(deal, requestorder.params);

        emit SchedulerNotice(deal.workerpool, deal.dealid);
        emit OrdersMatched(deal.dealid, app.hash, dataset.hash, workerpool.hash, request.hash, volume);
        return deal.dealid;
    }

    function _requireAllowed(
        IexecLibOrders_v5.AppOrder calldata app,
        IexecLibOrders_v5.DatasetOrder calldata dataset,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpool,
        IexecLibOrders_v5.RequestOrder calldata request
    ) private view {
        require(_allows(request.workerpool, workerpool.workerpool), "iExecV5-matchOrders-0x12");
        require(_allows(app.datasetrestrict, dataset.dataset), "iExecV5-matchOrders-0x13");
        require(_allows(app.workerpoolrestrict, workerpool.workerpool), "iExecV5-matchOrders-0x14");
        require(_allows(app.requesterrestrict, request.requester), "iExecV5-matchOrders-0x15");
        require(_allows(dataset.apprestrict, app.app), "iExecV5-matchOrders-0x16");
        require(_allows(dataset.workerpoolrestrict, workerpool.workerpool), "iExecV5-matchOrders-0x17");
        require(_allows(dataset.requesterrestrict, request.requester), "iExecV5-matchOrders-0x18");
        require(_allows(workerpool.apprestrict, app.app), "iExecV5-matchOrders-0x19");
        require(_allows(workerpool.datasetrestrict, dataset.dataset), "iExecV5-matchOrders-0x1a");
        require(_allows(workerpool.requesterrestrict, request.requester), "iExecV5-matchOrders-0x1b");
    }

    function _timeref(uint256 category) private view returns (uint256) {
        uint256 kept = HubStorage.data().timerefs[category];
        if (kept != 0) return kept - 1;
        require(category < HubStorage.data().categories.length, "iExecV5-matchOrders-0x01");
        return HubStorage.data().categories[category].workClockTimeRef;
    }

    /* TASKS */

    /// @inheritdoc IHubCore
    function initialize(bytes32 dealid, uint256 idx) public returns (bytes32 taskid) {
        Deals.Terms memory deal = Deals.find(dealid);
        require(idx >= deal.botFirst && idx - deal.botFirst < deal.botSize);
        taskid = Rules.taskOf(dealid, idx);
        require(Tasks.isUnset(taskid));
        Rules.finalDeadline(deal); // overflows now rather than later

        Tasks.Head memory task;
        task.dealRef = Deals.refOf(dealid);
        task.status = Rules.ACTIVE;
        task.offset = Tasks.packOffset(taskid, idx - deal.botFirst);
        Tasks.write(taskid, task);

        emit TaskInitialize(taskid, deal.workerpool);
    }

    /// @inheritdoc IHubCore
    function initializeArray(bytes32[] calldata dealids, uint256[] calldata idxs) external returns (bool) {
        require(dealids.length == idxs.length);
        for (uint256 i = 0; i < dealids.length; ++i) {
            uint256 free = Rules.mark();
            initialize(dealids[i], idxs[i]);
            Rules.release(free);
        }
        return true;
    }

    /// @inheritdoc IHubCore
    function contribute(
        bytes32 taskid,
        bytes32 resultHash,
        bytes32 resultSeal,
        address enclaveChallenge,
        bytes calldata enclaveSign,
        bytes calldata authorizationSign
    ) external {
        Tasks.Head memory task = Tasks.read(taskid);
        require(task.status == Rules.ACTIVE);
        Deals.Terms memory deal = Deals.read(task.dealRef);
        require(block.timestamp < Rules.contributionDeadline(deal));
        Tally memory tally = _tally(taskid, task.ballots, resultHash);
        _requireAuthorized(deal, taskid, enclaveChallenge, authorizationSign);
        _requireEnclave(enclaveChallenge, resultHash, resultSeal, enclaveSign);

        Held memory held;
        _lock(held, msg.sender, deal.workerStake);
        _settle(held);
        emit TaskContribute(taskid, msg.sender, resultHash);

        uint256 weight = Rules.weight(_account(msg.sender).score);
        uint256 groupWeight = Rules.max(tally.groupWeight, 1) * weight;
        uint256 total = tally.total + groupWeight - tally.groupWeight;
        _cast(taskid, task.ballots, tally.group, groupWeight, weight);
        HubStorage.Ballot storage ballot = HubStorage.data().tasks[taskid].ballots[task.ballots];
        if (tally.group == task.ballots) ballot.result = resultHash;
        ballot.seal = resultSeal;
        if (enclaveChallenge != address(0)) ballot.enclaveChallenge = enclaveChallenge;
        task.ballots += 1;

        bool consensus = groupWeight * deal.trust > total * (deal.trust - 1);
        if (consensus) {
            task.status = Rules.REVEALING;
            task.group = tally.group;
            task.winners = tally.members + 1;
            task.revealDeadline = Rules.revealDeadline(deal);
            emit TaskConsensus(taskid, resultHash);
        }
        Tasks.write(taskid, task);
    }

    /// @inheritdoc IHubCore
    function reveal(bytes32 taskid, bytes32 resultDigest) external {
        (uint256 status, uint256 count, uint256 group, uint256 deadline) = Tasks.readRevealing(taskid);
        require(status == Rules.REVEALING);
        require(block.timestamp < deadline);
        HubStorage.Ballot[4096] storage ballots = HubStorage.data().tasks[taskid].ballots;
        uint256 index = Tasks.find(ballots, count, msg.sender);
        uint256 own = ballots[index].head;
        uint256 first = ballots[group].head;
        require(Tasks.groupOf(own) == group && own & Tasks.PROVED == 0);
        bool opened = first & Tasks.OPENED != 0;
        bytes32 expected = opened ? resultDigest : Rules.resultHash(taskid, resultDigest);
        require(ballots[group].result == expected);
        require(ballots[index].seal == Rules.resultSeal(msg.sender, taskid, resultDigest));

        if (!opened) {
            ballots[group].result = resultDigest;
            if (index == group) own |= Tasks.OPENED;
            else ballots[group].head = first | Tasks.OPENED;
        }
        ballots[index].head = own | Tasks.PROVED;
        ballots[index].seal = 0;

        emit TaskReveal(taskid, msg.sender, resultDigest);
    }

    /// @inheritdoc IHubCore
    function reopen(bytes32 taskid) external {
        Tasks.Head memory task = Tasks.read(taskid);
        require(task.status == Rules.REVEALING);
        Deals.Terms memory deal = Deals.read(task.dealRef);
        require(msg.sender == deal.workerpoolOwner);
        require(block.timestamp < Rules.finalDeadline(deal));
        HubStorage.Ballot storage first = HubStorage.data().tasks[taskid].ballots[task.group];
        require(block.timestamp >= task.revealDeadline && first.head & Tasks.OPENED == 0);

        first.head |= Tasks.REJECTED;
        task.status = Rules.ACTIVE;
        task.group = 0;
        task.winners = 0;
        task.revealDeadline = 0;
        Tasks.write(taskid, task);

        emit TaskReopen(taskid);
    }

    /// @inheritdoc IHubCore
    function finalize(bytes32 taskid, bytes calldata results, bytes calldata resultsCallback) external {
        Tasks.Head memory task = Tasks.read(taskid);
        require(task.status == Rules.REVEALING);
        Deals.Terms memory deal = Deals.read(task.dealRef);
        require(msg.sender == deal.workerpoolOwner);
        require(block.timestamp < Rules.finalDeadline(deal));
        (Tasks.Ballot[] memory ballots, uint256 revealed) = _ballots(taskid, task.ballots);
        require(revealed == task.winners || (revealed > 0 && block.timestamp >= task.revealDeadline));
        _requireCallback(deal, HubStorage.data().tasks[taskid].ballots[task.group].result, resultsCallback);

        task.status = Rules.COMPLETED;
        Tasks.write(taskid, task);
        Outcomes.write(taskid, results, resultsCallback);
        Held memory held;
        _payProviders(held, deal, taskid);
        _payWorkers(held, deal, taskid, ballots);
        _settle(held);

        emit TaskFinalize(taskid, results);
        _callBack(deal, taskid, resultsCallback);
    }

    /// @inheritdoc IHubCore
    function contributeAndFinalize(
        bytes32 taskid,
        bytes32 resultDigest,
        bytes calldata results,
        bytes calldata resultsCallback,
        address enclaveChallenge,
        bytes calldata enclaveSign,
        bytes calldata authorizationSign
    ) external {
        Tasks.Head memory task = Tasks.read(taskid);
        require(task.status == Rules.ACTIVE);
        Deals.Terms memory deal = Deals.read(task.dealRef);
        require(block.timestamp < Rules.contributionDeadline(deal));
        require(task.ballots == 0 && deal.trust == 1);
        _requireCallback(deal, resultDigest, resultsCallback);
        _requireAuthorized(deal, taskid, enclaveChallenge, authorizationSign);
        bytes32 resultHash = Rules.resultHash(taskid, resultDigest);
        _requireEnclave(
            enclaveChallenge, resultHash, Rules.resultSeal(msg.sender, taskid, resultDigest), enclaveSign
        );

        task.status = Rules.COMPLETED;
        task.solo = true;
        task.ballots = 1;
        task.winners = 1;
        task.revealDeadline = Rules.revealDeadline(deal);
        Tasks.write(taskid, task);
        Outcomes.writeSolo(taskid, resultDigest, enclaveChallenge, results, resultsCallback);
        Held memory held;
        _payProviders(held, deal, taskid);
        uint256 reward = Rules.workersShare(deal, deal.workerpoolPrice);
        _reward(held, msg.sender, reward, taskid);
        _reward(held, deal.workerpoolOwner, deal.workerpoolPrice - reward, taskid);
        _settle(held);

        emit TaskContribute(taskid, msg.sender, resultHash);
        emit TaskConsensus(taskid, resultHash);
        emit TaskReveal(taskid, msg.sender, resultDigest);
        emit TaskFinalize(taskid, results);
        _callBack(deal, taskid, resultsCallback);
    }

    /// @inheritdoc IHubCore
    function claim(bytes32 taskid) public {
        Tasks.Head memory task = Tasks.read(taskid);
        require(task.status == Rules.ACTIVE || task.status == Rules.REVEALING);
        Deals.Terms memory deal = Deals.read(task.dealRef);
        require(block.timestamp >= Rules.finalDeadline(deal));

        task.status = Rules.FAILED;
        Tasks.write(taskid, task);
        Held memory held;
        _unlock(held, deal.sponsor, Rules.taskPrice(deal));
        _forfeit(deal.workerpoolOwner, Rules.schedulerStake(deal), taskid);
        for (uint256 i = 0; i < task.ballots; ++i) {
            _unlock(held, Tasks.readBallot(taskid, i).worker, deal.workerStake);
        }
        _settle(held);

        emit TaskClaimed(taskid);
    }

    /// @inheritdoc IHubCore
    function claimArray(bytes32[] calldata taskids) external returns (bool) {
        for (uint256 i = 0; i < taskids.length; ++i) {
            uint256 free = Rules.mark();
            claim(taskids[i]);
            Rules.release(free);
        }
        return true;
    }

    /// @inheritdoc IHubCore
    function initializeAndClaimArray(bytes32[] calldata dealids, uint256[] calldata idxs) external returns (bool) {
        require(dealids.length == idxs.length);
        for (uint256 i = 0; i < dealids.length; ++i) {
            uint256 free = Rules.mark();
            claim(initialize(dealids[i], idxs[i]));
            Rules.release(free);
        }
        return true;
    }

    /* BALLOTS */

    /// @notice What is already in the box, seen from a new result.
    /// @param group The result's group; the new ballot's own index when it is the first of its kind.
    struct Tally {
        uint256 group;
        uint256 groupWeight;
        uint256 members;
        uint256 total;
    }

    /// @dev Refuses a caller who already has a ballot.
    function _tally(bytes32 taskid, uint256 ballots, bytes32 resultHash) private view returns (Tally memory tally) {
        require(ballots < Tasks.MAX_BALLOTS);
        HubStorage.Task storage kept = HubStorage.data().tasks[taskid];
        tally.group = ballots;
        tally.total = 1;
        for (uint256 i = 0; i < ballots; ++i) {
            Tasks.Ballot memory ballot = Tasks.readBallot(taskid, i);
            require(ballot.worker != msg.sender);
            if (ballot.group == i && !ballot.rejected) {
                tally.total += ballot.groupWeight;
                if (kept.ballots[i].result == resultHash) (tally.group, tally.groupWeight) = (i, ballot.groupWeight);
            }
            if (ballot.group == tally.group) tally.members += 1;
        }
    }

    /// @dev The group's weight is with its first ballot, which may be this one.
    function _cast(bytes32 taskid, uint256 index, uint256 group, uint256 groupWeight, uint256 weight) private {
        Tasks.Ballot memory ballot;
        ballot.worker = msg.sender;
        ballot.group = group;
        ballot.logWeight = Rules.log2(weight);
        if (group == index) {
            ballot.groupWeight = groupWeight;
        } else {
            Tasks.Ballot memory first = Tasks.readBallot(taskid, group);
            first.groupWeight = groupWeight;
            Tasks.writeBallot(taskid, group, first);
        }
        Tasks.writeBallot(taskid, index, ballot);
    }

    function _ballots(bytes32 taskid, uint256 count)
        private
        view
        returns (Tasks.Ballot[] memory ballots, uint256 revealed)
    {
        ballots = new Tasks.Ballot[](count);
        for (uint256 i = 0; i < count; ++i) {
            ballots[i] = Tasks.readBallot(taskid, i);
            if (ballots[i].proved) revealed += 1;
        }
    }

    function _requireAuthorized(
        Deals.Terms memory deal,
        bytes32 taskid,
        address enclaveChallenge,
        bytes calldata authorizationSign
    ) private view {
        address authority = deal.workerpoolOwner;
        if (enclaveChallenge == address(0)) {
            require(deal.tag & Rules.TEE == 0);
        } else {
            address broker = HubStorage.data().teebroker;
            if (broker != address(0)) authority = broker;
        }
        bytes32 hash = _ethSigned(keccak256(abi.encodePacked(msg.sender, taskid, enclaveChallenge)));
        require(_signed(authority, hash, authorizationSign));
    }

    function _requireEnclave(
        address enclaveChallenge,
        bytes32 resultHash,
        bytes32 resultSeal,
        bytes calldata enclaveSign
    ) private view {
        if (enclaveChallenge == address(0)) return;
        bytes32 hash = _ethSigned(keccak256(abi.encodePacked(resultHash, resultSeal)));
        require(_signed(enclaveChallenge, hash, enclaveSign));
    }

    function _requireCallback(Deals.Terms memory deal, bytes32 digest, bytes calldata resultsCallback) private pure {
        require(
            (deal.callback == address(0) && resultsCallback.length == 0) || keccak256(resultsCallback) == digest
        );
    }

    /* MONEY OF A TASK */

    /// @dev What every success pays: the price is taken, providers and scheduler get theirs, and the kitty its share.
    function _payProviders(Held memory held, Deals.Terms memory deal, bytes32 taskid) private {
        _seize(deal.sponsor, Rules.taskPrice(deal), taskid);
        if (deal.appPrice > 0) _reward(held, deal.appOwner, deal.appPrice, taskid);
        if (deal.datasetPrice > 0 && deal.dataset != address(0)) {
            _reward(held, deal.datasetOwner, deal.datasetPrice, taskid);
        }
        _unlock(held, deal.workerpoolOwner, Rules.schedulerStake(deal));
        uint256 kitty = _account(Rules.KITTY).locked;
        if (kitty > 0) {
            kitty = Rules.kittyShare(kitty);
            _seize(Rules.KITTY, kitty, taskid);
            _reward(held, deal.workerpoolOwner, kitty, taskid);
        }
    }

    /// @dev Losers' stakes are shared out with the price. The scheduler takes what is left, dust included.
    function _payWorkers(Held memory held, Deals.Terms memory deal, bytes32 taskid, Tasks.Ballot[] memory ballots)
        private
    {
        uint256 weights;
        uint256 pot = deal.workerpoolPrice;
        for (uint256 i = 0; i < ballots.length; ++i) {
            if (ballots[i].proved) weights += ballots[i].logWeight;
            else pot += deal.workerStake;
        }
        uint256 share = Rules.workersShare(deal, pot);
        for (uint256 i = 0; i < ballots.length; ++i) {
            address worker = ballots[i].worker;
            if (ballots[i].proved) {
                uint256 reward = share * ballots[i].logWeight / weights;
                pot -= reward;
                _unlock(held, worker, deal.workerStake);
                _reward(held, worker, reward, taskid);
                if (ballots.length > 1) {
                    _score(worker, true);
                    emit AccurateContribution(worker, taskid);
                }
            } else {
                _seize(worker, deal.workerStake, taskid);
                _score(worker, false);
                emit FaultyContribution(worker, taskid);
            }
        }
        _reward(held, deal.workerpoolOwner, pot, taskid);
    }

    function _score(address worker, bool accurate) private {
        Account memory account = _account(worker);
        account.score = accurate ? account.score + 1 : account.score * 2 / 3;
        _setAccount(worker, account);
    }

    /// @dev The last thing that happens. What the callee does or answers changes nothing, but it must have had its gas:
    /// what is left after a call that was given less is at most a 63rd of it.
    function _callBack(Deals.Terms memory deal, bytes32 taskid, bytes calldata resultsCallback) private {
        address target = deal.callback;
        if (target == address(0)) return;
        uint256 allotted = HubStorage.data().callbackgas;
        bytes memory data = abi.encodeCall(IOracleConsumer.receiveResult, (taskid, resultsCallback));
        assembly ("memory-safe") {
            pop(call(allotted, target, 0, add(data, 32), mload(data), 0, 0))
        }
        assert(gasleft() > allotted / 63);
    }

    /* THE REST */

    /// @inheritdoc IHubCore
    function record() external view {
        Records.answer();
        revert("fallback-disabled");
    }

    /// @dev What is not here is in the extension, which refuses what is not there either.
    fallback() external payable {
        address target = _isBoost(msg.sig) ? boost : extension;
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, 0, calldatasize())
            let done := delegatecall(gas(), target, free, calldatasize(), 0, 0)
            returndatacopy(free, 0, returndatasize())
            if done { return(free, returndatasize()) }
            revert(free, returndatasize())
        }
    }

    function _isBoost(bytes4 call) private pure returns (bool) {
        return call == IHubBoost.pushResultBoost.selector || call == IHubBoost.matchOrdersBoost.selector
            || call == IHubBoost.sponsorMatchOrdersBoost.selector || call == IHubBoost.claimBoost.selector
            || call == IHubBoost.viewDealBoost.selector;
    }
}
