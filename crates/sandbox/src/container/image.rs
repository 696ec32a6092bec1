//! Images: read from archives, checked, unpacked once, kept while there is room.
//!
//! An archive is what `docker save` writes, old or new, an OCI layout in a tar, or a layout in a directory, as pulling
//! from a registry leaves it. It may come from anybody: sizes and counts are bounded, and everything is found by digest. The image's id is the SHA-256 of its configuration, which
//! names its layers by their digests, so an image of a known id is never unpacked again.
//!
//! ```text
//! images/<id>/rootfs      hard links into the layers
//! images/<id>/image.json  what to start, and which layers it is made of
//! layers/<digest>/        one layer each, with its marks of what it hides
//! ```

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use alloy_primitives::{B256, hex};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layers::{self, Budget, Left};
use super::user::{self, User};
use crate::failure::host;
use crate::{FailureKind, Limits, digest};

/// Entries of an archive: a few for each layer.
const ARCHIVE_ENTRIES_MAX: usize = 10_000;
/// Manifests and configurations are a few kilobytes.
const JSON_BYTES_MAX: u64 = 4 << 20;
const LAYERS_MAX: usize = 256;
/// An index may point to an index, as archives of several platforms do.
const INDEX_DEPTH_MAX: usize = 3;
/// What an image says of its start: all its words together, far below what a kernel takes of one program, and how many.
const START_BYTES_MAX: usize = 64 << 10;
const START_TEXTS_MAX: usize = 1_000;
/// Checked archives remembered.
const CHECKED_MAX: usize = 1_000;

/// An image, unpacked. It stays on disk as long as somebody holds it.
#[derive(Debug)]
pub(super) struct Image {
    id: B256,
    dir: PathBuf,
    about: About,
}

/// What is kept beside an image's files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct About {
    entrypoint: Vec<String>,
    command: Vec<String>,
    env: Vec<String>,
    directory: String,
    user: String,
    layers: Vec<B256>,
    bytes: u64,
}

impl Image {
    /// One without any files, below that directory.
    pub(super) fn empty(dir: &Path) -> io::Result<Self> {
        let image = Self { id: B256::ZERO, dir: dir.to_owned(), about: About::default() };
        layers::compose(&[], &image.root(), u64::MAX)
            .map_err(|failure| io::Error::other(failure.to_string()))?;
        Ok(image)
    }

    /// SHA-256 of its configuration.
    pub(super) fn id(&self) -> B256 {
        self.id
    }

    /// What to start with those arguments: they take the place of the image's own.
    pub(super) fn command(&self, args: &[String]) -> Vec<String> {
        let args = if args.is_empty() { &self.about.command } else { args };
        self.about.entrypoint.iter().chain(args).cloned().collect()
    }

    pub(super) fn env(&self) -> &[String] {
        &self.about.env
    }

    /// Where programs start: the image's directory if it has it.
    pub(super) fn directory(&self) -> &str {
        let directory = &*self.about.directory;
        let is_plain = directory.starts_with('/') && layers::plain(Path::new(directory)).is_some();
        let there = || user::open_below(&self.root(), directory);
        let is_dir = |file: File| file.metadata().is_ok_and(|meta| meta.is_dir());
        if is_plain && there().is_some_and(is_dir) { directory } else { "/" }
    }

    /// Whom its program runs as, where it has ids of its own.
    pub(super) fn user(&self) -> Result<User, FailureKind> {
        User::of(&self.root(), &self.about.user)
    }

    /// Whether there is a file in it that how names are resolved can be laid over.
    pub(super) fn has_resolver(&self) -> bool {
        layers::plain(Path::new(layers::RESOLVER))
            .is_some_and(|path| layers::is_file_below(&self.root(), &path))
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("rootfs")
    }
}

/// All images of a sandbox.
#[derive(Debug)]
pub(super) struct Images {
    images: PathBuf,
    layers: PathBuf,
    capacity_bytes: u64,
    /// Images in use. Held while looking for one on disk and while throwing out.
    live: Mutex<HashMap<B256, Weak<Image>>>,
    /// One image is unpacked at a time: layers are shared.
    unpacking: Mutex<()>,
    /// Archives that were found to be what they are pinned to.
    checked: Mutex<HashSet<Checked>>,
}

/// An archive at a moment, and its pin.
type Checked = (PathBuf, u64, Option<SystemTime>, B256);

impl Images {
    pub(super) fn open(dir: &Path, capacity_bytes: u64) -> io::Result<Self> {
        let at = |name: &str| -> io::Result<PathBuf> {
            let dir = dir.join(name);
            crate::run::private_dir(&dir)?;
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                // What a crash left half unpacked.
                if entry.file_name().to_string_lossy().starts_with('.') {
                    fs::remove_dir_all(entry.path())?;
                }
            }
            Ok(dir)
        };
        Ok(Self {
            images: at("images")?,
            layers: at("layers")?,
            capacity_bytes,
            live: Mutex::default(),
            unpacking: Mutex::default(),
            checked: Mutex::default(),
        })
    }

    /// The image in that archive, unpacked if it is not here. `pin` is what it must be: the digest of its manifest, of
    /// its configuration, or of the archive itself.
    pub(super) fn get(
        &self,
        archive: &Path,
        pin: Option<B256>,
        limits: &Limits,
    ) -> Result<Arc<Image>, FailureKind> {
        let found = Archive::open(archive, limits.image_bytes)?.read()?;
        if let Some(pin) = pin {
            self.check(archive, pin, &found)?;
        }
        if let Some(image) = self.known(found.id) {
            return Ok(image);
        }
        let _turn = self.unpacking.lock();
        if let Some(image) = self.known(found.id) {
            return Ok(image);
        }
        self.unpack(&found, limits)?;
        let image = self.known(found.id).ok_or_else(|| FailureKind::Host {
            doing: "keeping an image",
            detail: "it is gone at once".to_owned(),
        })?;
        self.throw_out();
        Ok(image)
    }

    fn check(&self, archive: &Path, pin: B256, found: &Found) -> Result<(), FailureKind> {
        if found.digests.contains(&pin) || found.id == pin {
            return Ok(());
        }
        let doing = "reading an image";
        let meta = fs::metadata(archive).map_err(host(doing))?;
        let checked = (archive.to_owned(), meta.len(), meta.modified().ok(), pin);
        if self.checked.lock().contains(&checked) {
            return Ok(());
        }
        // A directory has no digest of its own.
        let whole = if meta.is_dir() {
            None
        } else {
            Some(File::open(archive).and_then(digest::sha256).map_err(host(doing))?)
        };
        if whole != Some(pin) {
            return Err(FailureKind::OtherImage { found: found.id.to_string() });
        }
        let mut known = self.checked.lock();
        if known.len() >= CHECKED_MAX {
            known.clear();
        }
        known.insert(checked);
        Ok(())
    }

    fn known(&self, id: B256) -> Option<Arc<Image>> {
        let mut live = self.live.lock();
        if let Some(image) = live.get(&id).and_then(Weak::upgrade) {
            return Some(image);
        }
        let dir = self.images.join(hex::encode(id));
        let about = fs::read(dir.join("image.json")).ok()?;
        let about: About = serde_json::from_slice(&about).ok()?;
        // When it was last used, for throwing out.
        let _ = File::create(dir.join("used"));
        let image = Arc::new(Image { id, dir, about });
        live.retain(|_, image| image.strong_count() > 0);
        live.insert(id, Arc::downgrade(&image));
        Some(image)
    }

    fn unpack(&self, found: &Found, limits: &Limits) -> Result<(), FailureKind> {
        let mut budget = Budget::of(limits.image_bytes);
        let mut dirs = Vec::with_capacity(found.layers.len());
        for (layer, diff_id) in found.layers.iter().zip(&found.diff_ids) {
            let dir = self.layers.join(hex::encode(diff_id));
            if dir.exists() {
                tracing::debug!(layer = %diff_id, "layer is here");
            } else {
                let fresh = fresh(&self.layers)?;
                let unpacked = found
                    .archive
                    .layer(layer)
                    .and_then(|layer| layers::unpack(layer, fresh.path(), &mut budget))?;
                if unpacked != *diff_id {
                    let detail = format!("layer {diff_id} has digest {unpacked}");
                    return Err(FailureKind::BadImage { detail });
                }
                fs::rename(fresh.keep(), &dir).map_err(host("keeping a layer"))?;
            }
            dirs.push(dir);
        }
        let fresh = fresh(&self.images)?;
        let root = fresh.path().join("rootfs");
        let bytes = layers::compose(&dirs, &root, limits.image_bytes)?;
        let about = About { layers: found.diff_ids.clone(), bytes, ..found.about.clone() };
        let keep = || -> io::Result<()> {
            fs::write(fresh.path().join("image.json"), serde_json::to_vec(&about)?)?;
            let dir = self.images.join(hex::encode(found.id));
            if dir.exists() {
                // Without a readable image.json, or it would have been found.
                fs::remove_dir_all(&dir)?;
            }
            fs::rename(fresh.path(), dir)
        };
        keep().map_err(host("keeping an image"))?;
        // It has another name now.
        let _ = fresh.keep();
        Ok(())
    }

    /// Makes room: what was not used for longest goes, except what is in use. Failing to is no reason to fail a run.
    fn throw_out(&self) {
        if let Err(error) = self.try_throw_out() {
            tracing::warn!(%error, "old images stay behind");
        }
    }

    fn try_throw_out(&self) -> io::Result<()> {
        let live = self.live.lock();
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.images)? {
            let dir = entry?.path();
            let Ok(about) = fs::read(dir.join("image.json")) else { continue };
            let Ok(about) = serde_json::from_slice::<About>(&about) else { continue };
            let used = fs::metadata(dir.join("used")).and_then(|used| used.modified()).ok();
            kept.push((used, dir, about));
        }
        kept.sort_by_key(|(used, ..)| *used);
        let mut bytes: u64 = kept.iter().map(|(.., about)| about.bytes).sum();
        let mut left = Vec::new();
        for (_, dir, about) in kept {
            let in_use = live.values().filter_map(Weak::upgrade).any(|image| image.dir == dir);
            if bytes <= self.capacity_bytes || in_use {
                left.push(about);
                continue;
            }
            fs::remove_dir_all(&dir)?;
            bytes = bytes.saturating_sub(about.bytes);
        }
        let needed: HashSet<String> =
            left.iter().flat_map(|about| about.layers.iter().map(hex::encode)).collect();
        for entry in fs::read_dir(&self.layers)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && !needed.contains(&name) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A directory that is gone unless it is renamed; its name says that it is not finished.
fn fresh(within: &Path) -> Result<tempfile::TempDir, FailureKind> {
    let made = tempfile::Builder::new().prefix(".part-").tempdir_in(within);
    made.map_err(host("making room for an image"))
}

fn bad(detail: impl Into<String>) -> FailureKind {
    FailureKind::BadImage { detail: detail.into() }
}

/// What an archive says it holds.
#[derive(Debug)]
struct Found {
    archive: Archive,
    /// SHA-256 of the configuration.
    id: B256,
    /// Of the manifests that lead to it.
    digests: Vec<B256>,
    about: About,
    /// Names of the layers in the archive, lowest first.
    layers: Vec<String>,
    /// SHA-256 of each, unpacked.
    diff_ids: Vec<B256>,
}

/// An image's files, which can be read in any order.
#[derive(Debug)]
enum Archive {
    /// In a tar: where each is, and how long.
    Tar { file: File, files: HashMap<String, (u64, u64)> },
    /// In a directory, which is this machine's own: only blobs are looked for there, and the index.
    Layout(PathBuf),
}

/// An archive of which only headers are read, each of them bounded: they are held in memory.
struct Headers<R> {
    from: R,
    left: Left,
}

impl<R: Read> Read for Headers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.left.read(&mut self.from, buffer)
    }
}

impl<R: Seek> Seek for Headers<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.from.seek(to)
    }
}

/// `manifest.json` of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// An OCI index or manifest.
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
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// An image's configuration.
#[derive(Debug, Deserialize)]
struct Configuration {
    architecture: Option<String>,
    os: Option<String>,
    config: Option<Start>,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Archive {
    fn open(path: &Path, max_bytes: u64) -> Result<Self, FailureKind> {
        let doing = "reading an image";
        if path.is_dir() {
            return Ok(Self::Layout(path.to_owned()));
        }
        let file = File::open(path).map_err(host(doing))?;
        let bytes = file.metadata().map_err(host(doing))?.len();
        if bytes > max_bytes {
            return Err(FailureKind::ProgramTooLarge { bytes, limit: max_bytes });
        }
        let mut files = HashMap::new();
        let left = Left::of(layers::HEADER_BYTES_MAX);
        let mut tar =
            tar::Archive::new(Headers { from: BufReader::new(&file), left: left.clone() });
        let unreadable = |error: io::Error| {
            bad(format!("it is not a tar as docker save or an OCI tool writes it: {error}"))
        };
        for (number, entry) in tar.entries_with_seek().map_err(unreadable)?.enumerate() {
            let entry = entry.map_err(unreadable)?;
            left.set(layers::HEADER_BYTES_MAX);
            if number >= ARCHIVE_ENTRIES_MAX {
                return Err(bad(format!(
                    "its archive has more than {ARCHIVE_ENTRIES_MAX} entries"
                )));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if entry.header().entry_type().is_file() {
                let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
                files.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
        drop(tar);
        Ok(Self::Tar { file, files })
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Tar { files, .. } => files.contains_key(name),
            Self::Layout(_) => name == "index.json",
        }
    }

    fn read(self) -> Result<Found, FailureKind> {
        if self.has("index.json") {
            self.read_layout()
        } else if self.has("manifest.json") {
            self.read_saved()
        } else {
            Err(bad("its archive has neither index.json nor manifest.json"))
        }
    }

    fn read_layout(self) -> Result<Found, FailureKind> {
        let index = self.small("index.json")?;
        let mut digests = Vec::new();
        let mut manifest: Manifest = parse("index.json", &index)?;
        for _ in 0..INDEX_DEPTH_MAX {
            if manifest.config.is_some() {
                break;
            }
            let next = choose(&manifest.manifests)?;
            digests.push(next);
            manifest = parse("its manifest", &self.blob(next)?)?;
        }
        let config = manifest.config.ok_or_else(|| bad("its index leads to no manifest"))?;
        let id = sha256_of(&config.digest)?;
        let config = self.blob(id)?;
        let named = |layer: &Descriptor| sha256_of(&layer.digest).map(blob_name);
        let layers = manifest.layers.iter().map(named).collect::<Result<_, _>>()?;
        self.found(id, digests, &config, layers)
    }

    fn read_saved(self) -> Result<Found, FailureKind> {
        let saved = self.small("manifest.json")?;
        let saved: Vec<Saved> = parse("manifest.json", &saved)?;
        let [saved] = <[Saved; 1]>::try_from(saved)
            .map_err(|all| bad(format!("its archive holds {} images, not one", all.len())))?;
        let config = self.small(&saved.config)?;
        let id = B256::from_slice(&Sha256::digest(&config));
        self.found(id, vec![], &config, saved.layers)
    }

    fn found(
        self,
        id: B256,
        digests: Vec<B256>,
        config: &[u8],
        layers: Vec<String>,
    ) -> Result<Found, FailureKind> {
        let config: Configuration = parse("its configuration", config)?;
        let fits = |said: &Option<String>, here: &str| said.as_deref().is_none_or(|it| it == here);
        if !fits(&config.os, "linux") || !fits(&config.architecture, architecture()) {
            let made_for = [config.os, config.architecture].map(Option::unwrap_or_default);
            let detail = format!(
                "it is made for {}, and this machine is linux/{}",
                made_for.join("/"),
                architecture()
            );
            return Err(bad(detail));
        }
        let diff_ids: Vec<B256> =
            config.rootfs.diff_ids.iter().map(|it| sha256_of(it)).collect::<Result<_, _>>()?;
        if diff_ids.len() != layers.len() || layers.len() > LAYERS_MAX {
            return Err(bad(format!(
                "it has {} layers and names {}; at most {LAYERS_MAX} are unpacked",
                layers.len(),
                diff_ids.len()
            )));
        }
        let start = config.config.unwrap_or_default();
        check_start(&start)?;
        let about = About {
            entrypoint: start.entrypoint.unwrap_or_default(),
            command: start.cmd.unwrap_or_default(),
            env: start.env.unwrap_or_default(),
            directory: start.working_dir.unwrap_or_default(),
            user: start.user.unwrap_or_default(),
            layers: vec![],
            bytes: 0,
        };
        Ok(Found { archive: self, id, digests, about, layers, diff_ids })
    }

    fn at(&self, name: &str) -> Result<Take<File>, FailureKind> {
        let absent = || bad(format!("its archive has no {}", short(name)));
        let open = |path: &Path| File::open(path).map_err(|_| absent());
        match self {
            Self::Tar { file, files } => {
                let (from, bytes) = *files.get(name).ok_or_else(absent)?;
                let positioned = || {
                    let mut file = file.try_clone()?;
                    file.seek(SeekFrom::Start(from))?;
                    Ok(file.take(bytes))
                };
                positioned().map_err(host("reading an image"))
            }
            Self::Layout(dir) => Ok(open(&dir.join(name))?.take(u64::MAX)),
        }
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, FailureKind> {
        let mut bytes = Vec::new();
        let read = self.at(name)?.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(host("reading an image"))?;
        if bytes.len() as u64 > JSON_BYTES_MAX {
            return Err(bad(format!("{} is too large", short(name))));
        }
        Ok(bytes)
    }

    /// A small file that is what its name says.
    fn blob(&self, digest: B256) -> Result<Vec<u8>, FailureKind> {
        let bytes = self.small(&blob_name(digest))?;
        let found = B256::from_slice(&Sha256::digest(&bytes));
        if found != digest {
            return Err(bad(format!("blob {digest} has digest {found}")));
        }
        Ok(bytes)
    }

    /// A layer's tar, decompressed as it is read.
    fn layer(&self, name: &str) -> Result<Box<dyn Read>, FailureKind> {
        let mut magic = [0; 4];
        let _ = self.at(name)?.read(&mut magic).map_err(host("reading an image"))?;
        let layer = BufReader::with_capacity(64 << 10, self.at(name)?);
        match magic {
            [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(layer))),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                Err(bad("its layers are compressed with zstd; gzip or nothing is unpacked here"))
            }
            _ => Ok(Box::new(layer)),
        }
    }
}

/// Whether a kernel takes what the image says of its start: the machine is not to blame for an image that nobody can start.
fn check_start(start: &Start) -> Result<(), FailureKind> {
    let lists = [&start.entrypoint, &start.cmd, &start.env];
    let texts = lists.into_iter().flatten().flatten();
    let texts = texts.chain(&start.working_dir).chain(&start.user);
    let bytes: usize = texts.clone().map(String::len).sum();
    if bytes > START_BYTES_MAX || texts.clone().count() > START_TEXTS_MAX {
        let detail = "its entry point, command and environment are too long";
        return Err(bad(format!(
            "{detail}: {START_BYTES_MAX} bytes and {START_TEXTS_MAX} entries are the most"
        )));
    }
    if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
        return Err(bad(format!("'{}' has a zero byte", short(text).escape_default())));
    }
    let named = |entry: &&String| entry.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    match start.env.iter().flatten().find(|entry| !named(entry)) {
        Some(entry) => Err(bad(format!("its environment has '{}' without a value", short(entry)))),
        None => Ok(()),
    }
}

/// The manifest for this machine.
fn choose(manifests: &[Descriptor]) -> Result<B256, FailureKind> {
    let ours = |it: &&Descriptor| {
        it.platform.as_ref().is_some_and(|at| at.os == "linux" && at.architecture == architecture())
    };
    let unnamed = |it: &&Descriptor| it.platform.is_none();
    let chosen = manifests.iter().find(ours).or_else(|| manifests.iter().find(unnamed));
    let chosen =
        chosen.ok_or_else(|| bad(format!("it has no manifest for linux/{}", architecture())))?;
    sha256_of(&chosen.digest)
}

fn parse<'a, T: Deserialize<'a>>(what: &str, json: &'a [u8]) -> Result<T, FailureKind> {
    serde_json::from_slice(json).map_err(|error| bad(format!("{what} cannot be read: {error}")))
}

fn sha256_of(digest: &str) -> Result<B256, FailureKind> {
    let hash = digest.strip_prefix("sha256:").and_then(|hash| hash.parse().ok());
    hash.ok_or_else(|| bad(format!("'{}' is no SHA-256 digest", short(digest))))
}

fn blob_name(digest: B256) -> String {
    format!("blobs/sha256/{}", hex::encode(digest))
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// This machine's architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
