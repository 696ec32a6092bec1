//! What operations cost, beside the original's figures for the same shapes of input.
//!
//! The table is committed as `contracts/snapshots/gas.txt`; a change shows as a difference there.
//! `UPDATE_SNAPSHOTS=1 cargo test -p bindings gas` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall as _;
use bindings::{hub, rlc};

use primitives::Tag;

use crate::boost;
use crate::settle::try_settle;
use crate::world::{Actor, Done, World, app_call, dataset_call, match_call, pool_call};

/// Operation, what the original takes, what we do.
type Row = (&'static str, u64, u64);

/// Of deployed code (EIP-170).
const CODE_LIMIT: usize = 24_576;

macro_rules! artifact {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../contracts/artifacts/", $name, ".json")))
    };
}

const CONTRACTS: &[(&str, &str)] = &[
    artifact!("Hub"),
    artifact!("HubExtension"),
    artifact!("HubViews"),
    artifact!("HubSettlement"),
    artifact!("HubBoost"),
    artifact!("HubProxy"),
    artifact!("RLC"),
    artifact!("AppRegistry"),
    artifact!("DatasetRegistry"),
    artifact!("WorkerpoolRegistry"),
    artifact!("App"),
    artifact!("Dataset"),
    artifact!("Workerpool"),
];

fn deployed_size(artifact: &str) -> usize {
    let (_, rest) = artifact.split_once("\"deployedSize\": ").unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn gas_is_as_committed() {
    let mut table = String::new();
    writeln!(
        table,
        "{:44} {:>9} {:>9} {:>6}",
        "operation, in the steady state", "official", "ours", "ratio"
    )
    .unwrap();
    for (name, official, ours) in rows() {
        let percent = ours * 100 / official;
        writeln!(table, "{name:44} {official:>9} {ours:>9} {percent:>5}%").unwrap();
    }
    writeln!(table, "\n{:44} {:>9} {:>9}", "contract", "bytes", "limit").unwrap();
    for (name, artifact) in CONTRACTS {
        writeln!(table, "{name:44} {:>9} {CODE_LIMIT:>9}", deployed_size(artifact)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/snapshots/gas.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &table).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, table, "gas changed; see the module for how to update");
}

/// Runs the usual story once to warm every account up, then once to measure.
fn rows() -> Vec<Row> {
    let mut world = World::new();
    let (app, dataset, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    world.fill_kitty(app, pool);
    for name in ["app", "data", "pool"] {
        world.create_app_named(name);
    }
    let mut story = Story { world, app, dataset, pool, salt: 0 };
    story.tell();
    story.tell()
}

struct Story {
    world: World,
    app: Address,
    dataset: Address,
    pool: Address,
    salt: u64,
}

impl Story {
    fn tell(&mut self) -> Vec<Row> {
        let mut rows = self.matching();
        rows.extend(self.tasks());
        rows.extend(self.alone());
        rows.extend(self.bags());
        rows.extend(self.boost());
        rows.extend(self.failures());
        rows.extend(self.entries());
        rows.extend(self.money());
        rows
    }

    /// Orders nobody has seen before.
    fn quartet(&mut self, with_dataset: bool) -> orders::Quartet {
        self.salt += 1;
        let dataset = if with_dataset { self.dataset } else { Address::ZERO };
        let mut quartet = self.world.quartet(self.app, dataset, self.pool);
        let salt = keccak256(self.salt.to_be_bytes());
        quartet.app.salt = salt;
        if with_dataset {
            quartet.dataset.salt = salt;
        }
        quartet.workerpool.salt = salt;
        quartet.request.salt = salt;
        quartet
    }

    fn matched(&mut self, quartet: orders::Quartet) -> Done {
        let signed = self.world.sign(quartet);
        self.world.try_match(&signed).unwrap()
    }

    fn dealid(&mut self, trust: u64, volume: u64) -> B256 {
        let mut quartet = self.quartet(false);
        quartet.request.trust = U256::from(trust);
        quartet.request.volume = U256::from(volume);
        self.world.deal(quartet)
    }

    fn initialized(&mut self, trust: u64) -> B256 {
        let dealid = self.dealid(trust, 1);
        self.world.initialize(dealid, 0)
    }

    fn matching(&mut self) -> Vec<Row> {
        let plain = self.quartet(false);
        let plain = self.matched(plain).gas;
        let with_dataset = self.quartet(true);
        let with_dataset = self.matched(with_dataset).gas;
        let mut again = self.quartet(true);
        let dataset_deal = again.clone();
        self.matched(dataset_deal);
        again.request.salt = keccak256("another request");
        again.request.salt = keccak256(self.salt.to_le_bytes());
        let again = self.matched(again).gas;
        let sponsored = self.quartet(true);
        let sponsored = self.world.sign(sponsored);
        let call = match_call(&sponsored);
        let call = hub::sponsorMatchOrdersCall {
            apporder: call.apporder,
            datasetorder: call.datasetorder,
            workerpoolorder: call.workerpoolorder,
            requestorder: call.requestorder,
        };
        let sponsor = self.world.cast.sponsor.address();
        let sponsored = self.world.tx(sponsor, self.world.hub, &call).gas;
        let mut many = self.quartet(false);
        many.request.volume = U256::from(10);
        let many = self.matched(many).gas;
        vec![
            ("matchOrders app+pool+request", 779_861, plain),
            ("matchOrders app+dataset+pool+request", 902_204, with_dataset),
            ("matchOrders, provider orders seen before", 850_916, again),
            ("sponsorMatchOrders app+dataset+pool+request", 903_474, sponsored),
            ("matchOrders, 10 tasks", 779_873, many),
        ]
    }

    fn tasks(&mut self) -> Vec<Row> {
        let truth = keccak256("truth");
        let dealid = self.dealid(1, 1);
        let scheduler = self.world.cast.scheduler.address();
        let initialize = hub::initializeCall { dealid, idx: U256::ZERO };
        let done = self.world.tx(scheduler, self.world.hub, &initialize);
        let taskid = B256::from_slice(&done.output);
        let initialize = done.gas;
        let contribute = self.world.contribute(taskid, 0, truth).gas;
        let reveal = self.world.reveal(taskid, 0, truth).gas;
        let finalize = self.world.try_finalize(taskid, b"").unwrap().gas;

        let dealid = self.dealid(1, 10);
        let array = hub::initializeArrayCall {
            dealids: vec![dealid; 10],
            idxs: (0..10).map(U256::from).collect(),
        };
        let array = self.world.tx(scheduler, self.world.hub, &array).gas;

        let taskid = self.initialized(1);
        let enclave = Actor::new("enclave");
        let call = self.world.contribute_call(taskid, 1, truth, Some(&enclave));
        let worker = self.world.cast.workers[1].address();
        let tee = self.world.tx(worker, self.world.hub, &call).gas;

        let taskid = self.initialized(5);
        let contributions: Vec<_> =
            (0..3).map(|worker| self.world.contribute(taskid, worker, truth).gas).collect();
        let reveals: Vec<_> =
            (0..3).map(|worker| self.world.reveal(taskid, worker, truth).gas).collect();
        let finalize_3 = self.world.try_finalize(taskid, b"").unwrap().gas;
        vec![
            ("initialize", 235_448, initialize),
            ("initializeArray, 10 tasks", 1_756_572, array),
            ("contribute, to consensus", 386_341, contribute),
            ("contribute of an enclave, to consensus", 417_643, tee),
            ("contribute 1/3", 307_204, contributions[0]),
            ("contribute 2/3", 290_088, contributions[1]),
            ("contribute 3/3, to consensus", 385_883, contributions[2]),
            ("reveal, only", 93_455, reveal),
            ("reveal 1/3", 93_455, reveals[0]),
            ("reveal 2/3", 56_455, reveals[1]),
            ("reveal 3/3", 56_455, reveals[2]),
            ("finalize, 1 worker", 331_936, finalize),
            ("finalize, 3 workers", 398_442, finalize_3),
        ]
    }

    fn alone(&mut self) -> Vec<Row> {
        let truth = keccak256("truth");
        let taskid = self.initialized(1);
        let plain = self.world.try_alone(taskid, 0, truth, b"").unwrap().gas;
        let taskid = self.initialized(1);
        let enclave = Actor::new("enclave");
        let call = self.world.alone_call(taskid, 0, truth, b"", Some(&enclave));
        let worker = self.world.cast.workers[0].address();
        let tee = self.world.tx(worker, self.world.hub, &call).gas;
        vec![
            ("contributeAndFinalize", 530_247, plain),
            ("contributeAndFinalize of an enclave", 581_386, tee),
        ]
    }

    /// Beside the original's `initialize` and `contributeAndFinalize` of as many tasks.
    fn bags(&mut self) -> Vec<Row> {
        const OFFICIAL: u64 = 235_448 + 530_247;
        // They would empty the kitty for what comes after.
        let before = self.world.clone();
        let rows = [(1, "settle, 1 task"), (10, "settle, 10 tasks"), (100, "settle, 100 tasks")]
            .into_iter()
            .map(|(count, name)| {
                let dealid = self.dealid(1, count);
                let indices: Vec<_> = (0..count).collect();
                let done = try_settle(&mut self.world, dealid, 0, &indices).unwrap();
                (name, OFFICIAL * count, done.gas)
            })
            .collect();
        self.world = before;
        rows
    }

    fn boost(&mut self) -> Vec<Row> {
        let mut quartet = self.quartet(true);
        quartet.app.tag = Tag(B256::with_last_byte(1));
        quartet.request.tag = quartet.app.tag;
        let signed = self.world.sign(quartet);
        let matched = boost::try_match(&mut self.world, &signed).unwrap();
        let dealid = B256::from_slice(&matched.output);
        let enclave = Actor::new("enclave");
        let call = boost::push_call(&self.world, dealid, 0, 0, b"", Some(&enclave));
        let worker = self.world.cast.workers[0].address();
        let pushed = self.world.tx(worker, self.world.hub, &call);
        vec![
            ("matchOrdersBoost app+dataset+pool+request", 492_698, matched.gas),
            ("pushResultBoost of an enclave", 172_335, pushed.gas),
        ]
    }

    fn failures(&mut self) -> Vec<Row> {
        let truth = keccak256("truth");
        let anyone = self.world.cast.requester.address();
        let none = self.initialized(1);
        let one = self.initialized(1);
        self.world.contribute(one, 0, truth);
        let reopened = self.initialized(1);
        self.world.contribute(reopened, 0, truth);
        let dealid = self.dealid(1, 9);
        let nine: Vec<_> = (0..9).map(|idx| self.world.initialize(dealid, idx)).collect();
        self.world.now += 2 * 300;
        let scheduler = self.world.cast.scheduler.address();
        let reopen =
            self.world.tx(scheduler, self.world.hub, &hub::reopenCall { taskid: reopened }).gas;
        self.world.now += 8 * 300;
        let mut claim =
            |taskid| self.world.tx(anyone, self.world.hub, &hub::claimCall { taskid }).gas;
        let (none, one) = (claim(none), claim(one));
        let nine =
            self.world.tx(anyone, self.world.hub, &hub::claimArrayCall { taskids: nine }).gas;
        vec![
            ("reopen, 1 contributor", 67_705, reopen),
            ("claim, no contributor", 160_031, none),
            ("claim, 1 contributor", 163_299, one),
            ("claimArray, 9 tasks", 434_203, nine),
        ]
    }

    fn entries(&mut self) -> Vec<Row> {
        self.salt += 1;
        // Ten letters, whatever the count.
        let name = format!("entry {:04}", self.salt);
        let (developer, data_owner, scheduler) = (
            self.world.cast.developer.address(),
            self.world.cast.data_owner.address(),
            self.world.cast.scheduler.address(),
        );
        let app = self.world.tx(developer, self.world.apps, &app_call(developer, &name)).gas;
        let dataset =
            self.world.tx(data_owner, self.world.datasets, &dataset_call(data_owner, &name)).gas;
        let pool = self.world.tx(scheduler, self.world.pools, &pool_call(scheduler, &name)).gas;
        vec![
            ("createApp", 726_575, app),
            ("createDataset", 631_156, dataset),
            ("createWorkerpool", 582_826, pool),
        ]
    }

    fn money(&mut self) -> Vec<Row> {
        let owner = self.world.cast.owner.address();
        let requester = self.world.cast.requester.address();
        let amount = U256::from(1_000_000_000u64);
        self.world.tx(
            owner,
            self.world.rlc,
            &rlc::transferCall { to: requester, amount: amount * U256::from(4) },
        );
        let approve_and_call =
            rlc::approveAndCallCall { spender: self.world.hub, amount, data: Bytes::new() };
        let easy = self.world.tx(requester, self.world.rlc, &approve_and_call).gas;
        self.world.tx(
            requester,
            self.world.rlc,
            &rlc::approveCall { spender: self.world.hub, amount },
        );
        let deposit = self.world.tx(requester, self.world.hub, &hub::depositCall { amount }).gas;
        let withdraw = self.world.tx(requester, self.world.hub, &hub::withdrawCall { amount }).gas;
        let recipient = self.world.cast.scheduler.address();
        let transfer =
            self.world.tx(requester, self.world.hub, &hub::transferCall { recipient, amount }).gas;
        let quartet = self.quartet(true);
        let signed = self.world.sign(quartet);
        let data = match_call(&signed).abi_encode().into();
        let match_too = rlc::approveAndCallCall { spender: self.world.hub, amount, data };
        let match_too = self.world.tx(requester, self.world.rlc, &match_too).gas;
        vec![
            ("RLC.approveAndCall, deposit", 70_164, easy),
            ("deposit", 65_179, deposit),
            ("withdraw", 59_401, withdraw),
            ("SRLC transfer", 41_961, transfer),
            ("RLC.approveAndCall, deposit and match", 956_252, match_too),
        ]
    }
}
