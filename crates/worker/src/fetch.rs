//! Getting a file from an address that a stranger wrote.
//!
//! `/ipfs/<cid>`, or `/p2p/<cid>` as assets are registered by the official client, means the gateway. Any other address is a URL, and only public hosts are asked ([`crate::address`]): a
//! host's name is resolved here and the connection goes to the very addresses that were judged, so a name that answers
//! differently the second time gains nothing. Every redirect is judged like the first address. Size and time are bounded,
//! and the file is hashed as it passes. What is packed stays packed: nothing here unpacks what a stranger sends.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
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
        Self::with(gateway, allow_private, PublicOnly::of_system())
    }

    fn with(gateway: &Url, allow_private: bool, names: PublicOnly) -> Result<Self, reqwest::Error> {
        wire::install_crypto_provider();
        // A proxy would resolve names by itself, behind the guard's back.
        let client = || {
            Client::builder()
                .no_proxy()
                .no_gzip()
                .no_deflate()
                .no_brotli()
                .no_zstd()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT)
        };
        Ok(Self {
            trusting: client().build()?,
            guarded: client().dns_resolver(Arc::new(names)).build()?,
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

type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// A resolver that knows public addresses only. It is asked for each connection, which goes where it says and nowhere else.
struct PublicOnly {
    lookup: Lookup,
    is_public: fn(IpAddr) -> bool,
}

impl PublicOnly {
    fn of_system() -> Self {
        let lookup = |name: String| {
            async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }.boxed()
        };
        Self { lookup, is_public }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
struct NoPublicAddress;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, is_public) = ((self.lookup)(name.as_str().to_owned()), self.is_public);
        Box::pin(async move {
            let mut public = found.await?;
            public.retain(|address| is_public(address.ip()));
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
    let disk = |error: io::Error| FetchError::Disk(error.to_string());
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
mod tests;
