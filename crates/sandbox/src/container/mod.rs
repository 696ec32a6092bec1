//! Container images, run directly by an OCI runtime (runc or crun), or else by a daemon ([`Daemon`]). Nothing is fetched
//! here, and containers have no network but one that the provider made for them ([`crate::Network`]).
//!
//! ```text
//!   archive (docker save, OCI layout) ──► images: layers unpacked once, shared by hard links, every digest checked
//!                                           │
//!   Execution ──► bundle: config.json ──────┤ read-only root, no capabilities, seccomp, own namespaces, user ids
//!                                           │ that nobody else has (ids), cgroup limits
//!                                           ▼
//!                              runc run ──► exit code, captured output   (oci)
//! ```
//!
//! Every file of an image is readable to the program, whoever owns it in the image, and none is writable: programs
//! write to `/iexec_out`, `/tmp` and `/dev/shm`. Programs run as the `USER` that their image names, among ids of their own,
//! wherever they have such (see `ids`, `user`); as one id of their own elsewhere.
//!
//! What differs between machines is the program's own affair here: its clock is the host's, and so is its randomness. Two
//! workers agree on a result only if the program does not look at them.
//!
//! The size of `/iexec_out` is looked at several times a second, not fenced in: a program may write a little more than
//! it may keep before it is stopped.

mod bundle;
mod daemon;
mod ids;
mod image;
mod layers;
mod oci;
mod seccomp;
mod user;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use self::bundle::Lodging;
pub use self::daemon::{Daemon, LocalImages, find_daemon};
use self::ids::{Ids, RANGES, Stage};
use self::image::Images;
use self::oci::Oci;
use self::user::User;
use crate::failure::host;
use crate::run::{Config, Executed, Execution, Kind, Runtime, Stopped, fresh_private_dir};
use crate::{FailureKind, Limits, Network, StartError};

/// What OCI runtimes are called, best first.
const RUNTIMES: [&str; 2] = ["runc", "crun"];
/// Where they are when the path does not say so.
const PLACES: [&str; 5] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin"];

/// Why containers do not run on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There is no OCI runtime.
    #[error("there is neither runc nor crun on this machine")]
    NoRuntime,
    /// There is no daemon.
    #[error("no Docker or Podman daemon listens on this machine")]
    NoDaemon,
    /// The operator wants none.
    #[error("containers are switched off")]
    Off,
    /// There is one, but who starts it may not make namespaces and control groups.
    #[error("{} needs to be started by root to isolate containers", program.display())]
    NotRoot {
        /// The runtime.
        program: PathBuf,
    },
    /// It makes containers, but does not hold them to their limits.
    #[error("the daemon at {} does not hold containers to a limit of memory and processes", socket.display())]
    Unlimited {
        /// Where it listens.
        socket: PathBuf,
    },
    /// It cannot make containers here, as inside of a container that may not.
    #[error("{} cannot make containers here: {words}", program.display())]
    Refused {
        /// The runtime, or the socket of the daemon.
        program: PathBuf,
        /// Its words.
        words: String,
    },
}

impl Unavailable {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unlimited { .. } => "GM-7025",
            _ => "GM-4160",
        }
    }

    /// Whether there is something that should run containers and cannot: its owner may think that it does.
    pub fn is_surprising(&self) -> bool {
        matches!(self, Self::Unlimited { .. } | Self::Refused { .. })
    }

    /// What makes containers run.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoRuntime => {
                "install runc or crun (Debian: apt-get install runc), or run Docker or Podman"
            }
            Self::NoDaemon => {
                "start Docker, or podman system service, and let the worker's user reach its socket"
            }
            Self::Off => "set worker.containers to auto",
            Self::NotRoot { .. } => {
                "start the worker as root, or run Docker or Podman, which may be the user's own: systemctl --user start podman.socket"
            }
            Self::Unlimited { .. } => {
                "a rootless daemon needs control groups of version 2 (systemd.unified_cgroup_hierarchy=1 on the kernel's command line) that are delegated to its user; or run the daemon as root"
            }
            Self::Refused { .. } => {
                "start the worker outside of containers, or in one that may make namespaces, mounts and control groups"
            }
        }
    }
}

/// Finds what runs containers here.
///
/// # Errors
/// Why nothing does.
pub fn find_runtime() -> Result<PathBuf, Unavailable> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> =
        std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from)).collect();
    let found = RUNTIMES.iter().find_map(|name| {
        places.iter().map(|place| place.join(name)).find(|program| is_program(program))
    });
    let program = found.ok_or(Unavailable::NoRuntime)?;
    // Who owns this process's entry is who it runs as.
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if root { Ok(program) } else { Err(Unavailable::NotRoot { program }) }
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
}

/// Runs images.
pub struct Container {
    oci: Oci,
    images: Arc<Images>,
    bundles: PathBuf,
    /// Where roots are shown to user namespaces; nothing where there are none.
    stage: Option<Arc<Stage>>,
    network: Option<Network>,
    next: AtomicU32,
}

impl Container {
    /// A runtime around that program ([`find_runtime`]), which keeps its images and what runs under the configured
    /// directory. Tries with an empty image whether containers can be made here at all, best in user namespaces of their
    /// own, which takes some tens of milliseconds. Containers that an earlier process left behind are ended.
    ///
    /// # Errors
    /// The directory cannot be used, or (the inner one) what the program says to being called.
    pub fn open(
        program: PathBuf,
        config: &Config,
    ) -> Result<Result<Self, Unavailable>, StartError> {
        let started = |error: std::io::Error| StartError {
            dir: config.dir.clone(),
            detail: error.to_string(),
        };
        let mut containers = Self::at(program, config).map_err(started)?;
        let stage = Stage::open(&config.roots, containers.oci.prefix());
        let namespaces = stage.map_err(|error| error.to_string()).and_then(|stage| {
            containers.try_out(Some(&stage))?;
            Ok(stage)
        });
        match namespaces {
            Ok(stage) => containers.stage = Some(Arc::new(stage)),
            Err(why) => {
                tracing::warn!(why, "containers have ids of their own, but no user namespaces");
                if let Err(words) = containers.try_out(None) {
                    let program = containers.oci.program().to_owned();
                    return Ok(Err(Unavailable::Refused { program, words }));
                }
            }
        }
        Ok(Ok(containers))
    }

    fn at(program: PathBuf, config: &Config) -> std::io::Result<Self> {
        let dir = config.dir.join("containers");
        crate::run::private_dir(&dir)?;
        let dir = dir.canonicalize()?;
        let oci = Oci::open(program, dir.join("state"), &dir)?;
        oci.end_all();
        let bundles = dir.join("bundles");
        fresh_private_dir(&bundles)?;
        let images = Arc::new(Images::open(&dir, config.cached_image_bytes)?);
        let (stage, network) = (None, config.network.clone());
        Ok(Self { oci, images, bundles, stage, network, next: AtomicU32::new(0) })
    }

    /// Runs an image with nothing in it. The error is what the runtime says if that is not the reason why it fails.
    fn try_out(&self, stage: Option<&Stage>) -> Result<(), String> {
        let number = RANGES - 1;
        let id = self.oci.name(number);
        let empty = bundle::empty(&self.bundles).map_err(|error| error.to_string())?;
        let user = User::default();
        let lodging = Lodging::new(Ids::of(number), user, &empty.image, stage, &id);
        let lodging = lodging.map_err(|error| error.to_string())?;
        bundle::write_empty(&empty, &id, &lodging).map_err(|error| error.to_string())?;
        let words = self.oci.try_run(&id, empty.dir.path());
        // That there is nothing to start is found out last.
        if oci::is_about_the_program(&words) { Ok(()) } else { Err(words) }
    }

    /// What the container of an execution is joined to, if to anything.
    fn network_for(&self, limits: &Limits) -> Result<Option<&Network>, FailureKind> {
        if !limits.network {
            return Ok(None);
        }
        let doing = "giving the container a network";
        let lacking = |detail: String| FailureKind::Host { doing, detail };
        let network = self.network.as_ref();
        let network = network.ok_or_else(|| lacking("this worker has none for it".to_owned()))?;
        let namespace = network.namespace();
        if namespace.exists() {
            Ok(Some(network))
        } else {
            Err(lacking(format!("there is no namespace {}", namespace.display())))
        }
    }
}

#[async_trait]
impl Runtime for Container {
    fn kind(&self) -> Kind {
        Kind::Container
    }

    fn name(&self) -> &'static str {
        "oci"
    }

    async fn execute(
        &self,
        execution: Execution,
        cancel: CancellationToken,
    ) -> Result<Executed, Stopped> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % RANGES;
        let network = self.network_for(&execution.limits)?.cloned();
        let (images, bundles) = (Arc::clone(&self.images), self.bundles.clone());
        let stage = self.stage.clone();
        let id = self.oci.name(number);
        let name = id.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let image = images.get(&execution.program, execution.pin, &execution.limits)?;
            // A GPU that is not everybody's is nothing to a namespace's root.
            let stage = stage.as_deref().filter(|_| bundle::are_open_to_all(&execution.gpus));
            let user = image.user()?;
            let lodging = Lodging::new(Ids::of(number), user, &image, stage, &name);
            let lodging = lodging.map_err(host("showing the image to the container"))?;
            let bundle =
                bundle::make(&bundles, &name, &lodging, &image, network.as_ref(), &execution)?;
            Ok::<_, FailureKind>((image, lodging, bundle, execution))
        });
        let prepared = prepared.await.unwrap_or_else(|error| {
            Err(host("preparing the container")(std::io::Error::other(error)))
        });
        // All stay until the container is gone: the image, so that it is not thrown out, its place, and the bundle.
        let (_image, _lodging, bundle, execution) = prepared?;
        if cancel.is_cancelled() {
            return Err(FailureKind::Cancelled.into());
        }
        self.oci.run(&id, bundle.path(), &execution, cancel).await
    }
}
