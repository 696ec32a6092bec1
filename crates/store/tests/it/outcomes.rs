//! How tasks ended, by workerpool.

use alloy_primitives::{Address, B256, U256};
use primitives::TaskId;
use store::{Change, OutcomeRow, Store, TrackRecord};

use crate::{empty, wallet};

fn outcome(number: u64, completed: bool, latency_s: u64) -> OutcomeRow {
    OutcomeRow {
        task: TaskId(B256::from(U256::from(number))),
        workerpool: wallet(1),
        block_number: number,
        completed,
        latency_s,
    }
}

async fn check(store: &Store, of: Address, completed: u64, failed: u64, median: Option<u64>) {
    let expected = TrackRecord { completed, failed, median_latency_s: median };
    assert_eq!(store.track_record(of).await.expect("reads"), expected);
}

#[tokio::test]
async fn a_workerpool_is_known_by_its_last_tasks() {
    let store = empty().await;
    check(&store, wallet(1), 0, 0, None).await;
    let rows = vec![outcome(1, true, 9), outcome(2, true, 3), outcome(3, false, 900)];
    // Told twice it counts once.
    for _ in 0..2 {
        store.apply(vec![Change::PutOutcomes(rows.clone())]).await.expect("writes");
    }
    check(&store, wallet(1), 2, 1, Some(3)).await;
    check(&store, wallet(2), 0, 0, None).await;
    assert_eq!(store.workerpools_with_outcomes(9).await.expect("reads"), [wallet(1)]);

    store.apply(vec![Change::ForgetAfter { block: 1 }]).await.expect("writes");
    check(&store, wallet(1), 1, 0, Some(9)).await;

    let many = (10..1_510).map(|number| outcome(number, number % 2 == 0, 5)).collect();
    store.apply(vec![Change::PutOutcomes(many)]).await.expect("writes");
    check(&store, wallet(1), 500, 500, Some(5)).await;
}
