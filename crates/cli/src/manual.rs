//! Keeps the manual true: every command line and every setting that README and docs name is held against the real ones.
//!
//! Words in capitals and dots (`TASK`, `0x…`) stand for something else, and a verb may be named without what it needs. Not
//! here: whether the commands do what the text says; e2e tests run what an operator or a buyer would.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::settings::KEYS;

/// Every page, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    fn walk(place: &Path, pages: &mut Vec<(PathBuf, String)>) {
        if place.is_dir() {
            for entry in std::fs::read_dir(place).unwrap() {
                walk(&entry.unwrap().path(), pages);
            }
        } else if place.extension().is_some_and(|kind| kind == "md") {
            pages.push((place.to_owned(), std::fs::read_to_string(place).unwrap()));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = Vec::new();
    for place in ["README.md", "ARCHITECTURE.md", "examples", "docs"] {
        walk(&root.join(place), &mut pages);
    }
    pages
}

/// The pieces of code in a page: lines of blocks, with continued ones joined, and what is between backticks.
fn code(page: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut prose = String::new();
    let mut is_fenced = false;
    for line in page.replace("\\\n", " ").lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || line.starts_with("    ") {
            pieces.push(line.trim().to_owned());
        } else {
            let _ = writeln!(prose, "{line}");
        }
    }
    let spans = prose.split('`').skip(1).step_by(2);
    pieces.extend(spans.map(|span| span.replace('\n', " ")));
    pieces
}

/// The command lines of ours in a piece of code, each as its words after the program's name.
fn commands(piece: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["gristmill ", "cargo run --release -- "] {
        for (place, _) in piece.match_indices(start) {
            let before = piece[..place].chars().next_back();
            if before.is_none_or(|c| c.is_whitespace() || c == '(')
                && piece[place + start.len()..].starts_with(|c: char| c.is_ascii_lowercase())
            {
                found.push(words(&piece[place + start.len()..]));
            }
        }
    }
    found
}

/// As a shell would split it, up to the command's end, a comment, or a remark that stands apart.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let line = line.split("   ").next().unwrap_or_default();
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '&' | '|' | ';' | ')' | '>' | '<') => {
                // What is before an arrow may be the number of a stream.
                word = word.filter(|word| !(c == '>' && word.len() == 1));
                break;
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Something that the word may stand for, where an address or a hash may be meant.
fn filled(word: &str, hex: &str) -> String {
    let is_name = |word: &str| {
        word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c == '|')
    };
    match word {
        "N" => "1".to_owned(),
        "URL" | "https://…" => "http://127.0.0.1:1".to_owned(),
        "…" => "app.wasm".to_owned(),
        "ID" | "TASK" | "DEAL" | "TASK…" | "HASH" => format!("0x{}", "11".repeat(32)),
        "AMOUNT" => "1RLC".to_owned(),
        _ if word.starts_with("0x") && (word.ends_with('…') || is_name(&word[2..])) => {
            hex.to_owned()
        }
        "ADDRESS" => hex.to_owned(),
        _ if is_name(word) => "x".to_owned(),
        _ => word.to_owned(),
    }
}

/// Why our parser does not take a command line.
fn refusal(words: &[String]) -> Option<String> {
    let mut refusal = None;
    // A flag may be named without its value, too.
    let is_cut = words.last().is_some_and(|word| word.starts_with("--"));
    for hex in [format!("0x{}", "22".repeat(20)), format!("0x{}", "22".repeat(32))] {
        let filled = words.iter().map(|word| filled(word, &hex));
        match Cli::try_parse_from(std::iter::once("gristmill".to_owned()).chain(filled)) {
            Ok(_) => return None,
            Err(error) => match error.kind() {
                // The verb is there; it is only named, or asked about.
                ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion => return None,
                ErrorKind::InvalidValue
                    if is_cut && error.to_string().contains("none was supplied") =>
                {
                    return None;
                }
                _ => refusal = Some(error.to_string()),
            },
        }
    }
    refusal
}

/// What looks like the name of a setting and is none.
fn unknown_setting(piece: &str) -> Option<&str> {
    let name = piece.split(['=', ' ']).next()?;
    let (section, key) = name.split_once('.')?;
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let is_section = KEYS.iter().any(|known| known.name.split('.').next() == Some(section));
    let lists = ["market.workerpools", "market.apps", "scheduler.offers"];
    let is_known = KEYS.iter().any(|known| known.name == name) || lists.contains(&name);
    // A file beside a section of the same name.
    let is_file = ["rs", "key", "toml", "redb"].contains(&key) && name != "vault.key";
    (is_section && is_word(key) && !is_known && !is_file).then_some(name)
}

#[test]
fn every_command_of_the_manual_is_one_of_ours() {
    let mut wrong = String::new();
    let mut seen = 0;
    for (page, text) in pages() {
        for command in code(&text).iter().flat_map(|piece| commands(piece)) {
            seen += 1;
            if let Some(refusal) = refusal(&command) {
                let _ = writeln!(
                    wrong,
                    "{}: gristmill {}\n{refusal}",
                    page.display(),
                    command.join(" ")
                );
            }
        }
    }
    assert!(seen > 100, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_setting_of_the_manual_is_one_of_ours() {
    let mut wrong = String::new();
    for (page, text) in pages() {
        for piece in code(&text) {
            if let Some(name) = unknown_setting(&piece) {
                let _ = writeln!(wrong, "{}: {name}", page.display());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn check(piece: &str, expected: &[&str]) {
    let found: Vec<String> = commands(piece).iter().map(|words| words.join("·")).collect();
    assert_eq!(found, expected, "{piece}");
}

#[test]
fn commands_are_found_as_a_shell_would_find_them() {
    check("gristmill gateway & gristmill worker &", &["gateway", "worker"]);
    check(
        "A=$(gristmill workerpool create --description \"Far Mill\" --json |",
        &["workerpool·create·--description·Far Mill·--json"],
    );
    check("gristmill run a.wasm 2>/dev/null", &["run·a.wasm"]);
    check("gristmill blobs gc      with the gateway stopped", &["blobs·gc"]);
    check("gristmill task why ID  # what it waits for", &["task·why·ID"]);
    check("ls gristmill.toml", &[]);
    assert!(refusal(&["task".into(), "why".into(), "ID".into()]).is_none());
    assert!(refusal(&["task".into(), "wyh".into(), "ID".into()]).is_some());
    assert!(refusal(&["run".into(), "…".into(), "--thrust".into(), "4".into()]).is_some());
    assert_eq!(unknown_setting("worker.slotz"), Some("worker.slotz"));
    assert_eq!(unknown_setting("worker.slots"), None);
}
