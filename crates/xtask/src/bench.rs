//! `cargo xtask bench`: what the market costs in time and memory, measured on the release binary as a user runs it, and
//! printed as one table against the bars that were set.
//!
//! Every figure is a median or a percentile within this one run; none is compared with a figure from another machine.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

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
    /// Write docs/performance.md too.
    #[arg(long)]
    write: bool,
}

/// One line of the table.
struct Row {
    what: String,
    bar: &'static str,
    measured: String,
    how: String,
}

/// Measures and prints.
pub(crate) fn run(root: &Path, bench: &Bench) -> Result<()> {
    let mut rows = Vec::new();
    if bench.cold_build {
        rows.push(cold_build(root)?);
    }
    let binary = release_binary(root)?;
    rows.extend(starts(&binary, bench.starts)?);
    rows.extend(under_load(root, &binary, bench)?);
    if bench.history > 0 {
        rows.extend(with_history(root, &binary, bench)?);
    }
    let size = fs::metadata(&binary)?.len();
    rows.push(Row {
        what: "release binary".to_owned(),
        bar: "≤ 60 MB",
        measured: format!("{:.1} MB", mega(size)),
        how: "size of target/release/gristmill".to_owned(),
    });
    let table = table(&rows);
    std::io::stdout().write_all(table.as_bytes())?;
    if bench.write {
        write_page(root, &table)?;
    }
    Ok(())
}

fn release_binary(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "gristmill"])
        .current_dir(root)
        .status()?;
    ensure!(built.success(), "the release build failed");
    Ok(root.join("target/release/gristmill"))
}

fn cold_build(root: &Path) -> Result<Row> {
    let target = tempdir("cold-build")?;
    let start = Instant::now();
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "gristmill", "--target-dir"])
        .arg(&target.0)
        .current_dir(root)
        .status()?;
    ensure!(built.success(), "the cold release build failed");
    Ok(Row {
        what: "first command's cold build".to_owned(),
        bar: "≤ 8 min",
        measured: format!("{:.1} min", start.elapsed().as_secs_f64() / 60.0),
        how: "one build into an empty target directory, crates already downloaded".to_owned(),
    })
}

/// A market that runs for the length of a measurement; stopped on drop.
struct Up {
    process: Child,
    origin: String,
    ready: Duration,
}

impl Up {
    fn start(binary: &Path, data_dir: &Path) -> Result<Self> {
        let start = Instant::now();
        let mut process = Command::new(binary)
            .args(["up", "--json", "--port", "0", "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start gristmill up")?;
        let stdout = process.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready = start.elapsed();
        let said: Value = serde_json::from_str(&line).context("gristmill up said no JSON")?;
        let origin = said["origin"].as_str().context("no origin")?.to_owned();
        Ok(Self { process, origin, ready })
    }

    /// Resident memory in bytes.
    fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib * 1024)
    }

    /// Processor time it has used, in seconds.
    fn processor_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name before the last bracket may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("no stat")?;
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
        let mut next = || ticks.next().context("no times")?.context("no figure");
        // A hundred a second, on every Linux that a bench runs on.
        Ok((next()? + next()?) / 100.0)
    }

    /// Buys that many runs of the no-op program, and waits for the checked results.
    fn buy(&self, root: &Path, binary: &Path, more: &[&str]) -> Result<Value> {
        let output = Command::new(binary)
            .arg("run")
            .arg(root.join("examples/noop/noop.wasm"))
            .args(["--json", "--market", &self.origin])
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()?;
        if !output.status.success() {
            bail!("run failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).context("run said no JSON")
    }

    fn buy_bag(&self, root: &Path, binary: &Path, tasks: usize) -> Result<Bag> {
        let before = self.processor_seconds()?;
        let outcome = self.buy(root, binary, &["--tasks", &tasks.to_string()])?;
        let count = f64::from(u32::try_from(tasks)?);
        Ok(Bag {
            paid_per_second: count / (phase_ms(&outcome, "settle")? / 1e3),
            verified_per_second: count
                / ((phase_ms(&outcome, "settle")? + phase_ms(&outcome, "verify")?) / 1e3),
            processor_ms: (self.processor_seconds()? - before) * 1e3 / count,
            resident: mega(self.resident()?),
        })
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It is ours and holds nothing that matters after the measurement.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn starts(binary: &Path, count: usize) -> Result<Vec<Row>> {
    let (mut fresh, mut again, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let dir = tempdir("starts")?;
        let up = Up::start(binary, &dir.0)?;
        fresh.push(up.ready.as_secs_f64());
        std::thread::park_timeout(Duration::from_secs(2));
        idle.push(mega(up.resident()?));
        drop(up);
        again.push(Up::start(binary, &dir.0)?.ready.as_secs_f64());
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

fn under_load(root: &Path, binary: &Path, bench: &Bench) -> Result<Vec<Row>> {
    let dir = tempdir("load")?;
    let up = Up::start(binary, &dir.0)?;
    let buy = |more: &[&str]| up.buy(root, binary, more);
    buy(&[])?;
    let mut latencies = Vec::new();
    for _ in 0..bench.jobs {
        latencies.push(submit_to_verified_ms(&buy(&[])?)?);
    }
    let mut speeds = Vec::new();
    for _ in 0..3 {
        let outcome = buy(&["--tasks", &bench.bag.to_string()])?;
        let tasks = f64::from(u32::try_from(bench.bag)?);
        speeds.push(tasks / (phase_ms(&outcome, "settle")? / 1e3));
    }
    let resident = mega(up.resident()?);
    let large = up.buy_bag(root, binary, bench.large_bag)?;
    Ok(vec![
        Row {
            what: "no-op job, submit → verified result, p50".to_owned(),
            bar: "≤ 150 ms",
            measured: format!("{:.0} ms", quantile(&mut latencies, 0.5)),
            how: format!(
                "{} jobs of the CLI one after another, trust 1: from signing the request to the checked download",
                bench.jobs
            ),
        },
        Row {
            what: "the same, p99".to_owned(),
            bar: "—",
            measured: format!("{:.0} ms", quantile(&mut latencies, 0.99)),
            how: "same sample".to_owned(),
        },
        Row {
            what: "bag of no-op tasks".to_owned(),
            bar: "≥ 100 tasks/s",
            measured: format!("{:.0} tasks/s", quantile(&mut speeds, 0.5)),
            how: format!("median of 3 bags of {}: from the match to the last task paid", bench.bag),
        },
        Row {
            what: "memory of `up` after that load".to_owned(),
            bar: "—",
            measured: format!("{resident:.0} MB"),
            how: "VmRSS at the end".to_owned(),
        },
        Row {
            what: format!("a bag of {} tasks", bench.large_bag),
            bar: "≥ 300 tasks/s",
            measured: format!("{:.0} tasks/s", large.paid_per_second),
            how: format!(
                "the same for one bag; with the buyer's own download and check of every result {:.0} tasks/s",
                large.verified_per_second
            ),
        },
        Row {
            what: "memory of `up` after that bag".to_owned(),
            bar: "flat",
            measured: format!("{:.0} MB", large.resident),
            how: "VmRSS at the end".to_owned(),
        },
    ])
}

/// What a bag took.
struct Bag {
    paid_per_second: f64,
    verified_per_second: f64,
    /// Of the market's process, for each task, the buyer's downloads included.
    processor_ms: f64,
    resident: f64,
}

/// The same bag behind more and more history, each time in the same market, which is filled by large bags in between.
fn with_history(root: &Path, binary: &Path, bench: &Bench) -> Result<Vec<Row>> {
    let dir = tempdir("history")?;
    let up = Up::start(binary, &dir.0)?;
    let deadline = Instant::now() + Duration::from_secs(bench.history_minutes * 60);
    up.buy(root, binary, &[])?;
    let (mut rows, mut behind) = (Vec::new(), 0);
    let mut stages: Vec<usize> = [1_000, 10_000, 30_000, 100_000]
        .into_iter()
        .filter(|stage| *stage < bench.history)
        .collect();
    stages.push(bench.history);
    for stage in stages {
        while behind < stage && Instant::now() < deadline {
            let tasks = (stage - behind).min(10_000);
            up.buy_bag(root, binary, tasks)?;
            behind += tasks;
        }
        let bag = up.buy_bag(root, binary, bench.bag)?;
        rows.push(Row {
            what: format!("a bag of {} behind {behind} tasks of history", bench.bag),
            bar: "constant",
            measured: format!(
                "{:.0} tasks/s, {:.2} ms, {:.0} MB",
                bag.paid_per_second, bag.processor_ms, bag.resident
            ),
            how: "from the match to the last task paid; the market's processor time a task; its VmRSS"
                .to_owned(),
        });
        behind += bench.bag;
        if Instant::now() >= deadline {
            break;
        }
    }
    Ok(rows)
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

fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | bar | measured | how |\n|---|---|---|---|\n");
    for row in rows {
        text += &format!("| {} | {} | {} | {} |\n", row.what, row.bar, row.measured, row.how);
    }
    text
}

/// Replaces the part of docs/performance.md between its two marks.
fn write_page(root: &Path, table: &str) -> Result<()> {
    const START: &str = "<!-- bench -->\n";
    const END: &str = "<!-- /bench -->";
    let path = root.join("docs/performance.md");
    let page = fs::read_to_string(&path)?;
    let (before, rest) =
        page.split_once(START).context("docs/performance.md has no <!-- bench -->")?;
    let (_, after) = rest.split_once(END).context("docs/performance.md has no <!-- /bench -->")?;
    let mut file = fs::File::create(&path)?;
    write!(file, "{before}{START}{table}{END}{after}")?;
    Ok(())
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
