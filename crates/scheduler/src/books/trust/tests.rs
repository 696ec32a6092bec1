//! A task whose answer is known: nothing that a worker is told differs, and what it says is held against the answer.

use std::sync::Arc;

use alloy_primitives::Bytes;
use chain::{AssetTerms, ChainEvent, MarketEvent};
use primitives::{CategoryId, DealId, Nrlc, ResultDigest, Tag};
use wire::link::{Capabilities, ToScheduler, ToWorker};

use super::*;
use crate::books::BlockNews;
use crate::config::Limits;
use crate::reputation::Record;

const POOL: Address = Address::repeat_byte(3);
const NOW: UnixSeconds = UnixSeconds(1_000);
const RIGHT: ResultDigest = ResultDigest(B256::repeat_byte(1));
const WRONG: ResultDigest = ResultDigest(B256::repeat_byte(2));

fn worker(number: u8) -> Address {
    Address::with_last_byte(number)
}

/// The same question, whatever the number.
fn deal(number: u8, trust: u64) -> Arc<DealSpec> {
    let nobody = AssetTerms { pointer: Address::ZERO, owner: Address::ZERO, price: Nrlc::ZERO };
    let deal = chain::Deal {
        app: nobody,
        dataset: nobody,
        workerpool: AssetTerms { pointer: POOL, ..nobody },
        trust: U256::from(trust),
        category: CategoryId::new(0),
        tag: Tag::NONE,
        requester: Address::ZERO,
        beneficiary: Address::ZERO,
        callback: Address::ZERO,
        params: "{}".into(),
        start: NOW,
        first: U256::ZERO,
        size: U256::ONE,
        worker_stake: Nrlc::ZERO,
        scheduler_reward_ratio: U256::ONE,
        sponsor: Address::ZERO,
    };
    Arc::new(DealSpec {
        id: DealId(B256::repeat_byte(number)),
        block: number.into(),
        deal,
        run_seconds: 300,
        app_kind: "WASM".into(),
        runtime: "wasm".into(),
        app_location: String::new(),
        command_line: String::new(),
        batch: false,
        enclave: None,
        repeatable: true,
    })
}

struct Scene {
    books: Books,
    block: u64,
}

impl Scene {
    /// Two workers whom nobody has reason to check: one task in a million, and none of those here.
    fn of_the_proven() -> Self {
        Self::of_workers_confirmed(10_000_000)
    }

    fn of_workers_confirmed(times: u64) -> Self {
        let mut record = Record::default();
        record.streak = times;
        let known = [1, 2].map(|number| (worker(number), record.clone()));
        let ledger = Ledger::kept(Record::default(), known, 0);
        let books = Books::new(POOL, Limits::default());
        let mut books = books.trusting(Policy::of_millionths(1), B256::ZERO, ledger);
        books.go_live(NOW);
        for number in [1, 2] {
            let capabilities = Capabilities {
                cpus: 4,
                memory_bytes: 1 << 32,
                slots: 4,
                runtimes: vec!["wasm".into()],
                ..Capabilities::default()
            };
            books.joined(NOW, worker(number), 1, capabilities, U256::ZERO, &[]);
        }
        Self { books, block: 0 }
    }

    fn mine(&mut self, deals: Vec<Arc<DealSpec>>, events: Vec<MarketEvent>) -> Vec<Effect> {
        self.block += 1;
        let event = |event| ChainEvent { event, tx: B256::ZERO, log_index: 0 };
        let events: Vec<_> = events.into_iter().map(event).collect();
        let block = BlockNews { number: self.block, timestamp: NOW, events: &events };
        self.books.block(NOW, &block, deals)
    }

    /// A deal of that trust is made and begun; its task, and what workers are told.
    fn open(&mut self, number: u8, trust: u64) -> (TaskId, Vec<(Address, ToWorker)>) {
        let deal = deal(number, trust);
        let task = deal.task_id(U256::ZERO);
        let told = assigned(&self.mine(vec![deal], Vec::new()));
        self.mine(Vec::new(), vec![MarketEvent::TaskInitialized { task, workerpool: POOL }]);
        (task, told)
    }

    fn computed(&mut self, task: TaskId, by: Address, digest: ResultDigest) -> Vec<Effect> {
        let said = ToScheduler::Computed {
            task_id: task,
            result_hash: verdict::result_hash(task, digest),
            stdout_tail: String::new(),
            stderr_tail: String::new(),
        };
        self.books.said(NOW, by, said)
    }

    /// These are let in, and it ends.
    fn end(&mut self, task: TaskId, by: &[Address], digest: ResultDigest) {
        let hash = verdict::result_hash(task, digest);
        let contributed =
            |worker: &Address| MarketEvent::Contributed { task, worker: *worker, hash };
        let revealed = |worker: &Address| MarketEvent::Revealed { task, worker: *worker, digest };
        let mut events: Vec<_> = by.iter().map(contributed).collect();
        events.push(MarketEvent::Consensus { task, hash });
        events.extend(by.iter().map(revealed));
        events.push(MarketEvent::Finalized { task, results: Bytes::new() });
        self.mine(Vec::new(), events);
    }

    fn canaries(&self) -> (u64, u64) {
        let pool = self.books.ledger().pool();
        (pool.canaries_passed, pool.canaries_failed)
    }
}

fn assigned(effects: &[Effect]) -> Vec<(Address, ToWorker)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell { worker, message: message @ ToWorker::Assign { .. } } => {
            Some((*worker, message.clone()))
        }
        _ => None,
    });
    told.collect()
}

fn is_let_in(effects: &[Effect], by: Address) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Grant { worker, .. } if *worker == by))
}

#[test]
fn an_answer_that_is_known_catches_whoever_says_something_else() {
    let mut scene = Scene::of_the_proven();
    let (task, told) = scene.open(1, 4);
    let both: Vec<_> = told.iter().map(|(worker, _)| *worker).collect();
    assert_eq!(both.len(), 2);
    for worker in &both {
        scene.computed(task, *worker, RIGHT);
    }
    scene.end(task, &both, RIGHT);
    assert_eq!(scene.canaries(), (0, 0), "nothing was known before");

    // Somebody asks the same and wants one worker only: right is right at once.
    let (task, told) = scene.open(2, 1);
    let [(alone, _)] = told[..] else { panic!("{told:?}") };
    let effects = scene.computed(task, alone, RIGHT);
    assert!(is_let_in(&effects, alone) && assigned(&effects).is_empty(), "{effects:?}");
    scene.end(task, &[alone], RIGHT);
    assert_eq!(scene.canaries(), (1, 0));
    assert_eq!(scene.books.ledger().worker(alone).confirmed, 1, "by the first task alone");

    // And wrong is not let in: another is asked, in the very words.
    let (task, told) = scene.open(3, 1);
    let [(liar, ref words)] = told[..] else { panic!("{told:?}") };
    let effects = scene.computed(task, liar, WRONG);
    let asked = assigned(&effects);
    let [(other, ref same)] = asked[..] else { panic!("{effects:?}") };
    assert!(!is_let_in(&effects, liar) && other != liar);
    assert_eq!(format!("{words:?}"), format!("{same:?}"));
}

#[test]
fn whoever_is_confirmed_and_whoever_confirms_are_asked_at_once_in_the_same_words() {
    let mut scene = Scene::of_workers_confirmed(0);
    let (task, told) = scene.open(1, 1);
    let [(first, ref words), (second, ref same)] = told[..] else { panic!("{told:?}") };
    assert_eq!(format!("{words:?}"), format!("{same:?}"));
    scene.computed(task, first, RIGHT);
    let effects = scene.computed(task, second, RIGHT);
    let let_in = [first, second].map(|worker| is_let_in(&effects, worker));
    assert_eq!(let_in.iter().filter(|it| **it).count(), 1, "one of them is paid");
}
