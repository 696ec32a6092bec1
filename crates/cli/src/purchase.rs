//! Buying: from what is wanted to results that were checked against the chain. No talk but progress, no flags.
//!
//! [`Wish`] is what was asked for, read and checked on this machine. [`Access`] is a market within reach. A [`Purchase`] has
//! everything at the market and knows the offers; a [`Matched`] one has its money locked; its [`Outcome`] is paid and checked.

mod access;
mod allowance;
mod app;
mod check;
mod deal;
mod settle;
mod wish;

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use chain::Wallet;
use orders::{AppOrder, OrderKind};
use primitives::{CategoryId, Nrlc};
use sandbox::Limits;
use wire::market::{Order, OrderQuery, PageRequest, PartyFilter};
use wire::params::Params;

use crate::accounts;
use crate::failure::{Exit, Failure, OrFail};
use crate::offers::{self, Offer, Verdict, Wanted};

pub use access::Access;
pub use allowance::{Allowance, Connection};
pub use check::TaskResult;
pub use settle::{Matched, Outcome};
pub use wish::Wish;

use app::app_order;
use wish::Input;

/// Offers asked for; the book gives the cheapest first.
const OFFERS_MAX: u64 = 50;

/// An app and its inputs are at the market; the offers are known; nothing is paid yet.
pub struct Purchase<'a> {
    access: &'a Access,
    wish: &'a Wish,
    wallet: Wallet,
    app_order: AppOrder,
    params: Params,
    wanted: Wanted,
    offers: Vec<(Offer, Verdict)>,
    phases: Vec<(&'static str, Duration)>,
}

impl<'a> Purchase<'a> {
    /// Puts program and inputs at the market, and asks for offers.
    ///
    /// # Errors
    /// GM-2105 unknown app, GM-2107 nobody sells it, GM-5003 an input is refused, GM-3102 the chain does not answer.
    pub async fn prepare(access: &'a Access, wish: &'a Wish) -> Result<Self, Failure> {
        let start = Instant::now();
        let signer = wish.key.clone().unwrap_or_else(|| accounts::development(0));
        let wallet = Wallet::new(&access.client, signer).await.map_err(chain_silent)?;
        let (app_order, params) = tokio::try_join!(app_order(access, wish, &wallet), async {
            params(access, wish).await
        })?;
        let uploaded = start.elapsed();
        let wanted = Wanted {
            trust: U256::from(wish.trust),
            tasks: U256::from(wish.tasks),
            max_price: wish.max_price,
        };
        let offers =
            offers::compare(open_offers(access, wish, &wallet, app_order.app).await?, &wanted);
        let phases = vec![("upload", uploaded), ("offers", start.elapsed() - uploaded)];
        Ok(Self { access, wish, wallet, app_order, params, wanted, offers, phases })
    }

    /// What was compared.
    pub fn offers(&self) -> &[(Offer, Verdict)] {
        &self.offers
    }

    /// What the app costs a task.
    pub fn app_price(&self) -> Nrlc {
        Nrlc(self.app_order.price)
    }

    /// What each task may use at most, by its category and by what the offer's workerpool says.
    ///
    /// # Errors
    /// GM-3102 the chain does not answer.
    pub async fn allowance(&self, offer: &Offer) -> Result<Allowance, Failure> {
        let (client, category) = (&self.access.client, self.wish.category);
        let app = self.app_order.app;
        let read =
            async { tokio::try_join!(client.category(CategoryId::new(category)), client.app(app)) };
        let told = self.access.schedulers.network(offer.workerpool(), app, category);
        let (read, told) = tokio::join!(read, told);
        let (category, app) = read.map_err(chain_silent)?;
        let limits = Limits::for_timeref(category.work_clock_seconds);
        Ok(Allowance { limits, network: Connection::of(&app.kind, told) })
    }

    /// The best offer.
    ///
    /// # Errors
    /// If none will do: see [`offers::choose`].
    pub fn choose(&self) -> Result<Offer, Failure> {
        offers::choose(&self.offers, &self.wanted)
    }
}

/// What goes to the program: its arguments, and inputs as URLs that workers can fetch.
async fn params(access: &Access, wish: &Wish) -> Result<Params, Failure> {
    let mut input_files = Vec::with_capacity(wish.inputs.len());
    for input in &wish.inputs {
        input_files.push(match input {
            Input::Url(url) => url.to_string(),
            Input::File(path) => {
                let stored = access.ipfs.add_file(path).await.or_fail(
                    "GM-5003",
                    Exit::Market,
                    &format!("the market did not take {}", path.display()),
                )?;
                // Where it was put: the order book's origin need not be the gateway's.
                let gateway = access.gateway()?;
                format!("{}{}", gateway.as_str().trim_end_matches('/'), stored.location())
            }
        });
    }
    let args = (!wish.args.is_empty()).then(|| join_args(&wish.args));
    Ok(Params { args, input_files, ..Params::default() })
}

async fn open_offers(
    access: &Access,
    wish: &Wish,
    wallet: &Wallet,
    app: Address,
) -> Result<Vec<Offer>, Failure> {
    let query = OrderQuery {
        category: Some(wish.category),
        app: PartyFilter::Admits(app),
        dataset: PartyFilter::Unrestricted,
        requester: PartyFilter::Admits(wallet.address()),
        page: PageRequest::new(0, OFFERS_MAX),
        ..OrderQuery::all(OrderKind::Workerpool)
    };
    let page = access.market.orders(&query).await.or_fail(
        "GM-5006",
        Exit::Market,
        "the order book does not answer",
    )?;
    let offers = page.items.into_iter().filter_map(|published| match published.order {
        Order::Workerpool(order) => Some(Offer {
            name: access.pool_name(order.workerpool),
            remaining: U256::from(published.remaining),
            track_record: published.track_record,
            claimed: published.claimed,
            published_at: published.published_at,
            order,
        }),
        _ => None,
    });
    Ok(offers.collect())
}

/// One command line of many arguments, quoted so that splitting it gives them back.
fn join_args(args: &[String]) -> String {
    let plain = |arg: &String| {
        !arg.is_empty() && arg.chars().all(|c| c.is_alphanumeric() || "-_./:=,@%+".contains(c))
    };
    let quoted = |arg: &String| match plain(arg) {
        true => arg.clone(),
        false => format!("\"{}\"", arg.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    args.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn sign(signer: &PrivateKeySigner, hash: B256) -> Result<Bytes, Failure> {
    let signature =
        signer.sign_hash_sync(&hash).or_fail("GM-5004", Exit::Usage, "the key does not sign")?;
    Ok(signature.as_bytes().to_vec().into())
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn chain_silent(error: chain::Error) -> Failure {
    Failure::new("GM-3102", Exit::Market, "the chain did not do as asked")
        .because(crate::failure::chain_of(&error))
        .fix("see whether the market still runs, and try again")
}
