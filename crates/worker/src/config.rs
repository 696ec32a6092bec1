//! What a worker must be told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use chain::Client;
use sandbox::Sandbox;
use store::Store;
use url::Url;

use crate::machine::Machine;

/// What a worker must be told.
#[derive(Clone)]
pub struct Config {
    /// The scheduler's origin.
    pub scheduler: Url,
    /// The workerpool to work for.
    pub workerpool: Address,
    /// The market's chain.
    pub client: Client,
    /// The worker's wallet: it pays gas and holds the stake. One for each worker.
    pub signer: PrivateKeySigner,
    /// What runs programs; workers of one process may share it.
    pub sandbox: Sandbox,
    /// The IPFS gateway's origin. Programs and inputs named `/ipfs/…` come from here, and it is the one place that may be
    /// in a private network.
    pub gateway: Url,
    /// Keeps the journal; workers may share it.
    pub store: Store,
    /// A directory for this worker alone: programs, inputs, results.
    pub dir: PathBuf,
    /// Programs to run at once.
    pub slots: usize,
    /// Whether programs and inputs may come from loopback, private and link-local addresses. Only sensible where all
    /// requesters are trusted.
    pub allow_private: bool,
    /// What confidential deals run in.
    pub tee: Tee,
    /// What of its machine it offers.
    pub machine: Machine,
    /// How long tasks in hand may take to be finished when the worker is asked to end; then they are handed back.
    pub drain: Duration,
    /// For development only: whether every digest is replaced by a wrong one before it is contributed, to see what the
    /// market does with a liar. Such a worker loses its stake wherever there is a consensus.
    pub lie: bool,
}

/// What confidential deals run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tee {
    /// Nothing: they are declined.
    #[default]
    Off,
    /// Software that behaves like Intel TDX and protects nothing. For development chains.
    SimulatedTdx,
}

/// Without the key.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("worker", &self.signer.address())
            .field("scheduler", &self.scheduler.as_str())
            .field("workerpool", &self.workerpool)
            .field("gateway", &self.gateway.as_str())
            .field("dir", &self.dir)
            .field("slots", &self.slots)
            .field("allow_private", &self.allow_private)
            .field("tee", &self.tee)
            .field("lie", &self.lie)
            .finish_non_exhaustive()
    }
}
