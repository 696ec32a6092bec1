//! A scheduler takes a deal and does nothing. After the deadline the money comes back.

use alloy_primitives::{B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use anyhow::Result;
use chain::calls::{self, NewApp, NewWorkerpool};
use chain::{TaskStatus, Wallet};
use orders::{AppOrder, DatasetOrder, Quartet, RequestOrder, WorkerpoolOrder, task_id};
use primitives::Nrlc;
use serde_json::json;

use crate::{at, house};

fn sign(signer: &PrivateKeySigner, hash: B256) -> Result<Bytes> {
    Ok(signer.sign_hash_sync(&hash)?.as_bytes().to_vec().into())
}

#[tokio::test]
async fn a_task_that_nobody_does_is_refunded_after_its_deadline() -> Result<()> {
    let house = house().await?;
    let client = house.client().await?;
    let contracts = client.contracts();
    let requester = Wallet::new(&client, house.key(0)?).await?;
    let idler = Wallet::new(&client, house.key(3)?).await?;
    let price = Nrlc::from_rlc(1);
    requester.execute(calls::transfer_rlc(&contracts, idler.address(), price)).await?;
    idler.execute(calls::stake(&contracts, price)).await?;

    let app = NewApp { owner: idler.address(), name: "nothing".into(), ..NewApp::default() };
    let pool = NewWorkerpool { owner: idler.address(), description: "idle".into() };
    let app_order =
        AppOrder { app: app.address(&client).await?, volume: U256::ONE, ..AppOrder::default() };
    let workerpool_order = WorkerpoolOrder {
        workerpool: pool.address(&client).await?,
        price: price.0,
        volume: U256::ONE,
        ..WorkerpoolOrder::default()
    };
    let request_order = RequestOrder {
        app: app_order.app,
        workerpool_max_price: price.0,
        requester: requester.address(),
        volume: U256::ONE,
        ..RequestOrder::default()
    };
    idler.execute(calls::create_app(&contracts, app)).await?;
    idler.execute(calls::create_workerpool(&contracts, pool)).await?;
    let domain = client.domain();
    let quartet = Quartet {
        app: app_order.clone().signed(sign(idler.signer(), app_order.hash(&domain).0)?),
        dataset: DatasetOrder::none(),
        workerpool: workerpool_order
            .clone()
            .signed(sign(idler.signer(), workerpool_order.hash(&domain).0)?),
        request: request_order
            .clone()
            .signed(sign(requester.signer(), request_order.hash(&domain).0)?),
    };
    let deal = quartet.deal_id(&domain, U256::ZERO);
    requester.execute(calls::deposit_and_match(&contracts, price, &quartet)).await?;
    let held = client.account(requester.address()).await?;
    assert_eq!(held.locked, price);

    let claim = || calls::initialize_and_claim_array(contracts.hub, &[(deal, U256::ZERO)]);
    let early = requester.execute(claim()).await;
    assert!(early.is_err_and(|error| error.is_revert()), "claimed before the deadline");
    let origin = house.origin()?.to_string();
    let gristmill = house.gristmill();
    let verb = async |id: String| {
        gristmill.run(["task", "claim", &id, "--market", &origin, "--json"]).await
    };
    // A task that was never begun is known by its deal only, and nothing can be had before its time.
    let task = task_id(deal, U256::ZERO);
    assert_eq!(verb(task.to_string()).await?.failure_code()?, "GM-4103");
    assert_eq!(verb(deal.to_string()).await?.failure_code()?, "GM-4105");

    let category = client.category(client.deal(deal).await?.category).await?;
    client.request("evm_increaseTime", json!([category.work_clock_seconds * 10])).await?;
    client.request("evm_mine", json!([])).await?;
    let claimed = verb(deal.to_string()).await?.ok()?.json()?;
    assert_eq!(at(&claimed, "/refunded")?, "1 RLC");
    assert_eq!(at(&claimed, "/tasks/0/state")?, "claimed");
    for id in [deal.to_string(), task.to_string()] {
        let again = verb(id).await?.ok()?.json()?;
        assert_eq!(at(&again, "/refunded")?, "0 RLC", "nothing is refunded twice");
        assert_eq!(at(&again, "/tasks/0/state")?, "refunded before");
    }

    assert_eq!(client.task(task).await?.status, TaskStatus::Failed);
    let refunded = client.account(requester.address()).await?;
    assert_eq!((refunded.locked, refunded.stake), (Nrlc::ZERO, Nrlc(held.stake.0 + price.0)));
    Ok(())
}
