//! The flags of `gristmill chain`, as data.

use std::path::PathBuf;

use alloy_primitives::Address;
use clap::{Args, Subcommand};
use url::Url;

/// `gristmill chain`.
#[derive(Debug, Args)]
pub struct ChainArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ChainCommand,
}

/// What can be done to a chain.
#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// Put a market's contracts on any EVM chain, or check those that were put there.
    Deploy(Box<DeployArgs>),
    /// Run the embedded chain alone, for services that run apart on one operator's machines.
    Serve(crate::args::ServiceArgs),
}

/// `gristmill chain deploy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Interrupted at any moment, the same command goes on where it was and puts up nothing twice:\n\
                  every transaction is written to the file before it is sent."
)]
pub struct DeployArgs {
    /// The chain's node: http(s):// or ws(s)://.
    #[arg(long, env = "GRISTMILL_RPC", value_name = "URL")]
    pub rpc: Url,

    /// A file with the private key that pays, as 64 hexadecimal digits. Without, the same text in $GRISTMILL_KEY.
    #[arg(long, env = "GRISTMILL_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Refuse a node of any other chain.
    #[arg(long, value_name = "N")]
    pub chain_id: Option<u64>,

    /// Who owns hub and registries in the end, and gets all of a new token. Default: the key's own address.
    #[arg(long, value_name = "ADDRESS")]
    pub owner: Option<Address>,

    /// The token to pay with. Default: a new one of 87,000,000 RLC.
    #[arg(long, value_name = "ADDRESS")]
    pub token: Option<Address>,

    /// What metadata addresses of apps, datasets and workerpools begin with.
    #[arg(long, value_name = "URL", default_value = "")]
    pub base_uri: String,

    /// The file that remembers. Default: gristmill-chain-<ID>.json.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Send nothing: compare what is on the chain with what the file says.
    #[arg(long)]
    pub verify: bool,

    /// Also write a chain.json for the official `iexec` CLI to this path.
    #[arg(long, value_name = "FILE")]
    pub chain_json: Option<PathBuf>,

    /// Print one JSON object on stdout: what the file has, and what was checked.
    #[arg(long)]
    pub json: bool,
}
