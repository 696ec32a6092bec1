//! Every service is a process of its own, and none of them is missed for long.

use alloy_primitives::Address;
use anyhow::{Context, Result};
use orders::OrderKind;
use primitives::TaskId;
use serde_json::Value;
use testkit::{Apart, ApartConfig, eventually, programs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;
use wire::compass::CompassClient;
use wire::ipfs::IpfsClient;
use wire::market::{MarketClient, OrderQuery};

use crate::{at, gristmill, text};

#[tokio::test]
async fn a_market_of_separate_processes_survives_the_end_of_each() -> Result<()> {
    let gristmill = gristmill()?;
    let market = Apart::start(&gristmill, 2).await?;
    let program = gristmill.file("greeting.wasm", programs::greeting("from afar\n")?)?;
    let key = market.owner_key_file()?;
    let origin = market.market()?.to_string();
    // A worker takes inputs from private networks only where the market's gateway is, which is not the order book.
    let input = gristmill.file("in.txt", "grain")?;
    let input = ["--input", text(&input)];
    let buy = ["run", text(&program), "--json", "--market", &origin, "--key-file", &key];

    let bought = async || -> Result<Value> {
        // An offer is in the book as soon as the scheduler is ready and a worker is there.
        eventually("a task to be bought and done", async || {
            let ran = gristmill.run(buy.iter().chain(&input).chain(&["--trust", "4"])).await?;
            Ok(if ran.code == Some(0) { Some(ran.json()?) } else { None })
        })
        .await
    };
    let outcome = bought().await?;
    assert_eq!(at(&outcome, "/results/0/output")?, "from afar\n", "{outcome:#}");

    for name in market.names() {
        market.kill(&name).await?;
        market.restart(&name).await?;
        let outcome = bought().await?;
        assert_eq!(at(&outcome, "/results/0/output")?, "from afar\n", "after {name}: {outcome:#}");
        let task: TaskId =
            at(&outcome, "/receipt/tasks/0/task")?.as_str().unwrap_or_default().parse()?;
        assert!(!market.client().await?.task(task).await?.results.is_empty());
    }

    // What became of all that stands in the book: what the chain says, and what the scheduler of this life said of it.
    let book = MarketClient::new(&market.market()?, market.client().await?.chain_id())?;
    let offers = OrderQuery::all(OrderKind::Workerpool);
    let told = eventually("the workerpool's word", async || {
        let offer = book.best_order(&offers).await?;
        Ok(offer.and_then(|offer| Some((offer.track_record?, offer.claimed?))))
    });
    let (track_record, claimed) = told.await?;
    assert!(track_record.completed > 0 && track_record.failed == 0, "{track_record:?}");
    assert!(claimed.total.completed > 0 && claimed.total.wrong == 0, "{claimed:?}");
    let signed = book.claim(market.workerpool()?).await?.context("it is handed on")?;
    assert_eq!(signed.read()?.1, market.owner()?.address(), "in its owner's name");

    assert_eq!(market.stop("worker-0").await?, Some(0), "a worker ends in order");
    assert_eq!(market.stop("scheduler").await?, Some(0), "a scheduler ends in order");
    Ok(())
}

/// What the official clients ask of each service, asked where it runs alone.
#[tokio::test]
async fn every_door_of_a_market_is_also_a_service_on_a_port_of_its_own() -> Result<()> {
    let gristmill = gristmill()?;
    let config = ApartConfig { workers: 1, vault: true, faults: None };
    let market = Apart::start_with(&gristmill, config).await?;
    let (pool, app) = (market.workerpool()?, Address::repeat_byte(7));
    let (chain_id, scheduler) = (market.client().await?.chain_id(), market.direct("scheduler")?);
    let further = [
        ("market.workerpools.0.address", pool.to_string()),
        ("market.workerpools.0.url", scheduler.to_string()),
        ("market.apps.0.name", "word count".to_owned()),
        ("market.apps.0.address", app.to_string()),
    ];
    let compass = market.start_beside("compass", &further).await?;
    let way = CompassClient::new(&compass.url()?, chain_id)?;
    let known = way.workerpool(pool).await?.context("the compass knows the pool")?;
    assert_eq!(known.parse::<Url>()?, scheduler);
    assert_eq!(way.iapp("word count").await?, Some(app));
    assert_eq!(way.workerpool(app).await?, None);

    let gateway = market.direct("gateway")?;
    let stored = IpfsClient::new(&gateway)?.add_bytes("grain", "grain".into()).await?;
    let wallet = format!("chainId={chain_id}&address={app}");
    for (origin, target, part) in [
        (market.market()?, format!("/challenge?{wallet}"), "iExec Gateway"),
        (market.vault()?, "/version".to_owned(), env!("CARGO_PKG_VERSION")),
        (known.parse()?, format!("/tasks/logs/challenge?{wallet}"), "iExec Core"),
        (gateway, format!("/ipfs/{}", stored.cid), "grain"),
        (compass.url()?, format!("/{chain_id}/workerpools/{pool}"), "apiUrl"),
        (compass.url()?, "/docs/openapi.json".to_owned(), "/{chainId}/workerpools/{address}"),
    ] {
        let answer = page_asks(&origin, &target).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{origin} {target}: {answer}");
        let open = "access-control-allow-origin: https://page.example";
        assert!(answer.contains(open) && answer.contains(part), "{origin} {target}: {answer}");
    }
    assert_eq!(compass.stop().await?, Some(0), "a compass ends in order");
    Ok(())
}

/// Asks as a page in a browser would.
async fn page_asks(origin: &Url, target: &str) -> Result<String> {
    let mut stream = TcpStream::connect(origin.authority()).await?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: x\r\norigin: https://page.example\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn settings_say_what_is_missing_and_where_values_come_from() -> Result<()> {
    let gristmill = gristmill()?;
    let missing = gristmill.run(["worker"]).await?;
    assert_eq!(missing.code, Some(2), "{missing:#?}");
    assert!(missing.stderr.contains("GM-5016"), "{missing:#?}");

    gristmill.file("gristmill.toml", "[worker]\nslots = 3\n")?;
    let shown = gristmill.run(["config", "show", "--json"]).await?.ok()?.json()?;
    assert_eq!(shown["worker.slots"]["value"], "3");
    assert_eq!(shown["worker.slots"]["source"], "gristmill.toml");
    assert_eq!(shown["chain.port"]["source"], "default");

    gristmill.file("gristmill.toml", "[worker]\nslotz = 3\n")?;
    let unknown = gristmill.run(["config", "show", "--json"]).await?;
    assert_eq!(unknown.failure_code()?, "GM-5015");
    Ok(())
}
