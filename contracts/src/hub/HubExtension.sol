// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IApp, IDataset, IEntry, IWorkerpool} from "../interfaces/IEntries.sol";
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
import {Ledger} from "./Ledger.sol";
import {Outcomes} from "./Outcomes.sol";
import {Rules} from "./Rules.sol";
import {Tasks} from "./Tasks.sol";

/// @title The quiet half of the market
/// @notice Only ever run by delegation from `Hub`, on the hub's storage. Called directly it has an owner of zero and can
/// be configured by nobody.
contract HubExtension is IHubExtension, IHubAdditions, Ledger, Authority {
    using OrderHashes for *;

    /// @dev keccak256("eip1967.proxy.implementation") - 1
    bytes32 private constant IMPLEMENTATION = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;
    string private constant DOMAIN_NAME = "iExecODB";
    string private constant DOMAIN_VERSION = "5.0.0";
    uint256 private constant DEFAULT_CALLBACK_GAS = 200_000;

    /// @dev Answers `settle`.
    address private immutable settlement = address(new HubSettlement());

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

    /* RECORDS */

    /// @inheritdoc IHubExtension
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

    /// @inheritdoc IHubExtension
    function viewTask(bytes32 taskid) public view returns (IexecLibCore_v5.Task memory task) {
        Tasks.Head memory head = Tasks.read(taskid);
        if (head.status == Rules.UNSET) return task;
        Deals.Terms memory deal = Deals.read(head.dealRef);
        Outcomes.Outcome memory outcome = Outcomes.read(taskid);
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

    /// @inheritdoc IHubExtension
    function viewContribution(bytes32 taskid, address worker)
        public
        view
        returns (IexecLibCore_v5.Contribution memory contribution)
    {
        Tasks.Head memory head = Tasks.read(taskid);
        if (head.solo) {
            Outcomes.Outcome memory outcome = Outcomes.read(taskid);
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

    /// @inheritdoc IHubExtension
    function viewScore(address worker) external view returns (uint256) {
        return _account(worker).score;
    }

    /// @inheritdoc IHubExtension
    function viewConsumed(bytes32 orderHash) external view returns (uint256) {
        return _consumed(orderHash, HubStorage.data().orders[orderHash]);
    }

    /// @inheritdoc IHubExtension
    function viewPresigned(bytes32 orderHash) external view returns (address) {
        return address(uint160(HubStorage.data().orders[orderHash]));
    }

    /// @inheritdoc IHubExtension
    function resultFor(bytes32 taskid) external view returns (bytes memory) {
        require(Tasks.read(taskid).status == Rules.COMPLETED, "task-pending");
        return Outcomes.read(taskid).resultsCallback;
    }

    /// @inheritdoc IHubExtension
    function viewAccount(address account) public view returns (IexecLibCore_v5.Account memory) {
        Account memory kept = _account(account);
        return IexecLibCore_v5.Account(kept.stake, kept.locked);
    }

    /* DESCRIPTIVE VIEWS */

    /// @inheritdoc IHubExtension
    function token() external view returns (address) {
        return HubStorage.data().token;
    }

    /// @inheritdoc IHubExtension
    function eip712domain_separator() external view returns (bytes32) {
        return _separator();
    }

    /// @inheritdoc IHubExtension
    function name() external view returns (string memory) {
        return HubStorage.data().name;
    }

    /// @inheritdoc IHubExtension
    function symbol() external view returns (string memory) {
        return HubStorage.data().symbol;
    }

    /// @inheritdoc IHubExtension
    function decimals() external view returns (uint8) {
        return HubStorage.data().decimals;
    }

    /// @inheritdoc IHubExtension
    function appregistry() external view returns (address) {
        return HubStorage.data().appregistry;
    }

    /// @inheritdoc IHubExtension
    function datasetregistry() external view returns (address) {
        return HubStorage.data().datasetregistry;
    }

    /// @inheritdoc IHubExtension
    function workerpoolregistry() external view returns (address) {
        return HubStorage.data().workerpoolregistry;
    }

    /// @inheritdoc IHubExtension
    function teebroker() external view returns (address) {
        return HubStorage.data().teebroker;
    }

    /// @inheritdoc IHubExtension
    function callbackgas() external view returns (uint256) {
        return HubStorage.data().callbackgas;
    }

    /// @inheritdoc IHubExtension
    function domain() external view returns (IexecLibOrders_v5.EIP712Domain memory) {
        return IexecLibOrders_v5.EIP712Domain(DOMAIN_NAME, DOMAIN_VERSION, block.chainid, address(this));
    }

    /// @inheritdoc IHubExtension
    function countCategory() external view returns (uint256) {
        return HubStorage.data().categories.length;
    }

    /// @inheritdoc IHubExtension
    function viewCategory(uint256 catid) external view returns (IexecLibCore_v5.Category memory) {
        require(catid < HubStorage.data().categories.length);
        return HubStorage.data().categories[catid];
    }

    /// @inheritdoc IHubExtension
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

    /// @inheritdoc IHubExtension
    function viewDataset(address dataset) external view returns (IexecLibCore_v5.DatasetInfo memory) {
        IDataset entry = IDataset(dataset);
        return IexecLibCore_v5.DatasetInfo(
            entry.owner(), entry.m_datasetName(), entry.m_datasetMultiaddr(), entry.m_datasetChecksum()
        );
    }

    /// @inheritdoc IHubExtension
    function viewWorkerpool(address workerpool) external view returns (IexecLibCore_v5.WorkerpoolInfo memory) {
        IWorkerpool entry = IWorkerpool(workerpool);
        return IexecLibCore_v5.WorkerpoolInfo(
            entry.owner(),
            entry.m_workerpoolDescription(),
            entry.m_workerStakeRatioPolicy(),
            entry.m_schedulerRewardRatioPolicy()
        );
    }

    /// @inheritdoc IHubExtension
    function contribution_deadline_ratio() external pure returns (uint256) {
        return Rules.CONTRIBUTION_DEADLINE_RATIO;
    }

    /// @inheritdoc IHubExtension
    function reveal_deadline_ratio() external pure returns (uint256) {
        return Rules.REVEAL_DEADLINE_RATIO;
    }

    /// @inheritdoc IHubExtension
    function final_deadline_ratio() external pure returns (uint256) {
        return Rules.FINAL_DEADLINE_RATIO;
    }

    /// @inheritdoc IHubExtension
    function workerpool_stake_ratio() external pure returns (uint256) {
        return Rules.WORKERPOOL_STAKE_RATIO;
    }

    /// @inheritdoc IHubExtension
    function kitty_ratio() external pure returns (uint256) {
        return Rules.KITTY_RATIO;
    }

    /// @inheritdoc IHubExtension
    function kitty_min() external pure returns (uint256) {
        return Rules.KITTY_MIN;
    }

    /// @inheritdoc IHubExtension
    function kitty_address() external pure returns (address) {
        return Rules.KITTY;
    }

    /// @inheritdoc IHubExtension
    function groupmember_purpose() external pure returns (uint256) {
        return GROUPMEMBER_PURPOSE;
    }

    /* VIEWS OF AN EARLIER ABI */

    /// @inheritdoc IHubExtension
    function viewAccountABILegacy(address account) external view returns (uint256, uint256) {
        Account memory kept = _account(account);
        return (kept.stake, kept.locked);
    }

    /// @inheritdoc IHubExtension
    function viewCategoryABILegacy(uint256 catid) external view returns (string memory, string memory, uint256) {
        IexecLibCore_v5.Category storage category = HubStorage.data().categories[catid];
        return (category.name, category.description, category.workClockTimeRef);
    }

    /// @inheritdoc IHubExtension
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

    /// @inheritdoc IHubExtension
    function viewContributionABILegacy(bytes32 taskid, address worker)
        external
        view
        returns (IexecLibCore_v5.ContributionStatusEnum, bytes32, bytes32, address)
    {
        IexecLibCore_v5.Contribution memory it = viewContribution(taskid, worker);
        return (it.status, it.resultHash, it.resultSeal, it.enclaveChallenge);
    }

    /// @inheritdoc IHubExtension
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

    /// @inheritdoc IHubExtension
    function viewDealABILegacy_pt2(bytes32 dealid)
        external
        view
        returns (uint256, bytes32, address, address, address, string memory)
    {
        IexecLibCore_v5.Deal memory it = viewDeal(dealid);
        return (it.trust, it.tag, it.requester, it.beneficiary, it.callback, it.params);
    }

    /// @inheritdoc IHubExtension
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
        require(msg.sig == IHubSettlement.settle.selector, "fallback-disabled");
        (bool done, bytes memory answer) = settlement.delegatecall(msg.data);
        assembly ("memory-safe") {
            if done { return(add(answer, 32), mload(answer)) }
            revert(add(answer, 32), mload(answer))
        }
    }
}
