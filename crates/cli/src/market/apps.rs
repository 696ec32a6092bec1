//! Programs that every embedded market has by name, so that there is something to run at once.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use blobs::Blobs;
use chain::{AssetKind, Client, Wallet, calls};
use futures::future::try_join_all;
use orders::{AppOrder, OrderKind};
use primitives::Tag;
use sha2::{Digest, Sha256};
use wire::description::App;
use wire::market::{MarketClient, Order, OrderQuery, PartyFilter};

use super::founding::not_founded;
use crate::accounts::{Role, development};
use crate::failure::{Exit, Failure, OrFail};

/// Name and code.
const APPS: [(&str, &[u8]); 4] = [
    ("wordcount", include_bytes!("../../../../examples/wordcount/wordcount.wasm")),
    ("join", include_bytes!("../../../../examples/join/join.wasm")),
    ("mandelbrot", include_bytes!("../../../../examples/mandelbrot/mandelbrot.wasm")),
    ("noop", include_bytes!("../../../../examples/noop/noop.wasm")),
];
/// What each costs a task, in nRLC.
const PRICE_NRLC: u64 = 1_000_000;
/// Tasks in an app order: as good as without end, and a number that JSON can carry.
const VOLUME: u64 = 1_000_000_000;

/// Sees that the programs are stored, registered and for sale, all of it only if they are not yet.
pub(super) async fn register(
    client: &Client,
    market: &MarketClient,
    blobs: &Blobs,
    confidential: bool,
) -> Result<Vec<App>, Failure> {
    let owner = development(Role::AppOwner.index());
    let wallet = Wallet::new(client, owner.clone()).await.map_err(|error| not_founded(&error))?;
    try_join_all(APPS.iter().map(|(name, code)| {
        let (wallet, owner) = (&wallet, &owner);
        async move {
            let address = registered(wallet, blobs, name, code).await?;
            for_sale(client, market, owner, address, Tag::NONE).await?;
            if confidential {
                for_sale(client, market, owner, address, Tag::TEE | Tag::TDX).await?;
            }
            Ok(App { name: (*name).to_owned(), address })
        }
    }))
    .await
}

async fn registered(
    wallet: &Wallet,
    blobs: &Blobs,
    name: &str,
    code: &'static [u8],
) -> Result<Address, Failure> {
    let stored = blobs.add(code).await.or_fail(
        "GM-5012",
        Exit::Market,
        "the market's own programs cannot be stored",
    )?;
    let app = calls::NewApp {
        owner: wallet.address(),
        name: name.to_owned(),
        kind: "WASM".to_owned(),
        multiaddr: Bytes::from(format!("/ipfs/{}", stored.cid).into_bytes()),
        checksum: B256::from_slice(&Sha256::digest(code)),
        mrenclave: Bytes::new(),
    };
    let client = wallet.client();
    let address = app.address(client).await.map_err(|error| not_founded(&error))?;
    let known = client.is_registered(AssetKind::App, address).await;
    if !known.map_err(|error| not_founded(&error))? {
        let created = wallet.execute(calls::create_app(&client.contracts(), app)).await;
        created.map_err(|error| not_founded(&error))?;
    }
    Ok(address)
}

async fn for_sale(
    client: &Client,
    market: &MarketClient,
    owner: &PrivateKeySigner,
    app: Address,
    tag: Tag,
) -> Result<(), Failure> {
    let silent = "the market's own order book does not answer";
    let query = OrderQuery {
        app: PartyFilter::Exactly(app),
        min_tag: Some(tag),
        max_tag: Some(tag),
        ..OrderQuery::all(OrderKind::App)
    };
    if market.best_order(&query).await.or_fail("GM-5012", Exit::Market, silent)?.is_some() {
        return Ok(());
    }
    let mut order = AppOrder {
        app,
        price: U256::from(PRICE_NRLC),
        volume: U256::from(VOLUME),
        tag,
        salt: B256::random(),
        ..AppOrder::default()
    };
    let hash = order.hash(&client.domain());
    let signature =
        owner.sign_hash_sync(&hash.0).or_fail("GM-5012", Exit::Market, "a key does not sign")?;
    order.sign = signature.as_bytes().to_vec().into();
    market.publish(&Order::App(order), owner).await.or_fail("GM-5012", Exit::Market, silent)?;
    Ok(())
}
