//! Run one program under limits and give back its outcome and its digest.
//!
//! This is the execution half of the protocol's program contract. A program finds its inputs in `/iexec_in`, writes
//! what it makes into `/iexec_out`, and says in `/iexec_out/computed.json` what of it is the result that the chain
//! checks. Two honest runs of the same job must give the same digest, so a program sees nothing here that differs
//! between two machines: no host clock, no host randomness, no environment, no network.
//!
//! ```text
//!   Job ──► frame: private directory, /iexec_in (read-only), /iexec_out
//!             │
//!             ├──► Runtime::execute   the one part that differs: WebAssembly, or a container
//!             │
//!             ├──► stdout.txt, stderr.txt into /iexec_out
//!             ├──► computed.json ──► digest          (contract, digest)
//!             └──► zip of /iexec_out                  (archive)
//!   ◄── Outcome { digest, archive, … }  or  Failure { code, message, remedy, blame }
//! ```
//!
//! What it is not: it knows no chain, fetches nothing, makes no network, and decides no money. [`archive::verify`] is the other side of
//! the same rules: it recomputes the digest from a downloaded archive, without unpacking it to disk.
//!
//! Only WebAssembly is the same everywhere. A container ([`Container`]) is fenced in as tightly as the system can, but
//! its clock and its randomness are the machine's.
//!
//! Every way in which a run can go wrong is a [`FailureKind`] with a code, a remedy, and who is to blame; the host's own
//! trouble (a full disk) is one of them, so that a caller never mistakes it for a fault of the program.

pub mod archive;
mod args;
#[cfg(target_os = "linux")]
mod container;
mod contract;
mod digest;
mod failure;
pub mod gpu;
mod limits;
mod listen;
mod network;
mod output;
mod run;
mod wasm;

#[cfg(target_os = "linux")]
pub use container::{Container, Daemon, LocalImages, Unavailable, find_daemon, find_runtime};

pub use args::{SplitArgsError, split_args};
pub use contract::{CallFacts, Computed, Declared, EnvVar, dataset_name, env_for};
pub use failure::{Blame, Failure, FailureKind};
pub use limits::Limits;
pub use listen::{Ear, Listener, Stream};
pub use network::{Network, NetworkNameError};
pub use run::{
    Config, Containers, Executed, Execution, Job, Kind, Outcome, Runtime, Sandbox, StartError,
    Stopped,
};
pub use wasm::Wasm;
