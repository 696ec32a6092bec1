//! `cargo xtask gas`: what operations cost beside the original, as the table of docs/performance.md.
//!
//! Measuring is a test of `bindings` (the contracts on an EVM in its process), which writes
//! `contracts/snapshots/gas.txt`; this command runs it and makes the table of what it wrote.
//!
//! ```text
//! cargo test -p bindings gas ──► contracts/snapshots/gas.txt ──► docs/performance.md, between <!-- gas --> markers
//! ```

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

const SNAPSHOT: &str = "contracts/snapshots/gas.txt";
const DOCUMENT: &str = "docs/performance.md";
const BEGIN: &str = "<!-- gas -->\n";
const END: &str = "<!-- /gas -->";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the table into docs/performance.md
    #[arg(long)]
    write: bool,
    /// Only compare docs/performance.md with the committed snapshot, measuring nothing
    #[arg(long, conflicts_with = "write")]
    check: bool,
}

/// What an operation should cost at most, in gas, by the beginning of its name in the snapshot.
const GOALS: &[(&str, u64)] = &[
    ("matchOrders app+pool+request", 290_000),
    ("matchOrders app+dataset+pool+request", 320_000),
    ("sponsorMatchOrders app+dataset+pool+request", 325_000),
    ("initialize", 60_000),
    ("initializeArray, 10 tasks", 450_000),
    ("contribute, to consensus", 190_000),
    ("contribute of an enclave, to consensus", 205_000),
    ("reveal 2/3", 45_000),
    ("finalize, 1 worker", 190_000),
    ("finalize, 3 workers", 240_000),
    ("contributeAndFinalize", 190_000),
    ("contributeAndFinalize of an enclave", 215_000),
    ("settle, 100 tasks", 8_000_000),
    ("claim, no contributor", 90_000),
    ("createApp", 280_000),
    ("createDataset", 250_000),
    ("createWorkerpool", 230_000),
    ("RLC.approveAndCall, deposit", 62_000),
];

pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<()> {
    if args.check {
        return check(root);
    }
    measure(root)?;
    let table = table(&fs::read_to_string(root.join(SNAPSHOT))?)?;
    if args.write {
        let path = root.join(DOCUMENT);
        fs::write(&path, inserted(&fs::read_to_string(&path)?, &table)?)?;
    }
    std::io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

fn measure(root: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(["test", "--quiet", "-p", "bindings", "gas::"])
        .env("UPDATE_SNAPSHOTS", "1")
        .current_dir(root)
        .stdout(std::io::stderr())
        .status()
        .context("running the measurement")?;
    ensure!(done.success(), "the measurement failed");
    Ok(())
}

fn check(root: &Path) -> anyhow::Result<()> {
    let table = table(&fs::read_to_string(root.join(SNAPSHOT))?)?;
    let document = fs::read_to_string(root.join(DOCUMENT))?;
    ensure!(
        inserted(&document, &table)? == document,
        "the gas table of {DOCUMENT} is stale: run `cargo xtask gas --write`"
    );
    Ok(())
}

/// An operation of the snapshot: name, what the original takes, what we do.
fn row(line: &str) -> Option<(&str, u64, u64)> {
    let (rest, percent) = line.trim_end().rsplit_once(char::is_whitespace)?;
    percent.strip_suffix('%')?;
    let (rest, ours) = rest.trim_end().rsplit_once(char::is_whitespace)?;
    let (name, official) = rest.trim_end().rsplit_once(char::is_whitespace)?;
    Some((name.trim_end(), official.parse().ok()?, ours.parse().ok()?))
}

fn table(snapshot: &str) -> anyhow::Result<String> {
    let mut text = String::from(
        "| operation | official | ours | ratio | goal | |\n|---|---:|---:|---:|---:|---|\n",
    );
    let rows: Vec<_> = snapshot.lines().filter_map(row).collect();
    for (goal, _) in GOALS {
        ensure!(rows.iter().any(|(name, _, _)| name == goal), "nothing measures {goal}");
    }
    for (name, official, ours) in rows {
        let goal = GOALS.iter().find(|(of, _)| *of == name).map(|(_, most)| *most);
        let (most, met) = match goal {
            Some(most) => (grouped(most), if ours <= most { "met" } else { "**missed**" }),
            None => (String::new(), ""),
        };
        let percent = ours * 100 / official;
        writeln!(
            text,
            "| {name} | {} | {} | {percent} % | {most} | {met} |",
            grouped(official),
            grouped(ours)
        )?;
    }
    Ok(text)
}

/// With a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn inserted(document: &str, table: &str) -> anyhow::Result<String> {
    let (before, rest) = document.split_once(BEGIN).context("no <!-- gas --> marker")?;
    let (_, after) = rest.split_once(END).context("no <!-- /gas --> marker")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gas_table_is_made_of_the_committed_snapshot() {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    }

    #[test]
    fn a_row_is_read_from_its_end() {
        assert_eq!(
            row("claim, 1 contributor   163299     85715    52%"),
            Some(("claim, 1 contributor", 163_299, 85_715))
        );
        assert_eq!(row("Hub      24524     24576"), None);
        assert_eq!(row("operation, in the steady state   official  ours  ratio"), None);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (76_569_500, "76,569,500")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
