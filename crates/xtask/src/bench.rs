//! `cargo xtask bench`: what the market costs in time and memory, measured on the release binary as a user runs it, and
//! printed as one table against the bars that were set.
//!
//! Every figure is a median or a percentile within this one run; none is compared with a figure from another machine. A row
//! is said on stderr as soon as it is measured, and with `--write` it is on the page then: what comes later may fail or be
//! interrupted.
//!
//! Wall time swings with whatever else the machine does; processor time hardly does, so both are told of every bag.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::facts;

/// How much to measure.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// No-op jobs bought one after another.
    #[arg(long, default_value_t = 60)]
    jobs: usize,
    /// Tasks in the bag.
    #[arg(long, default_value_t = 1000)]
    bag: usize,
    /// Tasks in the large bag.
    #[arg(long, default_value_t = 10_000)]
    large_bag: usize,
    /// Tasks of history behind which a bag is measured again; 0 leaves that out (it takes minutes).
    #[arg(long, default_value_t = 100_000)]
    history: usize,
    /// The most minutes that filling the history may take; what was reached by then is reported.
    #[arg(long, default_value_t = 12)]
    history_minutes: u64,
    /// Starts of a new market.
    #[arg(long, default_value_t = 7)]
    starts: usize,
    /// Also build the README's first command from nothing, in a target directory of its own (minutes).
    #[arg(long)]
    cold_build: bool,
    /// The gristmill to run. Built from here in release by default.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Write docs/performance.md too, row by row. Rows that are not measured stay as they are.
    #[arg(long)]
    write: bool,
}

/// Tasks that history is filled with at once.
const HISTORY_BAG: usize = 10_000;

/// One line of the table.
struct Row {
    what: String,
    bar: &'static str,
    measured: String,
    how: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} | {} |", self.what, self.bar, self.measured, self.how)
    }
}

/// The first two lines of the table.
const HEAD: &str = "| what | bar | measured | how |\n|---|---|---|---|\n";
/// Only rows about history have this in their names. How much history there is depends on the time that was given, so new ones
/// replace all old ones.
const BEHIND: &str = " tasks of history";

/// The rows that are measured, told as they come.
struct Rows<'a> {
    root: &'a Path,
    write: bool,
    start: Instant,
    done: Vec<Row>,
}

impl Rows<'_> {
    /// Says what is being measured now.
    fn now(&self, what: &str) {
        eprintln!("{:>5} s  {what} …", self.start.elapsed().as_secs());
    }

    fn add(&mut self, row: Row) -> Result<()> {
        eprintln!("{:>5} s  {row}", self.start.elapsed().as_secs());
        self.done.push(row);
        if self.write { write_page(self.root, &self.done) } else { Ok(()) }
    }

    fn extend(&mut self, rows: Vec<Row>) -> Result<()> {
        rows.into_iter().try_for_each(|row| self.add(row))
    }
}

/// Measures and prints.
pub(crate) fn run(root: &Path, bench: &Bench) -> Result<()> {
    let mut rows = Rows { root, write: bench.write, start: Instant::now(), done: Vec::new() };
    let measured = facts::until_interrupted(measure(root, bench, &mut rows));
    let text: String = rows.done.iter().map(|row| format!("{row}\n")).collect();
    std::io::stdout().write_all((HEAD.to_owned() + &text).as_bytes())?;
    measured
}

async fn measure(root: &Path, bench: &Bench, rows: &mut Rows<'_>) -> Result<()> {
    if bench.cold_build {
        rows.now("building from nothing");
        rows.add(cold_build(root).await?)?;
    }
    let binary = match &bench.binary {
        Some(binary) => binary.canonicalize()?,
        None => release_binary(root).await?,
    };
    rows.add(Row {
        what: "release binary".to_owned(),
        bar: "≤ 60 MB",
        measured: format!("{:.1} MB", mega(fs::metadata(&binary)?.len())),
        how: "size of target/release/gristmill".to_owned(),
    })?;
    rows.now("starting markets");
    rows.extend(starts(&binary, bench.starts).await?)?;
    under_load(root, &binary, bench, rows).await?;
    if bench.history > 0 {
        with_history(root, &binary, bench, rows).await?;
    }
    Ok(())
}

async fn release_binary(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "gristmill"])
        .current_dir(root)
        .kill_on_drop(true)
        .status()
        .await?;
    ensure!(built.success(), "the release build failed");
    Ok(root.join("target/release/gristmill"))
}

async fn cold_build(root: &Path) -> Result<Row> {
    let target = tempdir("cold-build")?;
    let start = Instant::now();
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "gristmill", "--target-dir"])
        .arg(&target.0)
        .current_dir(root)
        .kill_on_drop(true)
        .status()
        .await?;
    ensure!(built.success(), "the cold release build failed");
    Ok(Row {
        what: "first command's cold build".to_owned(),
        bar: "≤ 8 min",
        measured: format!("{:.1} min", start.elapsed().as_secs_f64() / 60.0),
        how: "one build into an empty target directory, crates already downloaded".to_owned(),
    })
}

/// A market that runs for the length of a measurement; killed on drop, as it holds nothing that matters after it.
struct Up {
    process: Child,
    origin: String,
    ready: Duration,
}

impl Up {
    async fn start(binary: &Path, data_dir: &Path) -> Result<Self> {
        let start = Instant::now();
        let mut process = Command::new(binary)
            .args(["up", "--json", "--port", "0", "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start gristmill up")?;
        let stdout = process.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let ready = start.elapsed();
        let said: Value = serde_json::from_str(&line).context("gristmill up said no JSON")?;
        let origin = said["origin"].as_str().context("no origin")?.to_owned();
        Ok(Self { process, origin, ready })
    }

    fn pid(&self) -> Result<String> {
        Ok(self.process.id().context("gristmill up has ended")?.to_string())
    }

    /// Resident memory in bytes.
    fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib * 1024)
    }

    /// Kills it and waits until its files are closed.
    async fn killed(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Buys that many runs of the no-op program, and waits for the checked results.
    async fn buy(&self, root: &Path, binary: &Path, more: &[&str]) -> Result<Value> {
        let output = Command::new(binary)
            .arg("run")
            .arg(root.join("examples/noop/noop.wasm"))
            .args(["--json", "--market", &self.origin])
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            bail!("run failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).context("run said no JSON")
    }

    async fn buy_bag(&self, root: &Path, binary: &Path, tasks: usize) -> Result<Bag> {
        let (up, buyers) = (processor(&self.pid()?)?, processor("self")?);
        let outcome = self.buy(root, binary, &["--tasks", &tasks.to_string()]).await?;
        let (up_after, buyers_after) = (processor(&self.pid()?)?, processor("self")?);
        let count = f64::from(u32::try_from(tasks)?);
        Ok(Bag {
            paid_per_second: count / (phase_ms(&outcome, "settle")? / 1e3),
            verified_per_second: count
                / ((phase_ms(&outcome, "settle")? + phase_ms(&outcome, "verify")?) / 1e3),
            processor_ms: (up_after.own - up.own) * 1e3 / count,
            buyer_ms: (buyers_after.children - buyers.children) * 1e3 / count,
            resident: mega(self.resident()?),
        })
    }
}

/// Processor time in seconds.
struct Processor {
    own: f64,
    /// Of those that have ended.
    children: f64,
}

/// Processor time that a process has used.
fn processor(process: &str) -> Result<Processor> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name before the last bracket may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no stat")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let mut next = || ticks.next().context("no times")?.context("no figure");
    // A hundred a second, on every Linux that a bench runs on.
    Ok(Processor { own: (next()? + next()?) / 100.0, children: (next()? + next()?) / 100.0 })
}

async fn starts(binary: &Path, count: usize) -> Result<Vec<Row>> {
    let (mut fresh, mut again, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let dir = tempdir("starts")?;
        let up = Up::start(binary, &dir.0).await?;
        fresh.push(up.ready.as_secs_f64());
        tokio::time::sleep(Duration::from_secs(2)).await;
        idle.push(mega(up.resident()?));
        up.killed().await?;
        again.push(Up::start(binary, &dir.0).await?.ready.as_secs_f64());
    }
    let sample = format!("median of {count}: from spawning the process to its line of JSON");
    Ok(vec![
        Row {
            what: "start to ready, a new market".to_owned(),
            bar: "≤ 0.5 s",
            measured: format!("{:.2} s", quantile(&mut fresh, 0.5)),
            how: sample.clone(),
        },
        Row {
            what: "start to ready, after a kill -9".to_owned(),
            bar: "≤ 0.5 s",
            measured: format!("{:.2} s", quantile(&mut again, 0.5)),
            how: sample,
        },
        Row {
            what: "idle memory of `up`".to_owned(),
            bar: "≤ 100 MB",
            measured: format!("{:.0} MB", quantile(&mut idle, 0.5)),
            how: format!("median of {count}: VmRSS two seconds after ready"),
        },
    ])
}

async fn under_load(root: &Path, binary: &Path, bench: &Bench, rows: &mut Rows<'_>) -> Result<()> {
    let dir = tempdir("load")?;
    let up = Up::start(binary, &dir.0).await?;
    up.buy(root, binary, &[]).await?;
    rows.now("buying jobs one after another");
    let mut latencies = Vec::new();
    for _ in 0..bench.jobs {
        latencies.push(submit_to_verified_ms(&up.buy(root, binary, &[]).await?)?);
    }
    rows.add(Row {
        what: "no-op job, submit → verified result, p50".to_owned(),
        bar: "≤ 150 ms",
        measured: format!("{:.0} ms", quantile(&mut latencies, 0.5)),
        how: format!(
            "{} jobs of the CLI one after another, trust 1: from signing the request to the checked download",
            bench.jobs
        ),
    })?;
    rows.add(Row {
        what: "the same, p99".to_owned(),
        bar: "—",
        measured: format!("{:.0} ms", quantile(&mut latencies, 0.99)),
        how: "same sample".to_owned(),
    })?;
    rows.now("buying bags");
    let mut bags = Vec::new();
    for _ in 0..3 {
        bags.push(up.buy_bag(root, binary, bench.bag).await?);
    }
    let median = |of: fn(&Bag) -> f64| quantile(&mut bags.iter().map(of).collect::<Vec<_>>(), 0.5);
    rows.add(Row {
        what: "bag of no-op tasks".to_owned(),
        bar: "≥ 100 tasks/s",
        measured: format!(
            "{:.0} tasks/s, {:.2} ms",
            median(|bag| bag.paid_per_second),
            median(|bag| bag.processor_ms)
        ),
        how: format!(
            "medians of 3 bags of {}: from the match to the last task paid; processor time of `up` a task",
            bench.bag
        ),
    })?;
    rows.add(Row {
        what: "memory of `up` after that load".to_owned(),
        bar: "—",
        measured: format!("{:.0} MB", mega(up.resident()?)),
        how: "VmRSS at the end".to_owned(),
    })?;
    rows.now("buying the large bag");
    let large = up.buy_bag(root, binary, bench.large_bag).await?;
    rows.add(Row {
        what: format!("a bag of {} tasks", bench.large_bag),
        bar: "≥ 300 tasks/s",
        measured: format!("{:.0} tasks/s, {:.2} ms", large.paid_per_second, large.processor_ms),
        how: format!(
            "the same for one bag; with the buyer's own download and check of every result {:.0} tasks/s and {:.2} ms of the buyer's",
            large.verified_per_second, large.buyer_ms
        ),
    })?;
    rows.add(Row {
        what: "memory of `up` after that bag".to_owned(),
        bar: "flat",
        measured: format!("{:.0} MB", large.resident),
        how: "VmRSS at the end".to_owned(),
    })
}

/// What a bag took.
struct Bag {
    paid_per_second: f64,
    verified_per_second: f64,
    /// Of the market's process, for each task, what it gives the buyer included.
    processor_ms: f64,
    /// Of the buyer's process, for each task.
    buyer_ms: f64,
    /// Of the market's process, in megabytes.
    resident: f64,
}

/// The same bag behind more and more history, each time in the same market, which is filled by large bags in between.
async fn with_history(
    root: &Path,
    binary: &Path,
    bench: &Bench,
    rows: &mut Rows<'_>,
) -> Result<()> {
    let dir = tempdir("history")?;
    let up = Up::start(binary, &dir.0).await?;
    let deadline = Instant::now() + Duration::from_secs(bench.history_minutes * 60);
    up.buy(root, binary, &[]).await?;
    let mut behind = 0;
    let mut stages: Vec<usize> = [1_000, 10_000, 30_000, 100_000]
        .into_iter()
        .filter(|stage| *stage < bench.history)
        .collect();
    stages.push(bench.history);
    for stage in stages {
        while behind < stage && Instant::now() < deadline {
            let tasks = (stage - behind).min(HISTORY_BAG);
            rows.now(&format!("filling up to {stage} tasks of history, {behind} are there"));
            up.buy_bag(root, binary, tasks).await?;
            behind += tasks;
        }
        rows.now(&format!("buying a bag behind {behind} tasks of history"));
        let bag = up.buy_bag(root, binary, bench.bag).await?;
        rows.add(Row {
            what: format!("a bag of {} behind {behind}{BEHIND}", bench.bag),
            bar: "constant",
            measured: format!(
                "{:.0} tasks/s, {:.2} ms, {:.0} MB",
                bag.paid_per_second, bag.processor_ms, bag.resident
            ),
            how: format!(
                "from the match to the last task paid; processor time of `up` a task; its VmRSS. {:.2} ms of the buyer's",
                bag.buyer_ms
            ),
        })?;
        behind += bench.bag;
        if Instant::now() >= deadline {
            break;
        }
    }
    Ok(())
}

fn submit_to_verified_ms(outcome: &Value) -> Result<f64> {
    ["match", "settle", "verify"].iter().map(|phase| phase_ms(outcome, phase)).sum()
}

fn phase_ms(outcome: &Value, phase: &str) -> Result<f64> {
    outcome["receipt"]["phasesMs"][phase].as_f64().with_context(|| format!("no phase {phase}"))
}

fn quantile(sample: &mut [f64], q: f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a small sample"
    )]
    let place = ((sample.len().saturating_sub(1)) as f64 * q).round() as usize;
    sample.get(place).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Puts rows on docs/performance.md, between its two marks: each in the place of the one of its name, or at the end.
fn write_page(root: &Path, done: &[Row]) -> Result<()> {
    const START: &str = "<!-- bench -->\n";
    const END: &str = "<!-- /bench -->";
    let path = root.join("docs/performance.md");
    let page = fs::read_to_string(&path)?;
    let (before, rest) =
        page.split_once(START).context("docs/performance.md has no <!-- bench -->")?;
    let (old, after) =
        rest.split_once(END).context("docs/performance.md has no <!-- /bench -->")?;
    fs::write(&path, format!("{before}{START}{}{END}{after}", merged(old, done)))?;
    Ok(())
}

/// The table of old rows with new ones in it.
fn merged(old: &str, done: &[Row]) -> String {
    let name = |line: &str| line.split('|').nth(1).unwrap_or_default().trim().to_owned();
    let history_is_anew = done.iter().any(|row| row.what.contains(BEHIND));
    let mut lines: Vec<String> = Vec::new();
    let old = old.strip_prefix(HEAD).unwrap_or_default().lines();
    for line in old.filter(|line| !(history_is_anew && line.contains(BEHIND))) {
        let new = done.iter().find(|row| row.what == name(line));
        lines.push(new.map_or_else(|| line.to_owned(), Row::to_string));
    }
    for row in done {
        if !lines.iter().any(|line| name(line) == row.what) {
            lines.push(row.to_string());
        }
    }
    lines.into_iter().fold(HEAD.to_owned(), |table, line| table + &line + "\n")
}

/// A directory that goes with the measurement.
struct TempDir(PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tempdir(name: &str) -> Result<TempDir> {
    let mut random = [0u8; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let path = std::env::temp_dir().join(format!("gristmill-{name}-{}", hex::encode(random)));
    fs::create_dir(&path)?;
    Ok(TempDir(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, measured: &str) -> Row {
        Row { what: what.to_owned(), bar: "—", measured: measured.to_owned(), how: String::new() }
    }

    #[test]
    fn what_is_measured_takes_its_place_and_the_rest_stays() {
        let old = [row("a", "1"), row("b", "1"), row("behind 10 tasks of history", "1")];
        let old = merged("", &old);
        let new = [row("b", "2"), row("c", "2"), row("behind 9 tasks of history", "2")];
        let names = |done: &[Row]| -> Vec<String> {
            let table = merged(&old, done);
            let rows = table.strip_prefix(HEAD).unwrap().lines();
            rows.map(|line| line.replace("| — |", "").replace(['|', ' '], "")).collect()
        };
        assert_eq!(names(&new[..1]), ["a1", "b2", "behind10tasksofhistory1"]);
        assert_eq!(names(&new), ["a1", "b2", "c2", "behind9tasksofhistory2"]);
    }
}
