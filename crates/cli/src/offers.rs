//! Choosing among offers. Pure: what is on offer goes in, the choice and its reasons come out.

use std::fmt::Write as _;
use std::sync::Arc;

use alloy_primitives::{Address, U256};
use orders::WorkerpoolOrder;
use primitives::Nrlc;
use wire::UnixMillis;
use wire::market::{Claim, TrackRecord};

use crate::failure::{Exit, Failure};

/// A workerpool's open order, and what is known of who made it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The signed order.
    pub order: WorkerpoolOrder,
    /// How many tasks are left in it.
    pub remaining: U256,
    /// The workerpool's own description, if the market tells.
    pub name: String,
    /// How the workerpool's last tasks ended on the chain, if any have.
    pub track_record: Option<TrackRecord>,
    /// What it says of that itself, lately. Nothing is decided by it.
    pub claimed: Option<Arc<Claim>>,
    /// Since when the order is in the book.
    pub published_at: UnixMillis,
}

impl Offer {
    /// What it asks for a task.
    pub fn price(&self) -> Nrlc {
        Nrlc(self.order.price)
    }

    /// What speaks against the workerpool, by the chain alone: how many tasks of a hundred it may fail, and how long the
    /// others took. By the rule of succession: one of which nothing is known is between those that failed more than half of
    /// their tasks and those that did not, and with tasks done the doubt about a good one goes to nothing.
    fn blame(&self) -> (u64, u64) {
        let known = self.track_record.unwrap_or_default();
        let ended = known.completed.saturating_add(known.failed).saturating_add(2);
        let risk = known.failed.saturating_add(1).saturating_mul(100) / ended;
        (risk, known.median_latency_s.unwrap_or(u64::MAX))
    }

    /// The past of the workerpool.
    pub fn past(&self) -> String {
        past(self.track_record, self.claimed.as_deref())
    }
    /// The workerpool.
    pub fn workerpool(&self) -> Address {
        self.order.workerpool
    }
}

/// The past of a workerpool as the chain tells it, then in its own words.
pub fn past(track_record: Option<TrackRecord>, claimed: Option<&Claim>) -> String {
    let known = track_record.unwrap_or_default();
    let ended = known.completed.saturating_add(known.failed);
    let mut text = match (ended, known.median_latency_s) {
        (0, _) => "no tasks yet".to_owned(),
        (_, None) => format!("{} of {ended} tasks done", known.completed),
        (_, Some(seconds)) => {
            format!("{} of {ended} tasks done, in {seconds} s", known.completed)
        }
    };
    if let Some(claim) = claimed {
        let failed = claim.canaries_failed;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            " (it claims: {} confirmed, {} wrong, {failed} of {} canaries failed)",
            claim.total.confirmed,
            claim.total.wrong,
            claim.canaries_passed.saturating_add(failed),
        );
    }
    text
}

/// What the requester wants of an offer.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The trust the task needs.
    pub trust: U256,
    /// How many tasks.
    pub tasks: U256,
    /// The most to pay a workerpool for a task.
    pub max_price: Option<Nrlc>,
}

/// Why an offer was not the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The cheapest that does what is wanted.
    Chosen,
    /// It would do, for more.
    Dearer,
    /// Above `--max-price`.
    AboveMaxPrice,
    /// It gives less trust than is wanted.
    TrustTooLow,
    /// Fewer tasks are left in it than are wanted.
    TooFewLeft,
}

/// Offers with what became of each, best first; the chosen one, if any, stands at the front.
pub fn compare(offers: Vec<Offer>, wanted: &Wanted) -> Vec<(Offer, Verdict)> {
    let mut judged: Vec<(Offer, Verdict)> = offers
        .into_iter()
        .map(|offer| {
            let verdict = judge(&offer, wanted);
            (offer, verdict)
        })
        .collect();
    // Ties: who has let fewest down, then who was quickest, both by the chain; then who has offered it longest, as in the
    // book; then the address, so that the choice is stable.
    judged.sort_by(|(left, left_verdict), (right, right_verdict)| {
        let key = |offer: &Offer, verdict: &Verdict| {
            (
                *verdict != Verdict::Dearer,
                offer.price(),
                offer.blame(),
                offer.published_at,
                offer.workerpool(),
            )
        };
        key(left, left_verdict).cmp(&key(right, right_verdict))
    });
    if let Some((_, verdict)) =
        judged.first_mut().filter(|(_, verdict)| *verdict == Verdict::Dearer)
    {
        *verdict = Verdict::Chosen;
    }
    judged
}

/// The chosen offer, or the smallest change that would give one.
///
/// # Errors
/// GM-2101 all are above the maximum price, GM-2102 none gives that trust, GM-2103 none has that many tasks left,
/// GM-2104 there is no offer at all.
pub fn choose(judged: &[(Offer, Verdict)], wanted: &Wanted) -> Result<Offer, Failure> {
    if let Some((offer, _)) = judged.iter().find(|(_, verdict)| *verdict == Verdict::Chosen) {
        return Ok(offer.clone());
    }
    let of = |verdict: Verdict| {
        judged.iter().filter(move |(_, one)| *one == verdict).map(|(offer, _)| offer)
    };
    if let (Some(cheapest), Some(max)) =
        (of(Verdict::AboveMaxPrice).min_by_key(|offer| offer.price()), wanted.max_price)
    {
        let count = of(Verdict::AboveMaxPrice).count();
        let missing = cheapest.price().saturating_sub(max);
        return Err(refuse("GM-2101", format!("no workerpool works for {max} a task or less"))
            .because(format!(
                "the cheapest of {count} offers is {} ({}): {missing} more",
                cheapest.price(),
                cheapest.name
            ))
            .fix(format!("--max-price {}", cheapest.price().to_string().replace(' ', ""))));
    }
    if let Some(best) = of(Verdict::TooFewLeft).max_by_key(|offer| offer.remaining) {
        return Err(refuse("GM-2103", format!("no offer has {} tasks left", wanted.tasks))
            .because(format!("the largest has {} ({})", best.remaining, best.name))
            .fix(format!("--tasks {}, or wait for a new offer", best.remaining)));
    }
    if let Some(best) = of(Verdict::TrustTooLow).max_by_key(|offer| offer.order.trust) {
        return Err(refuse("GM-2102", format!("no offer gives trust {}", wanted.trust))
            .because(format!("the most is {} ({})", best.order.trust, best.name))
            .fix(format!(
                "--trust {}, or a market with more workers (--workers N)",
                best.order.trust
            )));
    }
    Err(refuse("GM-2104", "no workerpool offers to run tasks of this category".to_owned())
        .fix("another --category, or wait for a provider"))
}

fn judge(offer: &Offer, wanted: &Wanted) -> Verdict {
    if offer.order.trust < wanted.trust {
        Verdict::TrustTooLow
    } else if offer.remaining < wanted.tasks {
        Verdict::TooFewLeft
    } else if wanted.max_price.is_some_and(|max| offer.price() > max) {
        Verdict::AboveMaxPrice
    } else {
        Verdict::Dearer
    }
}

fn refuse(code: &str, what: String) -> Failure {
    Failure::new(code, Exit::Refused, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(name: &str, price: u64, trust: u64, remaining: u64) -> Offer {
        let order = WorkerpoolOrder {
            workerpool: Address::repeat_byte(name.as_bytes()[0]),
            price: U256::from(price),
            trust: U256::from(trust),
            ..WorkerpoolOrder::default()
        };
        Offer {
            order,
            remaining: U256::from(remaining),
            name: name.to_owned(),
            track_record: None,
            claimed: None,
            published_at: UnixMillis(0),
        }
    }

    #[test]
    fn of_the_same_price_the_chains_record_decides_then_age_and_never_what_is_claimed() {
        let known = |completed, failed, seconds| {
            Some(TrackRecord { completed, failed, median_latency_s: Some(seconds) })
        };
        let with = |name, track_record, published| Offer {
            track_record,
            published_at: UnixMillis(published),
            ..offer(name, 30, 2, 10)
        };
        let boaster = Claim {
            version: Claim::VERSION,
            chain_id: 1,
            workerpool: Address::ZERO,
            issued_at: UnixMillis(0),
            canary_rate_ppm: 0,
            canaries_passed: 1_000,
            canaries_failed: 0,
            total: wire::scheduler::Reputation { completed: 9_000, ..Default::default() },
            machines: Vec::new(),
        };
        let offers = vec![
            Offer { claimed: Some(Arc::new(boaster)), ..with("boaster", None, 1) },
            with("loser", known(1, 3, 1), 1),
            with("fallible", known(190, 10, 1), 1),
            with("slow", known(400, 0, 9), 1),
            with("young", known(900, 0, 4), 9),
            with("old", known(400, 1, 4), 8),
            offer("cheap", 29, 2, 10),
        ];
        let wanted = Wanted { trust: U256::from(1), tasks: U256::from(1), max_price: None };
        let judged = compare(offers, &wanted);
        let names: Vec<_> = judged.iter().map(|(offer, _)| offer.name.as_str()).collect();
        assert_eq!(names, ["cheap", "old", "young", "slow", "fallible", "boaster", "loser"]);
        let told = [0, 1, 5].map(|place| judged[place].0.past());
        let claims = " (it claims: 0 confirmed, 0 wrong, 0 of 1000 canaries failed)";
        assert_eq!(told[0], "no tasks yet");
        assert_eq!(told[1], "400 of 401 tasks done, in 4 s");
        assert_eq!(told[2], format!("no tasks yet{claims}"));
    }

    /// Chooses among three offers and tells the name of the chosen one, or the refusal.
    fn check(trust: u64, tasks: u64, max: Option<u64>, expected: &str) {
        let offers =
            vec![offer("dear", 50, 8, 1000), offer("cheap", 30, 2, 10), offer("fair", 40, 4, 100)];
        let wanted = Wanted {
            trust: U256::from(trust),
            tasks: U256::from(tasks),
            max_price: max.map(Nrlc::new),
        };
        let judged = compare(offers, &wanted);
        let told = match choose(&judged, &wanted) {
            Ok(offer) => offer.name,
            Err(failure) => {
                format!("{} {}", failure.code, failure.remedy.unwrap_or_default())
            }
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn the_cheapest_that_does_what_is_wanted_is_chosen() {
        check(1, 1, None, "cheap");
        check(3, 1, None, "fair");
        check(5, 1, None, "dear");
        check(1, 50, None, "fair");
        check(1, 1, Some(30), "cheap");
    }

    #[test]
    fn a_refusal_names_the_smallest_change() {
        check(1, 1, Some(10), "GM-2101 --max-price 0.00000003RLC");
        check(3, 1, Some(39), "GM-2101 --max-price 0.00000004RLC");
        check(9, 1, None, "GM-2102 --trust 8, or a market with more workers (--workers N)");
        check(8, 2000, None, "GM-2103 --tasks 1000, or wait for a new offer");
    }

    #[test]
    fn without_offers_there_is_nothing_to_choose() {
        let wanted = Wanted { trust: U256::from(1), tasks: U256::from(1), max_price: None };
        assert_eq!(choose(&[], &wanted).unwrap_err().code, "GM-2104");
    }
}
