//! A worker's journal.

use alloy_primitives::{B256, Bytes};
use primitives::{DealId, ResultDigest, TaskId};
use store::{Store, WorkRow};

use crate::wallet;

fn work(task: u8) -> WorkRow {
    WorkRow {
        worker: wallet(1),
        task: TaskId(B256::repeat_byte(task)),
        deal: DealId(B256::repeat_byte(99)),
        index: 0,
        state: "contributed".into(),
        digest: ResultDigest(B256::repeat_byte(task)),
        archive: "results/a.zip".into(),
        callback: Bytes::new(),
        enclave: Bytes::from_static(b"its word"),
        location: String::new(),
        changed_ms: 5,
    }
}

#[tokio::test]
async fn what_a_worker_promised_survives_its_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("worker.db");
    let store = Store::open(&path).await.expect("opens");
    store.put_work(work(1)).await.expect("writes");
    store.put_work(work(2)).await.expect("writes");
    let uploaded = WorkRow { state: "uploaded".into(), location: "/ipfs/Qm".into(), ..work(1) };
    store.put_work(uploaded.clone()).await.expect("writes");
    store.remove_work(wallet(1), work(2).task).await.expect("writes");
    // No goodbye: the process may be killed at any moment.
    drop(store);

    let store = Store::open(&path).await.expect("opens again");
    assert_eq!(store.work_of(wallet(1)).await.expect("reads"), std::slice::from_ref(&uploaded));
    assert_eq!(store.work(wallet(1), uploaded.task).await.expect("reads"), Some(uploaded));
    assert_eq!(store.work_of(wallet(2)).await.expect("reads"), []);
}
