//! Deals, with all that their tasks need, read once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use orders::task_id;
use parking_lot::Mutex;
use primitives::{CategoryId, DealId, Tag, TaskId};
use tasks::Terms;
use wire::link::Enclave;
use wire::params::Params;

use crate::checks::is_repeatable;

/// A deal as the scheduler needs it.
#[derive(Debug, Clone)]
pub(crate) struct DealSpec {
    pub(crate) id: DealId,
    /// The block that made it.
    pub(crate) block: u64,
    pub(crate) deal: chain::Deal,
    /// The category's unit of time.
    pub(crate) run_seconds: u64,
    /// `WASM`, `DOCKER`.
    pub(crate) app_kind: String,
    /// The kind in lower case, as workers name what they can run.
    pub(crate) runtime: String,
    pub(crate) app_location: String,
    pub(crate) command_line: String,
    /// Whether its tasks may be settled together.
    pub(crate) batch: bool,
    /// What enclave its tasks need.
    pub(crate) enclave: Option<Enclave>,
    /// Whether every honest run gives the same bytes, by what is known of the runtime and the inputs.
    pub(crate) repeatable: bool,
}

impl DealSpec {
    pub(crate) fn terms(&self) -> Terms {
        let start = self.deal.start;
        Terms {
            trust: self.deal.trust,
            callback: !self.deal.callback.is_zero(),
            batch: self.batch,
            enclave: self.enclave.is_some(),
            run_seconds: self.run_seconds,
            contribution_deadline: start
                .saturating_add(self.run_seconds.saturating_mul(CONTRIBUTION_RATIO)),
            final_deadline: start.saturating_add(self.run_seconds.saturating_mul(FINAL_RATIO)),
        }
    }

    pub(crate) fn task_id(&self, index: U256) -> TaskId {
        task_id(self.id, index)
    }
}

/// Units of time until contributions end.
pub(crate) const CONTRIBUTION_RATIO: u64 = 7;
/// Units of time until a task can be claimed.
const FINAL_RATIO: u64 = 10;
const REMEMBERED_MAX: usize = 4_096;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a node may refuse to tell of a deal, with words that nobody knows.
const REFUSALS_MAX: u32 = 10;

/// Reads deals. What cannot change is remembered.
pub(crate) struct DealReader {
    client: chain::Client,
    categories: Mutex<HashMap<CategoryId, u64>>,
    apps: Mutex<HashMap<Address, (String, String)>>,
}

impl DealReader {
    pub(crate) fn new(client: chain::Client) -> Self {
        Self { client, categories: Mutex::default(), apps: Mutex::default() }
    }

    /// The deal, however long the chain is out of reach; nothing if the chain knows no such deal (any more), or if what it
    /// answers makes no sense.
    pub(crate) async fn read(&self, id: DealId, block: u64) -> Option<Arc<DealSpec>> {
        let mut pause = PAUSE_MIN;
        let mut refusals_left = REFUSALS_MAX;
        loop {
            match self.try_read(id, block).await {
                Ok(spec) => return Some(Arc::new(spec)),
                Err(error) if may_pass(&error, &mut refusals_left) => {
                    tracing::warn!(%error, deal = %id, "reading a deal again in {pause:?}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => {
                    tracing::error!(%error, deal = %id, "a deal that was noticed cannot be read");
                    return None;
                }
            }
        }
    }

    /// The deal, asked for once. Its block is not known.
    pub(crate) async fn read_once(&self, id: DealId) -> chain::Result<Arc<DealSpec>> {
        self.try_read(id, 0).await.map(Arc::new)
    }

    async fn try_read(&self, id: DealId, block: u64) -> chain::Result<DealSpec> {
        let deal = self.client.deal(id).await?;
        let (run_seconds, app) =
            futures::try_join!(self.run_seconds(deal.category), self.app(deal.app.pointer))?;
        let (app_kind, app_location) = app;
        let params = Params::parse(&deal.params);
        let command_line = params.args.unwrap_or_default();
        let runtime = app_kind.to_ascii_lowercase();
        let repeatable = is_repeatable(&runtime, &params.input_files);
        let enclave = enclave_of(deal.tag);
        let alone = deal.trust <= U256::ONE && deal.callback.is_zero() && enclave.is_none();
        let batch = alone && self.client.has_settle().await;
        Ok(DealSpec {
            id,
            block,
            deal,
            run_seconds,
            app_kind,
            runtime,
            app_location,
            command_line,
            batch,
            enclave,
            repeatable,
        })
    }

    async fn run_seconds(&self, category: CategoryId) -> chain::Result<u64> {
        let known = self.categories.lock().get(&category).copied();
        if let Some(seconds) = known {
            return Ok(seconds);
        }
        let seconds = self.client.category(category).await?.work_clock_seconds;
        remember(&self.categories, category, seconds);
        Ok(seconds)
    }

    async fn app(&self, app: Address) -> chain::Result<(String, String)> {
        let known = self.apps.lock().get(&app).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let app_info = self.client.app(app).await?;
        let location = String::from_utf8_lossy(&app_info.multiaddr).into_owned();
        let summary = (app_info.kind, location);
        remember(&self.apps, app, summary.clone());
        Ok(summary)
    }
}

/// Whether reading again may help. Nobody hears of a deal twice, so giving up costs somebody a task; but a deal that no node
/// will ever give out must not hold up those behind it.
fn may_pass(error: &chain::Error, refusals_left: &mut u32) -> bool {
    if matches!(error.kind(), chain::ErrorKind::Refused { .. }) && *refusals_left > 0 {
        *refusals_left -= 1;
        return true;
    }
    error.is_retryable()
}

/// The enclave that a tag demands. TDX is simulated; no worker here has any other.
fn enclave_of(tag: Tag) -> Option<Enclave> {
    let other = tag.contains(Tag::SCONE) || tag.contains(Tag::GRAMINE);
    match tag.contains(Tag::TEE) {
        false => None,
        true if tag.contains(Tag::TDX) && !other => Some(Enclave::SimulatedTdx),
        true => Some(Enclave::Unknown),
    }
}

fn remember<K: std::hash::Hash + Eq, V>(known: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut known = known.lock();
    if known.len() >= REMEMBERED_MAX {
        known.clear();
    }
    known.insert(key, value);
}
