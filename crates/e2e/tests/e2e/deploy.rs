//! Somebody puts a market's contracts on a chain that is there already.

use std::time::Duration;

use alloy_primitives::{B256, U256};
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use chain::{Client, TxRequest, Wallet};
use serde_json::Value;
use testkit::{Gristmill, House, HouseConfig};

use crate::{at, gristmill, list};

/// A chain whose blocks come by themselves, and somebody with ether on it.
struct Site {
    house: House,
    rpc: String,
    key: PrivateKeySigner,
}

impl Site {
    async fn open(ether: u64) -> Result<Self> {
        let gristmill = gristmill()?;
        let arguments = ["--block-time-ms", "50"].map(str::to_owned).into();
        let config = HouseConfig { workers: 1, arguments, ..HouseConfig::default() };
        let house = House::start(&gristmill, config).await?;
        let key = PrivateKeySigner::random();
        let secret: B256 = key.to_bytes();
        gristmill.file("key", secret.to_string())?;
        let client = Client::connect_bare(&house.ws()?).await?;
        let rich = Wallet::new(&client, house.key(3)?).await?;
        let wei = U256::from(ether) * U256::from(10).pow(U256::from(15));
        rich.execute(TxRequest::call(key.address(), Vec::new()).gas(21_000).value(wei)).await?;
        let rpc = at(house.said(), "/rpc")?.as_str().context("an address")?.to_owned();
        Ok(Self { house, rpc, key })
    }

    fn gristmill(&self) -> &Gristmill {
        self.house.gristmill()
    }

    fn command<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let fixed = ["chain", "deploy", "--rpc", &self.rpc, "--out", "market.json", "--json"];
        fixed.into_iter().chain(more.iter().copied()).collect()
    }

    /// Runs it to its end, which is to be a success.
    async fn deploy(&self, more: &[&str]) -> Result<Value> {
        let command = self.command(&[&["--key-file", "key"], more].concat());
        self.gristmill().run(command).await?.ok()?.json()
    }

    /// Runs it to its end, and gives the code of the failure.
    async fn refusal(&self, more: &[&str]) -> Result<String> {
        let said = self.gristmill().run(self.command(more)).await?.json()?;
        Ok(at(&said, "/error/code")?.as_str().unwrap_or_default().to_owned())
    }

    async fn nonce(&self) -> Result<u64> {
        let client = Client::connect_bare(&self.house.ws()?).await?;
        let params = serde_json::json!([self.key.address(), "latest"]);
        let count = client.request("eth_getTransactionCount", params).await?;
        let count = count.as_str().context("a number")?.trim_start_matches("0x").to_owned();
        Ok(u64::from_str_radix(&count, 16)?)
    }
}

#[tokio::test]
async fn killed_again_and_again_it_puts_up_one_market() -> Result<()> {
    let site = Site::open(1_000).await?;
    let command = site.command(&["--key-file", "key"]);
    // Each run gets a little farther, or ends in the midst of something.
    for run in 0_u64.. {
        let patience = Duration::from_millis(300 + 170 * (run % 4) + 100 * (run / 4));
        let running = site.gristmill().run(command.iter().copied());
        // Dropped is killed, without a chance to put anything in order.
        let Ok(ended) = tokio::time::timeout(patience, running).await else { continue };
        let ended = ended?;
        if ended.code == Some(0) {
            break;
        }
        // The one before may take a moment to be dead.
        ensure!(ended.stdout.contains("GM-3208"), "{ended:?}");
    }
    let deployment = site.deploy(&[]).await?;
    let steps = list(&deployment, "/steps")?.len();
    assert_eq!(at(&deployment, "/complete")?, true);
    assert_eq!(site.nonce().await?, u64::try_from(steps)?, "nothing was sent twice");

    let hub = at(&deployment, "/contracts/hub")?.as_str().context("a hub")?.parse()?;
    let client = Client::connect(&site.house.ws()?, hub).await?;
    assert_eq!(client.category_count().await?, 5);
    assert_eq!(at(&deployment, "/contracts/rlc")?, &serde_json::json!(client.rlc()));
    Ok(())
}

#[tokio::test]
async fn whoever_has_the_file_can_check_and_whatever_is_wrong_has_a_code() -> Result<()> {
    let site = Site::open(1_000).await?;
    assert_eq!(site.refusal(&[]).await?, "GM-3201");
    assert_eq!(site.refusal(&["--key-file", "nowhere"]).await?, "GM-3201");
    assert_eq!(site.refusal(&["--key-file", "key", "--chain-id", "1"]).await?, "GM-3203");
    assert_eq!(site.refusal(&["--verify"]).await?, "GM-3208");
    let nobody = site.key.address().to_string();
    assert_eq!(site.refusal(&["--key-file", "key", "--token", &nobody]).await?, "GM-3209");
    let elsewhere = ["chain", "deploy", "--rpc", "http://127.0.0.1:1", "--json"];
    let said = site.gristmill().run(elsewhere).await?.json()?;
    assert_eq!(at(&said, "/error/code")?, "GM-3202");

    let poor = PrivateKeySigner::random().to_bytes().to_string();
    site.gristmill().file("poor", poor)?;
    assert_eq!(site.refusal(&["--key-file", "poor"]).await?, "GM-3205");

    let rlc = at(site.house.said(), "/contracts/rlc")?.as_str().context("RLC")?.to_owned();
    let owner = site.house.address("/accounts/1/address")?.to_string();
    let terms = ["--token", &rlc, "--owner", &owner, "--chain-json", "chain.json"];
    let deployment = site.deploy(&terms).await?;
    assert_eq!(at(&deployment, "/contracts/rlc")?, &Value::from(rlc.to_lowercase()));
    let chain = std::fs::read_to_string(site.gristmill().home().join("chain.json"))?;
    let chain: Value = serde_json::from_str(&chain)?;
    let hub = at(&deployment, "/contracts/hub")?.as_str().unwrap_or_default();
    let told = at(&chain, "/chains/gristmill/hub")?.as_str().unwrap_or_default();
    assert_eq!(told.to_lowercase(), hub.to_lowercase());

    let checked = site.gristmill().run(site.command(&["--verify"])).await?.ok()?.json()?;
    assert!(list(&checked, "/checks")?.len() > 30);
    assert_eq!(site.refusal(&["--key-file", "key"]).await?, "GM-3204");

    // A file that lies about the owner does not stand up to a look.
    let path = site.gristmill().home().join("market.json");
    let kept = std::fs::read_to_string(&path)?;
    let mut lie: Value = serde_json::from_str(&kept)?;
    lie["owner"] = Value::from(nobody);
    std::fs::write(&path, lie.to_string())?;
    assert_eq!(site.refusal(&["--verify"]).await?, "GM-3207");
    std::fs::write(&path, "{}")?;
    assert_eq!(site.refusal(&["--verify"]).await?, "GM-3208");
    Ok(())
}
