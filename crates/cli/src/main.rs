//! The binary: reads the command line, runs a verb, and turns a failure into words and an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use gristmill::apart::{self, Service};
use gristmill::args::{
    AccountCommand, Cli, Command, ConfigArgs, ConfigCommand, OrderCommand, ReceiptCommand,
    TaskCommand, WorkerpoolCommand,
};
use gristmill::blobs::BlobsCommand;
use gristmill::chain_deploy::ChainCommand;
use gristmill::failure::{Exit, Failure};
use gristmill::{
    blobs, chain_deploy, order, proof, provide, recheck, roi, run, simulate, task, up,
};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) => return not_run(&asked),
    };
    log_to_stderr(cli.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: this machine gives no threads: {error}");
            return ExitCode::from(4);
        }
    };
    let json = asks_for_json(&cli.command);
    let outcome = runtime.block_on(verb(cli.command));
    // Work that no one waits for any more must not keep the process: everything that matters is on disk.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, json);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Help that was asked for, or a command line that makes no sense.
fn not_run(asked: &clap::Error) -> ExitCode {
    // Whoever asked may have stopped listening.
    let _ = asked.print();
    if !asked.use_stderr() {
        return ExitCode::SUCCESS;
    }
    eprintln!("  more: docs/errors/GM-5017.md");
    ExitCode::from(Exit::Usage as u8)
}

async fn verb(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => Box::pin(run::run(*args)).await,
        Command::Up(args) => up::up(args).await,
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Roi(args) => roi::roi(&args).await,
        Command::Task(args) => task::task(args.command).await,
        Command::Receipt(args) => Box::pin(proof::receipt(*args)).await,
        Command::Verify(args) => recheck::verify(args).await,
        Command::Order { command } => order::order(command).await,
        Command::Account { command } => provide::account(command).await,
        Command::Workerpool { command } => provide::workerpool(command).await,
        Command::Orderbook(args) => apart::serve(Service::Orderbook, args).await,
        Command::Gateway(args) => apart::serve(Service::Gateway, args).await,
        Command::Scheduler(args) => apart::serve(Service::Scheduler, args).await,
        Command::Vault(args) => apart::serve(Service::Vault, args).await,
        Command::Compass(args) => apart::serve(Service::Compass, args).await,
        Command::Worker(args) => apart::serve(Service::Worker, args).await,
        Command::Config(ConfigArgs { command: ConfigCommand::Show { service, json } }) => {
            apart::show(&service, json)
        }
        Command::Blobs(args) => blobs::run(*args).await,
        Command::Chain(args) => chain_deploy::chain(args.command).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "gristmill", &mut script);
            // Whoever asked may have stopped listening.
            let _ = std::io::stdout().write_all(&script);
            Ok(())
        }
    }
}

fn asks_for_json(command: &Command) -> bool {
    match command {
        Command::Run(args) => args.json,
        Command::Up(args) => args.json,
        Command::Simulate(args) => args.json,
        Command::Roi(args) => args.json,
        Command::Task(args) => match &args.command {
            TaskCommand::Show(query)
            | TaskCommand::Why(query)
            | TaskCommand::Logs { query, .. }
            | TaskCommand::Result { query, .. } => query.json,
            TaskCommand::Claim(args) => args.json,
        },
        Command::Receipt(args) => match &args.command {
            Some(ReceiptCommand::Verify(verify)) => verify.json,
            None => args.json,
        },
        Command::Verify(args) => args.json,
        Command::Chain(args) => match &args.command {
            ChainCommand::Deploy(args) => args.json,
            ChainCommand::Serve(_) => false,
        },
        Command::Blobs(args) => matches!(args.command, BlobsCommand::Gc { json: true, .. }),
        Command::Order { command: OrderCommand::Why(args) } => args.json,
        Command::Config(ConfigArgs { command: ConfigCommand::Show { json, .. } }) => *json,
        Command::Account { command } => match command {
            AccountCommand::Show { access, .. }
            | AccountCommand::Deposit { access, .. }
            | AccountCommand::Withdraw { access, .. } => access.json,
        },
        Command::Workerpool { command: WorkerpoolCommand::Create { access, .. } } => access.json,
        Command::Orderbook(_)
        | Command::Gateway(_)
        | Command::Scheduler(_)
        | Command::Vault(_)
        | Command::Compass(_)
        | Command::Worker(_)
        | Command::Completions { .. } => false,
    }
}

fn tell(failure: &Failure, json: bool) {
    if json {
        // If stdout is closed there is nobody left to tell.
        let _ = writeln!(std::io::stdout(), "{}", failure.to_json());
    } else {
        eprintln!("{failure}");
    }
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        // That a connection broke is said by those who need it, where it matters.
        0 => "error,alloy_pubsub=off,alloy_transport_ws=off",
        1 => {
            "warn,gristmill=info,orderbook=info,scheduler=info,worker=info,devchain=info,chain=info"
        }
        _ => {
            "info,gristmill=debug,orderbook=debug,scheduler=debug,worker=debug,devchain=debug,chain=debug"
        }
    };
    let wanted = std::env::var("GRISTMILL_LOG").unwrap_or_else(|_| level.to_owned());
    let filter: Targets = wanted.parse().unwrap_or_else(|error| {
        eprintln!(
            "warning: GRISTMILL_LOG is not understood ({error}); write it like info,worker=debug"
        );
        Targets::new()
    });
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::env::var_os("NO_COLOR").is_none());
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
