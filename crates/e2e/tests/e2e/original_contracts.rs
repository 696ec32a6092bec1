//! Somebody uses this market on the original contracts: it needs nothing of ours on the chain.

use std::path::Path;

use alloy_primitives::{Address, B256};
use anyhow::{Context, Result, ensure};
use chain::calls::{self, NewWorkerpool};
use chain::{AssetKind, Client, Contracts, TaskStatus, Wallet};
use gristmill::accounts::{self, Role, ServiceKeys};
use primitives::{CategoryId, Nrlc, OrderHash};
use serde_json::{Value, json};
use testkit::original::Original;
use testkit::{House, HouseConfig, programs};

use crate::{at, gristmill, list};

const POOLS: usize = 3;
/// For stakes, and for the buyer.
const GRANT: Nrlc = Nrlc(alloy_primitives::U256::from_limbs([2_000_000_000_000_000, 0, 0, 0]));

#[tokio::test]
async fn the_whole_market_runs_on_the_original_contracts() -> Result<()> {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("original");
    let Some(original) = Original::fetch(&packages).await? else { return Ok(()) };
    let gristmill = gristmill()?;

    // A market of our own contracts, which is then told to use others on the same chain.
    let house = House::start(&gristmill, HouseConfig::default()).await?;
    let program = gristmill.file("greeting.wasm", programs::greeting("hello\n")?)?;
    let our_bag = house.run(&program, &["--tasks", "3"]).await?.ok()?.json()?;
    let our_sure = house.run(&program, &["--trust", "4"]).await?.ok()?.json()?;
    let data_dir = house.data_dir();
    let contracts = found(&original, &house).await?;
    let pools = register(&house, contracts, &data_dir).await?;
    house.stop().await?;
    move_to(&data_dir, contracts, &pools)?;

    let house = House::start(&gristmill, HouseConfig::default()).await?;
    assert_eq!(house.address("/contracts/hub")?, contracts.hub);
    let client = house.client().await?;
    assert!(!client.has_settle().await, "the original settles no batches");

    let bag = house.run(&program, &["--tasks", "3"]).await?.ok()?.json()?;
    assert_eq!(list(&bag, "/results")?.len(), 3);
    for result in list(&bag, "/results")? {
        assert_eq!(result["output"], "hello\n");
    }
    let sure = house.run(&program, &["--trust", "4"]).await?.ok()?.json()?;
    assert_eq!(at(&sure, "/results/0/output")?, "hello\n");
    assert!(list(&sure, "/receipt/tasks/0/contributions")?.len() >= 2);

    for (what, ours, theirs) in [("3 tasks", &our_bag, &bag), ("trust 4", &our_sure, &sure)] {
        let (ours, theirs) = (gas(ours)?, gas(theirs)?);
        eprintln!("gas of {what}: {theirs} on the original contracts, {ours} on ours");
        assert!(2 * ours < theirs, "{what}: {ours} of {theirs}");
    }
    let requester = house.address("/accounts/0/address")?;
    everything_is_readable(&client, &sure, requester, &pools).await
}

/// Gas of all transactions that a purchase took, by its receipt.
fn gas(bought: &Value) -> Result<u64> {
    let rows = list(bought, "/receipt/gas")?.iter();
    rows.map(|row| row["used"].as_u64().with_context(|| format!("no gas in {row}"))).sum()
}

/// Puts the original contracts on the chain and shares out their token.
async fn found(original: &Original, house: &House) -> Result<Contracts> {
    let admin = accounts::development(Role::Admin.index());
    let contracts = original.deploy(&house.ws()?, admin.clone()).await?;
    let client = Client::connect(&house.ws()?, contracts.hub).await?;
    ensure!(client.contracts() == contracts, "the hub names its parts: {:?}", client.contracts());
    let admin = Wallet::new(&client, admin).await?;
    for role in [Role::Requester, Role::Crowdsale, Role::Ecosystem] {
        let holder = accounts::development(role.index()).address();
        admin.execute(calls::transfer_rlc(&contracts, holder, GRANT)).await?;
    }
    Ok(contracts)
}

/// Registers the workerpools of the keys that the directory has.
async fn register(house: &House, contracts: Contracts, data_dir: &Path) -> Result<Vec<Address>> {
    let client = Client::connect(&house.ws()?, contracts.hub).await?;
    let anybody = Wallet::new(&client, accounts::development(Role::Admin.index())).await?;
    let keys = ServiceKeys::of(data_dir)?;
    let mut pools = Vec::new();
    for pool in 0..POOLS {
        let owner = keys.pool_owner(pool).address();
        let new = NewWorkerpool { owner, description: format!("Mill {pool}") };
        let address = new.address(&client).await?;
        anybody.execute(calls::create_workerpool(&contracts, new)).await?;
        let found = client.workerpool(address).await?;
        ensure!(found.owner == owner, "{found:?}");
        pools.push(address);
    }
    Ok(pools)
}

/// What the market remembers of its contracts becomes this, and nothing else of what it knew.
fn move_to(data_dir: &Path, contracts: Contracts, pools: &[Address]) -> Result<()> {
    let path = data_dir.join("market.json");
    let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    kept["contracts"] = json!(contracts);
    kept["workerpools"] = json!(pools);
    std::fs::write(&path, kept.to_string())?;
    for place in ["store", "workers"] {
        match std::fs::remove_dir_all(data_dir.join(place)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Every question that a service may ask is one that the original answers.
async fn everything_is_readable(
    client: &Client,
    bought: &Value,
    requester: Address,
    pools: &[Address],
) -> Result<()> {
    let text = |pointer: &str| -> Result<String> {
        Ok(at(bought, pointer)?.as_str().context(pointer.to_owned())?.to_owned())
    };
    let deal = client.deal(text("/receipt/deal")?.parse()?).await?;
    assert_eq!(deal.requester, requester);
    assert!(pools.contains(&deal.workerpool.pointer), "{deal:?}");
    let task = text("/receipt/tasks/0/task")?.parse()?;
    let state = client.task(task).await?;
    assert_eq!(state.status, TaskStatus::Completed);
    let collected = client.receipt_of(task).await?;
    ensure!(collected.notes.is_empty(), "{:?}", collected.notes);
    let file = collected.receipt.to_text().into_bytes();
    let trusted: Vec<B256> = receipts::anchors(&file)?.into_iter().map(|it| it.hash).collect();
    let verified = receipts::verify(&file, &trusted)?;
    assert_eq!(verified.receipt.claims.contributions.len(), state.contributors.len());
    assert!(verified.complete, "the original's own count was proven");
    let worker = *state.contributors.first().context("a contributor")?;
    let contribution = client.contribution(task, worker).await?;
    assert_eq!(contribution.hash, state.consensus);
    assert_eq!(client.score(worker).await?, alloy_primitives::U256::ONE);
    assert!(!client.account(worker).await?.stake.is_zero());
    assert_eq!(client.category_count().await?, 5);
    assert_eq!(
        client.category(CategoryId(alloy_primitives::U256::ZERO)).await?.work_clock_seconds,
        300
    );
    assert!(
        client
            .category(CategoryId(alloy_primitives::U256::from(9)))
            .await
            .is_err_and(|error| error.is_unknown())
    );
    assert!(client.is_registered(AssetKind::App, deal.app.pointer).await?);
    assert_eq!(client.app(deal.app.pointer).await?.owner, deal.app.owner);
    assert_eq!(client.owner_of_asset(deal.app.pointer).await?, deal.app.owner);
    assert!(client.dataset(requester).await.is_err_and(|error| error.is_unknown()));
    let order = OrderHash(B256::repeat_byte(1));
    assert!(client.consumed(order).await?.is_zero());
    assert!(client.presigner(order).await?.is_zero());
    assert!(!client.verify_signature(requester, order.0, vec![27; 65].into()).await?);
    assert!(client.rlc_balance(requester).await? <= GRANT);
    assert!(client.rlc_allowance(requester).await?.is_zero());
    Ok(())
}
