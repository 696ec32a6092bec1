//! Confidential tasks, in the software enclave.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use chain::TaskStatus;
use expect_test::{Expect, expect};
use primitives::Tag;
use rand::RngCore;
use sandbox::archive::{Bounds, verify};
use seal::dataset::{DatasetKey, checksum, encrypt};
use wire::link::{Enclave, ToScheduler};
use wire::sms::SessionError;
use worker::Tee;

use crate::keeper::Secrets;
use crate::market::{Bought, Market, Request, Running, digest_of};
use crate::played::Played;
use crate::work::{computed, contributed};

const SECRET: &str = "the combination of the safe is 4711";
const DATASET: &str = "0x1111111111111111111111111111111111111111";
/// The public half of a key that was made for this test, and whose other half nobody kept.
const RESULTS_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA168/yRzOC4Uc80HbZxhv
psEnAMl7+KoiX7TddYUV0BuPx9g28khcML3GTDu++UZjFIWkzYy7xj9v2QOpBWxi
AJHzWmyv99qsDKuYWhl1lSRVt6PDYUhq4OafZPsKUcmR9zijsrMf2RC3YvvTXIUj
DnZ/NRrkZfv4+eX4lCLKP9oad4r5m3mAmSvcj+8J9N1CZvBr34FpX1dt9Wx4Zn9o
GZHF1rYLcjUnL0467c3r+GX+Yu8CLylCAYm0LTi5mM1YpIEHm3+o9EQKQcdduAPR
ggAzKxWgG4Zo/4aLFa2JEMGcEGJ1YUWX/DLG5XZKU1DA6Cmn/sYJQh/IfiBnIKsu
WQIDAQAB
-----END PUBLIC KEY-----";

async fn worker(market: &mut Market) -> (Running, Played) {
    let config = worker::Config { tee: Tee::SimulatedTdx, ..market.config(0) };
    market.start(config).await
}

fn request() -> Request {
    Request { tag: Tag::TEE | Tag::TDX, ..Request::of("reveal") }
}

fn named(variables: &[(&str, &str)]) -> HashMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A dataset at the gateway, and what a session says about it.
fn dataset(market: &Market, content: &[u8]) -> HashMap<String, String> {
    let mut entropy = |into: &mut [u8]| rand::rng().fill_bytes(into);
    let key = DatasetKey::generate(&mut entropy);
    let sealed = encrypt(&key, content, &mut entropy);
    let registered = checksum(&sealed).to_string();
    market.doors.more.lock().insert("dataset".to_owned(), sealed);
    named(&[
        ("IS_DATASET_REQUIRED", "true"),
        ("IEXEC_DATASET_URL", "/ipfs/dataset"),
        ("IEXEC_DATASET_CHECKSUM", &registered),
        ("IEXEC_DATASET_KEY", key.to_base64().expose()),
        ("IEXEC_DATASET_FILENAME", DATASET),
        ("IEXEC_INPUT_FILES_NUMBER", "1"),
        ("IEXEC_INPUT_FILE_URL_1", "/ipfs/text"),
    ])
}

fn app() -> HashMap<String, String> {
    named(&[
        ("IEXEC_DATASET_FILENAME", DATASET),
        ("IEXEC_APP_DEVELOPER_SECRET", SECRET),
        ("IEXEC_REQUESTER_SECRET_1", "abc"),
    ])
}

async fn begin(market: &Market, played: &Played, worker: &Running, request: Request) -> Bought {
    let bought = market.buy(request).await;
    market.initialize(&bought).await;
    played.say(market.assign_enclave(&bought, worker.handle.address())).await;
    bought
}

async fn finish(market: &Market, played: &mut Played, worker: &Running, bought: &Bought) {
    played.say(market.contribute_enclave(bought, worker.handle.address())).await;
    contributed(played).await;
    market.task_when(bought.task, |task| task.status == TaskStatus::Completed).await;
}

fn files_below(dir: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), into);
        } else {
            into.extend(fs::read(entry.path()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_confidential_task_is_computed_signed_and_paid() {
    let mut market = Market::open().await;
    let (worker, mut played) = worker(&mut market).await;
    assert_eq!(played.arrival.capabilities.tee, Some(Enclave::SimulatedTdx));
    let pre = dataset(&market, b"very useful");
    *market.keeper.next.lock() = Ok(Secrets { pre: Some(pre), app: app(), ..Secrets::default() });
    let bought = begin(&market, &played, &worker, request()).await;
    computed(&mut played, bought.task).await;
    finish(&market, &mut played, &worker, &bought).await;
    let task = market.client.task(bought.task).await.unwrap();
    assert_eq!(task.digest, digest_of("hello, very useful, 35 letters, 3 letters"));
    // What was uploaded gives the same digest to whoever downloads it.
    let zip = market.doors.uploads.lock().await.get(&bought.task).cloned().unwrap();
    let archive = market.dir.path().join("downloaded.zip");
    fs::write(&archive, zip).unwrap();
    assert_eq!(verify(&archive, &Bounds::default()).unwrap().digest, task.digest);
    // Nothing secret stays behind.
    let dir = market.worker_dir(0);
    assert_eq!(fs::read_dir(dir.join("enclaves")).unwrap().count(), 0);
    let mut left = Vec::new();
    files_below(&dir, &mut left);
    for secret in [SECRET, "very useful"] {
        assert!(!left.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test]
async fn an_encrypted_result_is_for_its_beneficiary_only() {
    let mut market = Market::open().await;
    let (worker, mut played) = worker(&mut market).await;
    let key = base64(RESULTS_KEY.as_bytes());
    let post = named(&[("RESULT_ENCRYPTION", "true"), ("RESULT_ENCRYPTION_PUBLIC_KEY", &key)]);
    *market.keeper.next.lock() = Ok(Secrets { post, ..Secrets::default() });
    let params = r#"{"iexec_args":"hello","iexec_result_encryption":true}"#.to_owned();
    let bought = begin(&market, &played, &worker, Request { params, ..request() }).await;
    let right = |word: &ToScheduler| match word {
        ToScheduler::Computed { stdout_tail, .. } => Some(stdout_tail.clone()),
        _ => None,
    };
    assert!(played.hear_until(right).await.starts_with("(withheld"));
    finish(&market, &mut played, &worker, &bought).await;
    let zip = market.doors.uploads.lock().await.get(&bought.task).cloned().unwrap();
    let holds = |name: &str| zip.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(holds("aes-key.rsa") && holds("iexec_out.zip.aes"));
    assert!(!holds("stdout.txt") && !holds("computed.json"));
}

#[tokio::test]
async fn an_enclaves_result_that_was_on_its_way_is_not_computed_again() {
    let mut market = Market::open().await;
    let (first, mut played) = worker(&mut market).await;
    let address = first.handle.address();
    let key = base64(RESULTS_KEY.as_bytes());
    let post = named(&[("RESULT_ENCRYPTION", "true"), ("RESULT_ENCRYPTION_PUBLIC_KEY", &key)]);
    let app = named(&[("IEXEC_APP_DEVELOPER_SECRET", SECRET)]);
    let secrets = Secrets { post, app, ..Secrets::default() };
    *market.keeper.next.lock() = Ok(secrets);
    let params = r#"{"iexec_args":"hello","iexec_result_encryption":true}"#.to_owned();
    let bought = begin(&market, &played, &first, Request { params, ..request() }).await;
    computed(&mut played, bought.task).await;
    let doors = std::sync::Arc::clone(&market.doors);
    let storage = doors.storage.lock().await;
    played.say(market.contribute_enclave(&bought, address)).await;
    let journal = async || market.store.work_of(address).await.unwrap();
    market.when(journal, |rows| rows.len() == 1).await;
    first.stop().await;
    drop((storage, played));

    // What is on its disk is for the beneficiary, and what is in its journal for everybody.
    let row = market.store.work_of(address).await.unwrap().remove(0);
    assert!(!row.enclave.is_empty());
    let left = [fs::read(&row.archive).unwrap(), row.enclave.to_vec()].concat();
    for secret in [SECRET, "stdout.txt", "computed.json"] {
        assert!(!left.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
    // No secret is given a second time, so that nothing can be computed.
    *market.keeper.next.lock() = Err(SessionError::EmptyBeneficiaryKey);
    let (second, mut played) = worker(&mut market).await;
    assert_eq!(played.arrival.holding, [bought.task]);
    finish(&market, &mut played, &second, &bought).await;
    let journal = async || market.store.work_of(address).await.unwrap();
    market.when(journal, Vec::is_empty).await;
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn of_a_bulk_request_what_does_not_fit_is_left_out() {
    let mut market = Market::open().await;
    let (worker, mut played) = worker(&mut market).await;
    let good = dataset(&market, b"one of many");
    let of = |name: &str| good[&format!("IEXEC_DATASET_{name}")].clone();
    let pre = named(&[
        ("IS_DATASET_REQUIRED", "false"),
        ("IEXEC_BULK_SLICE_SIZE", "3"),
        ("IEXEC_DATASET_1_URL", ""),
        ("IEXEC_DATASET_1_FILENAME", "0x01"),
        ("IEXEC_DATASET_2_URL", &of("URL")),
        ("IEXEC_DATASET_2_CHECKSUM", &of("CHECKSUM")),
        ("IEXEC_DATASET_2_KEY", &of("KEY")),
        ("IEXEC_DATASET_2_FILENAME", DATASET),
        ("IEXEC_DATASET_3_URL", "/ipfs/text"),
        ("IEXEC_DATASET_3_CHECKSUM", &of("CHECKSUM")),
        ("IEXEC_DATASET_3_KEY", &of("KEY")),
        ("IEXEC_DATASET_3_FILENAME", "0x03"),
    ]);
    *market.keeper.next.lock() = Ok(Secrets { pre: Some(pre), app: app(), ..Secrets::default() });
    let bought = begin(&market, &played, &worker, request()).await;
    let hash = computed(&mut played, bought.task).await;
    let digest = digest_of("hello, one of many, 35 letters, 3 letters");
    assert_eq!(hash, verdict::result_hash(bought.task, digest));
}

async fn check_failure(
    market: &Market,
    played: &mut Played,
    worker: &Running,
    said: Result<Secrets, SessionError>,
    expected: &Expect,
) {
    *market.keeper.next.lock() = said;
    begin(market, played, worker, request()).await;
    let ToScheduler::Failed { failure, .. } = played.hear().await else {
        panic!("a failure is what comes")
    };
    let (code, message) = (&failure.failure.code, &failure.failure.message);
    let message = message.split("0x").next().unwrap_or_default();
    expected.assert_eq(&format!("{code} {:?} {message}", failure.blame));
}

#[tokio::test]
async fn each_mishap_has_its_official_name() {
    let mut market = Market::open().await;
    let (worker, mut played) = worker(&mut market).await;
    let with = |name: &str, value: &str| {
        let mut pre = dataset(&market, b"very useful");
        pre.insert(name.to_owned(), value.to_owned());
        Ok(Secrets { pre: Some(pre), app: app(), ..Secrets::default() })
    };
    let zero = format!("0x{}", "0".repeat(64));
    let post = |name: &str, value: &str| {
        Ok(Secrets {
            post: named(&[("RESULT_ENCRYPTION", "true"), (name, value)]),
            ..Secrets::default()
        })
    };
    let cases = [
        (
            Err(SessionError::EmptyBeneficiaryKey),
            expect![
                "GM-4241 Input TEE_SESSION_GENERATION_POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY: the beneficiary has not given the key for results to the secret service"
            ],
        ),
        (
            with("IEXEC_DATASET_CHECKSUM", &zero),
            expect!["GM-4242 Input PRE_COMPUTE_INVALID_DATASET_CHECKSUM: the file's SHA-256 is "],
        ),
        (
            with("IEXEC_DATASET_KEY", "c2hvcnQ="),
            expect![
                "GM-4242 Input PRE_COMPUTE_DATASET_DECRYPTION_FAILED: a dataset's key is 32 bytes in base64"
            ],
        ),
        (
            with("IEXEC_DATASET_URL", "/ipfs/gone"),
            expect![
                "GM-4242 Input PRE_COMPUTE_DATASET_DOWNLOAD_FAILED: the host answers with status 404"
            ],
        ),
        (
            with("IEXEC_DATASET_FILENAME", "../../programs/x"),
            expect![
                "GM-4242 Input PRE_COMPUTE_DATASET_FILENAME_MISSING: the dataset's name is no file name"
            ],
        ),
        (
            with("IEXEC_INPUT_FILE_URL_1", "http://169.254.169.254/"),
            expect![
                "GM-4242 Input PRE_COMPUTE_INPUT_FILE_DOWNLOAD_FAILED: it does not lead to a public address"
            ],
        ),
        (
            post("RESULT_ENCRYPTION_PUBLIC_KEY", "bm8ga2V5"),
            expect![
                "GM-4243 Input POST_COMPUTE_MALFORMED_ENCRYPTION_PUBLIC_KEY: the key for results is not base64 of an RSA public key in PEM"
            ],
        ),
        (
            Ok(Secrets { post: named(&[("SIGN_WORKER_ADDRESS", DATASET)]), ..Secrets::default() }),
            expect![
                "GM-4243 Worker POST_COMPUTE_INVALID_TEE_SIGNATURE: the session is another worker's"
            ],
        ),
    ];
    for (said, expected) in cases {
        check_failure(&market, &mut played, &worker, said, &expected).await;
    }
    let left = market.worker_dir(0).join("enclaves");
    market.when(async || fs::read_dir(&left).unwrap().count(), |count| *count == 0).await;
}

#[tokio::test]
async fn without_an_enclave_nothing_confidential_is_run() {
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    assert_eq!(played.arrival.capabilities.tee, None);
    let bought = begin(&market, &played, &worker, request()).await;
    let ToScheduler::Failed { failure, .. } = played.hear().await else { panic!("it has none") };
    assert_eq!(failure.failure.code, "GM-4213");
    // Nor is an ordinary task run in one.
    let ordinary = market.buy(Request::of("echo")).await;
    played.say(market.assign_enclave(&ordinary, worker.handle.address())).await;
    let ToScheduler::Failed { failure, .. } = played.hear().await else { panic!("it needs none") };
    assert_eq!(failure.failure.code, "GM-4219");
    assert_ne!(ordinary.task, bought.task);
}

#[tokio::test]
async fn a_result_is_not_contributed_for_another_enclave() {
    let mut market = Market::open().await;
    let (worker, mut played) = worker(&mut market).await;
    let bought = begin(&market, &played, &worker, request()).await;
    computed(&mut played, bought.task).await;
    let address = worker.handle.address();
    // As if it had run without.
    played.say(market.contribute(&bought, address)).await;
    let ToScheduler::Failed { failure, .. } = played.hear().await else {
        panic!("the challenge is another")
    };
    assert_eq!(failure.failure.code, "GM-4213");
    finish(&market, &mut played, &worker, &bought).await;
}
