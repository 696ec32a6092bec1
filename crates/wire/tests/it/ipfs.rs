//! Storing and fetching through a gateway that keeps one thing, and a market that describes itself.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use parking_lot::Mutex;
use wire::ClientError;
use wire::description::{self, Contracts, Description};
use wire::ipfs::IpfsClient;

use crate::{address, serve};

type Kept = Arc<Mutex<Vec<u8>>>;

async fn add(State(kept): State<Kept>, mut form: Multipart) -> String {
    let field = form.next_field().await.expect("a form").expect("a field");
    let name = field.file_name().expect("a file name").to_owned();
    let content = field.bytes().await.expect("content").to_vec();
    let size = content.len();
    *kept.lock() = content;
    // A folder's entries come first, its root last.
    format!(
        "{{\"Name\":\"x\",\"Hash\":\"QmOther\",\"Size\":\"1\"}}\n{{\"Name\":\"{name}\",\"Hash\":\"QmKept\",\"Size\":\"{size}\"}}\n"
    )
}

async fn client() -> IpfsClient {
    let kept = Kept::default();
    let give = |State(kept): State<Kept>| async move { Bytes::from(kept.lock().clone()) };
    let router = Router::new()
        .route("/api/v0/add", post(add))
        .route("/ipfs/QmKept", get(give))
        .route("/ipfs/QmBroken", get(|| async { StatusCode::BAD_GATEWAY }))
        .with_state(kept);
    IpfsClient::new(&serve(router).await).expect("a client")
}

#[tokio::test]
async fn what_was_stored_is_fetched_within_limits() {
    let (client, dir) = (client().await, tempfile::tempdir().expect("a directory"));
    let stored = client.add_bytes("a.txt", Bytes::from_static(b"hello")).await.expect("is stored");
    assert_eq!((stored.location().as_str(), stored.size_bytes), ("/ipfs/QmKept", 5));
    assert_eq!(client.fetch("/ipfs/QmKept", 5).await.expect("is there"), "hello");
    assert!(client.has("QmKept").await.expect("answers"));
    let too_large = client.fetch("/ipfs/QmKept", 4).await.expect_err("too large");
    assert!(matches!(too_large, ClientError::TooLarge { limit_bytes: 4, .. }), "{too_large:?}");

    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, vec![7; 300_000]).expect("writes");
    assert_eq!(client.add_file(&from).await.expect("is stored").size_bytes, 300_000);
    assert_eq!(client.fetch_to_file("QmKept", &to, 300_000).await.expect("is there"), 300_000);
    assert_eq!(std::fs::read(&to).expect("reads"), vec![7; 300_000]);
    let too_large = client.fetch_to_file("QmKept", &to, 299_999).await.expect_err("too large");
    assert!(!too_large.is_retryable(), "{too_large}");
}

/// A gateway whose lines carry so many bytes and break, and what was asked of it. From `dies_at` on it answers 502 once, as
/// while it is started anew.
async fn breaking(line_bytes: usize, dies_at: usize) -> (IpfsClient, Arc<Mutex<Vec<String>>>) {
    let blobs = blobs::Blobs::temporary().expect("a store");
    blobs.add(&content()[..]).await.expect("added");
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let routes = blobs.router().layer(axum::middleware::from_fn(
        move |request: axum::extract::Request, next: axum::middleware::Next| {
            let log = Arc::clone(&log);
            async move {
                let range =
                    request.headers().get("range").map_or("all", |it| it.to_str().expect("text"));
                let earlier = {
                    let mut log = log.lock();
                    log.push(range.to_owned());
                    log.len() - 1
                };
                if earlier == dies_at {
                    return axum::response::IntoResponse::into_response(StatusCode::BAD_GATEWAY);
                }
                next.run(request).await.map(|body| broken(body, line_bytes))
            }
        },
    ));
    (IpfsClient::new(&serve(routes).await).expect("a client"), asked)
}

/// The beginning of a body, and then the line breaks.
fn broken(body: axum::body::Body, line_bytes: usize) -> axum::body::Body {
    use futures::StreamExt;
    let mut left = line_bytes;
    let chunks = body.into_data_stream().map(move |chunk| {
        let chunk = chunk.map_err(std::io::Error::other)?;
        left = left.checked_sub(chunk.len()).ok_or_else(|| std::io::Error::other("it breaks"))?;
        Ok::<_, std::io::Error>(chunk)
    });
    // Without a moment between them, what was carried would go down with the line.
    let chunks = chunks.then(async |chunk| {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        chunk
    });
    axum::body::Body::from_stream(chunks)
}

fn content() -> Vec<u8> {
    (0..1_000_000).map(|i| u8::try_from(i % 251).expect("a byte")).collect()
}

#[tokio::test]
async fn a_download_goes_on_after_cut_lines_and_a_gateway_that_was_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let to = dir.path().join("to");
    let stored =
        blobs::Blobs::temporary().expect("a store").add(&content()[..]).await.expect("added");
    let location = format!("/ipfs/{}", stored.cid);
    let (client, asked) = breaking(300_000, 2).await;
    assert_eq!(client.fetch_to_file(&location, &to, 1_000_000).await.expect("there"), 1_000_000);
    assert!(std::fs::read(&to).expect("reads") == content(), "byte for byte");
    let asked = asked.lock().clone();
    assert_eq!(asked[0], "all", "{asked:?}");
    assert_eq!(asked[2], asked[3], "asked again for what the gateway was away for");
    let from =
        |range: &String| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<u64>().ok();
    let places: Vec<u64> = asked[1..].iter().map(|range| from(range).unwrap_or_default()).collect();
    assert!(places[0] > 0 && places.is_sorted(), "nothing is carried twice: {places:?}");
}

#[tokio::test]
async fn what_cannot_be_had_is_told_apart() {
    let client = client().await;
    let missing = client.fetch("QmMissing", 10).await.expect_err("is not there");
    assert!(missing.is_not_found() && !missing.is_retryable(), "{missing}");
    assert!(!client.has("QmMissing").await.expect("answers"));
    let broken = client.fetch("QmBroken", 10).await.expect_err("is broken");
    assert!(broken.is_retryable(), "{broken}");
    let nowhere = client.add_file("/does/not/exist".as_ref()).await.expect_err("no such file");
    assert!(matches!(nowhere, ClientError::File { .. }), "{nowhere:?}");
}

#[tokio::test]
async fn a_market_describes_itself() {
    let described = Description {
        origin: "http://127.0.0.1:1".into(),
        rpc: "http://127.0.0.1:1".into(),
        ws: "ws://127.0.0.1:1".into(),
        chain_id: 65_535,
        contracts: Contracts {
            hub: address(1),
            rlc: address(2),
            app_registry: address(3),
            dataset_registry: address(4),
            workerpool_registry: address(5),
        },
        workerpools: vec![description::Workerpool {
            address: address(6),
            description: None,
            api_url: Some("http://127.0.0.1:1".into()),
        }],
        apps: vec![description::App { name: "wordcount".into(), address: Address::ZERO }],
        version: "0.1.0".into(),
        gateway: None,
        sms: None,
        simulated: None,
    };
    let answer = described.clone();
    let url = serve(description::router(move || answer.clone())).await;
    assert_eq!(description::fetch(&url).await.expect("answers"), described);
}
