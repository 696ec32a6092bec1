//! `gristmill blobs`: what an operator does with the store of inputs and results.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use blobs::{Blobs, Limits, Shelf, Swept, Verdict};
use chain::Client;
use clap::{Args, Subcommand};
use serde_json::json;
use url::Url;
use wire::market::MarketClient;

use crate::apart::silent_chain;
use crate::args::ServiceArgs;
use crate::failure::{Exit, Failure, OrFail};
use crate::home::DataDir;
use crate::keeper::MarketKeeper;
use crate::means;
use crate::purchase::Access;
use crate::settings::Settings;

/// `gristmill blobs`.
#[derive(Debug, Args)]
pub struct BlobsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: BlobsCommand,
}

/// What can be done with the store.
#[derive(Debug, Subcommand)]
pub enum BlobsCommand {
    /// Remove what no deal needs and whose days have passed. A market that runs does so by itself, every hour.
    Gc {
        /// Say what would go, and remove nothing. Possible while the store is in use.
        #[arg(long)]
        dry_run: bool,
        /// Which store.
        #[command(flatten)]
        place: PlaceArgs,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Keep a file until it is unpinned.
    Pin {
        /// Its content id.
        cid: String,
        /// Why, for whoever asks later.
        #[arg(long, default_value = "")]
        why: String,
        /// Which store.
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Take a pin off.
    Unpin {
        /// The file's content id.
        cid: String,
        /// Which store.
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Which store, and whom to ask about deals.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The data directory of the gateway, or of a whole market. Default: gateway.data_dir.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The market's origin, to ask about deals. Default: market.orderbook, market.rpc and market.hub.
    #[arg(long, env = "GRISTMILL_MARKET", value_name = "URL")]
    pub market: Option<Url>,
    /// Settings.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// Does it.
///
/// # Errors
/// GM-6002 the store is in use, GM-6003 it cannot be used, GM-8604 it is not known what deals need, GM-4301 no content id.
pub async fn run(args: BlobsArgs) -> Result<(), Failure> {
    match args.command {
        BlobsCommand::Gc { dry_run, place, json } => gc(&place, dry_run, json).await,
        BlobsCommand::Pin { cid, why, place } => {
            let blobs = Blobs::beside(&dir(&place, &settings(&place)?)?.join("blobs"))
                .map_err(|error| told(&error))?;
            let cid = Blobs::parse_cid(&cid).map_err(|error| told(&error))?;
            blobs.pin(&cid, &why).await.map_err(|error| told(&error))
        }
        BlobsCommand::Unpin { cid, place } => {
            let blobs = Blobs::beside(&dir(&place, &settings(&place)?)?.join("blobs"))
                .map_err(|error| told(&error))?;
            let cid = Blobs::parse_cid(&cid).map_err(|error| told(&error))?;
            blobs.unpin(&cid).await.map(drop).map_err(|error| told(&error))
        }
    }
}

async fn gc(place: &PlaceArgs, dry_run: bool, as_json: bool) -> Result<(), Failure> {
    let settings = settings(place)?;
    let dir = dir(place, &settings)?;
    // Held to the end: nobody adds to a store while something of it goes.
    let lock = if dry_run { None } else { Some(DataDir::open(&dir, false)?) };
    let blobs = match &lock {
        Some(_) => Blobs::open_with(&dir.join("blobs"), Limits::default()),
        None => Blobs::beside(&dir.join("blobs")),
    };
    let blobs = blobs.map_err(|error| told(&error))?;
    let policy = means::retention(&settings)?.policy;
    let keeper = keeper(place, &settings, &blobs).await?;
    let swept = blobs
        .sweep(policy, &keeper, SystemTime::now(), dry_run)
        .await
        .map_err(|error| told(&error))?;
    let text = if as_json { to_json(&swept, dry_run) } else { to_text(&swept, dry_run) };
    // Whoever asked may have stopped listening.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

fn settings(place: &PlaceArgs) -> Result<Settings, Failure> {
    Settings::load(place.service.config.as_deref(), &place.service.set)
}

fn dir(place: &PlaceArgs, settings: &Settings) -> Result<PathBuf, Failure> {
    let dir = match &place.data_dir {
        Some(dir) => dir.clone(),
        None => settings.need("gateway.data_dir")?,
    };
    if dir.join("blobs").is_dir() {
        return Ok(dir);
    }
    Err(Failure::new("GM-6003", Exit::Usage, format!("{} holds no blobs", dir.display()))
        .fix("name the data directory of a gateway or of a market with --data-dir"))
}

async fn keeper(
    place: &PlaceArgs,
    settings: &Settings,
    blobs: &Blobs,
) -> Result<MarketKeeper, Failure> {
    let blobs = blobs.clone();
    if let Some(origin) = &place.market {
        let access = Access::to(origin).await?;
        let (market, client) = (access.market().clone(), access.client().clone());
        return Ok(MarketKeeper { market, client, blobs });
    }
    configured(settings, blobs).await?.ok_or_else(|| {
        Failure::new("GM-8604", Exit::Usage, "it is not known what deals need").fix(
            "--market <origin>, or market.orderbook, market.rpc and market.hub in the settings",
        )
    })
}

/// Who is asked by settings; nobody if they do not name both an order book and a chain.
pub(crate) async fn configured(
    settings: &Settings,
    blobs: Blobs,
) -> Result<Option<MarketKeeper>, Failure> {
    let (Some(book), Some(rpc), Some(hub)) = (
        settings.get::<Url>("market.orderbook")?,
        settings.get::<Url>("market.rpc")?,
        settings.get("market.hub")?,
    ) else {
        return Ok(None);
    };
    let client = Client::connect(&rpc, hub).await.map_err(|error| silent_chain(&error))?;
    let market = MarketClient::new(&book, client.chain_id()).or_fail(
        "GM-5015",
        Exit::Usage,
        "market.orderbook cannot be used",
    )?;
    Ok(Some(MarketKeeper { market, client, blobs }))
}

fn told(error: &blobs::Error) -> Failure {
    Failure::new(error.code(), Exit::Market, error.to_string()).fix(error.remedy())
}

fn shelf(verdict: &Verdict) -> &'static str {
    match verdict.shelf {
        Shelf::Files => "file",
        Shelf::Results => "result",
    }
}

fn to_json(swept: &Swept, dry_run: bool) -> String {
    let verdicts: Vec<_> = swept
        .verdicts
        .iter()
        .map(|it| json!({ "cid": it.cid, "bytes": it.size, "shelf": shelf(it), "keptFor": it.kept_for }))
        .collect();
    let object = json!({
        "dryRun": dry_run, "blobs": swept.blobs, "bytes": swept.bytes, "removed": swept.removed,
        "removedBytes": swept.removed_bytes, "uploads": swept.uploads, "looked": verdicts,
    });
    format!("{object}\n")
}

fn to_text(swept: &Swept, dry_run: bool) -> String {
    let mut text = String::new();
    for it in &swept.verdicts {
        let what = match &it.kept_for {
            Some(why) => format!("kept, {why}"),
            None if dry_run => "would go".to_owned(),
            None => "gone".to_owned(),
        };
        text += &format!("{}  {:>12} B  {:<6}  {what}\n", it.cid, it.size, shelf(it));
    }
    let verb = if dry_run { "would go" } else { "went" };
    text += &format!(
        "{} of {} blobs {verb}, {} of {} B\n",
        swept.removed, swept.blobs, swept.removed_bytes, swept.bytes
    );
    text
}
