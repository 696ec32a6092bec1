//! A Docker or Podman daemon for tests: the one that listens here, or Podman's, started for them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::{API_DEFAULT_VERSION, Docker};
use sandbox::{Config, Daemon, Sandbox, Unavailable, find_daemon, find_runtime};
use tempfile::TempDir;

use crate::images::Containers;

/// Podman ends by itself when nobody has asked it anything for so long.
const IDLE_SECONDS: &str = "--time=30";

static SOCKET: OnceLock<PathBuf> = OnceLock::new();

/// Where the daemon of [`by_daemon`] listens.
pub(crate) fn daemon_socket() -> Option<&'static Path> {
    SOCKET.get().map(PathBuf::as_path)
}

/// Whether its root is somebody else than this machine's.
pub(crate) fn is_rootless() -> bool {
    use std::os::unix::fs::MetadataExt;
    daemon_socket().is_some_and(|socket| std::fs::metadata(socket).unwrap().uid() != 0)
}

/// Containers by a daemon, where there is one; says so loudly where not, and fails where it must.
pub(crate) fn by_daemon() -> Option<&'static Containers> {
    static DAEMON: OnceLock<Option<Containers>> = OnceLock::new();
    let found = DAEMON.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("sandbox"), 4);
        let socket = find_daemon().or_else(|| podman(&dir));
        if let Some(socket) = &socket {
            SOCKET.set(socket.clone()).unwrap();
        }
        let opened = match socket {
            Some(socket) => Daemon::open(&socket, &config).unwrap().map_err(|why| why.to_string()),
            None => Err("no daemon listens here, and there is no podman to start".to_owned()),
        };
        let runtime = match opened {
            Ok(daemon) => Arc::new(daemon),
            Err(why) => {
                let required = std::env::var_os("GRISTMILL_REQUIRE_DAEMON").is_some();
                assert!(!required, "GRISTMILL_REQUIRE_DAEMON is set, and {why}");
                eprintln!("NOT TESTED: containers by a daemon, since {why}");
                return None;
            }
        };
        let sandbox = Sandbox::with_runtime(&config, runtime).unwrap();
        Some(Containers { sandbox, dir })
    });
    found.as_ref()
}

/// The socket of a Podman that was started for it.
#[expect(
    clippy::disallowed_methods,
    reason = "all tests wait for it, and none of them runs meanwhile"
)]
fn podman(dir: &TempDir) -> Option<PathBuf> {
    let socket = dir.path().join("podman.sock");
    // Podman's own choice, crun, does not work with every layout of control groups.
    let runtime = match find_runtime() {
        Ok(program) | Err(Unavailable::NotRoot { program }) => Some(program),
        Err(_) => None,
    };
    let runtime = runtime.map(|program| format!("--runtime={}", program.display()));
    let mut child = Command::new("podman")
        .args(runtime)
        // Nothing of the tests stays in the machine's own store.
        .arg("--storage-driver=vfs")
        .arg("--root")
        .arg(dir.path().join("podman"))
        .arg("--runroot")
        .arg(dir.path().join("podman-run"))
        .arg("--network-config-dir")
        .arg(dir.path().join("podman-net"))
        .args(["--log-level=error", "system", "service", IDLE_SECONDS])
        .arg(format!("unix://{}", socket.display()))
        // It leaves notes of memory that ran out where it stands.
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    while !listens(&socket) {
        if child.try_wait().unwrap().is_some() || begun.elapsed() > Duration::from_secs(120) {
            let _ = child.kill();
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(socket)
}

/// A network of that daemon.
pub(crate) struct DaemonNet {
    docker: Docker,
    gateway: String,
}

impl DaemonNet {
    pub(crate) const NAME: &str = "gm-test-jobs";

    /// Nothing where there is no daemon, or it makes no networks; which is said loudly, and fails where it must.
    pub(crate) async fn new() -> Option<Self> {
        by_daemon()?;
        let socket = daemon_socket()?.to_string_lossy().into_owned();
        let docker = Docker::connect_with_unix(&socket, 60, API_DEFAULT_VERSION).unwrap();
        let docker = docker.negotiate_version().await.unwrap();
        let third = std::process::id() % 256;
        let gateway = format!("10.213.{third}.1");
        let range = IpamConfig {
            subnet: Some(format!("10.213.{third}.0/24")),
            gateway: Some(gateway.clone()),
            ..IpamConfig::default()
        };
        let request = NetworkCreateRequest {
            name: Self::NAME.to_owned(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
            ..NetworkCreateRequest::default()
        };
        let net = Self { docker, gateway };
        // What a test that was killed left behind.
        let _ = net.docker.remove_network(Self::NAME).await;
        match net.docker.create_network(request).await {
            Ok(_) => Some(net),
            Err(error) => lacking(&error.to_string()),
        }
    }

    /// Somebody in it: this machine's side. `first` is what became of the first container in it.
    pub(crate) fn listen(&self, first: &str) -> Option<TcpListener> {
        if first.starts_with("GM-") {
            return lacking(first);
        }
        match TcpListener::bind((&*self.gateway, 0)) {
            Ok(listener) => Some(listener),
            Err(error) => lacking(&error.to_string()),
        }
    }

    /// Removes it.
    pub(crate) async fn gone(self) {
        self.docker.remove_network(Self::NAME).await.unwrap();
    }
}

/// A network cannot be had; says so, and fails where it must.
fn lacking<T>(why: &str) -> Option<T> {
    let required = std::env::var_os("GRISTMILL_REQUIRE_DAEMON_NETWORK").is_some();
    assert!(!required, "GRISTMILL_REQUIRE_DAEMON_NETWORK is set, and {why}");
    eprintln!("NOT TESTED: a network for containers by a daemon, since {why}");
    None
}

fn listens(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}
