//! Saying in the order book how the pool's tasks ended and which workers it has, signed by its owner: when there is something
//! new to say, and now and then again, because the book does not write it down.

use std::time::{Duration, Instant};

use wire::UnixMillis;
use wire::market::{Claim, MarketClient, SignedClaim};

use crate::books::Books;
use crate::config::Config;
use crate::model;

/// After so long the same is said again.
const AGAIN: Duration = Duration::from_secs(10 * 60);

/// What was said last, and when.
#[derive(Default)]
pub(crate) struct Speaker {
    last: Option<(Claim, Instant)>,
}

impl Speaker {
    /// Says what is known now, if it is time to. One that is not heard tries again the next time.
    pub(crate) async fn speak(&mut self, config: &Config, market: &MarketClient, claim: Claim) {
        if !self.is_due(&claim) {
            return;
        }
        let signed = match SignedClaim::of(&claim, config.wallet.signer()) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::warn!(%error, "the key does not sign what the pool says of itself");
                return;
            }
        };
        match market.put_claim(config.workerpool, &signed).await {
            Ok(()) => self.last = Some((claim, Instant::now())),
            Err(error) => tracing::debug!(%error, "the order book does not take the pool's word"),
        }
    }

    /// A pool that has done nothing and has nobody has nothing to say.
    fn is_due(&self, claim: &Claim) -> bool {
        let Some((last, at)) = &self.last else {
            return claim.total != Default::default() || !claim.machines.is_empty();
        };
        let undated = Claim { issued_at: last.issued_at, ..claim.clone() };
        undated != *last || at.elapsed() >= AGAIN
    }
}

/// What the books know of the pool, dated now.
pub(crate) fn of(books: &Books, chain_id: u64) -> Claim {
    let pool = books.ledger().pool();
    Claim {
        version: Claim::VERSION,
        chain_id,
        workerpool: books.workerpool(),
        issued_at: UnixMillis::now(),
        canary_rate_ppm: books.policy().rate_millionths(),
        canaries_passed: pool.canaries_passed,
        canaries_failed: pool.canaries_failed,
        total: model::past(pool),
        machines: books.machines(),
    }
}
