//! What of the store of inputs and results is needed, and the sweeping of the rest.
//!
//! The store knows nothing of deals. Here they are asked about, of the order book and the chain: what a deal that may still
//! be open refers to, and what could be bought at any moment. Asked only when something would go; if one of them does not
//! answer, nothing goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, U256};
use async_trait::async_trait;
use blobs::{ABANDONED_AFTER, Blobs, Cid, Keeper, Policy, Uploads};
use chain::Client;
use futures::stream::{StreamExt, TryStreamExt, iter};
use orders::{OrderKind, task_id};
use primitives::{DealId, TaskId};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;
use wire::market::{
    CategoryQuery, Deal, DealQuery, MarketClient, Order, OrderQuery, PageRequest, Published,
};
use wire::params::Params;

use crate::settings::Settings;

/// How often what nobody needs is looked for, by default.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// How soon to ask again who knows what is needed.
const ASK_AGAIN: Duration = Duration::from_secs(30);
const PAGE: u64 = 1_000;
const ASK_AT_ONCE: usize = 16;
/// Units of a category's time until a deal of it is over.
const FINAL_RATIO: u64 = 10;
/// Clocks differ, and claims come after the end.
const MARGIN_SECONDS: u64 = 24 * 3_600;
/// The largest list of a bulk request that is looked into.
const LIST_BYTES_MAX: u64 = 4 << 20;
/// The most tasks of open deals that are asked about in one sweep.
const TASKS_MAX: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 24 * 3_600;

/// How long things are kept by default.
pub(crate) const KEEP_DAYS: u64 = 30;

/// That many days for results and for inputs.
pub(crate) fn policy(results_days: u64, inputs_days: u64, all_bytes_max: Option<u64>) -> Policy {
    let days = |days: u64| Duration::from_secs(days.saturating_mul(SECONDS_PER_DAY));
    Policy { keep_results: days(results_days), keep_files: days(inputs_days), all_bytes_max }
}

/// What a store keeps, and how often it looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping {
    pub(crate) policy: Policy,
    pub(crate) every: Duration,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { policy: policy(KEEP_DAYS, KEEP_DAYS, None), every: SWEEP_EVERY }
    }
}

/// Asks an order book and a chain.
#[derive(Clone)]
pub(crate) struct MarketKeeper {
    pub(crate) market: MarketClient,
    pub(crate) client: Client,
    /// For lists that requests name, and that name more.
    pub(crate) blobs: Blobs,
}

/// What is needed, gathered.
#[derive(Default)]
struct Needs {
    found: HashMap<Cid, String>,
    apps: BTreeMap<Address, String>,
    datasets: BTreeMap<Address, String>,
    lists: BTreeSet<String>,
    /// Bags whose results may be asked for: the deal, its first index and how many.
    bags: Vec<(DealId, U256, u64)>,
}

impl Needs {
    /// An address with a content id in it, on whatever host.
    fn address(&mut self, address: &str, why: &str) {
        let below = |mark: &str| address.split_once(mark).map(|(_, rest)| rest);
        let Some(rest) = below("/ipfs/").or_else(|| below("/p2p/")) else { return };
        let id = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if let Ok(cid) = Blobs::parse_cid(id) {
            self.found.entry(cid).or_insert_with(|| why.to_owned());
        }
    }

    fn params(&mut self, params: &str, why: &str) {
        let params = Params::parse(params);
        for url in &params.input_files {
            self.address(url, why);
        }
        if let Some(id) = params.bulk_cid {
            self.address(&format!("/ipfs/{id}"), why);
            self.lists.insert(id);
        }
    }

    fn deal(&mut self, deal: &Deal) {
        let why = |what: &str| format!("{what} of deal {}", deal.id);
        self.params(&deal.params, &why("an input"));
        self.apps.entry(deal.app.pointer).or_insert_with(|| why("the program"));
        self.datasets.entry(deal.dataset.pointer).or_insert_with(|| why("the dataset"));
        self.bags.push((deal.id, deal.bot_first, deal.bot_size.saturating_to()));
    }

    /// Where a task's result is, as its scheduler has put it on the chain. What else may stand there is not ours.
    fn result(&mut self, task: TaskId, results: &[u8]) {
        let said = serde_json::from_slice::<Value>(results).ok();
        if let Some(location) = said.as_ref().and_then(|said| said["location"].as_str()) {
            self.address(location, &format!("the result of task {task}"));
        }
    }

    fn order(&mut self, published: &Published) {
        let why = |what: &str| format!("{what} of open order {}", published.hash);
        match &published.order {
            Order::App(order) => {
                self.apps.entry(order.app).or_insert_with(|| why("the program"));
            }
            Order::Dataset(order) => {
                self.datasets.entry(order.dataset).or_insert_with(|| why("the dataset"));
            }
            Order::Request(order) => self.params(&order.params, &why("an input")),
            Order::Workerpool(_) => {}
        }
    }
}

#[async_trait]
impl Keeper for MarketKeeper {
    async fn needed(&self) -> Result<HashMap<Cid, String>, String> {
        let mut needs = Needs::default();
        self.deals(&mut needs).await.map_err(|error| error.to_string())?;
        for kind in [OrderKind::App, OrderKind::Dataset, OrderKind::Request] {
            self.orders(kind, &mut needs).await.map_err(|error| error.to_string())?;
        }
        for list in std::mem::take(&mut needs.lists) {
            self.list(&list, &mut needs).await?;
        }
        self.assets(&mut needs).await.map_err(|error| error.to_string())?;
        self.results(&mut needs).await?;
        Ok(needs.found)
    }
}

impl MarketKeeper {
    /// Deals come newest first, so the longest category says when there is nothing open any more.
    async fn deals(&self, needs: &mut Needs) -> Result<(), wire::ClientError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let page = PageRequest { skip: 0, limit: PAGE };
        let categories = CategoryQuery { page, ..CategoryQuery::default() };
        let categories = self.market.categories(&categories).await?;
        let times: HashMap<_, u64> = categories
            .items
            .into_iter()
            .map(|category| (category.id, category.work_clock_time_ref.saturating_to()))
            .collect();
        let longest = times.values().copied().max().unwrap_or(u64::MAX);
        let is_over = |start: u64, unit: u64| {
            let end = start.saturating_add(unit.saturating_mul(FINAL_RATIO));
            end.saturating_add(MARGIN_SECONDS) < now
        };
        for number in 0_u64.. {
            let page = PageRequest { skip: number * PAGE, limit: PAGE };
            let deals = self.market.deals(&DealQuery { page, ..DealQuery::default() }).await?.items;
            for deal in &deals {
                let unit = times.get(&deal.category).copied().unwrap_or(longest);
                if !is_over(deal.start_time.0, unit) {
                    needs.deal(deal);
                }
            }
            let Some(oldest) = deals.last() else { break };
            if (deals.len() as u64) < PAGE || is_over(oldest.start_time.0, longest) {
                break;
            }
        }
        Ok(())
    }

    async fn orders(&self, kind: OrderKind, needs: &mut Needs) -> Result<(), wire::ClientError> {
        for number in 0_u64.. {
            let page = PageRequest { skip: number * PAGE, limit: PAGE };
            let orders = self.market.orders(&OrderQuery { page, ..OrderQuery::all(kind) }).await?;
            orders.items.iter().for_each(|published| needs.order(published));
            if (orders.items.len() as u64) < PAGE {
                break;
            }
        }
        Ok(())
    }

    /// The parts of a bulk request, and the datasets that they name. A list that is not here names nothing that is.
    async fn list(&self, id: &str, needs: &mut Needs) -> Result<(), String> {
        let why = || format!("part of bulk list {id}");
        let Some(Value::Array(parts)) = self.json(id).await? else { return Ok(()) };
        for part in parts.iter().filter_map(Value::as_str) {
            needs.address(&format!("/ipfs/{part}"), &why());
            let Some(Value::Array(orders)) = self.json(part).await? else { continue };
            let datasets = orders.iter().filter_map(|order| order["dataset"].as_str());
            for dataset in datasets.filter_map(|text| text.parse().ok()) {
                needs.datasets.entry(dataset).or_insert_with(why);
            }
        }
        Ok(())
    }

    async fn json(&self, id: &str) -> Result<Option<Value>, String> {
        let Ok(cid) = Blobs::parse_cid(id) else { return Ok(None) };
        let blob = self.blobs.open_blob(&cid).await.map_err(|error| error.to_string())?;
        let Some(blob) = blob.filter(|blob| blob.size <= LIST_BYTES_MAX) else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = blob.into_reader().take(LIST_BYTES_MAX).read_to_end(&mut bytes).await;
        read.map_err(|error| error.to_string())?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Where the apps and datasets are, as the chain has it.
    async fn assets(&self, needs: &mut Needs) -> chain::Result<()> {
        let apps: Vec<_> = std::mem::take(&mut needs.apps).into_iter().collect();
        let datasets: Vec<_> = std::mem::take(&mut needs.datasets).into_iter().collect();
        let apps = iter(apps).map(|(app, why)| async move {
            Ok((known(self.client.app(app).await)?.map(|app| app.multiaddr), why))
        });
        let datasets = iter(datasets)
            .filter(|(it, _)| std::future::ready(*it != Address::ZERO))
            .map(|(dataset, why)| async move {
                let found = known(self.client.dataset(dataset).await)?;
                Ok((found.map(|dataset| dataset.multiaddr), why))
            });
        let mut found: Vec<_> = apps.buffer_unordered(ASK_AT_ONCE).try_collect().await?;
        let more: Vec<_> = datasets.buffer_unordered(ASK_AT_ONCE).try_collect().await?;
        found.extend(more);
        for (multiaddr, why) in found {
            if let Some(address) = multiaddr.and_then(|bytes| wire::multiaddr::to_text(&bytes)) {
                needs.address(&address, &why);
            }
        }
        Ok(())
    }

    /// A scheduler that runs apart adds results as anybody adds a file, so only the chain tells that they are results.
    async fn results(&self, needs: &mut Needs) -> Result<(), String> {
        let bags = std::mem::take(&mut needs.bags);
        let count = bags.iter().fold(0_u64, |sum, (.., size)| sum.saturating_add(*size));
        if count > TASKS_MAX {
            return Err(format!(
                "open deals have {count} tasks, too many to ask about their results"
            ));
        }
        let tasks = bags.into_iter().flat_map(|(deal, first, size)| {
            (0..size).map(move |index| task_id(deal, first.saturating_add(U256::from(index))))
        });
        let reads = iter(tasks).map(|task| async move {
            Ok::<_, chain::Error>((task, self.client.task(task).await?.results))
        });
        let mut reads = reads.buffer_unordered(ASK_AT_ONCE);
        while let Some((task, results)) =
            reads.try_next().await.map_err(|error| error.to_string())?
        {
            needs.result(task, &results);
        }
        Ok(())
    }
}

/// An asset that the chain does not know has no place.
fn known<T>(read: chain::Result<T>) -> chain::Result<Option<T>> {
    match read {
        Ok(asset) => Ok(Some(asset)),
        Err(error) if error.is_unknown() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sweeps now and then, until the stop. Without a keeper it only counts and gives up what was begun to be uploaded, and the
/// store refuses when it is full.
pub(crate) async fn keep(
    blobs: Blobs,
    keeper: impl Future<Output = Option<MarketKeeper>>,
    keeping: Keeping,
    stop: CancellationToken,
) {
    let sweeping = async {
        if let Err(error) = blobs.count().await {
            tracing::warn!(%error, "the store of blobs cannot be counted");
        }
        let Some(keeper) = keeper.await else { return };
        loop {
            tokio::time::sleep(keeping.every).await;
            match blobs.sweep(keeping.policy, &keeper, SystemTime::now(), false).await {
                Ok(swept) => {
                    let (removed, bytes) = (swept.removed, swept.removed_bytes);
                    tracing::info!(blobs = swept.blobs, removed, bytes, "swept the store of blobs");
                }
                Err(error) => tracing::warn!(%error, "nothing was swept"),
            }
        }
    };
    let expiring = give_up(|| blobs.expire(SystemTime::now(), ABANDONED_AFTER));
    let work = async { futures::join!(sweeping, expiring) };
    let _: Option<((), ())> = stop.run_until_cancelled(work).await;
}

/// Whom settings name to ask, as soon as they answer; nobody if they name nobody.
pub(crate) async fn configured(settings: Settings, blobs: Blobs) -> Option<MarketKeeper> {
    loop {
        match crate::blobs::configured(&settings, blobs.clone()).await {
            Ok(keeper) => return keeper,
            Err(failure) => tracing::warn!(%failure, "nothing is swept for now"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Gives up uploads that nobody goes on with, until the stop.
pub(crate) async fn keep_uploads(uploads: Uploads, stop: CancellationToken) {
    let work = give_up(|| uploads.expire(SystemTime::now(), ABANDONED_AFTER));
    let _: Option<()> = stop.run_until_cancelled(work).await;
}

async fn give_up<F: Future<Output = usize>>(expire: impl Fn() -> F) {
    loop {
        let gone = expire().await;
        if gone > 0 {
            tracing::info!(gone, "uploads were given up");
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: bool) {
        let mut needs = Needs::default();
        needs.address(address, "why");
        let cid = Blobs::parse_cid("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG").unwrap();
        assert_eq!(needs.found.contains_key(&cid), expected, "{address}");
    }

    #[test]
    fn content_is_needed_under_whatever_address_it_is_named() {
        let id = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
        check(&format!("/ipfs/{id}"), true);
        check(&format!("/p2p/{id}"), true);
        check(&format!("https://gateway.example/ipfs/{id}/file?x#sha256=00"), true);
        check(id, false);
        check("https://elsewhere.example/file", false);
    }

    #[test]
    fn a_result_is_needed_where_the_chain_says_that_it_is() {
        let id = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
        let check = |results: &str, expected: usize| {
            let mut needs = Needs::default();
            needs.result(TaskId::default(), results.as_bytes());
            assert_eq!(needs.found.len(), expected, "{results}");
        };
        check(&format!(r#"{{ "storage": "ipfs", "location": "/ipfs/{id}" }}"#), 1);
        check(r#"{ "storage": "ethereum", "location": "0x00" }"#, 0);
        check(r#"{ "storage": "ipfs", "location": [] }"#, 0);
        check("", 0);
    }
}
