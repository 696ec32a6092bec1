//! A Docker or Podman daemon for tests: the one that listens here, or Podman's, started for them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sandbox::{Config, Daemon, Sandbox, find_daemon, find_runtime};
use tempfile::TempDir;

use crate::images::Containers;

/// Podman ends by itself when nobody has asked it anything for so long.
const IDLE_SECONDS: &str = "--time=30";

static SOCKET: OnceLock<PathBuf> = OnceLock::new();

/// Where the daemon of [`by_daemon`] listens.
pub(crate) fn daemon_socket() -> Option<&'static Path> {
    SOCKET.get().map(PathBuf::as_path)
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
    let runtime = find_runtime().ok().map(|program| format!("--runtime={}", program.display()));
    let mut child = Command::new("podman")
        .args(runtime)
        // Nothing of the tests stays in the machine's own store.
        .arg("--storage-driver=vfs")
        .arg("--root")
        .arg(dir.path().join("podman"))
        .arg("--runroot")
        .arg(dir.path().join("podman-run"))
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

fn listens(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}
