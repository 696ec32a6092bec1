//! `cargo xtask sim`: very many simulated markets. The last line says what held over how many tasks; a seed that breaks a
//! promise is named, made smaller and shown, and the exit code is 1.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sim::Scenario;
use sim::shrink::shrink;
use sim::sweep::sweep;

#[derive(Args)]
pub(crate) struct Sim {
    /// How many seeds. Default: 10000, of large markets 100.
    #[arg(long)]
    seeds: Option<u64>,

    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed_base: u64,

    /// Threads. Default: one per processor.
    #[arg(long)]
    threads: Option<NonZeroUsize>,

    /// Large markets: hundreds of requesters and workers, tens of schedulers.
    #[arg(long, conflicts_with = "report")]
    large: bool,

    /// Make the tables and plots of docs/trust.md instead, and print the tables.
    #[arg(long)]
    report: bool,

    /// Write them into docs.
    #[arg(long, requires = "report")]
    write: bool,

    /// Count the consensus wrongly, to see that it is found.
    #[arg(long, hide = true)]
    break_consensus: bool,
}

pub(crate) fn run(root: &Path, args: &Sim) -> Result<()> {
    if args.report {
        return report(root, args.write);
    }
    let scenario = |seed| {
        let mut scenario = if args.large { Scenario::large } else { Scenario::from_seed }(seed);
        scenario.rules.trust_bug = args.break_consensus;
        scenario
    };
    let seeds = args.seeds.unwrap_or(if args.large { 100 } else { 10_000 });
    let begun = Instant::now();
    let swept = sweep(args.seed_base, seeds, args.threads, scenario);
    let seconds = begun.elapsed().as_secs_f64();
    if let Some(failure) = swept.failure {
        let shrunk = shrink(&scenario(failure.seed), failure.violation.promise);
        eprintln!("{:#?}", shrunk.scenario);
        if let Some(violation) = sim::run(&shrunk.scenario).violation {
            eprintln!(
                "this is what is left after {} attempts; it breaks {violation}",
                shrunk.tried
            );
        }
        bail!(
            "seed {} breaks {}; again: cargo xtask sim {}--seeds 1 --seed-base {}",
            failure.seed,
            failure.violation,
            if args.large { "--large " } else { "" },
            failure.seed
        );
    }
    let tally = &swept.tally;
    #[expect(clippy::cast_precision_loss, reason = "a speed for a person")]
    let per_minute = tally.tasks as f64 / seconds * 60.0;
    eprintln!("{seconds:.1} s, {per_minute:.0} tasks per minute");
    #[expect(clippy::print_stdout, reason = "the answer")]
    {
        println!("{}", tally.what_held());
    }
    Ok(())
}

fn report(root: &Path, write: bool) -> Result<()> {
    let made = sim::trust::report();
    let (tables, drawings) =
        made.map_err(|failure| anyhow!("seed {}: {}", failure.seed, failure.violation))?;
    if !write {
        #[expect(clippy::print_stdout, reason = "the answer")]
        {
            println!("{tables}");
        }
        return Ok(());
    }
    let page = root.join("docs/trust.md");
    let before = fs::read_to_string(&page).context("reading docs/trust.md")?;
    let after = sim::trust::with_tables(&before, &tables)
        .context("docs/trust.md has no place for the tables")?;
    fs::write(&page, after).context("writing docs/trust.md")?;
    for (name, drawing) in drawings {
        fs::write(root.join("docs/trust").join(name), drawing)
            .with_context(|| format!("writing docs/trust/{name}"))?;
    }
    Ok(())
}
