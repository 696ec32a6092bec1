//! The sandbox from outside: programs that behave, and programs that do not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod conformance;
#[cfg(target_os = "linux")]
mod containers;
#[cfg(target_os = "linux")]
mod daemon;
mod examples;
mod hostile;
#[cfg(target_os = "linux")]
mod images;
mod programs;
mod well_behaved;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use alloy_primitives::B256;
use primitives::UnixSeconds;
use sandbox::{Config, Failure, Job, Kind, Limits, Outcome, Sandbox};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A sandbox with a place for its jobs.
struct Bench {
    sandbox: Sandbox,
    dir: TempDir,
}

/// One engine for all tests, as in a worker; compiling programs is what takes time here.
fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        Bench { sandbox: Sandbox::new(&Config::new(dir.path().join("sandbox"), 4)).unwrap(), dir }
    })
}

/// A job under small limits, with nothing in `/iexec_in`.
fn job(program: &[u8]) -> Job {
    let dir = tempfile::tempdir_in(bench().dir.path()).unwrap().keep();
    fs::create_dir(dir.join("in")).unwrap();
    fs::write(dir.join("app.wasm"), program).unwrap();
    Job {
        kind: Kind::Wasm,
        program: dir.join("app.wasm"),
        pin: None,
        args: Vec::new(),
        env: Vec::new(),
        inputs: dir.join("in"),
        archive: dir.join("result.zip"),
        seed: B256::repeat_byte(7),
        clock: UnixSeconds(1_700_000_000),
        limits: Limits {
            memory_bytes: 8 << 20,
            fuel: 50_000_000,
            wall: Duration::from_secs(20),
            stdout_bytes: 64 << 10,
            stderr_bytes: 4 << 10,
            output_entries: 20,
            output_bytes: 1 << 20,
            ..Limits::for_timeref(60)
        },
        gpus: 0,
    }
}

async fn run(job: Job) -> Result<Outcome, Failure> {
    bench().sandbox.run(job, CancellationToken::new()).await
}

/// The path of a file in a job's `/iexec_in`.
fn input(job: &Job, name: &str) -> PathBuf {
    job.inputs.join(name)
}
