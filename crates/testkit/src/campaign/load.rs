//! A steady, bounded load: a few requesters who each buy one job after the other with `gristmill run`, and somebody who
//! leaves secrets at the vault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result};
use parking_lot::Mutex;
use seal::Secret;
use seal::challenge::SecretId;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use wire::sms::{SmsClient, Write};

use crate::apart::Apart;
use crate::command::Gristmill;
use crate::dice::Dice;
use crate::programs;

/// Turns of a program that takes a moment.
const TURNS: u64 = 8_000_000;
/// What the words of every good program are.
pub(super) const WORDS: &str = "ground to flour\n";
/// A requester who has waited so long walks away, as one whose laptop is closed.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_MAX: u64 = 500;
const SECRET_PAUSE: Duration = Duration::from_millis(400);

/// Programs that end badly, by the name their app has.
pub(super) const BAD: [&str; 2] = ["trap", "quitter"];

/// A sort of job.
#[derive(Debug)]
struct Job {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// What is printed by every task, if it ends well.
    words: Option<&'static str>,
}

/// Everything that may be bought, and how often it is.
pub(super) struct Menu {
    jobs: Vec<(u32, Job)>,
}

impl Menu {
    /// Writes the programs and inputs into the home.
    pub(super) fn new(gristmill: &Gristmill) -> Result<Self> {
        let greeting = gristmill.file("greeting.wasm", programs::greeting(WORDS)?)?;
        let slow = gristmill.file("slow.wasm", programs::slow_greeting(WORDS, TURNS)?)?;
        let trap = gristmill.file("trap.wasm", programs::trap()?)?;
        let quitter = gristmill.file("quitter.wasm", programs::quitter()?)?;
        let first = gristmill.file("first.csv", "1,2,3\n")?.display().to_string();
        let second = gristmill.file("second input.csv", "4,5,6\n")?.display().to_string();
        let job = |name, program: &PathBuf, arguments: &[&str]| Job {
            name,
            program: program.clone(),
            arguments: arguments.iter().map(|part| (*part).to_owned()).collect(),
            words: Some(WORDS),
        };
        let bad = |name, program| Job { words: None, ..job(name, program, &[]) };
        Ok(Self {
            jobs: vec![
                (5, job("quick", &greeting, &[])),
                (3, job("slow", &slow, &[])),
                (3, job("bag", &greeting, &["--tasks", "7"])),
                (2, job("slow bag", &slow, &["--tasks", "5"])),
                (3, job("trusted", &greeting, &["--trust", "4"])),
                (2, job("trusted bag", &slow, &["--trust", "4", "--tasks", "3"])),
                (2, job("inputs", &greeting, &["--input", &first, "--input", &second])),
                (1, bad("trap", &trap)),
                (1, bad("quitter", &quitter)),
            ],
        })
    }
}

/// What requesters saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By the job's name and how `gristmill run` ended.
    pub(super) outcomes: BTreeMap<String, usize>,
    /// Tasks that were said to be done, paid and checked.
    pub(super) done: Vec<String>,
    /// Results that were not what was bought.
    pub(super) wrong: Vec<String>,
    /// Secrets that the vault said it has.
    pub(super) secrets: Vec<SecretId>,
}

/// The load, running.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) market: Arc<Apart>,
    pub(super) gristmill: Gristmill,
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) stop: CancellationToken,
}

impl Load {
    /// Buys until it is stopped; what is being bought then is waited for.
    pub(super) async fn buy(self, seed: u64, number: u32, menu: Arc<Menu>) -> Result<()> {
        let (_, key_file) = self.market.stranger(number)?;
        let mut dice = Dice::new(seed, &format!("requester-{number}"));
        while !self.stop.is_cancelled() {
            let job = dice.choose(&menu.jobs).context("something to buy")?;
            let pause = Duration::from_millis(dice.below(PAUSE_MAX));
            self.buy_one(job, &key_file).await?;
            self.stop.run_until_cancelled(sleep(pause)).await;
        }
        Ok(())
    }

    async fn buy_one(&self, job: &Job, key_file: &str) -> Result<()> {
        let program = job.program.display().to_string();
        let market = self.market.market()?.to_string();
        let fixed = ["run", &program, "--json", "--market", &market, "--key-file", key_file];
        let arguments = fixed.into_iter().chain(job.arguments.iter().map(String::as_str));
        // What the requester is told when trouble comes is not judged here; the chain is asked at the end.
        let Ok(ran) = timeout(PATIENCE, self.gristmill.run(arguments)).await else {
            self.count(format!("{}: walked away", job.name));
            return Ok(());
        };
        let ran = ran?;
        if ran.code != Some(0) {
            let code = ran.failure_code().unwrap_or_else(|_| format!("{:?}", ran.code));
            self.count(format!("{}: {code}", job.name));
            return Ok(());
        }
        let said = ran.json()?;
        let mut seen = self.seen.lock();
        for task in said["receipt"]["tasks"].as_array().into_iter().flatten() {
            seen.done.push(task["task"].as_str().unwrap_or_default().to_owned());
        }
        for result in said["results"].as_array().into_iter().flatten() {
            if result["output"].as_str() != job.words {
                seen.wrong.push(format!("{}: {result}", job.name));
            }
        }
        drop(seen);
        self.count(format!("{}: done", job.name));
        Ok(())
    }

    fn count(&self, outcome: String) {
        *self.seen.lock().outcomes.entry(outcome).or_default() += 1;
    }

    /// Leaves one secret after the other at the vault.
    pub(super) async fn confide(self, owner: PrivateKeySigner) -> Result<()> {
        let client = SmsClient::new(&self.market.vault()?)?;
        let mut number = 0_u64;
        while !self.stop.is_cancelled() {
            let id = SecretId::Requester { owner: owner.address(), key: format!("s{number}") };
            let value = Secret::new(format!("value {number}"));
            number += 1;
            if client.put(&id, &value, Write::Create, &owner).await.is_ok() {
                self.seen.lock().secrets.push(id);
            }
            self.stop.run_until_cancelled(sleep(SECRET_PAUSE)).await;
        }
        Ok(())
    }
}
