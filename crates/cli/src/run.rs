//! `gristmill run`: buy runs of a program, print what it says, and show the receipt.
//!
//! ```text
//! look at what was asked ─▶ find or start a market ─▶ put app and inputs there ─▶ compare offers ─▶ match
//!                    print ◀─ check digests ◀─ download ◀─ watch the tasks ◀──────────────────────────┘
//! ```
//! Everything that can be refused without a market is refused before one is looked for, and everything that can be
//! refused without money before any is locked.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use alloy_primitives::U256;
use primitives::TaskId;
use serde_json::json;
use verdict::Confidence;
use wire::market::TrackRecord;
use wire::scheduler::PoolReputation;

use crate::args::RunArgs;
use crate::failure::{Exit, Failure};
use crate::market::{Market, MarketConfig};
use crate::offers::{Offer, Verdict};
use crate::progress::Talk;
use crate::proof;
use crate::purchase::{Access, Outcome, Purchase, Wish};
use crate::up::interrupted;

/// Buys, waits, checks, prints.
///
/// # Errors
/// Whatever stood in the way; see [`Exit`] for what each means to the caller.
pub async fn run(args: RunArgs) -> Result<(), Failure> {
    let wish = Wish::of(&args)?;
    if args.receipt.is_some() && args.tasks > 1 {
        let what = "a receipt file is of one task";
        return Err(Failure::new("GM-8307", Exit::Usage, what)
            .because(format!("{} tasks are asked for", args.tasks))
            .fix("leave --receipt out and write one for each: gristmill receipt TASK --out FILE"));
    }
    let talk = Talk::new(args.json);
    let (access, own) = reach(&args, &talk).await?;
    let made = OnceLock::new();
    let bought = tokio::select! {
        outcome = buy(&access, &wish, &talk, &made) => outcome,
        () = interrupted() => Err(interrupted_failure(own.is_some(), made.get())),
    };
    // Before a market of our own is gone, and its chain with it.
    let bought = match (bought, &args.receipt) {
        (Ok(outcome), Some(path)) => {
            keep_receipt(&access, &outcome, path, &talk).await.map(|()| outcome)
        }
        (bought, _) => bought,
    };
    if let Some(market) = own {
        market.stop().await;
    }
    answer(&args, &bought?, &talk)
}

/// The market to buy from; the second is a market of our own, if none was to be found.
async fn reach(args: &RunArgs, talk: &Talk) -> Result<(Access, Option<Market>), Failure> {
    if let Some(origin) = &args.market {
        return Ok((Access::to(origin).await?, None));
    }
    if !args.ephemeral
        && let Some(access) = Access::running().await
    {
        talk.say(format!("market    {} (running on this machine)", access.description().origin));
        return Ok((access, None));
    }
    let host = std::net::Ipv4Addr::LOCALHOST.into();
    let market = Market::start(MarketConfig::of(&args.shape, host, 0)).await?;
    talk.say(format!(
        "market    one of our own for this run, ready in {} ms (keep one with: gristmill up)",
        market.start_time().as_millis()
    ));
    let access = Access::to(market.origin()).await?;
    Ok((access, Some(market)))
}

async fn buy(
    access: &Access,
    wish: &Wish,
    talk: &Talk,
    made: &OnceLock<Made>,
) -> Result<Outcome, Failure> {
    let purchase = Purchase::prepare(access, wish).await?;
    show_offers(purchase.offers(), talk);
    let offer = purchase.choose()?;
    talk.say(format!(
        "chosen    {} at {} a task, app {} a task",
        offer.name,
        offer.price(),
        purchase.app_price()
    ));
    if let Some(known) = access.schedulers().reputation(offer.workerpool()).await {
        talk.say(format!("history   {}", history(&known)));
    }
    if !access.tells_scheduler_of(offer.workerpool()) {
        talk.say(
            "note      the market does not say where this workerpool's scheduler answers (market.workerpools of its order \
             book): until the task's deadline, nobody will tell why it failed",
        );
    }
    talk.say(format!("surety    {}", surety(wish.trust(), &offer)));
    talk.say(format!("limits    {}", purchase.allowance(&offer).await?));
    let matched = purchase.buy(&offer).await?;
    for deal in matched.deals() {
        talk.say(format!("deal      {deal}"));
    }
    let task = matched.only_task();
    if let Some(task) = task {
        talk.say(format!("task      {task}"));
    }
    made.get_or_init(|| Made { task });
    matched.outcome(talk).await
}

/// Writes the file that shows the task to others.
async fn keep_receipt(
    access: &Access,
    outcome: &Outcome,
    path: &Path,
    talk: &Talk,
) -> Result<(), Failure> {
    for task in &outcome.receipt.tasks {
        let collected = proof::collect(access.client(), task.task).await?;
        for note in collected.notes {
            talk.say(format!("note      {note}"));
        }
        proof::write(path, &collected.receipt)?;
        talk.say(format!("receipt   {}", path.display()));
    }
    Ok(())
}

/// The most offers that are listed.
const OFFERS_SHOWN: usize = 10;

fn show_offers(offers: &[(Offer, Verdict)], talk: &Talk) {
    for (offer, verdict) in offers.iter().take(OFFERS_SHOWN) {
        let note = match verdict {
            Verdict::Chosen => "best",
            Verdict::Dearer => "",
            Verdict::AboveMaxPrice => "above --max-price",
            Verdict::TrustTooLow => "too little trust",
            Verdict::TooFewLeft => "too few tasks left",
        };
        talk.say(format!(
            "offer     {:<14} {:>10} a task  trust ≤ {:<4} {}  {note}",
            offer.name,
            offer.price().to_string(),
            offer.order.trust,
            offer.workerpool(),
        ));
        talk.say(format!("          {}", offer.past()));
    }
    if offers.len() > OFFERS_SHOWN {
        talk.say(format!("          and {} more", offers.len() - OFFERS_SHOWN));
    }
}

/// What the price buys, before it is paid.
fn surety(trust: u64, offer: &Offer) -> String {
    let what = match trust {
        0 | 1 => "one worker's word".to_owned(),
        _ => format!("more than {}", Confidence::asked(U256::from(trust))),
    };
    let most = offer.order.trust;
    format!(
        "{what} (trust {trust}) for {} a task; here up to trust {most} for the same",
        offer.price()
    )
}

/// A workerpool's past, in its scheduler's own words: nobody else vouches for it.
fn history(known: &PoolReputation) -> String {
    let past = &known.total;
    if past.completed == 0 {
        return "no results yet".to_owned();
    }
    let lost = past.unrevealed.saturating_add(past.withheld).saturating_add(past.lost);
    let mut text = format!(
        "{} results, {} of them confirmed by a second worker, {} wrong, {lost} never brought",
        past.completed, past.confirmed, past.wrong
    );
    if let Some(seconds) = past.run_seconds_median {
        let _ = write!(text, "; {seconds} s as a rule");
    }
    text + " (says its scheduler)"
}

/// stdout gets what the program said, or the whole outcome as JSON; stderr the receipt.
fn answer(args: &RunArgs, outcome: &Outcome, talk: &Talk) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = if args.json {
        writeln!(stdout, "{}", outcome_json(outcome))
    } else {
        outcome.results.iter().try_for_each(|result| stdout.write_all(&result.output))
    };
    written.and_then(|()| stdout.flush()).map_err(|error| {
        Failure::new("GM-5009", Exit::Usage, "stdout does not take the output").because(error)
    })?;
    drop(stdout);
    for note in &outcome.notes {
        talk.say(format!("note      {note}"));
    }
    talk.say(outcome.receipt.to_string());
    Ok(())
}

fn outcome_json(outcome: &Outcome) -> serde_json::Value {
    json!({
        "results": outcome.results.iter().map(|result| json!({
            "index": result.index,
            "output": String::from_utf8_lossy(&result.output),
            "covered": result.covered,
            "files": result.files,
            "stderr": String::from_utf8_lossy(&result.stderr),
        })).collect::<Vec<_>>(),
        "offers": outcome.offers.iter().map(|(offer, verdict)| json!({
            "workerpool": offer.workerpool().to_string(),
            "name": offer.name,
            "priceNrlc": offer.price().0.to_string(),
            "trust": offer.order.trust.to_string(),
            "remaining": offer.remaining.to_string(),
            "trackRecord": offer.track_record.map(TrackRecord::to_json),
            "claimed": offer.claimed.as_deref().and_then(|claim| claim.to_json().ok()),
            "chosen": *verdict == Verdict::Chosen,
        })).collect::<Vec<_>>(),
        "notes": outcome.notes,
        "receipt": outcome.receipt.to_json(),
    })
}

/// That there is a deal, and its task if it has only one.
struct Made {
    task: Option<TaskId>,
}

fn interrupted_failure(own_market: bool, made: Option<&Made>) -> Failure {
    let failure = Failure::new("GM-5010", Exit::Interrupted, "interrupted");
    let Some(made) = made else {
        return failure.because("nothing was bought yet").fix("run it again");
    };
    if own_market {
        return failure
            .because("the market of this run is gone with it, and so is what was paid there")
            .fix("keep a market with gristmill up, and runs in it can be left alone");
    }
    let task = made.task.map_or_else(|| "TASK".to_owned(), |task| task.to_string());
    failure
        .because("the deal is made and goes on without us")
        .fix(format!("gristmill task result {task} gets what comes of it; gristmill task why {task} tells how far it is"))
}

#[cfg(test)]
mod tests {
    use wire::scheduler::Reputation;

    use super::*;

    fn check(total: Reputation, expected: &str) {
        let known = PoolReputation {
            workerpool: alloy_primitives::Address::ZERO,
            canary_rate_ppm: 0,
            total,
            canaries_passed: 0,
            canaries_failed: 0,
            workers: Vec::new(),
        };
        assert_eq!(history(&known), expected);
    }

    #[test]
    fn what_is_bought_is_said_with_its_price() {
        let order = orders::WorkerpoolOrder {
            price: primitives::Nrlc::new(30_000_000).0,
            trust: U256::from(8),
            ..Default::default()
        };
        let offer = Offer {
            order,
            remaining: U256::ONE,
            name: String::new(),
            track_record: None,
            claimed: None,
            published_at: wire::UnixMillis(0),
        };
        let here = "for 0.03 RLC a task; here up to trust 8 for the same";
        assert_eq!(surety(1, &offer), format!("one worker's word (trust 1) {here}"));
        assert_eq!(surety(4, &offer), format!("more than 75.0 % (trust 4) {here}"));
    }

    #[test]
    fn a_workerpools_past_is_one_line() {
        check(Reputation::default(), "no results yet");
        let past = Reputation {
            completed: 40,
            confirmed: 3,
            wrong: 1,
            withheld: 1,
            lost: 1,
            run_seconds_median: Some(2),
            ..Reputation::default()
        };
        check(
            past,
            "40 results, 3 of them confirmed by a second worker, 1 wrong, 2 never brought; 2 s as a rule (says its scheduler)",
        );
    }
}
