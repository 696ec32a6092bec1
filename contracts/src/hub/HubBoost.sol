// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IOracleConsumer} from "../interfaces/IExternal.sol";
import {IWorkerpool} from "../interfaces/IEntries.sol";
import {IEntry} from "../interfaces/IEntries.sol";
import {IHubBoost} from "../interfaces/IHubBoost.sol";
import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {OrderHashes} from "../libraries/OrderHashes.sol";
import {Records} from "../libraries/Records.sol";
import {HubStorage} from "./HubStorage.sol";
import {Ledger} from "./Ledger.sol";
import {Matching} from "./Matching.sol";
import {Rules} from "./Rules.sol";
import {Tasks} from "./Tasks.sol";

/// @title Boost
/// @notice See `IHubBoost`. Only ever run by delegation from `HubExtension`, on the hub's storage. Shares orders, accounts and
/// the kitty with the rest of the market, and of tasks their status: a Boost task is a word with a status and no deal.
///
/// A deal is a record (see `Records`) under its id, which is never also the id of another deal: both count the same
/// consumed volume.
///
/// ```text
/// 00 flags 1, app owner 20, price 12, workerpool owner 20, price 12, requester 20, worker's reward 12,
/// callback 20, deadline 5, first 2, size 2, tag 3 [dataset owner 20, price 12] [sponsor 20]
/// ```
contract HubBoost is IHubBoost, Ledger, Matching {
    using OrderHashes for *;

    uint256 private constant HAS_DATASET = 1;
    uint256 private constant HAS_SPONSOR = 2;
    uint256 private constant FIXED = 130;
    uint256 private constant DATASET = 32;
    uint256 private constant SPONSOR = 20;

    /* MATCHING */

    /// @inheritdoc IHubBoost
    function matchOrdersBoost(
        IexecLibOrders_v5.AppOrder calldata appOrder,
        IexecLibOrders_v5.DatasetOrder calldata datasetOrder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolOrder,
        IexecLibOrders_v5.RequestOrder calldata requestOrder
    ) external returns (bytes32) {
        return _match(appOrder, datasetOrder, workerpoolOrder, requestOrder, requestOrder.requester);
    }

    /// @inheritdoc IHubBoost
    function sponsorMatchOrdersBoost(
        IexecLibOrders_v5.AppOrder calldata appOrder,
        IexecLibOrders_v5.DatasetOrder calldata datasetOrder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolOrder,
        IexecLibOrders_v5.RequestOrder calldata requestOrder
    ) external returns (bytes32 dealId) {
        dealId = _match(appOrder, datasetOrder, workerpoolOrder, requestOrder, msg.sender);
        emit DealSponsoredBoost(dealId, msg.sender);
    }

    /// @notice What matching finds out on its way. @param timeref Seconds, of the category.
    struct Found {
        bytes32 tag;
        uint256 timeref;
        Seen app;
        Seen dataset;
        Seen workerpool;
        Seen request;
        uint256 volume;
    }

    function _match(
        IexecLibOrders_v5.AppOrder calldata appOrder,
        IexecLibOrders_v5.DatasetOrder calldata datasetOrder,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolOrder,
        IexecLibOrders_v5.RequestOrder calldata requestOrder,
        address sponsor
    ) private returns (bytes32 dealId) {
        Found memory found;
        DealBoost memory deal;
        (found.tag, found.timeref) = _requireFitting(appOrder, datasetOrder, workerpoolOrder, requestOrder);
        _requireAllowed(appOrder, datasetOrder, workerpoolOrder, requestOrder);
        _requireSigned(appOrder, datasetOrder, workerpoolOrder, requestOrder, found, deal);
        found.volume = _volume(
            appOrder,
            found.app,
            datasetOrder,
            found.dataset,
            workerpoolOrder,
            found.workerpool,
            requestOrder,
            found.request
        );
        require(found.volume > 0, "PocoBoost: One or more orders consumed");

        dealId = _dealid(found.request.hash, found.request.consumed);
        deal.sponsor = sponsor;
        deal.requester = requestOrder.requester;
        deal.callback = requestOrder.callback;
        deal.appPrice = uint96(_fits(appOrder.appprice, 96));
        if (deal.datasetOwner != address(0)) deal.datasetPrice = uint96(_fits(datasetOrder.datasetprice, 96));
        deal.workerpoolPrice = uint96(_fits(workerpoolOrder.workerpoolprice, 96));
        deal.workerReward = uint96(
            uint256(deal.workerpoolPrice)
                * (100 - IWorkerpool(workerpoolOrder.workerpool).m_schedulerRewardRatioPolicy()) / 100
        );
        deal.botFirst = uint16(_fits(found.request.consumed, 16));
        deal.deadline = uint40(_fits(block.timestamp + Rules.CONTRIBUTION_DEADLINE_RATIO * found.timeref, 40));
        deal.botSize = uint16(_fits(found.volume, 16));
        deal.shortTag = bytes3(uint24(uint256(found.tag)));

        _consume(found.app, found.volume);
        if (datasetOrder.dataset != address(0)) _consume(found.dataset, found.volume);
        _consume(found.workerpool, found.volume);
        _consume(found.request, found.volume);
        Held memory held;
        _lock(held, sponsor, _price(deal) * found.volume);
        _lock(held, deal.workerpoolOwner, _stake(deal) * found.volume);
        _settle(held);
        require(Records.write(dealId, _encode(deal)) != address(0));

        emit SchedulerNoticeBoost(
            workerpoolOrder.workerpool,
            dealId,
            appOrder.app,
            datasetOrder.dataset,
            requestOrder.category,
            found.tag,
            requestOrder.params,
            requestOrder.beneficiary
        );
        emit OrdersMatched(
            dealId,
            found.app.hash,
            found.dataset.hash,
            found.workerpool.hash,
            found.request.hash,
            found.volume
        );
    }

    function _requireFitting(
        IexecLibOrders_v5.AppOrder calldata app,
        IexecLibOrders_v5.DatasetOrder calldata dataset,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpool,
        IexecLibOrders_v5.RequestOrder calldata request
    ) private view returns (bytes32 tag, uint256 timeref) {
        HubStorage.Layout storage $ = HubStorage.data();
        require(request.trust <= 1, "PocoBoost: Bad trust level");
        require(request.category == workerpool.category, "PocoBoost: Category mismatch");
        require(request.category < $.categories.length, "PocoBoost: Unknown category");
        timeref = $.categories[request.category].workClockTimeRef;
        require(app.appprice <= request.appmaxprice, "PocoBoost: Overpriced app");
        require(dataset.datasetprice <= request.datasetmaxprice, "PocoBoost: Overpriced dataset");
        require(workerpool.workerpoolprice <= request.workerpoolmaxprice, "PocoBoost: Overpriced workerpool");
        tag = app.tag | dataset.tag | request.tag;
        require(tag & ~workerpool.tag == 0, "PocoBoost: Workerpool tag does not match demand");
        require((tag ^ app.tag) & Rules.TEE == 0, "PocoBoost: App tag does not match demand");
        require(request.app == app.app, "PocoBoost: App mismatch");
        require(request.dataset == dataset.dataset, "PocoBoost: Dataset mismatch");
    }

    function _requireAllowed(
        IexecLibOrders_v5.AppOrder calldata app,
        IexecLibOrders_v5.DatasetOrder calldata dataset,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpool,
        IexecLibOrders_v5.RequestOrder calldata request
    ) private view {
        require(
            _allows(request.workerpool, workerpool.workerpool), "PocoBoost: Workerpool restricted by request order"
        );
        require(_allows(app.datasetrestrict, dataset.dataset), "PocoBoost: Dataset restricted by app order");
        require(_allows(app.workerpoolrestrict, workerpool.workerpool), "PocoBoost: Workerpool restricted by app order");
        require(_allows(app.requesterrestrict, request.requester), "PocoBoost: Requester restricted by app order");
        require(_allows(dataset.apprestrict, app.app), "PocoBoost: App restricted by dataset order");
        require(
            _allows(dataset.workerpoolrestrict, workerpool.workerpool),
            "PocoBoost: Workerpool restricted by dataset order"
        );
        require(
            _allows(dataset.requesterrestrict, request.requester), "PocoBoost: Requester restricted by dataset order"
        );
        require(_allows(workerpool.apprestrict, app.app), "PocoBoost: App restricted by workerpool order");
        require(
            _allows(workerpool.datasetrestrict, dataset.dataset), "PocoBoost: Dataset restricted by workerpool order"
        );
        require(
            _allows(workerpool.requesterrestrict, request.requester),
            "PocoBoost: Requester restricted by workerpool order"
        );
    }

    /// @dev Fills in the owners.
    function _requireSigned(
        IexecLibOrders_v5.AppOrder calldata app,
        IexecLibOrders_v5.DatasetOrder calldata dataset,
        IexecLibOrders_v5.WorkerpoolOrder calldata workerpool,
        IexecLibOrders_v5.RequestOrder calldata request,
        Found memory found,
        DealBoost memory deal
    ) private view {
        HubStorage.Layout storage $ = HubStorage.data();
        bytes32 separator = _separator();
        deal.appOwner = _registered($.appregistry, app.app, "PocoBoost: App not registered");
        found.app = _seen(separator, app.structHash());
        require(_signs(deal.appOwner, found.app, app.sign), "PocoBoost: Invalid app order signature");
        if (dataset.dataset != address(0)) {
            deal.datasetOwner =
                _registered($.datasetregistry, dataset.dataset, "PocoBoost: Dataset not registered");
            found.dataset = _seen(separator, dataset.structHash());
            require(
                _signs(deal.datasetOwner, found.dataset, dataset.sign), "PocoBoost: Invalid dataset order signature"
            );
        }
        deal.workerpoolOwner =
            _registered($.workerpoolregistry, workerpool.workerpool, "PocoBoost: Workerpool not registered");
        found.workerpool = _seen(separator, workerpool.structHash());
        require(
            _signs(deal.workerpoolOwner, found.workerpool, workerpool.sign),
            "PocoBoost: Invalid workerpool order signature"
        );
        found.request = _seenRequest(separator, request.structHash());
        require(_signs(request.requester, found.request, request.sign), "PocoBoost: Invalid request order signature");
    }

    /// @dev Unlike `matchOrders`, asks the registry before the entry.
    function _registered(address registry, address entry, string memory refusal) private view returns (address owner) {
        owner = _ownOwnerOf(registry, entry);
        if (owner != address(0)) return owner;
        require(Rules.isRegistered(registry, entry), refusal);
        return IEntry(entry).owner();
    }

    function _signs(address account, Seen memory order, bytes calldata sign) private view returns (bool) {
        return _signedOrPresigned(account, order.word, order.hash, sign);
    }

    function _fits(uint256 value, uint8 bits) private pure returns (uint256) {
        if (value >> bits != 0) revert SafeCastOverflowedUintDowncast(bits, value);
        return value;
    }

    /* TASKS */

    /// @inheritdoc IHubBoost
    function pushResultBoost(
        bytes32 dealId,
        uint256 index,
        bytes calldata results,
        bytes calldata resultsCallback,
        bytes calldata authorizationSign,
        address enclaveChallenge,
        bytes calldata enclaveSign
    ) external {
        DealBoost memory deal = viewDealBoost(dealId);
        bytes32 taskid = _unsetTask(deal, dealId, index);
        require(block.timestamp < deal.deadline, "PocoBoost: Deadline reached");
        address authority = deal.workerpoolOwner;
        if (enclaveChallenge == address(0)) {
            require(uint24(deal.shortTag) & 1 == 0, "PocoBoost: Tag requires enclave challenge");
        } else {
            address broker = HubStorage.data().teebroker;
            if (broker != address(0)) authority = broker;
        }
        bytes32 hash = _ethSigned(keccak256(abi.encodePacked(msg.sender, taskid, enclaveChallenge)));
        require(
            _signed(authority, hash, authorizationSign), "PocoBoost: Invalid contribution authorization signature"
        );
        if (enclaveChallenge != address(0)) {
            bytes32 digest = keccak256(deal.callback == address(0) ? results : resultsCallback);
            hash = _ethSigned(Rules.resultSeal(msg.sender, taskid, digest));
            require(_signed(enclaveChallenge, hash, enclaveSign), "PocoBoost: Invalid enclave signature");
        }

        Tasks.writeStatus(taskid, Rules.COMPLETED);
        _pay(deal, taskid);
        emit ResultPushedBoost(dealId, index, results);
        _callBack(deal, taskid, resultsCallback);
    }

    /// @inheritdoc IHubBoost
    function claimBoost(bytes32 dealId, uint256 index) external {
        DealBoost memory deal = viewDealBoost(dealId);
        bytes32 taskid = _unsetTask(deal, dealId, index);
        require(block.timestamp >= deal.deadline, "PocoBoost: Deadline not reached");

        Tasks.writeStatus(taskid, Rules.FAILED);
        Held memory held;
        _unlock(held, deal.sponsor, _price(deal));
        _forfeit(deal.workerpoolOwner, _stake(deal), taskid);
        _settle(held);

        emit TaskClaimed(taskid);
    }

    function _unsetTask(DealBoost memory deal, bytes32 dealId, uint256 index) private view returns (bytes32 taskid) {
        require(index < deal.botSize, "PocoBoost: Unknown task");
        taskid = Rules.taskOf(dealId, index);
        require(Tasks.isUnset(taskid), "PocoBoost: Task status not unset");
    }

    /// @dev The original takes the price from the requester even if a sponsor locked it.
    function _pay(DealBoost memory deal, bytes32 taskid) private {
        Held memory held;
        _seize(deal.sponsor, _price(deal), taskid);
        _reward(held, msg.sender, deal.workerReward, taskid);
        if (deal.appPrice > 0) _reward(held, deal.appOwner, deal.appPrice, taskid);
        if (deal.datasetPrice > 0) _reward(held, deal.datasetOwner, deal.datasetPrice, taskid);
        _unlock(held, deal.workerpoolOwner, _stake(deal));
        uint256 kitty = _account(Rules.KITTY).locked;
        if (kitty > 0) {
            kitty = Rules.kittyShare(kitty);
            _seize(Rules.KITTY, kitty, taskid);
        }
        _reward(held, deal.workerpoolOwner, deal.workerpoolPrice - deal.workerReward + kitty, taskid);
        _settle(held);
    }

    /// @dev The last thing that happens; see `Hub`.
    function _callBack(DealBoost memory deal, bytes32 taskid, bytes calldata resultsCallback) private {
        address target = deal.callback;
        if (target == address(0)) return;
        require(resultsCallback.length > 0, "PocoBoost: Callback requires data");
        uint256 allotted = HubStorage.data().callbackgas;
        bytes memory data = abi.encodeCall(IOracleConsumer.receiveResult, (taskid, resultsCallback));
        assembly ("memory-safe") {
            pop(call(allotted, target, 0, add(data, 32), mload(data), 0, 0))
        }
        require(gasleft() > allotted / 63, "PocoBoost: Not enough gas after callback");
    }

    /// @notice What the payer locks per task.
    function _price(DealBoost memory deal) private pure returns (uint256) {
        return uint256(deal.appPrice) + deal.datasetPrice + deal.workerpoolPrice;
    }

    /// @notice What the scheduler locks per task.
    function _stake(DealBoost memory deal) private pure returns (uint256) {
        return uint256(deal.workerpoolPrice) * Rules.WORKERPOOL_STAKE_RATIO / 100;
    }

    /* RECORD */

    function _encode(DealBoost memory deal) private pure returns (bytes memory content) {
        uint256 flags;
        bytes memory others;
        if (deal.datasetOwner != address(0)) {
            flags |= HAS_DATASET;
            others = abi.encodePacked(deal.datasetOwner, deal.datasetPrice);
        }
        if (deal.sponsor != deal.requester) {
            flags |= HAS_SPONSOR;
            others = abi.encodePacked(others, deal.sponsor);
        }
        return abi.encodePacked(
            uint16(flags),
            deal.appOwner,
            deal.appPrice,
            deal.workerpoolOwner,
            deal.workerpoolPrice,
            deal.requester,
            deal.workerReward,
            deal.callback,
            deal.deadline,
            deal.botFirst,
            deal.botSize,
            deal.shortTag,
            others
        );
    }

    /// @inheritdoc IHubBoost
    function viewDealBoost(bytes32 dealId) public view returns (DealBoost memory deal) {
        address record = Records.addressOf(dealId);
        bytes memory content = Records.slice(record, 0, FIXED + DATASET + SPONSOR);
        deal.appOwner = address(uint160(_take(content, 2, 20)));
        deal.appPrice = uint96(_take(content, 22, 12));
        deal.workerpoolOwner = address(uint160(_take(content, 34, 20)));
        deal.workerpoolPrice = uint96(_take(content, 54, 12));
        deal.requester = address(uint160(_take(content, 66, 20)));
        deal.workerReward = uint96(_take(content, 86, 12));
        deal.callback = address(uint160(_take(content, 98, 20)));
        deal.deadline = uint40(_take(content, 118, 5));
        deal.botFirst = uint16(_take(content, 123, 2));
        deal.botSize = uint16(_take(content, 125, 2));
        deal.shortTag = bytes3(uint24(_take(content, 127, 3)));
        uint256 flags = _take(content, 0, 2);
        uint256 pos = FIXED;
        if (flags & HAS_DATASET != 0) {
            deal.datasetOwner = address(uint160(_take(content, pos, 20)));
            deal.datasetPrice = uint96(_take(content, pos + 20, 12));
            pos += DATASET;
        }
        deal.sponsor = flags & HAS_SPONSOR != 0 ? address(uint160(_take(content, pos, 20))) : deal.requester;
    }

    function _take(bytes memory content, uint256 pos, uint256 length) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, length)), mload(add(add(content, 32), pos)))
        }
    }
}
