//! The command line, as data. What the flags *mean* is in the verbs' own modules.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use primitives::Nrlc;
use scheduler::checks::Policy;

/// An open market for computing that speaks the iExec protocol.
#[derive(Debug, Parser)]
#[command(name = "gristmill", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done · 1 the task failed · 2 wrong usage · 3 refused before any money was locked\n\
                        · 4 the market cannot start or be reached · 5 a result did not stand up to its check · 130 interrupted.\n\
                        Every failure names a page: docs/errors/GM-….md"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say more on stderr: what the services do (twice: everything).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Buy a run of a program and print its output.
    Run(Box<RunArgs>),
    /// Keep a whole market running on this machine until Ctrl-C.
    Up(UpArgs),
    /// Show what became of a task, fetch its result, or take its price back.
    Task(TaskArgs),
    /// Simulate a market with cheaters, and print what becomes of it.
    Simulate(crate::simulate::SimulateArgs),
    /// Estimate what a machine would earn as a worker.
    Roi(crate::roi::RoiArgs),
    /// Write the file that shows anybody what came of a task, or check one.
    Receipt(Box<ReceiptArgs>),
    /// Run a task again on this machine and compare its digest with the chain's.
    Verify(VerifyArgs),
    /// Say why a request order is not matched, and what would help.
    Order {
        /// What to know.
        #[command(subcommand)]
        command: OrderCommand,
    },
    /// Show an account's stake, deposit into it, withdraw from it.
    Account {
        /// What to do.
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Register a workerpool.
    Workerpool {
        /// What to do.
        #[command(subcommand)]
        command: WorkerpoolCommand,
    },
    /// Run an order book alone, as gristmill.toml says.
    Orderbook(ServiceArgs),
    /// Run a gateway for inputs and results alone (IPFS add and gateway).
    Gateway(ServiceArgs),
    /// Run a workerpool's scheduler alone.
    Scheduler(ServiceArgs),
    /// Run a secret management service alone.
    Vault(ServiceArgs),
    /// Run a compass alone: it tells where workerpools answer, and which app a name stands for.
    Compass(ServiceArgs),
    /// Run a worker alone.
    Worker(ServiceArgs),
    /// Look after the store of inputs and results.
    Blobs(Box<crate::blobs::BlobsArgs>),
    /// Show the settings of the services that run alone.
    Config(ConfigArgs),
    /// Put a market's contracts on any EVM chain.
    Chain(crate::chain_deploy::ChainArgs),
    /// Write a completion script for a shell to stdout.
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
}

/// A service that runs apart.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// The settings. Default: gristmill.toml here, if there is one.
    #[arg(long, env = "GRISTMILL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Set one value, stronger than the file and the environment: --set worker.slots=4.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// A chain to act on, and the key to do it with.
#[derive(Debug, Clone, Args)]
pub struct ChainAccess {
    /// Which chain and hub: `market.rpc` and `market.hub`.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// A file with the private key, as 64 hexadecimal digits.
    #[arg(long, env = "GRISTMILL_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What can be asked about an order.
#[derive(Debug, Subcommand)]
pub enum OrderCommand {
    /// Which check refuses a request, and the least change that would make it match.
    Why(WhyArgs),
}

/// `gristmill order why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The request order: its hash, or a JSON file with it.
    pub request: String,

    /// Only where workerpools say that they have workers in this region, in their own words: eu-west.
    #[arg(long, value_name = "NAME", conflicts_with = "app_order")]
    pub region: Option<String>,

    /// Judge this app order instead of searching the book; needs --workerpool-order too. A hash or a file.
    #[arg(long, value_name = "ORDER", requires = "workerpool_order")]
    pub app_order: Option<String>,

    /// Judge this dataset order. A hash or a file.
    #[arg(long, value_name = "ORDER", requires = "app_order")]
    pub dataset_order: Option<String>,

    /// Judge this workerpool order. A hash or a file.
    #[arg(long, value_name = "ORDER", requires = "app_order")]
    pub workerpool_order: Option<String>,

    /// The origin of the market. Default: one that runs on this machine.
    #[arg(long, env = "GRISTMILL_MARKET", value_name = "URL")]
    pub market: Option<url::Url>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What can be done with an account.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Stake, what of it is locked, and what else the account has.
    Show {
        /// The account. Default: the key's.
        address: Option<alloy_primitives::Address>,
        /// The chain.
        #[command(flatten)]
        access: ChainAccess,
    },
    /// Turn RLC into stake.
    Deposit {
        /// How much, like 10RLC or 50000000nRLC.
        amount: Nrlc,
        /// Whose stake it becomes. Default: the key's.
        #[arg(long, value_name = "ADDRESS")]
        to: Option<alloy_primitives::Address>,
        /// The chain.
        #[command(flatten)]
        access: ChainAccess,
    },
    /// Turn stake that is not locked into RLC.
    Withdraw {
        /// How much, like 10RLC or 50000000nRLC.
        amount: Nrlc,
        /// The chain.
        #[command(flatten)]
        access: ChainAccess,
    },
}

/// What can be done with a workerpool.
#[derive(Debug, Subcommand)]
pub enum WorkerpoolCommand {
    /// Register one that belongs to the key, unless it is already.
    Create {
        /// What it says of itself; with the owner it decides the address.
        #[arg(long)]
        description: String,
        /// The chain.
        #[command(flatten)]
        access: ChainAccess,
    },
}

/// `gristmill config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to know.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be asked about settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every value in force, and where it came from.
    Show {
        /// Where the settings come from.
        #[command(flatten)]
        service: ServiceArgs,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// `gristmill up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where the market's chain, orders and results live. Default: the platform's data directory.
    #[arg(long, env = "GRISTMILL_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Forget what the data directory holds and start a new market in it.
    #[arg(long)]
    pub fresh: bool,

    /// The address to listen on. Anything but loopback lets everybody who reaches it spend the development accounts.
    #[arg(long, env = "GRISTMILL_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// The port of the one origin; 0 takes a free one.
    #[arg(long, env = "GRISTMILL_PORT", default_value_t = 4747)]
    pub port: u16,

    /// Simulate trusted execution although --host is not loopback. Secrets given to tasks are then anybody's who runs a
    /// worker here: only for development.
    #[arg(long)]
    pub simulate_tee_in_public: bool,

    /// Print one JSON object on stdout when ready, and nothing else.
    #[arg(long)]
    pub json: bool,

    /// Also write a chain.json for the official `iexec` CLI to this path.
    #[arg(long, value_name = "FILE")]
    pub chain_json: Option<PathBuf>,

    /// How long inputs and results are kept, and what runs programs: `blobs.*`, and of `worker.*` what is about
    /// containers, GPUs, local images and cores.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// What the market is made of.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// What an embedded market is made of; shared by `up` and by `run` when it starts one of its own.
#[derive(Debug, Clone, Args)]
pub struct ShapeArgs {
    /// The chain id of the embedded chain.
    #[arg(long, default_value_t = 31337, value_name = "N")]
    pub chain_id: u64,

    /// Workers in each workerpool.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,

    /// Milliseconds between blocks; by default a block is made as soon as there is something to put into it.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub block_time_ms: Option<u64>,

    /// Development only: this many workers of each workerpool return a wrong result. The honest ones then start
    /// with the reputation of fifteen verified tasks, without which the consensus formula would need four of them.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub dev_lying_workers: u16,

    /// The least share of tasks of one worker that a second worker confirms, unknown to either; newcomers' more often.
    /// The workers of an embedded market are all its own, so without this none are.
    #[arg(long, default_value = "0", value_name = "0..1")]
    pub canary_rate: Policy,
}

/// `gristmill run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A .wasm file, an image (a .tar of docker save, or docker:// and its name), or an app: its name here or its address.
    pub app: String,

    /// Arguments for the program.
    #[arg(last = true)]
    pub args: Vec<String>,

    /// An input: a file, or an http(s) URL. May be given many times; the program finds them in $IEXEC_IN.
    #[arg(long = "input", short, value_name = "FILE|URL")]
    pub inputs: Vec<String>,

    /// How sure the result must be: 1 trusts one worker; N asks that the odds of a wrong result be below 1 in N,
    /// which takes more workers.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub trust: u64,

    /// How long a task may take: XS (5 min), S (20 min), M (1 h), L (3 h), XL (10 h), or a category's number.
    #[arg(long, default_value = "XS", value_name = "NAME|N")]
    pub category: String,

    /// The most to pay a workerpool for a task, like 0.05RLC or 50000000nRLC.
    #[arg(long, value_name = "AMOUNT")]
    pub max_price: Option<Nrlc>,

    /// How many tasks to buy. Each finds its number in $IEXEC_BOT_TASK_INDEX.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub tasks: u32,

    /// Put the results' files into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Also write the file that shows anybody what came of the task; see `gristmill receipt`. Only for one task.
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,

    /// Print the whole outcome as one JSON object on stdout.
    #[arg(long)]
    pub json: bool,

    /// The origin of the market to buy from. Default: one that `gristmill up` runs on this machine; if there is none,
    /// a market of its own for the length of this run.
    #[arg(long, env = "GRISTMILL_MARKET", value_name = "URL")]
    pub market: Option<url::Url>,

    /// Start a market of its own even if another one runs on this machine.
    #[arg(long, conflicts_with = "market")]
    pub ephemeral: bool,

    /// A file with the private key that pays, as 64 hexadecimal digits. Default: the first development account.
    #[arg(long, env = "GRISTMILL_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// What a market of its own is made of.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// `gristmill task`.
#[derive(Debug, Args)]
pub struct TaskArgs {
    /// What to know.
    #[command(subcommand)]
    pub command: TaskCommand,
}

/// What can be asked about a task.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Its state on chain and at its scheduler, and what it waits for.
    Show(TaskQuery),
    /// What it waits for, or why it ended as it did, in a sentence.
    Why(TaskQuery),
    /// What its program printed; only for who bought it.
    Logs {
        /// Which one.
        #[command(flatten)]
        query: TaskQuery,
        /// Go on until the task has ended, telling what its program prints as it comes.
        #[arg(short, long)]
        follow: bool,
        /// A file with the requester's private key, as 64 hexadecimal digits. Default: the first development account.
        #[arg(long, env = "GRISTMILL_KEY_FILE", value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Fetch its result once more, hold it against the chain, and print what `run` would have printed.
    Result {
        /// Which one.
        #[command(flatten)]
        query: TaskQuery,
        /// Put the result's files into this directory.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Take back what was paid for tasks whose time is up, if their scheduler does not. Twice is harmless.
    Claim(ClaimArgs),
}

/// `gristmill task claim`.
#[derive(Debug, Args)]
pub struct ClaimArgs {
    /// The tasks; or deals, which are all their tasks, also those that were never begun.
    #[arg(required = true, value_name = "TASK|DEAL")]
    pub ids: Vec<alloy_primitives::B256>,

    /// Where they are to be found.
    #[command(flatten)]
    pub source: TaskSource,

    /// A file with the private key that pays for the gas, as 64 hexadecimal digits: anybody's. Default: the first
    /// development account.
    #[arg(long, env = "GRISTMILL_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A task at a market.
#[derive(Debug, Clone, Args)]
pub struct TaskQuery {
    /// The task's id.
    pub task: primitives::TaskId,
    /// The origin of the market. Default: one that runs on this machine.
    #[arg(long, env = "GRISTMILL_MARKET", value_name = "URL")]
    pub market: Option<url::Url>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Where a task is to be found.
#[derive(Debug, Clone, Args)]
pub struct TaskSource {
    /// The origin of the market. Default: one that runs on this machine.
    #[arg(long, env = "GRISTMILL_MARKET", value_name = "URL")]
    pub market: Option<url::Url>,

    /// Ask this node instead of a market's; needs --hub too.
    #[arg(long, value_name = "URL", requires = "hub", conflicts_with = "market")]
    pub rpc: Option<url::Url>,

    /// The market's hub on the node's chain.
    #[arg(long, value_name = "ADDRESS", requires = "rpc")]
    pub hub: Option<alloy_primitives::Address>,
}

/// `gristmill receipt`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ReceiptArgs {
    /// Something else than writing one.
    #[command(subcommand)]
    pub command: Option<ReceiptCommand>,

    /// The task's id.
    #[arg(required = true)]
    pub task: Option<primitives::TaskId>,

    /// Write it to this file. Default: stdout.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Which task it is.
    #[command(flatten)]
    pub source: TaskSource,

    /// Print one JSON object about the file.
    #[arg(long, requires = "out")]
    pub json: bool,
}

/// What else can be done with a receipt.
#[derive(Debug, Subcommand)]
pub enum ReceiptCommand {
    /// Check a receipt against the hash of a block. Needs no connection, unless it is to ask a node for the hash.
    Verify(ReceiptVerifyArgs),
}

/// `gristmill receipt verify`.
#[derive(Debug, Args)]
pub struct ReceiptVerifyArgs {
    /// The receipt.
    pub file: PathBuf,

    /// The hash of the block that it hangs on, from wherever you trust it. Several, if it hangs on several.
    #[arg(long, value_name = "HASH")]
    pub block_hash: Vec<alloy_primitives::B256>,

    /// Trust what this node says of the block.
    #[arg(long, value_name = "URL")]
    pub rpc: Option<url::Url>,

    /// Refuse a receipt of any other hub.
    #[arg(long, value_name = "ADDRESS")]
    pub hub: Option<alloy_primitives::Address>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `gristmill verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The task's id.
    pub task: primitives::TaskId,

    /// Where the evidence goes if the digests differ. Default: mismatch-TASK.json here.
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,

    /// The origin of the market. Default: one that runs on this machine.
    #[arg(long, env = "GRISTMILL_MARKET", value_name = "URL")]
    pub market: Option<url::Url>,

    /// Also fetch program and inputs from loopback and private networks.
    #[arg(long)]
    pub allow_private: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}
