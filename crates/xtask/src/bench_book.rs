//! `cargo xtask bench-book`: how quickly the order book takes in and finds orders when very many are open.
//!
//! The measuring program is an example of the `orderbook` crate, so that it links what it measures; this only builds and
//! runs it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

/// How much to measure.
#[derive(Debug, Args)]
pub(crate) struct BenchBook {
    /// Open orders, one table each.
    #[arg(long, default_value = "10k,100k,1m", value_name = "N,N,…")]
    sizes: String,
    /// Questions asked at each size.
    #[arg(long, default_value_t = 4_000)]
    queries: usize,
    /// Orders published at each size.
    #[arg(long, default_value_t = 20_000)]
    publishes: usize,
    /// Measure a debug build: quick to build, and its figures mean nothing.
    #[arg(long)]
    debug: bool,
}

/// Builds, measures and prints.
pub(crate) fn run(root: &Path, bench: &BenchBook) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--locked", "--package", "orderbook", "--example", "load"]);
    if !bench.debug {
        cargo.arg("--release");
    }
    cargo.args(["--", "--sizes", &bench.sizes]);
    cargo.args(["--queries", &bench.queries.to_string()]);
    cargo.args(["--publishes", &bench.publishes.to_string()]);
    let done = cargo.current_dir(root).status()?;
    ensure!(done.success(), "the measurement failed");
    Ok(())
}
