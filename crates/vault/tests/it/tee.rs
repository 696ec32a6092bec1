//! Sessions: for whom, of what, and to whom.

use alloy_primitives::{Address, B256, Bytes, FixedBytes};
use alloy_signer::SignerSync;
use axum::extract::Path;
use axum::routing::get;
use chain::calls;
use primitives::DealId;
use reqwest::{Method, StatusCode};
use seal::challenge::reserved;
use seal::provision::{EnclaveKey, EnclavePublicKey, Evidence};
use serde_json::{Value, json};
use wire::sms::{
    Release, Session, SessionError, SessionTicket, Stage, WorkerpoolAuthorization, fetch_session,
};

use super::*;

const TDX: Tag = Tag(B256::with_last_byte(9));

fn enclave_key(number: u8) -> EnclaveKey {
    EnclaveKey::generate(&mut move |into: &mut [u8]| into.fill(number))
}

impl World {
    fn authorization(&self, task: TaskId, enclave: Address) -> WorkerpoolAuthorization {
        let worker = self.worker.address();
        let message = challenge::for_worker(worker, task, enclave);
        let signature = self.scheduler.signer().sign_message_sync(message.as_slice());
        WorkerpoolAuthorization {
            task,
            deal: DealId::default(),
            index: 0,
            worker,
            enclave,
            signature: Bytes::from(signature.expect("signs").as_bytes()),
        }
    }

    async fn enclave_of(&self, door: &Door, task: TaskId) -> Address {
        door.sms().enclave_of(task, self.scheduler.signer()).await.expect("an enclave")
    }

    /// The whole way of a worker and its enclave.
    async fn session(&self, door: &Door, task: TaskId) -> Session {
        let enclave = self.enclave_of(door, task).await;
        let authorization = self.authorization(task, enclave);
        let ticket = door.sms().open_session(&authorization, &self.worker).await;
        fetch(&ticket.expect("a ticket"), 1).await.expect("a session")
    }

    async fn refusal(&self, door: &Door, asked: &WorkerpoolAuthorization) -> Option<SessionError> {
        let error = door.sms().open_session(asked, &self.worker).await.err()?;
        Some(SessionError::of(&error).expect("a reason"))
    }

    async fn put(&self, door: &Door, id: SecretId, value: &str, by: &Wallet) {
        let answer = door.put(Method::POST, &id, value, by.signer()).await;
        assert_eq!(answer.0, StatusCode::NO_CONTENT, "{id:?} {}", answer.1);
    }
}

async fn fetch(ticket: &SessionTicket, number: u8) -> Result<Session, wire::ClientError> {
    let key = enclave_key(number);
    fetch_session(ticket, &key, &Evidence::simulated(&ticket.session_id, key.public())).await
}

/// Names and values of a stage, a line each; what differs from run to run has a name of its own.
fn lines(session: &Session, stage: Stage, known: &[(String, &str)]) -> Vec<String> {
    let environment = &session.stage(stage).expect("the stage").environment;
    let line = |(name, value): (&String, &seal::Secret<String>)| {
        let mut value = value.expose().clone();
        for (text, shown) in known {
            value = value.replace(text, shown);
        }
        format!("{name}={value}")
    };
    environment.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enclave_is_given_what_the_protocol_says() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let requester = world.requester.address();
    world.put(&door, SecretId::Dataset(world.dataset), "dataset key", &world.owner).await;
    world.put(&door, SecretId::App(world.app), "app secret", &world.owner).await;
    world.put(&door, requesters(requester, "mine"), "requester secret", &world.requester).await;
    world
        .put(&door, named(requester, reserved::RESULT_ENCRYPTION_KEY), "pem", &world.requester)
        .await;
    let params = r#"{"iexec_args":"--x","iexec_input_files":["https://example.com/in.txt"],"iexec_secrets":{"1":"mine","2":"none"},"iexec_result_encryption":true}"#;
    let task = world.task(params, true, TDX).await;
    let session = world.session(&door, task).await;

    let dataset = world.dataset.to_string().to_lowercase();
    let deal = world.client.task(task).await.expect("a task").deal;
    let key =
        session.variable(Stage::PostCompute, "SIGN_TEE_CHALLENGE_PRIVATE_KEY").expect("a key");
    let signer: PrivateKeySigner = key.expose().parse().expect("a key");
    assert_eq!(signer.address(), world.enclave_of(&door, task).await, "it signs as the enclave");
    let known = [
        (task.to_string(), "TASK"),
        (deal.to_string(), "DEAL"),
        (dataset, "dataset"),
        (world.worker.address().to_string(), "WORKER"),
        (key.expose().clone(), "ENCLAVE KEY"),
    ];
    assert_eq!(
        lines(&session, Stage::PreCompute, &known),
        [
            "IEXEC_DATASET_CHECKSUM=0x0606060606060606060606060606060606060606060606060606060606060606",
            "IEXEC_DATASET_FILENAME=dataset",
            "IEXEC_DATASET_KEY=dataset key",
            "IEXEC_DATASET_URL=https://example.com/data.bin",
            "IEXEC_DEAL_ID=DEAL",
            "IEXEC_INPUT_FILES_FOLDER=/iexec_in",
            "IEXEC_INPUT_FILES_NUMBER=1",
            "IEXEC_INPUT_FILE_URL_1=https://example.com/in.txt",
            "IEXEC_PRE_COMPUTE_OUT=/iexec_in",
            "IEXEC_TASK_ID=TASK",
            "IEXEC_TASK_INDEX=0",
            "IS_DATASET_REQUIRED=true",
            "SIGN_TEE_CHALLENGE_PRIVATE_KEY=ENCLAVE KEY",
            "SIGN_WORKER_ADDRESS=WORKER",
        ]
    );
    assert_eq!(
        lines(&session, Stage::App, &known),
        [
            "IEXEC_APP_DEVELOPER_SECRET=app secret",
            "IEXEC_APP_DEVELOPER_SECRET_1=app secret",
            "IEXEC_BOT_FIRST_INDEX=0",
            "IEXEC_BOT_SIZE=1",
            "IEXEC_BOT_TASK_INDEX=0",
            "IEXEC_DATASET_ADDRESS=dataset",
            "IEXEC_DATASET_FILENAME=dataset",
            "IEXEC_DEAL_ID=DEAL",
            "IEXEC_IN=/iexec_in",
            "IEXEC_INPUT_FILES_FOLDER=/iexec_in",
            "IEXEC_INPUT_FILES_NUMBER=1",
            "IEXEC_INPUT_FILE_NAME_1=0x5568bccc043aa3e0d882833895a351ca970d48105aa28418b82150dce89a6822",
            "IEXEC_OUT=/iexec_out",
            "IEXEC_REQUESTER_SECRET_1=requester secret",
            "IEXEC_TASK_ID=TASK",
            "IEXEC_TASK_INDEX=0",
        ]
    );
    assert_eq!(
        lines(&session, Stage::PostCompute, &known),
        [
            "IEXEC_TASK_ID=TASK",
            "RESULT_ENCRYPTION=true",
            "RESULT_ENCRYPTION_PUBLIC_KEY=pem",
            "RESULT_STORAGE_CALLBACK=false",
            "RESULT_STORAGE_PROVIDER=ipfs",
            "RESULT_STORAGE_PROXY=",
            "RESULT_STORAGE_TOKEN=",
            "SIGN_TEE_CHALLENGE_PRIVATE_KEY=ENCLAVE KEY",
            "SIGN_WORKER_ADDRESS=WORKER",
        ]
    );
    let app = session.stage(Stage::App).expect("the app");
    assert_eq!(app.image_name, "registry.example/echo:1");
    assert_eq!(app.fingerprint, B256::repeat_byte(5).to_string());
    for secret in ["dataset key", "app secret", "requester secret", key.expose()] {
        assert!(!contains(&logged(), secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_to_one_enclave_once() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let task = world.task("{}", false, TDX).await;
    let asked = world.authorization(task, world.enclave_of(&door, task).await);
    let open = async || door.sms().open_session(&asked, &world.worker).await.expect("a ticket");
    let ticket = open().await;
    assert_eq!(ticket.session_id.len(), 80);
    assert!(ticket.session_id.ends_with(&format!("0000{task}")));
    assert!(ticket.secret_provisioning_url.ends_with("/simulated-tdx"));
    assert_eq!(open().await, ticket, "a worker that asks again while it waits gets the same");

    let path = format!("/simulated-tdx/sessions/{}", ticket.session_id);
    let (key, other) = (enclave_key(1).public(), enclave_key(2).public());
    let right = Evidence::simulated(&ticket.session_id, key);
    let bodies = [
        (json!("rubbish"), StatusCode::BAD_REQUEST),
        (json!({"publicKey": key.0, "evidence": {"kind": "tdx"}}), StatusCode::BAD_REQUEST),
        (
            json!({"publicKey": "0x12", "evidence": {"kind": "simulated-tdx", "reportData": B256::ZERO}}),
            StatusCode::BAD_REQUEST,
        ),
        // Evidence for another key, for another session, and for what is no key.
        (Release { key: other, evidence: right.clone() }.to_json(), StatusCode::UNAUTHORIZED),
        (
            Release { key, evidence: Evidence::simulated("another", key) }.to_json(),
            StatusCode::UNAUTHORIZED,
        ),
        (
            Release {
                key: EnclavePublicKey(FixedBytes::ZERO),
                evidence: Evidence::simulated(
                    &ticket.session_id,
                    EnclavePublicKey(FixedBytes::ZERO),
                ),
            }
            .to_json(),
            StatusCode::BAD_REQUEST,
        ),
    ];
    for (body, expected) in bodies {
        assert_eq!(door.ask(Method::POST, &path, "", body.to_string()).await.0, expected, "{body}");
    }
    let none = format!("/simulated-tdx/sessions/{}", "a".repeat(80));
    let release = Release { key, evidence: right }.to_json().to_string();
    assert_eq!(door.ask(Method::POST, &none, "", release.clone()).await.0, StatusCode::NOT_FOUND);

    // None of that has cost the session.
    let (status, answer) = door.ask(Method::POST, &path, "", release.clone()).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_str(&answer).expect("is JSON");
    assert_eq!(answer["attestation"]["kind"], "simulated");
    assert_eq!(door.ask(Method::POST, &path, "", release).await.0, StatusCode::NOT_FOUND, "once");
    let error = fetch(&ticket, 1).await.err().expect("is refused");
    assert!(error.is_not_found(), "{error}");

    // A worker that lost its session may ask for another, a few times.
    let mut given = 1;
    while world.refusal(&door, &asked).await.is_none() {
        fetch(&open().await, 3).await.expect("a session");
        given += 1;
        assert!(given < 100, "there is no limit");
    }
    assert!(given > 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_whom_the_chain_names_are_let_in() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let task = world.task("{}", false, TDX).await;
    let path = format!("/tee/challenges/{task}");
    let ask = async |path: &str, signer: &PrivateKeySigner| {
        let authorization = authorize(challenge::for_task(task), signer);
        door.ask(Method::POST, path, &authorization, "").await.0
    };
    assert_eq!(ask(&path, &world.worker).await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        ask("/tee/challenges/0x12", world.scheduler.signer()).await,
        StatusCode::BAD_REQUEST
    );
    let unknown = format!("/tee/challenges/{}", B256::repeat_byte(7));
    assert_eq!(ask(&unknown, world.scheduler.signer()).await, StatusCode::UNAUTHORIZED);

    let before = world.authorization(task, Address::repeat_byte(1));
    assert_eq!(world.refusal(&door, &before).await, Some(SessionError::EmptyTeeChallenge));
    let enclave = world.enclave_of(&door, task).await;
    assert_eq!(world.enclave_of(&door, task).await, enclave, "one for each task");
    let good = world.authorization(task, enclave);

    let check = async |asked: WorkerpoolAuthorization, expected| {
        assert_eq!(world.refusal(&door, &asked).await, Some(expected));
    };
    // The pool has signed for another enclave, task or worker; or nobody has.
    check(world.authorization(task, Address::repeat_byte(1)), SessionError::InvalidAuthorization)
        .await;
    let other = WorkerpoolAuthorization { enclave: Address::repeat_byte(1), ..good.clone() };
    check(other, SessionError::InvalidSignature).await;
    let unsigned = WorkerpoolAuthorization { signature: Bytes::new(), ..good.clone() };
    check(unsigned, SessionError::InvalidSignature).await;
    check(
        WorkerpoolAuthorization { worker: world.requester.address(), ..good.clone() },
        SessionError::InvalidAuthorization,
    )
    .await;
    check(
        WorkerpoolAuthorization { enclave: Address::ZERO, ..good.clone() },
        SessionError::EmptyPublicEnclaveChallenge,
    )
    .await;
    check(
        WorkerpoolAuthorization { worker: Address::ZERO, ..good.clone() },
        SessionError::EmptyWorkerAddress,
    )
    .await;
    check(world.authorization(TaskId::default(), enclave), SessionError::EmptyParams).await;
    check(
        world.authorization(TaskId(B256::repeat_byte(7)), enclave),
        SessionError::GetChainTaskFailed,
    )
    .await;
    let plain = world.task("{}", false, Tag::NONE).await;
    check(world.authorization(plain, enclave), SessionError::NoMatchOnchainType).await;

    // Who is refused learns the reason with a 401, and who sends rubbish a 400.
    let answer = door.ask(Method::POST, "/tee/sessions", "", good.to_json().to_string()).await;
    assert_eq!(answer, (StatusCode::UNAUTHORIZED, r#"{"error":"INVALID_AUTHORIZATION"}"#.into()));
    for body in ["", "{}", "[]", r#"{"chainTaskId":1}"#] {
        let answer = door.ask(Method::POST, "/tee/sessions", "", body).await;
        assert_eq!(answer.0, StatusCode::BAD_REQUEST, "{body}");
    }
    door.sms().open_session(&good, &world.worker).await.expect("a ticket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tasks_time_is_the_chains() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let task = world.task("{}", false, TDX).await;
    let enclave = world.enclave_of(&door, task).await;
    let deadline = world.client.task(task).await.expect("a task").contribution_deadline;
    let at = json!([deadline.0 + 1]);
    world.client.request("evm_setNextBlockTimestamp", at).await.expect("sets the clock");
    world.client.request("evm_mine", json!([])).await.expect("mines");
    let asked = world.authorization(task, enclave);
    assert_eq!(world.refusal(&door, &asked).await, Some(SessionError::TaskNotActive));
    let error = door.sms().enclave_of(task, world.scheduler.signer()).await.expect_err("is late");
    assert!(error.to_string().contains("401"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_what_it_needs_there_is_no_session() {
    let world = World::open().await;
    let door = world.vault(|_| ()).await;
    let check = async |params: &str, with_dataset, expected| {
        let task = world.task(params, with_dataset, TDX).await;
        let asked = world.authorization(task, world.enclave_of(&door, task).await);
        assert_eq!(world.refusal(&door, &asked).await, Some(expected), "{params}");
        let authorization = authorize(asked.hash(), &world.worker);
        let body = asked.to_json().to_string();
        let answer = door.ask(Method::POST, "/tee/sessions", &authorization, body).await;
        assert_eq!(answer.0, StatusCode::INTERNAL_SERVER_ERROR, "as the official service");
    };
    check("{}", true, SessionError::GetDatasetSecretFailed).await;
    let encrypted = r#"{"iexec_result_encryption":true}"#;
    check(encrypted, false, SessionError::EmptyBeneficiaryKey).await;
    let dropbox = r#"{"iexec_result_storage_provider":"dropbox"}"#;
    check(dropbox, false, SessionError::GetStorageTokensFailed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_altered_is_not_given() {
    let world = World::open().await;
    let store = Store::in_memory().await.expect("opens");
    let door = world.vault(|config| config.store = store.clone()).await;
    let requester = world.requester.address();
    for key in ["mine", "other"] {
        world.put(&door, requesters(requester, key), key, &world.requester).await;
    }
    let task = world.task(r#"{"iexec_secrets":{"1":"mine"}}"#, false, TDX).await;
    let asked = world.authorization(task, world.enclave_of(&door, task).await);
    assert_eq!(world.refusal(&door, &asked).await, None);

    let row = async |key| {
        let row = store.sealed("requester", requester.as_slice(), key).await;
        row.expect("reads").expect("is there")
    };
    let (mine, other) = (row("mine").await, row("other").await);
    let mut flipped = mine.clone();
    *flipped.sealed.last_mut().expect("a byte") ^= 1;
    let swapped = store::SealedRow { sealed: other.sealed, ..mine.clone() };
    let older = store::SealedRow { version: mine.version + 1, ..mine.clone() };
    let mut now = mine;
    for altered in [flipped, swapped, older] {
        assert!(store.replace_sealed(&now, &altered).await.expect("writes"));
        assert_eq!(world.refusal(&door, &asked).await, Some(SessionError::StorageCallFailed));
        now = altered;
    }
    assert!(contains(&logged(), "a secret in the store was altered"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_trusted_runs_nothing_is_given() {
    let world = World::open().await;
    let on = world.vault(|_| ()).await;
    let off = world.vault(|config| config.tee = Tee::Off).await;
    let ask = async |door: &Door, path: &str| door.ask(Method::GET, path, "", "").await;
    assert_eq!(ask(&on, "/tee/framework").await, (StatusCode::OK, "\"TDX\"".into()));
    let (status, properties) = ask(&on, "/tee/properties/tdx/v0.1").await;
    assert_eq!(status, StatusCode::OK);
    let properties: Value = serde_json::from_str(&properties).expect("is JSON");
    assert_eq!(properties["teeFramework"], "TDX");
    assert_eq!(properties["preComputeProperties"]["fingerprint"], "simulated");
    for (path, expected) in [
        ("/tee/properties/TDX", StatusCode::OK),
        ("/tee/properties/Tdx/v9", StatusCode::NOT_FOUND),
        ("/tee/properties/scone", StatusCode::CONFLICT),
        ("/tee/properties/gramine/v5", StatusCode::CONFLICT),
        ("/tee/properties/none", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(ask(&on, path).await.0, expected, "{path}");
    }
    assert_eq!(ask(&off, "/tee/framework").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&off, "/tee/properties/tdx").await.0, StatusCode::NOT_FOUND);
    assert_eq!(off.sms().framework().await.expect("answers"), None);

    let task = world.task("{}", false, TDX).await;
    let enclave = world.enclave_of(&on, task).await;
    let error = off.sms().enclave_of(task, world.scheduler.signer()).await.expect_err("is off");
    assert!(error.is_not_found(), "{error}");
    let asked = world.authorization(task, enclave);
    assert_eq!(world.refusal(&off, &asked).await, Some(SessionError::NoTeeFramework));
    // Secrets are kept all the same.
    world.put(&off, SecretId::Dataset(world.dataset), "key", &world.owner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datasets_of_a_bulk_request_that_do_not_fit_stand_for_nothing() {
    let world = World::open().await;
    let keyless = new_dataset(world.owner.address(), "without a key");
    let keyless_address = keyless.address(&world.client).await.expect("an address");
    world.mine(calls::create_dataset(&world.client.contracts(), keyless)).await;
    let bulk = (1 << 53) - 1;
    let forged =
        DatasetOrder { sign: Bytes::from(vec![1; 65]), ..world.dataset_order(world.dataset, bulk) };
    let orders: Vec<Value> = [
        world.dataset_order(world.dataset, bulk),
        world.dataset_order(world.dataset, 1),
        forged,
        world.dataset_order(keyless_address, bulk),
    ]
    .into_iter()
    .map(|order| wire::market::Order::from(order).to_json().expect("fits"))
    .collect();
    let files =
        [("slices", json!(["slice"])), ("slice", json!(orders)), ("rubbish", json!({"a": 1}))];
    let gateway = axum::Router::new().route(
        "/ipfs/{cid}",
        get(async move |Path(cid): Path<String>| {
            let file = files.iter().find(|(name, _)| *name == cid);
            file.map(|(_, content)| content.to_string()).ok_or(axum::http::StatusCode::NOT_FOUND)
        }),
    );
    let gateway = serve(gateway).await;
    let door = world.vault(|config| config.ipfs_gateway = Some(gateway)).await;
    world.put(&door, SecretId::Dataset(world.dataset), "dataset key", &world.owner).await;

    let task = world.task(r#"{"bulk_cid":"slices"}"#, false, TDX).await;
    let session = world.session(&door, task).await;
    let variable = |name: &str| {
        let value = session.variable(Stage::PreCompute, name).expect(name);
        value.expose().clone()
    };
    assert_eq!(variable("IEXEC_BULK_SLICE_SIZE"), "4");
    assert_eq!(variable("IS_DATASET_REQUIRED"), "false");
    assert_eq!(variable("IEXEC_DATASET_1_KEY"), "dataset key");
    assert_eq!(variable("IEXEC_DATASET_1_URL"), "https://example.com/data.bin");
    for number in 2..=4 {
        for what in ["URL", "KEY", "CHECKSUM"] {
            assert_eq!(variable(&format!("IEXEC_DATASET_{number}_{what}")), "");
        }
    }
    assert_eq!(variable("IEXEC_DATASET_4_FILENAME"), keyless_address.to_string());
    let in_app = session.variable(Stage::App, "IEXEC_DATASET_2_FILENAME").expect("a name");
    assert_eq!(*in_app.expose(), world.dataset.to_string());

    for params in [r#"{"bulk_cid":"rubbish"}"#, r#"{"bulk_cid":"none"}"#, r#"{"bulk_cid":"../x"}"#]
    {
        let task = world.task(params, false, TDX).await;
        let session = world.session(&door, task).await;
        let size = session.variable(Stage::PreCompute, "IEXEC_BULK_SLICE_SIZE").expect("a size");
        assert_eq!(size.expose(), "0", "{params}");
    }
}
