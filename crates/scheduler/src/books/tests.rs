use chain::AssetTerms;
use expect_test::{Expect, expect};
use primitives::{CategoryId, Nrlc, ResultDigest, ResultHash, Tag};
use wire::link::{RunFailure, ToScheduler};

use super::*;

mod spare;

const POOL: Address = Address::repeat_byte(3);
const START: u64 = 1_000;

fn worker(number: u8) -> Address {
    Address::with_last_byte(number)
}

fn hash(name: &str) -> ResultHash {
    ResultHash(B256::repeat_byte(name.as_bytes()[0]))
}

fn deal(number: u8, block: u64, trust: u64, size: u64, how: &[&str]) -> Arc<DealSpec> {
    let nobody = AssetTerms { pointer: Address::ZERO, owner: Address::ZERO, price: Nrlc::ZERO };
    let deal = chain::Deal {
        app: nobody,
        dataset: nobody,
        workerpool: AssetTerms { pointer: POOL, price: Nrlc::new(100), ..nobody },
        trust: U256::from(trust),
        category: CategoryId::new(0),
        tag: if how.contains(&"gpu") { Tag::GPU } else { Tag::NONE },
        requester: Address::ZERO,
        beneficiary: Address::ZERO,
        callback: Address::ZERO,
        params: String::new(),
        start: UnixSeconds(START),
        first: U256::ZERO,
        size: U256::from(size),
        worker_stake: Nrlc::ZERO,
        scheduler_reward_ratio: U256::ONE,
        sponsor: Address::ZERO,
    };
    Arc::new(DealSpec {
        id: DealId(B256::repeat_byte(number)),
        block,
        deal,
        run_seconds: 300,
        app_kind: "WASM".into(),
        runtime: if how.contains(&"image") { "docker".into() } else { "wasm".into() },
        app_location: String::new(),
        command_line: String::new(),
        batch: how.contains(&"batch"),
        enclave: how.contains(&"enclave").then_some(Enclave::SimulatedTdx),
        repeatable: true,
    })
}

/// Books that are told things in short and tell in short what they want done.
struct Scene {
    books: Books,
    block: u64,
    seconds: u64,
    deals: Vec<Arc<DealSpec>>,
    lines: Vec<String>,
}

impl Scene {
    fn new(live: bool) -> Self {
        let limits = Limits { open_tasks_max: 3, ..Limits::default() };
        let mut books = Books::new(POOL, limits);
        if live {
            assert_eq!(books.go_live(UnixSeconds(START)), []);
        }
        Self { books, block: 0, seconds: 0, deals: Vec::new(), lines: Vec::new() }
    }

    /// `1/0` is the first task of deal 1.
    fn task(&self, name: &str) -> TaskId {
        let (deal, index) = name.split_once('/').unwrap();
        let deal: u8 = deal.parse().unwrap();
        let spec = self.deals.iter().find(|spec| spec.id.0[0] == deal).unwrap();
        spec.task_id(U256::from(index.parse::<u64>().unwrap()))
    }

    fn name(&self, task: TaskId) -> String {
        for spec in &self.deals {
            for index in 0..10u64 {
                if spec.task_id(U256::from(index)) == task {
                    return format!("{}/{index}", spec.id.0[0]);
                }
            }
        }
        "?".to_owned()
    }

    fn mine(&mut self, deals: Vec<Arc<DealSpec>>, events: Vec<MarketEvent>) -> Vec<Effect> {
        let event = |event| ChainEvent { event, tx: B256::ZERO, log_index: 0 };
        let events: Vec<_> = events.into_iter().map(event).collect();
        let now = UnixSeconds(START + self.seconds);
        let block = BlockNews { number: self.block, timestamp: now, events: &events };
        self.books.block(now, &block, deals)
    }

    fn tell(&mut self, line: &str) -> &mut Self {
        let words: Vec<_> = line.split_whitespace().collect();
        let now = UnixSeconds(START + self.seconds);
        let who = |word: &str| worker(word.parse().unwrap());
        let number = |word: &str| word.parse::<u64>().unwrap();
        let effects = match words.as_slice() {
            ["deal", name, "trust", trust, "size", size, how @ ..] => {
                self.block += 1;
                let (trust, size) = (number(trust), number(size));
                let its = deal(name.parse().unwrap(), self.block, trust, size, how);
                self.deals.push(Arc::clone(&its));
                self.mine(vec![its], Vec::new())
            }
            ["joins", name, "slots", slots, how @ ..] => {
                let capabilities = Capabilities {
                    cpus: 64,
                    memory_bytes: 1 << 40,
                    slots: slots.parse().unwrap(),
                    runtimes: spare::runtimes(how),
                    settles: how.contains(&"settles"),
                    tee: how.contains(&"enclave").then_some(Enclave::SimulatedTdx),
                    ..spare::capabilities(how)
                };
                self.books.joined(now, who(name), 1, capabilities, U256::ZERO, &[])
            }
            ["leaves", name] => self.books.left(now, who(name), 1),
            ["computed", name, task, what] => {
                let said = ToScheduler::Computed {
                    task_id: self.task(task),
                    result_hash: hash(what),
                    stdout_tail: String::new(),
                    stderr_tail: String::new(),
                };
                self.books.said(now, who(name), said)
            }
            ["uploaded", name, task] => {
                let said = ToScheduler::Uploaded {
                    task_id: self.task(task),
                    location: "/ipfs/itsResult".to_owned(),
                    callback_data: Bytes::new(),
                };
                self.books.said(now, who(name), said)
            }
            ["failed", name, task] => {
                let failure = RunFailure {
                    failure: wire::Failure::new("GM-1001", "the program trapped", "mend it"),
                    exit_code: Some(3),
                    stdout_tail: String::new(),
                    stderr_tail: String::new(),
                    blame: wire::link::Blame::App,
                };
                let said = ToScheduler::Failed { task_id: self.task(task), failure };
                self.books.said(now, who(name), said)
            }
            ["unsettled", name, tasks @ ..] => {
                let task_ids = tasks.iter().map(|task| self.task(task)).collect();
                let said = ToScheduler::Unsettled { task_ids, reason: "reverted".into() };
                self.books.said(now, who(name), said)
            }
            ["challenged", task] => {
                let challenge = Address::repeat_byte(0xc);
                self.books.answered(now, self.task(task), Event::Challenged { challenge })
            }
            ["pauses", name] => {
                let reason = "its owner uses the machine".to_owned();
                self.books.said(now, who(name), ToScheduler::Paused { reason })
            }
            ["resumes", name] => self.books.said(now, who(name), ToScheduler::Resumed {}),
            ["returned", name, task] => {
                let said =
                    ToScheduler::Returned { task_id: self.task(task), reason: String::new() };
                self.books.said(now, who(name), said)
            }
            ["printed", name, task, text] => {
                let stream = wire::link::LogStream::Stdout;
                let (task_id, text) = (self.task(task), (*text).to_owned());
                let said = ToScheduler::Log { task_id, stream, text, missed: 0 };
                self.books.said(now, who(name), said)
            }
            ["broke", name, task, code] => {
                let said = spare::broken(self.task(task), code);
                self.books.said(now, who(name), said)
            }
            ["drains", name] => self.books.said(now, who(name), ToScheduler::Draining {}),
            ["live"] => self.books.go_live(now),
            ["wait", seconds] => {
                self.seconds += number(seconds);
                self.books.tick(UnixSeconds(START + self.seconds))
            }
            // All that a settlement does to a task, in one block.
            ["settled", task, name, what] => {
                self.block += 1;
                let (task, worker, hash) = (self.task(task), who(name), hash(what));
                let events = vec![
                    MarketEvent::TaskInitialized { task, workerpool: POOL },
                    MarketEvent::Contributed { task, worker, hash },
                    MarketEvent::Consensus { task, hash },
                    MarketEvent::Revealed { task, worker, digest: ResultDigest(B256::ZERO) },
                    MarketEvent::Finalized { task, results: Bytes::new() },
                ];
                self.mine(Vec::new(), events)
            }
            ["rewind", block] => self.books.rewound(now, number(block)),
            [event, task, rest @ ..] => {
                self.block += 1;
                let id = self.task(task);
                let event = match (*event, rest) {
                    ("initialized", []) => {
                        MarketEvent::TaskInitialized { task: id, workerpool: POOL }
                    }
                    ("contributed", [name, what]) => {
                        MarketEvent::Contributed { task: id, worker: who(name), hash: hash(what) }
                    }
                    ("consensus", [what]) => MarketEvent::Consensus { task: id, hash: hash(what) },
                    ("revealed", [name]) => MarketEvent::Revealed {
                        task: id,
                        worker: who(name),
                        digest: ResultDigest(B256::ZERO),
                    },
                    ("finalized", []) => MarketEvent::Finalized { task: id, results: Bytes::new() },
                    other => panic!("what is {other:?}"),
                };
                self.mine(Vec::new(), vec![event])
            }
            other => panic!("what is {other:?}"),
        };
        let now = UnixSeconds(START + self.seconds);
        let settlements = self.books.settlements(now);
        let effects = effects.iter().chain(&settlements);
        let shown: Vec<_> = effects.map(|effect| self.shown(effect)).collect();
        self.lines.push(format!("{line} -> [{}]", shown.join(", ")));
        self
    }

    fn shown(&self, effect: &Effect) -> String {
        match effect {
            Effect::Tell { worker, message } => match message {
                ToWorker::Assign { task_id, .. } => {
                    format!("{}: assign {}", worker[19], self.name(*task_id))
                }
                ToWorker::Reveal { task_id } => {
                    format!("{}: reveal {}", worker[19], self.name(*task_id))
                }
                ToWorker::Release { task_id } => {
                    format!("{}: release {}", worker[19], self.name(*task_id))
                }
                ToWorker::Contribute { .. } | ToWorker::Settle { .. } => {
                    panic!("signing is not for the books")
                }
            },
            Effect::Grant { worker, task, challenge } => {
                let enclave = if challenge.is_zero() { "" } else { " to enclave" };
                format!("{}: grant {}{enclave}", worker[19], self.name(*task))
            }
            Effect::AssignEnclave { worker, task, .. } => {
                format!("{}: assign {} to enclave", worker[19], self.name(*task))
            }
            Effect::Settle { worker, tasks, .. } => {
                let names: Vec<_> = tasks.iter().map(|(task, _)| self.name(*task)).collect();
                format!("{}: settle {}", worker[19], names.join(" "))
            }
            Effect::AskChallenge { task, .. } => format!("ask challenge {}", self.name(*task)),
            Effect::Initialize { task, .. } => format!("initialize {}", self.name(*task)),
            Effect::Finalize { task, .. } => format!("finalize {}", self.name(*task)),
            Effect::Reopen { task } => format!("reopen {}", self.name(*task)),
            Effect::Claim { task } => format!("claim {}", self.name(*task)),
            Effect::Print { task, worker, text, .. } => {
                format!("print {} of {}: {text}", self.name(*task), worker[19])
            }
        }
    }
}

fn check(live: bool, script: &str, expected: &Expect) {
    let mut scene = Scene::new(live);
    for line in script.lines().map(str::trim) {
        scene.tell(line);
    }
    expected.assert_eq(&scene.lines.join("\n"));
}

#[test]
fn a_deal_is_initialised_and_given_out_at_once() {
    check(
        true,
        "joins 1 slots 2
         deal 1 trust 1 size 2
         computed 1 1/0 A
         initialized 1/0
         initialized 1/1
         contributed 1/0 1 A
         consensus 1/0 A
         finalized 1/0
         leaves 1
         joins 2 slots 1
         computed 2 1/1 A
         finalized 1/1",
        &expect![[r#"
            joins 1 slots 2 -> []
            deal 1 trust 1 size 2 -> [initialize 1/0, initialize 1/1, 1: assign 1/0, 1: assign 1/1]
            computed 1 1/0 A -> []
            initialized 1/0 -> [1: grant 1/0]
            initialized 1/1 -> []
            contributed 1/0 1 A -> []
            consensus 1/0 A -> []
            finalized 1/0 -> [1: release 1/0]
            leaves 1 -> []
            joins 2 slots 1 -> [2: assign 1/1]
            computed 2 1/1 A -> [2: grant 1/1]
            finalized 1/1 -> [2: release 1/1]"#]],
    );
}

#[test]
fn a_window_moves_on_as_tasks_end() {
    check(
        true,
        "deal 1 trust 1 size 5
         deal 2 trust 1 size 1
         finalized 1/1
         finalized 1/0
         finalized 1/2
         finalized 1/3
         finalized 2/0
         finalized 1/4",
        &expect![[r#"
            deal 1 trust 1 size 5 -> [initialize 1/0, initialize 1/1, initialize 1/2]
            deal 2 trust 1 size 1 -> []
            finalized 1/1 -> [initialize 2/0]
            finalized 1/0 -> [initialize 1/3]
            finalized 1/2 -> [initialize 1/4]
            finalized 1/3 -> []
            finalized 2/0 -> []
            finalized 1/4 -> []"#]],
    );
}

#[test]
fn deals_take_turns_whatever_their_size() {
    check(
        true,
        "deal 1 trust 1 size 9
         deal 2 trust 1 size 9
         joins 1 slots 1
         finalized 1/0
         finalized 1/1
         finalized 1/2
         finalized 2/0",
        &expect![[r#"
            deal 1 trust 1 size 9 -> [initialize 1/0, initialize 1/1, initialize 1/2]
            deal 2 trust 1 size 9 -> []
            joins 1 slots 1 -> [1: assign 1/0]
            finalized 1/0 -> [1: release 1/0, initialize 2/0, 1: assign 1/1]
            finalized 1/1 -> [1: release 1/1, initialize 1/3, 1: assign 2/0]
            finalized 1/2 -> [initialize 1/4]
            finalized 2/0 -> [1: release 2/0, initialize 2/1, 1: assign 1/3]"#]],
    );
}

#[test]
fn a_bag_of_a_broken_program_stops_nobody() {
    check(
        true,
        "joins 1 slots 1
         deal 1 trust 1 size 5
         failed 1 1/0
         failed 1 1/1
         failed 1 1/2
         deal 2 trust 1 size 1",
        &expect![[r#"
            joins 1 slots 1 -> []
            deal 1 trust 1 size 5 -> [initialize 1/0, initialize 1/1, initialize 1/2, 1: assign 1/0]
            failed 1 1/0 -> [initialize 1/3, 1: assign 1/1]
            failed 1 1/1 -> [initialize 1/4, 1: assign 1/2]
            failed 1 1/2 -> [1: assign 1/3]
            deal 2 trust 1 size 1 -> [initialize 2/0]"#]],
    );
}

#[test]
fn a_worker_that_leaves_or_drains_gets_nothing_more() {
    check(
        true,
        "joins 1 slots 1
         deal 1 trust 1 size 2
         drains 1
         joins 2 slots 1
         leaves 1
         joins 1 slots 3",
        &expect![[r#"
            joins 1 slots 1 -> []
            deal 1 trust 1 size 2 -> [initialize 1/0, initialize 1/1, 1: assign 1/0]
            drains 1 -> []
            joins 2 slots 1 -> [2: assign 1/1]
            leaves 1 -> []
            joins 1 slots 3 -> [1: assign 1/0]"#]],
    );
}

#[test]
fn the_past_is_taken_in_silence() {
    check(
        false,
        "joins 1 slots 1
         deal 1 trust 1 size 5
         deal 2 trust 4 size 1
         initialized 1/0
         initialized 1/4
         contributed 1/0 7 A
         consensus 1/0 A
         finalized 1/0
         finalized 1/4
         wait 10
         live",
        &expect![[r#"
            joins 1 slots 1 -> []
            deal 1 trust 1 size 5 -> []
            deal 2 trust 4 size 1 -> []
            initialized 1/0 -> []
            initialized 1/4 -> []
            contributed 1/0 7 A -> []
            consensus 1/0 A -> []
            finalized 1/0 -> []
            finalized 1/4 -> []
            wait 10 -> []
            live -> [initialize 2/0, initialize 1/1, initialize 1/2, 1: assign 2/0]"#]],
    );
}

#[test]
fn what_the_chain_takes_back_is_done_again() {
    check(
        true,
        "joins 1 slots 2
         deal 1 trust 1 size 1
         initialized 1/0
         computed 1 1/0 A
         finalized 1/0
         rewind 2
         computed 1 1/0 A
         finalized 1/0
         rewind 1
         rewind 0
         deal 1 trust 1 size 1",
        &expect![[r#"
            joins 1 slots 2 -> []
            deal 1 trust 1 size 1 -> [initialize 1/0, 1: assign 1/0]
            initialized 1/0 -> []
            computed 1 1/0 A -> [1: grant 1/0]
            finalized 1/0 -> [1: release 1/0]
            rewind 2 -> [1: release 1/0, 1: assign 1/0]
            computed 1 1/0 A -> [1: grant 1/0]
            finalized 1/0 -> [1: release 1/0]
            rewind 1 -> [1: release 1/0, initialize 1/0, 1: assign 1/0]
            rewind 0 -> [1: release 1/0]
            deal 1 trust 1 size 1 -> [initialize 1/0, 1: assign 1/0]"#]],
    );
}

#[test]
fn what_a_task_waits_for_is_said_in_words() {
    let mut scene = Scene::new(true);
    let waits = |scene: &Scene| scene.books.waiting_for(scene.task("1/0")).unwrap().text;
    scene.tell("deal 1 trust 4 size 1");
    assert_eq!(waits(&scene), "a worker that can run WASM: none is connected");
    assert_eq!(scene.books.waiting().unwrap().0, 1);
    scene.tell("joins 1 slots 1");
    assert_eq!(waits(&scene), "1 free worker(s), 1 worker(s) computing");
    scene.tell("joins 2 slots 1");
    assert_eq!(waits(&scene), "2 worker(s) computing");
    scene.tell("computed 1 1/0 A").tell("computed 2 1/0 A");
    assert_eq!(waits(&scene), "its initialisation on chain");
    scene.tell("initialized 1/0");
    assert_eq!(waits(&scene), "2 contribution(s) on chain");
    scene.tell("contributed 1/0 1 A").tell("contributed 1/0 2 A").tell("consensus 1/0 A");
    assert_eq!(waits(&scene), "2 reveal(s) and an upload");
    scene.tell("finalized 1/0");
    assert_eq!(waits(&scene), "nothing");
}

#[test]
fn a_bag_is_settled_in_batches_that_gather_meanwhile() {
    check(
        true,
        "joins 1 slots 3 settles
         deal 1 trust 1 size 6 batch
         computed 1 1/0 A
         computed 1 1/1 A
         computed 1 1/2 A
         settled 1/0 1 A
         settled 1/1 1 A
         computed 1 1/3 A
         settled 1/2 1 A
         computed 1 1/4 A
         settled 1/3 1 A
         computed 1 1/5 A
         settled 1/4 1 A
         settled 1/5 1 A",
        &expect![[r#"
            joins 1 slots 3 settles -> []
            deal 1 trust 1 size 6 batch -> [1: assign 1/0, 1: assign 1/1, 1: assign 1/2]
            computed 1 1/0 A -> [1: settle 1/0]
            computed 1 1/1 A -> []
            computed 1 1/2 A -> []
            settled 1/0 1 A -> [1: release 1/0, 1: assign 1/3, 1: settle 1/1 1/2]
            settled 1/1 1 A -> [1: release 1/1, 1: assign 1/4]
            computed 1 1/3 A -> []
            settled 1/2 1 A -> [1: release 1/2, 1: assign 1/5, 1: settle 1/3]
            computed 1 1/4 A -> []
            settled 1/3 1 A -> [1: release 1/3, 1: settle 1/4]
            computed 1 1/5 A -> []
            settled 1/4 1 A -> [1: release 1/4, 1: settle 1/5]
            settled 1/5 1 A -> [1: release 1/5]"#]],
    );
}

/// How many tasks each settlement has that is told while the worker computes so many tasks.
fn settled_in(size: u64, computed: u64) -> Vec<usize> {
    let mut market = Scene::new(true);
    market.books.limits = Limits::default();
    market.tell("joins 1 slots 3 settles");
    market.tell(&format!("deal 1 trust 1 size {size} batch"));
    for index in 0..computed {
        market.tell(&format!("computed 1 1/{index} A"));
    }
    market.tell("wait 1");
    let settles = market.lines.iter().filter_map(|line| line.split_once("1: settle "));
    settles.map(|(_, tasks)| tasks.split(',').next().unwrap().split(' ').count()).collect()
}

#[test]
fn a_large_bag_is_not_settled_one_by_one() {
    // The first is under way when the others come.
    assert_eq!(settled_in(99, 60), [1]);
    assert_eq!(settled_in(500, 60), [50]);
    // What is not enough does not wait for ever.
    assert_eq!(settled_in(500, 7), [7]);
}

#[test]
fn deals_take_turns_and_replication_goes_on() {
    check(
        true,
        "joins 1 slots 9 settles
         joins 2 slots 9 settles
         deal 1 trust 1 size 1 batch
         deal 2 trust 1 size 1 batch
         deal 3 trust 4 size 1
         leaves 2
         joins 2 slots 9 settles
         computed 1 1/0 A
         computed 1 2/0 A
         computed 2 2/0 A
         initialized 3/0
         computed 1 3/0 A
         computed 2 3/0 A
         settled 1/0 1 A
         settled 2/0 1 A",
        &expect![[r#"
            joins 1 slots 9 settles -> []
            joins 2 slots 9 settles -> []
            deal 1 trust 1 size 1 batch -> [2: assign 1/0]
            deal 2 trust 1 size 1 batch -> [1: assign 2/0]
            deal 3 trust 4 size 1 -> [initialize 3/0, 1: assign 3/0, 2: assign 3/0]
            leaves 2 -> [1: assign 1/0]
            joins 2 slots 9 settles -> [2: assign 3/0]
            computed 1 1/0 A -> [1: settle 1/0]
            computed 1 2/0 A -> []
            computed 2 2/0 A -> []
            initialized 3/0 -> []
            computed 1 3/0 A -> []
            computed 2 3/0 A -> [1: grant 3/0, 2: grant 3/0]
            settled 1/0 1 A -> [1: release 1/0, 1: settle 2/0]
            settled 2/0 1 A -> [1: release 2/0]"#]],
    );
}

#[test]
fn a_settlement_that_fails_is_tried_once_more_and_then_each_task_goes_by_itself() {
    check(
        true,
        "joins 1 slots 2 settles
         deal 1 trust 1 size 2 batch
         computed 1 1/0 A
         computed 1 1/1 A
         unsettled 1 1/0
         unsettled 1 1/0 1/1
         unsettled 1 1/0
         initialized 1/0
         initialized 1/1",
        &expect![[r#"
            joins 1 slots 2 settles -> []
            deal 1 trust 1 size 2 batch -> [1: assign 1/0, 1: assign 1/1]
            computed 1 1/0 A -> [1: settle 1/0]
            computed 1 1/1 A -> []
            unsettled 1 1/0 -> [1: settle 1/0 1/1]
            unsettled 1 1/0 1/1 -> [initialize 1/0, 1: settle 1/1]
            unsettled 1 1/0 -> []
            initialized 1/0 -> [1: grant 1/0]
            initialized 1/1 -> []"#]],
    );
}

#[test]
fn a_worker_without_luck_in_settling_is_not_asked_any_more() {
    check(
        true,
        "joins 1 slots 3 settles
         deal 1 trust 1 size 6 batch
         computed 1 1/0 A
         unsettled 1 1/0
         computed 1 1/1 A
         unsettled 1 1/0
         unsettled 1 1/1
         computed 1 1/2 A
         initialized 1/2",
        &expect![[r#"
            joins 1 slots 3 settles -> []
            deal 1 trust 1 size 6 batch -> [1: assign 1/0, 1: assign 1/1, 1: assign 1/2]
            computed 1 1/0 A -> [1: settle 1/0]
            unsettled 1 1/0 -> [1: settle 1/0]
            computed 1 1/1 A -> []
            unsettled 1 1/0 -> [initialize 1/0, 1: settle 1/1]
            unsettled 1 1/1 -> [initialize 1/1]
            computed 1 1/2 A -> [initialize 1/2]
            initialized 1/2 -> [1: grant 1/2]"#]],
    );
}

#[test]
fn a_worker_that_cannot_settle_is_served_as_ever() {
    check(
        true,
        "joins 1 slots 1
         deal 1 trust 1 size 1 batch
         initialized 1/0
         computed 1 1/0 A",
        &expect![[r#"
            joins 1 slots 1 -> []
            deal 1 trust 1 size 1 batch -> [initialize 1/0, 1: assign 1/0]
            initialized 1/0 -> []
            computed 1 1/0 A -> [1: grant 1/0]"#]],
    );
}

#[test]
fn what_was_brought_before_a_reorganisation_need_not_be_brought_again() {
    check(
        true,
        "joins 1 slots 1
         joins 2 slots 1
         deal 1 trust 2 size 1
         initialized 1/0
         computed 1 1/0 A
         computed 2 1/0 A
         contributed 1/0 1 A
         contributed 1/0 2 A
         consensus 1/0 A
         revealed 1/0 1
         uploaded 1 1/0
         revealed 1/0 2
         finalized 1/0
         rewind 2
         contributed 1/0 2 A
         consensus 1/0 A
         revealed 1/0 2
         finalized 1/0
         rewind 0
         deal 1 trust 2 size 1
         initialized 1/0
         contributed 1/0 1 A
         consensus 1/0 A
         revealed 1/0 1",
        &expect![[r#"
            joins 1 slots 1 -> []
            joins 2 slots 1 -> []
            deal 1 trust 2 size 1 -> [initialize 1/0, 2: assign 1/0, 1: assign 1/0]
            initialized 1/0 -> []
            computed 1 1/0 A -> []
            computed 2 1/0 A -> [1: grant 1/0]
            contributed 1/0 1 A -> []
            contributed 1/0 2 A -> []
            consensus 1/0 A -> [1: reveal 1/0, 2: reveal 1/0]
            revealed 1/0 1 -> []
            uploaded 1 1/0 -> []
            revealed 1/0 2 -> [finalize 1/0]
            finalized 1/0 -> [1: release 1/0, 2: release 1/0]
            rewind 2 -> [1: release 1/0, 2: release 1/0, 2: assign 1/0, 1: assign 1/0]
            contributed 1/0 2 A -> []
            consensus 1/0 A -> [1: release 1/0, 2: reveal 1/0]
            revealed 1/0 2 -> [finalize 1/0]
            finalized 1/0 -> [2: release 1/0]
            rewind 0 -> [1: release 1/0, 2: release 1/0]
            deal 1 trust 2 size 1 -> [initialize 1/0, 2: assign 1/0, 1: assign 1/0]
            initialized 1/0 -> []
            contributed 1/0 1 A -> []
            consensus 1/0 A -> [2: release 1/0, 1: reveal 1/0]
            revealed 1/0 1 -> [finalize 1/0]"#]],
    );
}

#[test]
fn whose_contribution_stands_when_the_chain_goes_back_is_not_let_go() {
    check(
        true,
        "joins 1 slots 1
         joins 2 slots 1
         deal 1 trust 4 size 1
         initialized 1/0
         computed 1 1/0 A
         computed 2 1/0 A
         contributed 1/0 1 A
         contributed 1/0 2 A
         consensus 1/0 A
         rewind 3
         computed 2 1/0 A
         contributed 1/0 2 A
         consensus 1/0 A",
        &expect![[r#"
            joins 1 slots 1 -> []
            joins 2 slots 1 -> []
            deal 1 trust 4 size 1 -> [initialize 1/0, 2: assign 1/0, 1: assign 1/0]
            initialized 1/0 -> []
            computed 1 1/0 A -> []
            computed 2 1/0 A -> [1: grant 1/0, 2: grant 1/0]
            contributed 1/0 1 A -> []
            contributed 1/0 2 A -> []
            consensus 1/0 A -> [1: reveal 1/0, 2: reveal 1/0]
            rewind 3 -> [2: release 1/0, 2: assign 1/0]
            computed 2 1/0 A -> [2: grant 1/0]
            contributed 1/0 2 A -> []
            consensus 1/0 A -> [1: reveal 1/0, 2: reveal 1/0]"#]],
    );
}

#[test]
fn a_score_that_the_chain_takes_back_counts_for_nothing() {
    let mut scene = Scene::new(true);
    scene.tell("joins 1 slots 1");
    let who = worker(1);
    let mut scores = Vec::new();
    let mut mine = |scene: &mut Scene, event| {
        scene.block += 1;
        scene.mine(Vec::new(), vec![event]);
        scores.push(scene.books.score(who).unwrap().to::<u64>());
    };
    let task = TaskId(B256::ZERO);
    for _ in 0..20 {
        mine(&mut scene, MarketEvent::AccurateContribution { worker: who, task });
    }
    mine(&mut scene, MarketEvent::FaultyContribution { worker: who, task });
    assert_eq!((scores[19], scores[20]), (20, 13));
    for block in [20, 7, 0] {
        scene.tell(&format!("rewind {block}"));
        assert_eq!(scene.books.score(who), Some(U256::from(block)));
    }
}

#[test]
fn whoever_is_lost_while_settling_holds_nothing_up() {
    check(
        true,
        "joins 1 slots 1 settles
         deal 1 trust 1 size 1 batch
         computed 1 1/0 A
         leaves 1
         joins 1 slots 1 settles
         computed 1 1/0 A
         wait 601
         computed 1 1/0 A
         settled 1/0 1 A",
        &expect![[r#"
            joins 1 slots 1 settles -> []
            deal 1 trust 1 size 1 batch -> [1: assign 1/0]
            computed 1 1/0 A -> [1: settle 1/0]
            leaves 1 -> []
            joins 1 slots 1 settles -> [1: assign 1/0]
            computed 1 1/0 A -> [1: settle 1/0]
            wait 601 -> [1: release 1/0]
            computed 1 1/0 A -> [1: settle 1/0]
            settled 1/0 1 A -> [1: release 1/0]"#]],
    );
    // After a restart of the scheduler the worker is asked again and says what it has.
    check(
        false,
        "deal 1 trust 1 size 2 batch
         settled 1/1 1 A
         live
         joins 1 slots 1 settles
         computed 1 1/0 A
         settled 1/0 1 A",
        &expect![[r#"
            deal 1 trust 1 size 2 batch -> []
            settled 1/1 1 A -> []
            live -> []
            joins 1 slots 1 settles -> [1: assign 1/0]
            computed 1 1/0 A -> [1: settle 1/0]
            settled 1/0 1 A -> [1: release 1/0]"#]],
    );
    check(
        true,
        "joins 1 slots 1 settles
         deal 1 trust 1 size 1 batch
         computed 1 1/0 A
         settled 1/0 1 A
         rewind 1
         computed 1 1/0 A
         settled 1/0 1 A",
        &expect![[r#"
            joins 1 slots 1 settles -> []
            deal 1 trust 1 size 1 batch -> [1: assign 1/0]
            computed 1 1/0 A -> [1: settle 1/0]
            settled 1/0 1 A -> [1: release 1/0]
            rewind 1 -> [1: release 1/0, 1: assign 1/0]
            computed 1 1/0 A -> [1: settle 1/0]
            settled 1/0 1 A -> [1: release 1/0]"#]],
    );
}

#[test]
fn enclaves_are_given_tasks_once_these_have_a_key() {
    check(
        true,
        "joins 1 slots 1
         joins 2 slots 1 enclave
         deal 1 trust 1 size 1 enclave
         initialized 1/0
         challenged 1/0
         computed 2 1/0 A
         finalized 1/0",
        &expect![[r#"
            joins 1 slots 1 -> []
            joins 2 slots 1 enclave -> []
            deal 1 trust 1 size 1 enclave -> [initialize 1/0]
            initialized 1/0 -> [ask challenge 1/0]
            challenged 1/0 -> [2: assign 1/0 to enclave]
            computed 2 1/0 A -> [2: grant 1/0 to enclave]
            finalized 1/0 -> [2: release 1/0]"#]],
    );
    let mut scene = Scene::new(true);
    scene.tell("joins 1 slots 1").tell("deal 1 trust 1 size 1 enclave");
    scene.tell("initialized 1/0").tell("challenged 1/0");
    let wait = scene.books.waiting_for(scene.task("1/0")).unwrap();
    assert_eq!(wait.code, "able-worker");
    assert_eq!(wait.text, "a worker that can run WASM in an enclave");
}

#[test]
fn finished_tasks_are_forgotten_in_time() {
    let mut scene = Scene::new(true);
    scene.books.limits.kept_tasks_max = 2;
    scene.tell("deal 1 trust 1 size 4");
    for index in 0..4 {
        scene.tell(&format!("finalized 1/{index}"));
    }
    let known: Vec<_> = (0..4)
        .filter(|index| scene.books.entry(scene.task(&format!("1/{index}"))).is_some())
        .collect();
    assert_eq!(known, [2, 3]);
    assert_eq!((scene.books.unfinished_count(), scene.books.oldest_unfinished_block()), (0, None));
}
