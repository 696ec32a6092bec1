//! `cargo xtask compat [--write]`: what of the official clients works, row by row, as docs/compatibility.md.
//!
//! The suite in `e2e/official` decides; this only runs it and makes a page of what it says. A row that has no outcome
//! counts as failed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

const MATRIX: &str = "e2e/official/matrix.json";
const PACKAGE: &str = "e2e/official/package.json";
const PAGE: &str = "docs/compatibility.md";

#[derive(Args)]
pub(crate) struct Compat {
    /// Write docs/compatibility.md instead of printing it
    #[arg(long)]
    write: bool,
    /// Make the page from what an earlier run left (target/compat.ndjson) instead of running the suite
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// Runs the suite, makes the page, and fails if a row did.
pub(crate) fn run(root: &Path, args: &Compat) -> Result<()> {
    let results = match &args.from {
        Some(results) => results.clone(),
        None => drive(root)?,
    };
    let outcomes = outcomes(&read(&results)?)?;
    let matrix: Value = serde_json::from_str(&read(&root.join(MATRIX))?)?;
    let package: Value = serde_json::from_str(&read(&root.join(PACKAGE))?)?;
    let sdk = package["dependencies"]["iexec"].as_str().unwrap_or("?");
    let (page, failed) = page(&matrix, &outcomes, sdk, &today(&results)?)?;
    if args.write {
        fs::write(root.join(PAGE), page)?;
    } else {
        std::io::stdout().lock().write_all(page.as_bytes())?;
    }
    ensure!(failed.is_empty(), "{} rows fail:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Runs the suite. That tests fail is for the page to say; that there is no outcome at all is an error.
fn drive(root: &Path) -> Result<PathBuf> {
    let target = root.join("target");
    fs::create_dir_all(&target)?;
    let results = target.canonicalize()?.join("compat.ndjson");
    if results.exists() {
        fs::remove_file(&results)?;
    }
    let ran = Command::new("cargo")
        .args(["test", "-p", "e2e", "--test", "e2e", "the_official_clients_work_unmodified"])
        .current_dir(root)
        .env("OFFICIAL_RESULTS", &results)
        .env("GRISTMILL_REQUIRE_NODE", "1")
        .status()
        .context("failed to run cargo test")?;
    ensure!(results.exists(), "the suite said nothing: {ran}");
    Ok(results)
}

/// Whether each row passes: every time it was tested, and at least once.
fn outcomes(results: &str) -> Result<BTreeMap<String, bool>> {
    let mut outcomes = BTreeMap::new();
    for line in results.lines() {
        let said: Value = serde_json::from_str(line).context("an outcome is not JSON")?;
        let row = said["row"].as_str().context("an outcome has no row")?.to_owned();
        let ok = said["ok"] == true;
        outcomes.entry(row).and_modify(|all| *all &= ok).or_insert(ok);
    }
    Ok(outcomes)
}

/// The page, and the rows that fail.
fn page(
    matrix: &Value,
    outcomes: &BTreeMap<String, bool>,
    sdk: &str,
    date: &str,
) -> Result<(String, Vec<String>)> {
    let mut failed = Vec::new();
    let mut tables = String::new();
    let mut count = 0;
    for section in matrix.as_array().context("the matrix is a list")? {
        let rows = section["rows"].as_array().context("a section has rows")?;
        let title = section["title"].as_str().context("a section has a title")?;
        write!(tables, "\n## {title}\n\n| row | result | date |\n|---|---|---|\n")?;
        for row in rows {
            let row = row.as_str().context("a row is a name")?;
            let ok = outcomes.get(row) == Some(&true);
            let result = if ok { "pass" } else { "**FAIL**" };
            writeln!(tables, "| {} | {result} | {date} |", row.replace('|', "\\|"))?;
            count += 1;
            if !ok {
                failed.push(row.to_owned());
            }
        }
    }
    let mut page = String::from("# Compatibility with the official clients\n\n");
    writeln!(page, "Made by `cargo xtask compat --write`; not to be edited.\n")?;
    writeln!(
        page,
        "The unmodified npm package `iexec` {sdk}, its CLI and its library, against `gristmill up --chain-id 421614`. Each row"
    )?;
    writeln!(
        page,
        "is a test in `e2e/official` that asserts what the call did on chain, in the market or on disk, and can fail. No"
    )?;
    writeln!(page, "process of the suite can reach anything but this machine.\n")?;
    writeln!(page, "**{} of {count} rows pass** ({date}).", count - failed.len())?;
    page.push_str(&tables);
    Ok((page, failed))
}

/// The day on which these results were made, in UTC.
fn today(results: &Path) -> Result<String> {
    let made = fs::metadata(results)?.modified().unwrap_or_else(|_| SystemTime::now());
    Ok(date_of(made.duration_since(UNIX_EPOCH)?.as_secs() / 86_400))
}

/// The date of a day counted from 1970-01-01.
fn date_of(days: u64) -> String {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn days_have_dates() {
        for (days, date) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (19_722, "2023-12-31"),
            (20_779, "2026-11-22"),
        ] {
            assert_eq!(date_of(days), date);
        }
    }

    #[test]
    fn a_row_without_an_outcome_fails_and_so_does_one_that_failed_once() {
        let said = ["{\"row\":\"a\",\"ok\":true}", "{\"row\":\"b\",\"ok\":true}"];
        let said = [said.join("\n"), "{\"row\":\"b\",\"ok\":false}".to_owned()].join("\n");
        let matrix = json!([{ "title": "All", "rows": ["a", "b", "c"] }]);
        let (page, failed) = page(&matrix, &outcomes(&said).unwrap(), "9", "2026-01-02").unwrap();
        assert_eq!(failed, ["b", "c"]);
        assert!(page.contains("| a | pass | 2026-01-02 |"), "{page}");
        assert!(page.contains("**1 of 3 rows pass**"), "{page}");
    }
}
