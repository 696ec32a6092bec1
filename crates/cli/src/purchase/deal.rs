//! Making the deal, although others buy too.
//!
//! Between the comparison of offers and the match somebody else may use an offer up. Then the hub refuses, or it makes a
//! deal of what was left: that is how orders are meant. What is still wanted is matched with another offer, which may cost no
//! more than the one that was shown. The rest of a request goes on as what it is, so that tasks keep their indices, and
//! hence to an order of the same workerpool, which the request names.

use std::time::{Duration, Instant};

use alloy_primitives::{B256, U256};
use chain::{Cursor, ErrorKind, MarketEvent, calls, deposit_and_match};
use orders::{DatasetOrder, Operation, Quartet, RequestOrder};
use primitives::{DealId, Nrlc};

use super::{Matched, Purchase, chain_silent, open_offers, sign};
use crate::failure::{Exit, Failure};
use crate::offers::{self, Offer, Verdict, Wanted};

/// Matches that are sent for one purchase. Each costs gas, refused or not.
const MATCHES_MAX: usize = 4;
/// How often the book is asked for another offer: a workerpool whose order is used up signs the next within moments.
const LOOKS_MAX: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// A deal that was made of a request, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) deal: DealId,
    /// The index of its first task in the request.
    pub(super) first: u64,
    pub(super) tasks: u64,
    pub(super) tx: B256,
    pub(super) gas_used: u64,
}

/// What became of a match.
enum Attempt {
    Made(Part),
    /// Nothing changed, and with another offer it may go better.
    Refused(chain::Error),
}

impl<'a> Purchase<'a> {
    /// Signs the request, locks the money, makes the deal. An offer that somebody else has used up meanwhile is replaced
    /// by another that costs no more.
    ///
    /// # Errors
    /// GM-2106 too little RLC, GM-3101 the hub refuses and there is no other such offer, GM-2110 there was one for a part
    /// of the tasks only.
    pub async fn buy(mut self, offer: &Offer) -> Result<Matched<'a>, Failure> {
        let start = Instant::now();
        let head = self.access.client.head().await.map_err(chain_silent)?;
        let from = Cursor { number: head.number, hash: head.hash };
        let (mut offer, mut request) = (offer.clone(), self.signed_request(offer)?);
        let mut parts: Vec<Part> = Vec::new();
        let mut refused = None;
        for _ in 0..MATCHES_MAX {
            match self.match_rest(&offer, &request, bought(&parts)).await? {
                Attempt::Made(part) => parts.push(part),
                Attempt::Refused(error) => refused = Some(error),
            }
            let rest = self.wanted.tasks.saturating_sub(U256::from(bought(&parts)));
            if rest.is_zero() {
                self.phases.push(("match", start.elapsed()));
                let matched_at = Instant::now();
                return Ok(Matched { purchase: self, offer, parts, from, matched_at });
            }
            let Some(other) = self.another(&offer, rest, !parts.is_empty()).await? else { break };
            tracing::info!(order = %other.order.salt, "others were faster; another offer is taken");
            if other.workerpool() != offer.workerpool() {
                request = self.signed_request(&other)?;
            }
            offer = other;
        }
        Err(self.not_bought(&parts, &request, refused).await)
    }

    fn signed_request(&self, offer: &Offer) -> Result<RequestOrder, Failure> {
        let requester = self.wallet.address();
        let request = RequestOrder {
            app: self.app_order.app,
            app_max_price: self.app_order.price,
            workerpool: offer.order.workerpool,
            workerpool_max_price: offer.order.price,
            requester,
            volume: self.wanted.tasks,
            tag: self.app_order.tag,
            category: U256::from(self.wish.category),
            trust: self.wanted.trust,
            beneficiary: requester,
            params: self.params.to_text(),
            salt: B256::random(),
            ..RequestOrder::default()
        };
        let hash = request.hash(&self.access.client.domain());
        let signature = sign(self.wallet.signer(), hash.0)?;
        Ok(RequestOrder { sign: signature, ..request })
    }

    /// Matches what is left of the request beyond its first tasks. In one transaction with the deposit where the hub can:
    /// nothing is left in between for a crash to strand.
    async fn match_rest(
        &self,
        offer: &Offer,
        request: &RequestOrder,
        first: u64,
    ) -> Result<Attempt, Failure> {
        let quartet = Quartet {
            app: self.app_order.clone(),
            dataset: DatasetOrder::none(),
            workerpool: offer.order.clone(),
            request: request.clone(),
        };
        let rest = self.wanted.tasks.saturating_sub(U256::from(first));
        let missing = self.missing(offer, rest).await?;
        let receipt = match deposit_and_match(&self.wallet, missing, &quartet).await {
            Ok(receipt) => receipt,
            Err(error) if error.is_retryable() => return Err(chain_silent(error)),
            Err(error) if may_go_better(&error) => return Ok(Attempt::Refused(error)),
            Err(error) => return Err(refusal(&error)),
        };
        let client = &self.access.client;
        let hash = request.hash(&client.domain());
        let made = receipt.events(client.hub()).into_iter().find_map(|event| match event.event {
            MarketEvent::OrdersMatched { deal, request, volume, .. } if request == hash => {
                Some((deal, volume.saturating_to()))
            }
            _ => None,
        });
        let Some((deal, tasks)) = made else {
            let what = format!("transaction {} made no deal of the orders", receipt.hash);
            return Err(Failure::new("GM-3101", Exit::Refused, what));
        };
        let (tx, gas_used) = (receipt.hash, receipt.gas_used);
        Ok(Attempt::Made(Part { deal, first, tasks, tx, gas_used }))
    }

    /// The best offer for so many tasks that costs no more than that one; of the same workerpool, if need be. What is left
    /// of it says the chain, since the book may not have heard yet.
    async fn another(
        &self,
        than: &Offer,
        tasks: U256,
        same_pool: bool,
    ) -> Result<Option<Offer>, Failure> {
        let wanted = Wanted { tasks, max_price: Some(than.price()), ..self.wanted.clone() };
        let client = &self.access.client;
        let mut pause = LOOK_PAUSE;
        for _ in 0..LOOKS_MAX {
            tokio::time::sleep(pause).await;
            pause *= 2;
            let app = self.app_order.app;
            let mut found = open_offers(self.access, self.wish, &self.wallet, app).await?;
            found.retain(|offer| {
                let fits = !same_pool || offer.workerpool() == than.workerpool();
                fits && offer.price() <= than.price()
            });
            for offer in &mut found {
                let used = client.consumed(offer.order.hash(&client.domain())).await;
                let used = used.map_err(chain_silent)?;
                offer.remaining = offer.remaining.min(offer.order.volume.saturating_sub(used));
            }
            let judged = offers::compare(found, &wanted);
            let chosen = judged.into_iter().find(|(_, verdict)| *verdict == Verdict::Chosen);
            if let Some((offer, _)) = chosen {
                return Ok(Some(offer));
            }
        }
        Ok(None)
    }

    /// Why not all was bought. Nobody is left with a signed request for the rest.
    async fn not_bought(
        &self,
        parts: &[Part],
        request: &RequestOrder,
        refused: Option<chain::Error>,
    ) -> Failure {
        let Some(last) = parts.last() else {
            let unsaid = || Failure::new("GM-3101", Exit::Refused, "the orders were not matched");
            return refused.as_ref().map_or_else(unsaid, refusal);
        };
        let (have, wanted) = (bought(parts), self.wanted.tasks);
        let close =
            calls::manage_request_order(self.access.client.hub(), request, Operation::Close);
        let closed = self.wallet.execute(close).await;
        let mut cause = format!(
            "others used the offer up meanwhile, and there is no other at that price; the first {have} \
             are paid and will be done, the last of them in deal {}",
            last.deal
        );
        if let Err(error) = closed {
            cause.push_str(&format!("\nthe rest of the request could not be withdrawn: {error}"));
        }
        let what = format!("only {have} of {wanted} tasks could be bought");
        Failure::new("GM-2110", Exit::Refused, what)
            .because(cause)
            .fix("buy the others again; gristmill task show TASK tells of the first ones")
    }

    /// How much must still be deposited for so many tasks.
    async fn missing(&self, offer: &Offer, tasks: U256) -> Result<Nrlc, Failure> {
        let payer = self.wallet.address();
        let client = &self.access.client;
        let cost = self
            .app_price()
            .checked_add(offer.price())
            .and_then(|price| price.checked_mul(tasks))
            .unwrap_or(Nrlc::MAX);
        let (account, purse) = tokio::try_join!(client.account(payer), client.rlc_balance(payer))
            .map_err(chain_silent)?;
        let missing = cost.saturating_sub(account.stake);
        if missing > purse {
            let short = missing.saturating_sub(purse);
            return Err(Failure::new(
                "GM-2106",
                Exit::Refused,
                format!("{payer} is {short} short"),
            )
            .because(format!(
                "the deal costs {cost}; there are {} in the hub and {purse} in the account",
                account.stake
            ))
            .fix(format!("send {short} to {payer}, or buy fewer or cheaper tasks")));
        }
        Ok(missing)
    }
}

fn bought(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.tasks).sum()
}

/// Whether the hub may take what it has refused, or what another transaction of the same key has pushed out.
fn may_go_better(error: &chain::Error) -> bool {
    error.is_revert() || matches!(error.kind(), ErrorKind::Displaced { .. })
}

fn refusal(error: &chain::Error) -> Failure {
    Failure::new("GM-3101", Exit::Refused, "the hub refused to match the orders")
        .because(error)
        .fix("try again: the offer may have been taken or withdrawn meanwhile")
}
