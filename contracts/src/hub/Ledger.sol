// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IHubEvents} from "../interfaces/IHubEvents.sol";
import {HubStorage} from "./HubStorage.sol";
import {Narrow} from "./Narrow.sol";
import {Rules} from "./Rules.sol";

/// @title Who has how much
/// @notice Every account's free stake, locked stake and score share one word. What is locked is also on the hub's own
/// balance, which is therefore never less than all that is locked.
///
/// Task money moves through `_lock`, `_unlock`, `_reward` and `_seize`. They leave the hub's own balance alone and
/// account for it in a `Held`, which `_settle` writes once at the end.
abstract contract Ledger is IHubEvents {
    struct Account {
        uint256 stake;
        uint256 locked;
        uint256 score;
    }

    /// @param locked Came onto the hub's balance. @param released Left it.
    struct Held {
        uint256 locked;
        uint256 released;
    }

    /* ACCOUNTS */

    function _account(address who) internal view returns (Account memory account) {
        if (who == address(this)) {
            account.stake = _heldBalance();
            return account;
        }
        uint256 word = HubStorage.data().accounts[who];
        bytes32 key = bytes32(uint256(uint160(who)));
        account.stake = Narrow.get(word & Narrow.MAX_96, Narrow.MAX_96, Narrow.STAKE, key);
        account.locked = Narrow.get((word >> 96) & Narrow.MAX_96, Narrow.MAX_96, Narrow.LOCKED, key);
        account.score = Narrow.get(word >> 192, Narrow.MAX_64, Narrow.SCORE, key);
    }

    /// @dev The hub itself never locks anything, nor works.
    function _setAccount(address who, Account memory account) internal {
        if (who == address(this)) return _setHeldBalance(account.stake);
        bytes32 key = bytes32(uint256(uint160(who)));
        HubStorage.data().accounts[who] = Narrow.put(account.stake, Narrow.MAX_96, Narrow.STAKE, key)
            | (Narrow.put(account.locked, Narrow.MAX_96, Narrow.LOCKED, key) << 96)
            | (Narrow.put(account.score, Narrow.MAX_64, Narrow.SCORE, key) << 192);
    }

    function _heldBalance() private view returns (uint256) {
        return Narrow.get(HubStorage.data().held, Narrow.MAX_96, Narrow.STAKE, bytes32(uint256(uint160(address(this)))));
    }

    function _setHeldBalance(uint256 balance) private {
        HubStorage.data().held =
            uint96(Narrow.put(balance, Narrow.MAX_96, Narrow.STAKE, bytes32(uint256(uint160(address(this))))));
    }

    function _supply() internal view returns (uint256) {
        return Narrow.get(HubStorage.data().supply, Narrow.MAX_96, Narrow.SUPPLY, 0);
    }

    function _setSupply(uint256 supply) internal {
        // The usual way apart, so that the word is not read again.
        if (supply < Narrow.MAX_96) HubStorage.data().supply = uint96(supply);
        else HubStorage.data().supply = uint96(Narrow.put(supply, Narrow.MAX_96, Narrow.SUPPLY, 0));
    }

    /// @dev Only the stake is looked at.
    function _credit(address who, uint256 amount) internal {
        if (who == address(this)) return _setHeldBalance(_heldBalance() + amount);
        bytes32 key = bytes32(uint256(uint160(who)));
        uint256 word = HubStorage.data().accounts[who];
        uint256 stake = Narrow.get(word & Narrow.MAX_96, Narrow.MAX_96, Narrow.STAKE, key) + amount;
        HubStorage.data().accounts[who] =
            (word & ~Narrow.MAX_96) | Narrow.put(stake, Narrow.MAX_96, Narrow.STAKE, key);
    }

    /* TASK MONEY */

    function _lock(Held memory held, address who, uint256 amount) internal {
        require(who != address(0), "IexecEscrow: Transfer from empty address");
        Account memory account = _account(who);
        require(amount <= account.stake, "IexecEscrow: Transfer amount exceeds balance");
        account.stake -= amount;
        account.locked += amount;
        _setAccount(who, account);
        held.locked += amount;
        emit Transfer(who, address(this), amount);
        emit Lock(who, amount);
    }

    function _unlock(Held memory held, address who, uint256 amount) internal {
        Account memory account = _account(who);
        account.stake += amount;
        account.locked -= amount;
        _setAccount(who, account);
        held.released += amount;
        emit Transfer(address(this), who, amount);
        emit Unlock(who, amount);
    }

    function _reward(Held memory held, address who, uint256 amount, bytes32 ref) internal {
        require(who != address(0), "IexecEscrow: Transfer to empty address");
        _credit(who, amount);
        held.released += amount;
        emit Transfer(address(this), who, amount);
        emit Reward(who, amount, ref);
    }

    function _seize(address who, uint256 amount, bytes32 ref) internal {
        Account memory account = _account(who);
        account.locked -= amount;
        _setAccount(who, account);
        emit Seize(who, amount, ref);
    }

    /// @dev What a failure costs its scheduler: the stake goes to the kitty. It stays on the hub's balance, so there is no
    /// `Transfer`.
    function _forfeit(address scheduler, uint256 stake, bytes32 ref) internal {
        _seize(scheduler, stake, ref);
        Account memory kitty = _account(Rules.KITTY);
        kitty.locked += stake;
        _setAccount(Rules.KITTY, kitty);
        emit Reward(Rules.KITTY, stake, ref);
        emit Lock(Rules.KITTY, stake);
    }

    function _settle(Held memory held) internal {
        _setHeldBalance(_heldBalance() + held.locked - held.released);
    }

    /* SUPPLY */

    function _mint(address who, uint256 amount) internal {
        require(who != address(0), "ERC20: mint to the zero address");
        _setSupply(_supply() + amount);
        _credit(who, amount);
        emit Transfer(address(0), who, amount);
    }

    function _burn(address who, uint256 amount) internal {
        require(who != address(0), "ERC20: burn from the zero address");
        Account memory account = _account(who);
        require(amount <= account.stake);
        account.stake -= amount;
        _setAccount(who, account);
        _setSupply(_supply() - amount);
        emit Transfer(who, address(0), amount);
    }

    /* TRANSFERS */

    function _transfer(address from, address to, uint256 amount) internal {
        require(from != address(0), "ERC20: transfer from the zero address");
        require(to != address(0), "ERC20: transfer to the zero address");
        Account memory account = _account(from);
        require(amount <= account.stake);
        account.stake -= amount;
        _setAccount(from, account);
        _credit(to, amount);
        emit Transfer(from, to, amount);
    }

    function _approve(address owner, address spender, uint256 amount) internal {
        require(owner != address(0), "ERC20: approve from the zero address");
        require(spender != address(0), "ERC20: approve to the zero address");
        HubStorage.data().allowances[owner][spender] = amount;
        emit Approval(owner, spender, amount);
    }
}
