//! Tasks, logs and uploads between clients and schedulers at one origin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use expect_test::expect;
use parking_lot::Mutex;
use primitives::{DealId, Tag, TaskId};
use tokio::io::AsyncReadExt;
use wire::UnixMillis;
use wire::auth::{Authorization, Challenge, OpenChallenges};
use wire::scheduler::{
    ComputeLogs, DatedStatus, LOGS_REALM, ResultBody, SchedulerApi, SchedulerClient,
    SchedulerRefusal, TaskModel, UploadLimits, router,
};

use crate::{CHAIN_ID, address, key, serve};

/// A scheduler with one task, whose requester is key 1.
struct Desk {
    task: TaskId,
    challenges: Mutex<OpenChallenges>,
    stored: Mutex<Vec<u8>>,
}

impl Desk {
    fn new(number: u8) -> Arc<Self> {
        Arc::new(Self {
            task: TaskId(B256::repeat_byte(number)),
            challenges: Mutex::new(OpenChallenges::new(Duration::from_secs(60), 8, 100)),
            stored: Mutex::default(),
        })
    }
}

#[async_trait]
impl SchedulerApi for Desk {
    async fn task(&self, task: TaskId) -> Result<TaskModel, SchedulerRefusal> {
        if task == self.task { Ok(model(task)) } else { Err(SchedulerRefusal::NotFound) }
    }

    async fn logs_challenge(&self, wallet: Address) -> Result<Challenge, SchedulerRefusal> {
        let fresh = Challenge::fresh(LOGS_REALM, CHAIN_ID, "");
        Ok(self.challenges.lock().open(wallet, fresh, Instant::now()))
    }

    async fn logs(
        &self,
        task: TaskId,
        authorization: &Authorization,
    ) -> Result<Vec<ComputeLogs>, SchedulerRefusal> {
        self.task(task).await?;
        let wallet = self.challenges.lock().check(authorization, Instant::now());
        let wallet = wallet.ok_or(SchedulerRefusal::Unauthorized)?;
        if wallet != key(1).address() {
            return Err(SchedulerRefusal::Forbidden);
        }
        let (stdout, stderr) = ("out".to_owned(), "err".to_owned());
        Ok(vec![ComputeLogs { wallet_address: address(5), stdout, stderr }])
    }

    async fn accept_result(
        &self,
        _: TaskId,
        token: &str,
        mut body: ResultBody,
    ) -> Result<String, SchedulerRefusal> {
        if token != "secret" {
            return Err(SchedulerRefusal::Unauthorized);
        }
        let mut content = Vec::new();
        let read = body.read_to_end(&mut content).await;
        read.map_err(|error| {
            SchedulerRefusal::Rejected(wire::Failure::new("GM-4512", error.to_string(), ""))
        })?;
        *self.stored.lock() = content;
        Ok("/ipfs/QmResult".into())
    }
}

fn model(task: TaskId) -> TaskModel {
    TaskModel {
        chain_task_id: task,
        deal_id: DealId(B256::repeat_byte(2)),
        task_index: 0,
        execution_time_max_ms: 300_000,
        tag: Tag::NONE,
        dapp_type: "WASM".into(),
        dapp_name: "/ipfs/QmApp".into(),
        command_line: String::new(),
        initialization_block_number: 12,
        current_status: "RUNNING".into(),
        trust: 1,
        uploading_worker_wallet_address: None,
        consensus: None,
        contribution_deadline: UnixMillis::from_seconds(1_700_000_000),
        reveal_deadline: UnixMillis(0),
        final_deadline: UnixMillis::from_seconds(1_700_003_600),
        result_link: None,
        chain_callback_data: None,
        date_status_list: vec![DatedStatus {
            date: UnixMillis(1_568_196_218_068),
            status: "RECEIVED".into(),
            chain_receipt: None,
        }],
        replicates: vec![],
        failure: None,
        dissent: vec![address(6)],
    }
}

struct House {
    desks: [Arc<Desk>; 2],
    client: SchedulerClient,
}

/// Two schedulers at one origin, with tasks 1 and 2.
async fn house() -> House {
    let desks = [Desk::new(1), Desk::new(2)];
    let limits = UploadLimits { result_bytes_max: 1_000 };
    let apis = desks.clone().map(|desk| desk as Arc<dyn SchedulerApi>);
    let url = serve(router(apis, limits)).await;
    House { desks, client: SchedulerClient::new(&url, CHAIN_ID).expect("a client") }
}

fn task(number: u8) -> TaskId {
    TaskId(B256::repeat_byte(number))
}

#[tokio::test]
async fn each_task_is_found_at_its_scheduler() {
    let house = house().await;
    for number in [1, 2] {
        let found = house.client.task(task(number)).await.expect("answers");
        assert_eq!(found, Some(model(task(number))));
    }
    assert_eq!(house.client.task(task(3)).await.expect("answers"), None);
}

#[test]
fn a_task_has_the_official_fields() {
    let json = serde_json::to_value(model(task(1))).expect("writes");
    expect![[r#"
        {
          "chainTaskId": "0x0101010101010101010101010101010101010101010101010101010101010101",
          "commandLine": "",
          "contributionDeadline": "2023-11-14T22:13:20.000Z",
          "currentStatus": "RUNNING",
          "dappName": "/ipfs/QmApp",
          "dappType": "WASM",
          "dateStatusList": [
            {
              "date": "2019-09-11T10:03:38.068Z",
              "status": "RECEIVED"
            }
          ],
          "dealId": "0x0202020202020202020202020202020202020202020202020202020202020202",
          "dissent": [
            "0x0606060606060606060606060606060606060606"
          ],
          "finalDeadline": "2023-11-14T23:13:20.000Z",
          "initializationBlockNumber": 12,
          "maxExecutionTime": 300000,
          "replicates": [],
          "revealDeadline": "1970-01-01T00:00:00.000Z",
          "tag": "0x0000000000000000000000000000000000000000000000000000000000000000",
          "taskIndex": 0,
          "trust": 1
        }"#]]
    .assert_eq(&format!("{json:#}"));
}

#[tokio::test]
async fn logs_are_for_the_requester_only() {
    let house = house().await;
    let logs = house.client.logs(task(1), &key(1)).await.expect("the requester reads them");
    assert_eq!(logs.compute_logs_list[0].stdout, "out");
    let refused = house.client.logs(task(1), &key(2)).await.expect_err("a stranger");
    assert_eq!(refused.refusal(), Some("not allowed"));
    let unknown = house.client.logs(task(3), &key(1)).await.expect_err("no such task");
    assert!(unknown.is_not_found(), "{unknown}");
}

#[tokio::test]
async fn results_are_streamed_to_the_right_scheduler_within_limits() {
    let house = house().await;
    let dir = tempfile::tempdir().expect("a directory");
    let zip = dir.path().join("result.zip");
    std::fs::write(&zip, [7; 1_000]).expect("writes");
    let location = house.client.upload_result(task(2), "secret", &zip).await.expect("is stored");
    assert_eq!(location, "/ipfs/QmResult");
    assert_eq!(*house.desks[1].stored.lock(), vec![7; 1_000]);
    assert!(house.desks[0].stored.lock().is_empty());

    let refused = house.client.upload_result(task(2), "guess", &zip).await.expect_err("no token");
    assert_eq!(refused.refusal(), Some("invalid authorization"));
    std::fs::write(&zip, [7; 1_001]).expect("writes");
    let refused = house.client.upload_result(task(2), "secret", &zip).await;
    let refused = refused.expect_err("too large");
    assert!(refused.to_string().contains("1000 bytes at most"), "{refused}");
}
