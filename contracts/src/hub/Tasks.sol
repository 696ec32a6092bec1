// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {HubStorage} from "./HubStorage.sol";
import {Narrow} from "./Narrow.sol";
import {Rules} from "./Rules.sol";

/// @title A task and its ballots, as kept
/// @notice A task is one word, a ballot one to four. What can be derived is not kept: deadlines and the deal come from
/// the deal's record, a group's total from its first ballot, hash and seal of an opened ballot from the digest.
///
/// A *group* is all ballots with the same result. It is named by the index of its first ballot, which alone keeps the
/// result and the group's weight. A task has at most 4095 ballots: with more, neither the original could have been
/// finalized or claimed within a block.
library Tasks {
    /// @param dealRef See `Deals.refOf`.
    /// @param ballots How many workers contributed.
    /// @param group The winning group, if `winners` > 0.
    /// @param winners How many ballots the winning group has; 0 without consensus.
    /// @param offset Task index in the request order, less the deal's first.
    /// @param solo Completed by one worker alone: its ballot is in the task's record.
    struct Head {
        uint256 dealRef;
        uint256 status;
        uint256 ballots;
        uint256 group;
        uint256 winners;
        uint256 revealDeadline;
        uint256 offset;
        bool solo;
    }

    /// @param proved Opened by its worker.
    /// @param rejected Only of a group's first ballot: the group lost its consensus.
    /// @param opened Only of a group's first ballot: somebody opened one, and the group's result is now the digest.
    /// @param logWeight floor(log2) of the worker's weight.
    /// @param groupWeight Only of a group's first ballot: product of its workers' weights.
    struct Ballot {
        address worker;
        bool proved;
        bool rejected;
        bool opened;
        uint256 group;
        uint256 logWeight;
        uint256 groupWeight;
    }

    uint256 internal constant MAX_BALLOTS = 2 ** 12 - 1;

    /// @dev Marks of a task's word. A settled task is also solo, and has its place in a batch where others have ballots,
    /// group and winners: position 12 bits, offset of the batch's first task 35.
    uint256 private constant SOLO = 1 << 254;
    uint256 private constant SETTLED = 1 << 255;

    /// @dev Marks of a ballot's word; see `Ballot`.
    uint256 internal constant PROVED = 1 << 160;
    uint256 internal constant REJECTED = 1 << 161;
    uint256 internal constant OPENED = 1 << 162;

    function read(bytes32 taskid) internal view returns (Head memory head) {
        uint256 word = HubStorage.data().tasks[taskid].head;
        head.dealRef = word & type(uint128).max;
        head.status = (word >> 128) & 7;
        head.ballots = (word >> 131) & MAX_BALLOTS;
        head.group = (word >> 143) & MAX_BALLOTS;
        head.winners = (word >> 155) & MAX_BALLOTS;
        head.revealDeadline = revealDeadlineOf(taskid, word);
        head.offset = (word >> 219) & Narrow.MAX_35;
        head.solo = word & SOLO != 0;
    }

    /// @notice What a reveal needs to know, and nothing else.
    function readRevealing(bytes32 taskid)
        internal
        view
        returns (uint256 status, uint256 ballots, uint256 group, uint256 revealDeadline)
    {
        uint256 word = HubStorage.data().tasks[taskid].head;
        status = (word >> 128) & 7;
        ballots = (word >> 131) & MAX_BALLOTS;
        group = (word >> 143) & MAX_BALLOTS;
        revealDeadline = revealDeadlineOf(taskid, word);
    }

    function revealDeadlineOf(bytes32 taskid, uint256 word) private view returns (uint256) {
        return Narrow.get((word >> 179) & Narrow.MAX_40, Narrow.MAX_40, Narrow.REVEAL_DEADLINE, taskid);
    }

    function isUnset(bytes32 taskid) internal view returns (bool) {
        return HubStorage.data().tasks[taskid].head == 0;
    }

    /// @dev `head.offset` stays as it is kept; `offset` gives the number.
    function write(bytes32 taskid, Head memory head) internal {
        uint256 revealDeadline =
            Narrow.put(head.revealDeadline, Narrow.MAX_40, Narrow.REVEAL_DEADLINE, taskid);
        HubStorage.data().tasks[taskid].head = head.dealRef | (head.status << 128) | (head.ballots << 131)
            | (head.group << 143) | (head.winners << 155) | (revealDeadline << 179)
            | (head.offset << 219) | (head.solo ? SOLO : 0);
    }

    /// @notice Of an unset task without a deal, which is Boost's: all that is kept.
    function writeStatus(bytes32 taskid, uint256 status) internal {
        HubStorage.data().tasks[taskid].head = status << 128;
    }

    /// @notice What of a settled task's word is the same for all of its batch.
    function settledWord(uint256 dealRef) internal pure returns (uint256) {
        return dealRef | (Rules.COMPLETED << 128) | SOLO | SETTLED;
    }

    /// @notice Of a task that is unset, or active without ballots.
    /// @param word See `settledWord`. @param first The offset of the batch's first task.
    function writeSettled(
        bytes32 taskid,
        uint256 word,
        uint256 position,
        uint256 first,
        uint256 revealDeadline,
        uint256 ownOffset
    ) internal {
        revealDeadline = Narrow.put(revealDeadline, Narrow.MAX_40, Narrow.REVEAL_DEADLINE, taskid);
        HubStorage.data().tasks[taskid].head =
            word | (position << 131) | (first << 143) | (revealDeadline << 179) | (ownOffset << 219);
    }

    /// @return settled Whether the task was settled; the rest is zero if not.
    /// @return first Offset of the first task of its batch, whose id is the record's key.
    /// @return position In the batch.
    function place(bytes32 taskid) internal view returns (bool settled, uint256 first, uint256 position) {
        uint256 word = HubStorage.data().tasks[taskid].head;
        if (word & SETTLED == 0) return (false, 0, 0);
        return (true, (word >> 143) & Narrow.MAX_35, (word >> 131) & MAX_BALLOTS);
    }

    function offset(bytes32 taskid, Head memory head) internal view returns (uint256) {
        return Narrow.get(head.offset, Narrow.MAX_35, Narrow.INDEX, taskid);
    }

    /// @notice Index of a worker's ballot; reverts without.
    function find(HubStorage.Ballot[4096] storage cast, uint256 count, address worker)
        internal
        view
        returns (uint256 index)
    {
        for (; index < count; ++index) {
            if (address(uint160(cast[index].head)) == worker) return index;
        }
        revert();
    }

    function groupOf(uint256 ballot) internal pure returns (uint256) {
        return (ballot >> 163) & MAX_BALLOTS;
    }

    function packOffset(bytes32 taskid, uint256 value) internal returns (uint256) {
        return Narrow.put(value, Narrow.MAX_35, Narrow.INDEX, taskid);
    }

    function readBallot(bytes32 taskid, uint256 index) internal view returns (Ballot memory ballot) {
        uint256 word = HubStorage.data().tasks[taskid].ballots[index].head;
        ballot.worker = address(uint160(word));
        ballot.proved = word & PROVED != 0;
        ballot.rejected = word & REJECTED != 0;
        ballot.opened = word & OPENED != 0;
        ballot.group = groupOf(word);
        ballot.logWeight = (word >> 175) & 0xff;
        ballot.groupWeight = word >> 183;
        if (ballot.groupWeight == Narrow.MAX_73) {
            ballot.groupWeight = Narrow.get(Narrow.MAX_73, Narrow.MAX_73, Narrow.GROUP_WEIGHT, ballotKey(taskid, index));
        }
    }

    function writeBallot(bytes32 taskid, uint256 index, Ballot memory ballot) internal {
        uint256 groupWeight = ballot.groupWeight;
        if (groupWeight >= Narrow.MAX_73) {
            groupWeight = Narrow.put(groupWeight, Narrow.MAX_73, Narrow.GROUP_WEIGHT, ballotKey(taskid, index));
        }
        HubStorage.data().tasks[taskid].ballots[index].head = uint256(uint160(ballot.worker))
            | (ballot.proved ? PROVED : 0) | (ballot.rejected ? REJECTED : 0)
            | (ballot.opened ? OPENED : 0) | (ballot.group << 163) | (ballot.logWeight << 175)
            | (groupWeight << 183);
    }

    function ballotKey(bytes32 taskid, uint256 index) private pure returns (bytes32) {
        return keccak256(abi.encode(taskid, index));
    }
}
