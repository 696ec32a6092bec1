//! Asking the secret manager for the keys that enclaves sign with.
//!
//! Each task of a deal that demands an enclave has a key of its own, made by the secret manager once the task is
//! initialised. Only its address comes here; the enclave alone receives the key.

use std::time::Duration;

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use futures::StreamExt;
use primitives::TaskId;
use tasks::{Blame, Event, Failure};
use tokio::sync::mpsc;
use wire::ClientError;
use wire::link::Enclave;
use wire::sms::SmsClient;

use crate::config::Config;
use crate::error::Error;

const ASKED_AT_ONCE: usize = 16;
/// A secret manager refuses a task that its node has not seen yet, so a refusal counts when it is repeated.
const REFUSALS_MAX: u32 = 6;
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Asks, and answers with events.
pub(crate) struct Challenges {
    sms: Option<SmsClient>,
    owner: PrivateKeySigner,
    answers: mpsc::Sender<(TaskId, Event)>,
}

impl Challenges {
    pub(crate) fn new(
        config: &Config,
        answers: mpsc::Sender<(TaskId, Event)>,
    ) -> Result<Self, Error> {
        let sms = config.sms.as_ref().map(SmsClient::new).transpose().map_err(Error::Sms)?;
        Ok(Self { sms, owner: config.wallet.signer().clone(), answers })
    }

    pub(crate) async fn run(self, mut asked: mpsc::Receiver<(TaskId, Enclave)>) {
        let this = &self;
        let questions = futures::stream::poll_fn(move |context| asked.poll_recv(context));
        let answering =
            questions.for_each_concurrent(ASKED_AT_ONCE, |(task, enclave)| async move {
                let answer = this.answer(task, enclave).await;
                // Fails only when the scheduler has stopped.
                let _ = this.answers.send((task, answer)).await;
            });
        answering.await;
    }

    async fn answer(&self, task: TaskId, enclave: Enclave) -> Event {
        let Some(sms) = self.sms.as_ref().filter(|_| enclave != Enclave::Unknown) else {
            return Event::Unchallenged { failure: no_enclave(), is_final: true };
        };
        let (mut refusals, mut pause) = (0, PAUSE_MIN);
        loop {
            match sms.enclave_of(task, &self.owner).await {
                Ok(challenge) if challenge == Address::ZERO => {
                    let failure = refused("its answer is the address of nobody");
                    return Event::Unchallenged { failure, is_final: true };
                }
                Ok(challenge) => return Event::Challenged { challenge },
                Err(error) if error.is_retryable() => {
                    return Event::Unchallenged { failure: silent(&error), is_final: false };
                }
                Err(error) => {
                    refusals += 1;
                    if refusals >= REFUSALS_MAX {
                        let failure = refused(&error.to_string());
                        return Event::Unchallenged { failure, is_final: true };
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

fn no_enclave() -> Failure {
    Failure::new(
        Blame::Worker,
        "GM-4241",
        "the deal demands an enclave that this workerpool does not have",
        "buy from a workerpool whose orders carry the tag, or leave the tag out",
    )
}

fn silent(error: &ClientError) -> Failure {
    Failure::new(
        Blame::Worker,
        "GM-4242",
        &format!("the secret manager does not answer: {error}"),
        "the workerpool's operator must see to its secret manager; it is asked again until the deadline",
    )
}

fn refused(reason: &str) -> Failure {
    Failure::new(
        Blame::Worker,
        "GM-4243",
        &format!("the secret manager makes no key for this task's enclave: {reason}"),
        "the workerpool's operator must see to its secret manager; buy the run again",
    )
}
