//! Running a task again, as anybody may: the same program, inputs, clock and chance as a worker's, and nothing promised.
//!
//! Only WebAssembly outside of enclaves is the same everywhere, so only that can be compared. Needs no wallet, no
//! scheduler and no journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use chain::{Client, TaskStatus};
use primitives::{Tag, TaskId};
use sandbox::{Kind, Sandbox};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::Tee;
use crate::deals::{Deals, Facts};
use crate::desk::{Ready, job};
use crate::fetch::Fetcher;
use crate::programs::Programs;
use crate::space::Space;
use crate::table::Assignment;
use crate::trouble::Trouble;

/// What it takes to run a task again.
#[derive(Clone)]
pub struct Again {
    /// The market's chain.
    pub client: Client,
    /// What runs programs.
    pub sandbox: Sandbox,
    /// The IPFS gateway's origin; see [`crate::Config::gateway`].
    pub gateway: Url,
    /// A directory for this alone.
    pub dir: PathBuf,
    /// See [`crate::Config::allow_private`].
    pub allow_private: bool,
}

/// What the run gave.
#[derive(Debug, Clone)]
pub struct Rerun {
    /// The digest.
    pub digest: primitives::ResultDigest,
    /// What the callback would have got.
    pub callback_data: Option<Bytes>,
    /// Work done, in units of fuel: the same on every machine.
    pub fuel_used: u64,
    /// The result's archive.
    pub archive: PathBuf,
    /// What went in: where it is from, and its SHA-256. The program first.
    pub ingredients: Vec<Ingredient>,
    /// The program's arguments.
    pub args: Vec<String>,
}

/// A file that the run depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingredient {
    /// What it is to the program.
    pub role: &'static str,
    /// Where it is from.
    pub from: String,
    /// Its SHA-256.
    pub sha256: B256,
}

/// Why a task was not run again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AgainError {
    /// There is no such task, or it has no result yet.
    #[error("{0}")]
    NoResult(&'static str),
    /// A run here would not have to give the same.
    #[error("the task cannot be repeated: {0}")]
    NotRepeatable(String),
    /// It was tried, and failed.
    #[error("{message}")]
    Failed {
        /// The failure's code: the worker's or the sandbox's.
        code: &'static str,
        /// What failed.
        message: String,
        /// What would help.
        remedy: &'static str,
    },
}

impl From<Trouble> for AgainError {
    fn from(trouble: Trouble) -> Self {
        let (code, remedy) = (trouble.code(), trouble.remedy());
        match trouble {
            Trouble::Demand { what } => Self::NotRepeatable(format!("it asks for {what}")),
            other => Self::Failed { code, message: other.to_string(), remedy },
        }
    }
}

/// Runs the task again.
///
/// # Errors
/// See [`AgainError`].
pub async fn again(with: Again, task: TaskId) -> Result<Rerun, AgainError> {
    let chain = |error: chain::Error| AgainError::from(Trouble::Chain(error.to_string()));
    let on_chain = with.client.task(task).await.map_err(chain)?;
    match on_chain.status {
        TaskStatus::Completed => {}
        TaskStatus::Unset => {
            return Err(AgainError::NoResult("there is no such task on the chain"));
        }
        _ => return Err(AgainError::NoResult("the task has no result on the chain")),
    }
    let deal = with.client.deal(on_chain.deal).await.map_err(chain)?;
    if deal.tag.contains(Tag::TEE) {
        let what = "it ran in an enclave, whose inputs and results only the enclave sees";
        return Err(AgainError::NotRepeatable(what.to_owned()));
    }
    let deals = Deals::new(with.client.clone(), deal.workerpool.pointer, Tee::Off);
    let facts = deals.facts(on_chain.deal).await?;
    refuse_named_image(&facts)?;

    let fetcher = Fetcher::new(&with.gateway, with.allow_private)
        .map_err(|error| Trouble::host("starting an HTTP client")(std::io::Error::other(error)))?;
    let dir = with.dir.clone();
    let space = blocking("making a directory", move || Space::open(&dir)).await?;
    let programs = Programs::new(space.programs(), fetcher.clone(), None);
    let program = programs.get(&facts).await?;
    if program.kind() == Kind::Container {
        return Err(container());
    }
    let inputs = facts.inputs.get(&facts, &space, &fetcher).await?;
    let ingredients = ingredients(&facts, program.path(), inputs.dir()).await?;

    let index: u64 = on_chain.index.saturating_to();
    let assignment = Assignment { deal: on_chain.deal, index };
    let archive = space.new_result(task);
    let ready = Ready { facts: Arc::clone(&facts), program, inputs: Some(inputs) };
    let job = job(task, assignment, &ready, archive);
    let ran = with.sandbox.run(job, CancellationToken::new()).await.map_err(Trouble::from)?;
    Ok(Rerun {
        digest: ran.digest,
        callback_data: ran.callback_data,
        fuel_used: ran.fuel_used,
        archive: ran.archive,
        ingredients,
        args: facts.args.clone(),
    })
}

/// What is a name in a registry is an image. What is said to be an image and is a file may be WebAssembly all the same.
fn refuse_named_image(facts: &Facts) -> Result<(), AgainError> {
    let file = ["/ipfs/", "/p2p/", "http://", "https://"];
    let named = !file.iter().any(|prefix| facts.program.address.starts_with(prefix));
    match facts.program.kind {
        Kind::Container if named => Err(container()),
        _ if facts.deal.first.saturating_add(facts.deal.size) > U256::from(u64::MAX) => {
            Err(AgainError::NotRepeatable("its index is beyond what workers take".to_owned()))
        }
        _ => Ok(()),
    }
}

fn container() -> AgainError {
    let what = "its program is a container, whose clock and chance are the machine's";
    AgainError::NotRepeatable(what.to_owned())
}

async fn ingredients(
    facts: &Facts,
    program: &Path,
    inputs: &Path,
) -> Result<Vec<Ingredient>, Trouble> {
    let mut wanted = vec![("program", facts.program.address.clone(), program.to_owned())];
    if facts.deal.dataset.pointer != Address::ZERO {
        let name = sandbox::dataset_name(facts.deal.dataset.pointer);
        wanted.push(("dataset", facts.deal.dataset.pointer.to_string(), inputs.join(name)));
    }
    for url in &facts.input_urls {
        wanted.push(("input", url.clone(), inputs.join(crate::inputs::input_name(url))));
    }
    blocking("reading what goes in", move || {
        wanted
            .into_iter()
            .map(|(role, from, path)| {
                let mut hash = Sha256::new();
                std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
                Ok(Ingredient { role, from, sha256: B256::from_slice(&hash.finalize()) })
            })
            .collect()
    })
    .await
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Trouble> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(Trouble::host(doing))
}
