//! Several buyers choose the same order, and it does not have enough for all of them.

use alloy_primitives::{B256, U256};
use alloy_signer::SignerSync;
use anyhow::{Context, Result};
use clap::Parser;
use gristmill::args::RunArgs;
use gristmill::failure::Failure;
use gristmill::progress::Talk;
use gristmill::purchase::{Access, Matched, Outcome, Purchase, Wish};
use orders::{OrderKind, WorkerpoolOrder};
use testkit::{Apart, eventually, programs};
use wire::market::{MarketClient, Order, OrderQuery};

use crate::{gristmill, text};

/// What the orders in question ask for a task, in nRLC; the workerpool's own offer asks for more.
const PRICE_NRLC: u64 = 7;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
}

/// Puts an order for so many tasks into the book, in the name of the workerpool's owner.
async fn offer(market: &Apart, book: &MarketClient, volume: u64) -> Result<()> {
    let owner = market.owner()?;
    let order = WorkerpoolOrder {
        workerpool: market.workerpool()?,
        price: U256::from(PRICE_NRLC),
        volume: U256::from(volume),
        category: U256::ZERO,
        trust: U256::from(8),
        salt: B256::random(),
        ..WorkerpoolOrder::default()
    };
    let signature = owner.sign_hash_sync(&order.hash(&market.client().await?.domain()).0)?;
    let order = Order::Workerpool(order.signed(signature.as_bytes()));
    book.publish(&order, &owner).await?;
    Ok(())
}

/// Buys what was chosen before others bought.
async fn buy(purchase: Purchase<'_>) -> Result<Matched<'_>, Failure> {
    let chosen = purchase.choose()?;
    assert_eq!(chosen.price().0, U256::from(PRICE_NRLC), "the cheapest was chosen");
    purchase.buy(&chosen).await
}

/// What each of two tasks said, and in how many deals they were.
async fn done(matched: Matched<'_>) -> Result<usize> {
    let deals = matched.deals().count();
    let Outcome { results, receipt, .. } = matched.outcome(&Talk::new(true)).await?;
    let said: Vec<_> = results.iter().map(|it| (it.index, it.output.as_slice())).collect();
    assert_eq!(said, [(0, &b"once\n"[..]), (1, &b"once\n"[..])]);
    assert_eq!(receipt.workerpool_price.0, U256::from(PRICE_NRLC));
    Ok(deals)
}

#[tokio::test]
async fn what_others_use_up_is_replaced_by_what_costs_no_more() -> Result<()> {
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 1).await?;
    let (origin, key) = (market.market()?, market.owner_key_file()?);
    let book = MarketClient::new(&origin, market.client().await?.chain_id())?;
    // From then on the scheduler leaves orders alone that are not its own.
    eventually("the workerpool's own offer", async || {
        Ok(book.best_order(&OrderQuery::all(OrderKind::Workerpool)).await?)
    })
    .await?;
    offer(&market, &book, 3).await?;
    offer(&market, &book, 3).await?;

    let program = gristmill.file("once.wasm", programs::greeting("once\n")?)?;
    let line = ["run", text(&program), "--tasks", "2", "--key-file", &key];
    let wish = Wish::of(&Line::try_parse_from(line)?.run)?;
    let access = Access::to(&origin).await?;
    // All look before the first buys.
    let mut buyers = Vec::new();
    for _ in 0..4 {
        buyers.push(Purchase::prepare(&access, &wish).await?);
    }
    let mut buyers = buyers.into_iter();
    let mut next = || buyers.next().context("four buyers");

    let first = buy(next()?).await?;
    // One task is left of the order that it chose.
    let second = buy(next()?).await?;
    // None is left of the first, two of the second.
    let third = buy(next()?).await?;
    let Err(fourth) = buy(next()?).await else { panic!("nothing is left at that price") };
    assert_eq!(fourth.code, "GM-3101", "{fourth}");
    assert!(fourth.cause.is_some_and(|why| why.contains("0x60")), "it is used up");

    assert_eq!(done(first).await?, 1);
    assert_eq!(done(second).await?, 2, "the rest of a bag is the other order's");
    assert_eq!(done(third).await?, 1);

    // What cannot be had whole is said, and the part that was had is done all the same.
    offer(&market, &book, 3).await?;
    let (first, second) =
        (Purchase::prepare(&access, &wish).await?, Purchase::prepare(&access, &wish).await?);
    let first = buy(first).await?;
    let Err(failure) = buy(second).await else { panic!("one task is left") };
    assert_eq!(failure.code, "GM-2110", "{failure}");
    assert_eq!(failure.what, "only 1 of 2 tasks could be bought");
    assert!(!failure.cause.is_some_and(|why| why.contains("could not be withdrawn")));
    assert_eq!(done(first).await?, 1);
    Ok(())
}
