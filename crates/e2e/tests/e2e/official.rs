//! The official clients: the unmodified CLI and library that people already have, run by Node against a market.
//!
//! What they do and what is expected of it is in `e2e/official`; `cargo xtask compat` makes docs/compatibility.md from
//! what comes out here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::{House, HouseConfig};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{gristmill, list, text};

/// Set where a missing Node must not pass unnoticed.
const REQUIRED: &str = "GRISTMILL_REQUIRE_NODE";
/// Where the outcome of each row is to be kept, for whoever makes a page of it.
const RESULTS: &str = "OFFICIAL_RESULTS";
/// The chain id that the companion libraries know; the defaults that come with it lead to public servers.
const KNOWN_CHAIN: u64 = 421_614;
/// Time for installing, and for all tests together. Far more than they take: a machine may be busy.
const TIME_MAX: Duration = Duration::from_secs(40 * 60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_clients_work_unmodified() -> Result<()> {
    let Some(suite) = Suite::ready().await? else { return Ok(()) };
    let house = market(KNOWN_CHAIN).await?;
    let results = std::env::var_os(RESULTS)
        .map_or_else(|| house.gristmill().home().join("rows.ndjson"), PathBuf::from);
    let ran = suite.run(&house, "tests", &results).await;
    let rows = outcomes(&results)?;
    ran?;
    let matrix: Value =
        serde_json::from_str(&std::fs::read_to_string(suite.home.join("matrix.json"))?)?;
    for section in matrix.as_array().context("the matrix is a list")? {
        for row in list(section, "/rows")? {
            let name = row.as_str().context("a row is a name")?;
            ensure!(rows.get(name) == Some(&vec![true]), "'{name}' is not tested just once");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_chain_ids_work_as_well() -> Result<()> {
    let Some(suite) = Suite::ready().await? else { return Ok(()) };
    for chain in [31_337, 42_161] {
        let house = market(chain).await?;
        suite.run(&house, "smoke", &house.gristmill().home().join("rows.ndjson")).await?;
        house.stop().await?;
    }
    Ok(())
}

async fn market(chain: u64) -> Result<House> {
    let gristmill = gristmill()?;
    let file = gristmill.home().join("chain.json");
    let arguments = ["--chain-id", &chain.to_string(), "--chain-json", text(&file)];
    let arguments = arguments.map(str::to_owned).into();
    House::start(&gristmill, HouseConfig { arguments, ..HouseConfig::default() }).await
}

/// The tests written for Node, with the packages that they need.
struct Suite {
    home: PathBuf,
}

impl Suite {
    /// None if there is no Node and none is required.
    async fn ready() -> Result<Option<Self>> {
        let found = Command::new("node").arg("--version").stdout(Stdio::null()).status().await;
        if !found.is_ok_and(|it| it.success()) {
            ensure!(
                std::env::var(REQUIRED).as_deref() != Ok("1"),
                "node is required and not found"
            );
            eprintln!(
                "\n*** SKIPPED: node is not installed, so the official clients were NOT tested ***\n"
            );
            return Ok(None);
        }
        let home =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/official").canonicalize()?;
        // Two tests of this process may want them at the same time.
        static INSTALLING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let installing = INSTALLING.lock().await;
        if is_stale(&home) {
            let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
            finish(Command::new("npm").args(arguments).current_dir(&home)).await?;
        }
        drop(installing);
        Ok(Some(Self { home }))
    }

    /// Runs the tests of a folder against a market, and keeps each one's outcome in a file.
    ///
    /// # Errors
    /// If one fails, or if any of them has asked for anything that is not of this machine.
    async fn run(&self, house: &House, folder: &str, results: &Path) -> Result<()> {
        let gristmill = house.gristmill();
        let strayed = gristmill.home().join("strayed");
        let up = gristmill.file("up.json", house.said().to_string())?;
        let program = |name: &str| -> Result<PathBuf> {
            let source = std::fs::read_to_string(self.home.join(format!("programs/{name}.wat")))?;
            gristmill.file(&format!("{name}.wasm"), wat::parse_str(source)?)
        };
        let (echo, read) = (program("echo")?, program("read")?);
        let mut tests: Vec<PathBuf> = std::fs::read_dir(self.home.join(folder))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        tests.sort();
        let ran = finish(
            Command::new("node")
                .args(["--test", "--test-concurrency=2"])
                .args(["--test-reporter=spec", "--test-reporter-destination=stdout"])
                .arg("--test-reporter=./support/report.mjs")
                .arg(format!("--test-reporter-destination={}", results.display()))
                .args(tests)
                .current_dir(&self.home)
                .env("NODE_OPTIONS", format!("--require={}/support/guard.cjs", self.home.display()))
                .env("TMPDIR", gristmill.home())
                .env("GUARD_LOG", &strayed)
                .env("OFFICIAL_UP", up)
                .env("OFFICIAL_CHAIN", gristmill.home().join("chain.json"))
                .env("OFFICIAL_ECHO", echo)
                .env("OFFICIAL_READ", read),
        )
        .await;
        if let Ok(hosts) = std::fs::read_to_string(&strayed) {
            ran?;
            anyhow::bail!("the public network was asked for:\n{hosts}");
        }
        ran
    }
}

/// How each row went, as often as it was tested.
fn outcomes(results: &Path) -> Result<BTreeMap<String, Vec<bool>>> {
    let mut rows: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for line in std::fs::read_to_string(results)?.lines() {
        let said: Value = serde_json::from_str(line)?;
        let name = said["row"].as_str().context("a row has a name")?;
        rows.entry(name.to_owned()).or_default().push(said["ok"] == true);
    }
    Ok(rows)
}

/// Whether the packages have to be installed. npm leaves a copy of the lock it has followed.
fn is_stale(home: &Path) -> bool {
    let changed = |path: &str| home.join(path).metadata().and_then(|it| it.modified());
    match (changed("package-lock.json"), changed("node_modules/.package-lock.json")) {
        (Ok(wanted), Ok(installed)) => wanted > installed,
        _ => true,
    }
}

async fn finish(command: &mut Command) -> Result<()> {
    let output = timeout(TIME_MAX, command.stdin(Stdio::null()).kill_on_drop(true).output())
        .await
        .context("it takes too long")??;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}\n{out}\n{err}");
    Ok(())
}
