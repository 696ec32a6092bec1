//! Programs that try to take more than they may: each ends quickly, with its own name.

use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use tokio_util::sync::CancellationToken;

use crate::programs::{command, printing};
use crate::{bench, job, run};

async fn check(program: &[u8], want: &Expect) {
    let begun = Instant::now();
    match run(job(program)).await {
        Ok(outcome) => want.assert_eq(&format!("ended well: {}", outcome.digest)),
        Err(failure) => {
            want.assert_eq(&format!("{} {failure} [{}]", failure.code(), failure.blame()));
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn files_that_are_no_programs() {
    check(b"", &expect!["GM-4151 the program is not WebAssembly: it is an empty file [app]"]).await;
    check(b"#!/bin/sh\n", &expect!["GM-4151 the program is not WebAssembly: it is a script [app]"])
        .await;
    check(
        b"\0asm\x01\0\0\0\xff",
        &expect!["GM-4152 the program cannot be compiled: failed to parse WebAssembly module: malformed section id (at offset 0x8) [app]"],
    )
    .await;
    check(
        &wat::parse_str("(module)").unwrap(),
        &expect!["GM-4154 the program has no entry point: a WASI command exports '_start' or wasi:cli/run [app]"],
    )
    .await;
    check(
        &wat::parse_str(r#"(module (import "env" "alert" (func)) (func (export "_start")))"#).unwrap(),
        &expect!["GM-4153 the program imports 'env::alert', which is not part of WASI preview 1 or 2 [app]"],
    )
    .await;
    check(
        &wat::parse_str("(component)").unwrap(),
        &expect!["GM-4154 the program has no entry point: a WASI command exports '_start' or wasi:cli/run [app]"],
    )
    .await;
}

#[tokio::test]
async fn a_spin_meets_fuel_or_the_clock() {
    let spin = command("", "(loop $again (br $again))");
    check(
        &spin,
        &expect!["GM-4113 the program ran out of fuel after 50000000 units of work [app]"],
    )
    .await;
    let mut timed = job(&spin);
    timed.limits.fuel = u64::MAX;
    timed.limits.wall = Duration::from_millis(100);
    let failure = run(timed).await.unwrap_err();
    expect!["GM-4112 the program ran out of time after 100ms"]
        .assert_eq(&format!("{} {failure}", failure.code()));
}

#[tokio::test]
async fn memory_is_not_taken_without_end() {
    check(
        &command("", "(loop $again (drop (memory.grow (i32.const 16))) (br $again))"),
        &expect!["GM-4111 the program ran out of memory: its limit is 8388608 bytes [app]"],
    )
    .await;
    check(
        &wat::parse_str(r#"(module (memory 1000) (func (export "_start")))"#).unwrap(),
        &expect!["GM-4111 the program ran out of memory: its limit is 8388608 bytes [app]"],
    )
    .await;
    check(
        &command("", "(loop $again (drop (table.grow $table (ref.null func) (i32.const 100000))) (br $again))"),
        &expect!["GM-4111 the program ran out of memory: its limit is 8388608 bytes [app]"],
    )
    .await;
}

#[tokio::test]
async fn output_is_not_taken_without_end() {
    check(
        &command("", "(loop $again (call $print (i32.const 1) (i32.const 2048) (i32.const 4096)) (br $again))"),
        &expect!["GM-4114 the program wrote more than 65536 bytes to stdout [app]"],
    )
    .await;
    check(
        &command("", "(loop $again (call $print (i32.const 2) (i32.const 2048) (i32.const 4096)) (br $again))"),
        &expect!["GM-4114 the program wrote more than 4096 bytes to stderr [app]"],
    )
    .await;
    // A sparse file costs nothing to make; it still counts for what it is, while the program runs.
    let mut sparse = job(&command(
        r#"(data (i32.const 1500) "big")"#,
        "(drop (call $truncate (call $open (i32.const 1500) (i32.const 3)) (i64.const 1000000000000)))
         (loop $again (br $again))",
    ));
    sparse.limits.fuel = u64::MAX;
    let failure = run(sparse).await.unwrap_err();
    expect!["GM-4114 the program wrote more than 1048576 bytes to /iexec_out"]
        .assert_eq(&format!("{} {failure}", failure.code()));
    let mut many = String::new();
    for n in 0..25 {
        many += &format!(
            "(i32.store8 (i32.const 1500) (i32.const {}))
             (drop (call $mkdir (i32.const 4) (i32.const 1500) (i32.const 1)))",
            97 + n
        );
    }
    check(
        &command("", &format!("{many} (call $declare)")),
        &expect!["GM-4115 the program made more than 20 files and directories in /iexec_out [app]"],
    )
    .await;
}

#[tokio::test]
async fn links_and_foreign_files_do_not_leave_the_sandbox() {
    check(
        &command(
            r#"(data (i32.const 1500) "stdout2.txt") (data (i32.const 1600) "computed.json")"#,
            "(call $declare)
             (drop (call $symlink (i32.const 1600) (i32.const 13) (i32.const 4) (i32.const 1500) (i32.const 11)))",
        ),
        &expect!["GM-4124 /iexec_out/stdout2.txt is neither a file nor a directory [app]"],
    )
    .await;
    // Writing where only reading is allowed, and climbing out: both refused by the host, told by the exit code.
    check(
        &command(
            r#"(data (i32.const 1500) "x") (data (i32.const 1600) "../../../../etc/passwd")"#,
            "(call $exit (i32.add
               (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 1500) (i32.const 1)
                 (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 12)))
               (i32.add (i32.const 40)
                 (i32.eqz (call $path_open (i32.const 4) (i32.const 0) (i32.const 1600) (i32.const 22)
                   (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 12))))))",
        ),
        &expect!["GM-4116 the program exited with code 40 [app]"],
    )
    .await;
}

#[tokio::test]
async fn failures_of_the_program_itself() {
    check(
        &command("", "unreachable"),
        &expect![
            "GM-4110 the program trapped: wasm trap: wasm `unreachable` instruction executed [app]"
        ],
    )
    .await;
    check(
        &command("", "(call $declare) (call $exit (i32.const 3))"),
        &expect!["GM-4116 the program exited with code 3 [app]"],
    )
    .await;
    check(
        &command("", ""),
        &expect!["GM-4120 the program wrote no /iexec_out/computed.json [app]"],
    )
    .await;
    check(
        &command("(func $deep (call $deep))", "(call $deep)"),
        &expect!["GM-4110 the program trapped: wasm trap: call stack exhausted [app]"],
    )
    .await;
}

#[tokio::test]
async fn what_was_printed_before_a_failure_is_kept() {
    let program = command(
        r#"(data (i32.const 1500) "why")"#,
        "(call $print (i32.const 2) (i32.const 1500) (i32.const 3)) unreachable",
    );
    assert_eq!(run(job(&program)).await.unwrap_err().stderr_tail, "why");
}

#[tokio::test]
async fn a_cancelled_run_stops_at_once() {
    let mut spin = job(&command("", "(loop $again (br $again))"));
    spin.limits.fuel = u64::MAX;
    let cancel = CancellationToken::new();
    let running = tokio::spawn(bench().sandbox.run(spin, cancel.clone()));
    cancel.cancel();
    let failure = running.await.unwrap().unwrap_err();
    assert_eq!(failure.code(), "GM-4190");
    assert!(failure.is_retryable());
}

#[tokio::test]
async fn the_program_cannot_pass_off_its_own_stdout() {
    // It writes stdout.txt itself; the runner's capture takes its place.
    let program = command(
        r#"(data (i32.const 1500) "stdout.txt") (data (i32.const 1600) "forged") (data (i32.const 1700) "real")"#,
        "(call $write (i32.const 1500) (i32.const 10) (i32.const 1600) (i32.const 6))
         (call $print (i32.const 1) (i32.const 1700) (i32.const 4)) (call $declare)",
    );
    assert_eq!(
        run(job(&program)).await.unwrap().digest,
        run(job(&printing("real"))).await.unwrap().digest
    );
}
