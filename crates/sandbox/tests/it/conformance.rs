//! What holds for every runtime: the same jobs, the same outcomes. WebAssembly is played by small hand-written modules,
//! containers by the prober.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use expect_test::{Expect, expect};
use primitives::{DealId, TaskId, UnixSeconds};
use sandbox::archive::Bounds;
use sandbox::{CallFacts, Failure, Job, Kind, Limits, Outcome, Sandbox, env_for};
use tokio_util::sync::CancellationToken;

use crate::daemon::by_daemon;
use crate::images::{by_crun, containers, prober_image};
use crate::programs::command;

/// What a program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    PrintArgs,
    PrintFlavour,
    PrintInputs,
    Exit,
    Spin,
    Allocate,
    FloodOut,
    FloodErr,
    Fill,
    Litter,
    Many,
    Crumbs,
    Deep,
    Link,
    LinkDeclaration,
    ThroughLink,
    Climb,
    ClimbBack,
    Nothing,
    EmptyResult,
    Callback,
    PrintIndex,
    Fork,
    Gigabyte,
}

/// What the result of [`Does::Gigabyte`] has: a file that is all holes.
const GIGABYTE: u64 = 1_000_000_000;

/// A runtime under test.
struct Bench {
    kind: Kind,
    sandbox: &'static Sandbox,
    dir: &'static std::path::Path,
}

fn benches() -> Vec<Bench> {
    let wasm = crate::bench();
    let mut benches =
        vec![Bench { kind: Kind::Wasm, sandbox: &wasm.sandbox, dir: wasm.dir.path() }];
    for containers in [containers(), by_crun(), by_daemon()].into_iter().flatten() {
        let (sandbox, dir) = (&containers.sandbox, containers.dir.path());
        benches.push(Bench { kind: Kind::Container, sandbox, dir });
    }
    benches
}

impl Bench {
    fn job(&self, does: Does, args: &[&str]) -> Job {
        let dir = tempfile::tempdir_in(self.dir).unwrap().keep();
        fs::create_dir(dir.join("in")).unwrap();
        for (name, content) in [("a", "first "), ("b", "second")] {
            fs::write(dir.join("in").join(name), content).unwrap();
        }
        let (program, first) = self.program(does, &dir);
        Job {
            kind: self.kind,
            program,
            pin: None,
            args: first.iter().chain(args).map(|arg| (*arg).to_owned()).collect(),
            env: vec![("FLAVOUR".to_owned(), "lemon = «citron»".to_owned().into())],
            inputs: dir.join("in"),
            archive: dir.join("result.zip"),
            seed: B256::repeat_byte(7),
            clock: UnixSeconds(1_700_000_000),
            limits: Limits {
                memory_bytes: 64 << 20,
                fuel: u64::MAX,
                stdout_bytes: 64 << 10,
                stderr_bytes: 4 << 10,
                output_entries: 20,
                output_bytes: 1 << 20,
                processes: 32,
                ..Limits::for_timeref(300)
            },
            gpus: 0,
        }
    }

    /// The program, and what its arguments begin with.
    fn program(&self, does: Does, dir: &std::path::Path) -> (PathBuf, &'static [&'static str]) {
        match self.kind {
            Kind::Wasm => {
                fs::write(dir.join("app.wasm"), module(does)).unwrap();
                (dir.join("app.wasm"), &[])
            }
            Kind::Container => (prober_image().to_owned(), verb(does)),
        }
    }

    async fn run(&self, job: Job) -> Result<Outcome, Failure> {
        self.sandbox.run(job, CancellationToken::new()).await
    }
}

fn verb(does: Does) -> &'static [&'static str] {
    match does {
        Does::PrintArgs => &["args"],
        Does::PrintFlavour => &["env", "FLAVOUR"],
        Does::PrintInputs => &["inputs", "a", "b"],
        Does::Exit => &["exit", "3"],
        Does::Spin => &["spin"],
        Does::Allocate => &["allocate"],
        Does::FloodOut => &["flood", "stdout"],
        Does::FloodErr => &["flood", "stderr"],
        Does::Fill => &["fill"],
        Does::Litter => &["litter"],
        Does::Many => &["many"],
        Does::Crumbs => &["crumbs"],
        Does::Deep => &["deep"],
        Does::Link => &["link"],
        Does::LinkDeclaration => &["link-declaration"],
        Does::ThroughLink => &["through-link"],
        Does::Climb => &["climb", "/iexec_out/../etc/passwd"],
        Does::ClimbBack => &["climb", "/iexec_out/a/../../iexec_out/empty"],
        Does::Nothing => &["nothing"],
        Does::EmptyResult => &["empty"],
        Does::Callback => &["call"],
        Does::PrintIndex => &["env", "IEXEC_TASK_INDEX"],
        Does::Fork => &["fork"],
        Does::Gigabyte => &["gigabyte"],
    }
}

fn module(does: Does) -> Vec<u8> {
    let flood = |fd: u32| {
        format!(
            "(loop $again (call $print (i32.const {fd}) (i32.const 2048) (i32.const 4096)) (br $again))"
        )
    };
    let declaring = |json: &str, more: &str| {
        let data = format!(r#"(data (i32.const 2048) "{}")"#, json.replace('"', "\\22"));
        let write = format!(
            "{more} (call $write (i32.const 1024) (i32.const 13) (i32.const 2048) (i32.const {}))",
            json.len()
        );
        let names = r#"(data (i32.const 1500) "empty") (data (i32.const 1600) "../iexec_in") (data (i32.const 1620) "link")"#;
        command(&format!("{data} {names}"), &write)
    };
    match does {
        // From behind the program's own name, each with a bar before it.
        Does::PrintArgs => command(
            "",
            "(local $at i32) (local $end i32)
             (drop (call $args_sizes (i32.const 2000) (i32.const 2004)))
             (drop (call $args_get (i32.const 2100) (i32.const 3000)))
             (local.set $at (i32.load (i32.const 2104)))
             (local.set $end (i32.add (i32.const 2999) (i32.load (i32.const 2004))))
             (loop $again
               (if (i32.lt_u (local.get $at) (local.get $end)) (then
                 (if (i32.eqz (i32.load8_u (local.get $at))) (then (i32.store8 (local.get $at) (i32.const 124))))
                 (local.set $at (i32.add (local.get $at) (i32.const 1)))
                 (br $again))))
             (call $print (i32.const 1) (i32.load (i32.const 2104))
               (i32.sub (local.get $end) (i32.load (i32.const 2104))))
             (call $declare)",
        ),
        // The one variable there is, from behind its name.
        Does::PrintFlavour => command(
            "",
            "(drop (call $env_sizes (i32.const 2000) (i32.const 2004)))
             (drop (call $env_get (i32.const 2100) (i32.const 3000)))
             (call $print (i32.const 1) (i32.const 3008) (i32.sub (i32.load (i32.const 2004)) (i32.const 9)))
             (call $declare)",
        ),
        Does::PrintInputs => command(
            r#"(data (i32.const 1500) "a") (data (i32.const 1501) "b")"#,
            "(call $copy (i32.const 1500)) (call $copy (i32.const 1501)) (call $declare)",
        ),
        Does::Exit => command(
            r#"(data (i32.const 1500) "on purpose")"#,
            "(call $print (i32.const 2) (i32.const 1500) (i32.const 10)) (call $exit (i32.const 3))",
        ),
        Does::Spin => command("", "(loop $again (br $again))"),
        Does::Allocate => {
            command("", "(loop $again (drop (memory.grow (i32.const 16))) (br $again))")
        }
        Does::FloodOut => command("", &flood(1)),
        Does::FloodErr => command("", &flood(2)),
        Does::Fill => command(
            r#"(data (i32.const 1500) "large")"#,
            "(local $fd i32) (local.set $fd (call $open (i32.const 1500) (i32.const 5)))
             (loop $again (call $print (local.get $fd) (i32.const 2048) (i32.const 4096)) (br $again))",
        ),
        Does::Litter => {
            let one = |n: u32| {
                format!(
                    "(i32.store8 (i32.const 1500) (i32.const {}))
                     (drop (call $mkdir (i32.const 4) (i32.const 1500) (i32.const 1)))",
                    97 + n
                )
            };
            command("", &format!("{} (call $declare)", (0..25).map(one).collect::<String>()))
        }
        // Eighteen files of 64 KiB, of which there is 1 MiB.
        Does::Many => {
            let one = |n: u32| {
                format!(
                    "(i32.store8 (i32.const 1500) (i32.const {}))
                     (call $write (i32.const 1500) (i32.const 1) (i32.const 2048) (i32.const 65536))",
                    97 + n
                )
            };
            command("", &format!("{} (call $declare)", (0..18).map(one).collect::<String>()))
        }
        // Each file has the number of those before it for its name.
        Does::Crumbs => command(
            "",
            "(local $n i32)
             (loop $again
               (i32.store (i32.const 1500) (i32.or (i32.const 0x41414141)
                 (i32.and (local.get $n) (i32.const 0x0e0e0e0e))))
               (i32.store8 (i32.const 1504) (i32.add (i32.const 97)
                 (i32.rem_u (local.get $n) (i32.const 26))))
               (drop (call $fd_close (call $open (i32.const 1500) (i32.const 5))))
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br $again))",
        ),
        Does::Deep => {
            // d, d/d, d/d/d, …, as far as they are made.
            let name = format!(r#"(data (i32.const 4096) "{}")"#, "d/".repeat(30));
            let one = |n: usize| {
                let bytes = 2 * n - 1;
                format!("(drop (call $mkdir (i32.const 4) (i32.const 4096) (i32.const {bytes})))")
            };
            command(&name, &format!("{} (call $declare)", (1..=30).map(one).collect::<String>()))
        }
        Does::Link => command(
            r#"(data (i32.const 1500) "link") (data (i32.const 1600) "computed.json")"#,
            "(call $declare)
             (drop (call $symlink (i32.const 1600) (i32.const 13) (i32.const 4) (i32.const 1500) (i32.const 4)))",
        ),
        Does::LinkDeclaration => command(
            r#"(data (i32.const 1500) "elsewhere") (data (i32.const 1600) "computed.json")"#,
            "(drop (call $symlink (i32.const 1500) (i32.const 9) (i32.const 4) (i32.const 1600) (i32.const 13)))",
        ),
        Does::ThroughLink => declaring(
            r#"{"deterministic-output-path":"/iexec_out/link/a"}"#,
            r#"(drop (call $symlink (i32.const 1600) (i32.const 11) (i32.const 4) (i32.const 1620) (i32.const 4)))"#,
        ),
        Does::Climb => declaring(r#"{"deterministic-output-path":"/iexec_out/../etc/passwd"}"#, ""),
        Does::ClimbBack => declaring(
            r#"{"deterministic-output-path":"/iexec_out/a/../../iexec_out/empty"}"#,
            "",
        ),
        Does::Nothing => command("", ""),
        Does::EmptyResult => declaring(
            r#"{"deterministic-output-path":"/iexec_out/empty"}"#,
            "(drop (call $fd_close (call $open (i32.const 1500) (i32.const 5))))",
        ),
        Does::Callback => declaring(r#"{"callback-data":"0x616263"}"#, ""),
        // The third variable's value, from behind its name: FLAVOUR, IEXEC_TASK_ID, IEXEC_DEAL_ID, IEXEC_TASK_INDEX.
        Does::PrintIndex => command(
            "",
            "(drop (call $env_sizes (i32.const 2000) (i32.const 2004)))
             (drop (call $env_get (i32.const 2100) (i32.const 3000)))
             (call $print (i32.const 1)
               (i32.add (i32.load (i32.const 2112)) (i32.const 17)) (i32.const 1))
             (call $declare)",
        ),
        // There is nothing to fork with.
        Does::Fork => command(
            r#"(data (i32.const 1500) "held")"#,
            "(call $print (i32.const 1) (i32.const 1500) (i32.const 4)) (call $declare)",
        ),
        Does::Gigabyte => declaring(
            r#"{"deterministic-output-path":"/iexec_out/empty"}"#,
            &format!(
                "(drop (call $truncate (call $open (i32.const 1500) (i32.const 5)) (i64.const {GIGABYTE})))"
            ),
        ),
    }
}

/// The same job on every runtime.
async fn check(does: Does, args: &[&str], change: impl Fn(&mut Job), want: &Expect) {
    for bench in benches() {
        let mut job = bench.job(does, args);
        change(&mut job);
        match bench.run(job).await {
            Ok(outcome) => {
                let printed = String::from_utf8_lossy(&outcome.stdout);
                want.assert_eq(&format!("{} {printed}", outcome.digest));
            }
            Err(failure) => {
                // What others print when they are held back is the system's words.
                let said = if does == Does::Exit { &*failure.stderr_tail } else { "" };
                let told = format!("{} {failure} [{}] {said}", failure.code(), failure.blame());
                want.assert_eq(told.trim_end());
            }
        }
    }
}

#[tokio::test]
async fn what_a_program_is_given() {
    let args = ["--title", "naïve «日本語»", "", "it's \"so\"", "$HOME *"];
    check(
        Does::PrintArgs,
        &args,
        |_| {},
        &expect![[
            r#"0xea6e9a113fab0f9b631cfbdc3736f3c16b1a372daa683246a0a78a67e153c337 --title|naïve «日本語»||it's "so"|$HOME *"#
        ]],
    )
    .await;
    check(
        Does::PrintFlavour,
        &[],
        |_| {},
        &expect![
            "0x09404f788f07028236bd35a11e11bf804dcc2a76be0707ae052cc98d385c49c1 lemon = «citron»"
        ],
    )
    .await;
    check(
        Does::PrintInputs,
        &[],
        |_| {},
        &expect!["0x92088ec140fc553e4b1ede202edccb65a807bbf8a38d765a3ad38013c0f13688 first second"],
    )
    .await;
}

#[tokio::test]
async fn what_a_program_may_declare() {
    check(
        Does::EmptyResult,
        &[],
        |_| {},
        &expect!["0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 "],
    )
    .await;
    check(
        Does::Callback,
        &[],
        |_| {},
        &expect!["0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45 "],
    )
    .await;
    check(
        Does::Nothing,
        &[],
        |_| {},
        &expect!["GM-4120 the program wrote no /iexec_out/computed.json [app]"],
    )
    .await;
    check(Does::Climb, &[], |_| {}, &expect!["GM-4123 computed.json declares '/iexec_out/../etc/passwd', which is not inside /iexec_out [app]"]).await;
    check(Does::ClimbBack, &[], |_| {}, &expect!["GM-4123 computed.json declares '/iexec_out/a/../../iexec_out/empty', which is not inside /iexec_out [app]"]).await;
    check(
        Does::LinkDeclaration,
        &[],
        |_| {},
        &expect!["GM-4124 /iexec_out/computed.json is neither a file nor a directory [app]"],
    )
    .await;
    check(
        Does::ThroughLink,
        &[],
        |_| {},
        &expect!["GM-4124 /iexec_out/link is neither a file nor a directory [app]"],
    )
    .await;
    check(
        Does::Link,
        &[],
        |_| {},
        &expect!["GM-4124 /iexec_out/link is neither a file nor a directory [app]"],
    )
    .await;
}

#[tokio::test]
async fn what_a_program_may_not_take() {
    check(
        Does::Exit,
        &[],
        |_| {},
        &expect!["GM-4116 the program exited with code 3 [app] on purpose"],
    )
    .await;
    let soon = |job: &mut Job| job.limits.wall = Duration::from_secs(2);
    check(Does::Spin, &[], soon, &expect!["GM-4112 the program ran out of time after 2s [app]"])
        .await;
    check(
        Does::Allocate,
        &[],
        |_| {},
        &expect!["GM-4111 the program ran out of memory: its limit is 67108864 bytes [app]"],
    )
    .await;
    check(
        Does::FloodOut,
        &[],
        |_| {},
        &expect!["GM-4114 the program wrote more than 65536 bytes to stdout [app]"],
    )
    .await;
    check(
        Does::FloodErr,
        &[],
        |_| {},
        &expect!["GM-4114 the program wrote more than 4096 bytes to stderr [app]"],
    )
    .await;
    check(
        Does::Fill,
        &[],
        |_| {},
        &expect!["GM-4114 the program wrote more than 1048576 bytes to /iexec_out [app]"],
    )
    .await;
    check(
        Does::Litter,
        &[],
        |_| {},
        &expect!["GM-4115 the program made more than 20 files and directories in /iexec_out [app]"],
    )
    .await;
    let too_much = expect!["GM-4114 the program wrote more than 1048576 bytes to /iexec_out [app]"];
    check(Does::Many, &[], |_| {}, &too_much).await;
    let too_many =
        expect!["GM-4115 the program made more than 20 files and directories in /iexec_out [app]"];
    check(Does::Crumbs, &[], |_| {}, &too_many).await;
    check(Does::Deep, &["30"], |_| {}, &too_many).await;
}

#[tokio::test]
async fn a_cancelled_run_stops() {
    for bench in benches() {
        let cancel = CancellationToken::new();
        let running = bench.sandbox.run(bench.job(Does::Spin, &[]), cancel.clone());
        cancel.cancel();
        assert_eq!(running.await.unwrap_err().code(), "GM-4190");
    }
}

#[tokio::test]
async fn each_task_of_a_bag_is_told_its_own_index() {
    for index in [2_u64, 7] {
        let facts = CallFacts {
            task: TaskId::default(),
            deal: DealId::default(),
            index: U256::from(index),
            bot_first: U256::from(2),
            bot_size: U256::from(6),
            dataset: Address::ZERO,
            input_names: vec!["a".to_owned(), "b".to_owned()],
        };
        let given = |job: &mut Job| job.env.extend(env_for(&facts));
        let mut printed = Vec::new();
        for bench in benches() {
            let mut job = bench.job(Does::PrintIndex, &[]);
            given(&mut job);
            printed.push(String::from_utf8(bench.run(job).await.unwrap().stdout.to_vec()).unwrap());
        }
        assert!(printed.iter().all(|it| *it == index.to_string()), "{printed:?}");
    }
}

#[tokio::test]
async fn a_fork_bomb_is_held_and_gone_with_its_program() {
    check(
        Does::Fork,
        &[],
        |_| {},
        &expect!["0xc20dea4d876b5b8fb0a1814b43017030cea6d4ac30b2d9ae71b404d2faba49b5 held"],
    )
    .await;
    #[cfg(target_os = "linux")]
    while are_children_left() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a process runs that the prober made of itself.
#[cfg(target_os = "linux")]
fn are_children_left() -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut words = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    words.any(|words| words.starts_with(b"/proc/self/exe\0sleep"))
}

/// The most memory that this process ever had.
#[cfg(target_os = "linux")]
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_result_of_a_gigabyte_is_packed_and_checked_in_flat_memory() {
    let before = peak_bytes();
    for bench in benches() {
        let mut job = bench.job(Does::Gigabyte, &[]);
        job.limits.output_bytes = Limits::for_timeref(300).output_bytes;
        let outcome = bench.run(job).await.unwrap();
        assert!(outcome.archive_bytes < GIGABYTE / 100, "{}", outcome.archive_bytes);
        let verified = sandbox::archive::verify(&outcome.archive, &Bounds::default()).unwrap();
        assert_eq!(verified.digest, outcome.digest);
    }
    // Other tests run meanwhile, so this is no measure of what one result takes, only of what it does not.
    let grown = peak_bytes() - before;
    assert!(grown < GIGABYTE / 2, "{grown} bytes more");
}
