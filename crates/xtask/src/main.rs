//! Generated files, checks and measurements: what a developer runs as `cargo xtask <command>`.
//!
//! One module per command. Nothing in the product depends on this crate.

mod contracts;

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
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Contracts(args) => contracts::run(&args),
    }
}
