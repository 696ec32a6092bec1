//! `gristmill simulate`: what would become of a market with such workers. Nothing is started and nobody is asked.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sim::Scenario;
use sim::scenario::Strategy;
use sim::svg::{Bar, bars};
use sim::tally::Tally;
use sim::trust::Setting;

use crate::failure::{Exit, Failure, OrFail};

/// `gristmill simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// How the bad workers behave: lazy, colluding, sybil, sleeper, free-rider, withholder, equivocator.
    #[arg(long, default_value = "colluding", value_name = "NAME")]
    pub strategy: String,

    /// The share of bad workers, in percent.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub cheaters: u32,

    /// The trust asked for.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub trust: u64,

    /// Workers of the pool.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub workers: u16,

    /// Tasks bought in each simulation.
    #[arg(long, default_value_t = 24, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub tasks: u32,

    /// Large markets instead: 200 requesters, 20 schedulers and 300 workers, of all sorts, with faults.
    #[arg(long, conflicts_with_all = ["strategy", "cheaters", "trust", "workers", "tasks"])]
    pub large: bool,

    /// Simulations, each from its own seed. Default: 500, of large markets 20.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub seeds: Option<u64>,

    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "B")]
    pub seed_base: u64,

    /// Draw the gains into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const SEEDS: u64 = 500;
const LARGE_SEEDS: u64 = 20;

/// Simulates and prints a table.
///
/// # Errors
/// GM-8101 a strategy that is unknown, GM-8102 a broken promise, GM-8103 a file that cannot be written, GM-5009 nobody takes
/// the answer.
pub fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    let tally = swept(args)?;
    if let Some(file) = &args.svg {
        let drawing = bars("Gain per task", "thousandths of a run's price", &rows(&tally));
        std::fs::write(file, drawing).or_fail(
            "GM-8103",
            Exit::Usage,
            &format!("the drawing cannot be written to {}", file.display()),
        )?;
    }
    let text = if args.json { as_json(args, &tally).to_string() } else { in_words(args, &tally) };
    writeln!(std::io::stdout(), "{text}").or_fail(
        "GM-5009",
        Exit::Usage,
        "stdout does not take the output",
    )
}

fn swept(args: &SimulateArgs) -> Result<Tally, Failure> {
    if args.large {
        let seeds = args.seeds.unwrap_or(LARGE_SEEDS);
        let swept = sim::sweep::sweep(args.seed_base, seeds, None, Scenario::large);
        return swept.failure.map_or(Ok(swept.tally), |failure| Err(broken(&failure)));
    }
    let setting = Setting {
        trust: args.trust,
        strategy: strategy(&args.strategy)?,
        bad_ppm: args.cheaters * 10_000,
        workers: usize::from(args.workers),
        tasks: args.tasks,
        ..Setting::default()
    };
    let seeds = args.seeds.unwrap_or(SEEDS);
    setting.measure_from(args.seed_base, seeds).map_err(|failure| broken(&failure))
}

/// Sums over that many markets.
pub(crate) fn measure(setting: &Setting, seeds: u64) -> Result<Tally, Failure> {
    setting.measure(seeds).map_err(|failure| broken(&failure))
}

fn broken(failure: &sim::sweep::Failure) -> Failure {
    Failure::new("GM-8102", Exit::TaskFailed, "a simulated market broke a promise")
        .because(format!("seed {}: {}", failure.seed, failure.violation))
        .fix("report it with the command line that you used: every seed runs the same way again")
}

fn strategy(name: &str) -> Result<Strategy, Failure> {
    let known = [
        Strategy::Honest,
        Strategy::Lazy,
        Strategy::Colluder(0),
        Strategy::Sybil(0),
        Strategy::Sleeper(0),
        Strategy::FreeRider,
        Strategy::Withholder,
        Strategy::Equivocator(0),
    ];
    known.into_iter().find(|strategy| strategy.name() == name).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|it| it.name()).collect();
        Failure::new("GM-8101", Exit::Usage, format!("no worker is known to behave '{name}'"))
            .fix(format!("choose one of {}", names.join(", ")))
    })
}

fn rows(tally: &Tally) -> Vec<Bar> {
    let price = 1e-3 * sim::scenario::RUN_PRICE_F64;
    let row = |(role, rate): (&sim::Role, &sim::tally::Rate)| Bar {
        name: role.name().to_owned(),
        value: rate.mean() / price,
        margin: rate.margin() / price,
    };
    tally.gains.iter().map(row).collect()
}

fn in_words(args: &SimulateArgs, tally: &Tally) -> String {
    let wrong = tally.wrong_rate;
    let what = match args.large {
        true => "of all sorts".to_owned(),
        false => {
            let SimulateArgs { trust, cheaters, workers, strategy, .. } = args;
            format!("at trust {trust}, {cheaters} % of {workers} workers {strategy}")
        }
    };
    let mut lines = vec![
        format!("{} markets, {} tasks {what}", tally.seeds, tally.tasks),
        format!(
            "wrong results  {:.2} ± {:.2} of a thousand",
            wrong.mean() * 1e3,
            wrong.margin() * 1e3
        ),
        format!("runs per task  {:.2}", tally.runs_rate.mean()),
        format!("refunded       {} tasks", tally.refunded),
        String::new(),
        format!("{:<24}{:>10}{:>10}", "per task, in 1/1000", "gain", "±"),
    ];
    for row in rows(tally) {
        lines.push(format!("{:<24}{:>+10.0}{:>10.0}", row.name, row.value, row.margin));
    }
    lines.push(
        "(thousandths of what a run is paid; a run costs its worker half of that)".to_owned(),
    );
    lines.push(tally.what_held());
    lines.join("\n")
}

fn as_json(args: &SimulateArgs, tally: &Tally) -> serde_json::Value {
    let gains = rows(tally)
        .into_iter()
        .map(|row| json!({ "who": row.name, "gainPerMille": row.value, "margin": row.margin }));
    let of_setting = |value: serde_json::Value| if args.large { json!(null) } else { value };
    json!({
        "markets": tally.seeds,
        "tasks": tally.tasks,
        "large": args.large,
        "trust": of_setting(json!(args.trust)),
        "cheatersPercent": of_setting(json!(args.cheaters)),
        "strategy": of_setting(json!(args.strategy)),
        "wrongProbability": tally.wrong_rate.mean(),
        "wrongMargin": tally.wrong_rate.margin(),
        "runsPerTask": tally.runs_rate.mean(),
        "refunded": tally.refunded,
        "held": tally.what_held(),
        "gains": gains.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn told(line: &str) -> String {
        let words = std::iter::once("simulate").chain(line.split_whitespace());
        let args = Line::parse_from(words).args;
        in_words(&args, &swept(&args).expect("every promise is kept"))
    }

    #[test]
    fn the_last_line_says_what_held_over_how_much() {
        let check = |line: &str, expected: &str| {
            let told = told(line);
            let last = told.lines().last().unwrap_or_default();
            assert!(last.starts_with(expected), "{told}");
            told
        };
        let held = "money, liveness, safety and fairness held in";
        let first = check("--seeds 2 --tasks 3", &format!("{held} 2 markets with 6 tasks"));
        let other = check("--seeds 2 --tasks 3 --seed-base 50", held);
        assert_ne!(first, other, "other seeds are other markets");
        let large = check("--large --seeds 1", &format!("{held} 1 markets with "));
        assert!(large.contains("tasks of all sorts"), "{large}");
    }

    #[test]
    fn strategies_are_known_by_their_names() {
        assert_eq!(strategy("lazy").ok(), Some(Strategy::Lazy));
        assert_eq!(strategy("evil").map_err(|it| it.code), Err("GM-8101".to_owned()));
    }
}
