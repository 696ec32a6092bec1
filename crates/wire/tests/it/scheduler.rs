//! Tasks, logs and uploads between clients and schedulers at one origin.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use expect_test::expect;
use futures::StreamExt;
use parking_lot::Mutex;
use primitives::{DealId, Tag, TaskId};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use url::Url;
use wire::UnixMillis;
use wire::auth::Challenge;
use wire::link::LogStream;
use wire::openapi::{self, Door};
use wire::scheduler::{
    ComputeLogs, DatedStatus, LOGS_REALM, LogFeed, LogNews, LogPiece, PoolNetwork, ResultBody,
    SchedulerApi, SchedulerClient, SchedulerRefusal, TaskModel, UploadLimits, Waiting, router,
};

use crate::{CHAIN_ID, address, key, serve};

/// A scheduler with one task, whose requester is key 1.
struct Desk {
    task: TaskId,
    stored: Mutex<Vec<u8>>,
}

impl Desk {
    fn new(number: u8) -> Arc<Self> {
        Arc::new(Self { task: TaskId(B256::repeat_byte(number)), stored: Mutex::default() })
    }
}

#[async_trait]
impl SchedulerApi for Desk {
    fn chain_id(&self) -> u64 {
        CHAIN_ID
    }

    async fn task(&self, task: TaskId) -> Result<TaskModel, SchedulerRefusal> {
        if task == self.task { Ok(model(task)) } else { Err(SchedulerRefusal::NotFound) }
    }

    async fn logs(
        &self,
        task: TaskId,
        reader: Address,
    ) -> Result<Vec<ComputeLogs>, SchedulerRefusal> {
        self.task(task).await?;
        if reader != key(1).address() {
            return Err(SchedulerRefusal::Forbidden);
        }
        let (stdout, stderr) = ("out".to_owned(), "err".to_owned());
        Ok(vec![ComputeLogs { wallet_address: address(5), stdout, stderr }])
    }

    async fn follow_logs(
        &self,
        task: TaskId,
        reader: Address,
        after: u64,
    ) -> Result<LogFeed, SchedulerRefusal> {
        let logs = self.logs(task, reader).await?;
        let piece = |(seq, logs): (u64, ComputeLogs)| {
            let (worker, stream, text) = (logs.wallet_address, LogStream::Stdout, logs.stdout);
            LogNews::Piece(LogPiece { seq, at: UnixMillis(0), worker, stream, text })
        };
        let pieces = (1..).zip(logs).filter(|(seq, _)| *seq > after).map(piece);
        let end = LogNews::End { status: "COMPLETED".to_owned() };
        Ok(futures::stream::iter(pieces.chain([end]).collect::<Vec<_>>()).boxed())
    }

    async fn network(
        &self,
        workerpool: Address,
        app: Address,
        category: u64,
    ) -> Result<PoolNetwork, SchedulerRefusal> {
        if workerpool != address(9) {
            return Err(SchedulerRefusal::NotFound);
        }
        let granting = u32::from(app == address(3) && category == 4);
        Ok(PoolNetwork { workers: 2, granting, silent: 1 })
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
        confidence: None,
        waiting_for: Some(Waiting {
            code: "computing".into(),
            text: "1 worker(s) computing".into(),
        }),
        tee: None,
        failure: None,
        dissent: vec![address(6)],
    }
}

struct House {
    desks: [Arc<Desk>; 2],
    client: SchedulerClient,
    url: Url,
}

/// Two schedulers at one origin, with tasks 1 and 2.
async fn house() -> House {
    let desks = [Desk::new(1), Desk::new(2)];
    let limits = UploadLimits { result_bytes_max: 1_000 };
    let apis = desks.clone().map(|desk| desk as Arc<dyn SchedulerApi>);
    let url = serve(router(apis, limits)).await;
    let client = SchedulerClient::new(&url, CHAIN_ID).expect("a client");
    House { desks, client, url }
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
          "trust": 1,
          "waitingFor": {
            "code": "computing",
            "text": "1 worker(s) computing"
          }
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
    let second = house.client.logs(task(2), &key(1)).await.expect("whichever scheduler has it");
    assert_eq!(second.chain_task_id, task(2));
}

/// Asks with that header, and gives back the status and the body.
async fn ask(house: &House, path: &str, authorization: Option<&str>) -> (u16, Value) {
    let url = house.url.join(path).expect("a url");
    let mut request = reqwest::Client::new().get(url);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let answer = request.send().await.expect("answers");
    (answer.status().as_u16(), answer.json().await.expect("json"))
}

#[tokio::test]
async fn one_signature_opens_the_logs_of_all_schedulers_for_an_hour() {
    let house = house().await;
    let reader = key(1).address();
    let path = format!("/tasks/logs/challenge?chainId={CHAIN_ID}&address={reader}");
    let (status, typed) = ask(&house, &path, None).await;
    assert_eq!((status, &typed["domain"]["name"]), (200, &json!("iExec Core")));
    let challenge = Challenge::from_json(&typed).expect("typed data");
    let signed = challenge.sign(&key(1)).expect("signs").to_string();
    for number in [1, 2, 1] {
        let (status, logs) =
            ask(&house, &format!("/tasks/{}/logs", task(number)), Some(&signed)).await;
        assert_eq!((status, &logs["chainTaskId"]), (200, &json!(task(number).to_string())));
    }
    let mut statuses = Vec::new();
    let forged = challenge.sign(&key(2)).expect("signs").to_string();
    let unasked =
        Challenge::fresh(LOGS_REALM, CHAIN_ID, "").sign(&key(1)).expect("signs").to_string();
    for (number, header) in [
        (1, None),
        (1, Some("nonsense")),
        (1, Some(forged.as_str())),
        (1, Some(unasked.as_str())),
        (3, Some(signed.as_str())),
    ] {
        let (status, body) = ask(&house, &format!("/tasks/{}/logs", task(number)), header).await;
        statuses.push((status, body["error"].as_str().unwrap_or_default().to_owned()));
    }
    expect![[r#"
        [
            (
                401,
                "invalid authorization",
            ),
            (
                401,
                "invalid authorization",
            ),
            (
                401,
                "invalid authorization",
            ),
            (
                401,
                "invalid authorization",
            ),
            (
                404,
                "task not found",
            ),
        ]"#]]
    .assert_eq(&format!("{statuses:#?}"));
    let (status, _) = ask(&house, "/tasks/logs/challenge?address=nobody", None).await;
    assert_eq!(status, 400);
}

/// What the description says of a task's logs is what is asked with and answered.
#[tokio::test]
async fn logs_that_are_followed_are_described() {
    let house = house().await;
    let document = openapi::document(&[Door::Scheduler], "1.2.3");
    let described = &document["paths"]["/tasks/{task}/logs"]["get"];
    let parameters = described["parameters"].as_array().expect("parameters");
    let query = parameters.iter().filter(|it| it["in"] == "query").map(|it| &it["name"]);
    assert_eq!(query.collect::<Vec<_>>(), ["follow", "after"]);
    let kinds = described["responses"]["200"]["content"].as_object().expect("kinds of answers");

    let reader = key(1).address();
    let (_, typed) = ask(&house, &format!("/tasks/logs/challenge?address={reader}"), None).await;
    let signed = Challenge::from_json(&typed).expect("typed data").sign(&key(1)).expect("signs");
    let mut answered = Vec::new();
    for query in ["", "?follow=0", "?follow=1", "?follow=true&after=1"] {
        let url = house.url.join(&format!("/tasks/{}/logs{query}", task(1))).expect("a url");
        let request = reqwest::Client::new().get(url).header("authorization", signed.to_string());
        let answer = request.send().await.expect("answers");
        let kind = answer.headers()["content-type"].to_str().expect("text");
        let kind = kind.split(';').next().unwrap_or_default().to_owned();
        assert!(kinds.contains_key(&kind), "{kind} is not described");
        let lines = answer.text().await.expect("text").lines().count();
        answered.push(format!("{kind} {lines}"));
    }
    let (whole, followed) = ("application/json 1", "application/x-ndjson");
    let expected = [whole, whole, &format!("{followed} 2"), &format!("{followed} 1")];
    assert_eq!(answered, expected);
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

#[tokio::test]
async fn whether_a_pool_gives_a_network_is_asked_of_its_scheduler() {
    let desk: Arc<dyn SchedulerApi> = Desk::new(1);
    let origin = serve(router(vec![desk], UploadLimits::default())).await;
    let client = SchedulerClient::new(&origin, CHAIN_ID).unwrap();
    let told = async |pool, app, category| {
        client.network(address(pool), address(app), category).await.unwrap()
    };
    let some = |granting| Some(PoolNetwork { workers: 2, granting, silent: 1 });
    assert_eq!(told(9, 3, 4).await, some(1));
    assert_eq!(told(9, 3, 0).await, some(0));
    assert_eq!(told(8, 3, 4).await, None, "it is nobody's here");
}
