//! Generated files, checks and measurements: what a developer runs as `cargo xtask <command>`.
//!
//! One module per command. Nothing in the product depends on this crate.

mod bench;
mod bench_book;
mod compat;
mod contracts;
mod crash;
mod facts;
mod gas;
mod sim;
mod soak;
mod tidy;

use std::path::Path;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Generated files, checks and measurements")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile the contracts and write contracts/artifacts
    Contracts(contracts::Args),
    /// Measure what operations cost beside the original's contracts
    Gas(gas::Args),
    /// Measure the release binary and print one table
    Bench(bench::Bench),
    /// Measure the order book with very many open orders and print one table
    BenchBook(bench_book::BenchBook),
    /// Drive the official clients through every row of e2e/official/matrix.json and print docs/compatibility.md
    Compat(compat::Compat),
    /// Kill the parts of a market under load and look for what is lost
    Crash(crash::Crash),
    /// Keep a market under load for a while and look for what grows
    Soak(soak::Soak),
    /// Simulate markets from many seeds and check what must hold
    Sim(sim::Sim),
    /// Check walls, licences, bans and error pages
    Tidy,
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match Cli::parse().command {
        Command::Contracts(args) => contracts::run(&args),
        Command::Gas(args) => gas::run(&root, &args),
        Command::Bench(args) => bench::run(&root, &args),
        Command::BenchBook(args) => bench_book::run(&root, &args),
        Command::Compat(args) => compat::run(&root, &args),
        Command::Crash(args) => crash::run(&root, &args),
        Command::Soak(args) => soak::run(&root, &args),
        Command::Sim(args) => sim::run(&root, &args),
        Command::Tidy => tidy::run(&root),
    }
}
