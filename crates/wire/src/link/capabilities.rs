//! What a worker says of itself when it logs in. Nothing of it is proved: a scheduler believes it as far as that costs
//! nobody but the worker, and finds out about the rest by replicas.

use alloy_primitives::{Address, U256};
use primitives::Nrlc;
use serde::{Deserialize, Serialize};

/// What a worker offers. A worker that does not know a field of later versions does not offer what it stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Processors.
    pub cpus: u32,
    /// Memory for programs.
    pub memory_bytes: u64,
    /// How many tasks at once.
    pub slots: u32,
    /// What kinds of program: `wasm`, `docker` (WebAssembly that is registered as an image), `oci` (images).
    pub runtimes: Vec<String>,
    /// Whether it can settle many tasks of a deal with one transaction: understands
    /// [`ToWorker::Settle`](super::ToWorker::Settle).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settles: bool,
    /// What enclave it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<Enclave>,
    /// Disk for programs, inputs and results; 0 for a worker that does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disk_bytes: u64,
    /// Its GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// Where it is, in its operator's words: `eu-west`, `fr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its machine, as an opaque word: workers with the same one fail together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Whom it belongs to, if it says so: workers with the same owner are of one mind.
    #[serde(default, with = "crate::json::text::option", skip_serializing_if = "Option::is_none")]
    pub owner: Option<Address>,
    /// Programs that need not be fetched, by the address they are registered with; at most [`IMAGES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// The least that it works for, per task of a deal, in nRLC of the workerpool's price.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub price_floor_nrlc: u64,
    /// Whether it gives way to its owner, and may pause at any time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub when_idle: bool,
    /// Whose containers it gives a network; nothing for a worker that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkGrant>,
}

/// Whose containers have a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkGrant {
    /// Of these apps.
    #[serde(default, with = "crate::json::text::list")]
    pub apps: Vec<Address>,
    /// Of these categories.
    #[serde(default)]
    pub categories: Vec<u64>,
}

impl NetworkGrant {
    /// Whether tasks of that app in that category have one.
    pub fn has(&self, app: Address, category: u64) -> bool {
        self.apps.contains(&app) || self.categories.contains(&category)
    }

    fn is_bounded(&self) -> bool {
        self.apps.len() <= GRANTS_MAX && self.categories.len() <= GRANTS_MAX
    }
}

/// The most programs that a worker names as being there.
pub const IMAGES_MAX: usize = 64;
/// The longest text in capabilities; longer ones are left out.
pub const TEXT_BYTES_MAX: usize = 256;
/// The most GPUs of one worker.
pub const GPUS_MAX: usize = 64;
/// The most apps, and the most categories, that a worker names as having a network; one with more does not say.
pub const GRANTS_MAX: usize = 256;
const RUNTIMES_MAX: usize = 16;

impl Capabilities {
    /// The same within bounds, however much somebody sent: lists cut, long texts left out, names of runtimes in lower
    /// case, warm programs sorted and each once.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.runtimes.truncate(RUNTIMES_MAX);
        for runtime in &mut self.runtimes {
            runtime.make_ascii_lowercase();
        }
        self.gpus.truncate(GPUS_MAX);
        self.gpus.retain(|gpu| gpu.name.len() <= TEXT_BYTES_MAX);
        self.region = self.region.filter(|it| is_short(it));
        self.host = self.host.filter(|it| is_short(it));
        self.images = warm(self.images);
        self.network = self.network.filter(NetworkGrant::is_bounded);
        self
    }

    /// The least that it works for.
    pub fn price_floor(&self) -> Nrlc {
        Nrlc::from(U256::from(self.price_floor_nrlc))
    }
}

/// A list of warm programs within bounds: sorted, each once.
pub fn warm(mut images: Vec<String>) -> Vec<String> {
    images.truncate(IMAGES_MAX);
    images.retain(|image| is_short(image));
    images.sort_unstable();
    images.dedup();
    images
}

/// A card that programs can compute on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// What it is called: a model, or a CDI device.
    pub name: String,
    /// Its memory; 0 for one that does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_bytes: u64,
}

/// A place to run programs that not even the worker's owner can look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enclave {
    /// Software that behaves like Intel TDX and protects nothing: for development chains.
    SimulatedTdx,
    /// One that this version knows nothing of.
    #[serde(other)]
    Unknown,
}

fn is_short(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
