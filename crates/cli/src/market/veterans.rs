//! Letting honest workers earn a reputation, so that a development market can show what becomes of a liar.
//!
//! The hub counts a newcomer's word as 2. With one lie among the contributions, two honest newcomers do not reach consensus
//! at trust 4, nor do three; two workers with fifteen verified tasks behind them do. So before the liars arrive, the
//! honest ones do fifteen tasks together, bought and paid like any others.

use alloy_primitives::{Address, U256};

use crate::failure::Failure;
use crate::progress::Talk;
use crate::purchase::{Access, Purchase, Wish};

/// Score from which a worker's word counts as 4.
const VETERAN_SCORE: u64 = 15;
/// Rounds of tasks before this is given up: scores only rise where two workers met.
const ROUNDS_MAX: usize = 12;

/// Buys replicated tasks until every one of the workers is a veteran.
pub(super) async fn earn(access: &Access, workers: &[Address]) -> Result<(), Failure> {
    if workers.len() < 2 {
        return Ok(());
    }
    let wish = Wish::replicated("noop", u32::try_from(workers.len()).unwrap_or(1) * 8);
    for _ in 0..ROUNDS_MAX {
        if are_veterans(access, workers).await? {
            return Ok(());
        }
        let purchase = Purchase::prepare(access, &wish).await?;
        let offer = purchase.choose()?;
        purchase.buy(&offer).await?.outcome(&Talk::new(true)).await?;
    }
    tracing::warn!("some honest workers are still newcomers; a lie may go unpunished");
    Ok(())
}

async fn are_veterans(access: &Access, workers: &[Address]) -> Result<bool, Failure> {
    for worker in workers {
        let score = access.client().score(*worker).await;
        if score.map_err(|error| super::founding::not_founded(&error))? < U256::from(VETERAN_SCORE)
        {
            return Ok(false);
        }
    }
    Ok(true)
}
