//! Getting a file from an address that a stranger wrote.
//!
//! `/ipfs/<cid>`, or `/p2p/<cid>` as assets are registered by the official client, means the gateway. Any other address is a URL, and only public hosts are asked ([`crate::address`]): a
//! host's name is resolved here and the connection goes to the very addresses that were judged, so a name that answers
//! differently the second time gains nothing. Every redirect is judged like the first address. Size and time are bounded,
//! and the file is hashed as it passes. After a cut line it goes on where it was, if it is certain that the rest is of the same
//! file ([`wire::resume`]), and from the start otherwise. What is packed stays packed: nothing here unpacks what a stranger sends.

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
use reqwest::{Client, Response, StatusCode as S};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};
use url::{Host, Url};
use wire::resume::Mark;

use crate::address::is_public;

const REDIRECTS_MAX: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts in a row that bring nothing more.
const IDLE_ATTEMPTS: u32 = 3;
/// Attempts in all.
const ATTEMPTS: u32 = 20;
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

    /// Fetches into a file, which is created or overwritten. After an error it is incomplete or missing. `expected` is the
    /// SHA-256 that the caller will demand: with it a cut line is gone on with where a server does not name its versions.
    pub(crate) async fn to_file(
        &self,
        from: &str,
        path: &Path,
        allowance: Allowance,
        expected: Option<B256>,
    ) -> Result<Fetched, FetchError> {
        let url = self.url(from)?;
        let fetching = async {
            let mut half = Half::create(path, allowance.bytes, expected).await?;
            let (mut idle, mut furthest) = (0, 0);
            for attempt in 1.. {
                let error = match self.go_on(&url, &mut half).await {
                    Ok(()) if half.is_another() => half.mistrust(),
                    Ok(()) => break,
                    Err(error) => error,
                };
                idle = if half.bytes > furthest { 1 } else { idle + 1 };
                furthest = furthest.max(half.bytes);
                if !error.is_passing() || idle >= IDLE_ATTEMPTS || attempt >= ATTEMPTS {
                    return Err(error);
                }
                tracing::debug!(%url, %error, attempt, furthest, "fetching again");
                tokio::time::sleep(RETRY_PAUSE * idle).await;
            }
            Ok(half.fetched())
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

    /// Fetches what is missing.
    async fn go_on(&self, url: &Url, half: &mut Half) -> Result<(), FetchError> {
        let from = half.bytes;
        let known = half.mark.take().filter(|_| from > 0);
        let asked = known.as_ref().map(|mark| mark.ask(from)).unwrap_or_default();
        let answer = match self.ask(url.clone(), asked).await {
            Ok(answer) => answer,
            Err(error) => {
                half.mark = known;
                return Err(error);
            }
        };
        let status = answer.status();
        match known {
            Some(mark) if mark.goes_on(status, answer.headers(), from) => half.mark = Some(mark),
            // It is for the whole that the next attempt asks.
            Some(_) if matches!(status, S::PARTIAL_CONTENT | S::RANGE_NOT_SATISFIABLE) => {
                return Err(cut());
            }
            known if !status.is_success() => {
                half.mark = known;
                return Err(FetchError::Status(status.as_u16()));
            }
            _ if status == S::PARTIAL_CONTENT => return Err(FetchError::Status(status.as_u16())),
            _ => half.begin_anew(&answer).await?,
        }
        half.fill(answer).await
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

fn cut() -> FetchError {
    FetchError::Connection("it broke off".to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn disk(error: io::Error) -> FetchError {
    FetchError::Disk(error.to_string())
}

/// A file that is being fetched.
struct Half {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    limit: u64,
    /// Of what is in the file.
    mark: Option<Mark>,
    expected: Option<B256>,
    /// Whether it was put together of several answers.
    is_spliced: bool,
}

impl Half {
    async fn create(path: &Path, limit: u64, expected: Option<B256>) -> Result<Self, FetchError> {
        let file = File::create(path).await.map_err(disk)?;
        let file = BufWriter::with_capacity(64 << 10, file);
        let (hash, mark) = (Sha256::new(), None);
        Ok(Self { file, hash, bytes: 0, limit, mark, expected, is_spliced: false })
    }

    /// Forgets what has come: that answer is the whole.
    async fn begin_anew(&mut self, answer: &Response) -> Result<(), FetchError> {
        if answer.content_length().is_some_and(|length| length > self.limit) {
            return Err(FetchError::TooLarge(self.limit));
        }
        self.mark = Mark::of(answer.headers(), self.expected.is_some());
        (self.hash, self.bytes, self.is_spliced) = (Sha256::new(), 0, false);
        // Seeking writes what is buffered, so what is to go goes after it.
        self.file.rewind().await.map(drop).map_err(disk)?;
        self.file.get_mut().set_len(0).await.map_err(disk)
    }

    async fn fill(&mut self, answer: Response) -> Result<(), FetchError> {
        self.is_spliced |= self.bytes > 0;
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| failed(&error))?;
            let bytes = self.bytes.saturating_add(chunk.len() as u64);
            if bytes > self.limit {
                return Err(FetchError::TooLarge(self.limit));
            }
            self.file.write_all(&chunk).await.map_err(disk)?;
            self.hash.update(&chunk);
            self.bytes = bytes;
        }
        self.file.flush().await.map_err(disk)?;
        let is_all = self.mark.as_ref().is_none_or(|mark| mark.is_all(self.bytes));
        if is_all { Ok(()) } else { Err(cut()) }
    }

    /// Whether it was put together, and is not what is expected.
    fn is_another(&self) -> bool {
        let is_expected = |expected| self.fetched().sha256 == expected;
        self.is_spliced && !self.expected.is_none_or(is_expected)
    }

    /// From now on only whole files are believed.
    fn mistrust(&mut self) -> FetchError {
        (self.mark, self.expected) = (None, None);
        FetchError::Connection("its parts do not fit together".to_owned())
    }

    fn fetched(&self) -> Fetched {
        let sha256 = B256::from_slice(&self.hash.clone().finalize());
        Fetched { sha256, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests;
