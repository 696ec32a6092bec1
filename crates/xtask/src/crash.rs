//! `cargo xtask crash`: the crash campaign of `testkit::campaign`, from the command line.
//!
//! What is random follows from the seed: the same seed plans the same blows. The plan and everything that happened are
//! written beside the services' own logs, which stay when something was lost. The last line sums up.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use testkit::Gristmill;
use testkit::campaign::{Campaign, Outcome};

use crate::facts;

/// What to do, and to which binary.
#[derive(Debug, Args)]
pub(crate) struct Crash {
    /// How many times a service is killed with SIGKILL.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Everything random follows from it. Any number by default.
    #[arg(long)]
    seed: Option<u64>,
    /// No more kills after so many minutes.
    #[arg(long, default_value_t = 600)]
    minutes: u64,
    /// The gristmill to run. Built from here in debug by default.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Add a row to the table of docs/reliability.md.
    #[arg(long)]
    write: bool,
}

/// Runs it; an error if anything was lost.
pub(crate) fn run(root: &Path, crash: &Crash) -> Result<()> {
    let binary = match &crash.binary {
        Some(binary) => binary.canonicalize()?,
        None => debug_binary(root)?,
    };
    let seed = crash.seed.unwrap_or_else(facts::any_seed);
    let home = root.join(format!("target/crash/{seed}"));
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    let mut out = std::io::stdout();
    writeln!(out, "seed {seed}; what happens is written to {}", home.join("events.log").display())?;
    let events = parking(&home)?;
    let log = Arc::new(move |line: &str| {
        if let Ok(mut file) = events.lock() {
            // A full disk is noticed by the services themselves.
            let _ = writeln!(file, "{line}");
        }
    });
    let campaign =
        Campaign { seed, kills: crash.kills, limit: Duration::from_secs(crash.minutes * 60) };
    let gristmill = Gristmill::kept_in(binary, &home)?;
    let outcome = facts::until_interrupted(campaign.run(&gristmill, log))?;
    for (job, times) in &outcome.jobs {
        writeln!(out, "{times:>6}  {job}")?;
    }
    for one in &outcome.lost {
        writeln!(out, "LOST {one}")?;
    }
    if crash.write {
        facts::add_row(root, "crash", &row(seed, &outcome))?;
    }
    writeln!(out, "seed {seed}: {outcome}")?;
    ensure!(outcome.lost.is_empty(), "seed {seed}: something was lost; see {}", home.display());
    // Nobody needs the logs of what went well, but for the events.
    for entry in fs::read_dir(&home)? {
        let path = entry?.path();
        let removed = match path.file_name().and_then(|name| name.to_str()) {
            Some("events.log") => Ok(()),
            _ if path.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn parking(home: &Path) -> Result<std::sync::Mutex<fs::File>> {
    Ok(std::sync::Mutex::new(fs::File::create(home.join("events.log"))?))
}

fn debug_binary(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--locked", "--package", "gristmill"])
        .current_dir(root)
        .status()?;
    if !built.success() {
        bail!("the build failed");
    }
    Ok(root.join("target/debug/gristmill").canonicalize()?)
}

fn row(seed: u64, outcome: &Outcome) -> String {
    let [refused, bad_gateway, cut, slow, errors] = outcome.harm;
    format!(
        "| {} | {seed} | {} | {} | {} | {} | {} / {} | {} | {} | {} |",
        facts::today(),
        outcome.kills,
        outcome.asked,
        refused + bad_gateway + cut + errors,
        slow,
        outcome.completed,
        outcome.refunded,
        outcome.secrets,
        outcome.lost.len(),
        facts::machine(),
    )
}
