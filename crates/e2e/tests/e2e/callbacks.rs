//! A contract receives results: one that keeps them, one that refuses them, one that burns all the gas it is given. Whatever it
//! does, the task ends and everybody is paid.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use chain::calls::{self, NewApp};
use chain::{Client, Task, TaskStatus, TxRequest, Wallet};
use orders::{AppOrder, DatasetOrder, OrderKind, Quartet, RequestOrder, WorkerpoolOrder, task_id};
use primitives::{Nrlc, TaskId};
use serde_json::json;
use testkit::{House, programs};
use wire::ipfs::IpfsClient;
use wire::market::{MarketClient, Order, OrderQuery};

use crate::house;

const DATA: &[u8] = b"the answer";
const PATIENCE: Duration = Duration::from_secs(240);
/// Keeps the hash of what it receives under the task's id.
const KEEPER: [u8; 17] = hex!("6044358060646000376000206004355500");
/// Reverts.
const REFUSER: [u8; 5] = hex!("60006000fd");
/// Goes round until there is no gas left.
const BURNER: [u8; 4] = hex!("5b600056");

/// A contract of that code.
async fn deploy(wallet: &Wallet, code: &[u8]) -> Result<Address> {
    let mut creation = vec![0x60, u8::try_from(code.len())?];
    creation.extend_from_slice(&hex!("80600b6000396000f3"));
    creation.extend_from_slice(code);
    let receipt = wallet.execute(TxRequest::create(creation)).await?;
    receipt.created.context("no contract was made")
}

fn sign(signer: &PrivateKeySigner, hash: B256) -> Result<Bytes> {
    Ok(signer.sign_hash_sync(&hash)?.as_bytes().to_vec().into())
}

/// A market with a program that calls back, and somebody who buys it.
struct Stage {
    house: House,
    client: Client,
    requester: Wallet,
    app: Address,
    offer: WorkerpoolOrder,
}

impl Stage {
    async fn set() -> Result<Self> {
        let house = house().await?;
        let client = house.client().await?;
        let requester = Wallet::new(&client, house.key(0)?).await?;
        let program = programs::caller(DATA)?;
        let gateway = IpfsClient::new(&house.origin()?)?;
        let stored = gateway.add_bytes("caller.wasm", program.into()).await?;
        let app = NewApp {
            owner: requester.address(),
            name: "caller".into(),
            kind: "WASM".into(),
            multiaddr: stored.location().into_bytes().into(),
            ..NewApp::default()
        };
        let address = app.address(&client).await?;
        requester.execute(calls::create_app(&client.contracts(), app)).await?;
        let book = MarketClient::new(&house.origin()?, client.chain_id())?;
        let query = OrderQuery { category: Some(0), ..OrderQuery::all(OrderKind::Workerpool) };
        let best = book.best_order(&query).await?.context("no offer")?;
        let Order::Workerpool(offer) = best.order else { anyhow::bail!("another kind of order") };
        Ok(Self { house, client, requester, app: address, offer })
    }

    /// Buys a task for that receiver and waits for its end.
    async fn buy(&self, callback: Address, trust: u64, salt: u8) -> Result<(TaskId, Task)> {
        let domain = self.client.domain();
        let salt = B256::repeat_byte(salt);
        let app = AppOrder { app: self.app, volume: U256::ONE, salt, ..AppOrder::default() };
        let request = RequestOrder {
            app: self.app,
            workerpool_max_price: self.offer.price,
            requester: self.requester.address(),
            volume: U256::ONE,
            trust: U256::from(trust),
            callback,
            salt,
            ..RequestOrder::default()
        };
        let signer = self.requester.signer();
        let quartet = Quartet {
            app: app.clone().signed(sign(signer, app.hash(&domain).0)?),
            dataset: DatasetOrder::none(),
            workerpool: self.offer.clone(),
            request: request.clone().signed(sign(signer, request.hash(&domain).0)?),
        };
        let price = Nrlc(self.offer.price);
        let deal = quartet.deal_id(&domain, U256::ZERO);
        chain::deposit_and_match(&self.requester, price, &quartet).await?;
        let id = task_id(deal, U256::ZERO);
        Ok((id, self.ended(id).await?))
    }

    async fn ended(&self, id: TaskId) -> Result<Task> {
        let looking = async {
            loop {
                match self.client.task(id).await {
                    Ok(task) if task.status == TaskStatus::Completed => return Ok(task),
                    Err(error) if !error.is_unknown() => return Err(error),
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, looking).await;
        Ok(ended.with_context(|| format!("task {id} does not end"))??)
    }

    async fn kept(&self, receiver: Address, task: B256) -> Result<B256> {
        let word =
            self.client.request("eth_getStorageAt", json!([receiver, task, "latest"])).await?;
        Ok(word.as_str().context("no word")?.parse()?)
    }
}

#[tokio::test]
async fn whatever_a_receiver_does_the_task_ends_and_everybody_is_paid() -> Result<()> {
    let stage = Stage::set().await?;
    let keeper = deploy(&stage.requester, &KEEPER).await?;
    let refuser = deploy(&stage.requester, &REFUSER).await?;
    let burner = deploy(&stage.requester, &BURNER).await?;
    let cases = [(keeper, 1), (refuser, 1), (burner, 1), (keeper, 4), (burner, 4)];
    for (salt, (receiver, trust)) in (1..).zip(cases) {
        let shown = format!("receiver {receiver} at trust {trust}");
        let (id, task) = stage.buy(receiver, trust, salt).await.with_context(|| shown.clone())?;
        ensure!(task.digest.0 == keccak256(DATA), "{shown}: {}", task.digest);
        let results = format!(r#"{{ "storage": "ethereum", "location": "{receiver}" }}"#);
        ensure!(task.results[..] == *results.as_bytes(), "{shown}: {}", task.results);
        let expected = if receiver == keeper { keccak256(DATA) } else { B256::ZERO };
        ensure!(stage.kept(receiver, id.0).await? == expected, "{shown}: what it kept");
        let account = stage.client.account(stage.requester.address()).await?;
        ensure!(account.locked == Nrlc::ZERO, "{shown}: {} stays locked", account.locked);
    }
    stage.house.stop().await?;
    Ok(())
}
