//! `gristmill roi`: what a machine would earn as a worker, and what it would cost.
//!
//! Every figure of the estimate is given on the command line, or else measured in the past of a market, or else simulated
//! or assumed; which of these it is, is said. The arithmetic is in `estimate`, the past in `history`.

mod estimate;
mod history;

use std::fmt;

use clap::Args;
use primitives::Nrlc;
use serde_json::{Value, json};
use sim::trust::Setting;
use url::Url;

use crate::failure::{Exit, Failure};
use crate::proof::{reach, say};
use crate::simulate::measure;
use estimate::{Estimate, Machine, Work, capacity, estimate};
use history::History;

/// `gristmill roi`.
#[derive(Debug, Clone, Args)]
pub struct RoiArgs {
    /// Go by the past of this market: what its workers were paid, and how much work there was. Without URL: of one that
    /// runs on this machine. Without --market: by simulated markets and assumptions.
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    pub market: Option<Option<Url>>,

    /// How much of its past.
    #[arg(long, default_value_t = 7, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub days: u32,

    /// Processors: tasks at once, one each.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub cpus: u32,

    /// Memory, in GiB. A task takes up half a GiB.
    #[arg(long, default_value_t = 8.0, value_name = "GIB")]
    pub memory: f64,

    /// What the machine draws while all of it computes, in watts.
    #[arg(long, default_value_t = 80.0, value_name = "W")]
    pub watts: f64,

    /// What it draws while it waits for work. Default: 40 % of --watts.
    #[arg(long, value_name = "W")]
    pub idle_watts: Option<f64>,

    /// What electricity costs.
    #[arg(long, default_value_t = 0.3, value_name = "PER_KWH")]
    pub kwh_price: f64,

    /// What the machine costs, in the same money.
    #[arg(long, default_value_t = 500.0, value_name = "PRICE")]
    pub machine_price: f64,

    /// What an RLC is worth, in the same money.
    #[arg(long, default_value_t = 1.0, value_name = "PRICE")]
    pub rlc_price: f64,

    /// What a coin that the chain takes for gas is worth, in the same money.
    #[arg(long, default_value_t = 2_500.0, value_name = "PRICE")]
    pub coin_price: f64,

    /// What gas costs, in billionths of a coin. Default: as measured, else 0.02.
    #[arg(long, value_name = "GWEI")]
    pub gas_price: Option<f64>,

    /// What the pool asks for a run, like 0.05RLC. Default: workers are paid as measured, else of 0.05 RLC.
    #[arg(long, value_name = "AMOUNT")]
    pub price: Option<Nrlc>,

    /// The pool's share, in percent. Measured pay has it taken off already.
    #[arg(long, default_value_t = 10.0, value_name = "PERCENT")]
    pub pool_fee: f64,

    /// How long a run takes, in minutes. Default: as measured, else 5.
    #[arg(long, value_name = "MINUTES")]
    pub run_minutes: Option<f64>,

    /// How much of the time there is work for a machine of the market, in percent. Default: as measured, else 20.
    #[arg(long, value_name = "PERCENT")]
    pub busy: Option<f64>,

    /// How much of an equal part of the work this machine gets, in percent: a newcomer gets less than others.
    #[arg(long, default_value_t = 75.0, value_name = "PERCENT")]
    pub share: f64,

    /// Runs that this machine begins and is not paid for, in percent: it was off, too slow, cut off.
    #[arg(long, default_value_t = 3.0, value_name = "PERCENT")]
    pub failures: f64,

    /// The trust that requesters ask for, where it is not measured.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub trust: u64,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const GIB_PER_TASK: f64 = 0.5;
/// Of the pool's price for a task, what each of its workers stakes.
const STAKE_SHARE: f64 = 0.3;
/// Of a machine's draw under load, what it draws at rest.
const IDLE_SHARE: f64 = 0.4;
const BUSY_PERCENT: f64 = 20.0;
const RUN_MINUTES: f64 = 5.0;
const PRICE_RLC: f64 = 0.05;
const GWEI: f64 = 0.02;
const COINS_PER_GWEI: f64 = 1e-9;
const NRLC_PER_RLC: f64 = 1e9;
/// Gas of a worker's transactions of a run, as `contracts/snapshots/gas.txt` has it: all in one, and contribute and reveal.
const GAS_ALONE: f64 = 183_198.0;
const GAS_TWICE: f64 = 136_298.0 + 43_380.0;
const SEEDS: u64 = 300;
/// With fewer contributions a market's past says little.
const RUNS_FEW: f64 = 1_000.0;
/// A machine that takes longer to pay back is worn out before.
const MONTHS_LASTED: f64 = 60.0;

/// Estimates and prints.
///
/// # Errors
/// GM-8104 a figure that no machine has, GM-8105 a market where nobody worked, GM-8102 a broken promise, GM-5006 and
/// GM-3102 a market that does not answer, GM-5009 nobody takes the answer.
pub async fn roi(args: &RoiArgs) -> Result<(), Failure> {
    check(args)?;
    let history = match &args.market {
        None => None,
        Some(named) => {
            let named = match named {
                Some(origin) => Some(origin.clone()),
                None => in_environment()?,
            };
            Some(history::read(&reach(named.as_ref()).await?, args.days).await?)
        }
    };
    let machine = machine(args);
    let paid_share = match (&history, args.price) {
        (Some(_), None) => None,
        _ => Some(paid_share(args)?),
    };
    let (work, assumptions) = work(args, &machine, history.as_ref(), paid_share);
    let it = estimate(&machine, &work);
    let answer = match args.json {
        true => as_json(&it, history.as_ref(), &assumptions).to_string(),
        false => in_words(&it, &machine, history.as_ref(), &assumptions),
    };
    say(&answer)
}

fn in_environment() -> Result<Option<Url>, Failure> {
    let Ok(text) = std::env::var("GRISTMILL_MARKET") else { return Ok(None) };
    text.parse().map(Some).map_err(|error: url::ParseError| {
        Failure::new("GM-5006", Exit::Market, "$GRISTMILL_MARKET is no URL").because(error)
    })
}

fn check(args: &RoiArgs) -> Result<(), Failure> {
    let most = f64::MAX;
    let minutes = args.run_minutes.unwrap_or(RUN_MINUTES) - f64::EPSILON;
    let figures = [
        ("--memory", args.memory, most),
        ("--watts", args.watts, most),
        ("--idle-watts", args.idle_watts.unwrap_or_default(), most),
        ("--kwh-price", args.kwh_price, most),
        ("--rlc-price", args.rlc_price, most),
        ("--coin-price", args.coin_price, most),
        ("--gas-price", args.gas_price.unwrap_or_default(), most),
        ("--machine-price", args.machine_price, most),
        ("--pool-fee", args.pool_fee, 100.0),
        ("--busy", args.busy.unwrap_or_default(), 100.0),
        ("--share", args.share, most),
        ("--failures", args.failures, 100.0),
        ("--run-minutes", minutes, most),
    ];
    match figures.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
        None => Ok(()),
        Some((name, value, _)) => {
            Err(Failure::new("GM-8104", Exit::Usage, format!("{name} cannot be {value}"))
                .fix("give a number from zero up; shares are percentages up to 100"))
        }
    }
}

/// Of a run's price, what an honest worker is paid: some runs lose a vote, some tasks are refunded.
fn paid_share(args: &RoiArgs) -> Result<f64, Failure> {
    let setting = Setting { trust: args.trust, bad_ppm: 50_000, tasks: 48, ..Setting::default() };
    let tally = measure(&setting, SEEDS)?;
    let honest = sim::Role::Worker(sim::scenario::Strategy::Honest);
    let gain = tally.gains.get(&honest).map_or(0.0, sim::tally::Rate::mean);
    // The simulated worker's costs are its own; what is wanted is what it was paid of a run's price.
    let costs = sim::scenario::COSTS;
    let transactions = if args.trust > 1 { 2 } else { 1 };
    let spent = costs.run + costs.presence + transactions * costs.transaction;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let paid_share = (gain + spent as f64) / sim::scenario::RUN_PRICE_F64;
    // The simulated pool keeps one percent; this one may keep another share.
    Ok(paid_share * (1.0 - args.pool_fee / 100.0) / 0.99)
}

fn machine(args: &RoiArgs) -> Machine {
    Machine {
        slots: f64::from(args.cpus).min((args.memory / GIB_PER_TASK).floor()),
        watts: args.watts,
        idle_watts: args.idle_watts.unwrap_or(args.watts * IDLE_SHARE).min(args.watts),
        kwh_price: args.kwh_price,
        machine_price: args.machine_price,
        rlc_price: args.rlc_price,
        coin_price: args.coin_price,
    }
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Measured,
    Simulated,
    /// On the command line, or as that has it by default.
    Assumed,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Measured => "measured",
            Self::Simulated => "simulated",
            Self::Assumed => "assumed",
        })
    }
}

/// Something that the estimate rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Assumption {
    source: Source,
    what: String,
}

/// The work that will come, and what makes one think so.
fn work(
    args: &RoiArgs,
    machine: &Machine,
    history: Option<&History>,
    paid_share: Option<f64>,
) -> (Work, Vec<Assumption>) {
    let mut guess = Guess { args, history, paid_share, notes: Vec::new() };
    let run_minutes = guess.run_minutes();
    let work = Work {
        runs_per_hour: guess.equal_part(machine, run_minutes) * args.share / 1e2,
        run_minutes,
        failures: args.failures / 1e2,
        paid_rlc: guess.paid_rlc(),
        stake_rlc: guess.stake_rlc(),
        gas_coins: guess.gas_coins(),
    };
    guess.rest(machine);
    (work, guess.notes)
}

/// Takes what is given before what is measured, and that before what is assumed; and notes it.
struct Guess<'a> {
    args: &'a RoiArgs,
    history: Option<&'a History>,
    /// Of a run's price, what workers are paid, where the pay is not measured.
    paid_share: Option<f64>,
    notes: Vec<Assumption>,
}

impl Guess<'_> {
    fn note(&mut self, source: Source, what: String) {
        self.notes.push(Assumption { source, what });
    }

    fn run_minutes(&mut self) -> f64 {
        let measured = self.history.and_then(|it| it.run_seconds);
        if let (None, Some(seconds)) = (self.args.run_minutes, measured) {
            let minutes = seconds / 60.0;
            let what = format!(
                "a run takes {minutes:.2} minutes: half of all contributions came sooner after their task began"
            );
            self.note(Source::Measured, what);
            return minutes;
        }
        let minutes = self.args.run_minutes.unwrap_or(RUN_MINUTES);
        self.note(Source::Assumed, format!("a run takes {minutes} minutes"));
        minutes
    }

    /// Runs in an hour for each machine, if all had as many.
    fn equal_part(&mut self, machine: &Machine, run_minutes: f64) -> f64 {
        let part = if let (None, Some(history)) = (self.args.busy, self.history) {
            let (others, per_hour) = (history.runs_of.len(), history.runs_per_hour());
            let what = format!(
                "{per_hour:.2} runs came in an hour to {others} workers, which this machine will be one more of"
            );
            self.note(Source::Measured, what);
            let largest = history.largest_share() * 1e2;
            let what = format!("the busiest of them had {largest:.0} % of the runs");
            self.note(Source::Measured, what);
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let all = (others + 1) as f64;
            per_hour / all
        } else {
            let busy = self.args.busy.unwrap_or(BUSY_PERCENT);
            let what = format!("a machine of the market has work {busy} % of the time");
            self.note(Source::Assumed, what);
            capacity(machine.slots, run_minutes) * busy / 1e2
        };
        let what = format!("of an equal part of the work this machine gets {} %", self.args.share);
        self.note(Source::Assumed, what);
        part
    }

    fn paid_rlc(&mut self) -> f64 {
        let paid = if let (None, Some(history)) = (self.paid_share, self.history) {
            let (paid, runs) = (history.paid_rlc / history.runs(), history.runs());
            let (refunded, faulty) = (history.refunded, history.faulty);
            let ended = history.completed + refunded;
            let what = format!(
                "a run was paid {paid:.6} RLC, with refunds ({refunded} of {ended} tasks) and lost stakes ({faulty} of \
                 {runs:.0} runs) taken off"
            );
            self.note(Source::Measured, what);
            paid
        } else {
            let (price, share) = (self.price_rlc(), self.paid_share.unwrap_or(1.0));
            let RoiArgs { pool_fee, trust, .. } = self.args;
            let what = format!("the pool asks {price} RLC for a run and keeps {pool_fee} %");
            self.note(Source::Assumed, what);
            let percent = share * 1e2;
            let what = format!(
                "of that price a run brings {percent:.0} %, as honest workers had in {SEEDS} markets at trust {trust} \
                 where one worker in twenty lies"
            );
            self.note(Source::Simulated, what);
            price * share
        };
        let failures = self.args.failures;
        let what = format!("{failures} % of the runs that it begins fail and bring nothing");
        self.note(Source::Assumed, what);
        paid
    }

    fn price_rlc(&self) -> f64 {
        self.args.price.map_or(PRICE_RLC, |price| f64::from(price.0) / NRLC_PER_RLC)
    }

    fn stake_rlc(&mut self) -> f64 {
        if let (None, Some(history)) = (self.args.price, self.history) {
            let stake = history.stake_rlc;
            let what =
                format!("a run locks {stake:.6} RLC, lost if its result loses or is withheld");
            self.note(Source::Measured, what);
            return stake;
        }
        let trust = self.args.trust;
        #[expect(clippy::cast_precision_loss, reason = "a handful of runs")]
        let task_price = self.price_rlc() * sim::runs_expected(trust) as f64;
        let stake = if trust > 1 { STAKE_SHARE * task_price } else { 0.0 };
        let percent = STAKE_SHARE * 1e2;
        let what = format!(
            "a run locks {stake:.6} RLC: {percent:.0} % of a task's price, nothing at trust 1"
        );
        self.note(Source::Assumed, what);
        stake
    }

    fn gas_coins(&mut self) -> f64 {
        let measured = self.history.and_then(|it| it.gas);
        let (source, units) = match measured {
            Some((units, _)) => (Source::Measured, units),
            None if self.args.trust > 1 => (Source::Assumed, GAS_TWICE),
            None => (Source::Assumed, GAS_ALONE),
        };
        self.note(source, format!("the transactions of a run take {units:.0} gas"));
        if let (None, Some((_, coins))) = (self.args.gas_price, measured) {
            self.note(Source::Measured, format!("which costs {coins:.9} coins"));
            return coins;
        }
        let gwei = self.args.gas_price.unwrap_or(GWEI);
        self.note(Source::Assumed, format!("gas costs {gwei} billionths of a coin"));
        units * gwei * COINS_PER_GWEI
    }

    fn rest(&mut self, machine: &Machine) {
        let Machine { watts, idle_watts, kwh_price, machine_price, rlc_price, coin_price, .. } =
            machine;
        let worth = format!(
            "an RLC is worth {rlc_price}, a coin of the chain {coin_price}, a kWh {kwh_price}, the machine {machine_price}"
        );
        let drawn = format!(
            "{watts} W are drawn while all of it computes, {idle_watts:.0} W at rest, and it is never off"
        );
        let always = "the machine is honest, and tomorrow's market and prices are like yesterday's";
        for what in [worth, drawn, always.to_owned()] {
            self.note(Source::Assumed, what);
        }
        let runs = self.history.map(History::runs).filter(|runs| *runs < RUNS_FEW);
        if let Some(runs) = runs {
            let what = format!("all that is measured rests on {runs:.0} runs, which are few");
            self.note(Source::Measured, what);
        }
    }
}

fn in_words(
    it: &Estimate,
    machine: &Machine,
    history: Option<&History>,
    assumptions: &[Assumption],
) -> String {
    let pay_back = match it.pay_back_months {
        Some(months) if months <= MONTHS_LASTED => format!("{months:.1} months"),
        Some(months) => format!("{months:.0} months, longer than such a machine lasts"),
        None => "never: it costs more than the work brings".to_owned(),
    };
    let mut lines = vec![
        "a month, as estimated".to_owned(),
        format!("runs           {:.0}, busy {:.1} % of the time", it.runs, it.busy * 1e2),
        format!("income         {:.3} RLC = {:.2}", it.income_rlc, it.income),
        format!("electricity    {:.2}", it.electricity),
        format!("transactions   {:.2}", it.gas),
        format!("profit         {:.2}", it.profit),
        format!(
            "stake at risk  {:.3} RLC when {} tasks are under way",
            it.stake_rlc, machine.slots
        ),
        format!("pay-back       {pay_back}"),
    ];
    if let Some(history) = history {
        lines.push(String::new());
        lines.push(format!("what was paid, in {:.1} hours", history.hours));
        for (category, prices) in &history.categories {
            lines.push(format!(
                "category {category:<5} {:.0} tasks at {:.6} RLC ({:.6} to {:.6})",
                prices.tasks, prices.mean, prices.least, prices.most
            ));
        }
    }
    lines.push(String::new());
    lines.push("what it rests on".to_owned());
    lines.extend(assumptions.iter().map(|it| format!("{:<10} {}", it.source, it.what)));
    lines.join("\n")
}

fn as_json(it: &Estimate, history: Option<&History>, assumptions: &[Assumption]) -> Value {
    let assumptions: Vec<_> = assumptions
        .iter()
        .map(|it| json!({ "source": it.source.to_string(), "what": it.what }))
        .collect();
    json!({
        "runsPerMonth": it.runs,
        "busyShare": it.busy,
        "incomeRlcPerMonth": it.income_rlc,
        "incomePerMonth": it.income,
        "electricityPerMonth": it.electricity,
        "transactionsPerMonth": it.gas,
        "profitPerMonth": it.profit,
        "stakeAtRiskRlc": it.stake_rlc,
        "payBackMonths": it.pay_back_months,
        "history": history.map(history_json),
        "assumptions": assumptions,
    })
}

fn history_json(history: &History) -> Value {
    let categories: Vec<_> = history
        .categories
        .iter()
        .map(|(category, prices)| {
            json!({
                "category": category.to_string(), "tasks": prices.tasks, "meanRlc": prices.mean,
                "leastRlc": prices.least, "mostRlc": prices.most,
            })
        })
        .collect();
    json!({
        "hours": history.hours,
        "tasks": history.tasks(),
        "tasksPerHour": history.tasks() / history.hours,
        "completed": history.completed,
        "refunded": history.refunded,
        "runs": history.runs(),
        "faulty": history.faulty,
        "workers": history.runs_of.len(),
        "largestShare": history.largest_share(),
        "paidRlcPerRun": history.paid_rlc / history.runs(),
        "runSeconds": history.run_seconds,
        "gasPerRun": history.gas.map(|it| it.0),
        "coinsPerRun": history.gas.map(|it| it.1),
        "categories": categories,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: RoiArgs,
    }

    fn args(line: &str) -> RoiArgs {
        Line::parse_from(std::iter::once("roi").chain(line.split_whitespace())).args
    }

    /// Two workers that did 90 and 30 runs in ten hours.
    fn past() -> History {
        let runs_of = [(1, 90), (2, 30)].map(|(who, runs)| (Address::repeat_byte(who), runs));
        History {
            hours: 10.0,
            completed: 50,
            refunded: 10,
            faulty: 6,
            runs_of: runs_of.into(),
            paid_rlc: 24.0,
            stake_rlc: 0.06,
            run_seconds: Some(120.0),
            gas: Some((180_000.0, 0.0002)),
            ..History::default()
        }
    }

    fn sources(line: &str, history: Option<&History>, word: &str) -> Vec<Source> {
        let args = args(line);
        let paid_share = (history.is_none() || args.price.is_some()).then_some(0.9);
        let (_, notes) = work(&args, &machine(&args), history, paid_share);
        notes.iter().filter(|it| it.what.contains(word)).map(|it| it.source).collect()
    }

    #[test]
    fn what_is_measured_is_taken_before_what_is_assumed() {
        let args = args("--market --share 50 --failures 0");
        let (work, _) = work(&args, &machine(&args), Some(&past()), None);
        let expected = Work {
            runs_per_hour: 12.0 / 3.0 / 2.0,
            run_minutes: 2.0,
            failures: 0.0,
            paid_rlc: 0.2,
            stake_rlc: 0.06,
            gas_coins: 0.0002,
        };
        assert_eq!(work, expected);
    }

    #[test]
    fn what_is_given_is_taken_before_what_is_measured() {
        let args = args(
            "--market --share 100 --busy 50 --run-minutes 6 --cpus 2 --price 0.1RLC --gas-price 1 --trust 1",
        );
        let (work, _) = work(&args, &machine(&args), Some(&past()), Some(0.9));
        assert_eq!((work.runs_per_hour, work.run_minutes), (10.0, 6.0));
        assert!((work.paid_rlc - 0.09).abs() < 1e-12, "{work:?}");
        assert_eq!((work.stake_rlc, work.gas_coins), (0.0, 180_000.0 * 1e-9));
    }

    #[test]
    fn every_figure_says_where_it_is_from() {
        use Source::{Assumed, Measured, Simulated};
        let past = past();
        let check = |line, history, word, expected: &[Source]| {
            assert_eq!(sources(line, history, word), expected, "{word}");
        };
        check("", None, "a run takes", &[Assumed]);
        check("", None, "has work", &[Assumed]);
        check("", None, "of that price", &[Simulated]);
        check("", None, "gas", &[Assumed, Assumed]);
        check("--market", Some(&past), "a run takes", &[Measured]);
        check("--market", Some(&past), "runs came in an hour", &[Measured]);
        check("--market", Some(&past), "a run was paid", &[Measured]);
        check("--market", Some(&past), "a run locks", &[Measured]);
        check("--market", Some(&past), "costs", &[Measured]);
        check("--market", Some(&past), "which are few", &[Measured]);
        check("--market --gas-price 3", Some(&past), "gas", &[Measured, Assumed]);
    }

    #[test]
    fn without_anything_said_a_machine_is_mostly_idle() {
        let args = args("");
        let (work, _) = work(&args, &machine(&args), None, Some(0.9));
        let it = estimate(&machine(&args), &work);
        assert!(it.busy < 0.2, "{it:?}");
        assert!(it.electricity > 0.0 && it.gas > 0.0 && it.stake_rlc > 0.0, "{it:?}");
    }

    #[test]
    fn figures_that_no_machine_has_are_refused() {
        let code = |line: &str| check(&args(line)).map_err(|it| it.code);
        assert_eq!(code("--busy 50 --run-minutes 1 --idle-watts 3"), Ok(()));
        let wrong = [
            "--busy 101",
            "--run-minutes 0",
            "--watts NaN",
            "--pool-fee=-1",
            "--failures 101",
            "--gas-price=-1",
            "--idle-watts=-1",
        ];
        for line in wrong {
            assert_eq!(code(line), Err("GM-8104".to_owned()), "{line}");
        }
    }
}
