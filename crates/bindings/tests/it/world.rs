//! A chain in memory with a whole market deployed on it, and actors to play with.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256, keccak256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{Revert, SolCall, SolError as _, SolEvent};
use bindings::{app_registry, boost, dataset_registry, hub, rlc, workerpool_registry};
use orders::{AppOrder, DatasetOrder, Domain, Quartet, RequestOrder, WorkerpoolOrder};
use primitives::{ResultDigest, Tag, TaskId};
use revm::context::result::{ExecutionResult, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::{CacheDB, EmptyDB, WrapDatabaseRef};
use revm::database_interface::DatabaseRef as _;
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, Bytecode};
use revm::{Context, ExecuteCommitEvm as _, ExecuteEvm as _, MainBuilder as _, MainContext as _};

pub(crate) const CHAIN_ID: u64 = 421_614;
pub(crate) const START: u64 = 1_800_000_000;
const GAS: u64 = 30_000_000;

/// A transaction that went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) gas: u64,
    pub(crate) output: Bytes,
    pub(crate) logs: Vec<Log>,
    pub(crate) created: Option<Address>,
}

impl Done {
    /// Names of the events, in order, with what they say.
    pub(crate) fn events(&self) -> Vec<String> {
        self.logs.iter().map(event_name).collect()
    }

    /// All events of one kind.
    pub(crate) fn all<E: SolEvent>(&self) -> Vec<E> {
        self.logs.iter().filter_map(|log| E::decode_log(log).ok().map(|log| log.data)).collect()
    }
}

/// Why a transaction did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Reverted without data.
    Empty,
    /// Reverted with a text.
    Text(String),
    /// Reverted with a panic code.
    Panic(u64),
    /// Reverted with other data.
    Data(Bytes),
    /// Ran out of gas or the like.
    Halted(String),
}

pub(crate) fn text(text: &str) -> Refused {
    Refused::Text(text.to_owned())
}

/// Someone with a key.
#[derive(Clone)]
pub(crate) struct Actor {
    signer: PrivateKeySigner,
}

impl Actor {
    pub(crate) fn new(name: &str) -> Self {
        Self { signer: PrivateKeySigner::from_bytes(&keccak256(name)).unwrap() }
    }

    pub(crate) fn address(&self) -> Address {
        self.signer.address()
    }

    pub(crate) fn sign(&self, hash: B256) -> Bytes {
        self.signer.sign_hash_sync(&hash).unwrap().as_bytes().into()
    }

    /// As an Ethereum signed message.
    pub(crate) fn sign_message(&self, hash: B256) -> Bytes {
        self.signer.sign_message_sync(hash.as_slice()).unwrap().as_bytes().into()
    }
}

/// Everyone of the usual story.
#[derive(Clone)]
pub(crate) struct Cast {
    pub(crate) owner: Actor,
    pub(crate) developer: Actor,
    pub(crate) data_owner: Actor,
    pub(crate) scheduler: Actor,
    pub(crate) requester: Actor,
    pub(crate) sponsor: Actor,
    pub(crate) workers: Vec<Actor>,
}

#[derive(Clone)]
pub(crate) struct World {
    db: CacheDB<EmptyDB>,
    /// Changes when the chain forks.
    pub(crate) chain_id: u64,
    pub(crate) now: u64,
    pub(crate) hub: Address,
    pub(crate) rlc: Address,
    pub(crate) apps: Address,
    pub(crate) datasets: Address,
    pub(crate) pools: Address,
    pub(crate) cast: Cast,
}

impl World {
    /// A configured market with five categories; everyone of the cast holds stake.
    pub(crate) fn new() -> Self {
        let cast = Cast {
            owner: Actor::new("owner"),
            developer: Actor::new("developer"),
            data_owner: Actor::new("data owner"),
            scheduler: Actor::new("scheduler"),
            requester: Actor::new("requester"),
            sponsor: Actor::new("sponsor"),
            workers: (0..8).map(|i| Actor::new(&format!("worker {i}"))).collect(),
        };
        let owner = cast.owner.address();
        let mut world = Self {
            db: CacheDB::default(),
            chain_id: CHAIN_ID,
            now: START,
            hub: Address::ZERO,
            rlc: Address::ZERO,
            apps: Address::ZERO,
            datasets: Address::ZERO,
            pools: Address::ZERO,
            cast,
        };
        world.rlc = world.deploy(rlc::creation_code(&[(owner, rlc::SUPPLY)]));
        let extension = world.deploy(hub::extension_creation_code());
        let implementation = world.deploy(hub::creation_code(extension));
        world.hub = world.deploy(hub::proxy_creation_code(implementation, owner));
        world.apps = world.deploy(app_registry::creation_code(owner, "https://nfts.example/app/"));
        world.datasets = world.deploy(dataset_registry::creation_code(owner, ""));
        world.pools = world.deploy(workerpool_registry::creation_code(owner, ""));
        let previous = Address::ZERO;
        world.tx(owner, world.apps, &app_registry::initializeCall { previous });
        world.tx(owner, world.datasets, &dataset_registry::initializeCall { previous });
        world.tx(owner, world.pools, &workerpool_registry::initializeCall { previous });
        world.tx(
            owner,
            world.hub,
            &hub::configureCall {
                token: world.rlc,
                name: "Staked RLC".into(),
                symbol: "SRLC".into(),
                decimals: 9,
                appregistry: world.apps,
                datasetregistry: world.datasets,
                workerpoolregistry: world.pools,
                v3_iexecHub: Address::ZERO,
            },
        );
        for (name, seconds) in
            [("XS", 300), ("S", 1200), ("M", 3600), ("L", 10_800), ("XL", 36_000)]
        {
            world.tx(
                owner,
                world.hub,
                &hub::createCategoryCall {
                    name: name.into(),
                    description: format!("{seconds} s"),
                    workClockTimeRef: U256::from(seconds),
                },
            );
        }
        let mut holders = vec![world.cast.scheduler.address(), world.cast.requester.address()];
        holders.push(world.cast.sponsor.address());
        holders.extend(world.cast.workers.iter().map(Actor::address));
        for holder in holders {
            world.give(holder, 1_000 * RLC);
        }
        world
    }

    /* TRANSACTIONS */

    pub(crate) fn deploy(&mut self, code: Bytes) -> Address {
        let owner = self.cast.owner.address();
        self.run(owner, TxKind::Create, code, U256::ZERO).unwrap().created.unwrap()
    }

    pub(crate) fn raw(&mut self, from: Address, to: Address, data: Bytes) -> Result<Done, Refused> {
        self.run(from, TxKind::Call(to), data, U256::ZERO)
    }

    pub(crate) fn pay(&mut self, from: Address, to: Address, value: U256) -> Result<Done, Refused> {
        self.db.insert_account_info(from, AccountInfo { balance: value, ..AccountInfo::default() });
        self.run(from, TxKind::Call(to), Bytes::new(), value)
    }

    pub(crate) fn try_tx(
        &mut self,
        from: Address,
        to: Address,
        call: &impl SolCall,
    ) -> Result<Done, Refused> {
        self.raw(from, to, call.abi_encode().into())
    }

    #[track_caller]
    pub(crate) fn tx(&mut self, from: Address, to: Address, call: &impl SolCall) -> Done {
        self.try_tx(from, to, call).unwrap()
    }

    #[track_caller]
    pub(crate) fn view<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        C::abi_decode_returns(&self.try_view(to, call).unwrap()).unwrap()
    }

    pub(crate) fn try_view(&self, to: Address, call: &impl SolCall) -> Result<Bytes, Refused> {
        let tx = self.env(Address::ZERO, TxKind::Call(to), call.abi_encode().into(), U256::ZERO);
        let mut evm = Context::mainnet()
            .with_db(WrapDatabaseRef(&self.db))
            .with_block(self.block())
            .with_cfg(config(self.chain_id))
            .build_mainnet();
        outcome(evm.transact(tx).unwrap().result).map(|done| done.output)
    }

    fn run(
        &mut self,
        from: Address,
        to: TxKind,
        data: Bytes,
        value: U256,
    ) -> Result<Done, Refused> {
        let tx = self.env(from, to, data, value);
        let (block, config) = (self.block(), config(self.chain_id));
        let mut evm = Context::mainnet()
            .with_db(&mut self.db)
            .with_block(block)
            .with_cfg(config)
            .build_mainnet();
        outcome(evm.transact_commit(tx).unwrap())
    }

    fn env(&self, caller: Address, kind: TxKind, data: Bytes, value: U256) -> TxEnv {
        TxEnv::builder()
            .caller(caller)
            .kind(kind)
            .data(data)
            .value(value)
            .gas_limit(GAS)
            .gas_price(0)
            .build()
            .unwrap()
    }

    fn block(&self) -> BlockEnv {
        BlockEnv {
            number: U256::from(1),
            timestamp: U256::from(self.now),
            gas_limit: GAS,
            ..BlockEnv::default()
        }
    }

    /// A word of a contract's storage.
    pub(crate) fn storage(&self, of: Address, slot: B256) -> B256 {
        self.db.storage_ref(of, slot.into()).unwrap().into()
    }

    /// Writes a word of a contract's storage.
    pub(crate) fn set_storage(&mut self, of: Address, slot: B256, word: B256) {
        self.db.insert_account_storage(of, slot.into(), word.into()).unwrap();
    }

    /// Puts runtime code at an address.
    pub(crate) fn put_code(&mut self, name: &str, code: impl Into<Bytes>) -> Address {
        let address = Address::from_slice(&keccak256(name)[..20]);
        let code = Bytecode::new_raw(code.into());
        self.db.insert_account_info(address, AccountInfo::default().with_code(code));
        address
    }

    /// Makes who is at an address another contract, on the same storage.
    pub(crate) fn replace_code(&mut self, address: Address, code: impl Into<Bytes>) {
        let code = Bytecode::new_raw(code.into());
        self.db.insert_account_info(address, AccountInfo::default().with_code(code));
    }

    /* MONEY */

    /// Gives RLC and deposits it.
    pub(crate) fn give(&mut self, to: Address, amount: u64) {
        let owner = self.cast.owner.address();
        let amount = U256::from(amount);
        self.tx(owner, self.rlc, &rlc::transferCall { to, amount });
        self.tx(
            to,
            self.rlc,
            &rlc::approveAndCallCall { spender: self.hub, amount, data: Bytes::new() },
        );
    }

    pub(crate) fn account(&self, who: Address) -> (U256, U256) {
        let account = self.view(self.hub, &hub::viewAccountCall { account: who });
        (account.stake, account.locked)
    }

    pub(crate) fn score(&self, worker: Address) -> U256 {
        self.view(self.hub, &hub::viewScoreCall { worker })
    }

    /// Free and locked stake and score of everyone, the hub and these others; then the supply.
    pub(crate) fn books(&self, others: &[Address]) -> Vec<(U256, U256, U256)> {
        let mut all = self.everyone();
        all.push(self.hub);
        all.extend(others);
        let mut books: Vec<_> = all
            .into_iter()
            .map(|who| {
                let (stake, locked) = self.account(who);
                (stake, locked, self.score(who))
            })
            .collect();
        let supply = self.view(self.hub, &hub::totalSupplyCall {});
        books.push((supply, U256::ZERO, U256::ZERO));
        books
    }

    /// Everyone whose money the invariants look at.
    pub(crate) fn everyone(&self) -> Vec<Address> {
        let cast = &self.cast;
        let mut all: Vec<_> = [
            &cast.owner,
            &cast.developer,
            &cast.data_owner,
            &cast.scheduler,
            &cast.requester,
            &cast.sponsor,
        ]
        .map(Actor::address)
        .into();
        all.extend(cast.workers.iter().map(Actor::address));
        all.push(verdict::money::KITTY);
        all
    }

    /// Nothing is ever made or lost: the hub's own balance is all that is locked, and all stake is backed by RLC.
    #[track_caller]
    pub(crate) fn assert_conserved(&self) {
        let accounts: Vec<_> = self.everyone().into_iter().map(|who| self.account(who)).collect();
        let stake: U256 = accounts.iter().map(|(stake, _)| *stake).sum();
        let locked: U256 = accounts.iter().map(|(_, locked)| *locked).sum();
        let hub_stake = self.account(self.hub).0;
        let supply = self.view(self.hub, &hub::totalSupplyCall {});
        let backing = self.view(self.rlc, &rlc::balanceOfCall { account: self.hub });
        assert_eq!(locked, hub_stake, "the hub holds exactly what is locked");
        assert_eq!(stake + hub_stake, supply, "every stake is someone's");
        assert_eq!(supply, backing, "every stake is backed");
    }

    /* ENTRIES */

    pub(crate) fn create_app(&mut self) -> Address {
        self.create_app_named("wordcount")
    }

    pub(crate) fn create_app_named(&mut self, name: &str) -> Address {
        let from = self.cast.developer.address();
        let done = self.tx(from, self.apps, &app_call(from, name));
        app_registry::createAppCall::abi_decode_returns(&done.output).unwrap()
    }

    pub(crate) fn create_dataset(&mut self) -> Address {
        let from = self.cast.data_owner.address();
        let done = self.tx(from, self.datasets, &dataset_call(from, "alice"));
        dataset_registry::createDatasetCall::abi_decode_returns(&done.output).unwrap()
    }

    pub(crate) fn create_pool(&mut self) -> Address {
        let from = self.cast.scheduler.address();
        let done = self.tx(from, self.pools, &pool_call(from, "a pool"));
        workerpool_registry::createWorkerpoolCall::abi_decode_returns(&done.output).unwrap()
    }

    /* DEALS */

    pub(crate) fn domain(&self) -> Domain {
        Domain { chain_id: CHAIN_ID, hub: self.hub }
    }

    /// Four unsigned orders that match, without a dataset unless there is one.
    pub(crate) fn quartet(&self, app: Address, dataset: Address, pool: Address) -> Quartet {
        let volume = U256::from(1_000_000);
        let with_dataset = dataset != Address::ZERO;
        Quartet {
            app: AppOrder {
                app,
                price: U256::from(1_000),
                volume,
                tag: Tag::NONE,
                dataset_restrict: Address::ZERO,
                workerpool_restrict: Address::ZERO,
                requester_restrict: Address::ZERO,
                salt: B256::repeat_byte(1),
                sign: Bytes::new(),
            },
            dataset: if with_dataset {
                DatasetOrder {
                    dataset,
                    price: U256::from(1_000_000),
                    volume,
                    tag: Tag::NONE,
                    app_restrict: Address::ZERO,
                    workerpool_restrict: Address::ZERO,
                    requester_restrict: Address::ZERO,
                    salt: B256::repeat_byte(2),
                    sign: Bytes::new(),
                }
            } else {
                DatasetOrder::none()
            },
            workerpool: WorkerpoolOrder {
                workerpool: pool,
                price: U256::from(RLC),
                volume,
                tag: Tag(B256::with_last_byte(0x0f)),
                category: U256::ZERO,
                trust: U256::from(1_000),
                app_restrict: Address::ZERO,
                dataset_restrict: Address::ZERO,
                requester_restrict: Address::ZERO,
                salt: B256::repeat_byte(3),
                sign: Bytes::new(),
            },
            request: RequestOrder {
                app,
                app_max_price: U256::from(1_000),
                dataset,
                dataset_max_price: U256::from(1_000_000),
                workerpool: Address::ZERO,
                workerpool_max_price: U256::from(RLC),
                requester: self.cast.requester.address(),
                volume: U256::ONE,
                tag: Tag::NONE,
                category: U256::ZERO,
                trust: U256::ZERO,
                beneficiary: self.cast.requester.address(),
                callback: Address::ZERO,
                params: PARAMS.into(),
                salt: B256::repeat_byte(4),
                sign: Bytes::new(),
            },
        }
    }

    /// Everyone signs.
    pub(crate) fn sign(&self, quartet: Quartet) -> Quartet {
        self.sign_for(&self.domain(), quartet)
    }

    /// Everyone signs, for a hub on some chain.
    pub(crate) fn sign_for(&self, domain: &Domain, mut quartet: Quartet) -> Quartet {
        let cast = &self.cast;
        quartet.app.sign = cast.developer.sign(quartet.app.hash(domain).0);
        if quartet.has_dataset() {
            quartet.dataset.sign = cast.data_owner.sign(quartet.dataset.hash(domain).0);
        }
        quartet.workerpool.sign = cast.scheduler.sign(quartet.workerpool.hash(domain).0);
        quartet.request.sign = cast.requester.sign(quartet.request.hash(domain).0);
        quartet
    }

    pub(crate) fn try_match(&mut self, quartet: &Quartet) -> Result<Done, Refused> {
        let from = self.cast.requester.address();
        self.try_tx(from, self.hub, &match_call(quartet))
    }

    /// Signs and matches; the deal's id.
    #[track_caller]
    pub(crate) fn deal(&mut self, quartet: Quartet) -> B256 {
        let signed = self.sign(quartet);
        let done = self.try_match(&signed).unwrap();
        B256::from_slice(&done.output)
    }

    /// Lets a task fail that was dear enough for the kitty to last a thousand others.
    pub(crate) fn fill_kitty(&mut self, app: Address, pool: Address) {
        const PRICE: u64 = 5_000_000 * RLC;
        self.give(self.cast.requester.address(), PRICE);
        self.give(self.cast.scheduler.address(), PRICE);
        let mut quartet = self.quartet(app, Address::ZERO, pool);
        quartet.workerpool.price = U256::from(PRICE);
        quartet.workerpool.salt = B256::repeat_byte(0xee);
        quartet.request.workerpool_max_price = U256::from(PRICE);
        quartet.request.salt = B256::repeat_byte(0xee);
        let dealid = self.deal(quartet);
        let taskid = self.initialize(dealid, 0);
        self.now += 10 * 300;
        self.tx(Address::ZERO, self.hub, &hub::claimCall { taskid });
    }

    /* TASKS */

    #[track_caller]
    pub(crate) fn initialize(&mut self, dealid: B256, idx: u64) -> B256 {
        let from = self.cast.scheduler.address();
        let done = self.tx(from, self.hub, &hub::initializeCall { dealid, idx: U256::from(idx) });
        B256::from_slice(&done.output)
    }

    pub(crate) fn try_contribute(
        &mut self,
        taskid: B256,
        worker: usize,
        digest: B256,
    ) -> Result<Done, Refused> {
        let call = self.contribute_call(taskid, worker, digest, None);
        let from = self.cast.workers[worker].address();
        self.try_tx(from, self.hub, &call)
    }

    /// A contribution as the worker sends it, of an enclave if there is one.
    pub(crate) fn contribute_call(
        &self,
        taskid: B256,
        worker: usize,
        digest: B256,
        enclave: Option<&Actor>,
    ) -> hub::contributeCall {
        let worker = self.cast.workers[worker].address();
        let task = TaskId(taskid);
        let result_hash = verdict::result_hash(task, ResultDigest(digest)).0;
        let seal = verdict::result_seal(worker, task, ResultDigest(digest)).0;
        let challenge = enclave.map(Actor::address).unwrap_or_default();
        hub::contributeCall {
            taskid,
            resultHash: result_hash,
            resultSeal: seal,
            enclaveChallenge: challenge,
            enclaveSign: enclave
                .map(|it| it.sign_message(keccak256([result_hash, seal].concat())))
                .unwrap_or_default(),
            authorizationSign: self.authorization(worker, taskid, challenge),
        }
    }

    pub(crate) fn authorization(&self, worker: Address, taskid: B256, challenge: Address) -> Bytes {
        self.cast.scheduler.sign_message(verdict::authorization_hash(
            worker,
            TaskId(taskid),
            challenge,
        ))
    }

    #[track_caller]
    pub(crate) fn contribute(&mut self, taskid: B256, worker: usize, digest: B256) -> Done {
        self.try_contribute(taskid, worker, digest).unwrap()
    }

    pub(crate) fn try_reveal(
        &mut self,
        taskid: B256,
        worker: usize,
        digest: B256,
    ) -> Result<Done, Refused> {
        let from = self.cast.workers[worker].address();
        self.try_tx(from, self.hub, &hub::revealCall { taskid, resultDigest: digest })
    }

    #[track_caller]
    pub(crate) fn reveal(&mut self, taskid: B256, worker: usize, digest: B256) -> Done {
        self.try_reveal(taskid, worker, digest).unwrap()
    }

    pub(crate) fn try_finalize(&mut self, taskid: B256, callback: &[u8]) -> Result<Done, Refused> {
        let from = self.cast.scheduler.address();
        self.try_tx(
            from,
            self.hub,
            &hub::finalizeCall {
                taskid,
                results: RESULTS.as_bytes().into(),
                resultsCallback: callback.to_vec().into(),
            },
        )
    }

    /// All at once, of an enclave if there is one.
    pub(crate) fn alone_call(
        &self,
        taskid: B256,
        worker: usize,
        digest: B256,
        callback: &[u8],
        enclave: Option<&Actor>,
    ) -> hub::contributeAndFinalizeCall {
        let contribute = self.contribute_call(taskid, worker, digest, enclave);
        hub::contributeAndFinalizeCall {
            taskid,
            resultDigest: digest,
            results: RESULTS.as_bytes().into(),
            resultsCallback: callback.to_vec().into(),
            enclaveChallenge: contribute.enclaveChallenge,
            enclaveSign: contribute.enclaveSign,
            authorizationSign: contribute.authorizationSign,
        }
    }

    pub(crate) fn try_alone(
        &mut self,
        taskid: B256,
        worker: usize,
        digest: B256,
        callback: &[u8],
    ) -> Result<Done, Refused> {
        let call = self.alone_call(taskid, worker, digest, callback, None);
        let from = self.cast.workers[worker].address();
        self.try_tx(from, self.hub, &call)
    }

    pub(crate) fn view_deal(&self, dealid: B256) -> hub::IexecLibCore_v5::Deal {
        self.view(self.hub, &hub::viewDealCall { dealid })
    }

    pub(crate) fn view_task(&self, taskid: B256) -> hub::IexecLibCore_v5::Task {
        self.view(self.hub, &hub::viewTaskCall { taskid })
    }

    pub(crate) fn view_contribution(
        &self,
        taskid: B256,
        worker: usize,
    ) -> hub::IexecLibCore_v5::Contribution {
        let worker = self.cast.workers[worker].address();
        self.view(self.hub, &hub::viewContributionCall { taskid, worker })
    }
}

/// One RLC in nRLC.
pub(crate) const RLC: u64 = 1_000_000_000;
/// 176 bytes, as a usual request has.
pub(crate) const PARAMS: &str = r#"{"iexec_args":"-lines words","iexec_input_files":["https://files.example/books/alice-in-wonderland.txt"],"iexec_result_storage_provider":"ipfs","iexec_result_encryption":false}"#;
/// 84 bytes, as usual results have.
pub(crate) const RESULTS: &str =
    r#"{ "storage": "ipfs", "location": "/ipfs/QmR5TfFMzqSbkuFWWDL5pBbZW8ccDG3Jgjo3Kwzzz" }"#;

pub(crate) fn app_call(owner: Address, name: &str) -> app_registry::createAppCall {
    app_registry::createAppCall {
        owner,
        name: name.into(),
        appType: "WASM".into(),
        multiaddr: b"/ipfs/QmR5TfFMzqSbkuFWWDL5pBbZW8ccDG3Jgjo3Kwzzz2bRZu".as_slice().into(),
        checksum: keccak256("checksum"),
        mrenclave: Bytes::new(),
    }
}

pub(crate) fn dataset_call(owner: Address, name: &str) -> dataset_registry::createDatasetCall {
    dataset_registry::createDatasetCall {
        owner,
        name: name.into(),
        multiaddr: b"/ipfs/QmR5TfFMzqSbkuFWWDL5pBbZW8ccDG3Jgjo3Kwzzz2bRZu".as_slice().into(),
        checksum: keccak256("checksum"),
    }
}

pub(crate) fn pool_call(
    owner: Address,
    description: &str,
) -> workerpool_registry::createWorkerpoolCall {
    workerpool_registry::createWorkerpoolCall { owner, description: description.into() }
}

pub(crate) fn match_call(quartet: &Quartet) -> hub::matchOrdersCall {
    hub::matchOrdersCall {
        apporder: app_order(&quartet.app),
        datasetorder: dataset_order(&quartet.dataset),
        workerpoolorder: pool_order(&quartet.workerpool),
        requestorder: request_order(&quartet.request),
    }
}

pub(crate) fn app_order(order: &AppOrder) -> hub::IexecLibOrders_v5::AppOrder {
    hub::IexecLibOrders_v5::AppOrder {
        app: order.app,
        appprice: order.price,
        volume: order.volume,
        tag: order.tag.0,
        datasetrestrict: order.dataset_restrict,
        workerpoolrestrict: order.workerpool_restrict,
        requesterrestrict: order.requester_restrict,
        salt: order.salt,
        sign: order.sign.clone(),
    }
}

pub(crate) fn dataset_order(order: &DatasetOrder) -> hub::IexecLibOrders_v5::DatasetOrder {
    hub::IexecLibOrders_v5::DatasetOrder {
        dataset: order.dataset,
        datasetprice: order.price,
        volume: order.volume,
        tag: order.tag.0,
        apprestrict: order.app_restrict,
        workerpoolrestrict: order.workerpool_restrict,
        requesterrestrict: order.requester_restrict,
        salt: order.salt,
        sign: order.sign.clone(),
    }
}

pub(crate) fn pool_order(order: &WorkerpoolOrder) -> hub::IexecLibOrders_v5::WorkerpoolOrder {
    hub::IexecLibOrders_v5::WorkerpoolOrder {
        workerpool: order.workerpool,
        workerpoolprice: order.price,
        volume: order.volume,
        tag: order.tag.0,
        category: order.category,
        trust: order.trust,
        apprestrict: order.app_restrict,
        datasetrestrict: order.dataset_restrict,
        requesterrestrict: order.requester_restrict,
        salt: order.salt,
        sign: order.sign.clone(),
    }
}

pub(crate) fn request_order(order: &RequestOrder) -> hub::IexecLibOrders_v5::RequestOrder {
    hub::IexecLibOrders_v5::RequestOrder {
        app: order.app,
        appmaxprice: order.app_max_price,
        dataset: order.dataset,
        datasetmaxprice: order.dataset_max_price,
        workerpool: order.workerpool,
        workerpoolmaxprice: order.workerpool_max_price,
        requester: order.requester,
        volume: order.volume,
        tag: order.tag.0,
        category: order.category,
        trust: order.trust,
        beneficiary: order.beneficiary,
        callback: order.callback,
        params: order.params.clone(),
        salt: order.salt,
        sign: order.sign.clone(),
    }
}

fn config(chain_id: u64) -> CfgEnv {
    let mut config = CfgEnv::new_with_spec(SpecId::PRAGUE).with_chain_id(chain_id);
    config.disable_nonce_check = true;
    config.disable_balance_check = true;
    config.disable_eip3607 = true;
    config.tx_chain_id_check = false;
    config
}

fn outcome(result: ExecutionResult) -> Result<Done, Refused> {
    let gas = result.tx_gas_used();
    match result {
        ExecutionResult::Success { output, logs, .. } => {
            let (output, created) = match output {
                Output::Call(output) => (output, None),
                Output::Create(output, created) => (output, created),
            };
            Ok(Done { gas, output, logs, created })
        }
        ExecutionResult::Revert { output, .. } => Err(refusal(&output)),
        ExecutionResult::Halt { reason, .. } => Err(Refused::Halted(format!("{reason:?}"))),
    }
}

fn refusal(output: &Bytes) -> Refused {
    const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];
    if output.is_empty() {
        return Refused::Empty;
    }
    if let Ok(revert) = Revert::abi_decode(output) {
        return Refused::Text(revert.reason);
    }
    match output.strip_prefix(PANIC.as_slice()) {
        Some(code) => Refused::Panic(U256::from_be_slice(code).to()),
        None => Refused::Data(output.clone()),
    }
}

/// An event's name by its topic, or the topic.
pub(crate) fn event_name(log: &Log) -> String {
    thread_local! {
        static NAMES: HashMap<B256, &'static str> = [
            hub::Transfer::SIGNATURE, hub::Approval::SIGNATURE, hub::Lock::SIGNATURE, hub::Unlock::SIGNATURE,
            hub::Reward::SIGNATURE, hub::Seize::SIGNATURE, hub::SchedulerNotice::SIGNATURE,
            hub::OrdersMatched::SIGNATURE, hub::DealSponsored::SIGNATURE, hub::TaskInitialize::SIGNATURE,
            hub::TaskContribute::SIGNATURE, hub::TaskConsensus::SIGNATURE, hub::TaskReveal::SIGNATURE,
            hub::TaskReopen::SIGNATURE, hub::TaskFinalize::SIGNATURE, hub::TaskClaimed::SIGNATURE,
            hub::AccurateContribution::SIGNATURE, hub::FaultyContribution::SIGNATURE,
            boost::SchedulerNoticeBoost::SIGNATURE, boost::DealSponsoredBoost::SIGNATURE,
            boost::ResultPushedBoost::SIGNATURE,
        ]
        .into_iter()
        .map(|signature| (keccak256(signature), signature.split('(').next().unwrap_or_default()))
        .collect();
    }
    let topic = log.topics().first().copied().unwrap_or_default();
    NAMES.with(|names| {
        names.get(&topic).map_or_else(|| topic.to_string(), |name| (*name).to_owned())
    })
}
