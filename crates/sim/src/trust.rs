//! What docs/trust.md states, from nothing but seeds: how likely a wrong result is, what cheating gains, and what
//! confidence costs. The same on every machine, so the page can be held to it row by row.

use std::fmt::Write as _;

use crate::scenario::{
    Bag, COSTS, Net, PoolConduct, PoolSpec, RUN_PRICE, RequesterConduct, Rules, Scenario, Strategy,
    WorkerSpec,
};
use crate::svg::{Bar, Line, Plot, bars};
use crate::sweep::sweep;
use crate::tally::{Rate, Tally};
use crate::{Role, runs_expected};

/// A market with one scheduler where all tasks are alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// The trust asked for.
    pub trust: u64,
    /// How the bad ones behave.
    pub strategy: Strategy,
    /// The share of bad workers, in millionths: each worker is bad with that probability.
    pub bad_ppm: u32,
    /// Bad workers beside, for certain.
    pub bad_least: usize,
    /// Workers.
    pub workers: usize,
    /// Everybody's score at the start.
    pub score: u64,
    /// Tasks of each simulation.
    pub tasks: u32,
    /// How the scheduler behaves.
    pub pool: PoolConduct,
    /// How the requester behaves.
    pub requester: RequesterConduct,
    /// The rules.
    pub rules: Rules,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            trust: 1,
            strategy: Strategy::Colluder(0),
            bad_ppm: 0,
            bad_least: 0,
            workers: 16,
            score: 0,
            tasks: 6,
            pool: PoolConduct::Honest,
            requester: RequesterConduct::Honest,
            rules: Rules::default(),
        }
    }
}

impl Setting {
    /// A market with more workers than its tasks can want: where there are too few, those who run nothing are free more
    /// often than their number says, and take more than their share.
    fn roomy() -> Self {
        Self { workers: 48, tasks: 5, ..Self::default() }
    }

    /// The market of that seed.
    pub fn scenario(&self, seed: u64) -> Scenario {
        let mut chance = crate::chance::Chance::new(seed, 7);
        let worker = |place| {
            let bad = chance.happens(self.bad_ppm) || place < self.bad_least;
            let strategy = if bad { self.strategy } else { Strategy::Honest };
            let pace = chance.between(800, 1_200);
            WorkerSpec { pool: 0, strategy, score: self.score, slots: 1, pace }
        };
        let workers = (0..self.workers).map(worker).collect();
        let cut = if self.pool == PoolConduct::PriceCutter { 3 } else { 1 };
        let pool = PoolSpec { conduct: self.pool, price_per_run: RUN_PRICE / cut, clock_ahead: 0 };
        // Bought over time: what is learnt of a worker comes too late for what is under way already.
        let at_once = 6.min(self.tasks.max(1));
        let bag = |place: u32| Bag {
            requester: 0,
            conduct: self.requester,
            pool: None,
            at_ms: 1_000 + 60_000 * u64::from(place),
            tasks: at_once.min(self.tasks - place * at_once),
            trust: self.trust,
            run_ms: 20_000,
        };
        Scenario {
            seed,
            rules: self.rules,
            costs: COSTS,
            kitty: 0,
            net: Net {
                delay_ms: 20,
                jitter_ms: 60,
                loss_ppm: 0,
                duplicate_ppm: 0,
                block_ms: 1_000,
            },
            faults: Vec::new(),
            pools: vec![pool],
            workers,
            bags: (0..self.tasks.div_ceil(at_once)).map(bag).collect(),
        }
    }

    /// Sums over that many markets.
    pub fn measure(&self, seeds: u64) -> Result<Tally> {
        self.measure_from(0, seeds)
    }

    /// The same, from another seed on.
    pub fn measure_from(&self, base: u64, seeds: u64) -> Result<Tally> {
        let swept = sweep(base, seeds, None, |seed| self.scenario(seed));
        swept.failure.map_or(Ok(swept.tally), Err)
    }
}

/// Shares of dishonest workers in the tables, in percent.
pub const SHARES: [u32; 6] = [1, 5, 10, 20, 30, 40];
/// Trust asked for in the tables.
pub const TRUSTS: [u64; 6] = [1, 2, 4, 8, 16, 64];
/// Markets of five tasks behind each figure of the first table.
const WRONG_SEEDS: u64 = 1_200;
/// Markets behind each figure of the second.
const GAIN_SEEDS: u64 = 40;
/// Tasks of each of these.
const GAIN_TASKS: u32 = 240;

type Result<T> = std::result::Result<T, crate::sweep::Failure>;

/// The row of the first table for a share of dishonest workers: wrong results of a thousand.
pub fn wrong_row(share: u32) -> Result<(String, Vec<Rate>)> {
    let mut row = format!("| {share} % |");
    let mut rates = Vec::new();
    for trust in TRUSTS {
        let setting = Setting { trust, bad_ppm: share * 10_000, ..Setting::roomy() };
        let rate = setting.measure(WRONG_SEEDS)?.wrong_rate;
        let foretold = race(f64::from(share) / 100.0, runs_expected(trust));
        let _ = write!(
            row,
            " {:.1} ± {:.1} ({:.1}) |",
            rate.mean() * 1e3,
            rate.margin() * 1e3,
            foretold * 1e3
        );
        rates.push(rate);
    }
    Ok((row, rates))
}

/// How likely it is that those who are wrong, each with probability `share`, are the first `runs` to agree.
pub fn race(share: f64, runs: u64) -> f64 {
    // The last to come is wrong; among those before, runs − 1 are wrong and fewer than runs right, in any order.
    let (mut sum, mut ways) = (0.0, share);
    for _ in 1..runs {
        ways *= share;
    }
    for right in 0..runs {
        sum += ways;
        let (of, next) = (precise(runs + right), precise(right + 1));
        ways *= (1.0 - share) * of / next;
    }
    sum
}

/// The cheats of the second table.
pub fn cheats() -> Vec<(&'static str, Setting)> {
    let with = |strategy, bad_least| Setting {
        strategy,
        bad_least,
        tasks: GAIN_TASKS,
        ..Setting::default()
    };
    vec![
        ("lazy", with(Strategy::Lazy, 1)),
        ("two that collude", with(Strategy::Colluder(0), 2)),
        ("four that collude", with(Strategy::Colluder(0), 4)),
        ("a Sybil of three wallets", with(Strategy::Sybil(0), 3)),
        ("two sleepers", Setting { tasks: 3 * GAIN_TASKS, ..with(Strategy::Sleeper(0), 2) }),
        ("free-rider", with(Strategy::FreeRider, 1)),
        ("withholder", with(Strategy::Withholder, 1)),
        ("equivocator", with(Strategy::Equivocator(0), 1)),
    ]
}

/// The row of the second table for a cheat: what it gains beyond an honest worker of the same market, per task that the
/// honest one takes, and in brackets what it has per task it takes itself; in thousandths of a run's price.
pub fn gain_row(name: &str, setting: &Setting) -> Result<(String, Vec<Rate>)> {
    let mut row = format!("| {name} |");
    let mut edges = Vec::new();
    for trust in [1, 2, 4, 8] {
        let tally = Setting { trust, ..*setting }.measure(GAIN_SEEDS)?;
        let is_cheat = |role: &Role| matches!(role, Role::Worker(it) if *it != Strategy::Honest);
        let cheat = tally.gains.iter().find(|(role, _)| is_cheat(role));
        let own = cheat.map_or(0.0, |(_, rate)| rate.mean());
        let edge = tally.edge;
        let (mean, margin, own) = (milli(edge.mean()), milli(edge.margin()), milli(own));
        let _ = write!(row, " {mean:+.0} ± {margin:.0} ({own:+.0}) |");
        edges.push(edge);
    }
    Ok((row, edges))
}

/// The rows for schedulers and requesters.
pub fn other_rows() -> Result<Vec<(String, String, Rate)>> {
    let pools = [
        PoolConduct::PriceCutter,
        PoolConduct::WithholdsAuthorisation,
        PoolConduct::NeverFinalizes,
    ];
    let mut rows = Vec::new();
    let mut measure = |name: &str, role: Role, setting: Setting| -> Result<()> {
        let rate = setting.measure(GAIN_SEEDS)?.gains.get(&role).copied().unwrap_or_default();
        let (mean, margin) = (milli(rate.mean()), milli(rate.margin()));
        rows.push((name.to_owned(), format!("| {name} | {mean:+.0} ± {margin:.0} |"), rate));
        Ok(())
    };
    let base = Setting { trust: 4, tasks: 12, ..Setting::default() };
    measure("honest scheduler", Role::Pool(PoolConduct::Honest), base)?;
    for pool in pools {
        measure(pool.name(), Role::Pool(pool), Setting { pool, ..base })?;
    }
    let cut = Setting { pool: PoolConduct::PriceCutter, ..base };
    measure("worker of a price cutter", Role::Worker(Strategy::Honest), cut)?;
    let requester = RequesterConduct::Griefing;
    // One bag: all of a requester's money is then that bag's.
    let grief = Setting { requester, tasks: 6, ..base };
    measure(requester.name(), Role::Requester(requester), grief)?;
    Ok(rows)
}

/// The row of the third table for a trust: runs per task and wrong results at one worker in ten dishonest.
pub fn cost_row(trust: u64) -> Result<(String, [f64; 3])> {
    const SHARE: f64 = 0.1;
    let measure = |score| {
        let setting = Setting { trust, bad_ppm: 100_000, score, ..Setting::roomy() };
        setting.measure(WRONG_SEEDS)
    };
    let (fresh, known) = (measure(0)?, measure(30)?);
    let fixed = fixed_runs(SHARE, fresh.wrong_rate.mean().max(1e-6));
    let row = format!(
        "| {trust} | {:.1} % | {:.2} | {:.1} | {:.2} | {:.1} | {fixed} | {:.1} |",
        (1.0 - 1.0 / precise(trust)) * 1e2,
        fresh.runs_rate.mean(),
        fresh.wrong_rate.mean() * 1e3,
        known.runs_rate.mean(),
        known.wrong_rate.mean() * 1e3,
        majority_wrong(SHARE, fixed) * 1e3,
    );
    Ok((row, [fresh.runs_rate.mean(), known.runs_rate.mean(), precise(fixed)]))
}

/// The fewest runs, always the same number, whose majority is wrong at most so often.
fn fixed_runs(share: f64, wrong: f64) -> u64 {
    (1..100).step_by(2).find(|runs| majority_wrong(share, *runs) <= wrong).unwrap_or(101)
}

/// How likely it is that the majority of an odd number of runs is wrong.
fn majority_wrong(share: f64, runs: u64) -> f64 {
    // Going on to run until one side has a majority of all changes nothing.
    race(share, runs.div_ceil(2))
}

/// The page's tables and the drawings beside it: file names and contents.
pub fn report() -> Result<(String, Vec<(&'static str, String)>)> {
    let mut page = String::new();
    let mut wrong_lines: Vec<Line> = TRUSTS
        .iter()
        .map(|trust| Line { name: format!("trust {trust}"), points: Vec::new(), dashed: false })
        .collect();
    page.push_str(WRONG_HEAD);
    for share in SHARES {
        let (row, rates) = wrong_row(share)?;
        let _ = writeln!(page, "{row}");
        for (line, rate) in wrong_lines.iter_mut().zip(rates) {
            line.points.push((f64::from(share), rate.mean(), rate.margin()));
        }
    }
    for trust in [4, 16] {
        let promise = 1.0 / precise(trust);
        wrong_lines.push(Line {
            name: format!("promise at trust {trust}"),
            points: vec![(0.0, promise, 0.0), (33.3, promise, 0.0)],
            dashed: true,
        });
    }
    page.push_str(GAIN_HEAD);
    let mut gain_bars = Vec::new();
    for (name, setting) in cheats() {
        let (row, edges) = gain_row(name, &setting)?;
        let _ = writeln!(page, "{row}");
        for (edge, trust) in edges.iter().step_by(2).zip([1, 4]) {
            gain_bars.push(bar(&format!("{name}, trust {trust}"), edge));
        }
    }
    page.push_str(OTHER_HEAD);
    for (name, row, rate) in other_rows()? {
        let _ = writeln!(page, "{row}");
        if rate.mean() < 0.0 || !name.starts_with("honest") {
            gain_bars.push(bar(&name, &rate));
        }
    }
    page.push_str(COST_HEAD);
    let mut costs = ["adaptive, fresh workers", "adaptive, workers with a name", "fixed"]
        .map(|name| Line { name: name.to_owned(), points: Vec::new(), dashed: name == "fixed" });
    for trust in TRUSTS {
        let (row, runs) = cost_row(trust)?;
        let _ = writeln!(page, "{row}");
        for (line, runs) in costs.iter_mut().zip(runs) {
            line.points.push((precise(trust), runs, 0.0));
        }
    }
    let wrong = Plot {
        title: "Wrong results accepted".to_owned(),
        x: "dishonest workers, %".to_owned(),
        y: "probability".to_owned(),
        logarithmic: true,
        lines: wrong_lines,
    };
    let runs = Plot {
        title: "What confidence costs, one worker in ten dishonest".to_owned(),
        x: "trust asked for".to_owned(),
        y: "runs per task".to_owned(),
        logarithmic: false,
        lines: costs.to_vec(),
    };
    let gains = bars("What cheating gains", "thousandths of a run's price per task", &gain_bars);
    Ok((page, vec![("wrong.svg", wrong.svg()), ("gain.svg", gains), ("runs.svg", runs.svg())]))
}

/// One row of the page that is quick to make: a test holds the page to it.
pub fn sample_row() -> Result<String> {
    let (name, setting) = cheats().swap_remove(0);
    Ok(gain_row(name, &setting)?.0)
}

/// Where the tables begin and end in the page.
const BEGIN: &str = "<!-- Made by `cargo xtask sim --report --write`. -->\n";
const END: &str = "<!-- Made until here. -->\n";

/// The page with these tables in the place of its own; nothing if it has no place for them.
pub fn with_tables(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{tables}\n{END}{after}"))
}

fn bar(name: &str, rate: &Rate) -> Bar {
    Bar { name: name.to_owned(), value: milli(rate.mean()), margin: milli(rate.margin()) }
}

/// In thousandths of a run's price.
fn milli(nrlc: f64) -> f64 {
    nrlc / precise(RUN_PRICE) * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn precise(number: u64) -> f64 {
    number as f64
}

const WRONG_HEAD: &str = "
### Wrong results of a thousand

| dishonest | trust 1 | trust 2 | trust 4 | trust 8 | trust 16 | trust 64 |
|---|---|---|---|---|---|---|
";
const GAIN_HEAD: &str = "
### What a worker gains by cheating, in thousandths of a run's price

| who | trust 1 | trust 2 | trust 4 | trust 8 |
|---|---|---|---|---|
";
const OTHER_HEAD: &str = "
### What schedulers and requesters gain per task, in thousandths of a run's price

| who | trust 4 |
|---|---|
";
const COST_HEAD: &str = "
### Runs per task and wrong results of a thousand, one worker in ten dishonest

| trust | asked for | runs | wrong | runs, known workers | wrong | fixed runs as good | wrong |
|---|---|---|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_race_is_counted_right() {
        let check = |share: f64, runs, expected: f64| {
            let counted = race(share, runs);
            assert!((counted - expected).abs() < 1e-12, "{share}, {runs}: {counted}");
        };
        check(0.25, 1, 0.25);
        check(0.5, 4, 0.5);
        // Two of at most three: both first, or one of the first two and the third.
        check(0.1, 2, 0.01 + 2.0 * 0.1 * 0.9 * 0.1);
        check(0.0, 3, 0.0);
    }
}
