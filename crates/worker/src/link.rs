//! What a worker says, whether or not there is a connection at the moment.

use std::sync::Arc;

use tokio::sync::watch;
use wire::link::{LinkSender, ToScheduler};

/// The connection as far as others need it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    sender: LinkSender<ToScheduler>,
    /// What the scheduler understands.
    revision: u32,
    /// For uploads.
    pub(crate) token: Arc<str>,
}

/// Speaks to the scheduler. What is said without a connection is not queued here: the table keeps the last word about
/// every task and says it again when there is one.
#[derive(Debug)]
pub(crate) struct Voice {
    line: watch::Sender<Option<Line>>,
}

impl Voice {
    pub(crate) fn new() -> Self {
        Self { line: watch::channel(None).0 }
    }

    /// There is a connection.
    pub(crate) fn attach(&self, sender: LinkSender<ToScheduler>, token: String, revision: u32) {
        self.line.send_replace(Some(Line { sender, revision, token: token.into() }));
    }

    /// There is none.
    pub(crate) fn detach(&self) {
        self.line.send_replace(None);
    }

    /// Says it, if there is a connection.
    pub(crate) async fn say(&self, word: &ToScheduler) {
        let line = self.line.borrow().clone();
        if let Some(line) = line
            && let Err(error) = line.sender.send(word).await
        {
            tracing::debug!(%error, "not heard; it is said again on the next connection");
        }
    }

    /// Whether there is a connection, to a scheduler that understands what came with the first revision.
    pub(crate) fn is_understood(&self) -> bool {
        self.line.borrow().as_ref().is_some_and(|line| line.revision >= 1)
    }

    /// Says it if there is a scheduler that understands it.
    pub(crate) async fn say_new(&self, word: &ToScheduler) {
        if self.is_understood() {
            self.say(word).await;
        }
    }

    /// Says it in passing: if there is a scheduler that understands it and keeps up.
    pub(crate) fn mention(&self, word: &ToScheduler) {
        let line = self.line.borrow().clone();
        if let Some(line) = line.filter(|line| line.revision >= 1) {
            // What is lost here was worth no more than that.
            let _ = line.sender.try_send(word);
        }
    }

    /// Waits until what was said is on its way.
    pub(crate) async fn flushed(&self) {
        let line = self.line.borrow().clone();
        if let Some(line) = line {
            line.sender.flushed().await;
        }
    }

    /// The connection, waited for.
    pub(crate) async fn line(&self) -> Option<Line> {
        let mut line = self.line.subscribe();
        line.wait_for(Option::is_some).await.ok().and_then(|line| line.clone())
    }
}
