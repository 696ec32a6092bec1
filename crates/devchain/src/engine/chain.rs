//! The way to the writer for everybody else.

use std::{sync::Arc, thread};

use alloy_primitives::B256;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{Command, Engine, Submission};
use crate::{Error, pool::Rejection, shared::Shared};

/// Commands that may wait for the writer. Senders wait when it is full.
const QUEUE: usize = 8_192;

/// The writer has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the chain has stopped")]
pub(crate) struct Gone;

/// Reads from what is shared, asks the writer for everything else. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) shared: Arc<Shared>,
    commands: Arc<Mutex<Option<mpsc::Sender<Command>>>>,
}

impl Chain {
    /// Starts the writer on a thread of its own, which blocks on the disk so that no runtime's thread has to.
    pub(crate) fn start(
        engine: Engine,
        shared: Arc<Shared>,
    ) -> Result<(Self, thread::JoinHandle<()>), Error> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|_| Error::Stopped)?;
        let thread = thread::Builder::new()
            .name("devchain-writer".into())
            .spawn(move || runtime.block_on(engine.run(queue)))
            .map_err(|_| Error::Stopped)?;
        Ok((Self { shared, commands: Arc::new(Mutex::new(Some(commands))) }, thread))
    }

    /// Hands in a transaction. Answers when it is mined, if mining is instant; else when it is in the pool.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<B256, Rejection> {
        let gone = || Rejection::Internal(Gone.to_string());
        let (reply, answer) = oneshot::channel();
        self.send(Command::Submit { submission, reply }).await.map_err(|Gone| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Does `run` in the writer, after everything that was asked before.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |engine: &mut Engine| drop(reply.send(run(engine))));
        self.send(Command::Run(run)).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Takes no more commands. The writer finishes those it has and ends.
    pub(crate) fn close(&self) {
        self.commands.lock().take();
    }

    async fn send(&self, command: Command) -> Result<(), Gone> {
        let sender = self.commands.lock().clone().ok_or(Gone)?;
        sender.send(command).await.map_err(|_| Gone)
    }
}
