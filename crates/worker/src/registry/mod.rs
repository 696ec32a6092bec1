//! Pulling images from registries (the OCI distribution protocol) into directories that are OCI layouts.
//!
//! ```text
//!   manifest (by digest, or by tag) ──► index? the one for this machine ──► configuration, layers
//!        │ 401: a bearer token, from where the registry says                     │ already in another image here: a link
//!        ▼                                                                       ▼ else: ranges after a cut, retries
//!   <dir>/index.json                                                   <dir>/blobs/sha256/<digest>
//! ```
//!
//! Everything is known by its SHA-256 and checked as it passes; a tag is believed once, to say which digest is meant. All
//! requests go through the guarded [`Fetcher`], also those to which a registry redirects or sends for a token: a name of
//! an image is a stranger's address like any other. The token goes to the registry alone, never to where it redirects.
//!
//! Not here: what an image has to be to run, and unpacking it (`sandbox`).

mod reference;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alloy_primitives::{B256, hex};
use futures::{FutureExt, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE, WWW_AUTHENTICATE,
};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

pub(crate) use self::reference::Reference;
use self::reference::sha256;
use crate::fetch::{FetchError, Fetcher};

/// Manifests and configurations are a few kilobytes.
const JSON_BYTES_MAX: u64 = 4 << 20;
const LAYERS_MAX: usize = 256;
/// An index may point to an index.
const DEPTH_MAX: usize = 3;
/// Layers fetched at once.
const AT_ONCE: usize = 3;
const ATTEMPTS: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const TOKEN_BYTES_MAX: u64 = 32 << 10;
/// How often it is said how far a pull has come.
const PROGRESS: Duration = Duration::from_secs(2);
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// An image that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PullError {
    /// The registry, or what it redirects to, does not give it.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// No such image, or not for everybody.
    #[error("the registry has no such image for everybody (status {0})")]
    NotThere(u16),
    /// It wants to know who is asking, in a way that is not known here.
    #[error("the registry asks for a login that is not known here")]
    Login,
    /// It gives something else than what was asked for.
    #[error("the registry gave something else for {asked}: its digest is {found}")]
    OtherDigest { asked: B256, found: B256 },
    /// Its own papers make no sense.
    #[error("the image's manifest cannot be used: {0}")]
    Manifest(String),
    /// Too much.
    #[error("the image has {bytes} bytes; at most {limit} are pulled")]
    TooLarge { bytes: u64, limit: u64 },
    /// The connection was cut again and again.
    #[error("a layer arrived in part only, again and again")]
    Truncated,
}

impl PullError {
    /// Whether another worker, or another time, may have more luck.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Fetch(error) => error.is_ours() || matches!(error, FetchError::Status(429)),
            Self::NotThere(status) => *status == 429 || *status >= 500,
            Self::Truncated => true,
            _ => false,
        }
    }

    fn is_passing(&self) -> bool {
        matches!(self, Self::Truncated)
            || matches!(self, Self::Fetch(error) if error.is_passing())
            || matches!(self, Self::NotThere(429 | 500..))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what an error is mapped by takes it whole")]
fn disk(error: std::io::Error) -> PullError {
    PullError::Fetch(FetchError::Disk(error.to_string()))
}

/// What is wanted of a registry.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) image: Reference,
    /// What the app's owner registered: perhaps the manifest's digest, perhaps another one of the image.
    pub(crate) pin: Option<B256>,
    /// Bytes of all of it, packed.
    pub(crate) limit_bytes: u64,
}

/// What came of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pulled {
    /// Layers that another image here had already.
    pub(crate) shared: usize,
    /// Bytes that came over the network, without manifests.
    pub(crate) bytes: u64,
}

/// Pulls an image into a directory, which must not be there yet; after an error it may be there in part. Blobs that
/// images in `neighbours` have are taken from them.
pub(crate) async fn pull(
    fetcher: &Fetcher,
    wanted: &Wanted,
    dir: &Path,
    neighbours: &Path,
) -> Result<Pulled, PullError> {
    let origin = Url::parse(&wanted.image.origin()).map_err(|_| FetchError::Unusable)?;
    let registry = Registry { fetcher, origin, name: &wanted.image.name, token: Mutex::new(None) };
    let blobs = dir.join("blobs/sha256");
    tokio::fs::create_dir_all(&blobs).await.map_err(disk)?;
    let top = registry.top(wanted).await?;
    let (manifest, kept) = registry.manifest(top.clone()).await?;
    for paper in &kept {
        let path = blobs.join(hex::encode(paper.digest));
        tokio::fs::write(path, &paper.bytes).await.map_err(disk)?;
    }
    let blobs_of = manifest.blobs(wanted.limit_bytes)?;
    let progress = Progress::new(&wanted.image, blobs_of.iter().map(|blob| blob.size).sum());
    let here = Here { blobs, neighbours: neighbour_blobs(neighbours, dir).await, progress };
    let pulls: Vec<_> =
        blobs_of.into_iter().map(|blob| registry.take(blob, &here).boxed()).collect();
    let pulled: Vec<Pulled> =
        futures::stream::iter(pulls).buffer_unordered(AT_ONCE).try_collect().await?;
    let pulled = Pulled {
        shared: pulled.iter().map(|one| one.shared).sum(),
        bytes: pulled.iter().map(|one| one.bytes).sum(),
    };
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{}","size":{}}}]}}"#,
        hex::encode(top.digest),
        top.bytes.len()
    );
    tokio::fs::write(dir.join("index.json"), index).await.map_err(disk)?;
    tracing::info!(
        image = wanted.image.name,
        bytes = pulled.bytes,
        shared = pulled.shared,
        "image pulled"
    );
    Ok(pulled)
}

/// Where a pull goes, and how far it is.
struct Here {
    blobs: PathBuf,
    /// Directories of blobs of other images.
    neighbours: Vec<PathBuf>,
    progress: Progress,
}

/// Tells how far a pull is, now and then.
struct Progress {
    image: String,
    all_bytes: u64,
    state: Mutex<(u64, Instant)>,
}

impl Progress {
    fn new(image: &Reference, all_bytes: u64) -> Self {
        let state = Mutex::new((0, Instant::now()));
        Self { image: format!("{}:{}", image.name, image.tag), all_bytes, state }
    }

    fn add(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.0 = state.0.saturating_add(bytes);
        if state.1.elapsed() >= PROGRESS {
            state.1 = Instant::now();
            tracing::info!(image = self.image, bytes = state.0, of = self.all_bytes, "pulling");
        }
    }
}

/// One repository of a registry.
struct Registry<'a> {
    fetcher: &'a Fetcher,
    origin: Url,
    name: &'a str,
    token: Mutex<Option<HeaderValue>>,
}

/// A manifest or an index, as it came.
#[derive(Debug, Clone)]
struct Paper {
    digest: B256,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Blob {
    digest: B256,
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Descriptor {
    fn blob(&self) -> Result<Blob, PullError> {
        let digest = sha256(&self.digest).ok_or_else(|| {
            PullError::Manifest("it names something by another digest than SHA-256".to_owned())
        })?;
        Ok(Blob { digest, size: self.size })
    }
}

impl Manifest {
    fn parse(bytes: &[u8]) -> Result<Self, PullError> {
        serde_json::from_slice(bytes).map_err(|error| PullError::Manifest(error.to_string()))
    }

    /// Configuration and layers, each once.
    fn blobs(&self, limit_bytes: u64) -> Result<Vec<Blob>, PullError> {
        let config = self.config.as_ref();
        let config =
            config.ok_or_else(|| PullError::Manifest("it has no configuration".to_owned()))?;
        if self.layers.len() > LAYERS_MAX {
            return Err(PullError::Manifest(format!("it has more than {LAYERS_MAX} layers")));
        }
        if config.size > JSON_BYTES_MAX {
            return Err(PullError::Manifest("its configuration is too large".to_owned()));
        }
        let mut blobs: Vec<Blob> = Vec::new();
        for descriptor in std::iter::once(config).chain(&self.layers) {
            let blob = descriptor.blob()?;
            if blobs.iter().all(|known| known.digest != blob.digest) {
                blobs.push(blob);
            }
        }
        let bytes = blobs.iter().fold(0_u64, |all, blob| all.saturating_add(blob.size));
        if bytes > limit_bytes {
            return Err(PullError::TooLarge { bytes, limit: limit_bytes });
        }
        Ok(blobs)
    }

    /// The manifest for this machine.
    fn choose(&self) -> Result<Blob, PullError> {
        let here = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let ours = |it: &&Descriptor| {
            it.platform.as_ref().is_some_and(|at| at.os == "linux" && at.architecture == here)
        };
        let unnamed = |it: &&Descriptor| it.platform.is_none();
        let chosen =
            self.manifests.iter().find(ours).or_else(|| self.manifests.iter().find(unnamed));
        let none = || PullError::Manifest(format!("it has no image for linux/{here}"));
        chosen.ok_or_else(none)?.blob()
    }
}

impl Registry<'_> {
    /// What the name, or better the digest, leads to.
    async fn top(&self, wanted: &Wanted) -> Result<Paper, PullError> {
        if let Some(digest) = wanted.image.digest {
            return self.paper(digest).await;
        }
        if let Some(pin) = wanted.pin {
            match self.paper(pin).await {
                // What is registered may be another of the image's digests; the sandbox compares them all.
                Err(PullError::NotThere(_)) => {}
                done => return done,
            }
        }
        let bytes = self.small(&format!("manifests/{}", wanted.image.tag)).await?;
        Ok(Paper { digest: B256::from_slice(&Sha256::digest(&bytes)), bytes })
    }

    async fn paper(&self, digest: B256) -> Result<Paper, PullError> {
        let bytes = self.small(&format!("manifests/sha256:{}", hex::encode(digest))).await?;
        let found = B256::from_slice(&Sha256::digest(&bytes));
        if found == digest {
            Ok(Paper { digest, bytes })
        } else {
            Err(PullError::OtherDigest { asked: digest, found })
        }
    }

    /// The manifest for this machine, and all papers on the way to it.
    async fn manifest(&self, top: Paper) -> Result<(Manifest, Vec<Paper>), PullError> {
        let mut papers = vec![top];
        for _ in 0..DEPTH_MAX {
            let last = papers.last().map(|paper| &*paper.bytes).unwrap_or_default();
            let manifest = Manifest::parse(last)?;
            if manifest.config.is_some() {
                return Ok((manifest, papers));
            }
            papers.push(self.paper(manifest.choose()?.digest).await?);
        }
        Err(PullError::Manifest("its index leads to no manifest".to_owned()))
    }

    async fn small(&self, below: &str) -> Result<Vec<u8>, PullError> {
        let mut tries = Tries::default();
        loop {
            match self.try_small(below).await {
                Err(error) if tries.again(&error).await => {}
                done => return done,
            }
        }
    }

    async fn try_small(&self, below: &str) -> Result<Vec<u8>, PullError> {
        let answer = self.ask(below, None).await?;
        let too_large = || PullError::Manifest("it is too large".to_owned());
        bounded(answer, JSON_BYTES_MAX).await?.ok_or_else(too_large)
    }

    /// Brings one blob here, from a neighbour if one has it.
    async fn take(&self, blob: Blob, here: &Here) -> Result<Pulled, PullError> {
        let path = here.blobs.join(hex::encode(blob.digest));
        if linked(&here.neighbours, &path, blob).await {
            here.progress.add(blob.size);
            return Ok(Pulled { shared: 1, bytes: 0 });
        }
        // Its name says that it is whole.
        let part = path.with_extension("part");
        let mut tries = Tries::default();
        loop {
            match self.rest_of(blob, &part, &here.progress).await {
                Err(error) if tries.again(&error).await => {}
                done => break done?,
            }
        }
        let found = sha256_of(&part).await.map_err(disk)?;
        if found != blob.digest {
            return Err(PullError::OtherDigest { asked: blob.digest, found });
        }
        tokio::fs::rename(&part, &path).await.map_err(disk)?;
        Ok(Pulled { shared: 0, bytes: blob.size })
    }

    /// What is still missing of a blob.
    async fn rest_of(&self, blob: Blob, part: &Path, progress: &Progress) -> Result<(), PullError> {
        let here = tokio::fs::metadata(part).await.map_or(0, |meta| meta.len());
        if here == blob.size && here > 0 {
            return Ok(());
        }
        let below = format!("blobs/sha256:{}", hex::encode(blob.digest));
        let answer = self.ask(&below, (here > 0).then_some(here)).await?;
        let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT && starts_at(&answer, here);
        let mut have = if goes_on { here } else { 0 };
        let mut file = tokio::fs::File::options();
        let file = file.create(true).write(true).append(goes_on).truncate(!goes_on);
        let mut file = file.open(part).await.map_err(disk)?;
        let mut chunks = answer.bytes_stream();
        let mut cut = None;
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    cut = Some(crate::fetch::failed(&error));
                    break;
                }
            };
            have += chunk.len() as u64;
            if have > blob.size {
                return Err(PullError::TooLarge { bytes: have, limit: blob.size });
            }
            file.write_all(&chunk).await.map_err(disk)?;
            progress.add(chunk.len() as u64);
        }
        file.flush().await.map_err(disk)?;
        match cut {
            Some(error) => Err(error.into()),
            None if have < blob.size => Err(PullError::Truncated),
            None => Ok(()),
        }
    }

    /// Asks, with a token if that is what it takes.
    async fn ask(&self, below: &str, from: Option<u64>) -> Result<Response, PullError> {
        let url = format!("/v2/{}/{below}", self.name);
        let url = self.origin.join(&url).map_err(|_| FetchError::Unusable)?;
        let mut answer = self.send(&url, from).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let token = self.login(&answer).await?;
            *self.token.lock() = Some(token);
            answer = self.send(&url, from).await?;
        }
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(PullError::NotThere(status.as_u16())),
        }
    }

    async fn send(&self, url: &Url, from: Option<u64>) -> Result<Response, PullError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        if let Some(token) = self.token.lock().clone() {
            headers.insert(AUTHORIZATION, token);
        }
        let range = from.and_then(|from| HeaderValue::from_str(&format!("bytes={from}-")).ok());
        if let Some(range) = range {
            headers.insert(RANGE, range);
        }
        Ok(self.fetcher.ask(url.clone(), headers).await?)
    }

    /// Gets the token that everybody may have.
    async fn login(&self, refused: &Response) -> Result<HeaderValue, PullError> {
        let challenge = refused.headers().get(WWW_AUTHENTICATE).and_then(|it| it.to_str().ok());
        let challenge = challenge.and_then(Challenge::parse).ok_or(PullError::Login)?;
        let mut url = Url::parse(&challenge.realm).map_err(|_| PullError::Login)?;
        // A token is a secret of a sort: not in clear over a network, unless the registry itself is asked in clear.
        if url.scheme() != "https" && url.scheme() != self.origin.scheme() {
            return Err(PullError::Login);
        }
        let scope = challenge.scope.unwrap_or_else(|| format!("repository:{}:pull", self.name));
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("scope", &scope);
            if let Some(service) = &challenge.service {
                query.append_pair("service", service);
            }
        }
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let answer = self.fetcher.ask(url, HeaderMap::new()).await?;
        if !answer.status().is_success() {
            return Err(PullError::NotThere(answer.status().as_u16()));
        }
        let bytes = bounded(answer, TOKEN_BYTES_MAX).await?.ok_or(PullError::Login)?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| PullError::Login)?;
        let token = token.token.or(token.access_token).ok_or(PullError::Login)?;
        let mut header =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| PullError::Login)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// Whether a partial answer begins where it should.
fn starts_at(answer: &Response, from: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|it| it.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

/// What a registry says that it takes to be let in: `Bearer realm="…",service="…",scope="…"`.
struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Challenge {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        while let Some((name, value)) = rest.split_once("=\"") {
            let (value, after) = value.split_once('"')?;
            let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
            match &*name {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                "scope" => scope = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        Some(Self { realm: realm?, service, scope })
    }
}

/// Whether to try once more, after a pause that grows.
#[derive(Default)]
struct Tries {
    made: u32,
}

impl Tries {
    async fn again(&mut self, error: &PullError) -> bool {
        self.made += 1;
        if !error.is_passing() || self.made >= ATTEMPTS {
            return false;
        }
        tracing::debug!(%error, "pulling again");
        tokio::time::sleep(RETRY_PAUSE * (1 << self.made)).await;
        true
    }
}

/// A whole answer, if it is no larger than that.
async fn bounded(answer: Response, limit: u64) -> Result<Option<Vec<u8>>, PullError> {
    let mut bytes = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| crate::fetch::failed(&error))?);
        if bytes.len() as u64 > limit {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// Directories of blobs of all images here.
async fn neighbour_blobs(neighbours: &Path, except: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(mut entries) = tokio::fs::read_dir(neighbours).await else { return found };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let blobs = entry.path().join("blobs/sha256");
        if entry.path() != except && tokio::fs::try_exists(&blobs).await.unwrap_or(false) {
            found.push(blobs);
        }
    }
    found
}

/// Takes a blob from another image here. It was checked when it came, and nobody but this worker writes there.
async fn linked(neighbours: &[PathBuf], path: &Path, blob: Blob) -> bool {
    let name = hex::encode(blob.digest);
    for neighbour in neighbours {
        let there = neighbour.join(&name);
        let whole = tokio::fs::metadata(&there).await.is_ok_and(|meta| meta.len() == blob.size);
        if whole && tokio::fs::hard_link(there, path).await.is_ok() {
            return true;
        }
    }
    false
}

async fn sha256_of(path: &Path) -> std::io::Result<B256> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(B256::from_slice(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests;
