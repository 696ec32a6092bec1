//! Getting at an order for the app: registering the program if it is a file, finding an open order, or signing one.

use std::path::Path;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer_local::PrivateKeySigner;
use chain::{AssetKind, Wallet, calls};
use orders::{AppOrder, OrderKind};
use primitives::Tag;
use sha2::{Digest, Sha256};
use wire::market::{Order, OrderQuery, PartyFilter};

use super::wish::{Program, Wish};
use super::{Access, chain_silent, sign};
use crate::accounts::{self, Role};
use crate::failure::{Exit, Failure, OrFail};

/// What an app of a development account's costs a task, when it is registered by `run`.
const DEVELOPMENT_APP_PRICE_NRLC: u64 = 1_000_000;

/// Registers the program if need be, and finds or signs an order for it.
pub(super) async fn app_order(
    access: &Access,
    wish: &Wish,
    wallet: &Wallet,
) -> Result<AppOrder, Failure> {
    let (app, owner) = match &wish.program {
        Program::File { path, code } => {
            let stored = access.ipfs.add_bytes(&stem(path), code.0.clone()).await;
            let what = Registered {
                name: stem(path),
                kind: "WASM",
                address: stored.or_fail(REFUSED.0, Exit::Market, REFUSED.1)?.location(),
                checksum: B256::from_slice(&Sha256::digest(code)),
            };
            register(access, wallet, what, wish).await?
        }
        Program::Image { path, sha256 } => {
            let stored = access.ipfs.add_file(path).await;
            let what = Registered {
                name: stem(path),
                kind: "DOCKER",
                address: stored.or_fail(REFUSED.0, Exit::Market, REFUSED.1)?.location(),
                checksum: *sha256,
            };
            register(access, wallet, what, wish).await?
        }
        Program::Registry { image } => {
            let what = Registered {
                name: image.clone(),
                kind: "DOCKER",
                address: image.clone(),
                checksum: digest_in(image),
            };
            register(access, wallet, what, wish).await?
        }
        Program::Address(app) => (*app, None),
        Program::Name(name) => (named(access, name)?, None),
    };
    if let Some(order) = open_app_order(access, wish, app).await? {
        return Ok(order);
    }
    let owner = match owner {
        Some(owner) => owner,
        None => owner_key(access, wallet, wish, app).await?,
    };
    let own = owner.address() == wallet.address();
    let mut order = AppOrder {
        app,
        price: U256::from(if own { 0 } else { DEVELOPMENT_APP_PRICE_NRLC }),
        volume: U256::from(1_000_000_000u64),
        tag: Tag::NONE,
        salt: B256::random(),
        ..AppOrder::default()
    };
    order.sign = sign(&owner, order.hash(&access.client.domain()).0)?;
    access.market.publish(&Order::App(order.clone()), &owner).await.or_fail(
        "GM-2108",
        Exit::Refused,
        "the market refused the app order",
    )?;
    Ok(order)
}

/// What the market says when it does not take a program.
const REFUSED: (&str, &str) = ("GM-5001", "the market did not take the program");

/// A program as the chain is told of it.
struct Registered {
    name: String,
    kind: &'static str,
    /// Where workers find it.
    address: String,
    checksum: B256,
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The digest that an image's name ends in, or zero.
fn digest_in(image: &str) -> B256 {
    let digest = image.split_once("@sha256:").and_then(|(_, digest)| digest.parse().ok());
    digest.unwrap_or_default()
}

/// Registers a program, unless the same was registered before: its address follows from what it is.
async fn register(
    access: &Access,
    wallet: &Wallet,
    what: Registered,
    wish: &Wish,
) -> Result<(Address, Option<PrivateKeySigner>), Failure> {
    let owner = match &wish.key {
        Some(key) => key.clone(),
        None => accounts::development(Role::AppOwner.index()),
    };
    let app = calls::NewApp {
        owner: owner.address(),
        name: what.name,
        kind: what.kind.to_owned(),
        multiaddr: Bytes::from(what.address.into_bytes()),
        checksum: what.checksum,
        mrenclave: Bytes::new(),
    };
    let client = &access.client;
    let address = app.address(client).await.map_err(chain_silent)?;
    if !client.is_registered(AssetKind::App, address).await.map_err(chain_silent)? {
        let created = wallet.execute(calls::create_app(&client.contracts(), app)).await;
        if let Err(error) = created {
            // Somebody may have registered the same in the same moment.
            if !client.is_registered(AssetKind::App, address).await.map_err(chain_silent)? {
                return Err(chain_silent(error));
            }
        }
    }
    Ok((address, Some(owner)))
}

fn named(access: &Access, name: &str) -> Result<Address, Failure> {
    let apps = &access.description.apps;
    apps.iter().find(|app| app.name == name).map(|app| app.address).ok_or_else(|| {
        let known: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        Failure::new("GM-2105", Exit::Refused, format!("the market knows no app '{name}'"))
            .because(format!("it knows {}", known.join(", ")))
            .fix("one of these, a .wasm file, or the address of a registered app")
    })
}

async fn open_app_order(
    access: &Access,
    wish: &Wish,
    app: Address,
) -> Result<Option<AppOrder>, Failure> {
    let registered =
        access.client.is_registered(AssetKind::App, app).await.map_err(chain_silent)?;
    if !registered {
        return Err(Failure::new(
            "GM-2105",
            Exit::Refused,
            format!("no app is registered at {app}"),
        )
        .fix("give a .wasm file, or the address of an app on this market's chain"));
    }
    let query = OrderQuery {
        app: PartyFilter::Exactly(app),
        dataset: PartyFilter::Unrestricted,
        workerpool: PartyFilter::Unrestricted,
        requester: PartyFilter::Unrestricted,
        min_volume: Some(u64::from(wish.tasks)),
        max_tag: Some(Tag::NONE),
        ..OrderQuery::all(OrderKind::App)
    };
    let best = access.market.best_order(&query).await.or_fail(
        "GM-5006",
        Exit::Market,
        "the order book does not answer",
    )?;
    Ok(best.and_then(|published| match published.order {
        Order::App(order) => Some(order),
        _ => None,
    }))
}

/// The key that may sell an app nobody offers: the one in use, or the development account that owns it.
async fn owner_key(
    access: &Access,
    wallet: &Wallet,
    wish: &Wish,
    app: Address,
) -> Result<PrivateKeySigner, Failure> {
    let owner = access.client.owner_of_asset(app).await.map_err(chain_silent)?;
    if owner == wallet.address() {
        return Ok(wallet.signer().clone());
    }
    if wish.key.is_none() {
        let known = (0..accounts::ACCOUNTS).map(accounts::development);
        if let Some(key) = known.into_iter().find(|key| key.address() == owner) {
            return Ok(key);
        }
    }
    Err(Failure::new("GM-2107", Exit::Refused, format!("nobody sells runs of {app}"))
        .because(format!("its owner {owner} has no open order in the book"))
        .fix("ask the owner for an app order, or give the program as a .wasm file"))
}
