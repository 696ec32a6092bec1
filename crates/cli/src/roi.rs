//! `gristmill roi`: what a machine would earn as a worker, and what it would cost. The market around it is simulated.

use std::io::Write as _;

use clap::Args;
use primitives::Nrlc;
use serde_json::json;
use sim::trust::Setting;

use crate::failure::{Exit, Failure, OrFail};
use crate::simulate::measure;

/// `gristmill roi`.
#[derive(Debug, Clone, Args)]
pub struct RoiArgs {
    /// Processors: tasks at once, one each.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub cpus: u32,

    /// Memory, in GiB. A task takes up half a GiB.
    #[arg(long, default_value_t = 8.0, value_name = "GIB")]
    pub memory: f64,

    /// What the machine draws while it computes, in watts.
    #[arg(long, default_value_t = 80.0, value_name = "W")]
    pub watts: f64,

    /// What electricity costs.
    #[arg(long, default_value_t = 0.25, value_name = "PER_KWH")]
    pub kwh_price: f64,

    /// What an RLC is worth, in the same money.
    #[arg(long, default_value_t = 1.0, value_name = "PRICE")]
    pub rlc_price: f64,

    /// What the machine costs, in the same money.
    #[arg(long, default_value_t = 500.0, value_name = "PRICE")]
    pub machine_price: f64,

    /// What the pool asks for a run, like 0.05RLC.
    #[arg(long, default_value = "0.05RLC", value_name = "AMOUNT")]
    pub price: Nrlc,

    /// The pool's share, in percent.
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT")]
    pub pool_fee: f64,

    /// How long a run takes, in minutes.
    #[arg(long, default_value_t = 5.0, value_name = "MINUTES")]
    pub run_minutes: f64,

    /// How much of the time there is work, in percent.
    #[arg(long, default_value_t = 50.0, value_name = "PERCENT")]
    pub busy: f64,

    /// The trust that requesters ask for.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub trust: u64,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Figures for a month.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Estimate {
    runs: f64,
    paid_share: f64,
    income_rlc: f64,
    income: f64,
    electricity: f64,
    stake_rlc: f64,
    pay_back_months: Option<f64>,
}

const HOURS_PER_MONTH: f64 = 730.0;
const NRLC_PER_RLC: f64 = 1e9;
const GIB_PER_TASK: f64 = 0.5;
/// Of the pool's price for a task, what each of its workers stakes.
const STAKE_SHARE: f64 = 0.3;
const SEEDS: u64 = 300;

/// Estimates and prints.
///
/// # Errors
/// GM-8104 a figure that no machine has, GM-8102 a broken promise, GM-5009 nobody takes the answer.
pub fn roi(args: &RoiArgs) -> Result<(), Failure> {
    check(args)?;
    let setting = Setting { trust: args.trust, bad_ppm: 50_000, tasks: 48, ..Setting::default() };
    let tally = measure(&setting, SEEDS)?;
    let honest = sim::Role::Worker(sim::scenario::Strategy::Honest);
    let gain = tally.gains.get(&honest).map_or(0.0, sim::tally::Rate::mean);
    // The simulated worker's costs are its own; what is wanted is what it was paid of a run's price.
    let costs = sim::scenario::COSTS;
    let spent = costs.run + costs.presence + 2 * costs.transaction;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let paid_share = (gain + spent as f64) / sim::scenario::RUN_PRICE_F64;
    let estimate = estimate(args, paid_share);
    let text =
        if args.json { as_json(args, &estimate).to_string() } else { in_words(args, &estimate) };
    writeln!(std::io::stdout(), "{text}").or_fail(
        "GM-5009",
        Exit::Usage,
        "stdout does not take the output",
    )
}

fn check(args: &RoiArgs) -> Result<(), Failure> {
    let figures = [
        ("--memory", args.memory, f64::MAX),
        ("--watts", args.watts, f64::MAX),
        ("--kwh-price", args.kwh_price, f64::MAX),
        ("--rlc-price", args.rlc_price, f64::MAX),
        ("--machine-price", args.machine_price, f64::MAX),
        ("--pool-fee", args.pool_fee, 100.0),
        ("--busy", args.busy, 100.0),
        ("--run-minutes", args.run_minutes - f64::EPSILON, f64::MAX),
    ];
    match figures.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
        None => Ok(()),
        Some((name, value, _)) => {
            Err(Failure::new("GM-8104", Exit::Usage, format!("{name} cannot be {value}"))
                .fix("give a number from zero up; shares are percentages up to 100"))
        }
    }
}

fn estimate(args: &RoiArgs, paid_share: f64) -> Estimate {
    let slots = f64::from(args.cpus).min((args.memory / GIB_PER_TASK).floor());
    let busy = args.busy / 100.0;
    let runs = slots * busy * HOURS_PER_MONTH * 60.0 / args.run_minutes;
    let price_rlc = f64::from(args.price.0) / NRLC_PER_RLC;
    // The simulated pool keeps one percent; this one may keep another share.
    let fee = (1.0 - args.pool_fee / 100.0) / 0.99;
    let income_rlc = runs * price_rlc * paid_share * fee;
    let income = income_rlc * args.rlc_price;
    let electricity = args.watts / 1e3 * HOURS_PER_MONTH * busy * args.kwh_price;
    #[expect(clippy::cast_precision_loss, reason = "a handful of runs")]
    let per_task = sim::runs_expected(args.trust) as f64;
    let staked = if args.trust > 1 { STAKE_SHARE } else { 0.0 };
    let stake_rlc = slots * staked * price_rlc * per_task;
    let profit = income - electricity;
    let pay_back_months = (profit > 0.0).then(|| args.machine_price / profit);
    Estimate { runs, paid_share, income_rlc, income, electricity, stake_rlc, pay_back_months }
}

fn in_words(args: &RoiArgs, it: &Estimate) -> String {
    let pay_back = match it.pay_back_months {
        Some(months) => format!("{months:.1} months"),
        None => "never: electricity costs more than the work brings".to_owned(),
    };
    let mut lines = vec![
        "a month, as estimated".to_owned(),
        format!("runs           {:.0}", it.runs),
        format!("income         {:.3} RLC = {:.2}", it.income_rlc, it.income),
        format!("electricity    {:.2}", it.electricity),
        format!("profit         {:.2}", it.income - it.electricity),
        format!("stake at risk  {:.3} RLC, in tasks under way", it.stake_rlc),
        format!("pay-back       {pay_back}"),
        String::new(),
        "assumptions".to_owned(),
    ];
    lines.extend(assumptions(args, it).into_iter().map(|line| format!("- {line}")));
    lines.join("\n")
}

fn assumptions(args: &RoiArgs, it: &Estimate) -> Vec<String> {
    vec![
        format!(
            "there is work {} % of the time, in runs of {} minutes",
            args.busy, args.run_minutes
        ),
        format!(
            "of a run's price of {} this worker is paid {:.0} %, as honest workers were in {SEEDS} simulated markets at trust {} \
             where one worker in twenty lies",
            args.price,
            it.paid_share * 100.0,
            args.trust
        ),
        format!("the pool keeps {} %, and transactions cost nothing", args.pool_fee),
        format!("{} W are drawn while it computes and nothing otherwise", args.watts),
        "the machine is honest and up: who disappears after it contributed loses its stake"
            .to_owned(),
        "prices of today, of which none is known for tomorrow".to_owned(),
    ]
}

fn as_json(args: &RoiArgs, it: &Estimate) -> serde_json::Value {
    json!({
        "runsPerMonth": it.runs,
        "incomeRlcPerMonth": it.income_rlc,
        "incomePerMonth": it.income,
        "electricityPerMonth": it.electricity,
        "profitPerMonth": it.income - it.electricity,
        "stakeAtRiskRlc": it.stake_rlc,
        "payBackMonths": it.pay_back_months,
        "assumptions": assumptions(args, it),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: RoiArgs,
    }

    fn args(line: &str) -> RoiArgs {
        Line::parse_from(std::iter::once("roi").chain(line.split_whitespace())).args
    }

    #[test]
    fn income_less_electricity_pays_the_machine_back() {
        let line = "--cpus 2 --memory 1 --watts 100 --kwh-price 0.2 --rlc-price 2 --machine-price 73 --price 0.1RLC \
                    --run-minutes 10 --busy 100 --trust 1";
        let it = estimate(&args(line), 0.99);
        assert!((it.runs - 8_760.0).abs() < 1e-6, "{it:?}");
        assert!((it.income - 8_760.0 * 0.1 * 0.99 * 2.0).abs() < 1e-6, "{it:?}");
        assert!((it.electricity - 14.6).abs() < 1e-9, "{it:?}");
        assert!(it.pay_back_months.is_some_and(|months| months < 0.05), "{it:?}");
        assert_eq!(it.stake_rlc, 0.0);
    }

    #[test]
    fn dear_electricity_never_pays_back() {
        let it = estimate(&args("--kwh-price 1000 --price 1nRLC"), 0.99);
        assert_eq!(it.pay_back_months, None);
        assert!(in_words(&args("--price 1nRLC"), &it).contains("never"));
    }

    #[test]
    fn figures_that_no_machine_has_are_refused() {
        let code = |line: &str| check(&args(line)).map_err(|it| it.code);
        assert_eq!(code("--busy 50"), Ok(()));
        for line in ["--busy 101", "--run-minutes 0", "--watts NaN", "--pool-fee=-1"] {
            assert_eq!(code(line), Err("GM-8104".to_owned()), "{line}");
        }
    }
}
