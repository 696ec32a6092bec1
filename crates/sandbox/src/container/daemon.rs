//! Images, run by a Docker or Podman daemon through its socket, where no OCI runtime can be called directly: by a worker
//! that is not root, or on a machine that has only the daemon.
//!
//! ```text
//!   Images (unpacked and checked here) ──► one flat image in the daemon, `gristmill.local/image-<id>`, made once
//!                                             │
//!   Execution ──► create (no network, read-only root, no capabilities, limits) ──► attach ──► start ──► wait ──► remove
//! ```
//!
//! The daemon never pulls, unpacks or judges an image: what a stranger made is taken apart by the same code as for the
//! OCI runtime, so that programs see the same files with the same rights under both. System calls are held to the
//! daemon's own list, which cannot be replaced through every daemon's API.
//!
//! Nothing is logged by the daemon: output goes through the attached connection, is bounded here, and is gone.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use alloy_primitives::{Bytes, hex};
use async_trait::async_trait;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigLogConfig, Mount, MountType,
    ResourcesUlimits,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ids::{Ids, RANGES};
use super::image::{Image, Images};
use super::user::User;
use super::{Unavailable, bundle, oci};
use crate::Stream::{Stderr, Stdout};
use crate::contract::{IN, OUT};
use crate::failure::host;
use crate::gpu::Gpu;
use crate::run::{Config, Executed, Execution, Kind, Runtime, Stopped, private_dir};
use crate::{Failure, FailureKind, Limits, Network, StartError};

/// Where daemons listen, best first; rootless ones below the user's own directory.
const SOCKETS: [&str; 3] = ["/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock"];
const OWN_SOCKETS: [&str; 2] = ["docker.sock", "podman/podman.sock"];
/// What images are called in the daemon's store, before their ids. The id is no tag, since Podman gives none.
const REPOSITORY: &str = "gristmill.local/image-";
const TAG: &str = "latest";
/// Which sandbox a container belongs to.
const LABEL: &str = "gristmill.sandbox";
/// How long the daemon may take to answer; importing an image is one answer.
const ANSWER_SECONDS: u64 = 300;
const CHECK_TIME: Duration = Duration::from_secs(20);
const END_TIME: Duration = Duration::from_secs(30);
const OUTPUT_CHECK: Duration = Duration::from_millis(50);
const WORDS_CHARS_MAX: usize = 400;
/// Bytes on their way to the daemon.
const PIPE_BYTES: usize = 256 << 10;
/// Processes of the user that a container runs as, all containers together.
const PROCESSES_OF_USER: u64 = 16_384;
/// How a program ends that was killed.
const KILLED: i64 = 137;

/// Runs images through a daemon.
pub struct Daemon {
    api: Api,
    images: Arc<Images>,
    bundles: PathBuf,
    cached_bytes: u64,
    next: AtomicU32,
    importing: tokio::sync::Mutex<()>,
}

/// The daemon, and what tells this sandbox's containers from others'.
#[derive(Clone)]
struct Api {
    docker: Docker,
    prefix: String,
    /// Who the daemon's root is on this machine.
    root: Root,
    /// What containers have whose limits say that they have a network.
    network: Option<Network>,
}

/// Who the daemon's root is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    /// The machine's: ids in its containers are the machine's own.
    Machine,
    /// Whoever started it, in a user namespace; `is_anybody` if it can be another of the container's users there.
    Somebody { is_anybody: bool },
}

/// Images that the machine's daemon has by name, as its owner built or pulled them.
#[derive(Debug, Clone)]
pub struct LocalImages {
    docker: Docker,
}

impl LocalImages {
    /// Those of the daemon that listens there; nothing if none does.
    pub fn of(socket: &Path) -> Option<Self> {
        let at = socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&at, ANSWER_SECONDS, API_DEFAULT_VERSION).ok()?;
        Some(Self { docker })
    }

    /// Saves an image into a file as `docker save` does. Says whether there is one of that name; if not, or after an error,
    /// the file may be there in part.
    ///
    /// # Errors
    /// It is larger than that, or the disk or the daemon fails.
    pub async fn save(&self, image: &str, into: &Path, max_bytes: u64) -> Result<bool, Failure> {
        let docker = self.docker.clone().negotiate_version().await;
        let docker = docker.map_err(|error| exporting(&error))?;
        match docker.inspect_image(image).await {
            Ok(_) => {}
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(exporting(&error).into()),
        }
        let disk = host("saving an image");
        let mut file = tokio::fs::File::create(into).await.map_err(&disk)?;
        let mut chunks = std::pin::pin!(docker.export_image(image));
        let mut bytes = 0_u64;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| exporting(&error))?;
            bytes = bytes.saturating_add(chunk.len() as u64);
            if bytes > max_bytes {
                return Err(FailureKind::ProgramTooLarge { bytes, limit: max_bytes }.into());
            }
            file.write_all(&chunk).await.map_err(&disk)?;
        }
        file.flush().await.map_err(&disk)?;
        Ok(true)
    }
}

fn exporting(error: &bollard::errors::Error) -> FailureKind {
    FailureKind::Host { doing: "asking the daemon for an image", detail: told(error) }
}

/// The first socket of a daemon that is there.
pub fn find_daemon() -> Option<PathBuf> {
    let named = std::env::var("DOCKER_HOST").ok();
    let named = named.as_deref().and_then(|it| it.strip_prefix("unix://")).map(PathBuf::from);
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.iter().flat_map(|dir| OWN_SOCKETS.map(|name| dir.join(name)));
    let mut places = named.into_iter().chain(own).chain(SOCKETS.map(PathBuf::from));
    places.find(|path| std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket()))
}

impl Daemon {
    /// A runtime around the daemon that listens there, which keeps what it unpacks under the configured directory. Tries
    /// with an empty image whether it makes containers, and ends those that an earlier process left behind.
    ///
    /// # Errors
    /// The directory cannot be used, or (the inner one) the daemon does not do what it should.
    pub fn open(socket: &Path, config: &Config) -> Result<Result<Self, Unavailable>, StartError> {
        let dir = config.dir.join("containers");
        let failed =
            |error: io::Error| StartError { dir: config.dir.clone(), detail: error.to_string() };
        private_dir(&dir).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        let bundles = dir.join("bundles");
        crate::run::fresh_private_dir(&bundles).map_err(failed)?;
        let images = Images::open(&dir, config.cached_image_bytes).map_err(failed)?;
        let refused = |words: String| Unavailable::Refused { program: socket.to_owned(), words };
        let docker = Docker::connect_with_unix(
            &socket.to_string_lossy(),
            ANSWER_SECONDS,
            API_DEFAULT_VERSION,
        );
        let docker = match docker {
            Ok(docker) => docker,
            Err(error) => return Ok(Err(refused(told(&error)))),
        };
        let daemon = Self {
            api: Api {
                docker,
                prefix: oci::prefix_of(&dir),
                root: Root::Machine,
                network: config.network.clone(),
            },
            images: Arc::new(images),
            bundles,
            cached_bytes: config.cached_image_bytes,
            next: AtomicU32::new(0),
            importing: tokio::sync::Mutex::new(()),
        };
        let unlimited = || Unavailable::Unlimited { socket: socket.to_owned() };
        Ok(on_a_thread_of_its_own(daemon.checked(socket)).map_err(|flaw| match flaw {
            Flaw::Unlimited => unlimited(),
            Flaw::Words(words) => refused(words),
        }))
    }

    /// The same, once it is plain that the daemon works.
    async fn checked(mut self, socket: &Path) -> Result<Self, Flaw> {
        let words = |error: bollard::errors::Error| told(&error);
        // An older daemon is spoken to in its own words.
        let negotiated = self.api.docker.clone().negotiate_version();
        let late = |_| "it does not answer".to_owned();
        self.api.docker =
            tokio::time::timeout(CHECK_TIME, negotiated).await.map_err(late)?.map_err(words)?;
        let info = self.api.docker.info().await.map_err(words)?;
        if info.security_options.iter().flatten().any(|option| option.contains("name=userns")) {
            // Which of the machine's ids are its containers' is its own secret: they could write no results.
            return Err("it renames the users of all containers (userns-remap)".to_owned().into());
        }
        self.api.end_all().await.map_err(words)?;
        let bundle = bundle::empty(&self.bundles).map_err(|error| error.to_string())?;
        self.import(&bundle.image).await.map_err(|kind| kind.to_string())?;
        if owner_of(socket).await.map_err(|error| error.to_string())? != 0 {
            let somebody = self.as_user(User { uid: 1, gid: 1, groups: vec![] });
            let is_anybody = self.try_out(&bundle, somebody).await.is_ok();
            self.api.root = Root::Somebody { is_anybody };
        }
        self.try_out(&bundle, Account::default()).await?;
        Ok(self)
    }

    /// Makes a container with nothing in it, and looks whether the daemon holds it to what it is told.
    async fn try_out(&self, bundle: &bundle::Empty, account: Account) -> Result<(), Flaw> {
        let words = |error: bollard::errors::Error| told(&error);
        let id = self.api.name(RANGES);
        let command = vec!["/nothing".to_owned()];
        let body = self.api.body(&bundle.image, &bundle.execution, command, account);
        let body = body.map_err(|error| error.to_string())?;
        let tried = async {
            let options = CreateContainerOptionsBuilder::new().name(&id).build();
            self.api.docker.create_container(Some(options), body).await.map_err(words)?;
            let made = self.api.docker.inspect_container(&id, None).await.map_err(words)?;
            let held = made.host_config.unwrap_or_default();
            let is_set = |limit: Option<i64>| limit.is_some_and(|limit| limit > 0);
            if !is_set(held.memory) || !is_set(held.pids_limit) {
                return Err(Flaw::Unlimited);
            }
            match self.api.docker.start_container(&id, None).await {
                Err(error) if oci::is_about_the_program(&told(&error)) => Ok(()),
                Err(error) => Err(Flaw::Words(told(&error))),
                Ok(()) => Err("it starts what is not there".to_owned().into()),
            }
        };
        let tried = tried.await;
        self.api.remove(&id).await;
        tried
    }

    /// Makes sure that the daemon has the image.
    async fn import(&self, image: &Image) -> Result<(), FailureKind> {
        let failed = |error: bollard::errors::Error| FailureKind::Host {
            doing: "giving the image to the daemon",
            detail: told(&error),
        };
        let _turn = self.importing.lock().await;
        if self.api.docker.inspect_image(&name_of(image)).await.is_ok() {
            return Ok(());
        }
        let (pipe, chunks) = Pipe::new();
        let root = image.root();
        let packing = tokio::task::spawn_blocking(move || {
            let mut tar = tar::Builder::new(BufWriter::with_capacity(PIPE_BYTES, pipe));
            tar.follow_symlinks(false);
            tar.append_dir_all(".", root)?;
            tar.into_inner()?.flush()
        });
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(&repository_of(image))
            .tag(TAG)
            .build();
        let body = bollard::body_stream(chunks);
        let imported = self.api.docker.create_image(Some(options), Some(body), None);
        imported.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(failed)?;
        let packed = packing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        packed.map_err(host("giving the image to the daemon"))?;
        if let Err(error) = self.throw_out(image).await {
            tracing::warn!(error = told(&error), "old images stay with the daemon");
        }
        Ok(())
    }

    /// Makes room: the oldest images of this kind go. The daemon keeps those that something runs from.
    async fn throw_out(&self, except: &Image) -> Result<(), bollard::errors::Error> {
        let filters = HashMap::from([("reference", vec![format!("{REPOSITORY}*")])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let mut images = self.api.docker.list_images(Some(options)).await?;
        images.sort_by_key(|image| image.created);
        let size = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        let mut bytes: u64 = images.iter().map(|image| size(image.size)).sum();
        let kept = repository_of(except);
        for image in images {
            if bytes <= self.cached_bytes {
                break;
            }
            let ours = |tag: &&String| tag.starts_with(REPOSITORY) && !tag.starts_with(&kept);
            for tag in image.repo_tags.iter().filter(ours) {
                let options = RemoveImageOptionsBuilder::new().build();
                if self.api.docker.remove_image(tag, Some(options), None).await.is_ok() {
                    bytes = bytes.saturating_sub(size(image.size));
                }
            }
        }
        Ok(())
    }

    /// Who the container runs as, and so who owns its output.
    fn account(&self, number: u32, image: &Image, output: &Path) -> Result<Account, FailureKind> {
        // Whoever cannot be found in the image is nobody anywhere.
        let user = image.user()?;
        match self.api.root {
            Root::Somebody { is_anybody: true } => Ok(self.as_user(user)),
            // Its root is nobody in particular on this machine; its other users could write no results that we may read.
            Root::Somebody { is_anybody: false } => Ok(Account::default()),
            Root::Machine => own_account(number, output).map_err(host("preparing the container")),
        }
    }

    /// The daemon's root under another id within the container, and so the owner of what that writes.
    fn as_user(&self, user: User) -> Account {
        let User { uid, gid, groups } = user;
        let namespace = (uid != 0 || gid != 0).then(|| format!("keep-id:uid={uid},gid={gid}"));
        Account { uid, gid, groups, namespace }
    }
}

/// Whom a container runs as.
#[derive(Debug, Clone, Default)]
struct Account {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// How its ids are the machine's, if not as usual.
    namespace: Option<String>,
}

/// Under a daemon whose ids are the machine's: nobody's id, or that of a worker that may give files to nobody.
fn own_account(number: u32, output: &Path) -> io::Result<Account> {
    let me = std::fs::metadata("/proc/self")?;
    if me.uid() != 0 {
        return Ok(Account { uid: me.uid(), gid: me.gid(), ..Account::default() });
    }
    let user = Ids::of(number).first;
    chown(output, Some(user), Some(user))?;
    Ok(Account { uid: user, gid: user, ..Account::default() })
}

/// Who listens there.
async fn owner_of(socket: &Path) -> io::Result<u32> {
    let connected = tokio::net::UnixStream::connect(socket).await?;
    connected.peer_cred().map(|peer| peer.uid())
}

/// What is wrong with a daemon.
#[derive(Debug)]
enum Flaw {
    /// It says yes to limits, and does not set them.
    Unlimited,
    /// In its own words.
    Words(String),
}

impl From<String> for Flaw {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

#[async_trait]
impl Runtime for Daemon {
    fn kind(&self) -> Kind {
        Kind::Container
    }

    fn name(&self) -> &'static str {
        "docker"
    }

    async fn execute(
        &self,
        execution: Execution,
        cancel: CancellationToken,
    ) -> Result<Executed, Stopped> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % RANGES;
        let images = Arc::clone(&self.images);
        let unpacked = tokio::task::spawn_blocking(move || {
            let image = images.get(&execution.program, execution.pin, &execution.limits)?;
            Ok::<_, FailureKind>((image, execution))
        });
        let unpacked = unpacked
            .await
            .unwrap_or_else(|error| Err(host("preparing the container")(io::Error::other(error))));
        let (image, execution) = unpacked?;
        let command = bundle::command(&image, &execution)?;
        self.import(&image).await?;
        if cancel.is_cancelled() {
            return Err(FailureKind::Cancelled.into());
        }
        let account = self.account(number, &image, &execution.output)?;
        let body = self.api.body(&image, &execution, command, account);
        let body = body.map_err(host("preparing the container"))?;
        let id = self.api.name(number);
        let running = Running { api: self.api.clone(), id, gone: false };
        running.watch(body, &execution, cancel).await
    }
}

impl Api {
    fn name(&self, number: u32) -> String {
        format!("gristmill-{}-{}-{number}", self.prefix, std::process::id())
    }

    /// All that the daemon has to know about a container.
    fn body(
        &self,
        image: &Image,
        execution: &Execution,
        command: Vec<String>,
        account: Account,
    ) -> io::Result<ContainerCreateBody> {
        let given = Given::of(&execution.gpus)?;
        let network = self.network_for(&execution.limits)?;
        let Account { uid, gid, groups, namespace } = account;
        let groups = groups.iter().map(u32::to_string).chain(given.groups).collect();
        Ok(ContainerCreateBody {
            image: Some(name_of(image)),
            hostname: Some("task".to_owned()),
            user: Some(format!("{uid}:{gid}")),
            entrypoint: Some(command),
            cmd: Some(vec![]),
            env: Some([bundle::environment(image, execution), given.env].concat()),
            working_dir: Some(image.directory().to_owned()),
            labels: Some(HashMap::from([(LABEL.to_owned(), self.prefix.clone())])),
            network_disabled: Some(network.is_none()),
            attach_stdin: Some(false),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            host_config: Some(HostConfig {
                devices: Some(given.devices),
                group_add: Some(groups),
                userns_mode: namespace,
                mounts: Some([mounts(execution), given.mounts].concat()),
                network_mode: Some(network.map_or("none".to_owned(), Network::to_string)),
                ..fence(&execution.limits)
            }),
            ..ContainerCreateBody::default()
        })
    }

    fn network_for(&self, limits: &Limits) -> io::Result<Option<&Network>> {
        if !limits.network {
            return Ok(None);
        }
        let none = || io::Error::other("this worker has no network to give to it");
        self.network.as_ref().map(Some).ok_or_else(none)
    }

    /// Ends a container and all that is in it. When this returns it is gone, or the log says why not.
    async fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removing = self.docker.remove_container(id, Some(options));
        match tokio::time::timeout(END_TIME, removing).await {
            Ok(Ok(())) => {}
            // It was never made.
            Ok(Err(error)) if is_absent(&error) => {}
            Ok(Err(error)) => tracing::warn!(id, error = told(&error), "a container is not gone"),
            Err(_) => tracing::warn!(id, "a container is not gone: the daemon does not answer"),
        }
    }

    /// Ends what an earlier process left running.
    async fn end_all(&self) -> Result<(), bollard::errors::Error> {
        let filters = HashMap::from([("label", vec![format!("{LABEL}={}", self.prefix)])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        for left in self.docker.list_containers(Some(options)).await? {
            if let Some(id) = left.id {
                tracing::info!(id, "ending a container that was left behind");
                self.remove(&id).await;
            }
        }
        Ok(())
    }
}

/// A container that is ended when this goes, however that comes about.
struct Running {
    api: Api,
    id: String,
    gone: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.gone
            && let Ok(handle) = tokio::runtime::Handle::try_current()
        {
            // Somebody stopped waiting in the middle.
            let (api, id) = (self.api.clone(), std::mem::take(&mut self.id));
            handle.spawn(async move { api.remove(&id).await });
        }
    }
}

impl Running {
    /// Starts it and waits for its end, or brings it about at a limit. When this returns nothing of it runs any more.
    async fn watch(
        mut self,
        body: ContainerCreateBody,
        execution: &Execution,
        cancel: CancellationToken,
    ) -> Result<Executed, Stopped> {
        let ended = self.run(body, execution, cancel).await;
        self.api.remove(&self.id).await;
        self.gone = true;
        ended
    }

    async fn run(
        &self,
        body: ContainerCreateBody,
        execution: &Execution,
        cancel: CancellationToken,
    ) -> Result<Executed, Stopped> {
        let (docker, id, limits) = (&self.api.docker, &*self.id, &execution.limits);
        let doing = |error| not_started(&error);
        let options = CreateContainerOptionsBuilder::new().name(id).build();
        docker.create_container(Some(options), body).await.map_err(doing)?;
        let options =
            AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).build();
        let attached = docker.attach_container(id, Some(options)).await.map_err(doing)?;
        docker.start_container(id, None).await.map_err(doing)?;
        let mut output = attached.output;
        let mut printed = Printed::default();
        let mut waiting = docker.wait_container(id, None);
        let deadline = tokio::time::sleep(limits.wall);
        tokio::pin!(deadline);
        let (mut code, mut broken, mut open) = (None, None, true);
        while broken.is_none() && (code.is_none() || open) {
            tokio::select! {
                // First what it printed, so that none of it is missing at the end.
                biased;
                () = cancel.cancelled() => broken = Some(FailureKind::Cancelled),
                () = &mut deadline => broken = Some(FailureKind::OutOfTime { limit: limits.wall }),
                chunk = output.next(), if open => match chunk {
                    Some(Ok(chunk)) => broken = printed.take(chunk, execution),
                    _ => open = false,
                },
                ended = waiting.next(), if code.is_none() => code = Some(code_of(ended)?),
                () = tokio::time::sleep(OUTPUT_CHECK) => {
                    broken = oci::overflow(execution.output.clone(), limits.clone()).await;
                }
            }
        }
        let code = code.unwrap_or(KILLED);
        if broken.is_none() && code != 0 {
            broken = oci::overflow(execution.output.clone(), limits.clone()).await;
        }
        // Nobody else ends it with a signal; not every daemon notices who did.
        if broken.is_none() && (code == KILLED || code != 0 && self.was_out_of_memory().await) {
            broken = Some(FailureKind::OutOfMemory { limit_bytes: limits.memory_bytes });
        }
        let (stdout, stderr) = (Bytes::from(printed.stdout), Bytes::from(printed.stderr));
        match broken {
            Some(kind) => Err(Stopped { kind, stdout, stderr }),
            None => {
                let exit_code = i32::try_from(code).unwrap_or(i32::MAX);
                Ok(Executed { exit_code, stdout, stderr, fuel_used: 0 })
            }
        }
    }

    async fn was_out_of_memory(&self) -> bool {
        let inspected = self.api.docker.inspect_container(&self.id, None).await;
        let state = inspected.ok().and_then(|container| container.state);
        state.and_then(|state| state.oom_killed).unwrap_or(false)
    }
}

/// What came through the attached connection.
#[derive(Default)]
struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Printed {
    /// Keeps what fits, tells it to who listens, and says when there is more.
    fn take(&mut self, chunk: LogOutput, execution: &Execution) -> Option<FailureKind> {
        let limits = &execution.limits;
        let (kept, stream, what, limit, bytes) = match chunk {
            LogOutput::StdErr { message } => {
                (&mut self.stderr, Stderr, "stderr", limits.stderr_bytes, message)
            }
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                (&mut self.stdout, Stdout, "stdout", limits.stdout_bytes, message)
            }
            LogOutput::StdIn { .. } => return None,
        };
        let fits = bytes.len().min(limit - kept.len());
        kept.extend_from_slice(&bytes[..fits]);
        execution.ear.heard(stream, &bytes[..fits]);
        (fits < bytes.len()).then_some(FailureKind::OutputTooLarge { what, limit: limit as u64 })
    }
}

/// What GPUs add to a container.
#[derive(Default)]
struct Given {
    env: Vec<String>,
    devices: Vec<DeviceMapping>,
    mounts: Vec<Mount>,
    /// Whoever may use the nodes on this machine.
    groups: Vec<String>,
}

impl Given {
    fn of(gpus: &[Gpu]) -> io::Result<Self> {
        let mut given = Self::default();
        for changes in gpus.iter().map(Gpu::changes) {
            given.env.extend(changes.env.iter().cloned());
            for node in &changes.nodes {
                given.groups.push(std::fs::metadata(node.on_host())?.gid().to_string());
                given.devices.push(DeviceMapping {
                    path_on_host: Some(text(node.on_host())),
                    path_in_container: Some(text(&node.path)),
                    cgroup_permissions: Some(node.permissions.as_deref().unwrap_or("rwm").into()),
                });
            }
            given.mounts.extend(
                changes
                    .mounts
                    .iter()
                    .map(|it| bind(&it.host_path, &text(&it.container_path), true)),
            );
            if !changes.hooks.is_empty() {
                tracing::warn!("the programs of a GPU's specification do not run with a daemon");
            }
        }
        given.groups.sort();
        given.groups.dedup();
        Ok(given)
    }
}

/// Everything that holds a container back.
fn fence(limits: &Limits) -> HostConfig {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let memory = signed(u64::try_from(limits.memory_bytes).unwrap_or(u64::MAX));
    let temporary = limits.temporary_bytes();
    let limit = |name: &str, most: u64| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(signed(most)),
        hard: Some(signed(most)),
    };
    HostConfig {
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        memory: Some(memory),
        // Together with swap: no swap.
        memory_swap: Some(memory),
        cpu_period: Some(signed(bundle::CPU_PERIOD_US)),
        cpu_quota: Some(signed(bundle::cpu_quota_us(limits))),
        pids_limit: Some(i64::from(limits.processes)),
        ulimits: Some(vec![
            limit("nofile", 1_024),
            // Not what holds it back; but Podman would ask for more than it may have where it is held back itself.
            limit("nproc", PROCESSES_OF_USER),
            limit("core", 0),
            limit("fsize", limits.output_bytes.saturating_add(1)),
        ]),
        tmpfs: Some(HashMap::from([(
            "/tmp".to_owned(),
            format!("rw,nosuid,nodev,mode=1777,size={temporary}"),
        )])),
        shm_size: Some(signed(temporary)),
        ipc_mode: Some("private".to_owned()),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..HostConfig::default()
    }
}

fn mounts(execution: &Execution) -> Vec<Mount> {
    vec![bind(&execution.inputs, IN, true), bind(&execution.output, OUT, false)]
}

fn bind(from: &Path, to: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(text(from)),
        target: Some(to.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn name_of(image: &Image) -> String {
    format!("{}:{TAG}", repository_of(image))
}

fn repository_of(image: &Image) -> String {
    format!("{REPOSITORY}{}", hex::encode(image.id()))
}

/// From a thread that writes to a body that is sent.
struct Pipe(mpsc::Sender<bytes::Bytes>);

impl Pipe {
    fn new() -> (Self, impl Stream<Item = bytes::Bytes> + Send + 'static) {
        let (send, mut receive) = mpsc::channel(4);
        (Self(send), futures::stream::poll_fn(move |context| receive.poll_recv(context)))
    }
}

impl Write for Pipe {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(bytes::Bytes::copy_from_slice(chunk));
        sent.map(|()| chunk.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Waited = Option<Result<bollard::models::ContainerWaitResponse, bollard::errors::Error>>;

fn code_of(ended: Waited) -> Result<i64, FailureKind> {
    let lost = |detail| FailureKind::Host { doing: "waiting for the container", detail };
    match ended {
        Some(Ok(ended)) => Ok(ended.status_code),
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
        Some(Err(error)) => Err(lost(told(&error))),
        None => Err(lost("the daemon says nothing".to_owned())),
    }
}

/// Whether it is the image or the machine that keeps a container from starting, by the daemon's words.
fn not_started(error: &bollard::errors::Error) -> FailureKind {
    let detail = told(error);
    if oci::is_about_the_program(&detail) {
        FailureKind::NotExecutable { detail }
    } else {
        FailureKind::Host { doing: "starting the container", detail }
    }
}

fn is_absent(error: &bollard::errors::Error) -> bool {
    use bollard::errors::Error::DockerResponseServerError;
    matches!(error, DockerResponseServerError { status_code: 404 | 409, .. })
}

fn told(error: &bollard::errors::Error) -> String {
    error.to_string().chars().take(WORDS_CHARS_MAX).collect()
}

/// Waits for something that needs a runtime, from where there may be one that must not be blocked, or none.
fn on_a_thread_of_its_own<T: Send>(
    work: impl Future<Output = Result<T, Flaw>> + Send,
) -> Result<T, Flaw> {
    std::thread::scope(|scope| {
        let worked = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| error.to_string())?.block_on(work)
        });
        worked.join().unwrap_or_else(|_| Err("the check did not end".to_owned().into()))
    })
}
