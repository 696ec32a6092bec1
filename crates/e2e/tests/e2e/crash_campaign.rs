//! Kills in a storm, and nothing is lost: `cargo xtask crash` in little, with a seed of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use testkit::campaign::Campaign;

use crate::gristmill;

const KILLS: usize = 100;
const SEED: u64 = 20_260;
/// Only so that a machine which hardly moves ends at all.
const LIMIT: Duration = Duration::from_secs(1_800);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_a_storm_lose_nothing() -> Result<()> {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = {
        let events = Arc::clone(&events);
        Arc::new(move |line: &str| events.lock().push(line.to_owned()))
    };
    let campaign = Campaign { seed: SEED, kills: KILLS, limit: LIMIT };
    let outcome = campaign.run(&gristmill()?, log).await?;
    let told = || format!("{:#?}\n{}", outcome.lost, events.lock().join("\n"));
    assert!(outcome.lost.is_empty(), "seed {SEED}: {outcome}\n{}", told());
    assert_eq!(outcome.kills, KILLS, "{outcome}");
    assert!(outcome.completed > 0 && outcome.secrets > 0, "nothing was at stake: {outcome}");
    Ok(())
}
