// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IEntry} from "../interfaces/IEntries.sol";
import {IERC20Token, IHubV3, ITokenSpender} from "../interfaces/IExternal.sol";
import {IHubAdditions} from "../interfaces/IHub.sol";
import {IHubExtension} from "../interfaces/IHubExtension.sol";
import {IHubSettlement} from "../interfaces/IHubSettlement.sol";
import {IexecLibCore_v5} from "../libraries/IexecLibCore_v5.sol";
import {IexecLibOrders_v5} from "../libraries/IexecLibOrders_v5.sol";
import {OrderHashes} from "../libraries/OrderHashes.sol";
import {Authority} from "./Authority.sol";
import {Deals} from "./Deals.sol";
import {HubSettlement} from "./HubSettlement.sol";
import {HubStorage} from "./HubStorage.sol";
import {HubViews} from "./HubViews.sol";
import {Ledger} from "./Ledger.sol";
import {Rules} from "./Rules.sol";

/// @title The quiet half of the market
/// @notice Only ever run by delegation from `Hub`, on the hub's storage. Called directly it has an owner of zero and can
/// be configured by nobody.
contract HubExtension is IHubExtension, IHubAdditions, Ledger, Authority {
    using OrderHashes for *;

    /// @dev keccak256("eip1967.proxy.implementation") - 1
    bytes32 private constant IMPLEMENTATION = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;
    uint256 private constant DEFAULT_CALLBACK_GAS = 200_000;

    /// @dev Answers `settle`.
    address private immutable settlement = address(new HubSettlement());
    /// @dev Answers everything else.
    address private immutable views = address(new HubViews());

    modifier onlyOwner() {
        require(msg.sender == HubStorage.data().owner, "Ownable: caller is not the owner");
        _;
    }

    /* OWNERSHIP */

    /// @inheritdoc IHubExtension
    function owner() external view returns (address) {
        return HubStorage.data().owner;
    }

    /// @inheritdoc IHubExtension
    function transferOwnership(address newOwner) external {
        _requireContractOwner();
        emit OwnershipTransferred(HubStorage.data().owner, newOwner);
        HubStorage.data().owner = newOwner;
    }

    /// @inheritdoc IHubAdditions
    function upgradeToAndCall(address implementation, bytes calldata data) external payable {
        _requireContractOwner();
        require(implementation.code.length != 0);
        assembly ("memory-safe") {
            sstore(IMPLEMENTATION, implementation)
        }
        emit Upgraded(implementation);
        if (data.length == 0) return;
        (bool done, bytes memory answer) = implementation.delegatecall(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function _requireContractOwner() private view {
        address current = HubStorage.data().owner;
        if (msg.sender != current) revert NotContractOwner(msg.sender, current);
    }

    /* CONFIGURATION */

    /// @inheritdoc IHubExtension
    function configure(
        address token_,
        string calldata name_,
        string calldata symbol_,
        uint8 decimals_,
        address appregistry_,
        address datasetregistry_,
        address workerpoolregistry_,
        address v3_iexecHub
    ) external onlyOwner {
        HubStorage.Layout storage $ = HubStorage.data();
        require($.domainChainId == 0, "already-configured");
        $.domainChainId = uint96(block.chainid);
        $.token = token_;
        $.name = name_;
        $.symbol = symbol_;
        $.decimals = decimals_;
        $.appregistry = appregistry_;
        $.datasetregistry = datasetregistry_;
        $.workerpoolregistry = workerpoolregistry_;
        $.v3hub = v3_iexecHub;
        $.callbackgas = DEFAULT_CALLBACK_GAS;
    }

    /// @inheritdoc IHubExtension
    function updateDomainSeparator() external {
        require(HubStorage.data().domainChainId != 0, "not-configured");
        HubStorage.data().domainChainId = uint96(block.chainid);
    }

    /// @inheritdoc IHubExtension
    function changeRegistries(address appregistry_, address datasetregistry_, address workerpoolregistry_)
        external
        onlyOwner
    {
        HubStorage.Layout storage $ = HubStorage.data();
        $.appregistry = appregistry_;
        $.datasetregistry = datasetregistry_;
        $.workerpoolregistry = workerpoolregistry_;
    }

    /// @inheritdoc IHubExtension
    function setTeeBroker(address teebroker_) external onlyOwner {
        HubStorage.data().teebroker = teebroker_;
    }

    /// @inheritdoc IHubExtension
    function setCallbackGas(uint256 callbackgas_) external onlyOwner {
        HubStorage.data().callbackgas = callbackgas_;
    }

    /// @inheritdoc IHubExtension
    function createCategory(string calldata name_, string calldata description, uint256 workClockTimeRef)
        external
        onlyOwner
        returns (uint256 catid)
    {
        IexecLibCore_v5.Category[] storage categories = HubStorage.data().categories;
        catid = categories.length;
        categories.push(IexecLibCore_v5.Category(name_, description, workClockTimeRef));
        unchecked {
            HubStorage.data().timerefs[catid] = workClockTimeRef + 1; // zero if it overflows, which is then looked up
        }
        emit CreateCategory(catid, name_, description, workClockTimeRef);
    }

    /// @inheritdoc IHubExtension
    function recover() external onlyOwner returns (uint256 delta) {
        HubStorage.Layout storage $ = HubStorage.data();
        delta = IERC20Token($.token).balanceOf(address(this)) - _supply();
        _mint($.owner, delta);
    }

    /// @inheritdoc IHubExtension
    function importScore(address worker) external {
        HubStorage.Layout storage $ = HubStorage.data();
        require(!$.scoreImported[worker]);
        Account memory account = _account(worker);
        account.score = Rules.max(account.score, IHubV3($.v3hub).viewScore(worker));
        _setAccount(worker, account);
        $.scoreImported[worker] = true;
    }

    /* ALLOWANCES */

    /// @inheritdoc IHubExtension
    function allowance(address account, address spender) external view returns (uint256) {
        return HubStorage.data().allowances[account][spender];
    }

    /// @inheritdoc IHubExtension
    function transferFrom(address sender, address recipient, uint256 amount) external returns (bool) {
        _transfer(sender, recipient, amount);
        uint256 allowed = HubStorage.data().allowances[sender][msg.sender];
        require(amount <= allowed);
        _approve(sender, msg.sender, allowed - amount);
        return true;
    }

    /// @inheritdoc IHubExtension
    function approve(address spender, uint256 value) external returns (bool) {
        _approve(msg.sender, spender, value);
        return true;
    }

    /// @inheritdoc IHubExtension
    function approveAndCall(address spender, uint256 value, bytes calldata extraData) external returns (bool) {
        _approve(msg.sender, spender, value);
        require(
            ITokenSpender(spender).receiveApproval(msg.sender, value, address(this), extraData), "approval-refused"
        );
        return true;
    }

    /// @inheritdoc IHubExtension
    function increaseAllowance(address spender, uint256 addedValue) external returns (bool) {
        _approve(msg.sender, spender, HubStorage.data().allowances[msg.sender][spender] + addedValue);
        return true;
    }

    /// @inheritdoc IHubExtension
    function decreaseAllowance(address spender, uint256 subtractedValue) external returns (bool) {
        uint256 allowed = HubStorage.data().allowances[msg.sender][spender];
        require(subtractedValue <= allowed);
        _approve(msg.sender, spender, allowed - subtractedValue);
        return true;
    }

    /* SIGNATURES */

    /// @inheritdoc IHubExtension
    function verifySignature(address account, bytes32 hash, bytes calldata signature) external view returns (bool) {
        return _signed(account, hash, signature);
    }

    /// @inheritdoc IHubExtension
    function verifyPresignature(address account, bytes32 hash) external view returns (bool) {
        return _presigned(account, HubStorage.data().orders[hash]);
    }

    /// @inheritdoc IHubExtension
    function verifyPresignatureOrSignature(address account, bytes32 hash, bytes calldata signature)
        external
        view
        returns (bool)
    {
        return _signedOrPresigned(account, HubStorage.data().orders[hash], hash, signature);
    }

    /* ORDERS */

    /// @inheritdoc IHubExtension
    function manageAppOrder(IexecLibOrders_v5.AppOrderOperation calldata op) external {
        bytes32 structHash = op.order.structHash();
        address signer = IEntry(op.order.app).owner();
        bytes32 hash = _manage(signer, structHash, OrderHashes.APP_OPERATION, op.operation, op.sign, op.order.volume);
        if (op.operation == IexecLibOrders_v5.OrderOperationEnum.SIGN) emit SignedAppOrder(hash);
        else emit ClosedAppOrder(hash);
    }

    /// @inheritdoc IHubExtension
    function manageDatasetOrder(IexecLibOrders_v5.DatasetOrderOperation calldata op) external {
        bytes32 structHash = op.order.structHash();
        address signer = IEntry(op.order.dataset).owner();
        bytes32 hash =
            _manage(signer, structHash, OrderHashes.DATASET_OPERATION, op.operation, op.sign, op.order.volume);
        if (op.operation == IexecLibOrders_v5.OrderOperationEnum.SIGN) emit SignedDatasetOrder(hash);
        else emit ClosedDatasetOrder(hash);
    }

    /// @inheritdoc IHubExtension
    function manageWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrderOperation calldata op) external {
        bytes32 structHash = op.order.structHash();
        address signer = IEntry(op.order.workerpool).owner();
        bytes32 hash =
            _manage(signer, structHash, OrderHashes.WORKERPOOL_OPERATION, op.operation, op.sign, op.order.volume);
        if (op.operation == IexecLibOrders_v5.OrderOperationEnum.SIGN) emit SignedWorkerpoolOrder(hash);
        else emit ClosedWorkerpoolOrder(hash);
    }

    /// @inheritdoc IHubExtension
    function manageRequestOrder(IexecLibOrders_v5.RequestOrderOperation calldata op) external {
        bytes32 structHash = op.order.structHash();
        address signer = op.order.requester;
        bytes32 hash =
            _manage(signer, structHash, OrderHashes.REQUEST_OPERATION, op.operation, op.sign, op.order.volume);
        if (op.operation == IexecLibOrders_v5.OrderOperationEnum.SIGN) emit SignedRequestOrder(hash);
        else emit ClosedRequestOrder(hash);
    }

    /// @dev A closed order has all its volume consumed. Signing it again changes nothing of that.
    function _manage(
        address signer,
        bytes32 structHash,
        bytes32 operationType,
        IexecLibOrders_v5.OrderOperationEnum operation,
        bytes calldata sign,
        uint256 volume
    ) private returns (bytes32 hash) {
        bytes32 separator = _separator();
        require(
            msg.sender == signer
                || _signed(
                    signer,
                    OrderHashes.typed(separator, OrderHashes.operation(operationType, structHash, uint256(operation))),
                    sign
                ),
            "invalid-sender-or-signature"
        );
        hash = OrderHashes.typed(separator, structHash);
        uint256 word = HubStorage.data().orders[hash];
        if (operation == IexecLibOrders_v5.OrderOperationEnum.SIGN) {
            HubStorage.data().orders[hash] = (word >> 160 << 160) | uint160(signer);
        } else {
            _setConsumed(hash, word, volume);
        }
    }

    /// @inheritdoc IHubExtension
    function broadcastAppOrder(IexecLibOrders_v5.AppOrder calldata apporder) external {
        emit BroadcastAppOrder(apporder);
    }

    /// @inheritdoc IHubExtension
    function broadcastDatasetOrder(IexecLibOrders_v5.DatasetOrder calldata datasetorder) external {
        emit BroadcastDatasetOrder(datasetorder);
    }

    /// @inheritdoc IHubExtension
    function broadcastWorkerpoolOrder(IexecLibOrders_v5.WorkerpoolOrder calldata workerpoolorder) external {
        emit BroadcastWorkerpoolOrder(workerpoolorder);
    }

    /// @inheritdoc IHubExtension
    function broadcastRequestOrder(IexecLibOrders_v5.RequestOrder calldata requestorder) external {
        emit BroadcastRequestOrder(requestorder);
    }

    /// @inheritdoc IHubExtension
    function assertDatasetDealCompatibility(IexecLibOrders_v5.DatasetOrder calldata order, bytes32 dealId)
        external
        view
    {
        HubStorage.Layout storage $ = HubStorage.data();
        bytes32 hash = OrderHashes.typed(_separator(), order.structHash());
        uint256 word = $.orders[hash];
        if (_written(hash, word) >= order.volume) {
            revert IncompatibleDatasetOrder("Dataset order is revoked or fully consumed");
        }
        if (!_signedOrPresigned(IEntry(order.dataset).owner(), word, hash, order.sign)) {
            revert IncompatibleDatasetOrder("Invalid dataset order signature");
        }
        Deals.Terms memory deal = Deals.find(dealId);
        if (deal.requester == address(0)) revert IncompatibleDatasetOrder("Deal not found");
        if (deal.dataset != address(0)) revert IncompatibleDatasetOrder("Deal already has a dataset");
        if (!_allows(order.apprestrict, deal.app)) revert IncompatibleDatasetOrder("App restriction not satisfied");
        if (!_allows(order.workerpoolrestrict, deal.workerpool)) {
            revert IncompatibleDatasetOrder("Workerpool restriction not satisfied");
        }
        if (!_allows(order.requesterrestrict, deal.requester)) {
            revert IncompatibleDatasetOrder("Requester restriction not satisfied");
        }
        if (Rules.withoutFramework(order.tag) & ~deal.tag != 0) {
            revert IncompatibleDatasetOrder("Tag compatibility not satisfied");
        }
    }

    /* THE REST */

    /// @dev What is not here either is elsewhere, or refused by the last to be asked.
    fallback() external payable {
        address target = msg.sig == IHubSettlement.settle.selector ? settlement : views;
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, 0, calldatasize())
            let done := delegatecall(gas(), target, free, calldatasize(), 0, 0)
            returndatacopy(free, 0, returndatasize())
            if done { return(free, returndatasize()) }
            revert(free, returndatasize())
        }
    }
}
