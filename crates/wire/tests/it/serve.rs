//! A server and callers that would hold it up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use expect_test::{Expect, expect};
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::serve::{Pace, ServeLimits, polite, serve};

/// No test waits this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Limits as short as these are met at once; none of the tests below must be quicker than anything.
const SHORT: Duration = Duration::from_millis(50);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(routes: Router, limits: ServeLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, polite(routes), limits, stop.clone()));
    Server { address, stop, task }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }

    /// What comes back for these bytes, to the end of the connection.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("is sent");
        rest(&mut stream).await
    }
}

/// All that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    // A reset is an end as well.
    let _ = read.expect("the connection ends");
    String::from_utf8_lossy(&all).into_owned()
}

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "here" }))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/named/{name}", get(|Path(name): Path<String>| async move { name }))
}

const CLOSE: &str = "host: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let limits = ServeLimits { head_timeout: SHORT, ..ServeLimits::default() };
    let server = start(routes(), limits).await;
    for start in ["", "GET / HTTP/1.1\r\nhost:"] {
        let answer = server.ask(start).await;
        assert!(!answer.contains("here"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused() {
    let pace = Pace { grace: SHORT, bytes_per_second: 1_000 };
    let server = start(routes(), ServeLimits { body_pace: pace, ..ServeLimits::default() }).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n";
    let answer = server.ask(&format!("{head}some")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains(r#""ok":false"#), "{answer}");
    let chunked =
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n";
    assert!(server.ask(chunked).await.starts_with("HTTP/1.1 400 "));
    let whole = format!("POST /echo HTTP/1.1\r\ncontent-length: 4\r\n{CLOSE}some");
    assert!(server.ask(&whole).await.ends_with("some"));
}

#[tokio::test]
async fn heads_beyond_the_limit_are_refused() {
    let limits = ServeLimits { head_bytes_max: 16 * 1024, ..ServeLimits::default() };
    let server = start(routes(), limits).await;
    let long = "x".repeat(20_000);
    let answer = server.ask(&format!("GET /?{long} HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    let answer = server.ask(&format!("GET / HTTP/1.1\r\n{many}{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(server.ask("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let held = Arc::new(());
    let endless = {
        let held = Arc::clone(&held);
        get(move || {
            let held = Arc::clone(&held);
            async move {
                Body::from_stream(stream::unfold(held, |held| async move {
                    Some((Ok::<_, std::io::Error>(Bytes::from(vec![0; 64 * 1024])), held))
                }))
            }
        })
    };
    let limits = ServeLimits { unread_timeout: SHORT, ..ServeLimits::default() };
    let server = start(Router::new().route("/", endless), limits).await;
    let before = Arc::strong_count(&held);
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("is sent");
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.expect("it begins");
    let given_up = async {
        while Arc::strong_count(&held) > before {
            tokio::time::sleep(SHORT).await;
        }
    };
    tokio::time::timeout(PATIENCE, given_up).await.expect("the answer is given up");
}

#[tokio::test]
async fn connections_are_counted() {
    let limits = ServeLimits { connections_max: 1, ..ServeLimits::default() };
    let server = start(routes(), limits).await;
    let mut first = server.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("is sent");
    let mut answer = [0; 8];
    first.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(rest(&mut server.connect().await).await, "", "no second one is taken");
    drop(first);
    let taken = async {
        loop {
            let mut stream = server.connect().await;
            let request = format!("GET / HTTP/1.1\r\n{CLOSE}");
            let sent = stream.write_all(request.as_bytes()).await;
            if sent.is_ok() && rest(&mut stream).await.contains("here") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("the seat is free again");
}

#[tokio::test]
async fn a_stop_lets_what_is_being_answered_finish() {
    let (asked, go) = (CancellationToken::new(), CancellationToken::new());
    let slow = {
        let (asked, go) = (asked.clone(), go.clone());
        get(move || {
            let (asked, go) = (asked.clone(), go.clone());
            async move {
                asked.cancel();
                go.cancelled().await;
                "finished"
            }
        })
    };
    let limits = ServeLimits { goodbye_timeout: PATIENCE, ..ServeLimits::default() };
    let server = start(Router::new().route("/", slow), limits).await;
    let mut idle = server.connect().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("is sent");
    asked.cancelled().await;
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    go.cancel();
    assert!(rest(&mut stream).await.ends_with("finished"));
    tokio::time::timeout(PATIENCE, server.task).await.expect("it ends").expect("in order");
}

async fn check(method: Method, path: &str, expected: &Expect) {
    let server = start(routes(), ServeLimits::default()).await;
    let answer = server.ask(&format!("{method} {path} HTTP/1.1\r\n{CLOSE}")).await;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    expected.assert_eq(&format!("{status} {body}"));
}

#[tokio::test]
async fn refusals_say_what_they_are() {
    check(Method::GET, "/", &expect!["200 here"]).await;
    check(Method::GET, "/nowhere", &expect!["404 Not Found"]).await;
    check(Method::DELETE, "/", &expect!["405 Method Not Allowed"]).await;
    check(
        Method::GET,
        "/named/%ff",
        &expect![[r#"400 {"error":"Invalid URL: Invalid UTF-8 in `name`","ok":false}"#]],
    )
    .await;
    check(Method::GET, "/named/%2e%2e%00", &expect!["200 ..\0"]).await;
}

#[tokio::test]
async fn pages_of_any_origin_may_ask() {
    let server = start(routes(), ServeLimits::default()).await;
    let asked = "origin: https://page.example\r\naccess-control-request-method: POST\r\n\
        access-control-request-headers: authorization,content-type\r\n";
    let answer = server.ask(&format!("OPTIONS /echo HTTP/1.1\r\n{asked}{CLOSE}")).await;
    assert_eq!(answer.split(' ').nth(1), Some(StatusCode::OK.as_str()));
    for header in [
        "access-control-allow-origin: https://page.example\r\n",
        "access-control-allow-methods: GET,HEAD,PUT,POST,DELETE,PATCH\r\n",
        "access-control-allow-headers: authorization,content-type\r\n",
    ] {
        assert!(answer.contains(header), "{header} is missing in {answer}");
    }
    let answer = server.ask(&format!("GET /nowhere HTTP/1.1\r\norigin: null\r\n{CLOSE}")).await;
    assert!(answer.contains("access-control-allow-origin: null\r\n"), "{answer}");
}
