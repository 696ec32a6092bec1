//! The committed examples run, and give the digests that a newcomer will see on any machine.

use std::fs;
use std::path::Path;

use alloy_primitives::{Address, U256};
use expect_test::{Expect, expect};
use primitives::{DealId, TaskId};
use sandbox::{CallFacts, Job, Limits, env_for, split_args};

use crate::{job, run};

fn example(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)).unwrap()
}

/// A job as a worker would make it.
fn example_job(program: &str, args: &str, inputs: &[&str]) -> Job {
    let mut job = job(&example(program));
    let mut facts = CallFacts {
        task: TaskId::default(),
        deal: DealId::default(),
        index: U256::ZERO,
        bot_first: U256::ZERO,
        bot_size: U256::ONE,
        dataset: Address::ZERO,
        input_names: Vec::new(),
    };
    for (n, input) in inputs.iter().enumerate() {
        fs::write(job.inputs.join(format!("0x{n}")), example(input)).unwrap();
        facts.input_names.push(format!("0x{n}"));
    }
    job.args = split_args(args).unwrap();
    job.env = env_for(&facts);
    job.limits = Limits::for_timeref(60);
    job
}

async fn check(job: Job, stdout: &Expect, digest: &Expect) {
    let outcome = run(job).await.unwrap();
    stdout.assert_eq(std::str::from_utf8(&outcome.stdout).unwrap());
    digest.assert_eq(&outcome.digest.to_string());
}

#[tokio::test]
async fn wordcount() {
    let job = example_job("wordcount/wordcount.wasm", "6", &["wordcount/alice.txt"]);
    check(
        job,
        &expect![[r#"
        148410 bytes, 3587 lines, 26679 words, 2633 of them different

           1641   6.15 %  the            ################################
            872   3.27 %  and            #################
            729   2.73 %  to             ##############
            632   2.37 %  a              ############
            540   2.02 %  she            ##########
            530   1.99 %  it             ##########
    "#]],
        &expect!["0x921d69f59c47de03c7532ee665e37eb59654cfaa9801461acc709ea1197cd5a0"],
    )
    .await;
}

/// The same program as a preview 2 component, made from the example by `jco new --wasi-command` (npm
/// `@bytecodealliance/jco` 1.35.0).
const COMPONENT: &[u8] = include_bytes!("wordcount.component.wasm");

#[tokio::test]
async fn a_component_finds_the_same_as_the_module_it_was_made_from() {
    let module = example_job("wordcount/wordcount.wasm", "6", &["wordcount/alice.txt"]);
    let mut component = module.clone();
    component.program = module.program.with_file_name("component.wasm");
    component.archive = module.archive.with_file_name("component.zip");
    fs::write(&component.program, COMPONENT).unwrap();
    let (module, component) = (run(module).await.unwrap(), run(component).await.unwrap());
    assert_eq!(component.digest, module.digest);
    assert_eq!(fs::read(component.archive).unwrap(), fs::read(module.archive).unwrap());
    // Without inputs the program exits with 2: a component can only say that it failed.
    let failure = run(job(COMPONENT)).await.unwrap_err();
    assert_eq!(failure.code(), "GM-4116", "{failure}");
}

#[tokio::test]
async fn join() {
    let inputs = ["join/planets.csv", "join/orbits.csv", "join/moons.csv"];
    let job = example_job("join/join.wasm", "--on planet --keep-all --sort distance_au", &inputs);
    check(
        job,
        &expect![[r#"
        planet,radius_km,kind,distance_au,year_days,largest_moon
        Mercury,2440,rock,0.39,88,
        Venus,6052,rock,0.72,225,
        Earth,6371,"rock, with water",1.00,365,Moon
        Mars,3390,rock,1.52,687,Phobos
        Jupiter,69911,gas,5.20,4333,Ganymede
        Saturn,58232,gas,9.58,10759,Titan
        Uranus,25362,ice,19.19,30687,Titania
        Neptune,24622,ice,30.07,60190,Triton
    "#]],
        &expect!["0x6979dc39a1667b177aede6d67d0bdd52c138eb83c3f393c1fa01de11e5bf9b05"],
    )
    .await;
    let failure = run(example_job("join/join.wasm", "--on 'no such'", &inputs)).await.unwrap_err();
    expect![[r#"
        the program exited with code 2
        join: a file has no such column: no such
    "#]]
    .assert_eq(&format!("{failure}\n{}", failure.stderr_tail));
}

#[tokio::test]
async fn mandelbrot() {
    let outcome = run(example_job("mandelbrot/mandelbrot.wasm", "200 500", &[])).await.unwrap();
    expect!["0xdeaa1bf58887ed05d7d093dd12e479b7deff8f8ef469e15936a4f6f91f4a3b6f"]
        .assert_eq(&outcome.digest.to_string());
    assert!(outcome.stderr.ends_with(b"mandelbrot: 100 %\n"));
    assert_eq!(outcome.stdout.iter().filter(|byte| **byte == b'\n').count(), 24);
}
