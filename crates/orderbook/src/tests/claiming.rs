//! What workerpools say of themselves, and what is taken of it.

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use chain::{AssetKind, MarketEvent};
use orders::OrderKind;
use wire::UnixMillis;
use wire::market::{ApiError, Claim, Order, OrderQuery, Published, SignedClaim};
use wire::scheduler::Reputation;

use super::fair::{Fair, POOL, STRANGER, pool_order};
use crate::claims::Claims;
use crate::ledger::Ledger;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn key(number: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(number)).expect("a key")
}

/// So many results, said at that time.
fn claim(completed: u64, issued_at: UnixMillis) -> Claim {
    Claim {
        version: Claim::VERSION,
        chain_id: 65_535,
        workerpool: POOL,
        issued_at,
        canary_rate_ppm: 50_000,
        canaries_passed: 3,
        canaries_failed: 0,
        total: Reputation { completed, ..Reputation::default() },
        machines: Vec::new(),
    }
}

async fn fair() -> Fair {
    let fair = Fair::open().await;
    fair.change(|world| {
        world.owners.insert(POOL, key(1).address());
        world.stakes.insert(key(1).address(), 10_000);
    });
    fair
}

async fn shown(fair: &Fair) -> Published {
    let found = fair.book.orders(&OrderQuery::all(OrderKind::Workerpool)).await;
    found.expect("answers").items[0].clone()
}

async fn say(fair: &Fair, claim: &Claim, by: u8) -> Result<(), String> {
    let signed = SignedClaim::of(claim, &key(by)).expect("signs");
    fair.book.put_claim(POOL, signed).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_owners_last_word_is_shown_beside_what_the_chain_says() {
    let mut fair = fair().await;
    let order = Order::from(pool_order());
    fair.book.publish(key(1).address(), order).await.expect("is published");
    assert_eq!(shown(&fair).await.claimed, None);
    assert_eq!(fair.book.claim(POOL).await, Err(ApiError::NotFound("claim")));

    let said = claim(7, UnixMillis::now());
    let signed = SignedClaim::of(&said, &key(1)).expect("signs");
    fair.book.put_claim(POOL, signed.clone()).await.expect("is the owner's");
    assert_eq!(fair.book.claim(POOL).await, Ok(signed));
    let record = shown(&fair).await;
    assert_eq!((record.claimed.as_deref(), record.track_record), (Some(&said), None));
    // Whoever buys the workerpool has said nothing yet.
    fair.change(|world| {
        world.owners.insert(POOL, STRANGER);
    });
    let registry = fair.fake.registry(AssetKind::Workerpool);
    let from = key(1).address();
    let sold = MarketEvent::AssetTransferred { registry, from, to: STRANGER, asset: POOL };
    fair.block([sold]).await;
    assert_eq!(fair.book.claim(POOL).await, Err(ApiError::NotFound("claim")));
}

#[tokio::test]
async fn nobody_else_speaks_for_a_workerpool_and_no_word_is_taken_back() {
    let fair = fair().await;
    let now = UnixMillis::now();
    let no = |why: &str| Err(why.to_owned());
    let owners = no("only the workerpool's owner can speak for it");
    assert_eq!(say(&fair, &claim(9, now), 2).await, owners);
    let elsewhere = Claim { workerpool: Address::repeat_byte(9), ..claim(9, now) };
    assert_eq!(say(&fair, &elsewhere, 1).await, no("the claim is of another workerpool"));
    let elsewhere = Claim { chain_id: 1, ..claim(9, now) };
    assert_eq!(say(&fair, &elsewhere, 1).await, no("the claim is of another workerpool"));
    for date in [now.0 + DAY_MS, now.0 - DAY_MS] {
        let untimely = claim(9, UnixMillis(date));
        assert_eq!(say(&fair, &untimely, 1).await, no("the claim is not of today"));
    }
    assert_eq!(say(&fair, &claim(9, now), 1).await, Ok(()));
    // What it said before it failed somebody does not count any more.
    for date in [now.0, now.0 - 1] {
        let known = no("a claim of that date or a later one is known");
        assert_eq!(say(&fair, &claim(99, UnixMillis(date)), 1).await, known);
    }
    assert_eq!(say(&fair, &claim(8, UnixMillis(now.0 + 1)), 1).await, Ok(()));
}

#[test]
fn a_word_is_good_for_a_day() {
    let (claims, said) = (Claims::default(), claim(8, UnixMillis(DAY_MS)));
    let signed = SignedClaim::of(&said, &key(1)).expect("signs");
    claims.put(said.clone(), signed.clone()).expect("is the first");
    let at = |ms| {
        let now = UnixMillis(ms);
        (claims.of(POOL, now).as_deref().cloned(), claims.signed(POOL, now))
    };
    assert_eq!(at(2 * DAY_MS - 1), (Some(said), Some(signed)));
    assert_eq!(at(2 * DAY_MS), (None, None));
}
