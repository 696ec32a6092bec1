//! `cargo xtask tidy`: what a compiler does not check. The walls of ARCHITECTURE.md, licences and bans of `deny.toml`,
//! and that every failure code has its page, and every page a code.
//!
//! Not here: format and lints (their own tools), generated contracts (`contracts`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Rooms by floor; an import may only go to a lower floor, or stay on the floors where `SIDEWAYS` says so.
const FLOORS: [&[&str]; 7] = [
    &["primitives"],
    &["orders", "verdict", "tasks", "seal", "receipts"],
    &["bindings", "chain", "devchain", "store", "blobs", "sandbox", "wire"],
    &["orderbook", "scheduler", "worker", "vault"],
    &["sim"],
    &["gristmill"],
    &["testkit", "e2e", "xtask"],
];

/// Floors whose rooms may import one another; Cargo keeps them free of circles.
const SIDEWAYS: [usize; 3] = [1, 2, 6];

/// Crates of others that only these rooms may hold, and why.
const KEPT: [(&str, &[&str], &str); 6] = [
    ("alloy-rpc-client", &["chain"], "only chain talks to a node"),
    ("revm", &["devchain"], "only devchain executes"),
    ("sqlx", &["store"], "only store knows SQL"),
    ("wasmtime", &["sandbox"], "only sandbox runs programs"),
    ("clap", &["gristmill", "e2e", "xtask"], "only the door reads a command line"),
    ("anyhow", &["gristmill", "testkit", "e2e", "xtask"], "rooms name their failures"),
];

/// What would let a clock, a socket or chance into the rules.
const NOT_IN_RULES: [&str; 5] = ["tokio", "rand", "reqwest", "futures", "async-trait"];

/// Runs every check and reports all that is off, not only the first.
pub(crate) fn run(root: &Path) -> Result<()> {
    let metadata = metadata(root)?;
    let mut faults = walls(&metadata)?;
    faults.extend(licences_and_bans(root)?);
    faults.extend(error_pages(root)?);
    faults.extend(left_marks(root)?);
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    ensure!(faults.is_empty(), "{} faults", faults.len());
    eprintln!("tidy: walls, licences, bans, error pages: all as they should be");
    Ok(())
}

fn metadata(root: &Path) -> Result<Value> {
    let said = cargo(root, &["metadata", "--locked"], &["--format-version", "1", "--no-deps"])?;
    serde_json::from_str(&said).context("cargo metadata is not JSON")
}

fn cargo(root: &Path, verb: &[&str], more: &[&str]) -> Result<String> {
    let output = Command::new("cargo")
        .args(verb)
        .args(more)
        .current_dir(root)
        .output()
        .with_context(|| format!("failed to run cargo {}", verb[0]))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("cargo does not write UTF-8")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn walls(metadata: &Value) -> Result<Vec<String>> {
    let floor_of: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, floor)))
        .collect();
    let members: BTreeSet<&str> =
        list(metadata, "workspace_members").filter_map(Value::as_str).collect();
    let mut faults = Vec::new();
    for package in list(metadata, "packages").filter(|one| members.contains(text(one, "id"))) {
        let room = text(package, "name");
        let Some(&floor) = floor_of.get(room) else {
            bail!(
                "{room} stands on no floor: give it one in xtask's tidy.rs and in ARCHITECTURE.md"
            );
        };
        for import in list(package, "dependencies").filter(|one| one["kind"].is_null()) {
            let name = text(import, "name");
            if let Some(&below) = floor_of.get(name) {
                let allowed = below < floor || (below == floor && SIDEWAYS.contains(&floor));
                if !allowed {
                    faults.push(format!("{room} imports {name}: imports run down only"));
                }
                if room == "devchain" && name != "primitives" {
                    faults.push(format!("devchain imports {name}: it knows nothing of the market"));
                }
            }
            if floor <= 1 && NOT_IN_RULES.contains(&name) {
                faults.push(format!("{room} imports {name}: rules have no IO, clock or chance"));
            }
            for (kept, keepers, why) in KEPT {
                if name == kept && !keepers.contains(&room) {
                    faults.push(format!("{room} imports {name}: {why}"));
                }
            }
        }
    }
    Ok(faults)
}

/// Asks `cargo tree` rather than the lock file, which also holds what no feature of ours switches on.
fn licences_and_bans(root: &Path) -> Result<Vec<String>> {
    let deny: toml::Table = fs::read_to_string(root.join("deny.toml"))?.parse()?;
    let strings = |value: Option<&toml::Value>| -> Vec<String> {
        value
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|one| {
                one.as_str().or_else(|| one.get("crate").and_then(toml::Value::as_str))
            })
            .map(str::to_owned)
            .collect()
    };
    let allowed = strings(deny.get("licenses").and_then(|table| table.get("allow")));
    let banned = strings(deny.get("bans").and_then(|table| table.get("deny")));
    ensure!(!allowed.is_empty() && !banned.is_empty(), "deny.toml allows or denies nothing");

    let tree = cargo(
        root,
        &["tree", "--workspace", "--locked", "--target", "all", "--prefix", "none"],
        &["--edges", "normal,build", "--format", "{p}|{l}|"],
    )?;
    let packages: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| line.split_once('|'))
        .filter_map(|(name, rest)| Some((name.split(' ').next()?, rest.split_once('|')?.0)))
        .collect();
    let mut faults = Vec::new();
    for (name, licence) in packages {
        if banned.iter().any(|one| one == name) {
            faults.push(format!("{name} is banned by deny.toml"));
        }
        if !satisfied(licence, &allowed) {
            faults.push(format!("{name} is under '{licence}', which deny.toml does not allow"));
        }
    }
    Ok(faults)
}

/// Whether an SPDX expression can be met with the allowed licences. Understands OR, AND and brackets by treating
/// brackets as a lower level; `/` is the old way to write OR.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    split(&expression, " OR ").iter().any(|choice| {
        split(choice, " AND ").iter().all(|part| {
            let part = part.trim();
            match part.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
                Some(inner) => satisfied(inner, allowed),
                None => allowed.iter().any(|one| one == part),
            }
        })
    })
}

/// Splits outside of brackets.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut depth, mut start, mut parts) = (0usize, 0usize, Vec::new());
    for (place, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && place >= start && text[place..].starts_with(separator) => {
                parts.push(&text[start..place]);
                start = place + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn error_pages(root: &Path) -> Result<Vec<String>> {
    let mut used: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in sources(root)? {
        let content = fs::read_to_string(&file)?;
        // Codes in tests are samples; those in code above the tests are promises.
        let code = content.split("#[cfg(test)]").next().unwrap_or_default();
        for found in codes(code) {
            used.entry(found).or_insert_with(|| file.clone());
        }
    }
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(root.join("docs/errors"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(code) = name.strip_suffix(".md").filter(|code| code.starts_with("GM-")) {
            pages.insert(code.to_owned());
        }
    }
    let mut faults: Vec<String> = used
        .iter()
        .filter(|(code, _)| !pages.contains(*code))
        .map(|(code, file)| format!("{code} ({}) has no page in docs/errors", file.display()))
        .collect();
    faults.extend(
        pages
            .iter()
            .filter(|code| !used.contains_key(*code))
            .map(|code| format!("docs/errors/{code}.md is about a code that nothing gives")),
    );
    Ok(faults)
}

fn codes(content: &str) -> Vec<String> {
    content
        .match_indices("GM-")
        .filter_map(|(place, _)| content.get(place..place + 7))
        .filter(|code| code[3..].bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

fn left_marks(root: &Path) -> Result<Vec<String>> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[", "ignore")];
    let mut faults = Vec::new();
    for file in sources(root)? {
        let content = fs::read_to_string(&file)?;
        for (number, line) in content.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                faults.push(format!("{}:{} is left unfinished", file.display(), number + 1));
            }
        }
        if !content.starts_with("//!") && !content.starts_with("#!") {
            faults.push(format!("{} does not open with what it is for", file.display()));
        }
    }
    Ok(faults)
}

/// Rust sources of the rooms, tests left out.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: bool) {
        let allowed = ["MIT", "Apache-2.0", "ISC"].map(str::to_owned);
        assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
    }

    #[test]
    fn licences_are_read_as_expressions() {
        check("MIT", true);
        check("GPL-3.0", false);
        check("MIT OR GPL-3.0", true);
        check("MIT AND GPL-3.0", false);
        check("MIT/Apache-2.0", true);
        check("(MIT OR GPL-3.0) AND ISC", true);
        check("(GPL-2.0 OR GPL-3.0) AND ISC", false);
        check("", false);
    }

    #[test]
    fn codes_are_found_in_text() {
        assert_eq!(codes("a GM-1234 b GM-12 c GM-abcd"), ["GM-1234"]);
    }
}
