//! Results of which much has to be carried: through processes that die half-way, and through all of them in flat memory.

mod encrypted;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::faults::Weather;
use testkit::{Apart, ApartConfig, Gristmill, Ran, eventually, programs};
use wire::ipfs::IpfsClient;

use crate::{at, gristmill, text};

const MIB: u64 = 1 << 20;
/// Of several parts, as uploads are cut.
const INTERRUPTED: u64 = 32 * MIB;
/// What a line carries before it stands still.
const CARRIED: u64 = 20 * MIB;
/// What is on the line and not on the disk when it stands still.
const ON_THE_LINE: u64 = 2 * MIB;
/// What a new line carries after that.
const FURTHER: u64 = 6 * MIB;
/// What may be carried twice, and beside the result: a part.
const TWICE_MAX: u64 = 8 * MIB;
/// Who is killed in the middle of a transfer, and what may be carried twice from then on: the gateway is not the last.
const BLOWS: [(&str, u64); 3] =
    [("worker", TWICE_MAX), ("gateway", 2 * TWICE_MAX), ("scheduler", TWICE_MAX)];
/// How large the result is that is carried in flat memory, in MB: more by hand than in the gate.
const LARGE_MB: &str = "GRISTMILL_LARGE_RESULT_MB";
const LARGE_MB_DEFAULT: u64 = 128;
/// What a process may take more for a large result than for a small one.
const MORE_MEMORY: u64 = 40 * MIB;
/// Files that nobody needs: sweeping them takes a while.
const JUNK: usize = 20_000;
const JUNK_SEEN: usize = 64;
/// Sweeps that the blow may miss.
const TRIES: usize = 8;

/// A market behind proxies, with one worker.
async fn market(gristmill: &Gristmill) -> Result<Apart> {
    let faults = Some((1, Weather::STORM));
    Apart::start_with(gristmill, ApartConfig { workers: 1, vault: false, faults }).await
}

/// Buys a run of a program, as soon as it is offered.
async fn buy(gristmill: &Gristmill, market: &Apart, program: &Path, peak: &mut u64) -> Result<Ran> {
    let (key, origin) = (market.owner_key_file()?, market.direct("orderbook")?.to_string());
    let buy = ["run", text(program), "--json", "--market", &origin, "--key-file", &key];
    eventually("a task to be bought and done", async || {
        let ran = gristmill.run_watched(buy, |bytes| *peak = (*peak).max(bytes)).await?;
        Ok((ran.code == Some(0)).then_some(ran))
    })
    .await
}

/// Names and sizes of the files in a directory; none if it is not there.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|it| Some((it.path(), it.metadata().ok()?)))
        .filter(|(_, about)| about.is_file())
        .map(|(path, about)| (path, about.len()))
        .collect()
}

async fn file_of(dir: &Path, least: u64) -> Result<u64> {
    let what = format!("{least} bytes in {}", dir.display());
    let size = || files(dir).iter().map(|(_, size)| *size).find(|size| *size >= least);
    eventually(&what, async || Ok(size())).await
}

async fn nothing_in(dir: &Path) -> Result<()> {
    let what = format!("nothing to be left in {}", dir.display());
    eventually(&what, async || Ok(files(dir).is_empty().then_some(()))).await
}

/// Waits until a transfer that stands still has reached the gateway's or the scheduler's disk, and gives back how much has.
async fn reached(dir: &Path, least: u64) -> Result<u64> {
    file_of(dir, least - ON_THE_LINE).await
}

#[tokio::test]
async fn a_transfer_goes_on_where_a_killed_worker_gateway_and_scheduler_left_it() -> Result<()> {
    let gristmill = gristmill()?;
    let market = market(&gristmill).await?;
    let (scheduler, gateway) = (market.proxy("scheduler")?, market.proxy("gateway")?);
    let uploads = market.data_dir("scheduler").join("uploads");
    let parcels = market.data_dir("gateway").join("blobs/parcels");
    let program = gristmill.file("bulk.wasm", programs::bulk(INTERRUPTED)?)?;

    scheduler.dam(CARRIED);
    let mut peak = 0;
    let buying = buy(&gristmill, &market, &program, &mut peak);
    let blows = async {
        // What has come stands on the disk; the rest is behind the dam.
        let first = (reached(&uploads, CARRIED).await?, scheduler.carried());
        market.kill("worker-0").await?;
        gateway.dam(CARRIED);
        scheduler.dam(u64::MAX);
        market.restart("worker-0").await?;

        let second = (reached(&parcels, CARRIED).await?, gateway.carried());
        market.kill("gateway").await?;
        gateway.dam(FURTHER);
        market.restart("gateway").await?;

        let third = (reached(&parcels, second.0 + FURTHER).await?, gateway.carried());
        market.kill("scheduler").await?;
        gateway.dam(u64::MAX);
        market.restart("scheduler").await?;
        Ok::<_, anyhow::Error>([first, second, third])
    };
    let (ran, blows) = tokio::join!(buying, blows);
    let (blows, said) = (blows?, ran?.json()?);

    let ends = [scheduler, gateway, gateway].map(|proxy| proxy.carried());
    for (((which, twice_max), (reached, before)), end) in BLOWS.into_iter().zip(blows).zip(ends) {
        let again = end - before;
        let most = INTERRUPTED + twice_max;
        ensure!(reached > 0 && again + reached <= most, "{which}: {again} bytes after {reached}");
    }
    ensure!(list_has(&said, "bulk.bin"), "{said:#}");
    for dir in [&uploads, &parcels, &market.data_dir("worker-0").join("work/results")] {
        nothing_in(dir).await?;
    }
    eventually("no orphans", async || Ok(market.orphans()?.is_empty().then_some(()))).await
}

fn list_has(said: &Value, file: &str) -> bool {
    said.pointer("/results/0/files")
        .and_then(Value::as_array)
        .is_some_and(|files| files.iter().any(|it| it == file))
}

fn large_mb(default: u64) -> Result<u64> {
    match std::env::var(LARGE_MB) {
        Ok(mb) => mb.parse().context(LARGE_MB),
        Err(_) => Ok(default),
    }
}

/// The most memory of every service, by name.
async fn peaks(market: &Apart) -> Result<Vec<(String, u64)>> {
    let mut peaks = Vec::new();
    for name in market.names() {
        let peak = market.peak_bytes(&name).await?;
        peaks.push((name, peak));
    }
    Ok(peaks)
}

#[tokio::test]
async fn a_large_result_passes_through_every_process_in_flat_memory() -> Result<()> {
    let mb = large_mb(LARGE_MB_DEFAULT)?;
    let size = mb * 1_000_000;
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 1).await?;
    let small = gristmill.file("small.wasm", programs::bulk(16 * MIB)?)?;
    let large = gristmill.file("large.wasm", programs::bulk(size)?)?;
    let mut requester = [0; 2];
    buy(&gristmill, &market, &small, &mut requester[0]).await?;
    let before = peaks(&market).await?;
    let ran = buy(&gristmill, &market, &large, &mut requester[1]).await?;
    let said = ran.json()?;
    ensure!(list_has(&said, "bulk.bin"), "{said:#}");

    let after = peaks(&market).await?;
    let services = before.into_iter().zip(after).map(|((name, was), (_, is))| (name, was, is));
    let all = services.chain([("requester".to_owned(), requester[0], requester[1])]);
    for (name, was, is) in all {
        println!("{name}: {} MB for 16 MiB, {} MB for {mb} MB", was / 1_000_000, is / 1_000_000);
        ensure!(was > 0 && is <= was + MORE_MEMORY, "{name}: {was} bytes before, {is} for {size}");
    }
    // What was bought is what was written, to the byte: it does not get smaller by packing.
    let stored = files(&market.data_dir("gateway").join("blobs/files"));
    ensure!(stored.iter().any(|(_, stored)| *stored >= size), "{stored:?}");
    println!("bought, computed, carried and checked in {:?}", ran.elapsed);
    Ok(())
}

#[tokio::test]
async fn a_gateway_killed_while_it_sweeps_has_lost_only_what_nobody_needs() -> Result<()> {
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 1).await?;
    let program = gristmill.file("greeting.wasm", programs::greeting("kept\n")?)?;
    let outcome = buy(&gristmill, &market, &program, &mut 0).await?.json()?;
    let task = at(&outcome, "/receipt/tasks/0/task")?.as_str().context("a task")?.parse()?;
    let results = market.client().await?.task(task).await?.results;
    let results: Value = serde_json::from_slice(&results)?;
    let location = at(&results, "/location")?.as_str().context("a location")?.to_owned();

    let shelf = market.data_dir("gateway").join("blobs/files");
    let needed: Vec<_> = files(&shelf).into_iter().map(|(path, _)| path).collect();
    ensure!(needed.len() >= 2, "a program and its result: {needed:?}");
    market.set("blobs.keep_inputs_days", "0");
    market.set("blobs.sweep_seconds", "1");
    market.kill("gateway").await?;
    let junk: Vec<_> = (0..JUNK).map(|number| shelf.join(format!("junk-{number}"))).collect();
    let left = || junk.iter().filter(|path| path.exists()).count();
    let all_seen = || junk.iter().step_by(JUNK / JUNK_SEEN).all(|path| path.exists());
    let kept = || needed.iter().all(|path| path.exists());
    for _ in 0..TRIES {
        for path in &junk {
            std::fs::write(path, "x")?;
        }
        market.restart("gateway").await?;
        // Some are gone: it is at it. On a busy machine it may be over before the blow falls.
        eventually("a sweep", async || Ok((!all_seen()).then_some(()))).await?;
        market.kill("gateway").await?;
        ensure!(kept(), "something that is needed is gone");
        if left() > 0 {
            break;
        }
    }
    ensure!(left() > 0, "no sweep was met half-way");

    market.restart("gateway").await?;
    eventually("the rest to be swept", async || Ok((left() == 0).then_some(()))).await?;
    ensure!(kept(), "something that is needed is gone");
    ensure!(IpfsClient::new(&market.direct("gateway")?)?.has(&location).await?);
    ensure!(market.orphans()?.is_empty(), "{:?}", market.orphans()?);
    Ok(())
}
