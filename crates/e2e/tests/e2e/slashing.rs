//! Who does not do its part pays, and who did gets it: each way to fail, in a market of separate processes, to the nRLC.
//!
//! A run costs 0.03 RLC; whoever contributes stakes 0.009 RLC, the scheduler as much, and it keeps 1 % of the workers' reward.
//! Honest workers are real ones; those that do not do their part speak the same link ([`crate::played`]).

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use chain::{Account, Client, MarketEvent, TaskStatus, Update, Wallet, calls};
use orders::{OrderKind, task_id};
use primitives::{Nrlc, ResultDigest, TaskId};
use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::{Apart, ApartConfig, Gristmill, Ran, eventually, programs};
use tokio::task::JoinHandle;
use verdict::money::KITTY;
use wire::market::{MarketClient, OrderQuery};

use crate::played::{Manner, Played};
use crate::{at, gristmill, list, text};

const SAID: &str = "the truth\n";
/// The reveal window of the shortest category, and a second.
const REVEAL_WINDOW_SECONDS: u64 = 2 * 300 + 1;
/// Its final deadline, counted from the deal, and a second.
const FINAL_SECONDS: u64 = 10 * 300 + 1;
/// Which stranger buys; others are workers.
const REQUESTER: u32 = 0;

/// A market with so many honest workers, and somebody who has money to buy there.
struct Stage {
    gristmill: Gristmill,
    market: Apart,
    client: Client,
    requester: PrivateKeySigner,
    purses: Vec<(String, Address, Account)>,
}

/// A purchase under way.
struct Bought {
    task: TaskId,
    outcome: JoinHandle<Result<Ran>>,
}

impl Stage {
    async fn open(honest: u32) -> Result<Self> {
        let gristmill = gristmill()?;
        let config = ApartConfig { workers: honest, vault: false, faults: None };
        let market = Apart::start_with(&gristmill, config).await?;
        let client = market.client().await?;
        let (requester, _) = market.stranger(REQUESTER)?;
        let stage = Self { gristmill, market, client, requester, purses: Vec::new() };
        stage.endow(stage.requester.address()).await?;
        let book = MarketClient::new(&stage.market.market()?, stage.client.chain_id())?;
        let offers = OrderQuery::all(OrderKind::Workerpool);
        eventually("an offer", async || Ok(book.best_order(&offers).await?)).await?;
        Ok(stage)
    }

    /// 1,000 RLC in the hub, of the owner's.
    async fn endow(&self, whom: Address) -> Result<()> {
        let (to, key) = (whom.to_string(), self.market.owner_key_file()?);
        let deposit = ["account", "deposit", "1000RLC", "--to", &to, "--key-file", &key];
        self.market.run(&deposit).await?.ok()?;
        Ok(())
    }

    /// A worker of that manner joins, with stake.
    async fn joined_by(&self, stranger: u32, manner: Manner) -> Result<Played> {
        let (signer, _) = self.market.stranger(stranger)?;
        self.endow(signer.address()).await?;
        let right = ResultDigest(B256::from_slice(&Sha256::digest(SAID)));
        Played::join(&self.market, signer, manner, right).await
    }

    /// From now on, money is counted: of requester, scheduler and kitty, and of these.
    async fn count(&mut self, workers: &[(&str, Address)]) -> Result<()> {
        let scheduler = self.market.owner()?.address();
        let fixed =
            [("requester", self.requester.address()), ("scheduler", scheduler), ("kitty", KITTY)];
        self.purses.clear();
        for (name, address) in fixed.iter().chain(workers) {
            let account = self.client.account(*address).await?;
            self.purses.push(((*name).to_owned(), *address, account));
        }
        Ok(())
    }

    /// How much each has more or less since, in nRLC, in that order. Nothing is locked any more, and nothing came from nowhere.
    async fn check(&self, expected: &[i128]) -> Result<()> {
        let mut changes = Vec::new();
        for (name, address, before) in &self.purses {
            let now = self.client.account(*address).await?;
            let free = *address == KITTY || now.locked == Nrlc::ZERO;
            ensure!(free, "{} of {name} are locked", now.locked);
            changes.push((name.as_str(), held(&now)? - held(before)?));
        }
        let names = self.purses.iter().map(|(name, ..)| name.as_str());
        assert_eq!(changes, names.zip(expected.iter().copied()).collect::<Vec<_>>());
        assert_eq!(changes.iter().map(|(_, change)| change).sum::<i128>(), 0, "money is conserved");
        Ok(())
    }

    /// Buys one run at trust 4, and waits until there is a deal.
    async fn buy(&self) -> Result<Bought> {
        let head = self.client.head().await?;
        let program = self.gristmill.file("greeting.wasm", programs::greeting(SAID)?)?;
        let (_, key) = self.market.stranger(REQUESTER)?;
        let origin = self.market.market()?.to_string();
        let verb = ["run", text(&program), "--json", "--market", &origin, "--key-file", &key];
        let verb: Vec<String> =
            verb.iter().chain(&["--trust", "4"]).map(|part| (*part).to_owned()).collect();
        let gristmill = self.gristmill.clone();
        let outcome = tokio::spawn(async move { gristmill.run(verb).await });
        let mut news = self.client.follow(chain::Cursor { number: head.number, hash: head.hash });
        loop {
            let update = news.next().await.context("the chain is gone")?;
            let Update::Block(block) = update else { continue };
            for event in &block.events {
                if let MarketEvent::DealNotice { deal, .. } = event.event {
                    return Ok(Bought { task: task_id(deal, Default::default()), outcome });
                }
            }
        }
    }

    /// Waits until the task is so on chain.
    async fn until(&self, task: TaskId, is_so: impl Fn(&chain::Task) -> bool) -> Result<()> {
        let what = format!("task {task} to come so far");
        eventually(&what, async || Ok(is_so(&self.client.task(task).await?).then_some(()))).await
    }

    /// Lets the chain's clock run ahead.
    async fn pass(&self, seconds: u64) -> Result<()> {
        self.client.request("evm_increaseTime", json!([seconds])).await?;
        self.client.request("evm_mine", json!([])).await?;
        Ok(())
    }

    fn honest(&self, number: u32) -> Result<Address> {
        self.market.worker(number)
    }
}

impl Bought {
    /// It went well, and the contribution of that worker is told as proved wrong.
    async fn done_against(self, wrong: Address) -> Result<()> {
        let said = self.outcome.await??.ok()?.json()?;
        assert_eq!(at(&said, "/results/0/output")?, SAID);
        let contributions = list(&said, "/receipt/tasks/0/contributions")?;
        let its = contributions.iter().find(|one| one["worker"] == wrong.to_string());
        let its = its.with_context(|| format!("{wrong} did not contribute: {said:#}"))?;
        assert_eq!((&its["accurate"], &its["lostNrlc"]), (&json!(false), &json!("9000000")));
        Ok(())
    }

    /// It was not done in time, and the buyer is told so.
    async fn came_to_nothing(self) -> Result<()> {
        let code = self.outcome.await??.failure_code()?;
        assert!(["GM-4101", "GM-4208"].contains(&code.as_str()), "{code}");
        Ok(())
    }
}

fn held(account: &Account) -> Result<i128> {
    let total = account.stake.0.checked_add(account.locked.0).context("more than there is")?;
    Ok(i128::try_from(total.to::<u128>())?)
}

/// One worker against four fresh ones, whom it takes to be surer than 3 of 4 that it is wrong. The four get its stake.
async fn one_against_four(manner: Manner) -> Result<()> {
    let mut stage = Stage::open(4).await?;
    for number in 1..4 {
        stage.market.kill(&format!("worker-{number}")).await?;
    }
    let wrong = stage.joined_by(1, manner).await?;
    let mut workers = vec![("the wrong one", wrong.address())];
    for number in 0..4 {
        workers.push(("an honest one", stage.honest(number)?));
    }
    stage.count(&workers).await?;
    let bought = stage.buy().await?;
    for number in 1..4 {
        stage.market.restart(&format!("worker-{number}")).await?;
    }
    bought.done_against(wrong.address()).await?;
    let each = 9_652_500;
    stage.check(&[-30_000_000, 390_000, 0, -9_000_000, each, each, each, each]).await
}

#[tokio::test]
async fn a_wrong_result_costs_its_stake_which_goes_to_those_who_were_right() -> Result<()> {
    one_against_four(Manner::Lying).await
}

#[tokio::test]
async fn who_announces_one_thing_and_contributes_another_pays_like_a_liar() -> Result<()> {
    one_against_four(Manner::Equivocating).await
}

#[tokio::test]
async fn who_does_not_reveal_pays_the_one_who_did() -> Result<()> {
    let mut stage = Stage::open(1).await?;
    let silent = stage.joined_by(1, Manner::Unrevealing).await?;
    stage.count(&[("honest", stage.honest(0)?), ("silent", silent.address())]).await?;
    let bought = stage.buy().await?;
    stage.until(bought.task, |task| task.revealed == 1).await?;
    stage.pass(REVEAL_WINDOW_SECONDS).await?;
    bought.done_against(silent.address()).await?;
    stage.check(&[-30_000_000, 390_000, 0, 38_610_000, -9_000_000]).await
}

#[tokio::test]
async fn a_scheduler_that_never_finalizes_pays_and_nobody_else() -> Result<()> {
    let mut stage = Stage::open(1).await?;
    let late = stage.joined_by(1, Manner::Unrevealing).await?;
    stage.count(&[("honest", stage.honest(0)?), ("late", late.address())]).await?;
    let bought = stage.buy().await?;
    let task = bought.task;
    stage.until(task, |task| task.status == TaskStatus::Revealing && task.revealed == 1).await?;
    // For good: it comes back neither to finalize nor to refund.
    stage.market.kill("scheduler").await?;
    late.reveal(task).await?;
    let requester = Wallet::new(&stage.client, stage.requester.clone()).await?;
    let claim = || calls::claim_array(stage.client.hub(), &[task]);
    let early = requester.execute(claim()).await;
    assert!(early.is_err_and(|error| error.is_revert()), "claimed before the deadline");
    stage.pass(FINAL_SECONDS).await?;
    requester.execute(claim()).await?;
    bought.came_to_nothing().await?;
    stage.check(&[0, -9_000_000, 9_000_000, 0, 0]).await
}

#[tokio::test]
async fn results_that_nobody_brings_are_refunded_and_one_who_brings_them_is_enough() -> Result<()> {
    let mut stage = Stage::open(1).await?;
    let first = stage.joined_by(1, Manner::Withholding).await?;
    stage.count(&[("honest", stage.honest(0)?), ("withholding", first.address())]).await?;
    let bought = stage.buy().await?;
    let ran = bought.outcome.await??.ok()?.json()?;
    assert_eq!(at(&ran, "/results/0/output")?, SAID);
    stage.check(&[-30_000_000, 300_000, 0, 14_850_000, 14_850_000]).await?;

    stage.market.kill("worker-0").await?;
    let second = stage.joined_by(2, Manner::Withholding).await?;
    stage.count(&[("one", first.address()), ("another", second.address())]).await?;
    let bought = stage.buy().await?;
    stage.until(bought.task, |task| task.revealed == 2).await?;
    stage.pass(FINAL_SECONDS).await?;
    // Nobody has to ask for it: the scheduler refunds, and pays.
    stage.until(bought.task, |task| task.status == TaskStatus::Failed).await?;
    bought.came_to_nothing().await?;
    stage.check(&[0, -9_000_000, 9_000_000, 0, 0]).await
}
