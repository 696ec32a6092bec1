//! Choosing among offers. Pure: what is on offer goes in, the choice and its reasons come out.

use alloy_primitives::{Address, U256};
use orders::WorkerpoolOrder;
use primitives::Nrlc;
use wire::market::TrackRecord;

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
    /// How the workerpool's last tasks ended, if any have.
    pub track_record: Option<TrackRecord>,
}

impl Offer {
    /// What it asks for a task.
    pub fn price(&self) -> Nrlc {
        Nrlc(self.order.price)
    }

    /// What speaks against the workerpool: the part of its tasks that failed, in millionths, and how long the others took.
    fn blame(&self) -> (u64, u64) {
        let track_record = self.track_record.unwrap_or_default();
        (
            1_000_000 - track_record.success_ppm().min(1_000_000),
            track_record.median_latency_s.unwrap_or_default(),
        )
    }

    /// The workerpool.
    pub fn workerpool(&self) -> Address {
        self.order.workerpool
    }
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
    // Ties: who has let fewest down, then who was quickest; the more that is left in an order, the longer it will serve;
    // then the address, so that the choice is stable.
    judged.sort_by(|(left, left_verdict), (right, right_verdict)| {
        let key = |offer: &Offer, verdict: &Verdict| {
            (
                *verdict != Verdict::Dearer,
                offer.price(),
                offer.blame(),
                !offer.remaining,
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
        Offer { order, remaining: U256::from(remaining), name: name.to_owned(), track_record: None }
    }

    #[test]
    fn of_the_same_price_the_one_that_let_fewest_down_is_chosen() {
        let known = |completed, failed, seconds| {
            Some(TrackRecord { completed, failed, median_latency_s: Some(seconds) })
        };
        let with = |name, track_record| Offer { track_record, ..offer(name, 30, 2, 10) };
        let offers =
            vec![with("a", known(9, 1, 2)), with("b", known(8, 0, 9)), with("c", known(5, 0, 4))];
        let wanted = Wanted { trust: U256::from(1), tasks: U256::from(1), max_price: None };
        let judged = compare(offers, &wanted);
        let names: Vec<_> = judged.iter().map(|(offer, _)| offer.name.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
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
