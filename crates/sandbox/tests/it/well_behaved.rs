//! Programs that do what they should get the digest that the rules say, every time.

use std::fs;

use alloy_primitives::{B256, keccak256};
use expect_test::{Expect, expect};
use sandbox::archive::{self, Bounds};

use crate::programs::{command, printing};
use crate::{input, job, run};

#[tokio::test]
async fn a_program_that_prints_its_result() {
    let job = job(&printing("hello\n"));
    let archive = job.archive.clone();
    let outcome = run(job).await.unwrap();
    assert_eq!(&outcome.stdout[..], b"hello\n");
    // sha256 of "hello\n"
    expect!["0x5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"]
        .assert_eq(&outcome.digest.to_string());
    let verified = archive::verify(&archive, &Bounds::default()).unwrap();
    assert_eq!(verified.digest, outcome.digest, "who downloads the archive finds the same digest");
    assert_eq!(
        archive::read_file(&archive, "stdout.txt", 100, &Bounds::default()).unwrap().unwrap(),
        b"hello\n"
    );
}

#[tokio::test]
async fn the_same_job_gives_the_same_bytes_twice() {
    let program = printing("same\n");
    let (one, two) = (job(&program), job(&program));
    let (first, second) = (run(one).await.unwrap(), run(two).await.unwrap());
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.fuel_used, second.fuel_used);
    assert!(first.fuel_used > 0);
    assert_eq!(fs::read(first.archive).unwrap(), fs::read(second.archive).unwrap());
}

/// Prints `len` bytes of memory at 2048 after doing something there.
fn showing(setup: &str, len: usize) -> Vec<u8> {
    command(
        "",
        &format!(
            "{setup} (call $print (i32.const 1) (i32.const 2048) (i32.const {len})) (call $declare)"
        ),
    )
}

async fn printed(program: &[u8]) -> Vec<u8> {
    run(job(program)).await.unwrap().stdout.to_vec()
}

#[tokio::test]
async fn time_and_randomness_come_from_the_task() {
    let clock = showing("(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 2048)))", 8);
    let time = u64::from_le_bytes(printed(&clock).await.try_into().unwrap());
    assert_eq!(time / 1_000_000_000, 1_700_000_000, "the clock starts where the job says");
    let random = showing("(drop (call $random (i32.const 2048) (i32.const 32)))", 32);
    assert_eq!(printed(&random).await, printed(&random).await);
    let mut other = job(&random);
    other.seed = B256::repeat_byte(8);
    assert_ne!(run(other).await.unwrap().stdout.to_vec(), printed(&random).await);
}

#[tokio::test]
async fn sleeping_passes_virtual_time_only() {
    // One subscription: the monotonic clock, an hour from now; then read that clock.
    let nap = showing(
        "(i32.store (i32.const 3088) (i32.const 1))
         (i64.store (i32.const 3096) (i64.const 3600000000000))
         (drop (call $poll (i32.const 3072) (i32.const 3200) (i32.const 1) (i32.const 3300)))
         (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 2048)))",
        8,
    );
    let outcome = run(job(&nap)).await.unwrap();
    assert!(outcome.duration.as_secs() < 60);
    let elapsed = u64::from_le_bytes(outcome.stdout.to_vec().try_into().unwrap());
    assert_eq!(elapsed / 1_000_000_000, 3600);
}

#[tokio::test]
async fn files_show_their_names_and_sizes_but_nothing_of_the_host() {
    let list = showing(
        "(drop (call $readdir (i32.const 3) (i32.const 2048) (i32.const 1000) (i64.const 2) (i32.const 3300)))",
        200,
    );
    let job = job(&list);
    for name in ["b", "a", "c"] {
        fs::write(input(&job, name), name).unwrap();
    }
    let listing = run(job).await.unwrap().stdout;
    let names: String = (0..3).map(|n| char::from(listing[n * 25 + 24])).collect();
    assert_eq!(names, "abc", "in the order of names, after . and ..");
    assert_eq!(listing[8..16], [0; 8], "no inode");

    let stat = command(
        r#"(data (i32.const 1500) "f")"#,
        "(drop (call $stat (i32.const 3) (i32.const 0) (i32.const 1500) (i32.const 1) (i32.const 2048)))
         (call $print (i32.const 1) (i32.const 2048) (i32.const 64)) (call $declare)",
    );
    let job = crate::job(&stat);
    fs::write(input(&job, "f"), "12345").unwrap();
    let stat = run(job).await.unwrap().stdout;
    assert_eq!(stat[32..40], 5_u64.to_le_bytes());
    assert_eq!((&stat[..16], &stat[40..64]), (&[0; 16][..], &[0; 24][..]), "no inode, no times");
}

#[tokio::test]
async fn arguments_arrive_as_they_were_split() {
    let echo = command(
        "",
        "(drop (call $args_sizes (i32.const 2000) (i32.const 2004)))
         (drop (call $args_get (i32.const 2100) (i32.const 3000)))
         (call $print (i32.const 1) (i32.const 3000) (i32.load (i32.const 2004))) (call $declare)",
    );
    let mut job = job(&echo);
    job.args = sandbox::split_args(r#"--title "naïve «日本語»" '' x"#).unwrap();
    let outcome = run(job).await.unwrap();
    expect!["app.wasm|--title|naïve «日本語»||x|"]
        .assert_eq(&String::from_utf8(outcome.stdout.to_vec()).unwrap().replace('\0', "|"));
}

/// Runs a program that writes files and a computed.json of its own; shows the digest and the archive's view of it.
async fn check_declared(json: &str, files: &[(&str, &str)], want: &Expect) {
    let mut data = format!(r#"(data (i32.const 2048) "{}")"#, json.replace('"', "\\22"));
    let mut body = "(drop (call $mkdir (i32.const 4) (i32.const 60000) (i32.const 1)))".to_owned();
    data += r#"(data (i32.const 60000) "d")"#;
    for (n, (name, content)) in files.iter().enumerate() {
        let at = 4096 + n * 512;
        data += &format!(
            r#"(data (i32.const {at}) "{name}") (data (i32.const {}) "{content}")"#,
            at + 256
        );
        body += &format!(
            "(call $write (i32.const {at}) (i32.const {}) (i32.const {}) (i32.const {}))",
            name.len(),
            at + 256,
            content.len()
        );
    }
    body += &format!(
        "(call $write (i32.const 1024) (i32.const 13) (i32.const 2048) (i32.const {}))",
        json.len()
    );
    match run(job(&command(&data, &body))).await {
        Ok(outcome) => {
            let verified = archive::verify(&outcome.archive, &Bounds::default()).unwrap();
            assert_eq!(
                (verified.digest, &verified.callback_data),
                (outcome.digest, &outcome.callback_data)
            );
            want.assert_eq(&outcome.digest.to_string());
        }
        Err(failure) => want.assert_eq(&format!("{} {failure}", failure.code())),
    }
}

#[tokio::test]
async fn the_digest_follows_what_is_declared() {
    check_declared(
        r#"{"deterministic-output-path":"/iexec_out/a.txt"}"#,
        &[("a.txt", "abc")],
        &expect!["0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    )
    .await;
    let hashes = ["1", "2"].map(|text| {
        use sha2::Digest;
        sha2::Sha256::digest(text)
    });
    let directory = keccak256(hashes.concat()).to_string();
    expect!["0x593e28fb8f960824aa7ca7aaffeea6e69c6970f127666ec1583b12952c4a4fd1"]
        .assert_eq(&directory);
    check_declared(
        r#"{"deterministic-output-path":"/iexec_out/d"}"#,
        &[("d/b", "2"), ("d/a", "1")],
        &expect!["0x593e28fb8f960824aa7ca7aaffeea6e69c6970f127666ec1583b12952c4a4fd1"],
    )
    .await;
    check_declared(
        r#"{"callback-data":"0x616263"}"#,
        &[],
        &expect!["0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"],
    )
    .await;
}

#[tokio::test]
async fn what_is_declared_wrongly_is_named() {
    check_declared(
        r#"{"deterministic-output-path":"/iexec_out/none"}"#,
        &[],
        &expect!["GM-4122 computed.json declares '/iexec_out/none', but nothing is there"],
    )
    .await;
    check_declared(
        r#"{"deterministic-output-path":"/iexec_out/../x"}"#,
        &[],
        &expect![
            "GM-4123 computed.json declares '/iexec_out/../x', which is not inside /iexec_out"
        ],
    )
    .await;
    check_declared(
        "not json",
        &[],
        &expect![
            "GM-4121 /iexec_out/computed.json is not usable: expected ident at line 1 column 2"
        ],
    )
    .await;
    check_declared(
        r#"{"callback-data":"0xzz"}"#,
        &[],
        &expect![[r#"GM-4121 /iexec_out/computed.json is not usable: "callback-data" is not hexadecimal: invalid character 'z' at position 0"#]],
    )
    .await;
}
