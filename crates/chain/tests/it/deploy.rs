//! Putting up a market, whatever happens on the way.

use std::io;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use alloy_signer_local::PrivateKeySigner;
use chain::deploy::{
    self, DeployConfig, Deployment, Keep, Site, SiteError, SiteOptions, StepRecord, Token, verify,
};
use chain::{Client, TxRequest, Wallet};
use devchain::Mining;
use serde_json::json;

use crate::embedded::Embedded;

/// Blocks come by themselves, as on any real chain.
const BLOCKS: Mining = Mining::Interval(20);
const STEPS: u64 = 16;
const STEPS_OF_OWNER: u64 = 4;

fn options() -> SiteOptions {
    SiteOptions { poll_interval: Duration::from_millis(5), ..SiteOptions::default() }
}

fn config() -> DeployConfig {
    DeployConfig::new(deploy::all_to(Address::repeat_byte(9)))
}

/// A memory that survives whoever writes into it, and in which writing may be what kills him.
#[derive(Default)]
struct Memory {
    kept: Option<Deployment>,
    done: Vec<String>,
    /// Writes left until the end; none means for ever.
    lives: Option<usize>,
    /// Told when the end has come.
    end: tokio::sync::Notify,
    /// Whether the end comes before the last thing is written, as an error.
    refuses: bool,
}

impl Keep for &mut Memory {
    fn keep(&mut self, deployment: &Deployment) -> io::Result<()> {
        if let Some(lives) = &mut self.lives {
            *lives = lives.saturating_sub(1);
            if *lives == 0 {
                self.end.notify_one();
                if self.refuses {
                    return Err(io::Error::other("the disk is full"));
                }
            }
        }
        // As JSON, because that is how it is kept.
        let text = serde_json::to_string(deployment).unwrap();
        self.kept = Some(serde_json::from_str(&text).unwrap());
        Ok(())
    }

    fn done(&mut self, step: &StepRecord, _done: usize, _all: usize) {
        self.done.push(step.name.clone());
    }
}

async fn site(node: &Embedded, config: DeployConfig, memory: &Memory) -> Result<Site, SiteError> {
    Site::survey(&node.http, node.signer(0), config, memory.kept.clone(), options()).await
}

async fn build(
    node: &Embedded,
    config: DeployConfig,
    memory: &mut Memory,
) -> Result<Deployment, SiteError> {
    let mut site = site(node, config, memory).await?;
    let mut keeper = memory;
    site.build(&mut keeper).await
}

/// What is wrong, by name of the check.
async fn troubles(node: &Embedded, deployment: &Deployment) -> Vec<String> {
    let client = Client::connect_bare(&node.http).await.unwrap();
    let checks = verify(&client, deployment, &config()).await.unwrap();
    assert!(checks.len() >= 3, "{checks:?}");
    checks.into_iter().filter(|check| check.trouble.is_some()).map(|check| check.what).collect()
}

async fn assert_sound(node: &Embedded, deployment: &Deployment) {
    assert_eq!(troubles(node, deployment).await, [""; 0], "{deployment:#?}");
    let contracts = deployment.contracts.unwrap();
    let client = Client::connect(&node.ws, contracts.hub).await.unwrap();
    assert_eq!(client.contracts(), contracts);
    assert_eq!(client.category_count().await.unwrap(), 5);
}

#[tokio::test]
async fn a_market_is_put_up_step_by_step_on_a_chain_that_takes_its_time() {
    let node = Embedded::start(BLOCKS).await;
    let mut memory = Memory::default();
    let deployment = build(&node, config(), &mut memory).await.unwrap();
    assert!(deployment.complete);
    assert_eq!(memory.kept.as_ref(), Some(&deployment));
    assert_eq!(memory.done.len() as u64, STEPS);
    assert_eq!(node.nonce(node.signer(0).address()).await, STEPS);
    assert_sound(&node, &deployment).await;
    // Asked again, there is nothing left to do.
    assert_eq!(build(&node, config(), &mut memory).await.unwrap(), deployment);
    assert_eq!(node.nonce(node.signer(0).address()).await, STEPS);
}

#[tokio::test]
async fn it_may_take_an_existing_token_and_another_owner() {
    let node = Embedded::start(Mining::Instant).await;
    let first = build(&node, config(), &mut Memory::default()).await.unwrap();
    let token = first.contracts.unwrap().rlc;
    let owner = Some(Address::repeat_byte(7));
    let wanted = DeployConfig { owner, ..DeployConfig::with_token(Token::Existing(token)) };
    let second = build(&node, wanted, &mut Memory::default()).await.unwrap();
    assert_eq!(second.contracts.unwrap().rlc, token);
    assert_ne!(second.contracts.unwrap().hub, first.contracts.unwrap().hub);
    assert_eq!(second.owner, Address::repeat_byte(7));
    assert_sound(&node, &second).await;
    let sent = STEPS + STEPS - 1 + STEPS_OF_OWNER;
    assert_eq!(node.nonce(node.signer(0).address()).await, sent);
}

/// Killed wherever something is written: before it is written, right after, and some time after.
#[tokio::test]
async fn killed_at_any_moment_it_goes_on_and_puts_up_nothing_twice() {
    let node = Embedded::start(BLOCKS).await;
    let mut memory = Memory::default();
    let mut runs = 0_usize;
    let deployment = loop {
        runs += 1;
        assert!(runs < 200, "no progress: {:#?}", memory.kept);
        memory.lives = Some(2 + runs % 2);
        memory.refuses = runs.is_multiple_of(3);
        let mut site = site(&node, config(), &memory).await.unwrap();
        let end = std::mem::take(&mut memory.end);
        let end = std::sync::Arc::new(end);
        let mut reaper = Reaper { memory: &mut memory, end: std::sync::Arc::clone(&end) };
        let killed = async {
            end.notified().await;
            // Long enough for what was kept to be sent, or to be mined as well.
            tokio::time::sleep(Duration::from_millis([0, 3, 40][runs % 3])).await;
        };
        tokio::select! {
            outcome = site.build(&mut reaper) => match outcome {
                Ok(deployment) => break deployment,
                Err(error) => assert!(matches!(error, SiteError::Keep(_)), "{error}"),
            },
            () = killed => {}
        }
    };
    assert!(runs > 10, "it was hardly killed: {runs}");
    assert_eq!(node.nonce(node.signer(0).address()).await, STEPS);
    assert_sound(&node, &deployment).await;
}

/// A memory whose end can be waited for while it is in use.
struct Reaper<'a> {
    memory: &'a mut Memory,
    end: std::sync::Arc<tokio::sync::Notify>,
}

impl Keep for Reaper<'_> {
    fn keep(&mut self, deployment: &Deployment) -> io::Result<()> {
        let mut memory = &mut *self.memory;
        let kept = Keep::keep(&mut memory, deployment);
        if self.memory.lives == Some(0) {
            self.end.notify_one();
        }
        kept
    }
}

#[tokio::test]
async fn a_nonce_that_went_to_something_else_costs_a_step_and_not_the_market() {
    let node = Embedded::start(Mining::Instant).await;
    // Written down and never sent.
    let mut memory = Memory { lives: Some(2), ..Memory::default() };
    let mut site = site(&node, config(), &memory).await.unwrap();
    let end = std::sync::Arc::new(tokio::sync::Notify::new());
    let mut reaper = Reaper { memory: &mut memory, end: std::sync::Arc::clone(&end) };
    node.ask("evm_setAutomine", json!([false])).await;
    tokio::select! {
        biased;
        () = end.notified() => {}
        outcome = site.build(&mut reaper) => panic!("{outcome:?}"),
    }
    node.ask("anvil_dropAllTransactions", json!([])).await;
    node.ask("evm_setAutomine", json!([true])).await;
    assert_eq!(memory.kept.as_ref().unwrap().steps.len(), 1);
    let wallet = Wallet::new(&node.bare().await, node.signer(0)).await.unwrap();
    let gift = TxRequest::call(Address::repeat_byte(3), Vec::new()).gas(21_000);
    wallet.execute(gift.value(U256::from(1))).await.unwrap();

    memory.lives = None;
    let deployment = build(&node, config(), &mut memory).await.unwrap();
    assert_eq!(node.nonce(node.signer(0).address()).await, STEPS + 1);
    assert_sound(&node, &deployment).await;
}

#[tokio::test]
async fn an_overdue_step_is_offered_at_a_higher_fee() {
    let node = Embedded::start(Mining::Manual).await;
    let impatient = SiteOptions { resubmit_after: Duration::from_millis(50), ..options() };
    let mut site =
        Site::survey(&node.http, node.signer(0), config(), None, impatient).await.unwrap();
    let (attempts, mut tried) = tokio::sync::watch::channel(0);
    let mut counter = Counter(attempts);
    let mining = async {
        tried.wait_for(|attempts| *attempts > 1).await.unwrap();
        node.ask("evm_setAutomine", json!([true])).await;
        node.ask("evm_mine", json!([])).await;
        std::future::pending::<()>().await;
    };
    let deployment = tokio::select! {
        deployment = site.build(&mut counter) => deployment.unwrap(),
        () = mining => unreachable!(),
    };
    let first = &deployment.steps[0];
    assert!(first.attempts.len() > 1 && first.attempts[1].fee > first.attempts[0].fee, "{first:?}");
    assert_eq!(node.nonce(node.signer(0).address()).await, STEPS);
    assert_sound(&node, &deployment).await;
}

/// Counts how often the first step was offered.
struct Counter(tokio::sync::watch::Sender<usize>);

impl Keep for Counter {
    fn keep(&mut self, deployment: &Deployment) -> io::Result<()> {
        self.0.send_replace(deployment.steps.first().map_or(0, |step| step.attempts.len()));
        Ok(())
    }
}

#[tokio::test]
async fn what_was_begun_elsewhere_or_otherwise_is_not_continued() {
    let node = Embedded::start(Mining::Instant).await;
    let mut memory = Memory::default();
    build(&node, config(), &mut memory).await.unwrap();
    let refused = async |node: &Embedded, config, signer: PrivateKeySigner| {
        let kept = memory.kept.clone();
        let site = Site::survey(&node.http, signer, config, kept, options()).await;
        site.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let other = Embedded::of(5).await;
    let said = refused(&other, config(), other.signer(0)).await;
    assert_eq!(said, "it was begun on chain 31337, and this is chain 5");
    let said = refused(&node, config(), node.signer(1)).await;
    assert!(said.starts_with("it was begun with another deployer"), "{said}");
    let owner = Some(Address::repeat_byte(7));
    let said = refused(&node, DeployConfig { owner, ..config() }, node.signer(0)).await;
    assert!(said.starts_with("it was begun with another owner"), "{said}");
    let mut twin = memory.kept.clone().unwrap();
    twin.genesis = alloy_primitives::B256::repeat_byte(1);
    let site = Site::survey(&node.http, node.signer(0), config(), Some(twin), options()).await;
    assert!(matches!(site.err(), Some(SiteError::OtherHistory(31_337))));
}

#[tokio::test]
async fn who_cannot_pay_is_told_how_much_is_missing_before_anything_is_sent() {
    let node = Embedded::start(Mining::Instant).await;
    let poor = PrivateKeySigner::random();
    let some = U256::from(1_000_000_000_000_u64);
    node.ask("anvil_setBalance", json!([poor.address(), some])).await;
    let mut site = Site::survey(&node.http, poor.clone(), config(), None, options()).await.unwrap();
    let mut memory = Memory::default();
    let Err(SiteError::NoMoney { deployer, cost }) = site.build(&mut &mut memory).await else {
        panic!("it has no money")
    };
    assert_eq!((deployer, cost.has), (poor.address(), some));
    assert!(cost.needs > some && cost.missing() == cost.needs - some);
    assert_eq!(memory.kept, None);

    // What is asked for is enough, and not three times what is used.
    node.ask("anvil_setBalance", json!([poor.address(), cost.needs])).await;
    let deployment = site.build(&mut &mut memory).await.unwrap();
    let used: u64 =
        deployment.steps.iter().filter_map(|step| step.mined).map(|it| it.gas_used).sum();
    assert!(used > 10_000_000, "{used}");
    let left = site.client().ether(poor.address()).await.unwrap();
    assert!(left * U256::from(3) < cost.needs * U256::from(2), "{left} of {}", cost.needs);
}

#[tokio::test]
async fn whatever_is_not_as_it_should_be_is_found() {
    let node = Embedded::start(Mining::Instant).await;
    let deployment = build(&node, config(), &mut Memory::default()).await.unwrap();
    let contracts = deployment.contracts.unwrap();
    let address = |name: &str| {
        deployment.steps.iter().find(|step| step.name == name).unwrap().address.unwrap()
    };

    let mut other = deployment.clone();
    other.owner = Address::repeat_byte(1);
    let found = troubles(&node, &other).await;
    assert!(found.contains(&"hub's owner".to_owned()), "{found:?}");
    assert!(found.contains(&"owner of appRegistry".to_owned()), "{found:?}");

    let mut other = deployment.clone();
    other.chain_id = 1;
    assert_eq!(troubles(&node, &other).await, ["chain id"]);

    let mut half = deployment.clone();
    half.complete = false;
    half.steps.retain(|step| step.name != "datasetRegistry");
    assert_eq!(troubles(&node, &half).await, ["every contract has an address"]);

    // One byte of the hub's code is another.
    let implementation = address("hubImplementation");
    let code = node.ask("eth_getCode", json!([implementation, "latest"])).await;
    let mut changed: alloy_primitives::Bytes = serde_json::from_value(code.clone()).unwrap();
    let mut bytes = changed.to_vec();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    changed = bytes.into();
    node.ask("anvil_setCode", json!([implementation, changed])).await;
    assert_eq!(troubles(&node, &deployment).await, ["code of hubImplementation"]);
    node.ask("anvil_setCode", json!([implementation, code])).await;
    assert_sound(&node, &deployment).await;

    // Registries swapped in the record.
    let mut swapped = deployment.clone();
    for step in &mut swapped.steps {
        if step.name == "appRegistry" {
            step.address = Some(contracts.dataset_registry);
        }
    }
    let found = troubles(&node, &swapped).await;
    assert!(found.contains(&"code of appRegistry".to_owned()), "{found:?}");
    assert!(found.contains(&"hub's apps".to_owned()), "{found:?}");
}
