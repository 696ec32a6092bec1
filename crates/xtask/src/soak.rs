//! `cargo xtask soak`: a market kept by `gristmill up` under a steady load for a while. Memory, open files and latency are
//! written down minute by minute; what grows beyond its bound makes the command fail.
//!
//! Growth is judged between two halves of the run, both after a warm-up: what a process takes once and keeps (caches, pools,
//! the allocator's spare pages) is no leak, and what it goes on taking is.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use primitives::Nrlc;
use testkit::{Gristmill, House, HouseConfig, programs};
use tokio::task::JoinSet;

use crate::facts;

/// What may come on top between the first half of the measured time and the second.
const MEMORY_PERCENT_MAX: u64 = 20;
/// And this much whatever the percentage says: small markets breathe.
const MEMORY_SLACK_BYTES: u64 = 48 << 20;
const FILES_MAX: u64 = 16;
/// How many times slower the median of the second half may be.
const LATENCY_TIMES_MAX: f64 = 1.5;
/// What each requester may spend: more than it can in a day.
const ALLOWANCE_RLC: u64 = 20_000;
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_secs(60);

/// How long and how much.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// Minutes of load. The first fifth of them, at least one, is the warm-up.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=10_080))]
    minutes: u64,
    /// Requesters who each buy one job after the other.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=4))]
    requesters: u32,
    /// The gristmill to run. Built from here in release by default.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Where the samples go.
    #[arg(long, value_name = "FILE", default_value = "target/soak.csv")]
    csv: PathBuf,
    /// Replace the table of docs/reliability.md.
    #[arg(long)]
    write: bool,
}

/// A minute of the run.
#[derive(Debug, Clone, Default)]
struct Minute {
    /// Resident memory at its end, in bytes.
    memory: u64,
    /// Open file descriptors at its end.
    files: u64,
    jobs: usize,
    tasks: usize,
    failures: usize,
    /// From signing to the checked result, in milliseconds.
    latencies: Vec<f64>,
}

/// What requesters tell while a minute runs.
#[derive(Default)]
struct Tally {
    now: Mutex<Minute>,
    over: AtomicBool,
}

impl Tally {
    fn with<T>(&self, change: impl FnOnce(&mut Minute) -> T) -> Result<T> {
        let mut minute = self.now.lock().ok().context("a requester panicked")?;
        Ok(change(&mut minute))
    }
}

/// Runs it; an error if something grew beyond its bound.
pub(crate) fn run(root: &Path, soak: &Soak) -> Result<()> {
    let binary = match &soak.binary {
        Some(binary) => binary.canonicalize()?,
        None => release_binary(root)?,
    };
    let minutes = facts::until_interrupted(soaked(soak, binary))?;
    let csv = csv(&minutes);
    let path = root.join(&soak.csv);
    fs::write(&path, csv).with_context(|| format!("cannot write {}", path.display()))?;
    let table = table(&minutes);
    let mut out = std::io::stdout();
    write!(out, "{table}")?;
    if soak.write {
        facts::replace_table(root, "soak", &table)?;
    }
    let grown = grown(&minutes);
    writeln!(out, "{}", if grown.is_empty() { "nothing grew beyond its bound" } else { "GROWN" })?;
    ensure!(grown.is_empty(), "{}", grown.join("; "));
    Ok(())
}

fn release_binary(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "gristmill"])
        .current_dir(root)
        .status()?;
    if !built.success() {
        bail!("the release build failed");
    }
    Ok(root.join("target/release/gristmill").canonicalize()?)
}

/// The whole load, minute by minute.
async fn soaked(soak: &Soak, binary: PathBuf) -> Result<Vec<Minute>> {
    let gristmill = Gristmill::new(binary)?;
    let house = Arc::new(House::start(&gristmill, HouseConfig::default()).await?);
    let pid = house.pid().context("the market has ended")?;
    let tally: Arc<Tally> = Arc::default();
    let mut requesters = JoinSet::new();
    for number in 0..soak.requesters {
        let account = usize::try_from(number)?;
        if account > 0 {
            house.fund(account, Nrlc::from_rlc(ALLOWANCE_RLC)).await?;
        }
        requesters.spawn(requester(Arc::clone(&house), Arc::clone(&tally), number));
    }
    let mut minutes = Vec::new();
    let began = Instant::now();
    for number in 1..=u32::try_from(soak.minutes)? {
        let end = MINUTE * number;
        let (mut memory, mut files) = (Vec::new(), Vec::new());
        while began.elapsed() < end {
            tokio::time::sleep(SAMPLE_EVERY.min(end.saturating_sub(began.elapsed()))).await;
            memory.push(resident(pid)?);
            files.push(open_files(pid)?);
            ensure!(!requesters.is_empty(), "all requesters have given up");
        }
        let mut minute = tally.with(std::mem::take)?;
        minute.memory = middle(&mut memory);
        minute.files = middle(&mut files);
        writeln!(std::io::stderr(), "{}", line(number, &minute))?;
        minutes.push(minute);
    }
    tally.over.store(true, Ordering::Relaxed);
    while let Some(done) = requesters.join_next().await {
        done??;
    }
    Ok(minutes)
}

/// Buys one job after the other: mostly a small one, now and then a bag, now and then one of several workers.
async fn requester(house: Arc<House>, tally: Arc<Tally>, number: u32) -> Result<()> {
    let gristmill = house.gristmill().clone();
    let program = gristmill.file("soak.wasm", programs::greeting("still here\n")?)?;
    // A key of its own, so that nobody waits for another's nonce.
    let key = house.key(usize::try_from(number)?)?.to_bytes();
    let key_file = gristmill.file(&format!("soak-{number}.key"), key.to_string())?;
    let key_file = key_file.display().to_string();
    let shapes: [&[&str]; 4] = [&[], &["--tasks", "20"], &[], &["--trust", "4"]];
    for shape in shapes.iter().cycle() {
        if tally.over.load(Ordering::Relaxed) {
            break;
        }
        let arguments: Vec<&str> = shape.iter().copied().chain(["--key-file", &key_file]).collect();
        let ran = house.run(&program, &arguments).await?;
        if ran.code != Some(0) {
            writeln!(std::io::stderr(), "a job failed {shape:?} {:?}: {}", ran.code, ran.stderr)?;
            tally.with(|minute| minute.failures += 1)?;
            continue;
        }
        let said = ran.json()?;
        let tasks = said["results"].as_array().map_or(0, Vec::len);
        let phases = ["match", "settle", "verify"];
        let millis: f64 =
            phases.iter().filter_map(|phase| said["receipt"]["phasesMs"][*phase].as_f64()).sum();
        tally.with(|minute| {
            minute.jobs += 1;
            minute.tasks += tasks;
            if shape.is_empty() {
                minute.latencies.push(millis);
            }
        })?;
    }
    Ok(())
}

fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024)
}

fn open_files(pid: u32) -> Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// The median.
fn middle(sample: &mut [u64]) -> u64 {
    sample.sort_unstable();
    sample.get(sample.len() / 2).copied().unwrap_or_default()
}

fn quantile(sample: &[f64], percent: usize) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len().saturating_sub(1) * percent).div_ceil(100);
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// The measured time, in two halves; the warm-up is left out.
fn halves(minutes: &[Minute]) -> (&[Minute], &[Minute]) {
    let measured = &minutes[(minutes.len() / 5).max(1).min(minutes.len())..];
    measured.split_at(measured.len() / 2)
}

/// What grew beyond its bound.
fn grown(minutes: &[Minute]) -> Vec<String> {
    let (first, second) = halves(minutes);
    let mut grown = Vec::new();
    let most = |half: &[Minute], of: fn(&Minute) -> u64| half.iter().map(of).max().unwrap_or(0);
    let (before, after) = (most(first, |it| it.memory), most(second, |it| it.memory));
    let bound = before + (before / 100 * MEMORY_PERCENT_MAX).max(MEMORY_SLACK_BYTES);
    if after > bound {
        grown.push(format!("memory grew from {before} to {after} bytes; the bound is {bound}"));
    }
    let (before, after) = (most(first, |it| it.files), most(second, |it| it.files));
    if after > before + FILES_MAX {
        grown.push(format!(
            "open files grew from {before} to {after}; the bound is {FILES_MAX} more"
        ));
    }
    let (before, after) = (median(first), median(second));
    if after > before * LATENCY_TIMES_MAX {
        grown.push(format!("the median latency grew from {before:.0} to {after:.0} ms"));
    }
    let failures: usize = minutes.iter().map(|minute| minute.failures).sum();
    if failures > 0 {
        grown.push(format!("{failures} jobs failed"));
    }
    grown
}

fn median(minutes: &[Minute]) -> f64 {
    let all: Vec<f64> = minutes.iter().flat_map(|minute| minute.latencies.clone()).collect();
    quantile(&all, 50)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn line(number: u32, minute: &Minute) -> String {
    format!(
        "minute {number}: {:.0} MB, {} files, {} jobs, {} tasks, p50 {:.0} ms, p99 {:.0} ms, {} failed",
        mega(minute.memory),
        minute.files,
        minute.jobs,
        minute.tasks,
        quantile(&minute.latencies, 50),
        quantile(&minute.latencies, 99),
        minute.failures
    )
}

fn csv(minutes: &[Minute]) -> String {
    let mut text = String::from("minute,rss_bytes,open_files,jobs,tasks,p50_ms,p99_ms,failures\n");
    for (number, minute) in minutes.iter().enumerate() {
        let (half, most) = (quantile(&minute.latencies, 50), quantile(&minute.latencies, 99));
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{},{},{},{},{},{half:.1},{most:.1},{}",
            number + 1,
            minute.memory,
            minute.files,
            minute.jobs,
            minute.tasks,
            minute.failures
        );
    }
    text
}

fn table(minutes: &[Minute]) -> String {
    let (first, second) = halves(minutes);
    let mut text = format!(
        "Run of {} minutes on {}, {}.\n\n| | after the warm-up | second half | bound |\n|---|---|---|---|\n",
        minutes.len(),
        facts::today(),
        facts::machine()
    );
    let most = |half: &[Minute], of: fn(&Minute) -> u64| half.iter().map(of).max().unwrap_or(0);
    let all = |half: &[Minute]| -> Vec<f64> {
        half.iter().flat_map(|minute| minute.latencies.clone()).collect()
    };
    let sum = |half: &[Minute], of: fn(&Minute) -> usize| half.iter().map(of).sum::<usize>();
    let rows = [
        (
            "resident memory, highest minute",
            format!("{:.0} MB", mega(most(first, |it| it.memory))),
            format!("{:.0} MB", mega(most(second, |it| it.memory))),
            format!("+{MEMORY_PERCENT_MAX} % or {:.0} MB", mega(MEMORY_SLACK_BYTES)),
        ),
        (
            "open file descriptors, highest minute",
            most(first, |it| it.files).to_string(),
            most(second, |it| it.files).to_string(),
            format!("+{FILES_MAX}"),
        ),
        (
            "one task, submit → checked result, p50",
            format!("{:.0} ms", quantile(&all(first), 50)),
            format!("{:.0} ms", quantile(&all(second), 50)),
            format!("× {LATENCY_TIMES_MAX}"),
        ),
        (
            "the same, p99",
            format!("{:.0} ms", quantile(&all(first), 99)),
            format!("{:.0} ms", quantile(&all(second), 99)),
            "—".to_owned(),
        ),
        (
            "jobs done / tasks done",
            format!("{} / {}", sum(first, |it| it.jobs), sum(first, |it| it.tasks)),
            format!("{} / {}", sum(second, |it| it.jobs), sum(second, |it| it.tasks)),
            "—".to_owned(),
        ),
        (
            "jobs failed",
            sum(first, |it| it.failures).to_string(),
            sum(second, |it| it.failures).to_string(),
            "0".to_owned(),
        ),
    ];
    for (what, before, after, bound) in rows {
        text += &format!("| {what} | {before} | {after} | {bound} |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(minutes: &[(u64, u64, f64)], expected: &[&str]) {
        let minutes: Vec<Minute> = minutes
            .iter()
            .map(|(mega, files, latency)| Minute {
                memory: mega * 1_000_000,
                files: *files,
                latencies: vec![*latency],
                ..Minute::default()
            })
            .collect();
        let found = grown(&minutes);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn only_what_goes_on_growing_is_refused() {
        let flat = [(300, 80, 90.0); 10];
        check(&flat, &[]);
        let mut warm = flat;
        warm[0] = (100, 20, 30.0);
        check(&warm, &[]);
        let leaking: Vec<_> = (1..=10).map(|minute| (100 * minute, 80, 90.0)).collect();
        check(&leaking, &["memory grew"]);
        let mut slow = flat;
        slow[6..].fill((300, 120, 200.0));
        check(&slow, &["open files", "latency"]);
    }
}
