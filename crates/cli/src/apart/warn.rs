//! What a worker's operator is told while the worker runs on: what makes it earn nothing, and would otherwise show in nothing but
//! silence. Not here: failures that end it.

use std::time::Duration;

use alloy_primitives::Address;
use chain::Client;
use primitives::Nrlc;
use tokio::sync::watch;
use url::Url;
use worker::LinkState;

use crate::failure::{Exit, Failure};

/// A worker that is away for so long is told of: longer than a scheduler takes to be started again.
const AWAY: Duration = Duration::from_secs(15);

/// Says that the scheduler is out of reach, once for each time, and when that has ended.
pub(super) async fn if_alone(mut state: watch::Receiver<LinkState>, scheduler: Url) {
    loop {
        let here = state.wait_for(|state| *state != LinkState::Connecting);
        let settled = tokio::time::timeout(AWAY, here).await.map(|here| here.map(|state| *state));
        let settled = match settled {
            Ok(settled) => settled,
            Err(_) => {
                eprintln!("{}", alone(&scheduler).as_warning());
                let here = state.wait_for(|state| *state != LinkState::Connecting).await;
                let settled = here.map(|state| *state);
                if matches!(settled, Ok(LinkState::Connected)) {
                    eprintln!("the scheduler at {scheduler} has let this worker in");
                }
                settled
            }
        };
        let is_over = !matches!(settled, Ok(LinkState::Connected))
            || state.wait_for(|state| *state != LinkState::Connected).await.is_err();
        if is_over {
            return;
        }
    }
}

fn alone(scheduler: &Url) -> Failure {
    Failure::new("GM-4513", Exit::Market, format!("no scheduler at {scheduler} lets this worker in"))
        .because(format!("for {} s; it is tried on and on", AWAY.as_secs()))
        .fix("check worker.scheduler and worker.workerpool, and that the scheduler runs; gristmill worker -vv says more")
}

/// Says that the account can put nothing at stake, or cannot pay for gas.
pub(super) async fn if_poor(client: Client, worker: Address) {
    let (Ok(account), Ok(ether)) = tokio::join!(client.account(worker), client.ether(worker))
    else {
        // A chain that does not answer is told of elsewhere.
        return;
    };
    for lack in lacks(
        worker,
        account.stake.checked_add(account.locked).unwrap_or(Nrlc::MAX),
        ether.is_zero(),
    ) {
        eprintln!("{}", lack.as_warning());
    }
}

fn lacks(worker: Address, stake: Nrlc, has_no_ether: bool) -> Vec<Failure> {
    let what = |lack: &str| {
        Failure::new("GM-4514", Exit::Market, format!("the worker's account {worker} has {lack}"))
    };
    let mut lacks = Vec::new();
    if stake == Nrlc::ZERO {
        lacks.push(
            what("nothing at stake")
                .because("a worker locks a part of a task's price before it is paid; without, it does only what is free")
                .fix(format!("gristmill account deposit 1000RLC --to {worker} --key-file FILE, with the key of an account that has RLC")),
        );
    }
    if has_no_ether {
        lacks.push(
            what("no ether")
                .because("it pays for its transactions' gas")
                .fix("send it some of the chain's own money"),
        );
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stake: Nrlc, has_no_ether: bool, expected: &[&str]) {
        let told: Vec<String> =
            lacks(Address::ZERO, stake, has_no_ether).iter().map(Failure::as_warning).collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, part) in told.iter().zip(expected) {
            assert!(told.starts_with("warning[GM-4514]") && told.contains(part), "{told}");
        }
    }

    #[test]
    fn what_a_worker_lacks_is_named() {
        check(Nrlc::new(1), false, &[]);
        check(Nrlc::ZERO, false, &["nothing at stake"]);
        check(Nrlc::ZERO, true, &["nothing at stake", "no ether"]);
    }
}
