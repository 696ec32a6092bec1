// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IHubSettlement} from "../interfaces/IHubSettlement.sol";
import {Records} from "../libraries/Records.sol";
import {Authority} from "./Authority.sol";
import {Deals} from "./Deals.sol";
import {Ledger} from "./Ledger.sol";
import {Narrow} from "./Narrow.sol";
import {Outcomes} from "./Outcomes.sol";
import {Rules} from "./Rules.sol";
import {Tasks} from "./Tasks.sol";

/// @title Settling many tasks at once
/// @notice Only ever run by delegation from `HubExtension`, on the hub's storage. Goes the way of every entry point: read,
/// check, write, say so; and moves the money of the whole batch once, at the end. Nobody is called but, by static call, a
/// workerpool's owner that is a contract.
contract HubSettlement is IHubSettlement, Ledger, Authority {
    /// @notice A deal, and what follows from it for each of its tasks. @param word See `Tasks.settledWord`.
    /// @param price What the payer pays per task. @param stake Of the scheduler. @param reward Of the worker.
    struct Job {
        bytes32 dealid;
        Deals.Terms deal;
        uint256 word;
        uint256 price;
        uint256 stake;
        uint256 reward;
        uint256 revealDeadline;
    }

    /// @notice What is going to be a record, filled up task by task.
    /// @param content As long as the whole batch may need. @param used Of it. @param head Used before the first task.
    struct Batch {
        bytes content;
        uint256 used;
        uint256 head;
        uint256 count;
        bytes32 key;
        uint256 first;
    }

    /// @notice What the kitty had, and has after the tasks settled so far.
    struct Kitty {
        uint256 before;
        uint256 left;
    }

    /// @inheritdoc IHubSettlement
    function settle(bytes32 dealid, Settlement[] calldata items, bytes calldata authorization) external {
        Job memory job = _job(dealid);
        require(items.length != 0 && items.length <= Tasks.MAX_BALLOTS + 1);
        (bytes32 indices, uint256 common, uint256 size) = _survey(items);
        if (!_signed(job.deal.workerpoolOwner, _authorized(dealid, indices), authorization)) {
            revert SettlementNotAuthorized(msg.sender, dealid);
        }

        Batch memory batch = _begin(items[0].results[:common], size);
        Kitty memory kitty;
        kitty.before = kitty.left = _account(Rules.KITTY).locked;
        for (uint256 i = 0; i < items.length; ++i) {
            uint256 free = Rules.mark();
            _task(job, items[i], common, batch, kitty);
            Rules.release(free);
        }
        _write(batch);
        _pay(job, items.length, kitty.before - kitty.left);
    }

    /* CHECKS */

    function _job(bytes32 dealid) private view returns (Job memory job) {
        Deals.Terms memory deal = Deals.find(dealid);
        if (deal.dealid == 0 || deal.trust != 1 || deal.tag & Rules.TEE != 0 || deal.callback != address(0)) {
            revert DealNotSettleable(dealid);
        }
        if (block.timestamp >= Rules.contributionDeadline(deal)) revert DealExpired(dealid);
        Rules.finalDeadline(deal); // overflows, as `initialize` does
        job.dealid = dealid;
        job.word = Tasks.settledWord(Deals.refOf(dealid));
        job.deal = deal;
        job.price = Rules.taskPrice(deal);
        job.stake = Rules.schedulerStake(deal);
        job.reward = Rules.workersShare(deal, deal.workerpoolPrice);
        job.revealDeadline = Rules.revealDeadline(deal);
    }

    /// @return indices Hash of all of them in order.
    /// @return common How many bytes all results begin with alike.
    /// @return size Of the record, without its head.
    function _survey(Settlement[] calldata items)
        private
        pure
        returns (bytes32 indices, uint256 common, uint256 size)
    {
        uint256 free = Rules.mark();
        uint256[] memory list = new uint256[](items.length);
        bytes calldata first = items[0].results;
        common = first.length;
        for (uint256 i = 0; i < items.length; ++i) {
            bytes calldata results = items[i].results;
            list[i] = items[i].index;
            common = _alike(first, results, common);
            size += Outcomes.BATCH_ITEM + results.length;
        }
        indices = keccak256(abi.encodePacked(list));
        Rules.release(free);
    }

    /// @notice How many of the first `most` bytes are the same in both.
    function _alike(bytes calldata a, bytes calldata b, uint256 most) private pure returns (uint256 length) {
        if (b.length < most) most = b.length;
        assembly ("memory-safe") {
            for {} lt(length, most) { length := add(length, 32) } {
                let difference := xor(calldataload(add(a.offset, length)), calldataload(add(b.offset, length)))
                if difference {
                    for {} iszero(shr(248, difference)) { difference := shl(8, difference) } {
                        length := add(length, 1)
                    }
                    break
                }
            }
            if gt(length, most) { length := most }
        }
    }

    function _authorized(bytes32 dealid, bytes32 indices) private view returns (bytes32) {
        return _ethSigned(keccak256(abi.encodePacked(msg.sender, dealid, indices)));
    }

    /* TASKS */

    function _task(Job memory job, Settlement calldata item, uint256 common, Batch memory batch, Kitty memory kitty)
        private
    {
        (bytes32 taskid, uint256 offset, bool unset) = _open(job, item.index);
        bytes calldata results = item.results;
        (uint256 first, uint256 position) = _keep(batch, taskid, offset, item.resultDigest, results[common:]);
        Tasks.writeSettled(taskid, job.word, position, first, job.revealDeadline, offset);

        if (unset) emit TaskInitialize(taskid, job.deal.workerpool);
        _tell(job, taskid, kitty);
        bytes32 resultHash = Rules.resultHash(taskid, item.resultDigest);
        emit TaskContribute(taskid, msg.sender, resultHash);
        emit TaskConsensus(taskid, resultHash);
        emit TaskReveal(taskid, msg.sender, item.resultDigest);
        emit TaskFinalize(taskid, results);
    }

    /// @return taskid Of the index.
    /// @return offset Of the index from the deal's first.
    /// @return unset Whether nobody initialized the task.
    function _open(Job memory job, uint256 index)
        private
        view
        returns (bytes32 taskid, uint256 offset, bool unset)
    {
        unchecked {
            offset = index - job.deal.botFirst; // wraps to something too large
        }
        if (offset >= job.deal.botSize || offset >= Narrow.MAX_35) revert IndexNotSettleable(index);
        taskid = Rules.taskOf(job.dealid, index);
        unset = Tasks.isUnset(taskid);
        if (unset) return (taskid, offset, unset);
        Tasks.Head memory task = Tasks.read(taskid);
        if (task.status != Rules.ACTIVE || task.ballots != 0) revert TaskNotSettleable(index, task.status);
    }

    /// @dev What the ledger does in the end, told as if it did it task by task.
    function _tell(Job memory job, bytes32 taskid, Kitty memory kitty) private {
        Deals.Terms memory deal = job.deal;
        emit Seize(deal.sponsor, job.price, taskid);
        if (deal.appPrice > 0) _tellReward(deal.appOwner, deal.appPrice, taskid);
        if (deal.datasetPrice > 0) _tellReward(deal.datasetOwner, deal.datasetPrice, taskid);
        emit Transfer(address(this), deal.workerpoolOwner, job.stake);
        emit Unlock(deal.workerpoolOwner, job.stake);
        if (kitty.left > 0) {
            uint256 share = Rules.kittyShare(kitty.left);
            kitty.left -= share;
            emit Seize(Rules.KITTY, share, taskid);
            _tellReward(deal.workerpoolOwner, share, taskid);
        }
        _tellReward(msg.sender, job.reward, taskid);
        _tellReward(deal.workerpoolOwner, deal.workerpoolPrice - job.reward, taskid);
    }

    function _tellReward(address who, uint256 amount, bytes32 taskid) private {
        emit Transfer(address(this), who, amount);
        emit Reward(who, amount, taskid);
    }

    /* RECORD */

    function _begin(bytes calldata beginning, uint256 size) private view returns (Batch memory batch) {
        bytes memory head = Outcomes.batchHead(beginning);
        batch.head = batch.used = head.length;
        batch.content = bytes.concat(head, new bytes(size));
    }

    /// @notice Adds a task to the batch. What would no longer fit a record begins another.
    function _keep(Batch memory batch, bytes32 taskid, uint256 offset, bytes32 digest, bytes calldata rest)
        private
        returns (uint256 first, uint256 position)
    {
        if (batch.count > 0 && batch.used + Outcomes.BATCH_ITEM + rest.length > Records.MAX_LENGTH) {
            _write(batch);
            batch.used = batch.head;
            batch.count = 0;
        }
        if (batch.count == 0) (batch.key, batch.first) = (taskid, offset);
        first = batch.first;
        position = batch.count++;
        bytes memory content = batch.content;
        uint256 used = batch.used;
        batch.used = used + Outcomes.BATCH_ITEM + rest.length;
        assembly ("memory-safe") {
            let pos := add(add(content, 32), used)
            mstore(pos, digest)
            mstore(add(pos, 32), shl(232, rest.length))
            calldatacopy(add(pos, 35), rest.offset, rest.length)
        }
    }

    function _write(Batch memory batch) private {
        bytes memory content = batch.content;
        uint256 used = batch.used;
        assembly ("memory-safe") {
            mstore(content, used)
        }
        Outcomes.store(batch.key, content);
    }

    /* MONEY */

    /// @dev One account after another, so that one that plays several parts gets all of them.
    function _pay(Job memory job, uint256 tasks, uint256 kitty) private {
        Deals.Terms memory deal = job.deal;
        uint256 stakes = job.stake * tasks;
        uint256 rewards = job.reward * tasks;
        uint256 dues = deal.workerpoolPrice * tasks - rewards + kitty;
        _unfreeze(deal.sponsor, job.price * tasks);
        _unfreeze(deal.workerpoolOwner, stakes);
        _unfreeze(Rules.KITTY, kitty);
        if (deal.appPrice > 0) _reward(deal.appOwner, deal.appPrice * tasks);
        if (deal.datasetPrice > 0) _reward(deal.datasetOwner, deal.datasetPrice * tasks);
        _reward(msg.sender, rewards);
        _reward(deal.workerpoolOwner, dues + stakes);
        Held memory held;
        held.released = job.price * tasks + stakes + kitty;
        _settle(held);
    }

    function _unfreeze(address who, uint256 amount) private {
        if (amount == 0) return;
        Account memory account = _account(who);
        account.locked -= amount;
        _setAccount(who, account);
    }

    function _reward(address who, uint256 amount) private {
        require(who != address(0), "IexecEscrow: Transfer to empty address");
        _credit(who, amount);
    }
}
