//! Container images, run directly by an OCI runtime (runc or crun), or else by a daemon ([`Daemon`]). Nothing is fetched
//! here, and containers have no network.
//!
//! ```text
//!   archive (docker save, OCI layout) ──► images: layers unpacked once, shared by hard links, every digest checked
//!                                           │
//!   Execution ──► bundle: config.json ──────┤ read-only root, no capabilities, seccomp, own namespaces, a user id
//!                                           │ that nobody else has, cgroup limits
//!                                           ▼
//!                              runc run ──► exit code, captured output   (oci)
//! ```
//!
//! Every file of an image is readable to the program, whoever owns it in the image, and none is writable: programs
//! write to `/iexec_out`, `/tmp` and `/dev/shm`. What `USER` an image names counts for nothing.
//!
//! What differs between machines is the program's own affair here: its clock is the host's, and so is its randomness. Two
//! workers agree on a result only if the program does not look at them.
//!
//! The size of `/iexec_out` is looked at several times a second, not fenced in: a program may write a little more than
//! it may keep before it is stopped.

mod bundle;
mod daemon;
mod image;
mod layers;
mod oci;
mod seccomp;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use self::daemon::{Daemon, LocalImages, find_daemon};
use self::image::Images;
use self::oci::Oci;
use crate::failure::host;
use crate::run::{Config, Executed, Execution, Kind, Runtime, Stopped, fresh_private_dir};
use crate::{FailureKind, StartError};

/// What OCI runtimes are called, best first.
const RUNTIMES: [&str; 2] = ["runc", "crun"];
/// Where they are when the path does not say so.
const PLACES: [&str; 5] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin"];
/// The first of the user ids that containers run under; far from any that a system gives to people or services.
const FIRST_USER: u32 = 1_879_048_192;
/// How many of them there are. More containers than that do not run at once.
const USERS: u32 = 1 << 16;

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
        "GM-4160"
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
            Self::NotRoot { .. } => "start the worker as root, or run Docker or Podman",
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
    next: AtomicU32,
}

impl Container {
    /// A runtime around that program ([`find_runtime`]), which keeps its images and what runs under the configured
    /// directory. Containers that an earlier process left behind are ended.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn new(program: PathBuf, config: &Config) -> Result<Self, StartError> {
        let dir = config.dir.join("containers");
        Self::open(program, &dir, config.cached_image_bytes)
            .map_err(|error| StartError { dir: config.dir.clone(), detail: error.to_string() })
    }

    /// Tries with an empty image whether containers can be made here at all. Takes some tens of milliseconds.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn check(&self) -> Result<(), Unavailable> {
        let refused =
            |words: String| Unavailable::Refused { program: self.oci.program().to_owned(), words };
        let id = self.oci.name(USERS);
        let made = bundle::make_empty(&self.bundles, &id, FIRST_USER + USERS);
        let bundle = made.map_err(|error| refused(error.to_string()))?;
        let words = self.oci.try_run(&id, bundle.path());
        // That there is nothing to start is found out last.
        if oci::is_about_the_program(&words) { Ok(()) } else { Err(refused(words)) }
    }

    fn open(program: PathBuf, dir: &Path, cached_bytes: u64) -> std::io::Result<Self> {
        crate::run::private_dir(dir)?;
        let dir = dir.canonicalize()?;
        let oci = Oci::open(program, dir.join("state"), &dir)?;
        oci.end_all();
        let bundles = dir.join("bundles");
        fresh_private_dir(&bundles)?;
        let images = Arc::new(Images::open(&dir, cached_bytes)?);
        Ok(Self { oci, images, bundles, next: AtomicU32::new(0) })
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
        let number = self.next.fetch_add(1, Ordering::Relaxed) % USERS;
        let user = FIRST_USER + number;
        let (images, bundles) = (Arc::clone(&self.images), self.bundles.clone());
        let id = self.oci.name(number);
        let name = id.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let image = images.get(&execution.program, execution.pin, &execution.limits)?;
            let bundle = bundle::make(&bundles, &name, user, &image, &execution)?;
            Ok::<_, FailureKind>((image, bundle, execution))
        });
        let prepared = prepared.await.unwrap_or_else(|error| {
            Err(host("preparing the container")(std::io::Error::other(error)))
        });
        // Both stay until the container is gone: the image, so that it is not thrown out, and the bundle.
        let (_image, bundle, execution) = prepared?;
        if cancel.is_cancelled() {
            return Err(FailureKind::Cancelled.into());
        }
        self.oci.run(&id, bundle.path(), &execution, cancel).await
    }
}
