//! What the chain says about a deal, read once for all of its tasks.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use chain::{App, Client, Dataset, Deal};
use cid::Cid;
use cid::multihash::Multihash;
use orders::task_id;
use parking_lot::Mutex;
use primitives::{DealId, Tag, TaskId};
use sandbox::{Kind, Limits, split_args};
use tokio::sync::OnceCell;
use wire::params::{Params, StorageProvider};

use crate::config::Tee;
use crate::inputs::DealInputs;
use crate::machine::Networked;
use crate::recent::Recent;
use crate::trouble::Trouble;

/// Deals remembered. A deal costs four reads of the chain, and its memory is its parameters.
const DEALS_KEPT: usize = 512;
/// A node may be a block behind the one that the scheduler asked.
const READ_ATTEMPTS: u32 = 4;
const READ_PAUSE: Duration = Duration::from_millis(150);
/// Kinds of app that run here, as they are registered.
const WASM: &str = "WASM";
const DOCKER: &str = "DOCKER";

/// All that a task of a deal needs to know.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) id: DealId,
    pub(crate) deal: Deal,
    pub(crate) program: ProgramAt,
    pub(crate) dataset: Option<Dataset>,
    pub(crate) args: Vec<String>,
    pub(crate) input_urls: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) inputs: DealInputs,
}

/// Where a program is and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramAt {
    /// As it is registered. The official client knows only one kind, so what a container is said to be may turn out to be
    /// WebAssembly.
    pub(crate) kind: Kind,
    pub(crate) address: String,
    /// SHA-256 of a program, or what an image is pinned to; zero if the app's owner named none.
    pub(crate) checksum: B256,
}

impl Facts {
    /// Whether its tasks run in an enclave.
    pub(crate) fn is_confidential(&self) -> bool {
        self.deal.tag.contains(Tag::TEE)
    }

    /// Whether one contribution is enough, which makes it `contributeAndFinalize`.
    pub(crate) fn needs_one(&self) -> bool {
        self.deal.trust <= U256::ONE
    }

    /// Refuses a task that is not one of this deal's.
    pub(crate) fn check_task(&self, task: TaskId, index: u64) -> Result<(), Trouble> {
        let index = U256::from(index);
        let end = self.deal.first.saturating_add(self.deal.size);
        if index < self.deal.first || index >= end {
            return Err(Trouble::Assignment(format!("the deal has no task of index {index}")));
        }
        if task_id(self.id, index) != task {
            let wrong = format!("task {index} of deal {} has another id than {task}", self.id);
            return Err(Trouble::Assignment(wrong));
        }
        Ok(())
    }
}

type Known = Arc<OnceCell<Result<Arc<Facts>, Trouble>>>;

/// Deals by id, bounded.
pub(crate) struct Deals {
    client: Client,
    workerpool: Address,
    tee: Tee,
    has_gpu: bool,
    networked: Networked,
    known: Mutex<Recent<DealId, Known>>,
}

impl Deals {
    pub(crate) fn new(client: Client, workerpool: Address, tee: Tee) -> Self {
        let known = Mutex::new(Recent::new(DEALS_KEPT));
        Self { client, workerpool, tee, has_gpu: false, networked: Networked::default(), known }
    }

    /// The same for a worker that may have GPUs.
    #[must_use]
    pub(crate) fn with_gpu(self, has_gpu: bool) -> Self {
        Self { has_gpu, ..self }
    }

    /// The same for a worker that gives some containers a network.
    #[must_use]
    pub(crate) fn with_network(self, networked: Networked) -> Self {
        Self { networked, ..self }
    }

    /// The facts of a deal, or why its tasks cannot run here. Tasks of one deal that come together share one reading.
    /// What the deal itself makes impossible is remembered too; that the chain did not answer is not.
    pub(crate) async fn facts(&self, id: DealId) -> Result<Arc<Facts>, Trouble> {
        let (known, _) = self.known.lock().get_or_insert(&id, Known::default);
        known.get_or_try_init(|| self.read(id)).await?.clone()
    }

    async fn read(&self, id: DealId) -> Result<Result<Arc<Facts>, Trouble>, Trouble> {
        let deal = patiently(|| self.client.deal(id)).await?;
        if deal.workerpool.pointer != self.workerpool {
            let whose = format!("deal {id} is of workerpool {}", deal.workerpool.pointer);
            return Ok(Err(Trouble::Assignment(whose)));
        }
        let (app, category, dataset) = futures::try_join!(
            patiently(|| self.client.app(deal.app.pointer)),
            patiently(|| self.client.category(deal.category)),
            self.dataset(deal.dataset.pointer),
        )?;
        let network = self.networked.has(deal.app.pointer, deal.category);
        let limits = Limits { network, ..Limits::for_timeref(category.work_clock_seconds) };
        if deal.tag.contains(Tag::GPU) && !self.has_gpu {
            return Ok(Err(Trouble::Lacks { what: "a GPU (tag)".to_owned() }));
        }
        Ok(facts(id, deal, &app, dataset, limits, self.tee).map(Arc::new))
    }

    async fn dataset(&self, dataset: Address) -> Result<Option<Dataset>, Trouble> {
        if dataset == Address::ZERO {
            return Ok(None);
        }
        patiently(|| self.client.dataset(dataset)).await.map(Some)
    }
}

async fn patiently<T, F>(read: impl Fn() -> F) -> Result<T, Trouble>
where
    F: Future<Output = chain::Result<T>>,
{
    let mut attempt = 1;
    loop {
        match read().await {
            Ok(value) => return Ok(value),
            Err(error)
                if attempt < READ_ATTEMPTS && (error.is_retryable() || error.is_unknown()) =>
            {
                tokio::time::sleep(READ_PAUSE * attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(Trouble::Chain(error.to_string())),
        }
    }
}

fn facts(
    id: DealId,
    deal: Deal,
    app: &App,
    dataset: Option<Dataset>,
    limits: Limits,
    tee: Tee,
) -> Result<Facts, Trouble> {
    let kind = kind_of(app)?;
    let params = Params::parse(&deal.params);
    check_demands(&deal, &params, tee)?;
    let args = split_args(params.args.as_deref().unwrap_or_default()).map_err(|error| {
        let detail = error.to_string();
        Trouble::from(sandbox::Failure::from(sandbox::FailureKind::BadArguments { detail }))
    })?;
    let address = address_of(&app.multiaddr)
        .ok_or_else(|| Trouble::Assignment("the app's address is not text".to_owned()))?;
    Ok(Facts {
        id,
        program: ProgramAt { kind, address, checksum: app.checksum },
        dataset,
        args,
        input_urls: params.input_files,
        limits,
        inputs: DealInputs::default(),
        deal,
    })
}

fn kind_of(app: &App) -> Result<Kind, Trouble> {
    if app.kind.eq_ignore_ascii_case(WASM) {
        Ok(Kind::Wasm)
    } else if app.kind.eq_ignore_ascii_case(DOCKER) {
        Ok(Kind::Container)
    } else {
        Err(Trouble::Kind { kind: app.kind.chars().take(40).collect() })
    }
}

/// Refuses what a worker without an enclave or a keeper of secrets cannot do: running such a task all
/// the same would break a promise that the requester pays for.
fn check_demands(deal: &Deal, params: &Params, tee: Tee) -> Result<(), Trouble> {
    let demand = |what: &str| Err(Trouble::Demand { what: what.to_owned() });
    let enclave = deal.tag & (Tag::TEE | Tag::SCONE | Tag::GRAMINE | Tag::TDX);
    let confidential = enclave == (Tag::TEE | Tag::TDX) && tee == Tee::SimulatedTdx;
    if enclave != Tag::NONE && !confidential {
        let what = "a trusted execution environment (tag)".to_owned();
        return Err(Trouble::Lacks { what });
    }
    if params.storage_provider == Some(StorageProvider::Dropbox) {
        return demand("storage in Dropbox (iexec_result_storage_provider)");
    }
    if confidential {
        // The enclave has all that follows from its session.
        return Ok(());
    }
    if params.result_encryption {
        return demand("an encrypted result (iexec_result_encryption)");
    }
    if !params.secrets.is_empty() {
        return demand("secrets (iexec_secrets)");
    }
    if params.bulk_cid.is_some() {
        return demand("bulk processing (bulk_cid)");
    }
    Ok(())
}

/// An asset's address as registered: text, or the machine's form of `/p2p/<content id>`, which is what the official
/// client makes of `/ipfs/<content id>`. It keeps the hash alone, so the id comes back in its first version.
pub(crate) fn address_of(multiaddr: &[u8]) -> Option<String> {
    if let Some(hash) = multiaddr.strip_prefix(&P2P) {
        let hash = Multihash::from_bytes(hash).ok()?;
        return Cid::new_v0(hash).ok().map(|id| format!("/ipfs/{id}"));
    }
    let text = std::str::from_utf8(multiaddr).ok()?.trim();
    Some(match text.strip_prefix("/p2p/") {
        Some(id) => format!("/ipfs/{id}"),
        None => text.to_owned(),
    })
}

/// The protocol number 421 as a variable-length integer, and the length of a SHA-256 multihash.
const P2P: [u8; 3] = [0xa5, 0x03, 0x22];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(multiaddr: &[u8], expected: Option<&str>) {
        assert_eq!(address_of(multiaddr).as_deref(), expected);
    }

    #[test]
    fn an_address_is_text_or_what_the_official_client_makes_of_a_content_id() {
        check(b" /ipfs/Qmx ", Some("/ipfs/Qmx"));
        check(b"/p2p/Qmx", Some("/ipfs/Qmx"));
        check(b"docker.io/library/alpine:3", Some("docker.io/library/alpine:3"));
        let machine = [&P2P[..], &[0x12, 0x20], &[7; 32]].concat();
        check(&machine, Some("/ipfs/QmNp5n7FFav5ZDaHAj6HzuhJ8LDbL1N6NRzAgT6piWS2Kx"));
        check(&machine[..20], None);
        check(&[0xff, 0xfe], None);
    }
}
