use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use expect_test::{Expect, expect};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes that are taken here at most.
const BYTES_MAX: u64 = 7;

/// Fetches, and checks what is said of the file.
async fn fetch(
    fetcher: &Fetcher,
    path: &Path,
    from: &str,
    time: Duration,
) -> Result<Vec<u8>, FetchError> {
    let allowance = Allowance { bytes: BYTES_MAX, time };
    let fetched = fetcher.to_file(from, path, allowance, None).await?;
    let content = std::fs::read(path).unwrap();
    assert_eq!(fetched.bytes, content.len() as u64);
    assert_eq!(fetched.sha256.0, *Sha256::digest(&content));
    Ok(content)
}

/// A gateway, and a neighbour in the same private network that has something to hide.
struct Network {
    gateway: SocketAddr,
    neighbour: SocketAddr,
    dir: tempfile::TempDir,
}

impl Network {
    async fn start() -> Self {
        let neighbour = serve(Router::new().route("/secret", get(async || "secret"))).await;
        let to = |target: String| get(async move || Redirect::temporary(&target));
        let files = Router::new()
            .route("/ipfs/file", get(async || "content"))
            .route("/ipfs/moved", to("/ipfs/file".to_owned()))
            .route("/ipfs/leak", to(format!("http://{neighbour}/secret")))
            .route("/ipfs/local", to("file:///etc/passwd".to_owned()))
            .route("/ipfs/round", to("/ipfs/round".to_owned()))
            .route("/api/v0/add", get(async || "another door"));
        Self { gateway: serve(files).await, neighbour, dir: tempfile::tempdir().unwrap() }
    }

    async fn fetch(&self, from: &str, allow_private: bool) -> Result<String, FetchError> {
        let gateway = format!("http://{}", self.gateway).parse().unwrap();
        let fetcher = Fetcher::new(&gateway, allow_private).unwrap();
        let content = fetch(&fetcher, &self.dir.path().join("file"), from, PATIENCE).await?;
        Ok(String::from_utf8(content).unwrap())
    }

    async fn check(&self, from: &str, expected: &Expect) {
        let from = from
            .replace("GATEWAY", &self.gateway.to_string())
            .replace("NEIGHBOUR", &self.neighbour.to_string())
            .replace("PORT", &self.neighbour.port().to_string());
        match self.fetch(&from, false).await {
            Ok(content) => expected.assert_eq(&content),
            Err(error) => expected.assert_eq(&format!("{error:?}")),
        }
    }
}

#[tokio::test]
async fn the_gateway_is_asked_wherever_it_is() {
    let network = Network::start().await;
    network.check("/ipfs/file", &expect!["content"]).await;
    network.check("/p2p/file", &expect!["content"]).await;
    network.check("http://GATEWAY/ipfs/file", &expect!["content"]).await;
    network.check("/ipfs/moved", &expect!["content"]).await;
    network.check("/ipfs/none", &expect!["Status(404)"]).await;
    network.check("/ipfs/../api/v0/add", &expect!["Unusable"]).await;
    network.check("/ipfs/", &expect!["Unusable"]).await;
    network.check("/ipfs/%2e%2e/api/v0/add", &expect!["Unusable"]).await;
}

#[tokio::test]
async fn nobody_else_in_the_private_network_is_asked() {
    let network = Network::start().await;
    for address in [
        "http://NEIGHBOUR/secret",
        "http://localhost:PORT/secret",
        "http://127.1:PORT/secret",
        "http://2130706433:PORT/secret",
        "http://0x7f.0.0.1:PORT/secret",
        "http://[::1]:PORT/secret",
        "http://[::ffff:127.0.0.1]:PORT/secret",
        "http://0.0.0.0:PORT/secret",
        "http://[::ffff:7f00:1]:PORT/secret",
        "http://[::]:PORT/secret",
        "http://[::ffff:0.0.0.0]:PORT/secret",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/latest/meta-data",
        "http://168.63.129.16/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://user:password@NEIGHBOUR/secret",
        "https://192.168.0.1/",
        "/ipfs/leak",
    ] {
        network.check(address, &expect!["Private"]).await;
    }
}

#[tokio::test]
async fn what_is_no_web_address_is_not_asked() {
    let network = Network::start().await;
    for address in ["", "file", "file:///etc/passwd", "ftp://1.1.1.1/", "data:,x", "/etc/passwd"] {
        network.check(address, &expect!["Unusable"]).await;
    }
    network.check("/ipfs/local", &expect!["Unusable"]).await;
    network.check("/ipfs/round", &expect!["Redirects"]).await;
}

#[tokio::test]
async fn private_addresses_can_be_allowed_and_size_stays_bounded() {
    let network = Network::start().await;
    let at = |path: &str| format!("http://{}{path}", network.neighbour);
    assert_eq!(network.fetch(&at("/secret"), true).await.unwrap(), "secret");
    let large = format!("http://{}/api/v0/add", network.gateway);
    assert_eq!(network.fetch(&large, true).await, Err(FetchError::TooLarge(7)));
}

/// A host that answers every connection with the same words, and then as often with more.
async fn host(at: Ipv4Addr, port: u16, words: Vec<u8>, endlessly: &'static [u8]) -> Host {
    let listener = TcpListener::bind((at, port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let words = words.clone();
            tokio::spawn(async move {
                let mut question = [0; 1 << 10];
                let _ = stream.read(&mut question).await;
                let _ = stream.write_all(&words).await;
                while !endlessly.is_empty() && stream.write_all(endlessly).await.is_ok() {}
            });
        }
    });
    Host { address, asked }
}

struct Host {
    address: SocketAddr,
    /// How often somebody connected.
    asked: Arc<AtomicUsize>,
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{head}\r\n");
    [head.as_bytes(), body].concat()
}

/// A host in the private network with a name that says so only the second time, or among others.
#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_gains_nothing() {
    static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
    // For this test one loopback address is public, and the other is not.
    const PUBLIC: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    const PRIVATE: Ipv4Addr = Ipv4Addr::LOCALHOST;
    let names = || PublicOnly {
        lookup: |name| {
            let earlier = LOOKUPS.fetch_add(1, Ordering::SeqCst);
            let found = match &*name {
                "both.test" => vec![PRIVATE, PUBLIC],
                "private.test" => vec![PRIVATE],
                "turning.test" if earlier == 0 => vec![PUBLIC],
                _ => vec![PRIVATE],
            };
            let found = found.into_iter().map(|ip| SocketAddr::from((ip, 0))).collect();
            std::future::ready(Ok(found)).boxed()
        },
        is_public: |address| address == PUBLIC,
    };
    let secret = host(PRIVATE, 0, answer("content-length: 6\r\n", b"secret"), b"").await;
    let port = secret.address.port();
    let public = host(PUBLIC, port, answer("content-length: 4\r\n", b"open"), b"").await;
    let moved = format!(
        "HTTP/1.1 307 Moved\r\nlocation: http://private.test:{port}/\r\ncontent-length: 0\r\n\r\n"
    );
    let moved = host(PUBLIC, 0, moved.into_bytes(), b"").await;

    let gateway = "http://127.0.0.3:1".parse().unwrap();
    let fetcher = Fetcher::with(&gateway, false, names()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let ask = async |name: &str, port: u16| {
        let got = fetch(&fetcher, &path, &format!("http://{name}:{port}/"), PATIENCE).await;
        got.map(|content| String::from_utf8(content).unwrap())
    };
    assert_eq!(ask("turning.test", port).await, Ok("open".to_owned()));
    assert_eq!(LOOKUPS.load(Ordering::SeqCst), 1, "what was judged is what was asked");
    assert_eq!(ask("turning.test", port).await, Err(FetchError::Private));
    assert_eq!(ask("both.test", port).await, Ok("open".to_owned()));
    assert_eq!(ask("private.test", port).await, Err(FetchError::Private));
    assert_eq!(ask("both.test", moved.address.port()).await, Err(FetchError::Private));
    assert_eq!(public.asked.load(Ordering::SeqCst), 2);
    assert_eq!(secret.asked.load(Ordering::SeqCst), 0, "nobody came near it");
}

#[tokio::test]
async fn a_host_that_cheats_about_its_file_wastes_a_bounded_amount() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = "http://127.0.0.3:1".parse().unwrap();
    let fetcher = Fetcher::new(&gateway, true).unwrap();
    let check = async |words: Vec<u8>, endlessly, expected: Expect| {
        let host = host(Ipv4Addr::LOCALHOST, 0, words, endlessly).await;
        let from = format!("http://{}/", host.address);
        let got = match fetch(&fetcher, &dir.path().join("file"), &from, PATIENCE).await {
            Ok(content) => format!("{content:?}"),
            // The rest is the HTTP client's words.
            Err(FetchError::Connection(_)) => "no answer".to_owned(),
            Err(error) => format!("{error:?}"),
        };
        expected.assert_eq(&got);
    };
    let nothing = &b""[..];
    // Endless, with and without saying so.
    check(answer("", b""), b"xxxxxxxx", expect!["TooLarge(7)"]).await;
    let chunked = answer("transfer-encoding: chunked\r\n", b"");
    check(chunked, b"4\r\nxxxx\r\n", expect!["TooLarge(7)"]).await;
    let large = answer("content-length: 1000000000000\r\n", b"");
    check(large, nothing, expect!["TooLarge(7)"]).await;
    // Less than was said, and more.
    let short = answer("content-length: 6\r\n", b"abc");
    check(short, nothing, expect!["no answer"]).await;
    let long = answer("content-length: 3\r\n", b"abcdef");
    check(long, nothing, expect!["[97, 98, 99]"]).await;
    // A head without end.
    check(answer("x: ", b""), b"xxxxxxxxxxxxxxxx", expect!["no answer"]).await;
}

#[tokio::test]
async fn a_host_that_takes_its_time_is_left() {
    let body = || {
        let first = futures::stream::iter([Ok::<_, io::Error>("abc")]);
        axum::body::Body::from_stream(first.chain(futures::stream::pending()))
    };
    let slow = Router::new()
        .route("/silent", get(async || std::future::pending::<&str>().await))
        .route("/stalls", get(async move || body()));
    let address = serve(slow).await;
    let gateway = "http://127.0.0.3:1".parse().unwrap();
    let fetcher = Fetcher::new(&gateway, true).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for path in ["silent", "stalls"] {
        let from = format!("http://{address}/{path}");
        let got = fetch(&fetcher, &dir.path().join("file"), &from, Duration::from_secs(1)).await;
        assert_eq!(got, Err(FetchError::TooSlow(1)));
    }
}

#[tokio::test]
async fn what_is_packed_stays_packed() {
    // Would be a terabyte, by its own account; what counts is what comes.
    let packed = [0x1f, 0x8b, 8, 0, 0, 0, 0];
    let dir = tempfile::tempdir().unwrap();
    let gateway = "http://127.0.0.3:1".parse().unwrap();
    let fetcher = Fetcher::new(&gateway, true).unwrap();
    for coding in ["gzip", "br", "deflate", "zstd"] {
        let head = format!("content-length: 7\r\ncontent-encoding: {coding}\r\n");
        let host = host(Ipv4Addr::LOCALHOST, 0, answer(&head, &packed), b"").await;
        let from = format!("http://{}/", host.address);
        let got = fetch(&fetcher, &dir.path().join("file"), &from, PATIENCE).await;
        assert_eq!(got.unwrap(), packed, "{coding}");
    }
}

/// A host whose lines break: what it says of its file, and how much each line carries.
#[derive(Default)]
struct Breaking {
    content: Vec<u8>,
    tag: &'static str,
    takes_ranges: bool,
    /// Its file is another from the second question on, under the same name.
    changes: bool,
    line_bytes: usize,
}

/// Fetches all of it; gives back what came of it, and which ranges were asked for.
async fn fetch_broken(host: Breaking, expected: Option<B256>) -> (Option<Vec<u8>>, Vec<String>) {
    let asked: Arc<parking_lot::Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let answer = async move |headers: HeaderMap| {
        let range = headers.get("range").and_then(|it| it.to_str().ok()).unwrap_or("all");
        let earlier = {
            let mut log = log.lock();
            log.push(range.to_owned());
            log.len() - 1
        };
        let fits = headers.get("if-range").is_none_or(|tag| tag == host.tag);
        let from = range.strip_prefix("bytes=").and_then(|it| it.strip_suffix('-')?.parse().ok());
        let from: Option<usize> = from.filter(|_| host.takes_ranges && fits);
        let mut content = host.content.clone();
        if host.changes && earlier > 0 {
            content.iter_mut().for_each(|byte| *byte ^= 1);
        }
        let rest = content.split_off(from.unwrap_or(0));
        let mut answer = axum::http::Response::builder().header("content-length", rest.len());
        if !host.tag.is_empty() {
            answer = answer.header("etag", host.tag);
        }
        if host.takes_ranges {
            answer = answer.header("accept-ranges", "bytes");
        }
        if let Some(from) = from {
            let all = host.content.len();
            let range = format!("bytes {from}-{}/{all}", all - 1);
            answer = answer.status(206).header("content-range", range);
        }
        let carried = rest[..host.line_bytes.min(rest.len())].to_vec();
        let broken = (carried.len() < rest.len()).then(|| Err(io::Error::other("it breaks")));
        let pieces = futures::stream::iter([Some(Ok(carried)), broken].into_iter().flatten());
        // Without a moment between them, what was carried would go down with the line.
        let pieces = pieces.then(async |piece| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            piece
        });
        answer.body(axum::body::Body::from_stream(pieces)).unwrap()
    };
    let host = serve(Router::new().route("/file", get(answer))).await;
    let gateway = "http://127.0.0.3:1".parse().unwrap();
    let fetcher = Fetcher::new(&gateway, true).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let allowance = Allowance { bytes: 1_000, time: PATIENCE };
    let from = format!("http://{host}/file");
    let fetched = fetcher.to_file(&from, &path, allowance, expected).await;
    let content = fetched.ok().map(|fetched| {
        let content = std::fs::read(&path).unwrap();
        assert_eq!(
            (fetched.bytes, fetched.sha256.0),
            (content.len() as u64, Sha256::digest(&content).into())
        );
        content
    });
    (content, std::mem::take(&mut *asked.lock()))
}

#[tokio::test]
async fn a_cut_line_costs_what_it_had_to_carry_still() {
    let content: Vec<u8> = (0..100).collect();
    let sha256 = || Some(B256::from_slice(&Sha256::digest((0..100).collect::<Vec<u8>>())));
    let host = |tag, takes_ranges| Breaking {
        content: (0..100).collect(),
        tag,
        takes_ranges,
        changes: false,
        line_bytes: 40,
    };
    let on = ["all", "bytes=40-", "bytes=80-"].map(str::to_owned).to_vec();
    let anew = ["all"; 3].map(str::to_owned).to_vec();
    assert_eq!(fetch_broken(host("\"a\"", true), None).await, (Some(content.clone()), on.clone()));
    assert_eq!(fetch_broken(host("", true), sha256()).await, (Some(content.clone()), on));
    // Where it is not certain that the rest is of the same file, it is fetched from the start, and not for ever.
    assert_eq!(fetch_broken(host("", true), None).await, (None, anew.clone()));
    assert_eq!(fetch_broken(host("W/\"a\"", true), None).await, (None, anew));
    let (fetched, asked) = fetch_broken(host("\"a\"", false), None).await;
    assert_eq!((fetched, asked.len()), (None, 3), "it takes no ranges");
    // A line that carries all the second time: the file has changed, and is fetched anew.
    let parts = Breaking { line_bytes: 60, changes: true, ..host("", true) };
    let other = Some(B256::from_slice(&Sha256::digest(
        content.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>(),
    )));
    let (fetched, asked) = fetch_broken(parts, other).await;
    assert_eq!(fetched, None, "no line carries all of it");
    assert_eq!(asked[..2], ["all", "bytes=60-"]);
    assert!(asked[2..].iter().all(|asked| asked == "all"), "{asked:?}");
}

#[tokio::test]
async fn a_host_that_gives_a_byte_at_a_time_is_left_after_a_while() {
    let host = Breaking {
        content: (0..100).collect(),
        tag: "\"a\"",
        takes_ranges: true,
        changes: false,
        line_bytes: 1,
    };
    let (fetched, asked) = fetch_broken(host, None).await;
    assert_eq!((fetched, asked.len()), (None, 20));
}
