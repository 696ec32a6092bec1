//! The frame of every run, whatever runs in it: directories before, digest and archive after.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{B256, Bytes};
use async_trait::async_trait;
use primitives::{ResultDigest, UnixSeconds};
use tempfile::TempPath;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::archive::{self, Content, Entry};
use crate::contract::{
    COMPUTED, Computed, Declared, MAX_COMPUTED_BYTES, STDERR, STDOUT, Undeclared,
};
use crate::failure::host;
use crate::gpu::{Gpu, Gpus};
use crate::output::{GONE, disk_full, is_disk_full, list, remove_tree};
use crate::{Ear, EnvVar, Failure, FailureKind, Limits, Network, Wasm, digest};

/// How much of a failed program's output is kept for its owner.
const TAIL_BYTES: usize = 4 << 10;
/// Where systems keep what does not outlive them.
const ROOTS: &str = "/run/gristmill";

/// What a [`Sandbox`] needs to know once.
#[derive(Debug, Clone)]
pub struct Config {
    /// A directory of its own: scratch space of runs and the cache of compiled programs. Leftovers of runs that a crash
    /// cut short are removed from it at the start, so no two processes may share one.
    pub dir: PathBuf,
    /// Runs at once; further ones wait their turn.
    pub max_concurrent: usize,
    /// Compiled programs kept in memory.
    pub cached_programs: usize,
    /// Bytes of compiled programs kept on disk.
    pub cached_bytes: u64,
    /// Bytes of unpacked container images kept on disk.
    pub cached_image_bytes: u64,
    /// What runs containers.
    pub containers: Containers,
    /// The GPUs that containers may be given ([`crate::gpu::discover`]).
    pub gpus: Vec<Gpu>,
    /// Whether images may be taken from the machine's own daemon by their names: whoever names one can run it then.
    pub local_images: bool,
    /// What containers have whose limits say that they have a network.
    pub network: Option<Network>,
    /// Where the roots of running containers are shown to user namespaces: below a directory that everybody may pass
    /// through.
    pub roots: PathBuf,
}

/// What runs containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Containers {
    /// An OCI runtime where it can, else a daemon where one listens, else nothing.
    #[default]
    Auto,
    /// runc or crun, which this process must be root for.
    Oci,
    /// The Docker or Podman daemon behind that socket, or behind the first of the usual ones that is there.
    Daemon(Option<PathBuf>),
    /// Nothing.
    Off,
}

impl Config {
    /// A sandbox in that directory with room for that many runs at once, 32 programs in memory and 512 MiB on disk, and
    /// 16 GiB of images.
    pub fn new(dir: impl Into<PathBuf>, max_concurrent: usize) -> Self {
        Self {
            dir: dir.into(),
            max_concurrent,
            cached_programs: 32,
            cached_bytes: 512 << 20,
            cached_image_bytes: 16 << 30,
            containers: Containers::Auto,
            gpus: Vec::new(),
            local_images: false,
            network: None,
            roots: PathBuf::from(ROOTS),
        }
    }
}

/// What sort of program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A WASI command.
    Wasm,
    /// The archive of a container image.
    Container,
}

impl Kind {
    /// What several of them are called.
    fn plural(self) -> &'static str {
        match self {
            Self::Wasm => "WebAssembly programs",
            Self::Container => "containers",
        }
    }
}

/// One program to be run once.
#[derive(Clone)]
pub struct Job {
    /// What sort of program it is.
    pub kind: Kind,
    /// The program's file.
    pub program: PathBuf,
    /// What an image must be: the SHA-256 of its manifest, its configuration or its archive. Nothing for any; the caller
    /// answers for other programs.
    pub pin: Option<B256>,
    /// Arguments after the program's own name.
    pub args: Vec<String>,
    /// Its whole environment; see [`crate::env_for`]. There may be secrets in it, so it is never shown.
    pub env: Vec<EnvVar>,
    /// The directory that it sees as `/iexec_in`, read-only.
    pub inputs: PathBuf,
    /// The file that the result archive becomes, atomically; an older one is replaced.
    pub archive: PathBuf,
    /// Where the program's randomness comes from. The task's id: replicas agree, tasks differ.
    pub seed: B256,
    /// What the program's clock says when it starts. A fact of the chain, e.g. the deal's start: replicas agree.
    pub clock: UnixSeconds,
    /// What it may use.
    pub limits: Limits,
    /// Whole GPUs that it is given. WebAssembly has no use for them.
    pub gpus: u32,
}

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The digest that goes to the chain.
    pub digest: ResultDigest,
    /// The callback bytes, when the program declared a callback.
    pub callback_data: Option<Bytes>,
    /// The result archive: [`Job::archive`].
    pub archive: PathBuf,
    /// Its size.
    pub archive_bytes: u64,
    /// All of standard output.
    pub stdout: Bytes,
    /// All of standard error.
    pub stderr: Bytes,
    /// Work done, in units of fuel; the same for equal runs.
    pub fuel_used: u64,
    /// Time it took, packing included.
    pub duration: Duration,
}

/// A sandbox cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot start in {}: {detail}", dir.display())]
pub struct StartError {
    /// Its directory.
    pub dir: PathBuf,
    /// Why.
    pub detail: String,
}

/// Without the environment and the arguments.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("kind", &self.kind)
            .field("program", &self.program)
            .field("archive", &self.archive)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What a runtime is handed: everything resolved, all paths on this machine.
#[derive(Clone)]
pub struct Execution {
    /// The program's file.
    pub program: PathBuf,
    /// What an image must be.
    pub pin: Option<B256>,
    /// Arguments after its own name.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<EnvVar>,
    /// To be shown as `/iexec_in`, read-only.
    pub inputs: PathBuf,
    /// Who is told what it prints, as it comes.
    pub ear: Ear,
    /// To be shown as `/iexec_out`, writable. Nobody else writes there.
    pub output: PathBuf,
    /// Seed of its randomness.
    pub seed: B256,
    /// Start of its clock.
    pub clock: UnixSeconds,
    /// What it may use.
    pub limits: Limits,
    /// GPUs that are its own while it runs.
    pub gpus: Vec<Gpu>,
}

/// Without the environment and the arguments.
impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution")
            .field("program", &self.program)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A program that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub exit_code: i32,
    /// Captured standard output, within its limit.
    pub stdout: Bytes,
    /// Captured standard error, within its limit.
    pub stderr: Bytes,
    /// Work done, where the runtime can count it.
    pub fuel_used: u64,
}

/// A program that was stopped, or never started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Why.
    pub kind: FailureKind,
    /// What it had printed.
    pub stdout: Bytes,
    /// What it had printed to standard error.
    pub stderr: Bytes,
}

impl From<FailureKind> for Stopped {
    fn from(kind: FailureKind) -> Self {
        Self { kind, stdout: Bytes::new(), stderr: Bytes::new() }
    }
}

/// A way to execute programs. Everything around it, from directories to digests, is the same for all.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// What sort of programs it runs.
    fn kind(&self) -> Kind;

    /// Its name in capabilities and logs.
    fn name(&self) -> &'static str;

    /// Runs the program to its end, or stops it at a limit or when cancelled. When this returns nothing of the program
    /// runs any more.
    async fn execute(
        &self,
        execution: Execution,
        cancel: CancellationToken,
    ) -> Result<Executed, Stopped>;
}

/// Runs jobs, a bounded number at once. Cheap to clone; clones share the bound and the caches.
#[derive(Clone)]
pub struct Sandbox {
    runtimes: Vec<Arc<dyn Runtime>>,
    turns: Arc<Semaphore>,
    gpus: Gpus,
    #[cfg(target_os = "linux")]
    local: Option<crate::LocalImages>,
    scratch: PathBuf,
}

impl Sandbox {
    /// A sandbox for WebAssembly, and for containers where the machine can run them ([`crate::find_runtime`]).
    ///
    /// # Errors
    /// Its directory cannot be made private or written.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let started = |error: &dyn std::fmt::Display| StartError {
            dir: config.dir.clone(),
            detail: error.to_string(),
        };
        let wasm = Wasm::new(config).map_err(|error| started(&error))?;
        let sandbox = Self::with_runtime(config, Arc::new(wasm))?;
        #[cfg(target_os = "linux")]
        match containers(config)? {
            Ok(runtime) => return Ok(sandbox.and(runtime)),
            Err(why) if why.is_surprising() => {
                let (code, remedy) = (why.code(), why.remedy());
                tracing::warn!(code, %why, remedy, "containers do not run here");
            }
            Err(why) => tracing::info!(%why, remedy = why.remedy(), "containers do not run here"),
        }
        Ok(sandbox)
    }

    /// A sandbox around another runtime.
    ///
    /// # Errors
    /// Its directory cannot be made private or written.
    pub fn with_runtime(config: &Config, runtime: Arc<dyn Runtime>) -> Result<Self, StartError> {
        let scratch = config.dir.join("runs");
        fresh_private_dir(&scratch)
            .map_err(|error| StartError { dir: config.dir.clone(), detail: error.to_string() })?;
        let turns = Arc::new(Semaphore::new(config.max_concurrent.max(1)));
        let gpus = Gpus::new(config.gpus.clone());
        Ok(Self {
            runtimes: vec![runtime],
            turns,
            gpus,
            #[cfg(target_os = "linux")]
            local: local_images(config),
            scratch,
        })
    }

    /// The same with one more runtime, for another kind of program.
    #[must_use]
    pub fn and(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtimes.push(runtime);
        self
    }

    /// The runtimes' names.
    pub fn runtimes(&self) -> Vec<&'static str> {
        self.runtimes.iter().map(|runtime| runtime.name()).collect()
    }

    /// Whether programs of that kind run here.
    pub fn runs(&self, kind: Kind) -> bool {
        self.runtimes.iter().any(|runtime| runtime.kind() == kind)
    }

    /// Refuses a kind of program that does not run here, before anything is fetched for it.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self, kind: Kind) -> Result<(), Failure> {
        self.runtime(kind).map(drop).map_err(Failure::from)
    }

    /// Saves an image that the machine's own daemon has under that name into a file, as `docker save` does; says no where
    /// there is none, or where that is not allowed.
    ///
    /// # Errors
    /// It is larger than that, or the disk or the daemon fails.
    pub async fn save_local(
        &self,
        image: &str,
        into: &Path,
        max_bytes: u64,
    ) -> Result<bool, Failure> {
        #[cfg(target_os = "linux")]
        if let Some(local) = &self.local {
            return local.save(image, into, max_bytes).await;
        }
        let _ = (image, into, max_bytes);
        Ok(false)
    }

    fn runtime(&self, kind: Kind) -> Result<&Arc<dyn Runtime>, FailureKind> {
        let runtime = self.runtimes.iter().find(|runtime| runtime.kind() == kind);
        runtime.ok_or_else(|| FailureKind::NoRuntime { what: kind.plural() })
    }

    /// Runs a job. Cancelling stops the program within some tens of milliseconds.
    ///
    /// # Errors
    /// Everything that can go wrong, named; see [`FailureKind`].
    pub async fn run(&self, job: Job, cancel: CancellationToken) -> Result<Outcome, Failure> {
        self.run_aloud(job, Ear::default(), cancel).await
    }

    /// The same, and somebody is told what the program prints while it runs.
    ///
    /// # Errors
    /// As of [`Sandbox::run`].
    pub async fn run_aloud(
        &self,
        job: Job,
        ear: Ear,
        cancel: CancellationToken,
    ) -> Result<Outcome, Failure> {
        // First, so that who waits for a GPU takes nobody's turn.
        let gpus = tokio::select! {
            gpus = self.gpus.lease(job.gpus) => gpus?,
            () = cancel.cancelled() => return Err(FailureKind::Cancelled.into()),
        };
        let _turn = tokio::select! {
            turn = self.turns.acquire() => turn.map_err(|_| FailureKind::Cancelled)?,
            () = cancel.cancelled() => return Err(FailureKind::Cancelled.into()),
        };
        let begun = Instant::now();
        let runtime = self.runtime(job.kind)?;
        let scratch = self.scratch.clone();
        let room = blocking(move || Room::new(&scratch))
            .await?
            .map_err(host("making room for the run"))?;
        let execution = Execution {
            program: job.program,
            pin: job.pin,
            args: job.args,
            env: job.env,
            inputs: job.inputs,
            ear,
            output: room.output.clone(),
            seed: job.seed,
            clock: job.clock,
            limits: job.limits.clone(),
            gpus: gpus.gpus().to_vec(),
        };
        let executed = runtime.execute(execution, cancel).await.map_err(told)?;
        let (limits, archive) = (job.limits, job.archive);
        blocking(move || conclude(&room, &limits, executed, archive, begun)).await?
    }
}

#[cfg(target_os = "linux")]
fn local_images(config: &Config) -> Option<crate::LocalImages> {
    if !config.local_images {
        return None;
    }
    let named = match &config.containers {
        Containers::Daemon(socket) => socket.clone(),
        _ => None,
    };
    crate::LocalImages::of(&named.or_else(crate::find_daemon)?)
}

/// What runs containers here, by the configuration and by what there is.
#[cfg(target_os = "linux")]
fn containers(config: &Config) -> Result<Result<Arc<dyn Runtime>, crate::Unavailable>, StartError> {
    use crate::{Container, Daemon, Unavailable, find_daemon, find_runtime};
    let directly = || -> Result<Result<Arc<dyn Runtime>, Unavailable>, StartError> {
        let program = match find_runtime() {
            Ok(program) => program,
            Err(why) => return Ok(Err(why)),
        };
        Ok(Container::open(program, config)?.map(|found| Arc::new(found) as Arc<dyn Runtime>))
    };
    let by_daemon = |socket: PathBuf| -> Result<Result<Arc<dyn Runtime>, Unavailable>, StartError> {
        Ok(Daemon::open(&socket, config)?.map(|daemon| Arc::new(daemon) as Arc<dyn Runtime>))
    };
    match &config.containers {
        Containers::Off => Ok(Err(Unavailable::Off)),
        Containers::Oci => directly(),
        Containers::Daemon(socket) => match socket.clone().or_else(find_daemon) {
            Some(socket) => by_daemon(socket),
            None => Ok(Err(Unavailable::NoDaemon)),
        },
        Containers::Auto => match directly()? {
            Err(why) => match find_daemon() {
                Some(socket) => by_daemon(socket),
                None => Ok(Err(why)),
            },
            found => Ok(found),
        },
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FailureKind> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| FailureKind::Host { doing: "running a task", detail: error.to_string() })
}

fn told(stopped: Stopped) -> Failure {
    Failure {
        kind: stopped.kind,
        stdout_tail: tail(&stopped.stdout),
        stderr_tail: tail(&stopped.stderr),
    }
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]).into_owned()
}

/// The directory that a run sees as `/iexec_out`, in one that is private; gone when dropped.
struct Room {
    output: PathBuf,
}

impl Room {
    fn new(scratch: &Path) -> io::Result<Self> {
        let mut named = tempfile::Builder::new();
        named.prefix("run-");
        // In a container it may be another user who comes here.
        #[cfg(unix)]
        named.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
        Ok(Self { output: named.tempdir_in(scratch)?.keep() })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.output) {
            tracing::warn!(dir = %self.output.display(), %error, "what a run left is not gone");
        }
    }
}

/// Makes the directory anew, readable by nobody else.
pub(crate) fn fresh_private_dir(dir: &Path) -> io::Result<()> {
    match fs::symlink_metadata(dir) {
        Ok(_) => remove_tree(dir)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return private_dir(dir),
        Err(error) => return Err(error),
    }
    // What an earlier process was removing when it was killed.
    for beside in fs::read_dir(dir.parent().unwrap_or(dir))?.flatten() {
        if beside.file_name().to_string_lossy().starts_with(GONE) {
            remove_tree(&beside.path())?;
        }
    }
    private_dir(dir)
}

/// Makes sure that the directory exists and is readable by nobody else.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Turns what a finished program left into an outcome.
fn conclude(
    room: &Room,
    limits: &Limits,
    executed: Executed,
    archive: PathBuf,
    begun: Instant,
) -> Result<Outcome, Failure> {
    let concluded = gather(room, limits, &executed, &archive);
    let Gathered { digest, callback_data, archive_bytes } = concluded.map_err(|kind| {
        told(Stopped { kind, stdout: executed.stdout.clone(), stderr: executed.stderr.clone() })
    })?;
    Ok(Outcome {
        digest,
        callback_data,
        archive,
        archive_bytes,
        stdout: executed.stdout,
        stderr: executed.stderr,
        fuel_used: executed.fuel_used,
        duration: begun.elapsed(),
    })
}

struct Gathered {
    digest: ResultDigest,
    callback_data: Option<Bytes>,
    archive_bytes: u64,
}

fn gather(
    room: &Room,
    limits: &Limits,
    executed: &Executed,
    archive: &Path,
) -> Result<Gathered, FailureKind> {
    if executed.exit_code != 0 {
        return Err(why_it_failed(executed, &room.output, limits));
    }
    let mut entries = list(&room.output, limits.output_entries, limits.output_bytes)?;
    // In place of whatever the program put under those names.
    for (name, bytes) in [(STDOUT, &executed.stdout), (STDERR, &executed.stderr)] {
        entries.retain(|entry| entry.name.split('/').next() != Some(name));
        let content = Content::Held(bytes.clone());
        entries.push(Entry { name: name.to_owned(), content, bytes: bytes.len() as u64 });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let (digest, callback_data) = digest_of(&entries)?;
    let archive_bytes = deliver(room, &entries, archive).map_err(host("packing the result"))?;
    Ok(Gathered { digest, callback_data, archive_bytes })
}

/// Why a program says that it failed, where it can be known.
fn why_it_failed(executed: &Executed, output: &Path, limits: &Limits) -> FailureKind {
    if is_disk_full(output) {
        return disk_full();
    }
    // The system's own words, as C libraries and runtimes of all languages print them.
    if tail(&executed.stderr).contains("No space left on device") {
        return FailureKind::DiskFull { limit: limits.temporary_bytes() };
    }
    FailureKind::NonZeroExit { code: executed.exit_code }
}

/// Packs beside the run, then moves into place, so that a crash never leaves half an archive under its final name.
fn deliver(room: &Room, entries: &[Entry], archive: &Path) -> io::Result<u64> {
    let packed = TempPath::try_from_path(room.output.with_extension("zip"))?;
    let bytes = archive::pack(entries, &packed)?;
    if let Err(refused) = packed.persist(archive) {
        // Another file system: copy to a neighbour first.
        let beside = archive.with_extension("zip.part");
        fs::copy(&refused.path, &beside)?;
        fs::rename(&beside, archive)?;
    }
    Ok(bytes)
}

/// The digest by what `computed.json` declares. Works on the checked list, so no link can lead elsewhere.
fn digest_of(entries: &[Entry]) -> Result<(ResultDigest, Option<Bytes>), FailureKind> {
    let computed = entries
        .iter()
        .find(|entry| entry.name == COMPUTED)
        .ok_or(FailureKind::MissingComputedJson)?;
    if computed.bytes > MAX_COMPUTED_BYTES {
        return Err(FailureKind::BadComputedJson {
            detail: format!("it has {} bytes", computed.bytes),
        });
    }
    let mut json = Vec::new();
    let read = computed.content.open().map_err(host("reading computed.json"))?;
    read.ok_or(FailureKind::MissingComputedJson)?
        .take(MAX_COMPUTED_BYTES)
        .read_to_end(&mut json)
        .map_err(host("reading computed.json"))?;
    match Computed::declared(&json) {
        Ok(Declared::Callback(data)) => Ok((digest::of_callback(&data), Some(data.into()))),
        Ok(Declared::Path(parts)) => {
            of_path(entries, &parts.join("/")).map(|digest| (digest, None))
        }
        Err(Undeclared::Malformed(detail)) => Err(FailureKind::BadComputedJson { detail }),
        Err(Undeclared::Outside(path)) => Err(FailureKind::ResultOutside { path }),
    }
}

fn of_path(entries: &[Entry], path: &str) -> Result<ResultDigest, FailureKind> {
    let hash = |entry: &Entry| -> Result<Option<B256>, FailureKind> {
        let hashed = entry.content.open().and_then(|file| file.map(digest::sha256).transpose());
        hashed.map_err(host("hashing the result"))
    };
    let within = match entries.iter().find(|entry| entry.name == path) {
        Some(found) => match hash(found)? {
            Some(hash) => return Ok(ResultDigest(hash)),
            None => format!("{path}/"),
        },
        None if path.is_empty() => String::new(),
        None => {
            let path = format!("{}/{path}", crate::contract::OUT);
            return Err(FailureKind::ResultMissing { path });
        }
    };
    let is_direct =
        |entry: &&Entry| entry.name.strip_prefix(&within).is_some_and(|rest| !rest.contains('/'));
    let mut direct: Vec<_> = entries.iter().filter(is_direct).collect();
    direct.sort_by(|a, b| digest::by_name(&a.name, &b.name));
    let hashes = direct.into_iter().filter_map(|entry| hash(entry).transpose());
    Ok(digest::of_directory(hashes.collect::<Result<Vec<_>, _>>()?))
}
