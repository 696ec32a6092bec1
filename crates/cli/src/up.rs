//! `gristmill up`: a whole market on this machine, until Ctrl-C.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use wire::description::Description;

use crate::accounts::{self, Role, TEST_MNEMONIC};
use crate::args::UpArgs;
use crate::failure::{Exit, Failure, OrFail};
use crate::home::{self, DataDir, Running};
use crate::market::{Market, MarketConfig};
use crate::means::{self, Engine};
use crate::progress::Talk;
use crate::settings::Settings;

/// Starts the market, says what it is when it is ready, and runs until it is told to stop.
///
/// # Errors
/// GM-5015 settings; or it cannot start: the data directory, the port, the chain.
pub async fn up(args: UpArgs) -> Result<(), Failure> {
    let start = Instant::now();
    let talk = Talk::new(args.json);
    let path = args.data_dir.clone().unwrap_or_else(|| home::home().join("market"));
    let settings = Settings::load(args.service.config.as_deref(), &args.service.set)?;
    let (retention, engine) = (means::retention(&settings)?, Engine::read(&settings)?);
    let data_dir = DataDir::open(&path, args.fresh)?;
    if !args.host.is_loopback() {
        talk.say("warning: anyone who reaches this address can spend the development accounts");
    }
    let config = MarketConfig {
        retention,
        engine,
        data_dir: Some(data_dir),
        simulate_tee_in_public: args.simulate_tee_in_public,
        ..MarketConfig::of(&args.shape, args.host, args.port)
    };
    let market = Market::start(config).await?;
    let description = market.description();
    if let Some(file) = &args.chain_json {
        write_chain_json(file, &description)?;
    }
    let _note = Running::announce(market.origin());

    let said = if args.json {
        format!("{}\n", to_json(&description))
    } else {
        format!(
            "{}\nready in {} ms, state in {}; Ctrl-C stops it\n",
            to_text(&description),
            start.elapsed().as_millis(),
            path.display()
        )
    };
    let interrupted = interrupted();
    let mut stdout = std::io::stdout().lock();
    // Whoever started us may have stopped listening; the market runs all the same.
    let _ = stdout.write_all(said.as_bytes()).and_then(|()| stdout.flush());
    drop(stdout);

    let stopped_by = market.stopped_or(interrupted).await;
    talk.say("stopping");
    market.stop().await;
    stopped_by
}

/// Resolves at Ctrl-C, or at a polite request to end. Listens from the call on, not from the first poll: whoever calls it before
/// saying that it is ready ends in order however soon it is asked to.
#[cfg(unix)]
pub fn interrupted() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut kinds =
        [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
    async move {
        let [interrupt, terminate] = &mut kinds;
        tokio::select! {
            Some(_) = async { interrupt.as_mut()?.recv().await } => {}
            Some(_) = async { terminate.as_mut()?.recv().await } => {}
            // Without a handler there is nothing to wait for but the end.
            else => std::future::pending().await,
        }
    }
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
pub async fn interrupted() {
    // Without a handler there is nothing to wait for but the end.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The market as one object: the description, and the development accounts with their keys.
fn to_json(description: &Description) -> Value {
    let mut object = json!(description);
    object["accounts"] = (0..accounts::ACCOUNTS)
        .map(|index| {
            let signer = accounts::development(index);
            json!({
                "role": Role::of(index).name(),
                "address": signer.address().to_string(),
                "privateKey": signer.to_bytes().to_string(),
            })
        })
        .collect();
    object
}

fn to_text(description: &Description) -> String {
    let contracts = &description.contracts;
    let mut text = format!(
        "origin      {}   JSON-RPC, order book, scheduler, IPFS gateway\n\
         websocket   {}\n\
         chain id    {}\n\
         hub         {}\n\
         RLC         {}\n\
         registries  {} apps\n            {} datasets\n            {} workerpools\n",
        description.origin,
        description.ws,
        description.chain_id,
        contracts.hub,
        contracts.rlc,
        contracts.app_registry,
        contracts.dataset_registry,
        contracts.workerpool_registry,
    );
    for pool in &description.workerpools {
        let name = pool.description.as_deref().unwrap_or_default();
        let _ = writeln!(text, "workerpool  {}  {name}", pool.address);
    }
    for app in &description.apps {
        let _ = writeln!(text, "app         {}  {}", app.address, app.name);
    }
    let _ =
        writeln!(text, "accounts    from the mnemonic \"{TEST_MNEMONIC}\", known to everybody:");
    for index in 0..accounts::ACCOUNTS {
        let signer = accounts::development(index);
        let _ = writeln!(
            text,
            "  {index:>2}  {}  {}  {}",
            signer.address(),
            signer.to_bytes(),
            Role::of(index).name()
        );
    }
    text
}

/// A chain.json for the official CLI: every service of this market answers at its one origin.
fn write_chain_json(path: &Path, description: &Description) -> Result<(), Failure> {
    let origin = &description.origin;
    let chain = json!({
        "default": "gristmill",
        "chains": { "gristmill": {
            "id": description.chain_id.to_string(),
            "host": description.rpc,
            "hub": description.contracts.hub.to_string(),
            "sms": origin,
            "iexecGateway": origin,
            "ipfsGateway": origin,
            "compass": origin,
            // Nothing here answers as a subgraph; named because the CLI else takes a public one for the ids it knows.
            "pocoSubgraph": origin,
        }},
    });
    std::fs::write(path, format!("{chain:#}\n")).or_fail(
        "GM-5008",
        Exit::Usage,
        &format!("cannot write {}", path.display()),
    )
}
