//! Getting a file from an address that a stranger wrote.
//!
//! `/ipfs/<cid>`, or `/p2p/<cid>` as assets are registered by the official client, means the gateway. Any other address is a URL, and only public hosts are asked ([`crate::address`]): a
//! host's name is resolved here and the connection goes to the very addresses that were judged, so a name that answers
//! differently the second time gains nothing. Every redirect is judged like the first address. Size and time are bounded,
//! and the file is hashed as it passes.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use futures::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::{Host, Url};

use crate::address::is_public;

const REDIRECTS_MAX: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A file that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// Not an address at all.
    #[error("it is not an http or https URL")]
    Unusable,
    /// It leads into a private network.
    #[error("it does not lead to a public address")]
    Private,
    /// Redirected for ever.
    #[error("it redirects more than {REDIRECTS_MAX} times")]
    Redirects,
    /// The host says no.
    #[error("the host answers with status {0}")]
    Status(u16),
    /// Too much.
    #[error("it has more than the {0} bytes allowed")]
    TooLarge(u64),
    /// Too slow.
    #[error("it takes more than the {0} s allowed")]
    TooSlow(u64),
    /// No answer.
    #[error("no answer: {0}")]
    Connection(String),
    /// This machine's disk.
    #[error("it cannot be written: {0}")]
    Disk(String),
}

impl FetchError {
    /// Whether the address is one that is never asked.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Unusable | Self::Private | Self::Redirects)
    }

    /// Whether the file is more than is taken.
    pub(crate) fn is_excessive(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::TooSlow(_))
    }

    /// Whether another worker may have more luck.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Disk(_) | Self::Status(500..))
    }

    /// Whether it is worth asking again.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Status(429 | 500..))
    }
}

/// What is taken at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

/// A file that was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) sha256: B256,
    pub(crate) bytes: u64,
}

/// Fetches. Connections are kept and used again.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    /// For the gateway, wherever it is.
    trusting: Client,
    /// For everything else: it cannot resolve a name to a private address.
    guarded: Client,
    gateway: Url,
    allow_private: bool,
}

impl Fetcher {
    /// A fetcher. The error is the HTTP client's.
    pub(crate) fn new(gateway: &Url, allow_private: bool) -> Result<Self, reqwest::Error> {
        wire::install_crypto_provider();
        // A proxy would resolve names by itself, behind the guard's back.
        let client = || {
            Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT)
        };
        Ok(Self {
            trusting: client().build()?,
            guarded: client().dns_resolver(Arc::new(PublicOnly)).build()?,
            gateway: gateway.clone(),
            allow_private,
        })
    }

    /// Fetches into a file, which is created or overwritten. After an error it is incomplete or missing.
    pub(crate) async fn to_file(
        &self,
        from: &str,
        path: &Path,
        allowance: Allowance,
    ) -> Result<Fetched, FetchError> {
        let url = self.url(from)?;
        let fetching = async {
            let mut attempt = 1;
            loop {
                match self.attempt(&url, path, allowance.bytes).await {
                    Err(error) if error.is_passing() && attempt < ATTEMPTS => {
                        tracing::debug!(%url, %error, attempt, "fetching again");
                        tokio::time::sleep(RETRY_PAUSE * attempt).await;
                        attempt += 1;
                    }
                    done => return done,
                }
            }
        };
        let late = || FetchError::TooSlow(allowance.time.as_secs());
        tokio::time::timeout(allowance.time, fetching).await.map_err(|_| late())?
    }

    /// The URL behind an address.
    fn url(&self, from: &str) -> Result<Url, FetchError> {
        let named = from.strip_prefix("/p2p/").map(|id| format!("/ipfs/{id}"));
        let from = named.as_deref().unwrap_or(from);
        if from.starts_with("/ipfs/") {
            let url = self.gateway.join(from).map_err(|_| FetchError::Unusable)?;
            // A path that climbs is another door of the gateway.
            let below = url.path().strip_prefix("/ipfs/").is_some_and(|below| !below.is_empty());
            return if below { Ok(url) } else { Err(FetchError::Unusable) };
        }
        Url::parse(from).map_err(|_| FetchError::Unusable)
    }

    async fn attempt(&self, url: &Url, path: &Path, limit: u64) -> Result<Fetched, FetchError> {
        let answer = self.open(url.clone()).await?;
        save(answer, path, limit).await
    }

    async fn open(&self, url: Url) -> Result<Response, FetchError> {
        let answer = self.ask(url, HeaderMap::new()).await?;
        let status = answer.status();
        if status.is_success() { Ok(answer) } else { Err(FetchError::Status(status.as_u16())) }
    }

    /// What an address answers, good or bad, after all redirects. What lets somebody in goes to the first origin only.
    pub(crate) async fn ask(
        &self,
        mut url: Url,
        mut headers: HeaderMap,
    ) -> Result<Response, FetchError> {
        for _ in 0..=REDIRECTS_MAX {
            let request = self.client_for(&url)?.get(url.clone()).headers(headers.clone());
            let answer = request.send().await.map_err(|error| failed(&error))?;
            let Some(target) = redirected(&answer) else { return Ok(answer) };
            let target = url.join(&target).map_err(|_| FetchError::Unusable)?;
            if target.origin() != url.origin() {
                headers.remove(header::AUTHORIZATION);
            }
            url = target;
        }
        Err(FetchError::Redirects)
    }

    /// Who may ask for that URL; nobody may for a private one.
    fn client_for(&self, url: &Url) -> Result<&Client, FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Unusable);
        }
        if self.allow_private || url.origin() == self.gateway.origin() {
            return Ok(&self.trusting);
        }
        // Names are judged by the resolver; a literal address never gets there.
        let literal: Option<IpAddr> = match url.host() {
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            None => return Err(FetchError::Unusable),
        };
        if literal.is_some_and(|address| !is_public(address)) {
            return Err(FetchError::Private);
        }
        Ok(&self.guarded)
    }
}

/// A resolver that knows public addresses only.
struct PublicOnly;

#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
struct NoPublicAddress;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NoPublicAddress.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Why there is no answer.
pub(crate) fn failed(error: &reqwest::Error) -> FetchError {
    let mut cause = error.source();
    let mut last = None;
    while let Some(error) = cause {
        if error.is::<NoPublicAddress>() {
            return FetchError::Private;
        }
        last = Some(error);
        cause = error.source();
    }
    let words = last.map_or_else(|| error.to_string(), ToString::to_string);
    FetchError::Connection(words.chars().take(200).collect())
}

fn redirected(answer: &Response) -> Option<String> {
    use StatusCode as S;
    let moved = [
        S::MOVED_PERMANENTLY,
        S::FOUND,
        S::SEE_OTHER,
        S::TEMPORARY_REDIRECT,
        S::PERMANENT_REDIRECT,
    ];
    let target = moved.contains(&answer.status()).then(|| answer.headers().get(header::LOCATION));
    target.flatten().and_then(|target| target.to_str().ok()).map(str::to_owned)
}

async fn save(answer: Response, path: &Path, limit: u64) -> Result<Fetched, FetchError> {
    let disk = |error: std::io::Error| FetchError::Disk(error.to_string());
    if answer.content_length().is_some_and(|length| length > limit) {
        return Err(FetchError::TooLarge(limit));
    }
    let file = tokio::fs::File::create(path).await.map_err(disk)?;
    let mut file = tokio::io::BufWriter::with_capacity(64 << 10, file);
    let mut chunks = answer.bytes_stream();
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| failed(&error))?;
        bytes = bytes.saturating_add(chunk.len() as u64);
        if bytes > limit {
            return Err(FetchError::TooLarge(limit));
        }
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(disk)?;
    }
    file.flush().await.map_err(disk)?;
    Ok(Fetched { sha256: B256::from_slice(&hash.finalize()), bytes })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get;
    use expect_test::{Expect, expect};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        address
    }

    /// A gateway, and a neighbour in the same private network that has something to hide.
    struct Network {
        gateway: SocketAddr,
        neighbour: SocketAddr,
        dir: tempfile::TempDir,
    }

    impl Network {
        async fn start() -> Self {
            let secret = Router::new()
                .route("/secret", get(async || "secret"))
                .route("/slow", get(async || std::future::pending::<&str>().await));
            let neighbour = serve(secret).await;
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
            let path = self.dir.path().join("file");
            let allowance = Allowance { bytes: 7, time: Duration::from_secs(2) };
            let fetched = fetcher.to_file(from, &path, allowance).await?;
            let content = std::fs::read(path).unwrap();
            assert_eq!(fetched.bytes, content.len() as u64);
            assert_eq!(fetched.sha256.0, *Sha256::digest(&content));
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
        for address in
            ["", "file", "file:///etc/passwd", "ftp://1.1.1.1/", "data:,x", "/etc/passwd"]
        {
            network.check(address, &expect!["Unusable"]).await;
        }
        network.check("/ipfs/local", &expect!["Unusable"]).await;
        network.check("/ipfs/round", &expect!["Redirects"]).await;
    }

    #[tokio::test]
    async fn private_addresses_can_be_allowed_and_size_and_time_stay_bounded() {
        let network = Network::start().await;
        let at = |path: &str| format!("http://{}{path}", network.neighbour);
        assert_eq!(network.fetch(&at("/secret"), true).await.unwrap(), "secret");
        let large = format!("http://{}/api/v0/add", network.gateway);
        assert_eq!(network.fetch(&large, true).await, Err(FetchError::TooLarge(7)));
        assert_eq!(network.fetch(&at("/slow"), true).await, Err(FetchError::TooSlow(2)));
    }
}
