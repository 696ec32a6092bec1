//! What workers have to spare, and what tasks wait for.

use super::*;

/// What a worker says of itself beyond the usual.
pub(super) fn capabilities(how: &[&str]) -> Capabilities {
    let gpu = wire::link::Gpu { name: "acme.example/gpu=0".to_owned(), memory_bytes: 0 };
    Capabilities {
        gpus: if how.contains(&"gpu") { vec![gpu] } else { Vec::new() },
        disk_bytes: if how.contains(&"full") { 1 } else { 0 },
        price_floor_nrlc: if how.contains(&"dear") { 101 } else { 0 },
        network: how.contains(&"online").then(|| wire::link::NetworkGrant {
            apps: vec![Address::repeat_byte(7)],
            categories: vec![3],
        }),
        region: how.iter().find_map(|word| word.strip_prefix("r:")).map(str::to_owned),
        ..Capabilities::default()
    }
}

pub(super) fn runtimes(how: &[&str]) -> Vec<String> {
    let more = how.contains(&"oci").then_some("oci");
    ["wasm", "docker"].into_iter().chain(more).map(str::to_owned).collect()
}

/// A failure that is the worker's own.
pub(super) fn broken(task_id: TaskId, code: &str) -> ToScheduler {
    let failure = RunFailure {
        failure: wire::Failure::new(code, "the disk is full", "another worker may succeed"),
        exit_code: None,
        stdout_tail: String::new(),
        stderr_tail: String::new(),
        blame: wire::link::Blame::Worker,
    };
    ToScheduler::Failed { task_id, failure }
}

fn waits(scene: &Scene) -> String {
    let wait = scene.books.waiting_for(scene.task("1/0")).unwrap();
    format!("{}: {}", wait.code, wait.text)
}

/// The books after those lines: what the last one led to, and what the first task waits for then.
fn check(lines: &[&str], expected: &Expect) {
    let mut scene = Scene::new(true);
    for line in lines {
        scene.tell(line);
    }
    let last = scene.lines.last().unwrap();
    let done = last.split_once(" -> ").unwrap().1;
    expected.assert_eq(&format!("{done}\n{}", waits(&scene)));
}

#[test]
fn workers_that_are_alike_are_told_together() {
    let mut scene = Scene::new(true);
    for joins in ["1 slots 1 gpu r:eu", "2 slots 1 r:eu", "3 slots 1 r:eu", "4 slots 1 r:a\"b"] {
        scene.tell(&format!("joins {joins}"));
    }
    let machines = scene.books.machines();
    let told = machines.iter().map(|group| (group.workers, group.gpu, group.region.as_deref()));
    // A name that would not fit a claim counts as none.
    let expected = [(2, false, Some("eu")), (1, true, Some("eu")), (1, false, None)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn whose_containers_have_a_network_is_what_workers_say() {
    let mut scene = Scene::new(true);
    let lines = ["1 slots 1 oci online", "2 slots 1 oci", "3 slots 1 online"];
    for joins in lines {
        scene.tell(&format!("joins {joins}"));
    }
    let [named, other] = [7, 8].map(Address::repeat_byte);
    let told = |app, category| {
        let pool = scene.books.network(app, category);
        (pool.workers, pool.granting, pool.silent)
    };
    // The third runs no images.
    assert_eq!(told(named, 0), (2, 1, 1));
    assert_eq!(told(other, 3), (2, 1, 1));
    assert_eq!(told(other, 0), (2, 0, 1));
}

#[test]
fn what_nobody_here_could_ever_do_is_said() {
    let gpu = ["deal 1 trust 1 size 1 gpu"];
    check(
        &gpu,
        &expect![[r#"
        [initialize 1/0]
        able-worker: a worker that can run WASM: none is connected"#]],
    );
    check(
        &[gpu[0], "joins 1 slots 1"],
        &expect![[r#"
        []
        able-worker: a worker with a GPU"#]],
    );
    check(
        &[gpu[0], "joins 1 slots 1 gpu"],
        &expect![[r#"
            [1: assign 1/0]
            computing: 1 worker(s) computing"#]],
    );
    check(
        &["deal 1 trust 1 size 1", "joins 1 slots 1 full"],
        &expect![[r#"
        []
        able-worker: a worker with 512 MB of disk"#]],
    );
    check(
        &["deal 1 trust 1 size 1", "joins 1 slots 1 dear"],
        &expect![[r#"
        []
        able-worker: a worker that works for 0.0000001 RLC"#]],
    );
}

#[test]
fn a_gpu_is_one_tasks_at_a_time() {
    check(
        &["joins 1 slots 8 gpu", "deal 1 trust 1 size 1 gpu", "deal 2 trust 1 size 2 gpu"],
        &expect![[r#"
        [initialize 2/0, initialize 2/1]
        computing: 1 worker(s) computing"#]],
    );
    let mut scene = Scene::new(true);
    scene.tell("joins 1 slots 8 gpu").tell("deal 1 trust 1 size 2 gpu");
    let second = scene.books.waiting_for(scene.task("1/1")).unwrap();
    assert_eq!(second.text, "a worker with a GPU free");
}

#[test]
fn what_nobody_could_do_is_given_up_in_time_unless_somebody_comes() {
    let waiting = ["deal 1 trust 1 size 1 gpu", "joins 1 slots 1", "wait 1", "wait 119"];
    check(
        &waiting,
        &expect![[r#"
            [initialize 1/0]
            able-worker: a worker with a GPU"#]],
    );
    let given_up = [&waiting[..], &["wait 1"]].concat();
    check(
        &given_up,
        &expect![[r#"
        []
        refund: the final deadline, to refund the requester"#]],
    );
    let mut scene = Scene::new(true);
    for line in given_up {
        scene.tell(line);
    }
    let failure = scene.books.entry(scene.task("1/0")).unwrap().task.failure().unwrap().clone();
    assert_eq!(failure.code, "GM-8501");
    assert!(failure.message.ends_with("a worker with a GPU"), "{}", failure.message);
    let helped = [&waiting[..], &["joins 2 slots 1 gpu"]].concat();
    check(
        &helped,
        &expect![[r#"
            [2: assign 1/0]
            computing: 1 worker(s) computing"#]],
    );
}

#[test]
fn a_paused_worker_gets_nothing_until_it_resumes() {
    let paused = ["joins 1 slots 4", "pauses 1", "deal 1 trust 1 size 1"];
    check(
        &paused,
        &expect![[r#"
        [initialize 1/0]
        paused-worker: a worker that is paused: its owner uses the machine"#]],
    );
    check(
        &[&paused[..], &["resumes 1"]].concat(),
        &expect![[r#"
            [1: assign 1/0]
            computing: 1 worker(s) computing"#]],
    );
}

#[test]
fn what_is_given_back_goes_to_somebody_else_at_once() {
    let begun = ["joins 1 slots 4", "deal 1 trust 1 size 1", "joins 2 slots 1", "pauses 1"];
    check(
        &[&begun[..], &["returned 1 1/0"]].concat(),
        &expect![[r#"
            [2: assign 1/0]
            computing: 1 worker(s) computing"#]],
    );
}

#[test]
fn a_machine_that_fails_is_left_alone_for_a_while_and_its_task_goes_elsewhere() {
    let broken = ["joins 1 slots 4", "deal 1 trust 1 size 1", "broke 1 1/0 GM-4191"];
    check(
        &broken,
        &expect![[r#"
        []
        resting-worker: a worker that failed (GM-4191) and is asked again in 1 s"#]],
    );
    check(
        &[&broken[..], &["joins 2 slots 1"]].concat(),
        &expect![[r#"
            [2: assign 1/0]
            computing: 1 worker(s) computing (1 worker(s) failed at it; GM-4191: the disk is full)"#]],
    );
    let again = [&broken[..], &["wait 1"]].concat();
    check(
        &again,
        &expect![[r#"
            [1: assign 1/0]
            computing: 1 worker(s) computing (1 worker(s) failed at it; GM-4191: the disk is full)"#]],
    );
    check(
        &[&again[..], &["broke 1 1/0 GM-4191"]].concat(),
        &expect![[r#"
        []
        other-worker: another worker: each that could take it had its turn (1 worker(s) failed at it; GM-4191: the disk is full)"#]],
    );
}

#[test]
fn a_strangers_broken_link_sends_nobody_to_rest() {
    check(
        &["joins 1 slots 4", "deal 1 trust 1 size 1", "broke 1 1/0 GM-4214"],
        &expect![[r#"
            [1: assign 1/0]
            computing: 1 worker(s) computing (1 worker(s) failed at it; GM-4214: the disk is full)"#]],
    );
}

#[test]
fn an_image_goes_to_those_that_run_images_once_somebody_has_looked() {
    let looked = ["joins 1 slots 4", "deal 1 trust 1 size 2 image", "broke 1 1/0 GM-4160"];
    check(
        &looked,
        &expect![[r#"
            []
            able-worker: a worker that can run container images"#]],
    );
    let mut scene = Scene::new(true);
    for line in [&looked[..], &["wait 1"]].concat() {
        scene.tell(line);
    }
    let failure = scene.books.entry(scene.task("1/0")).unwrap().task.failure().unwrap().clone();
    assert_eq!(
        failure.code, "GM-4160",
        "nobody here runs images, and whoever bought it is told at once"
    );
    check(
        &[&looked[..], &["joins 2 slots 4 oci"]].concat(),
        &expect![[r#"
            [2: assign 1/0]
            computing: 1 worker(s) computing (1 worker(s) failed at it; GM-4160: the disk is full)"#]],
    );
}

#[test]
fn output_is_kept_as_it_comes_and_only_from_who_computes() {
    let mut scene = Scene::new(true);
    scene.tell("joins 1 slots 1").tell("deal 1 trust 1 size 1").tell("joins 2 slots 1");
    scene.lines.clear();
    scene.tell("printed 1 1/0 half").tell("printed 2 1/0 lie").tell("failed 1 1/0");
    scene.tell("printed 1 1/0 late");
    expect![[r#"
        printed 1 1/0 half -> [print 1/0 of 1: half]
        printed 2 1/0 lie -> []
        failed 1 1/0 -> []
        printed 1 1/0 late -> []"#]]
    .assert_eq(&scene.lines.join("\n"));
}

#[test]
fn what_the_pool_can_do_is_what_its_workers_can() {
    let mut scene = Scene::new(true);
    assert!(scene.books.abilities().would_do(Nrlc::ZERO), "nobody said anything yet");
    scene.tell("joins 1 slots 1 dear");
    assert!(!scene.books.abilities().would_do(Nrlc::new(100)));
    assert!(scene.books.abilities().would_do(Nrlc::new(101)));
    scene.tell("joins 2 slots 1 gpu");
    assert!(scene.books.abilities().would_do(Nrlc::ZERO) && scene.books.abilities().has_gpu);
    scene.tell("drains 2");
    assert!(!scene.books.abilities().has_gpu);
}
