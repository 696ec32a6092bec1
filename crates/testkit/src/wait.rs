//! Waiting for conditions rather than for time to pass.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

/// Generous: the machine may be busy with other tests, and a condition that holds ends the wait at once.
const PATIENCE: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is something, and returns it.
///
/// # Errors
/// If that takes four minutes, with the name of what was awaited; or as soon as asking itself fails.
pub async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let asking = async {
        loop {
            if let Some(found) = ask().await? {
                return Ok(found);
            }
            sleep(PAUSE).await;
        }
    };
    timeout(PATIENCE, asking).await.with_context(|| format!("waited in vain for {what}"))?
}
