//! The clients that people use: ethers and viem, run by Node against a chain of this process.

use std::{path::Path, process::Stdio, time::Duration};

use devchain::Config;
use tokio::process::Command;

use crate::support::*;

/// Set where a missing Node must not pass unnoticed.
const REQUIRED: &str = "GRISTMILL_REQUIRE_NODE";
/// Time for installing and for all tests. The slowest wait for ethers' caches some dozen times.
const TIME_MAX: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ethers_and_viem_are_content() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/node-chain");
    let found = Command::new("node").arg("--version").stdout(Stdio::null()).status().await;
    if !found.is_ok_and(|it| it.success()) {
        assert_ne!(std::env::var(REQUIRED).as_deref(), Ok("1"), "node is required and not found");
        eprintln!("\n*** SKIPPED: node is not installed, so ethers and viem were NOT tested ***\n");
        return;
    }
    if is_stale(&home) {
        run(Command::new("npm").args(["ci", "--ignore-scripts"]).current_dir(&home)).await;
    }
    let server = Server::start(open(Config::default())).await;
    run(Command::new("node").arg("--test").current_dir(&home).env("DEVCHAIN_URL", server.http()))
        .await;
}

/// Whether the packages have to be installed. npm leaves a copy of the lock it has followed.
fn is_stale(home: &Path) -> bool {
    let changed = |path: &str| home.join(path).metadata().and_then(|it| it.modified());
    match (changed("package-lock.json"), changed("node_modules/.package-lock.json")) {
        (Ok(wanted), Ok(installed)) => wanted > installed,
        _ => true,
    }
}

async fn run(command: &mut Command) {
    let output = tokio::time::timeout(TIME_MAX, command.kill_on_drop(true).output()).await;
    let output = output.expect("in time").expect("started");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
}
